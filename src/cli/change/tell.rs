//! What is said before and after.

use serde_json::Value;

use super::{Change, Job, Preview};
use crate::cli::output::Output;
use crate::cli::table;

/// The exact counts, and a few of them.
pub(super) fn preview(change: &Change<'_>, preview: &Preview, out: &mut Output) -> std::io::Result<()> {
    let action = change.action;
    if let Some(provider) = change.provider.filter(|_| change.is_of_provider()) {
        return out.line(match action {
            "hold" => format!(
                "hold: the provider {provider}: nothing is handed to it; what waits goes through another provider, or waits"
            ),
            _ => format!("release: the provider {provider}: what waits for it is handed to it again"),
        });
    }
    let matched = preview.matched;
    let noun = if matched == 1 { "notification" } else { "notifications" };
    out.line(format_args!("{action}: {matched} {noun}"))?;
    if !preview.groups.is_empty() {
        let heads = ["count", "status", "reason", "tenant", "template", "deadline"];
        let mut table = table::table(&heads, out.is_out_terminal());
        for line in &preview.groups {
            table.add_row([
                &line.count.to_string(),
                line.status.as_str(),
                line.reason.as_deref().unwrap_or_default(),
                &line.tenant,
                line.template.as_deref().unwrap_or_default(),
                &line.deadline.replace('_', " "),
            ]);
        }
        out.line(table::render(&table))?;
    }
    for one in &preview.samples {
        let to = one.to.as_deref().unwrap_or("nobody");
        let until = one.useful_until.map(|at| format!(", useful until {at}")).unwrap_or_default();
        out.line(format_args!("  such as {} to {to}, {}{until}", one.id, one.status))?;
    }
    let late: u64 = preview.groups.iter().filter(|line| line.deadline == "over").map(|line| line.count).sum();
    if action == "redrive" && late > 0 && !change.pace.contains_key("late") {
        out.line(format_args!(
            "{late} of them are past their deadline and stay where they are; --past-deadline sends them too"
        ))?;
    }
    for one in &preview.refused {
        out.line(format_args!("  {}: {}", one.id, one.detail))?;
    }
    if preview.standing && matches!(action, "hold" | "cancel") && matched == 0 && !change.yes {
        out.line(match action {
            "hold" => "nothing matches; with --yes what arrives later is held",
            _ => "nothing matches; with --yes what is still under way somewhere is cancelled",
        })?;
    } else if matched == 0 && preview.refused.is_empty() {
        out.line("nothing matches")?;
    }
    Ok(())
}

/// What is to be done, as a question without its mark.
pub(super) fn question(change: &Change<'_>, preview: &Preview) -> String {
    let (action, matched) = (change.action, preview.matched);
    match change.provider.filter(|_| change.is_of_provider()) {
        Some(provider) => format!("{action} the provider {provider}"),
        None if change.all => format!("{action} everything, {matched} notifications"),
        None => format!("{action} {matched} notifications"),
    }
}

/// What came of it.
pub(super) fn result(job: &Job, out: &mut Output) -> std::io::Result<()> {
    let (action, progress) = (&job.action, &job.progress);
    if action != "redrive" && !job.filter["provider"].is_null() {
        return out.line(format_args!("{action}: done; every worker knows it within a second"));
    }
    let refused: u64 = progress.refused.values().sum();
    out.line(format_args!("{action}: {} done, {refused} refused", progress.done))?;
    for (code, count) in &progress.refused {
        out.line(format_args!("  {count} {}", reason(code)))?;
    }
    if action == "redrive" && progress.sent + progress.failed + progress.stopped + job.awaited > 0 {
        let (sent, failed, awaited) = (progress.sent, progress.failed, job.awaited);
        let stopped = match progress.stopped {
            0 => String::new(),
            stopped => format!(", {stopped} held or ended otherwise"),
        };
        out.line(format_args!("  {sent} sent, {failed} failed again, {awaited} still under way{stopped}"))?;
    }
    if matches!(action.as_str(), "hold" | "cancel") {
        let (wire, out_again) = (progress.on_the_wire, progress.went_out);
        out.line(match (wire, job.awaited) {
            (0, _) => "  none was on the wire".to_owned(),
            (_, 0) => format!("  {wire} were on the wire: {out_again} of them went out"),
            (_, open) => {
                format!("  {wire} were on the wire: {out_again} of them went out, {open} are not known yet")
            }
        })?;
    }
    Ok(())
}

fn reason(code: &str) -> &str {
    match code {
        "deadline_over" => "are past their deadline",
        "changed" => "had changed meanwhile",
        "not_matching" => "do not match the filter",
        "absent" => "are not there",
        other => other,
    }
}

/// What a job or a stop concerns, in a few words.
pub fn scope_words(filter: &Value, all: bool) -> String {
    if all {
        return "everything".into();
    }
    let Some(fields) = filter.as_object().filter(|fields| !fields.is_empty()) else { return "all".into() };
    let word = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name}={text}"),
        Value::Array(list) if name == "ids" => match list.as_slice() {
            [Value::String(one)] => format!("id={one}"),
            many => format!("{} ids", many.len()),
        },
        Value::Array(list) => {
            let words: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            format!("{name}={}", words.join(","))
        }
        other => format!("{name}={other}"),
    };
    fields.iter().map(word).collect::<Vec<_>>().join(" ")
}
