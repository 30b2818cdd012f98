//! `status`.

mod parts;
mod prove;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Exit;
use super::client::Client;
use super::output::Output;
use super::unconfirmed::Counts;
use super::when::{clock, human, relative};
use crate::clock::Timestamp;
use crate::tracking::aside::Count;
use parts::{Callback, Provider, Stop, Witness, tell_provider, tell_witness};

/// Is everything all right? Backlog, oldest unsent, providers, dead letters, forecast
#[derive(Debug, Args)]
#[command(after_help = "\
Example: wait in a script until everything handed in has met its end
  until kakitome status --prove; do sleep 5; done")]
pub struct StatusArgs {
    /// The server's figures as one line of JSON
    #[arg(long)]
    json: bool,
    /// Read every source anew and name it with its figures; exit 0 only if nothing can still be sent
    #[arg(long)]
    prove: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Report {
    now: Option<Timestamp>,
    by_status: BTreeMap<String, u64>,
    oldest_unsent_seconds: Option<f64>,
    oldest_unsent_since: Option<Timestamp>,
    queue: Option<Depth>,
    inbox: Option<Inbox>,
    unmatched_events: Option<u64>,
    events_aside: Option<Count>,
    providers: Vec<Provider>,
    witnesses: Option<Vec<Witness>>,
    unconfirmed: Option<Counts>,
    last_receive_at: Option<Timestamp>,
    sent_per_second: f64,
    drain_seconds: Option<f64>,
    clear_at: Option<Timestamp>,
    stops: Option<Vec<Stop>>,
    jobs: Option<Vec<Job>>,
    callbacks: Option<Vec<Callback>>,
    converged: Option<bool>,
    open: Vec<Open>,
    evidence: Option<prove::Evidence>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Job {
    id: String,
    action: String,
    state: String,
    is_orphaned: bool,
    who: String,
    why: Option<String>,
    note: Option<String>,
    planned: u64,
    done: u64,
    left: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Open {
    source: String,
    what: String,
    count: Option<u64>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct Depth {
    visible: u64,
    in_flight: u64,
    delayed: u64,
    dead: u64,
}

/// Events that wait to be folded.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct Inbox {
    parcels: u64,
    events: Option<u64>,
    lag_seconds: Option<u64>,
}

/// Runs `status`. `alert_delay`: an unsent notification that waits longer is not all right.
pub async fn run(
    args: &StatusArgs,
    alert_delay: Duration,
    client: &Client,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let query: &[_] = if args.prove { &[("prove", "true".to_owned())] } else { &[] };
    let raw: Box<RawValue> = client.get("/v1/status", query).await?;
    let report: Report = serde_json::from_str(raw.get())?;
    if args.json {
        out.line(raw.get())?;
    } else if args.prove {
        prove::print(&report, out)?;
    } else {
        let now = out.now();
        print(&report, alert_delay, now, out)?;
    }
    // A server that knows of no proof has proved nothing.
    Ok(if args.prove && report.converged != Some(true) { Exit::Failed } else { Exit::Done })
}

impl Report {
    fn count(&self, status: &str) -> u64 {
        self.by_status.get(status).copied().unwrap_or_default()
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
                "held" => "is held: nothing is sent to it until somebody releases it",
                "open" => "is ill: sending is paused and starts again by itself",
                _ => "was ill and is being tried",
            };
            troubles.push(format!("provider {} {state}", provider.name));
        }
        let stopped = self.jobs.iter().flatten().filter(|job| job.state != "watching" && !job.is_running());
        troubles.extend(stopped.map(|job| format!("the {} {} {}", job.action, job.id, job.stand())));
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
        if let Some(inbox) = self.inbox.filter(|inbox| inbox.lag() > alert_delay) {
            troubles.push(format!("events are folded {} late", human(inbox.lag())));
        }
        if let Some(Count { count, at_least }) = self.events_aside.filter(|aside| aside.count > 0) {
            let at_least = if at_least { "at least " } else { "" };
            troubles
                .push(format!("{at_least}{count} events are set aside; `kakitome events aside` lists them"));
        }
        if let Some(words) = self.unconfirmed.as_ref().and_then(Counts::words) {
            troubles.push(format!("{words}; `kakitome unconfirmed` lists them"));
        }
        let callbacks = self.callbacks.iter().flatten().filter(|one| one.state != "paused").count();
        if callbacks > 0 {
            troubles
                .push(format!("{callbacks} callbacks are told nothing; `kakitome callbacks list` says why"));
        }
        let dead = self.count("failed");
        if dead > 0 {
            troubles.push(format!("{dead} failed; `kakitome unsent` lists them"));
        }
        troubles
    }
}

impl Inbox {
    fn lag(&self) -> Duration {
        Duration::from_secs(self.lag_seconds.unwrap_or(0))
    }

