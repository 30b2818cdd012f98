//! `status --prove`: one page of evidence.

use serde::Deserialize;

use super::{Depth, Report};
use crate::cli::output::Output;
use crate::cli::table;
use crate::cli::when::{clock, human};
use crate::clock::Timestamp;

/// As the server tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Evidence {
    queue: Queue,
    log: Log,
    inbox: Option<InboxProof>,
    dead_letters: DeadLetters,
    jobs: Reading,
    stops: Reading,
    provider_scheduled: Scheduled,
    providers: Reading,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct Reading {
    source: String,
    read_at: Timestamp,
    answered: bool,
    note: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Queue {
    #[serde(flatten)]
    reading: Reading,
    approximate: bool,
    depth: Option<Depth>,
    spent: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InboxProof {
    #[serde(flatten)]
    reading: Reading,
    waiting: Option<super::Inbox>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Log {
    #[serde(flatten)]
    reading: Reading,
    standings: Option<Vec<Standing>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Standing {
    status: String,
    is_open: bool,
    count: u64,
    oldest_since: Option<Timestamp>,
    by_age: ByAge,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ByAge {
    not_due: u64,
    under_1m: u64,
    under_10m: u64,
    under_1h: u64,
    under_24h: u64,
    older: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DeadLetters {
    #[serde(flatten)]
    reading: Reading,
    in_log: Option<u64>,
    in_queue: Option<u64>,
    destroyed_from: Option<Timestamp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Scheduled {
    #[serde(flatten)]
    reading: Reading,
    at_provider: u64,
    in_log: Option<u64>,
}

/// One line of the page.
struct Line<'a> {
    figure: String,
    value: String,
    detail: String,
    reading: &'a Reading,
}

const NO_ANSWER: &str = "no answer";

/// Prints the page, with the verdict last.
pub fn print(report: &Report, out: &mut Output) -> anyhow::Result<()> {
    let Some(evidence) = &report.evidence else {
        return Ok(out.line("not proved: the server is too old to name its sources")?);
    };
    let now = out.now();
    let lines = lines(report, evidence, now);
    let mut page =
        table::table(&["figure", "value", "source", "read (UTC)", "detail"], out.is_out_terminal());
    let mut notes: Vec<(&str, &str)> = Vec::new();
    for line in &lines {
        let Reading { source, read_at, .. } = line.reading;
        let read_at = clock(*read_at).replace(" UTC", "");
        page.add_row([&line.figure, &line.value, source, &read_at, &line.detail]);
        if let Some(note) = &line.reading.note {
            let about = line.figure.split(':').next().unwrap_or_default();
            if !notes.iter().any(|(_, known)| known == note) {
                notes.push((about, note));
            }
        }
    }
    out.line(table::render(&page))?;
    if !notes.is_empty() {
        let mut told = table::table(&["about", "note"], out.is_out_terminal());
        for (about, note) in notes {
            told.add_row([about, note]);
        }
        out.line(format_args!("\n{}", table::render(&told)))?;
    }
    out.line("")?;
    if report.converged == Some(true) {
        return Ok(out.line("converged: nothing can still be sent")?);
    }
    let open: Vec<String> = report.open.iter().map(super::Open::tell).collect();
    Ok(out.line(format_args!("not yet: {}", open.join(", ")))?)
}

impl super::Open {
    fn tell(&self) -> String {
        let Self { what, count, source } = self;
        let count = count.map_or_else(String::new, |count| format!("{count} "));
        match source.as_str() {
            "log" => format!("{count}{what}"),
            "queue" => format!("{count}in the queue"),
            "job" => format!("the job {what} with {count}left"),
            "unread" => format!("what the {what}, which did not answer, may hold"),
            _ => format!("{count}{what} in {source}"),
        }
    }
}

fn lines<'a>(report: &Report, evidence: &'a Evidence, now: Timestamp) -> Vec<Line<'a>> {
    let mut lines = queue(&evidence.queue);
    lines.extend(log(report, &evidence.log, now));
    let count = |count: Option<u64>| count.map_or_else(|| NO_ANSWER.to_owned(), |count| count.to_string());
    let line = |figure: &str, value: String, detail: String, reading: &'a Reading| Line {
        figure: figure.to_owned(),
        value,
        detail,
        reading,
    };
    lines.extend(evidence.inbox.as_ref().map(|inbox| {
        let waiting = inbox.waiting.map_or_else(|| NO_ANSWER.to_owned(), |waiting| waiting.tell());
        line("events", waiting, String::new(), &inbox.reading)
    }));
    let dead = &evidence.dead_letters;
    let destroyed =
        dead.destroyed_from.map_or_else(String::new, |at| format!("the first is destroyed at {at}"));
    lines.push(line("dead letters: log", count(dead.in_log), String::new(), &evidence.log.reading));
    lines.push(line("dead letters: queue", count(dead.in_queue), destroyed, &dead.reading));
    let scheduled = &evidence.provider_scheduled;
    let at_provider = scheduled.at_provider.to_string();
    lines.push(line("scheduled: provider", at_provider, String::new(), &scheduled.reading));
    lines.push(line("scheduled: log", count(scheduled.in_log), String::new(), &scheduled.reading));
    let jobs = report.jobs.iter().flatten();
    match jobs.clone().count() {
        0 => {
            let none = if report.jobs.is_some() { "none open" } else { NO_ANSWER };
            lines.push(line("jobs", none.into(), String::new(), &evidence.jobs));
        }
        _ => lines.extend(jobs.map(|job| line("job", job.state.clone(), job.tell(), &evidence.jobs))),
    }
    let stops = report.stops.iter().flatten();
    match stops.clone().count() {
        0 => {
            let none = if report.stops.is_some() { "none stands" } else { NO_ANSWER };
            lines.push(line("stops", none.into(), String::new(), &evidence.stops));
        }
        _ => lines.extend(stops.map(|stop| line("stop", stop.kind.clone(), stop.tell(now), &evidence.stops))),
    }
    let providers = &report.providers;
    if providers.is_empty() {
        lines.push(line("providers", "not seen".into(), String::new(), &evidence.providers));
    }
    lines.extend(providers.iter().map(|provider| {
        let detail = super::tell_provider(provider, now);
        let detail = detail.strip_prefix(&format!("{}: ", provider.name)).unwrap_or(&detail).to_owned();
        line("provider", provider.name.clone(), detail, &evidence.providers)
    }));
    let (span, when) = forecast(report, now);
    lines.push(line("forecast", span, when, &evidence.providers));
    lines
}

fn queue(queue: &Queue) -> Vec<Line<'_>> {
    let about = if queue.approximate { "about " } else { "" };
    let figure = |name: &str, value: Option<u64>, detail: &str| Line {
        figure: format!("queue: {name}"),
        value: value.map_or_else(|| NO_ANSWER.into(), |value| format!("{about}{value}")),
        detail: detail.to_owned(),
        reading: &queue.reading,
    };
    let depth = |count: fn(Depth) -> u64| queue.depth.map(count);
    let mut lines = vec![
        figure("visible", depth(|q| q.visible), ""),
        figure("in flight", depth(|q| q.in_flight), ""),
        figure("delayed", depth(|q| q.delayed), ""),
    ];
    if let Some(spent) = queue.spent.filter(|spent| *spent > 0) {
        lines.push(figure("for nothing", Some(spent), "of those above"));
    }
    lines
}

/// Statuses from which something can still be sent: each is named, also with none in it.
const OPEN: [&str; 6] = ["accepted", "scheduled", "held", "attempting", "retrying", "unknown"];

fn log<'a>(report: &Report, log: &'a Log, now: Timestamp) -> Vec<Line<'a>> {
    let line = |status: &str, value: String, detail: String| Line {
        figure: format!("log: {status}"),
        value,
        detail,
        reading: &log.reading,
    };
    let Some(standings) = &log.standings else {
        return vec![line("unsent", NO_ANSWER.into(), String::new())];
    };
    let standing = |status: &str| standings.iter().find(|standing| standing.status == status);
    let told = |status: &str| {
        standing(status).map_or_else(
            || line(status, "0".into(), String::new()),
            |s| line(status, s.count.to_string(), s.tell(now)),
        )
    };
    let mut lines: Vec<Line<'_>> = OPEN.into_iter().map(told).collect();
    let newer = standings.iter().filter(|one| one.is_open && !OPEN.contains(&one.status.as_str()));
    lines.extend(newer.map(|one| line(&one.status, one.count.to_string(), one.tell(now))));
    let ended = report.by_status.iter().filter(|(status, _)| {
        !OPEN.contains(&status.as_str()) && standing(status).is_none_or(|one| !one.is_open)
    });
    lines.extend(ended.map(|(status, count)| {
        let age = standing(status).map_or_else(String::new, |standing| format!("; {}", standing.tell(now)));
        line(status, count.to_string(), format!("at an end{age}"))
    }));
    lines
}

