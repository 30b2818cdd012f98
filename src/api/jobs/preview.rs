//! What a job would meet, counted exactly.

use serde::Deserialize;

use super::super::Door;
use super::{GroupView, Preview, RefusedView, Sample};
use crate::clock::Timestamp;
use crate::jobs::New;
use crate::message_log::{Deadline, Group, LogError, Record};
use crate::notification::status::Refusal;

/// How many are shown.
const SAMPLES: usize = 5;
/// How many refusals are told one by one.
const TOLD: usize = 20;
/// Records that are read at once.
const READ_AT_ONCE: usize = 16;

/// The counts and a few of them.
pub(super) async fn preview(door: &Door, new: &New, now: Timestamp) -> Result<Preview, LogError> {
    let standing = new.scope.is_some();
    if is_of_provider(new) {
        return Ok(Preview { standing, ..Preview::default() });
    }
    if !new.selection.ids.is_empty() {
        return by_ids(door, new, now).await;
    }
    let Some(filter) = new.selection.filter(new.action, new.pace.late) else {
        return Ok(Preview { standing, ..Preview::default() });
    };
    let groups = door.state.log.count_groups(&filter, now).await?;
    let page = door.state.log.list(&filter, None, SAMPLES, now).await?;
    Ok(Preview {
        matched: groups.iter().map(|group| group.count).sum(),
        groups: groups.into_iter().map(GroupView::from).collect(),
        samples: page.items.iter().map(|record| Sample::of(record, now)).collect(),
        refused: Vec::new(),
        standing,
    })
}

/// How many match.
pub(super) async fn matched(door: &Door, new: &New, now: Timestamp) -> Result<u64, LogError> {
    if is_of_provider(new) {
        return Ok(0);
    }
    if !new.selection.ids.is_empty() {
        return Ok(by_ids(door, new, now).await?.matched);
    }
    let Some(filter) = new.selection.filter(new.action, new.pace.late) else { return Ok(0) };
    Ok(door.state.log.count_groups(&filter, now).await?.iter().map(|group| group.count).sum())
}

fn is_of_provider(new: &New) -> bool {
    new.scope.as_ref().is_some_and(|scope| scope.provider.is_some())
}

/// Each that would not be touched says why: its caller named it.
async fn by_ids(door: &Door, new: &New, now: Timestamp) -> Result<Preview, LogError> {
    let mut preview = Preview { standing: new.scope.is_some(), ..Preview::default() };
    let mut meant: Vec<Record> = Vec::new();
    for some in new.selection.ids.chunks(READ_AT_ONCE) {
        let found = futures::future::try_join_all(some.iter().map(|id| door.state.log.get(*id))).await?;
        for (id, record) in some.iter().zip(found) {
            let refusal = match &record {
                Some(record) => why_not(new, record, now),
                None => Some(ABSENT.to_owned()),
            };
            match (refusal, record) {
                (None, Some(record)) => meant.push(record),
                (detail, _) if preview.refused.len() < TOLD => {
                    let detail = detail.unwrap_or_else(|| ABSENT.to_owned());
                    preview.refused.push(RefusedView { id: *id, detail });
                }
                _ => {}
            }
        }
    }
    let ids: Vec<_> = meant.iter().map(|record| record.id).collect();
    let contents = door.state.log.contents(&ids).await?;
    let groups = meant.iter().zip(contents).map(|(record, content)| Group {
        status: record.life.status(now),
        reason: record.life.reason.clone(),
        tenant: record.tenant.clone(),
        template: content.and_then(|content| template(&content)),
        deadline: Deadline::of(record.life.useful_until, now),
        count: 1,
    });
    preview.groups = Group::merged(groups.collect()).into_iter().map(GroupView::from).collect();
    preview.matched = meant.len() as u64;
    preview.samples = meant.iter().take(SAMPLES).map(|record| Sample::of(record, now)).collect();
    Ok(preview)
}

/// What is said of an id that the caller cannot see.
const ABSENT: &str = "there is no such notification";

fn why_not(new: &New, record: &Record, now: Timestamp) -> Option<String> {
    let (selection, life) = (&new.selection, &record.life);
    if selection.tenant.as_ref().is_some_and(|tenant| *tenant != record.tenant) {
        return Some(ABSENT.to_owned());
    }
    if !selection.fits(record, now) {
        return Some("it does not match the filter".to_owned());
    }
    let status = life.status(now);
    (!new.action.concerns(status, new.pace.late)).then(|| Refusal::NotAllowed(status).to_string())
}

/// The provider's template in a stored content.
fn template(content: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Content {
        template: Option<Template>,
    }
    #[derive(Deserialize)]
    struct Template {
        id: String,
    }
    serde_json::from_slice::<Content>(content).ok()?.template.map(|template| template.id)
}
