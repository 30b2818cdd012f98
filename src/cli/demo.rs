//! `demo`.

use std::process::ExitCode;

use clap::Args;

use crate::app::{self, DemoOptions};
use crate::settings::Settings;

/// See it work: a server, the sandbox provider, a stream of sample bookings and a provider outage
///
/// Needs nothing else: storage in a directory of its own, no mail leaves the machine.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: play the scenes, then keep serving to look around
  kakitome demo --stay")]
pub struct DemoArgs {
    /// Keep serving after the last scene, until Ctrl-C
    #[arg(long)]
    stay: bool,
}

/// Runs `demo`.
pub async fn run(args: &DemoArgs, settings: &Settings) -> anyhow::Result<ExitCode> {
    app::demo(settings, DemoOptions { stay: args.stay }).await
}
