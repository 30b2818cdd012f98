//! Looks at unmatched events again: a walk over their days, newest first, some items at a time.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::DAYS_PARTITION;
use crate::clock::Timestamp;
use crate::message_log::LogError;
use crate::message_log::dynamodb::DynamoLog;
use crate::message_log::dynamodb::entry::unpack;
use crate::message_log::dynamodb::keys::{Item, Key};
use crate::message_log::dynamodb::row::{blob, n, number, s};
use crate::message_log::dynamodb::table::Query;
use crate::message_log::dynamodb::write::Write;
use crate::message_log::unmatched::{
    Looked, Unmatched, UnmatchedEvents, UnmatchedPage, from_text, next_look,
};

/// Items that one look reads at the most: half a read unit for each four kilobytes.
const READ_AT_ONCE: usize = 2_000;

/// Counting reads everything: what was counted holds for so long, unless counts are never kept.
const COUNT_KEPT: Duration = Duration::from_secs(300);

/// Where the next look goes on.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Days that are still to be looked at, newest last; empty: from the start.
    days: Vec<String>,
    /// Where in the last of them.
    start: Option<Item>,
}

fn of_day(day: &str, limit: Option<i32>, is_count: bool) -> Query {
    let partition = ("pk", format!("u#{day}"));
    Query { index: None, partition, range: None, is_forward: false, limit, is_count }
}

/// Every day of which there may be some, oldest first.
async fn days(log: &DynamoLog) -> Result<Vec<String>, LogError> {
    let query = Query {
        index: None,
        partition: ("pk", DAYS_PARTITION.to_owned()),
        range: None,
        is_forward: true,
        limit: None,
        is_count: false,
    };
    let (mut days, mut start) = (Vec::new(), None);
    loop {
        let page = log.table.query(&query, start).await?;
        days.extend(page.items.iter().filter_map(Key::of).map(|key| key.sk));
        start = page.next;
        if start.is_none() {
            return Ok(days);
        }
    }
}

/// `None` where it cannot be read back: it goes with its 30 days.
fn read(item: &Item) -> Option<Unmatched> {
    let Key { pk, sk } = Key::of(item)?;
    let text = unpack(blob(item, "ev")?).ok()?;
    let kept_at = number(item, "at").map(Timestamp::from_ms).unwrap_or_default();
    Some(Unmatched {
        key: format!("{pk}/{sk}"),
        kept_at,
        event: from_text(std::str::from_utf8(&text).ok()?)?,
    })
}

fn key(text: &str) -> Option<Key> {
    let (pk, sk) = text.split_once('/')?;
    (pk.starts_with("u#") && pk != DAYS_PARTITION).then(|| Key::new(pk, sk))
}

#[async_trait]
impl UnmatchedEvents for DynamoLog {
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Unmatched>, LogError> {
        let mut walk = self.strays.walk.lock().await;
        if walk.days.is_empty() {
            *walk = Walk { days: days(self).await?, start: None };
        }
        let (mut due, mut looked) = (Vec::new(), 0);
        while let Some(day) = walk.days.last() {
            let room = limit.saturating_sub(due.len()).min(READ_AT_ONCE - looked);
            if room == 0 {
                break;
            }
            let page = of_day(day, i32::try_from(room).ok(), false);
            let page = self.table.query(&page, walk.start.take()).await?;
            looked += page.read;
            let is_due = |item: &&Item| number::<i64>(item, "la").unwrap_or(0) <= now.as_ms();
            due.extend(page.items.iter().filter(is_due).filter_map(read));
            walk.start = page.next;
            if walk.start.is_none() {
                walk.days.pop();
            }
        }
        Ok(due)
    }

    async fn looked(&self, looked: &[Looked], now: Timestamp) -> Result<(), LogError> {
        let name = self.table.name.as_ref();
        let writes = looked.iter().filter_map(|one| {
            let key = key(&one.key)?;
            let (pk, sk) = (s(key.pk.as_str()), s(key.sk.as_str()));
            let (statement, parameters) = if one.is_matched {
                (format!("DELETE FROM \"{name}\" WHERE pk=? AND sk=?"), vec![pk, sk])
            } else {
                let look_at = n(next_look(one.kept_at, now).as_ms());
                (format!("UPDATE \"{name}\" SET la=? WHERE pk=? AND sk=?"), vec![look_at, pk, sk])
            };
            Some(Write { key, statement, parameters, send_before: None })
        });
        // Refused: it is gone already.
        self.writer.write(writes.collect()).await.into_iter().try_for_each(|written| written.map(drop))
    }

    async fn list(&self, cursor: Option<&str>, limit: usize) -> Result<UnmatchedPage, LogError> {
        let behind = cursor.map(|text| key(text).ok_or(LogError::BadCursor)).transpose()?;
        let mut start = behind.as_ref().map(Key::attributes);
        let mut page = UnmatchedPage::default();
        for day in days(self).await?.into_iter().rev() {
            let is_newer = behind.as_ref().is_some_and(|key| format!("u#{day}") > key.pk);
            if is_newer {
                continue;
            }
            // The cursor's own day may be gone: then this is the next one.
            let from_here = behind.as_ref().is_none_or(|key| format!("u#{day}") == key.pk);
            let mut start = start.take().filter(|_| from_here);
            loop {
                let room = limit - page.items.len();
                let found = of_day(&day, i32::try_from(room).ok(), false);
                let found = self.table.query(&found, start).await?;
                page.items.extend(found.items.iter().filter_map(read));
                start = found.next;
                if page.items.len() >= limit {
                    page.next_cursor = page.items.last().map(|last| last.key.clone());
                    return Ok(page);
                }
                if start.is_none() {
                    break;
                }
            }
        }
        Ok(page)
    }

    async fn count(&self) -> Result<u64, LogError> {
        let counted = *self.strays.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, count)) = counted.filter(|_| !self.counts_kept.is_zero())
            && at.elapsed() < COUNT_KEPT
        {
            return Ok(count);
        }
        let mut count = 0;
        for day in days(self).await? {
            let mut start = None;
            loop {
                let page = self.table.query(&of_day(&day, None, true), start).await?;
                count += page.count;
                start = page.next;
                if start.is_none() {
                    break;
                }
            }
        }
        *self.strays.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), count));
        Ok(count)
    }
}