    fn tell(&self) -> String {
        let lag =
            self.lag_seconds.map_or_else(String::new, |_| format!(", the oldest for {}", human(self.lag())));
        match self.events {
            _ if self.parcels == 0 => "none".into(),
            Some(events) => format!("{events}{lag}"),
            None => format!("about {} parcels{lag}", self.parcels),
        }
    }
}

impl Job {
    fn is_running(&self) -> bool {
        matches!(self.state.as_str(), "canary" | "running") && !self.is_orphaned
    }

    /// How it stands, in words.
    fn stand(&self) -> String {
        let left = match self.left {
            0 => String::new(),
            left => format!(" with {left} of {} left", self.planned),
        };
        match self.state.as_str() {
            "canary" => format!("waits for its canary{left}"),
            "running" if self.is_orphaned => format!("has not been heard of{left}"),
            "running" => format!("is running{left}"),
            "watching" => "waits for its last outcomes".into(),
            "interrupted" => {
                format!("was interrupted{left}: `kakitome redrive --resume {}` goes on", self.id)
            }
            "stopped" => format!("was stopped{left}"),
            state => format!("is {state}{left}"),
        }
    }

    fn tell(&self) -> String {
        let why = [&self.why, &self.note].into_iter().flatten().map(|text| format!("; {text}"));
        let why: String = why.collect();
        let goes_on = match (self.state.as_str(), self.action.as_str()) {
            ("interrupted" | "stopped", "redrive") => format!("; redrive --resume {} goes on", self.id),
            _ => String::new(),
        };
        let Self { action, id, done, who, .. } = self;
        format!("{action} {id} {}; {done} done, by {who}{why}{goes_on}", self.stand())
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
            let clear = report.clear_at.map_or_else(String::new, |at| format!(", clear at {}", clock(at)));
            format!("in {} at {:.digits$}/s{clear}", human(span), report.sent_per_second)
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
    facts.extend(report.inbox.map(|inbox| ("events waiting", inbox.tell())));
    if let Some(count) = report.unmatched_events.filter(|count| *count > 0) {
        facts.push(("unmatched", format!("{count} events; `kakitome events --unmatched` lists them")));
    }
    facts.extend(report.stops.iter().flatten().map(|stop| ("stop", stop.tell(now))));
    facts.extend(report.jobs.iter().flatten().map(|job| ("job", job.tell())));
    facts.extend(report.callbacks.iter().flatten().map(|callback| ("callback", callback.tell(now))));
    // An older server tells of neither.
    if report.now.is_some() && (report.stops.is_none() || report.jobs.is_none()) {
        facts.push(("journal", "no answer: stops and jobs are not known".into()));
    }
    facts.extend(report.providers.iter().map(|provider| ("provider", tell_provider(provider, now))));
    facts.extend(report.witnesses.iter().flatten().map(|witness| ("events", tell_witness(witness, now))));
    if let Some(words) = report.unconfirmed.as_ref().and_then(Counts::words) {
        facts.push(("unconfirmed", words));
    }
    facts
}
