//! What was sent and lacks a word of its provider. What was sent soon after its acceptance is found among the entries of
//! that hour, without any write; what was sent late stays in the index `open`, in partitions of its own, by when it was.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::hours::HourWalk;
use super::keys::{self, Item, OPEN_INDEX};
use super::list::{ROWS_AT_ONCE, fitting};
use super::merge::{Candidate, Direction};
use super::page::{Ask, Span};
use super::row::{n, number, s, text};
use super::{DynamoLog, cursor, read};
use crate::clock::Timestamp;
use crate::message_log::{Filter, Heard, HeardPage, Lacks, LogError, Record, SentSpan, is_end};
use crate::notification::NotificationId;
use crate::notification::status::recipient::RecipientStatus;
use crate::notification::status::{Life, Status};

/// What is sent so soon after its acceptance is found by its acceptance, with a look this far back; the rest, which is
/// little, costs a write more.
const SENT_SOON: Duration = Duration::from_secs(300);

/// Rows that one page looks at. A page reads its first hour from the beginning, so small ones are dear.
const LOOKS: u64 = 20_000;

/// Partitions of what was sent late; after an outage all of it is written within minutes.
const LATE_SHARDS: u8 = 8;

/// When it was sent, where that was late.
pub(super) fn sent_late(life: &Life) -> Option<Timestamp> {
    life.sent_at.filter(|sent_at| *sent_at > life.accepted_at.plus(SENT_SOON))
}

/// The partition of the index `open` in which it stands then: no class's.
pub(super) fn late_partition_of(id: NotificationId) -> String {
    late_partition(id.as_bytes()[15] % LATE_SHARDS)
}

fn late_partition(shard: u8) -> String {
    format!("u{shard:x}")
}

/// Where a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Among what was sent soon, behind this.
    Soon(Option<(Timestamp, NotificationId)>),
    /// In this shard of what was sent late, behind this.
    Late(u8, Option<(Timestamp, NotificationId)>),
}

impl Place {
    fn parse(text: &str) -> Result<Self, LogError> {
        let read = || {
            let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
            let parts: Vec<&str> = text.split('.').collect();
            let behind = |at: &str, id: &str| Some((Timestamp::from_ms(at.parse().ok()?), id.parse().ok()?));
            match parts.as_slice() {
                ["a", at, id] => Some(Self::Soon(Some(behind(at, id)?))),
                ["s", shard] => Some(Self::Late(shard.parse().ok()?, None)),
                ["s", shard, at, id] => Some(Self::Late(shard.parse().ok()?, Some(behind(at, id)?))),
                _ => None,
            }
        };
        read().ok_or(LogError::BadCursor)
    }

    fn print(self) -> String {
        let text = match self {
            Self::Soon(None) => return String::new(),
            Self::Soon(Some((at, id))) => format!("a.{}.{id}", at.as_ms()),
            Self::Late(shard, None) => format!("s.{shard}"),
            Self::Late(shard, Some((at, id))) => format!("s.{shard}.{}.{id}", at.as_ms()),
        };
        BASE64_URL_SAFE_NO_PAD.encode(text)
    }
}

pub(super) async fn page(
    log: &DynamoLog,
    lacks: Lacks,
    span: SentSpan,
    cursor: Option<&str>,
    limit: usize,
) -> Result<HeardPage, LogError> {
    let mut walk = Walk { log, lacks, span, limit, page: HeardPage::default() };
    let place = cursor.map(Place::parse).transpose()?.unwrap_or(Place::Soon(None));
    let (mut shard, mut behind) = match place {
        Place::Late(shard, behind) => (shard, behind),
        Place::Soon(behind) => {
            if let Some(place) = walk.soon(behind).await? {
                walk.page.next_cursor = Some(place.print());
                return Ok(walk.page);
            }
            (0, None)
        }
    };
    while shard < LATE_SHARDS {
        if let Some(place) = walk.late(shard, behind.take()).await? {
            walk.page.next_cursor = Some(place.print());
            return Ok(walk.page);
        }
        shard += 1;
    }
    Ok(walk.page)
}

struct Walk<'a> {
    log: &'a DynamoLog,
    lacks: Lacks,
    span: SentSpan,
    limit: usize,
    page: HeardPage,
}

