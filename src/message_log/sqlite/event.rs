//! Events: matched on a reader, then folded by the writer in the order in which their notifications lie, between what
//! those who accept and send wait for.
//!
//! A call with thousands of events in no order at all becomes one walk over the recipients' rows: each page is written
//! once a call, and not once an event. What is new is appended to `event`; its recipient's row remembers it.

mod find;
mod fold;
mod strays;
mod witness;

use rusqlite::Connection;

use super::row;
use crate::background::patiently;
use crate::clock::Timestamp;
use crate::message_log::{LogError, Recorded};
use crate::provider::ProviderEvent;
use crate::sqlite::heard::{EventKeys, Said};
use crate::sqlite::{Engine, Pace};
use find::{Placed, Search};
pub(super) use fold::recipient_status;
pub(super) use strays::{count, due, list, looked};
pub(super) use witness::witness;

type Results = Vec<Option<Result<Recorded, LogError>>>;

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

/// What a call has to do, in the order in which it is done, and how far it is.
struct Work {
    placed: Vec<Placed>,
    /// What matches nothing as far as the reader sees, and its place in the call.
    strays: Vec<(usize, Heard)>,
    newest: witness::Newest,
    /// By place in the call.
    results: Results,
    /// How many of both are done.
    at: usize,
}

pub(super) async fn record(
    engine: &Engine,
    events: &[ProviderEvent],
    now: Timestamp,
) -> Vec<Result<Recorded, LogError>> {
    let count = events.len();
    let heard: Vec<Heard> = patiently(events).map(Heard::of).collect();
    let newest = witness::newest(&heard, now);
    let mut search = Search::of(heard);
    let folded = match engine.read_on(move |tx, pace| search.go_on(tx, pace)).await {
        Ok((placed, strays)) => {
            let mut work =
                Work { placed, strays, newest, results: (0..count).map(|_| None).collect(), at: 0 };
            engine.write_between(move |tx, pace| work.go_on(tx, now, pace)).await
        }
        Err(error) => Err(error),
    };
    match folded {
        Ok(results) => {
            let missing = || Err(LogError::Unavailable("an event came to no result".into()));
            results.into_iter().map(|result| result.unwrap_or_else(missing)).collect()
        }
        Err(error) => (0..count).map(|_| Err(error.clone().into())).collect(),
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // Some milliseconds, for thousands of events.
        patiently(self.placed.drain(..)).for_each(drop);
    }
}

impl Work {
    /// Works until others have their turn; everybody's result when nothing is left.
    fn go_on(&mut self, tx: &Connection, now: Timestamp, pace: &Pace) -> rusqlite::Result<Option<Results>> {
        let mut tally = row::Tally::default();
        self.fold(tx, now, pace, &mut tally)?;
        tally.write(tx)?;
        if self.at < self.placed.len() + self.strays.len() {
            return Ok(None);
        }
        // Last: silence is evidence only after everything that it covers is folded.
        witness::move_to(tx, &self.newest)?;
        Ok(Some(std::mem::take(&mut self.results)))
    }

    fn fold(
        &mut self,
        tx: &Connection,
        now: Timestamp,
        pace: &Pace,
        tally: &mut row::Tally,
    ) -> rusqlite::Result<()> {
        for group in self.placed.get(self.at..).unwrap_or_default().chunk_by(|one, other| one.n == other.n) {
            fold::group(tx, group, now, tally, &mut self.results)?;
            self.at += group.len();
            if pace.is_over() {
                return Ok(());
            }
        }
        let first = self.at.saturating_sub(self.placed.len());
        for (ix, heard) in self.strays.get(first..).unwrap_or_default() {
            let result = strays::settle(tx, heard, now, tally)?;
            fold::tell(&mut self.results, *ix, result);
            self.at += 1;
            if pace.is_over() {
                return Ok(());
            }
        }
        Ok(())
    }
}
