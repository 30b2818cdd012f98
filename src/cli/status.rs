//! `status`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Exit;
use super::client::Client;
use super::output::Output;
use super::when::{human, relative};
use crate::clock::{Clock, Timestamp};

/// Statuses from which something can still be sent without an operator sending it again.
const OPEN: [&str; 6] = ["accepted", "scheduled", "held", "attempting", "retrying", "unknown"];

/// Is everything all right? Backlog, oldest unsent, providers, dead letters, forecast
#[derive(Debug, Args)]
#[command(after_help = "\
Example: wait in a script until everything handed in has met its end
  until kakitome status --prove; do sleep 5; done")]
pub struct StatusArgs {
    /// The server's figures as one line of JSON
    #[arg(long)]
    json: bool,
    /// Name each source; exit 0 only if nothing can still be sent
    #[arg(long)]
    prove: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Report {
    by_status: BTreeMap<String, u64>,
    oldest_unsent_seconds: Option<u64>,
    oldest_unsent_since: Option<Timestamp>,
    queue: Depth,
    providers: Vec<Provider>,
    last_receive_at: Option<Timestamp>,
    sent_per_second: f64,
    drain_seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Depth {
    visible: u64,
    in_flight: u64,
    delayed: u64,
    dead: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Provider {
    name: String,
    circuit: String,
    since: Timestamp,
    probe_at: Option<Timestamp>,
    last_error: Option<String>,
}

/// Runs `status`. `alert_delay`: an unsent notification that waits longer is not all right.
pub async fn run(
    args: &StatusArgs,
    alert_delay: Duration,
    client: &Client,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let raw: Box<RawValue> = client.get("/v1/status", &[]).await?;
    let report: Report = serde_json::from_str(raw.get())?;
    let exit = if args.prove && !report.open().is_empty() { Exit::Failed } else { Exit::Done };
    if args.json {
        out.line(raw.get())?;
    } else if args.prove {
        prove(&report, out)?;
    } else {
        print(&report, alert_delay, Clock::system().now(), out)?;
    }
    Ok(exit)
}

impl Report {
    fn count(&self, status: &str) -> u64 {
        self.by_status.get(status).copied().unwrap_or_default()
    }

    /// What can still be sent, in words; nothing when converged.
    fn open(&self) -> Vec<String> {
        let queue = self.queue.visible + self.queue.in_flight + self.queue.delayed;
        let log = OPEN.into_iter().map(|status| (self.count(status), status));
        let mut open: Vec<String> =
            log.filter(|(count, _)| *count > 0).map(|(count, status)| format!("{count} {status}")).collect();
        if queue > 0 {
            open.push(format!("{queue} in the queue"));
        }
        open
    }

    /// What is not all right, worst first.
    fn troubles(&self, alert_delay: Duration) -> Vec<String> {
        let mut troubles = Vec::new();
        for provider in self.providers.iter().filter(|provider| provider.circuit != "closed") {
            let state = match provider.circuit.as_str() {
                "refused" => "refuses us: its key, credits or sender must be mended",
                "open" => "is ill: sending is paused and starts again by itself",
                _ => "was ill and is being tried",
            };
            troubles.push(format!("provider {} {state}", provider.name));
        }
        if let Some(age) =
            self.oldest_unsent_seconds.map(Duration::from_secs).filter(|age| *age > alert_delay)
        {
            troubles.push(format!(
                "the oldest unsent waits for {}, above {}",
                human(age),
                human(alert_delay)
            ));
        }
        let dead = self.count("failed");
        if dead > 0 {
            troubles.push(format!("{dead} failed; `kakitome unsent` lists them"));
        }
        troubles
    }
}

fn print(report: &Report, alert_delay: Duration, now: Timestamp, out: &mut Output) -> anyhow::Result<()> {
    let troubles = report.troubles(alert_delay);
    if troubles.is_empty() {
        out.line("all right")?;
    } else {
        out.line(format_args!("not all right: {}", troubles.join("; ")))?;
    }
    let counts: Vec<String> =
        report.by_status.iter().map(|(status, count)| format!("{count} {status}")).collect();
    let oldest = match report.oldest_unsent_seconds {
        Some(age) => format!("{} (alert above {})", human(Duration::from_secs(age)), human(alert_delay)),
        None => "nothing waits".into(),
    };
    let drain = match report.drain_seconds {
        _ if report.open().is_empty() => "nothing to drain".into(),
        Some(seconds) => {
            format!("in {} at {:.1}/s", human(Duration::from_secs(seconds)), report.sent_per_second)
        }
        None => "no forecast: nothing is being sent".into(),
    };
    let Depth { visible, in_flight, delayed, dead } = &report.queue;
    let fields = [
        ("log", if counts.is_empty() { "empty".into() } else { counts.join(", ") }),
        ("oldest unsent", oldest),
        ("queue", format!("{visible} visible, {in_flight} in flight, {delayed} delayed")),
        ("dead letters", format!("{} in the log, {dead} in the dead-letter queue", report.count("failed"))),
        ("drained", drain),
        ("last receive", report.last_receive_at.map_or_else(|| "none yet".into(), |at| relative(at, now))),
    ];
    for (name, value) in fields {
        out.line(format_args!("  {name:<14} {value}"))?;
    }
    for provider in &report.providers {
        let probe =
            provider.probe_at.map_or_else(String::new, |at| format!(", tried again {}", relative(at, now)));
        let error = provider.last_error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
        let circuit = provider.circuit.replace('_', " ");
        let since = relative(provider.since, now);
        out.line(format_args!(
            "  {:<14} {}: circuit {circuit} since {since}{probe}{error}",
            "provider", provider.name
        ))?;
    }
    Ok(())
}

fn prove(report: &Report, out: &mut Output) -> anyhow::Result<()> {
    let Depth { visible, in_flight, delayed, dead } = &report.queue;
    for (source, count) in [("visible", visible), ("in flight", in_flight), ("delayed", delayed)] {
        out.line(format_args!("queue {source:<18} {count}"))?;
    }
    for status in OPEN {
        out.line(format_args!("log {status:<20} {}", report.count(status)))?;
    }
    for (status, count) in report.by_status.iter().filter(|(status, _)| !OPEN.contains(&status.as_str())) {
        out.line(format_args!("log {status:<20} {count} (at an end)"))?;
    }
    out.line(format_args!("dead-letter queue        {dead} (sent again only by `kakitome redrive`)"))?;
    if let Some(since) = report.oldest_unsent_since {
        out.line(format_args!("oldest unsent            since {since}"))?;
    }
    let open = report.open();
    if open.is_empty() {
        out.line("converged: nothing can still be sent")?;
    } else {
        out.line(format_args!("not yet: {} can still be sent", open.join(", ")))?;
    }
    Ok(())
}
