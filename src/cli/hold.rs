//! `hold`, `release` and `cancel`.

use clap::Args;
use serde_json::{Map, Value};

use super::Exit;
use super::change::{self, Change};
use super::client::Client;
use super::filter::FilterArgs;
use super::output::Output;
use super::redrive::parse_rate;
use crate::notification::NotificationId;

/// Keep notifications back until somebody releases them: those in the queue, waiting for a retry, scheduled or in a
/// running redrive, and those that arrive later
///
/// Takes effect within two seconds on every worker. Only what is already on the wire can still go out; it says how many.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: stop a broadcast that has a wrong date in it; or everything
  kakitome hold --batch tos-2026-11 --reason 'wrong date'
  kakitome hold --all --reason 'find out first' --yes")]
pub struct HoldArgs {
    #[command(flatten)]
    named: HoldNamed,
    #[command(flatten)]
    how: HowArgs,
    /// Why; shown with each of them
    #[arg(long, value_name = "TEXT", default_value = "held by an operator")]
    reason: String,
}

/// Let held notifications go on, and lift the standing hold of the same scope
#[derive(Debug, Args)]
#[command(after_help = "\
Example: a broadcast; or what the storm guard held, 20 a second
  kakitome release --batch tos-2026-11 --reason 'date is right after all' --yes
  kakitome release --held-for repeat --rate 20/s --yes")]
pub struct ReleaseArgs {
    #[command(flatten)]
    named: ReleaseNamed,
    #[command(flatten)]
    narrow: NarrowArgs,
    #[command(flatten)]
    how: HowArgs,
    /// At most this many a second, such as 50/s
    #[arg(long, value_name = "N/s", value_parser = parse_rate)]
    rate: Option<u32>,
    /// Why; kept with each of them and with the job
    #[arg(long, value_name = "TEXT", default_value = "released by an operator")]
    reason: String,
}

/// Stop notifications for good, dead letters included
#[derive(Debug, Args)]
#[command(after_help = "\
Example: two bookings that were withdrawn
  kakitome cancel --reason 'booking withdrawn' --id \\
      0197a3c2-7a10-7c3e-9a55-0d5f6f1f2a3b,0197a3c2-7a11-7000-8000-00163e1a2b3c")]
pub struct CancelArgs {
    #[command(flatten)]
    named: CancelNamed,
    #[command(flatten)]
    narrow: NarrowArgs,
    #[command(flatten)]
    how: HowArgs,
    /// Why; shown with each of them
    #[arg(long, value_name = "TEXT", default_value = "cancelled by an operator")]
    reason: String,
}

// Not among the names: `--yes` alone must never mean everything.
#[derive(Debug, Args)]
struct HowArgs {
    /// Show the counts and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct HoldNamed {
    /// This notification; several with commas
    #[arg(long, value_delimiter = ',', value_name = "ID", conflicts_with_all = ["batch", "tenant"])]
    id: Vec<NotificationId>,
    /// Every one of this broadcast
    #[arg(long)]
    batch: Option<String>,
    /// Every one of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Hand nothing to this provider; what waits goes through another one, or waits
    #[arg(long, conflicts_with_all = ["id", "batch", "tenant"])]
    provider: Option<String>,
    /// Everything
    #[arg(long, conflicts_with_all = ["id", "batch", "tenant", "provider"])]
    all: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct ReleaseNamed {
    /// This notification; several with commas
    #[arg(long, value_delimiter = ',', value_name = "ID", conflicts_with_all = ["batch", "tenant"])]
    id: Vec<NotificationId>,
    /// Every one of this broadcast
    #[arg(long)]
    batch: Option<String>,
    /// Every one of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Hand mail to this provider again
    #[arg(long, conflicts_with_all = ["id", "batch", "tenant"])]
    provider: Option<String>,
    /// Every one that is held for this reason, to the letter; standing holds stay
    #[arg(long, value_name = "REASON", conflicts_with = "provider")]
    held_for: Option<String>,
    /// Everything
    #[arg(long, conflicts_with_all = ["id", "batch", "tenant", "provider", "held_for", "recipient", "since", "until"])]
    all: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct CancelNamed {
    /// This notification; several with commas
    #[arg(long, value_delimiter = ',', value_name = "ID", conflicts_with_all = ["batch", "tenant"])]
    id: Vec<NotificationId>,
    /// Every one of this broadcast
    #[arg(long)]
    batch: Option<String>,
    /// Every one of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Every one that is held or failed for this reason, to the letter
    #[arg(long, value_name = "REASON")]
    held_for: Option<String>,
    /// Everything
    #[arg(long, conflicts_with_all = ["id", "batch", "tenant", "held_for", "recipient", "since", "until"])]
    all: bool,
}

/// With one of these, the act concerns what is there now, and no standing stop comes or goes.
#[derive(Debug, Args)]
struct NarrowArgs {
    /// To this address
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// Accepted since: 2h, 2026-11-21T09:00:00Z or 2026-11-21T18:00:00+09:00
    #[arg(long, value_name = "TIME", value_parser = super::when::parse_moment)]
    since: Option<crate::clock::Timestamp>,
    /// Accepted before, in the same forms
    #[arg(long, value_name = "TIME", value_parser = super::when::parse_moment)]
    until: Option<crate::clock::Timestamp>,
}

/// Runs `hold`.
pub async fn run_hold(args: &HoldArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let HoldNamed { id, batch, tenant, provider, all } = &args.named;
    let filter = FilterArgs { tenant: tenant.clone(), batch: batch.clone(), ..FilterArgs::default() };
    let change = Change {
        action: "hold",
        ids: id,
        filter,
        provider: provider.as_deref(),
        all: *all,
        reason: Some(&args.reason),
        yes: args.how.yes,
        dry_run: args.how.dry_run,
        ..Change::default()
    };
    change::run(&change, client, out).await
}

/// Runs `release`.
pub async fn run_release(args: &ReleaseArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let ReleaseNamed { id, batch, tenant, provider, held_for, all } = &args.named;
    let mut pace = Map::new();
    pace.extend(args.rate.map(|rate| ("per_second".to_owned(), Value::from(rate))));
    let change = Change {
        action: "release",
        ids: id,
        filter: args.narrow.filter(tenant, batch, held_for),
        provider: provider.as_deref(),
        all: *all,
        reason: Some(&args.reason),
        pace,
        yes: args.how.yes,
        dry_run: args.how.dry_run,
    };
    change::run(&change, client, out).await
}

/// Runs `cancel`.
pub async fn run_cancel(args: &CancelArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let CancelNamed { id, batch, tenant, held_for, all } = &args.named;
    let change = Change {
        action: "cancel",
        ids: id,
        filter: args.narrow.filter(tenant, batch, held_for),
        all: *all,
        reason: Some(&args.reason),
        yes: args.how.yes,
        dry_run: args.how.dry_run,
        ..Change::default()
    };
    change::run(&change, client, out).await
}

impl NarrowArgs {
    fn filter(&self, tenant: &Option<String>, batch: &Option<String>, reason: &Option<String>) -> FilterArgs {
        FilterArgs {
            tenant: tenant.clone(),
            batch: batch.clone(),
            reason: reason.clone(),
            recipient: self.recipient.clone(),
            since: self.since,
            until: self.until,
            ..FilterArgs::default()
        }
    }
}