impl Walk<'_> {
    /// What was sent soon; where to go on, if there is more than one page takes.
    async fn soon(&mut self, behind: Option<(Timestamp, NotificationId)>) -> Result<Option<Place>, LogError> {
        let SentSpan { from, until } = self.span;
        let filter = Filter { since: Some(from.minus(SENT_SOON)), until: Some(until), ..Filter::default() };
        let cursor = behind.map(|(at, id)| cursor::Cursor { at, id });
        let mut hours = HourWalk::open(&self.log.table, None, &filter, Direction::Up, cursor);
        loop {
            let candidates = hours.next(self.at_once()).await?;
            let Some(last) = candidates.last().map(Candidate::place) else { return Ok(None) };
            self.look(&candidates, false).await?;
            if self.is_full() {
                return Ok(Some(Place::Soon(Some(last))));
            }
        }
    }

    async fn late(
        &mut self,
        shard: u8,
        behind: Option<(Timestamp, NotificationId)>,
    ) -> Result<Option<Place>, LogError> {
        let SentSpan { from, until } = self.span;
        // Both ends of a span of keys count.
        let last = until.minus(Duration::from_millis(1));
        let ask = Ask {
            index: Some(OPEN_INDEX),
            partition: ("os", late_partition(shard)),
            sort: Some("oa"),
            span: Span::times(Some(from), Some(last)),
            is_up: true,
            projection: Some("pk, oa"),
            ..Ask::default()
        };
        let mut start = behind.map(|(at, id)| start(shard, at, id));
        loop {
            let found = ask.page(&self.log.table, start.take(), Some(self.at_once())).await?;
            let candidates: Vec<Candidate> = found.items.iter().filter_map(candidate).collect();
            self.look(&candidates, true).await?;
            start = found.next;
            if start.is_none() {
                return Ok(None);
            }
            if let (true, Some(last)) = (self.is_full(), candidates.last()) {
                return Ok(Some(Place::Late(shard, Some(last.place()))));
            }
        }
    }

    fn at_once(&self) -> usize {
        // Whatever is looked at may lack it, and a page has no more than its limit.
        self.limit.saturating_sub(self.page.items.len()).clamp(1, ROWS_AT_ONCE)
    }

    fn is_full(&self) -> bool {
        self.page.items.len() >= self.limit || self.page.looked_at >= LOOKS
    }

    async fn look(&mut self, candidates: &[Candidate], are_late: bool) -> Result<(), LogError> {
        self.page.looked_at += candidates.len() as u64;
        let (table, now) = (&self.log.table, self.span.until);
        let filter = Filter { statuses: vec![Status::Sent], ..Filter::default() };
        let mut rows = Vec::new();
        for (_, row) in fitting(table, &filter, candidates, now).await? {
            let life = &row.value.life;
            let is_within = life.sent_at.is_some_and(|at| self.span.contains(at));
            if is_within && sent_late(life).is_some() == are_late {
                rows.push(row);
            }
        }
        for record in read::records(table, rows).await? {
            self.page.items.extend(heard(record.value).filter(|heard| heard.is_without(self.lacks)));
        }
        Ok(())
    }
}

fn candidate(item: &Item) -> Option<Candidate> {
    let id = text(item, "pk").and_then(keys::notification_id)?;
    let at = Timestamp::from_ms(number(item, "oa")?);
    Some(Candidate { at, id, accepted_at: None, content: None })
}

/// The place behind this entry of the index.
fn start(shard: u8, at: Timestamp, id: NotificationId) -> Item {
    let mut start = keys::row_key(id).attributes();
    start.insert("os".into(), s(late_partition(shard)));
    start.insert("oa".into(), n(at.as_ms()));
    start
}

fn heard(record: Record) -> Option<Heard> {
    let count = |wanted: fn(RecipientStatus) -> bool| {
        record.recipients.iter().filter(|one| wanted(one.status)).count() as u64
    };
    Some(Heard {
        sent_at: record.life.sent_at?,
        recipients: record.recipients.len() as u64,
        silent: count(|status| status == RecipientStatus::Pending),
        open: count(|status| !is_end(status)),
        id: record.id,
        tenant: record.tenant,
        provider: record.life.provider.unwrap_or_default(),
    })
}

pub(super) async fn of(log: &DynamoLog, ids: &[NotificationId]) -> Result<Vec<Option<Heard>>, LogError> {
    let mut found: HashMap<NotificationId, Heard> = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(ROWS_AT_ONCE) {
        let items = log.table.get(ids.iter().map(|id| keys::row_key(*id))).await?;
        let rows = items.values().filter_map(read::stored_row).collect();
        for record in read::records(&log.table, rows).await? {
            let id = record.value.id;
            found.extend(heard(record.value).map(|heard| (id, heard)));
        }
    }
    Ok(ids.iter().map(|id| found.remove(id)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_as_it_was_written() {
        let behind = Some((Timestamp::from_ms(1_800_000_000_000), NotificationId::fresh()));
        for place in [Place::Soon(behind), Place::Late(3, None), Place::Late(7, behind)] {
            assert_eq!(Place::parse(&place.print()).ok(), Some(place));
        }
        for bad in ["", "x", "YS4x", "cy4"] {
            assert!(matches!(Place::parse(bad), Err(LogError::BadCursor)), "{bad}");
        }
    }
}
