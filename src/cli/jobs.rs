//! `jobs`.

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::change::{Job, scope_words};
use super::client::Client;
use super::output::Output;
use super::when::relative;
use super::{Exit, table};
use crate::clock::Timestamp;

/// What was done to many, by whom, why, and what came of it; and what stands stopped
#[derive(Debug, Args)]
#[command(after_help = "\
Example: the latest jobs; one of them; stop it
  kakitome jobs
  kakitome jobs 0197a3c2-7a10-7c3e-9a55-0d5f6f1f2a3b
  kakitome jobs --stop 0197a3c2-7a10-7c3e-9a55-0d5f6f1f2a3b")]
pub struct JobsArgs {
    /// This one alone
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Stop this job; `redrive --resume` goes on with it
    #[arg(long, value_name = "ID", conflicts_with_all = ["id", "json"])]
    stop: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// At most so many [default: 20]
    #[arg(long, value_name = "N", conflicts_with = "id")]
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Stops {
    items: Vec<Stop>,
}

#[derive(Debug, Deserialize)]
struct Stop {
    kind: String,
    scope: Value,
    who: String,
    reason: String,
    since: Timestamp,
}

/// Runs `jobs`.
pub async fn run(args: &JobsArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    if let Some(id) = &args.stop {
        let job: Job = client.post(&format!("/v1/jobs/{id}/stop"), &json!({})).await?;
        out.line(format_args!("job {}: stopped; go on with: kakitome redrive --resume {}", job.id, job.id))?;
        return Ok(Exit::Done);
    }
    if let Some(id) = &args.id {
        let found: Box<RawValue> = client.get(&format!("/v1/jobs/{id}"), &[]).await?;
        if args.json {
            out.line(found.get())?;
        } else {
            tell(&serde_json::from_str(found.get())?, out)?;
        }
        return Ok(Exit::Done);
    }
    let items = latest(args.limit.unwrap_or(20), client).await?;
    if args.json {
        for item in items {
            out.line(item.get())?;
        }
        return Ok(Exit::Done);
    }
    let jobs: Result<Vec<Job>, _> = items.iter().map(|item| serde_json::from_str(item.get())).collect();
    print(&jobs?, out)?;
    let stops: Stops = client.get("/v1/stops", &[]).await?;
    print_stops(&stops.items, out)?;
    Ok(Exit::Done)
}

async fn latest(limit: usize, client: &Client) -> anyhow::Result<Vec<Box<RawValue>>> {
    let (mut items, mut cursor) = (Vec::new(), None::<String>);
    while items.len() < limit {
        let mut query = vec![("limit", (limit - items.len()).min(100).to_string())];
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page: Page = client.get("/v1/jobs", &query).await?;
        items.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(items)
}

fn print(jobs: &[Job], out: &mut Output) -> std::io::Result<()> {
    if jobs.is_empty() {
        return out.note("no jobs");
    }
    let now = out.now();
    let heads = ["id", "asked for", "by", "what", "to", "state", "done", "refused", "sent", "failed", "why"];
    let mut table = table::table(&heads, out.is_out_terminal());
    for job in jobs {
        let progress = &job.progress;
        let of_redrive = |count: u64| if job.action == "redrive" { count.to_string() } else { String::new() };
        table.add_row([
            job.id.clone(),
            job.created_at.map_or_else(String::new, |at| relative(at, now)),
            job.who.clone(),
            job.action.clone(),
            scope_words(&job.filter, job.all),
            job.state.clone(),
            format!("{}/{}", progress.done, progress.planned),
            progress.refused.values().sum::<u64>().to_string(),
            of_redrive(progress.sent),
            of_redrive(progress.failed),
            job.reason.clone().unwrap_or_default(),
        ]);
    }
    out.line(table::render(&table))
}

fn print_stops(stops: &[Stop], out: &mut Output) -> std::io::Result<()> {
    let now = out.now();
    for stop in stops {
        let Stop { kind, scope, who, reason, since } = stop;
        let is_all = scope["all"] == true;
        let what = scope_words(scope, is_all);
        out.line(format_args!("standing {kind}: {what}, by {who}, {}: {reason}", relative(*since, now)))?;
    }
    Ok(())
}

/// One job, a line for each thing to know.
fn tell(job: &Job, out: &mut Output) -> std::io::Result<()> {
    let at = |at: Option<Timestamp>| at.map_or_else(String::new, |at| at.to_string());
    let progress = &job.progress;
    out.line(format_args!("job        {}", job.id))?;
    out.line(format_args!("what       {} {}", job.action, scope_words(&job.filter, job.all)))?;
    out.line(format_args!("asked for  {} by {}", at(job.created_at), job.who))?;
    if let Some(reason) = &job.reason {
        out.line(format_args!("why        {reason}"))?;
    }
    let note = job.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
    out.line(format_args!("state      {} {}{note}", job.state, at(job.ended_at)))?;
    out.line(format_args!("matched    {}", progress.planned))?;
    out.line(format_args!("done       {}", progress.done))?;
    for (code, count) in &progress.refused {
        out.line(format_args!("refused    {count} {code}"))?;
    }
    if job.action == "redrive" {
        let (sent, failed, stopped) = (progress.sent, progress.failed, progress.stopped);
        out.line(format_args!(
            "sent       {sent}, failed again {failed}, held or ended otherwise {stopped}"
        ))?;
        out.line(format_args!("awaited    {}", job.awaited))?;
    } else if matches!(job.action.as_str(), "hold" | "cancel") {
        out.line(format_args!(
            "on the wire {}, of which went out {}",
            progress.on_the_wire, progress.went_out
        ))?;
    }
    if matches!(job.state.as_str(), "stopped" | "interrupted") {
        out.line(format_args!("finish it with: kakitome redrive --resume {}", job.id))?;
    }
    Ok(())
}
