//! `redrive`.

use clap::Args;
use serde_json::{Map, Value};

use super::Exit;
use super::change::{self, Change, Job};
use super::client::Client;
use super::filter::FilterArgs;
use super::output::Output;
use crate::notification::NotificationId;

/// Send again what failed: shows the exact counts, asks, then goes as a job that the journal keeps
///
/// Killed at any moment, --resume finishes it; nothing is sent twice. What is past its deadline stays, unless
/// --past-deadline is given.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: look first; then send again what failed in the last two hours, 50 a second, ten of them first
  kakitome redrive --since 2h --dry-run
  kakitome redrive --since 2h --rate 50/s --canary 10 --stop-above 20 \\
      --note 'key is valid again' --yes
  kakitome redrive --resume 0197a3c2-7a10-7c3e-9a55-0d5f6f1f2a3b")]
pub struct RedriveArgs {
    /// This notification; several with commas
    #[arg(long, value_delimiter = ',', value_name = "ID", help_heading = "Which")]
    id: Vec<NotificationId>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Show the counts and change nothing
    #[arg(long, help_heading = "How")]
    dry_run: bool,
    /// At most this many a second, such as 50/s; never faster than they are being sent
    #[arg(long, value_name = "N/s", value_parser = parse_rate, help_heading = "How")]
    rate: Option<u32>,
    /// First so many; goes on only once each was sent or failed, and few failed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "How")]
    canary: Option<u32>,
    /// Stop when more than so many percent fail again [default with --canary: 10, for the canary alone]
    #[arg(long, value_name = "PCT", value_parser = clap::value_parser!(u32).range(0..=100), help_heading = "How")]
    stop_above: Option<u32>,
    /// Also what is past its useful_until, expired ones included
    #[arg(long, help_heading = "How")]
    past_deadline: bool,
    /// Why; kept with the job and with each notification
    #[arg(long, value_name = "TEXT", help_heading = "How")]
    note: Option<String>,
    /// Do not ask
    #[arg(long, help_heading = "How")]
    yes: bool,
    /// Finish this job, which was stopped or interrupted; also a hold, release or cancel
    #[arg(long, value_name = "JOB", help_heading = "How", conflicts_with_all = [
        "id", "status", "tenant", "batch", "recipient", "provider", "reason", "since", "until", "dry_run", "rate",
        "canary", "stop_above", "past_deadline", "note",
    ])]
    resume: Option<String>,
}

pub(super) fn parse_rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    number
        .parse()
        .ok()
        .filter(|rate| (1..=100_000).contains(rate))
        .ok_or_else(|| "allowed: a whole number a second up to 100000, such as 50/s".into())
}

/// Runs `redrive`.
pub async fn run(args: &RedriveArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    if let Some(id) = &args.resume {
        return resume(id, client, out).await;
    }
    let mut pace = Map::new();
    let numbers =
        [("per_second", args.rate), ("canary", args.canary), ("stop_above_percent", args.stop_above)];
    for (name, value) in numbers {
        pace.extend(value.map(|value| (name.to_owned(), Value::from(value))));
    }
    if args.past_deadline {
        pace.insert("late".into(), true.into());
    }
    let change = Change {
        action: "redrive",
        ids: &args.id,
        filter: args.filter.clone(),
        reason: args.note.as_deref(),
        pace,
        yes: args.yes,
        dry_run: args.dry_run,
        ..Change::default()
    };
    change::run(&change, client, out).await
}

/// Those that it concerns were counted and agreed to when it began.
async fn resume(id: &str, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let job: Job = client.post(&format!("/v1/jobs/{id}/resume"), &Value::Object(Map::new())).await?;
    let (action, done, planned) = (&job.action, job.progress.done, job.progress.planned);
    out.line(format_args!("job {}: {action}, {done} of {planned} done so far", job.id))?;
    out.flush()?;
    change::follow(&job.id, client, out).await
}
