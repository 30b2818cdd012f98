//! `engagement`.

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Exit;
use super::client::Client;
use super::output::Output;
use super::record::Engagement;
use super::table;

/// Count a broadcast's opens and clicks: how many people did, and how many machines
#[derive(Debug, Args)]
#[command(after_help = "\
Example: what became of the broadcast of the new terms
  kakitome engagement --batch tos-2026-11

What a machine did is derived whenever it is read: the provider's own flag, excluded networks and programs, data centres \
around a delivery, and what is faster than a person. machines.file adds rules; changed, they tell anew what was before.
It looks at the latest 200,000 notifications at most, and says if there were more.")]
pub struct EngagementArgs {
    /// The broadcast's name, as its notifications have it in `batch`
    #[arg(long, value_name = "NAME")]
    batch: String,
    /// Whose it is [default: every tenant's that the key may read]
    #[arg(long)]
    tenant: Option<String>,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Deserialize)]
struct BatchEngagement {
    batch: String,
    notifications: u64,
    is_complete: bool,
    people: Reached,
    #[serde(flatten)]
    engagement: Engagement,
}

#[derive(Debug, Deserialize)]
struct Reached {
    opened: u64,
    clicked: u64,
}

/// Runs `engagement`.
pub async fn run(args: &EngagementArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let mut query = vec![("batch", args.batch.clone())];
    query.extend(args.tenant.clone().map(|tenant| ("tenant", tenant)));
    let raw = client.get::<Box<RawValue>>("/v1/engagement", &query).await?;
    if args.json {
        out.line(raw.get())?;
        return Ok(Exit::Done);
    }
    let found: BatchEngagement = serde_json::from_str(raw.get())?;
    let BatchEngagement { batch, notifications, is_complete, people, engagement } = found;
    if notifications == 0 {
        out.note(format_args!("no notification belongs to the batch {batch}"))?;
        return Ok(Exit::Done);
    }
    let cut = if is_complete { "" } else { ", the latest; there are more" };
    out.line(format_args!("batch {batch}: {notifications} notifications{cut}"))?;
    let mut rows = table::table(&["", "by people", "by machines", "different people"], out.is_out_terminal());
    for (name, counted, who) in
        [("opens", engagement.opens, people.opened), ("clicks", engagement.clicks, people.clicked)]
    {
        rows.add_row([
            name.to_owned(),
            counted.people.to_string(),
            counted.machines.to_string(),
            who.to_string(),
        ]);
    }
    out.line(table::render(&rows))?;
    Ok(Exit::Done)
}
