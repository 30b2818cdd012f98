//! `hold`, `release` and `cancel`.

use clap::Args;

use super::Exit;
use super::change::{self, Change};
use super::client::Client;
use super::filter::FilterArgs;
use super::output::Output;
use crate::notification::NotificationId;

/// Keep notifications back until somebody releases them, those in the queue or waiting for a retry included
#[derive(Debug, Args)]
#[command(after_help = "\
Example: stop a broadcast that has a wrong date in it
  kakitome hold --batch tos-2026-11 --reason 'wrong date'")]
pub struct HoldArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Why; shown with each of them
    #[arg(long, value_name = "TEXT", default_value = "held by an operator")]
    reason: String,
}

/// Let held notifications go on
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kakitome release --batch tos-2026-11 --reason 'date is right after all' --yes")]
pub struct ReleaseArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Why, for the server's log
    #[arg(long, value_name = "TEXT", default_value = "released by an operator")]
    reason: String,
}

/// Stop notifications for good, dead letters included
#[derive(Debug, Args)]
#[command(after_help = "\
Example: two bookings that were withdrawn
  kakitome cancel --id 0197a3c2-7a10-7c3e-9a55-0d5f6f1f2a3b,0197a3c2-7a11-7000-8000-00163e1a2b3c \\
      --reason 'booking withdrawn'")]
pub struct CancelArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Why; shown with each of them
    #[arg(long, value_name = "TEXT", default_value = "cancelled by an operator")]
    reason: String,
}

#[derive(Debug, Args)]
struct WhichArgs {
    #[command(flatten)]
    named: NamedArgs,
    // Not among the names: `--yes` alone must never mean everything.
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct NamedArgs {
    /// This notification; several with commas
    #[arg(long, value_delimiter = ',', value_name = "ID", conflicts_with_all = ["batch", "tenant"])]
    id: Vec<NotificationId>,
    /// Every one of this broadcast
    #[arg(long)]
    batch: Option<String>,
    /// Every one of this tenant
    #[arg(long)]
    tenant: Option<String>,
}

impl WhichArgs {
    fn change<'a>(&'a self, action: &'a str, reason: &'a str) -> Change<'a> {
        let NamedArgs { id, batch, tenant } = &self.named;
        let (tenant, batch) = (tenant.clone(), batch.clone());
        let filter = FilterArgs { tenant, batch, ..FilterArgs::default() };
        Change {
            action,
            ids: id,
            filter,
            reason: Some(reason),
            per_second: None,
            yes: self.yes,
            dry_run: false,
        }
    }
}

/// Runs `hold`.
pub async fn run_hold(args: &HoldArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    change::run(&args.which.change("hold", &args.reason), client, out).await
}

/// Runs `release`.
pub async fn run_release(args: &ReleaseArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    change::run(&args.which.change("release", &args.reason), client, out).await
}

/// Runs `cancel`.
pub async fn run_cancel(args: &CancelArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    change::run(&args.which.change("cancel", &args.reason), client, out).await
}
