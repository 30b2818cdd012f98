//! What `redrive`, `hold`, `release` and `cancel` share: count, ask, change page by page, tell.

use std::collections::VecDeque;
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
    /// Which; beside ids it narrows them, its statuses apart.
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

#[derive(Debug, Deserialize)]
struct Found {
    items: Vec<FoundId>,
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct FoundId {
    id: String,
}

/// Counts, asks where it must, changes, and tells the final counts. Exit 1 if some were refused.
pub async fn run(change: &Change<'_>, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let matched = preview(change, client, out).await?;
    if matched == 0 || change.dry_run {
        let some_are_missing = matched == 0 && !change.ids.is_empty();
        return Ok(if some_are_missing { Exit::Failed } else { Exit::Done });
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
    for refused in total.refused.iter().take(TOLD) {
        out.line(format_args!("  {}: {}", refused.id, refused.detail))?;
    }
    if total.refused.len() > TOLD {
        out.line(format_args!("  … and {} more", total.refused.len() - TOLD))?;
    }
    Ok(if total.refused.is_empty() { Exit::Done } else { Exit::Failed })
}

/// The exact counts by status and reason, printed; their sum.
async fn preview(change: &Change<'_>, client: &Client, out: &mut Output) -> anyhow::Result<u64> {
    let mut total = Answer::default();
    // Without ids one request that the filter describes.
    let pages: Vec<&[NotificationId]> =
        if change.ids.is_empty() { vec![&[]] } else { change.ids.chunks(PAGE).collect() };
    for ids in pages {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let answer: Answer = client.post("/v1/bulk", &change.request(&ids, true)).await?;
        total.matched += answer.matched;
        total.by_reason.extend(answer.by_reason);
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
    Ok(total.matched)
}

/// Goes through the matching ones page by page, each at most once: one that fails again behind our back is not
/// caught a second time, and the number that was agreed to is never exceeded.
async fn carry_out(
    change: &Change<'_>,
    matched: u64,
    client: &Client,
    out: &mut Output,
) -> anyhow::Result<Answer> {
    let bar = progress::bar(out.is_err_terminal(), Some(matched), false);
    let step = change.per_second.map_or(PAGE, |rate| usize::try_from(rate).unwrap_or(PAGE).clamp(1, PAGE));
    let mut pages = Pages::new(change, usize::try_from(matched).unwrap_or(usize::MAX));
    let mut total = Answer::default();
    while let Some(page) = pages.next(client).await? {
        for ids in page.chunks(step) {
            let began = tokio::time::Instant::now();
            let answer: Answer = patiently(client, &change.request(ids, false)).await.with_context(|| {
                format!(
                    "stopped after {} done, {} refused; run it again for the rest",
                    total.done,
                    total.refused.len()
                )
            })?;
            total.done += answer.done;
            total.refused.extend(answer.refused);
            bar.inc(ids.len() as u64);
            if let Some(rate) = change.per_second {
                let pause = Duration::from_secs_f64(ids.len() as f64 / f64::from(rate));
                tokio::time::sleep_until(began + pause).await;
            }
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

impl Change<'_> {
    fn request(&self, ids: &[String], dry_run: bool) -> Value {
        let mut filter = self.filter.json();
        if !ids.is_empty() {
            filter.insert("ids".into(), json!(ids));
            // Named ones are tried whatever their status: the refusal says why not.
            filter.remove("status");
        }
        let mut request = json!({"action": self.action, "filter": filter, "limit": PAGE, "dry_run": dry_run});
        if let Some(reason) = self.reason {
            request["reason"] = reason.into();
        }
        request
    }
}

/// The ids that a change goes through: those that were named, else a listing's, oldest first.
struct Pages<'a> {
    change: &'a Change<'a>,
    named: VecDeque<String>,
    cursor: Option<String>,
    left: usize,
    begun: bool,
}

impl<'a> Pages<'a> {
    fn new(change: &'a Change<'a>, matched: usize) -> Self {
        let named: VecDeque<String> = change.ids.iter().map(ToString::to_string).collect();
        let left = if named.is_empty() { matched } else { named.len() };
        Self { change, named, cursor: None, left, begun: false }
    }

    async fn next(&mut self, client: &Client) -> Result<Option<Vec<String>>, ClientError> {
        let wanted = self.left.min(PAGE);
        if wanted == 0 {
            return Ok(None);
        }
        if !self.named.is_empty() {
            self.left -= wanted;
            return Ok(Some(self.named.drain(..wanted).collect()));
        }
        // A page may come empty with more behind it: a filter may pass over many records.
        let found = loop {
            if self.begun && self.cursor.is_none() {
                return Ok(None);
            }
            self.begun = true;
            let mut query = self.change.filter.query();
            query.extend([("order", "oldest".to_owned()), ("limit", wanted.to_string())]);
            query.extend(self.cursor.take().map(|cursor| ("cursor", cursor)));
            let found: Found = client.get("/v1/notifications", &query).await?;
            self.cursor.clone_from(&found.next_cursor);
            if !found.items.is_empty() {
                break found;
            }
        };
        self.left -= found.items.len().min(wanted);
        Ok(Some(found.items.into_iter().take(wanted).map(|item| item.id).collect()))
    }
}
