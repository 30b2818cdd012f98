//! The report as a page for a person.

use std::time::Duration;

use super::report::{Affected, Point, Report, Spread};
use crate::cli::output::Output;
use crate::cli::table;
use crate::cli::when::{clock, human, relative};
use crate::clock::Timestamp;

/// Lines of each table of counts.
const LINES: usize = 8;

/// Prints the page: the figures, then who wants help first, then what to do.
pub fn print(report: &Report, out: &mut Output) -> anyhow::Result<()> {
    out.line(headline(report))?;
    if report.cut {
        let looked_at = report.looked_at;
        out.line(format_args!("only {looked_at} records were looked at: every figure is at least that"))?;
    }
    for (name, value) in facts(report) {
        out.line(format_args!("  {name:<13} {value}"))?;
    }
    timeline(&report.timeline.points, report.timeline.step_seconds, out)?;
    answers(report, out)?;
    tenants(report, out)?;
    rows(report, out)?;
    if !report.commands.is_empty() {
        out.line("\nNEXT")?;
        for command in &report.commands {
            out.line(format_args!("  # {}\n  {}", command.why, command.command))?;
        }
    }
    Ok(())
}

fn headline(report: &Report) -> String {
    let until = report.until.map_or_else(|| "now".into(), |until| until.to_string());
    let tenant = report.tenant.as_ref().map_or_else(String::new, |tenant| format!(" of {tenant}"));
    format!(
        "{} of {} affected{tenant}, {} ({}) until {until}",
        report.affected,
        report.looked_at,
        report.since,
        relative(report.since, report.now)
    )
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let late = human(Duration::from_secs(report.late_after_seconds));
    let names = [
        ("not_sent", "on their way".to_owned()),
        ("failed", "failed".into()),
        ("unknown", "with an unknown outcome".into()),
        ("held", "held".into()),
        ("expired", "expired".into()),
        ("sent_late", format!("sent later than {late}")),
        ("sent_twice", "certainly sent twice".into()),
        ("perhaps_twice", "perhaps sent twice".into()),
    ];
    let name = |why: &str| {
        names
            .iter()
            .find(|(known, _)| *known == why)
            .map_or_else(|| why.to_owned(), |(_, words)| words.clone())
    };
    let mut counts: Vec<_> = report.by_why.iter().collect();
    counts.sort_by_key(|(why, _)| names.iter().position(|(known, _)| known == why));
    let whys: Vec<String> = counts.iter().map(|(why, count)| format!("{count} {}", name(why))).collect();
    let counted = |counted: &[super::report::Counted]| {
        let told = counted
            .iter()
            .take(LINES)
            .map(|one| format!("{} {}", one.count, one.name.as_deref().unwrap_or("others")));
        let told: Vec<String> = told.collect();
        let more = if counted.len() > LINES { "; …" } else { "" };
        format!("{}{more}", told.join("; "))
    };
    let mut facts = vec![("why", if whys.is_empty() { "none".into() } else { whys.join(", ") })];
    if !report.by_reason.is_empty() {
        facts.push(("reasons", counted(&report.by_reason)));
    }
    if !report.by_batch.is_empty() {
        facts.push(("broadcasts", counted(&report.by_batch)));
    }
    facts.extend(report.sent_delay.map(|spread| ("sent after", tell(spread))));
    facts.extend(report.waiting.map(|spread| ("waiting for", tell(spread))));
    facts
}

fn tell(spread: Spread) -> String {
    let Spread { count, p50, p90, p99, max } = spread;
    let [p50, p90, p99, max] = [p50, p90, p99, max].map(|seconds| {
        let span = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        if seconds < 10.0 { format!("{seconds:.1}s") } else { human(span) }
    });
    format!("p50 {p50}, p90 {p90}, p99 {p99}, longest {max} ({count})")
}

/// A row of bars for each figure, each on a scale of its own.
fn timeline(points: &[Point], step_seconds: u64, out: &mut Output) -> anyhow::Result<()> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Ok(()) };
    let step = human(Duration::from_secs(step_seconds));
    out.line(format_args!(
        "\nTIMELINE  {} … {}, one mark each {step}",
        day_and_time(first.at),
        clock(last.at)
    ))?;
    let figure = |figure: fn(&Point) -> u64| points.iter().map(figure).collect::<Vec<u64>>();
    let figures = [
        ("accepted", figure(|point| point.accepted)),
        ("sent", figure(|point| point.sent)),
        ("failed", figure(|point| point.failed)),
    ];
    for (name, counts) in figures {
        let most = counts.iter().copied().max().unwrap_or(0);
        let sum: u64 = counts.iter().sum();
        out.line(format_args!("  {name:<9} {}  {sum}, at most {most} each {step}", bars(&counts)))?;
    }
    Ok(())
}

