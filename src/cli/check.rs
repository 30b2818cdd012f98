//! `check`.

use clap::Args;

use super::Exit;
use super::output::Output;
use crate::app;
use crate::settings::{Roles, Settings};

/// Read the configuration, reach everything it names, and say what is wrong and how to mend it
#[derive(Debug, Args)]
#[command(after_help = "\
Example: before a new configuration goes live
  kakitome check --config kakitome.toml")]
pub struct CheckArgs {}

/// Runs `check`.
pub async fn run(_args: &CheckArgs, settings: &Settings, out: &mut Output) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    out.line("ok    configuration: every key is known and fits")?;
    for warning in &settings.warnings {
        out.line(format_args!("warn  configuration: {warning}"))?;
    }
    if let Err(faults) = settings.check_roles(Roles::ALL) {
        exit = Exit::Failed;
        for fault in &faults.0 {
            out.line(format_args!("FAIL  configuration: {fault}"))?;
        }
    }
    for line in app::check(settings).await? {
        let verdict = if line.ok { "ok  " } else { "FAIL" };
        out.line(format_args!("{verdict}  {}: {}", line.name, line.detail))?;
        if let Some(remedy) = line.remedy {
            out.line(format_args!("      mend: {remedy}"))?;
        }
        if !line.ok {
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}
