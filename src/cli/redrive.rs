//! `redrive`.

use clap::Args;

use super::Exit;
use super::change::{self, Change};
use super::client::Client;
use super::filter::FilterArgs;
use super::output::Output;
use crate::notification::NotificationId;

/// Send again what failed: shows the exact count by reason, asks, then goes
///
/// Safe to repeat: what was sent meanwhile is not sent again.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: look first, then send again what failed in the last two hours, 50 a second
  kakitome redrive --since 2h --dry-run
  kakitome redrive --since 2h --rate 50/s --yes")]
pub struct RedriveArgs {
    /// This notification; several with commas
    #[arg(long, value_delimiter = ',', value_name = "ID", help_heading = "Which")]
    id: Vec<NotificationId>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Show the counts and change nothing
    #[arg(long, help_heading = "How")]
    dry_run: bool,
    /// At most this many a second, such as 50/s
    #[arg(long, value_name = "N/s", value_parser = parse_rate, help_heading = "How")]
    rate: Option<u32>,
    /// Do not ask
    #[arg(long, help_heading = "How")]
    yes: bool,
}

fn parse_rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    number
        .parse()
        .ok()
        .filter(|rate| *rate > 0)
        .ok_or_else(|| "allowed: a whole number a second, such as 50/s".into())
}

/// Runs `redrive`.
pub async fn run(args: &RedriveArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let change = Change {
        action: "redrive",
        ids: &args.id,
        filter: args.filter.clone(),
        reason: None,
        per_second: args.rate,
        yes: args.yes,
        dry_run: args.dry_run,
    };
    change::run(&change, client, out).await
}