fn day_and_time(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(..16).map_or(text.clone(), |text| text.replace('T', " "))
}

/// Each count as an eighth of the highest, at least one where there is any.
fn bars(counts: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = counts.iter().copied().max().unwrap_or(0);
    let bar = |count: u64| match count {
        0 => '·',
        _ => BARS[usize::try_from((count * 8).div_ceil(most) - 1).unwrap_or(0).min(7)],
    };
    counts.iter().map(|count| bar(*count)).collect()
}

fn answers(report: &Report, out: &mut Output) -> anyhow::Result<()> {
    if report.answers.is_empty() {
        return Ok(());
    }
    let heads = ["answers", "provider", "outcome", "http", "first", "last", "words"];
    let mut table = table::table(&heads, out.is_out_terminal());
    for answer in report.answers.iter().take(LINES) {
        table.add_row([
            answer.count.to_string(),
            answer.provider.clone(),
            answer.outcome.replace('_', " "),
            answer.http_status.map_or_else(|| "–".into(), |status| status.to_string()),
            clock(answer.first_at).replace(" UTC", ""),
            clock(answer.last_at).replace(" UTC", ""),
            answer.error.clone().unwrap_or_default(),
        ]);
    }
    out.line(format_args!("\n{}", table::render(&table)))?;
    if report.answers.len() > LINES {
        out.line(format_args!("… and {} more kinds: --json", report.answers.len() - LINES))?;
    }
    Ok(())
}

fn tenants(report: &Report, out: &mut Output) -> anyhow::Result<()> {
    if report.by_tenant.len() < 2 {
        return Ok(());
    }
    let heads = ["tenant", "affected", "not sent", "with time left"];
    let mut table = table::table(&heads, out.is_out_terminal());
    for share in report.by_tenant.iter().take(LINES) {
        table.add_row([
            share.tenant.clone().unwrap_or_else(|| "(others)".into()),
            share.affected.to_string(),
            share.not_sent.to_string(),
            share.with_time_left.to_string(),
        ]);
    }
    out.line(format_args!("\n{}", table::render(&table)))?;
    if report.by_tenant.len() > LINES {
        out.line(format_args!("… and {} more tenants: --json", report.by_tenant.len() - LINES))?;
    }
    Ok(())
}

fn rows(report: &Report, out: &mut Output) -> anyhow::Result<()> {
    if report.items.is_empty() {
        return Ok(());
    }
    let heads = ["time left", "id", "tenant", "status", "delay", "tries", "why"];
    let mut table = table::table(&heads, out.is_out_terminal());
    for item in &report.items {
        table.add_row([
            time_left(item),
            item.id.clone(),
            item.tenant.clone(),
            item.status.clone(),
            human(Duration::from_secs(item.delay_seconds)),
            item.attempts.to_string(),
            why(item),
        ]);
    }
    out.line(format_args!("\n{}", table::render(&table)))?;
    if report.more {
        let more = report.affected.saturating_sub(u64::try_from(report.items.len()).unwrap_or(u64::MAX));
        out.line(format_args!("… and {more} more: --limit N, --csv FILE or --json"))?;
    }
    Ok(())
}

fn time_left(item: &Affected) -> String {
    match (item.status.as_str(), item.time_left_seconds) {
        ("sent", _) => "sent".into(),
        ("expired", _) | (_, Some(0)) => "over".into(),
        (_, Some(seconds)) => human(Duration::from_secs(seconds)),
        (_, None) => "no deadline".into(),
    }
}

/// Its reason, or what was said last; and whether it may have come twice.
fn why(item: &Affected) -> String {
    let is = |why: &str| item.why.iter().any(|one| one == why);
    let words = match (is("sent_twice"), is("perhaps_twice")) {
        (true, _) => Some("sent twice".to_owned()),
        (_, true) => Some("perhaps twice".to_owned()),
        _ => None,
    };
    let cause = item.reason.clone().or_else(|| item.last_error.clone().filter(|_| item.status != "sent"));
    let late = is("sent_late").then(|| "late".to_owned());
    let text = [cause, late, words].into_iter().flatten().collect::<Vec<_>>().join("; ");
    if text.chars().count() <= 60 { text } else { text.chars().take(59).chain(['…']).collect() }
}
