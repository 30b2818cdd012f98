//! What `redrive`, `hold`, `release` and `cancel` share: count, ask, change page by page, tell.

use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, ClientError};
use super::filter::FilterArgs;
use super::output::Output;
use super::{Exit, Usage, progress, table};
use crate::notification::NotificationId;

/// Notifications per request; the server's bound.
const PAGE: usize = 1000;
/// Refusals told one by one; the rest is a number.
const TOLD: usize = 20;

/// A change to many notifications.
pub struct Change<'a> {
    /// As the API calls it.
    pub action: &'a str,
    /// These; when there are none, all that match the filter.
    pub ids: &'a [NotificationId],
    /// Which; beside ids it narrows them.
    pub filter: FilterArgs,
    /// The operator's words.
    pub reason: Option<&'a str>,
    /// The pace; without one as fast as it goes.
    pub per_second: Option<u32>,
    /// Do not ask.
    pub yes: bool,
    /// Only count.
    pub dry_run: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    matched: u64,
    by_reason: Vec<Count>,
    done: u64,
    refused: Vec<Refused>,
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Count {
    status: String,
    reason: Option<String>,
    count: u64,
}

#[derive(Debug, Deserialize)]
struct Refused {
    id: String,
    detail: String,
}

/// Counts, asks where it must, changes, and tells the final counts. Exit 1 if some were refused.
pub async fn run(change: &Change<'_>, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let Answer { matched, refused, .. } = preview(change, client, out).await?;
    if matched == 0 || change.dry_run {
        tell_refused(&refused, out)?;
        return Ok(if !refused.is_empty() { Exit::Failed } else { Exit::Done });
    }
    if matched > 1 && !change.yes {
        match out.ask(format_args!("{} {matched} notifications?", change.action))? {
            Some(true) => {}
            Some(false) => {
                out.note("nothing was changed")?;
                return Ok(Exit::Done);
            }
            None => {
                return Err(Usage(format!(
                    "nothing was changed: to {} {matched} notifications without a terminal, add --yes",
                    change.action
                ))
                .into());
            }
        }
    }
    let total = carry_out(change, matched, client, out).await?;
    out.line(format_args!("{}: {} done, {} refused", change.action, total.done, total.refused.len()))?;
    tell_refused(&total.refused, out)?;
    Ok(if total.refused.is_empty() { Exit::Done } else { Exit::Failed })
}

/// The exact counts by status and reason, printed.
async fn preview(change: &Change<'_>, client: &Client, out: &mut Output) -> anyhow::Result<Answer> {
    let mut total = Answer::default();
    // Without ids one request: the filter describes them.
    let pages: Vec<&[NotificationId]> =
        if change.ids.is_empty() { vec![&[]] } else { change.ids.chunks(PAGE).collect() };
    for ids in pages {
        let answer: Answer = client.post("/v1/bulk", &change.request(ids, PAGE, true)).await?;
        total.matched += answer.matched;
        total.by_reason.extend(answer.by_reason);
        total.refused.extend(answer.refused);
    }
    let noun = if total.matched == 1 { "notification" } else { "notifications" };
    out.line(format_args!("{}: {} {noun}", change.action, total.matched))?;
    if !total.by_reason.is_empty() {
        let mut table = table::table(&["count", "status", "reason"], out.is_out_terminal());
        for line in &total.by_reason {
            table.add_row([
                &line.count.to_string(),
                line.status.as_str(),
                line.reason.as_deref().unwrap_or_default(),
            ]);
        }
        out.line(table::render(&table))?;
    }
    Ok(total)
}

/// Goes through the matching ones page by page, oldest first, each at most once: the cursor leaves behind one that
/// fails again behind our back, and the number that was agreed to is never exceeded.
async fn carry_out(
    change: &Change<'_>,
    matched: u64,
    client: &Client,
    out: &mut Output,
) -> anyhow::Result<Answer> {
    let bar = progress::bar(out.is_err_terminal(), Some(matched), false);
    let step = change.per_second.map_or(PAGE, |rate| usize::try_from(rate).unwrap_or(PAGE).clamp(1, PAGE));
    let mut named = change.ids.chunks(step);
    let mut left = usize::try_from(matched).unwrap_or(usize::MAX);
    let mut cursor = None;
    let mut total = Answer::default();
    loop {
        let request = match named.next() {
            Some(ids) => change.request(ids, step, false),
            None if !change.ids.is_empty() || left == 0 => break,
            None => {
                let mut request = change.request(&[], step.min(left), false);
                request["cursor"] = cursor.take().into();
                request
            }
        };
        let began = tokio::time::Instant::now();
        let answer = patiently(client, &request).await.with_context(|| {
            format!(
                "stopped after {} done, {} refused; run it again for the rest",
                total.done,
                total.refused.len()
            )
        })?;
        let seen = usize::try_from(answer.done).unwrap_or(usize::MAX).saturating_add(answer.refused.len());
        left = left.saturating_sub(seen);
        bar.inc(seen as u64);
        total.done += answer.done;
        total.refused.extend(answer.refused);
        cursor = answer.next_cursor;
        if cursor.is_none() && change.ids.is_empty() {
            break;
        }
        if let Some(rate) = change.per_second {
            let pause = Duration::from_secs_f64(seen as f64 / f64::from(rate));
            tokio::time::sleep_until(began + pause).await;
        }
    }
    bar.finish_and_clear();
    Ok(total)
}

/// One request; where the server asks to wait, again, a few times. Repeating it changes nothing twice.
async fn patiently(client: &Client, request: &Value) -> Result<Answer, ClientError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match client.post("/v1/bulk", request).await {
            Err(ClientError::Refused(problem)) if matches!(problem.status, 429 | 503) && tries < 6 => {
                let wait = problem.retry_after.unwrap_or(Duration::from_secs(1 << tries));
                tokio::time::sleep(wait.min(Duration::from_secs(60))).await;
            }
            answer => return answer,
        }
    }
}

/// Each refusal, as far as anybody would read them.
fn tell_refused(refused: &[Refused], out: &mut Output) -> std::io::Result<()> {
    for refused in refused.iter().take(TOLD) {
        out.line(format_args!("  {}: {}", refused.id, refused.detail))?;
    }
    if refused.len() > TOLD {
        out.line(format_args!("  … and {} more", refused.len() - TOLD))?;
    }
    Ok(())
}

impl Change<'_> {
    fn request(&self, ids: &[NotificationId], limit: usize, dry_run: bool) -> Value {
        let mut filter = self.filter.json();
        if !ids.is_empty() {
            filter.insert("ids".into(), json!(ids));
        }
        let mut request =
            json!({"action": self.action, "filter": filter, "limit": limit, "dry_run": dry_run});
        if let Some(reason) = self.reason {
            request["reason"] = reason.into();
        }
        request
    }
}
