//! The commands: their help, what they print, and how they end.

mod enqueue;
mod help;
mod operate;
mod pretend;
mod process;
mod suppressions;
mod views;

use std::time::Duration;

use clap::Parser;
use kakitome::cli::client::Client;
use kakitome::cli::output::Output;
use kakitome::cli::{Cli, Exit};
use kakitome::clock::{Clock, Timestamp};

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub out: String,
    pub err: String,
    pub ended: Result<Exit, String>,
}

/// The moment at which every command of these tests runs.
fn now() -> Timestamp {
    Timestamp::parse("2026-11-21T12:00:00Z").unwrap()
}

/// Runs a client command without a terminal.
async fn run(client: &Client, args: &[&str]) -> Ran {
    run_at(client, args, None).await
}

/// Runs a client command; with `answers` at a terminal where somebody types them.
pub async fn run_at(client: &Client, args: &[&str], answers: Option<&'static str>) -> Ran {
    let cli = Cli::try_parse_from(std::iter::once(&"kakitome").chain(args)).unwrap();
    let (mut output, out, err) = Output::captured(Clock::manual(now()), answers);
    let ended = cli.run_on(client, Duration::from_secs(600), &mut output).await;
    Ran { out: out.text(), err: err.text(), ended: ended.map_err(|error| format!("{error:#}")) }
}
