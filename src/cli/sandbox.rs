//! `sandbox`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::Usage;
use crate::app::{self, SandboxOptions};
use crate::sandbox::faults::Plan;
use crate::secret::Secret;
use crate::settings::parse_span;

/// Run the sandbox provider: a strict SendGrid that keeps an outbox, posts signed events and plays faults
#[derive(Debug, Args)]
#[command(after_help = "\
Example: one answer in ten is a 503, and events go to a server on this machine
  kakitome sandbox --faults 5xx=10% \\
      --webhook-url http://127.0.0.1:7625/webhooks/sendgrid
  curl http://127.0.0.1:7626/sandbox/stats")]
pub struct SandboxArgs {
    /// Where it listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7626")]
    listen: SocketAddr,
    /// Where it posts event webhooks
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
    /// Time before every answer
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_latency)]
    latency: Duration,
    /// Faults to play: a file or a specification
    #[arg(long, value_name = "FILE|SPEC")]
    faults: Option<String>,
    /// Seeds every chance, so that a run can be repeated
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Demand this API key; without it any is taken
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// Keep the webhook's key pair in this file, across restarts
    #[arg(long, value_name = "FILE")]
    webhook_key_file: Option<PathBuf>,
}

fn parse_latency(text: &str) -> Result<Duration, String> {
    parse_span(text).ok_or_else(|| "allowed: a span such as 50ms or 2s".into())
}

/// Runs `sandbox`.
pub async fn run(args: &SandboxArgs) -> anyhow::Result<ExitCode> {
    if let Some(url) = &args.webhook_url
        && !reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
    {
        return Err(Usage(format!("--webhook-url {url:?}: allowed: an http or https address")).into());
    }
    let faults = args.faults.as_deref().map(Plan::load).transpose();
    let faults = faults.map_err(|error| Usage(format!("--{error}")))?.unwrap_or_default();
    let options = SandboxOptions {
        listen: args.listen,
        webhook_url: args.webhook_url.clone(),
        latency: args.latency,
        faults,
        seed: args.seed,
        api_key: args.api_key.clone().map(Secret::new),
        webhook_key_file: args.webhook_key_file.clone(),
    };
    app::sandbox(options).await
}