impl Standing {
    /// `oldest 2h 5m: 3 <1m, 1 <24h`.
    fn tell(&self, now: Timestamp) -> String {
        let ByAge { not_due, under_1m, under_10m, under_1h, under_24h, older } = self.by_age;
        let ages = [
            (not_due, "not due"),
            (under_1m, "<1m"),
            (under_10m, "<10m"),
            (under_1h, "<1h"),
            (under_24h, "<24h"),
            (older, "older"),
        ];
        let ages: Vec<String> = ages
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, age)| format!("{count} {age}"))
            .collect();
        let oldest = match self.oldest_since {
            Some(since) if since > now => format!("next in {}: ", human(since.since(now))),
            Some(since) => format!("oldest {}: ", human(now.since(since))),
            None => String::new(),
        };
        format!("{oldest}{}", ages.join(", "))
    }
}

/// How long it takes, and when that is.
fn forecast(report: &Report, now: Timestamp) -> (String, String) {
    let Some(seconds) = report.drain_seconds else {
        return ("none".into(), "nothing is being sent".into());
    };
    let Some(at) = report.clear_at else { return ("0s".into(), "nothing is on its way".into()) };
    let is_today = at.to_string().get(..10) == now.to_string().get(..10);
    let at = if is_today { clock(at) } else { at.to_string() };
    let span = human(std::time::Duration::try_from_secs_f64(seconds.ceil()).unwrap_or_default());
    (span, format!("clear at {at} at the present rate, {:.1}/s", report.sent_per_second))
}
