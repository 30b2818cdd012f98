//! Recording a notification: entries with its content first, then its row, whose creation is the deduplication.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::change::{insert, write_id};
use super::entry::{Source, items_of};
use super::keys::{self, Item, Key};
use super::row::{Row, WriteId, n, new_row};
use super::write::Written;
use super::{DynamoLog, Table};
use crate::clock::Timestamp;
use crate::message_log::{Acceptance, LogError, NewNotification};

pub(super) type Accepted = Result<Acceptance, LogError>;

/// A `deliver_at` may be so far ahead, and what it is the acceptance of is kept for a while after it.
const LONGEST_WAIT: Duration = Duration::from_secs(400 * 24 * 3600);

/// The hours under which entries lie, as far as this process has registered them.
#[derive(Debug, Default)]
pub(super) struct Hours(Mutex<Registered>);

#[derive(Debug, Default)]
struct Registered {
    hours: HashSet<String>,
    /// See [`Table::losses`]: in a table that was made anew nothing is registered.
    losses: u64,
}

impl Hours {
    /// Sees to it that these hours are found by listings. Costs a write an hour.
    pub(super) async fn register(
        &self,
        table: &Table,
        accepted: impl Iterator<Item = Timestamp>,
        retention: Duration,
    ) -> Result<(), LogError> {
        let hours: HashMap<String, Timestamp> = accepted.map(|at| (keys::hour(at), at)).collect();
        let losses = table.losses();
        let fresh: Vec<(String, Timestamp)> = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if known.losses != losses {
                *known = Registered { losses, ..Registered::default() };
            }
            hours.into_iter().filter(|(hour, _)| !known.hours.contains(hour)).collect()
        };
        if fresh.is_empty() {
            return Ok(());
        }
        let item = |(hour, at): &(String, Timestamp)| {
            let mut item = Key::new(keys::HOURS_PARTITION, hour.as_str()).attributes();
            let expires = at.plus(LONGEST_WAIT).plus(retention).as_ms() / 1000;
            item.insert("exp".into(), n(expires));
            item
        };
        for result in table.put(fresh.iter().map(item).collect()).await {
            result?;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.hours.len() > 1000 {
            known.hours.clear();
        }
        known.hours.extend(fresh.into_iter().map(|(hour, _)| hour));
        Ok(())
    }
}

impl DynamoLog {
    pub(super) async fn accept_all(&self, new: &[&NewNotification]) -> Vec<Accepted> {
        // The first of an id creates it; what comes after is a repeat or a conflict, like any later call's.
        let mut seen = HashSet::new();
        let (first, later): (Vec<usize>, Vec<usize>) =
            (0..new.len()).partition(|ix| seen.insert(new[*ix].id));
        let mut results: Vec<Option<Accepted>> = new.iter().map(|_| None).collect();
        for (ix, result) in first.iter().zip(self.accept_distinct(first.iter().map(|ix| new[*ix])).await) {
            results[*ix] = Some(result);
        }
        if !later.is_empty() {
            let twins: Vec<&NewNotification> = later.iter().map(|ix| new[*ix]).collect();
            for (ix, result) in later.iter().zip(self.known(&twins).await) {
                results[*ix] = Some(result);
            }
        }
        results.into_iter().map(|result| result.unwrap_or_else(no_answer)).collect()
    }

    async fn accept_distinct<'a>(&self, new: impl Iterator<Item = &'a NewNotification>) -> Vec<Accepted> {
        let new: Vec<&NewNotification> = new.collect();
        let times = new.iter().map(|new| new.life.accepted_at);
        if let Err(error) = self.hours.register(&self.table, times, self.retention).await {
            return new.iter().map(|_| Err(error.clone())).collect();
        }
        let mut results: Vec<Option<Accepted>> = self
            .write_content(new.iter().map(|new| Source::of(new)))
            .await
            .into_iter()
            .map(Result::err)
            .map(|e| e.map(Err))
            .collect();
        let recorded: Vec<usize> = (0..new.len()).filter(|ix| results[*ix].is_none()).collect();
        let write_ids: Vec<WriteId> = recorded.iter().map(|_| write_id()).collect();
        let writes = recorded.iter().zip(&write_ids).map(|(ix, w)| {
            let new = new[*ix];
            insert(&self.table, new_row(new, &new.life, 1, *w, false))
        });
        let written = self.writer.write(writes.collect()).await;
        let mut unread = Vec::new();
        for ((ix, w), written) in recorded.into_iter().zip(write_ids).zip(written) {
            let new = new[ix];
            results[ix] = match written {
                Ok(Written::Done) => Some(Ok(created(new))),
                Ok(Written::Refused(Some(item))) => Some(judge(new, &item, Some(w))),
                Ok(Written::Refused(None) | Written::TooLate) => {
                    unread.push((ix, w));
                    None
                }
                Err(error) => Some(Err(error)),
            };
        }
        if !unread.is_empty() {
            let read = self.table.get(unread.iter().map(|(ix, _)| keys::row_key(new[*ix].id))).await;
            for (ix, w) in unread {
                results[ix] = Some(match &read {
                    Ok(rows) => look_up(new[ix], rows, Some(w)),
                    Err(error) => Err(error.clone()),
                });
            }
        }
        results.into_iter().map(|result| result.unwrap_or_else(no_answer)).collect()
    }

    /// What stands in the log under these ids, compared with what was to be recorded.
    async fn known(&self, new: &[&NewNotification]) -> Vec<Accepted> {
        match self.table.get(new.iter().map(|new| keys::row_key(new.id))).await {
            Ok(rows) => new.iter().map(|new| look_up(new, &rows, None)).collect(),
            Err(error) => new.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// Writes entries and contents. A result per source.
    pub(super) async fn write_content<'a>(
        &self,
        sources: impl Iterator<Item = Source<'a>>,
    ) -> Vec<Result<(), LogError>> {
        let mut items = Vec::new();
        let mut counts = Vec::new();
        for source in sources {
            let own = items_of(source, true, self.retention);
            counts.push(own.len());
            items.extend(own);
        }
        let mut written = self.writer.put(items).await.into_iter();
        // All of a source's results are taken, also after its first error.
        counts.into_iter().map(|count| written.by_ref().take(count).fold(Ok(()), Result::and)).collect()
    }
}

fn created(new: &NewNotification) -> Acceptance {
    Acceptance::Created(new.life.status(new.life.accepted_at))
}

fn look_up(new: &NewNotification, rows: &HashMap<Key, Item>, w: Option<WriteId>) -> Accepted {
    match rows.get(&keys::row_key(new.id)) {
        Some(item) => judge(new, item, w),
        None => Err(LogError::Unavailable("a row that refuses its id to another is gone".into())),
    }
}

fn judge(new: &NewNotification, item: &Item, w: Option<WriteId>) -> Accepted {
    let row = Row::read(item)?;
    if w == Some(row.write_id) {
        // Our own: only the answer was lost.
        return Ok(created(new));
    }
    if row.content_hash != new.content_hash {
        return Ok(Acceptance::Conflict);
    }
    Ok(Acceptance::Duplicate(row.life.status(new.life.accepted_at)))
}

fn no_answer() -> Accepted {
    Err(LogError::Unavailable("a write came to no answer".into()))
}
