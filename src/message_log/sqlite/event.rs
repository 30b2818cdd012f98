//! Events: matched on a reader, then folded by the writer in the order in which their notifications lie, in slices so
//! short that whoever accepts or sends meanwhile does not notice.
//!
//! A call with thousands of events in no order at all becomes one walk over the recipients' rows: each page is written
//! once a call, and not once an event. What is new is appended to `event`; its recipient's row remembers it.

mod find;
mod fold;
mod strays;
mod witness;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::row;
use crate::clock::Timestamp;
use crate::message_log::{LogError, Recorded};
use crate::provider::ProviderEvent;
use crate::sqlite::heard::{EventKeys, Said};
use crate::sqlite::{Engine, EngineError};
use find::Placed;
pub(super) use fold::recipient_status;
pub(super) use strays::{count, due, list, looked};
pub(super) use witness::witness;

/// The writer folds for so long before others have their turn.
const SLICE: Duration = Duration::from_millis(2);

type Results = Vec<(usize, Result<Recorded, LogError>)>;

/// An event as the tables need it: made by the caller, to leave the writer's thread little to do.
pub(super) struct Heard {
    event: ProviderEvent,
    /// Zero where the provider names nobody: part of what makes two events the same, so never absent.
    address_key: i64,
    keys: EventKeys,
    detail: String,
}

impl Heard {
    pub(super) fn of(event: &ProviderEvent) -> Self {
        let mut event = event.clone();
        // Asynchronous bounces come with empty ids.
        event.provider_message_id = event.provider_message_id.filter(|id| !id.is_empty());
        event.event_id = event.event_id.filter(|id| !id.is_empty());
        let address_key = event.recipient.as_ref().map_or(0, |address| row::key(&address.canonical()));
        let number = event.event_id.as_deref().map(|id| (event.provider.as_str(), id));
        let (kind, at_ms, link) = (event.kind.as_str(), event.at.as_ms(), event.link());
        let keys = EventKeys::of(number, &Said { kind, at_ms, address_key, link });
        Self { address_key, keys, detail: detail(&event), event }
    }
}

fn detail(event: &ProviderEvent) -> String {
    // What came as JSON: writing it as JSON cannot fail.
    serde_json::to_string(&event.detail).unwrap_or_else(|_| "{}".into())
}

/// What a call has to do, in the order in which it is done.
struct Work {
    placed: Vec<Placed>,
    /// What matches nothing as far as the reader sees, and its place in the call.
    strays: Vec<(usize, Heard)>,
    newest: witness::Newest,
}

pub(super) async fn record(
    engine: &Engine,
    events: &[ProviderEvent],
    now: Timestamp,
) -> Vec<Result<Recorded, LogError>> {
    let heard: Vec<Heard> = events.iter().map(Heard::of).collect();
    let newest = witness::newest(&heard, now);
    let found = engine.read(move |tx| find::all(tx, heard)).await;
    let mut results: Vec<Option<Result<Recorded, LogError>>> = events.iter().map(|_| None).collect();
    let failure = match found {
        Ok((placed, strays)) => {
            let work = Arc::new(Work { placed, strays, newest });
            fold_all(engine, &work, now, &mut results).await.err()
        }
        Err(error) => Some(error),
    };
    let missing = || match &failure {
        Some(error) => Err(error.clone().into()),
        None => Err(LogError::Unavailable("an event came to no result".into())),
    };
    results.into_iter().map(|result| result.unwrap_or_else(missing)).collect()
}

async fn fold_all(
    engine: &Engine,
    work: &Arc<Work>,
    now: Timestamp,
    results: &mut [Option<Result<Recorded, LogError>>],
) -> Result<(), EngineError> {
    let mut from = Some(0);
    while let Some(start) = from {
        let work = Arc::clone(work);
        let (next, done) = engine.write(move |tx| slice(tx, &work, start, now)).await?;
        for (ix, result) in done {
            if let Some(slot) = results.get_mut(ix) {
                *slot = Some(result);
            }
        }
        from = next;
    }
    Ok(())
}

/// Works from `start` on until the slice is over. Where to go on, and what was done.
fn slice(
    tx: &Connection,
    work: &Work,
    start: usize,
    now: Timestamp,
) -> rusqlite::Result<(Option<usize>, Results)> {
    let begun = Instant::now();
    let mut tally = row::Tally::default();
    let (mut done, mut at) = (Results::new(), start);
    for group in work.placed.get(at..).unwrap_or_default().chunk_by(|one, other| one.n == other.n) {
        fold::group(tx, group, now, &mut tally, &mut done)?;
        at += group.len();
        if begun.elapsed() >= SLICE {
            break;
        }
    }
    let mut first_stray = at.saturating_sub(work.placed.len());
    if at >= work.placed.len() {
        for (ix, heard) in work.strays.get(first_stray..).unwrap_or_default() {
            done.push((*ix, strays::settle(tx, heard, now, &mut tally)?));
            first_stray += 1;
            if begun.elapsed() >= SLICE {
                break;
            }
        }
        at = work.placed.len() + first_stray;
    }
    tally.write(tx)?;
    if at < work.placed.len() + work.strays.len() {
        return Ok((Some(at), done));
    }
    // Last: silence is evidence only after everything that it covers is folded.
    witness::move_to(tx, &work.newest)?;
    Ok((None, done))
}
