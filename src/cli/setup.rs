//! `setup`.

use clap::Args;

use super::Exit;
use super::output::Output;
use crate::app;
use crate::settings::Settings;

/// Create or verify the storage of the configured backend; changes nothing that is already right
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kakitome setup --data-dir /var/lib/kakitome")]
pub struct SetupArgs {}

/// Runs `setup`.
pub async fn run(_args: &SetupArgs, settings: &Settings, out: &mut Output) -> anyhow::Result<Exit> {
    for line in app::setup(settings).await? {
        let verdict = if line.unchanged { "is right" } else { "done    " };
        out.line(format_args!("{verdict}  {}: {}", line.name, line.detail))?;
    }
    Ok(Exit::Done)
}
