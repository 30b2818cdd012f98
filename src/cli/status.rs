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
use crate::clock::Timestamp;

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
    oldest_unsent_seconds: Option<f64>,
    oldest_unsent_since: Option<Timestamp>,
    queue: Option<Depth>,
    providers: Vec<Provider>,
    last_receive_at: Option<Timestamp>,
    sent_per_second: f64,
    drain_seconds: Option<f64>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
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
    if args.json && args.prove {
        let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(raw.get())?;
        fields.insert("converged".into(), report.open().is_empty().into());
        out.line(serde_json::Value::Object(fields))?;
    } else if args.json {
        out.line(raw.get())?;
    } else if args.prove {
        prove(&report, out)?;
    } else {
        let now = out.now();
        print(&report, alert_delay, now, out)?;
    }
    Ok(exit)
}

impl Report {
    fn count(&self, status: &str) -> u64 {
        self.by_status.get(status).copied().unwrap_or_default()
    }

    /// What can still be sent, in words; nothing when converged.
    fn open(&self) -> Vec<String> {
        let log = OPEN.into_iter().map(|status| (self.count(status), status));
        let mut open: Vec<String> =
            log.filter(|(count, _)| *count > 0).map(|(count, status)| format!("{count} {status}")).collect();
        match self.queue.map(|queue| queue.visible + queue.in_flight + queue.delayed) {
            Some(0) => {}
            Some(queue) => open.push(format!("{queue} in the queue")),
            None => open.push("what the queue, which did not answer, may hold".into()),
        }
        open
    }

    fn oldest(&self) -> Option<Duration> {
        self.oldest_unsent_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
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
        if self.queue.is_none() {
            troubles.push("the queue does not answer".into());
        }
        if let Some(age) = self.oldest().filter(|age| *age > alert_delay) {
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
    for (name, value) in facts(report, alert_delay, now) {
        out.line(format_args!("  {name:<14} {value}"))?;
    }
    Ok(())
}

/// The lines under the verdict.
fn facts(report: &Report, alert_delay: Duration, now: Timestamp) -> Vec<(&'static str, String)> {
    let counts = report.by_status.iter().filter(|(_, count)| **count > 0);
    let counts: Vec<String> = counts.map(|(status, count)| format!("{count} {status}")).collect();
    let oldest = match report.oldest() {
        Some(age) => format!("{} (alert above {})", human(age), human(alert_delay)),
        None => "nothing waits".into(),
    };
    let drain = match report.drain_seconds {
        Some(0.0) => "nothing is on its way".into(),
        Some(seconds) => {
            let span = Duration::try_from_secs_f64(seconds.ceil()).unwrap_or_default();
            let digits = if report.sent_per_second < 1.0 { 3 } else { 1 };
            format!("in {} at {:.digits$}/s", human(span), report.sent_per_second)
        }
        None => "no forecast: nothing is being sent".into(),
    };
    let queue = report.queue.map_or_else(
        || "no answer".into(),
        |Depth { visible, in_flight, delayed, dead }| {
            format!("{visible} visible, {in_flight} in flight, {delayed} delayed, {dead} dead")
        },
    );
    let received = report.last_receive_at.map_or_else(|| "none yet".into(), |at| relative(at, now));
    let mut facts = vec![
        ("log", if counts.is_empty() { "empty".into() } else { counts.join(", ") }),
        ("oldest unsent", oldest),
        ("queue", queue),
        ("dead letters", report.count("failed").to_string()),
        ("drained", drain),
        ("last receive", received),
    ];
    facts.extend(report.providers.iter().map(|provider| ("provider", tell_provider(provider, now))));
    facts
}

fn tell_provider(provider: &Provider, now: Timestamp) -> String {
    let probe =
        provider.probe_at.map_or_else(String::new, |at| format!(", tried again {}", relative(at, now)));
    let error = provider.last_error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
    let (circuit, since) = (provider.circuit.replace('_', " "), human(now.since(provider.since)));
    format!("{}: circuit {circuit} for {since}{probe}{error}", provider.name)
}

fn prove(report: &Report, out: &mut Output) -> anyhow::Result<()> {
    let queue =
        |count: fn(Depth) -> u64| report.queue.map_or_else(|| "no answer".into(), |q| count(q).to_string());
    let count = |status: &str| report.count(status).to_string();
    let mut sources = vec![
        ("queue: visible".to_owned(), queue(|q| q.visible)),
        ("queue: in flight".to_owned(), queue(|q| q.in_flight)),
        ("queue: delayed".to_owned(), queue(|q| q.delayed)),
    ];
    sources.extend(OPEN.map(|status| (format!("log: {status}"), count(status))));
    let ended = report.by_status.iter().filter(|(status, _)| !OPEN.contains(&status.as_str()));
    sources.extend(ended.map(|(status, count)| (format!("log: {status}"), format!("{count} (at an end)"))));
    sources.push(("dead letters: log".to_owned(), count("failed")));
    sources.push(("dead letters: queue".to_owned(), queue(|q| q.dead)));
    for (source, count) in sources {
        out.line(format_args!("{source:<20} {count}"))?;
    }
    if let Some(since) = report.oldest_unsent_since {
        out.line(format_args!("{:<20} since {since}", "oldest unsent"))?;
    }
    let open = report.open();
    if open.is_empty() {
        out.line("converged: nothing can still be sent")?;
    } else {
        out.line(format_args!("not yet: {} can still be sent", open.join(", ")))?;
    }
    Ok(())
}
