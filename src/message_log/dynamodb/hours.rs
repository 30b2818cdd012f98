//! Entries, hour by hour: all that was accepted, or what one recipient was sent.

use std::collections::VecDeque;

use futures::future::try_join_all;

use super::cursor::Cursor;
use super::keys::{self, ENTRY_SHARDS};
use super::merge::{Candidate, Direction, Start};
use super::page::{Ask, Span};
use super::plan::is_within;
use super::row::text;
use super::table::Table;
use crate::clock::Timestamp;
use crate::message_log::{Filter, LogError};

/// A recipient's hours that are read at once: few at first, as the newest mails are asked for mostly.
const FEWEST_AT_ONCE: usize = 8;
const MOST_AT_ONCE: usize = 64;

/// Registered hours that are read at once: 90 days are 2,160.
const HOURS_PAGE: usize = 500;

/// A walk over the registered hours.
pub(super) struct HourWalk {
    table: Table,
    /// Whose entries; everything, where it names nobody.
    recipient_key: Option<String>,
    filter: Filter,
    direction: Direction,
    cursor: Option<Cursor>,
    hours: Hours,
    at_once: usize,
    ready: VecDeque<Candidate>,
    read: usize,
}

impl HourWalk {
    pub(super) fn open(
        table: &Table,
        recipient_key: Option<String>,
        filter: &Filter,
        direction: Direction,
        cursor: Option<Cursor>,
    ) -> Self {
        let at = cursor.map(|cursor| cursor.at);
        let (from, to) = match direction {
            Direction::Up => (filter.since.max(at), filter.until),
            Direction::Down => (filter.since, filter.until.into_iter().chain(at).min()),
        };
        Self {
            table: table.clone(),
            at_once: if recipient_key.is_some() { FEWEST_AT_ONCE } else { 1 },
            recipient_key,
            filter: filter.clone(),
            direction,
            cursor,
            hours: Hours::between(from, to, direction),
            ready: VecDeque::new(),
            read: 0,
        }
    }

    /// The next candidates in order, at most `most`; none at the end.
    pub(super) async fn next(&mut self, most: usize) -> Result<Vec<Candidate>, LogError> {
        while self.ready.len() < most {
            let hours = self.hours.next(&self.table, self.at_once).await?;
            if hours.is_empty() {
                break;
            }
            let read = hours.iter().map(|hour| self.entries(hour));
            for candidates in try_join_all(read).await? {
                self.read += candidates.len().max(1);
                let fits = |candidate: &Candidate| {
                    is_within(&self.filter, candidate.at)
                        && self.cursor.is_none_or(|cursor| cursor.is_before(candidate, self.direction))
                };
                self.ready.extend(candidates.into_iter().filter(fits));
            }
            if self.recipient_key.is_some() {
                self.at_once = (self.at_once * 2).min(MOST_AT_ONCE);
            }
        }
        Ok(self.ready.drain(..most.min(self.ready.len())).collect())
    }

    /// How many entries were read so far.
    pub(super) fn read(&self) -> usize {
        self.read
    }

    async fn entries(&self, hour: &str) -> Result<Vec<Candidate>, LogError> {
        let mut entries = match &self.recipient_key {
            Some(key) => entries_of(&self.table, hour, key).await?,
            None => all_entries(&self.table, hour).await?,
        };
        entries.sort_unstable_by(|a, b| self.direction.compare(&a.place(), &b.place()));
        Ok(entries)
    }
}

/// What this recipient was sent in this hour, oldest first.
pub(super) async fn entries_of(
    table: &Table,
    hour: &str,
    recipient_key: &str,
) -> Result<Vec<Candidate>, LogError> {
    let ask = Ask {
        partition: ("pk", keys::hour_partition(hour, keys::entry_shard(recipient_key))),
        sort: Some("sk"),
        span: Span::below(recipient_key),
        projection: Some("sk"),
        is_up: true,
        ..Ask::default()
    };
    Ok(ask.all(table).await?.iter().filter_map(candidate).collect())
}

/// One for each notification of this hour, in no order: its first recipient's.
async fn all_entries(table: &Table, hour: &str) -> Result<Vec<Candidate>, LogError> {
    let shard = |shard| async move {
        let ask = Ask {
            partition: ("pk", keys::hour_partition(hour, shard)),
            projection: Some("sk, f"),
            is_up: true,
            ..Ask::default()
        };
        let items = ask.all(table).await?;
        let firsts = items.iter().filter(|item| !item.contains_key("f"));
        Ok::<_, LogError>(firsts.filter_map(candidate).collect::<Vec<_>>())
    };
    Ok(try_join_all((0..ENTRY_SHARDS).map(shard)).await?.concat())
}

fn candidate(entry: &keys::Item) -> Option<Candidate> {
    let sk = text(entry, "sk")?;
    let (_, at, id) = keys::entry_parts(sk)?;
    let content = sk.split('#').nth(3).map(str::to_owned);
    Some(Candidate { at, id, accepted_at: Some(at), content })
}

/// The hours in which something was accepted.
pub(super) struct Hours {
    ask: Ask,
    known: VecDeque<String>,
    start: Option<Start>,
    is_begun: bool,
}

impl Hours {
    pub(super) fn between(from: Option<Timestamp>, to: Option<Timestamp>, direction: Direction) -> Self {
        let ask = Ask {
            partition: ("pk", keys::HOURS_PARTITION.to_owned()),
            sort: Some("sk"),
            span: Span::texts(from.map(keys::hour), to.map(keys::hour)),
            projection: Some("sk"),
            is_up: direction.is_up(),
            ..Ask::default()
        };
        Self { ask, known: VecDeque::new(), start: None, is_begun: false }
    }

    /// The next ones, at most `most`; none at the end.
    pub(super) async fn next(&mut self, table: &Table, most: usize) -> Result<Vec<String>, LogError> {
        while self.known.len() < most && !(self.is_begun && self.start.is_none()) {
            let page = self.ask.page(table, self.start.take(), Some(HOURS_PAGE)).await?;
            (self.is_begun, self.start) = (true, page.next);
            self.known.extend(page.items.iter().filter_map(|item| text(item, "sk").map(str::to_owned)));
        }
        Ok(self.known.drain(..most.min(self.known.len())).collect())
    }
}
