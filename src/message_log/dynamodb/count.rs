//! Counting: exact for all that is at rest, from the index alone; exact for what is on its way while that is little.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::DynamoLog;
use super::entry::Entry;
use super::keys::{self, Class, Item, OPEN_INDEX};
use super::list::{ROWS_AT_ONCE, fitting};
use super::page::{Ask, Span};
use super::plan::{Seen, Walk};
use super::read::stored_row;
use super::row::Row;
use super::row::{number, text};
use super::source::Source;
use super::table::Table;
use crate::clock::Timestamp;
use crate::message_log::{Counts, Deadline, Filter, Group, LogError, Standing, Standings};
use crate::notification::status::{State, Status};

/// Up to so many on their way, their rows are read: the index does not see claims. About 2,000 read units.
const MOST_ROWS: usize = 2_000;

/// A count is kept for so many times what it took, so that counting never takes more than a twentieth of the time.
const KEPT_TIMES: u32 = 20;

/// The latest count.
#[derive(Debug, Default)]
pub(super) struct Counted(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    counts: Counts,
    until: Instant,
}

pub(super) async fn counts(log: &DynamoLog, now: Timestamp) -> Result<Counts, LogError> {
    // Held while counting: who asks meanwhile gets the same answer.
    let mut kept = log.counted.0.lock().await;
    if let Some(kept) = kept.as_ref().filter(|kept| kept.until > Instant::now()) {
        return Ok(kept.counts.clone());
    }
    let begun = Instant::now();
    let counts = count(log, now).await?;
    let took = begun.elapsed();
    let keep =
        if log.counts_kept.is_zero() { Duration::ZERO } else { log.counts_kept.max(took * KEPT_TIMES) };
    *kept = Some(Kept { counts: counts.clone(), until: Instant::now() + keep });
    Ok(counts)
}

async fn count(log: &DynamoLog, now: Timestamp) -> Result<Counts, LogError> {
    let table = &log.table;
    let after_now = Span::times(Some(Timestamp::from_ms(now.as_ms() + 1)), None);
    let (held, failed, expired, scheduled, stopped, due, sent) = futures::try_join!(
        total(table, Class::Held, Span::default()),
        total(table, Class::Failed, Span::default()),
        total(table, Class::Expired, Span::default()),
        total(table, Class::Scheduled, after_now),
        entries(table, Class::Stopped, Span::default(), "sv"),
        on_their_way(table, now),
        log.tally.total(table)
    )?;
    let mut by_status: BTreeMap<Status, u64> =
        due.standings.iter().map(|(status, standing)| (*status, standing.count)).collect();
    let mut add = |status, count| *by_status.entry(status).or_default() += count;
    add(Status::Held, held);
    add(Status::Failed, failed);
    add(Status::Expired, expired);
    add(Status::Scheduled, scheduled);
    add(Status::Sent, sent);
    for item in &stopped {
        let is_suppressed = Seen::read(item).state == Some(State::Suppressed);
        add(if is_suppressed { Status::Suppressed } else { Status::Cancelled }, 1);
    }
    by_status.retain(|_, count| *count > 0);
    Ok(Counts { by_status, oldest_unsent: due.oldest })
}

/// Read anew each time: what proves that nothing is left must not be remembered from a second ago.
pub(super) async fn standings(log: &DynamoLog, now: Timestamp) -> Result<Standings, LogError> {
    let table = &log.table;
    let after_now = Span::times(Some(Timestamp::from_ms(now.as_ms() + 1)), None);
    let whole = Span::default;
    let (held, failed, expired, scheduled, due) = futures::try_join!(
        standing(table, Class::Held, whole(), now),
        standing(table, Class::Failed, whole(), now),
        standing(table, Class::Expired, whole(), now),
        standing(table, Class::Scheduled, after_now, now),
        on_their_way(table, now),
    )?;
    let mut standings = due.standings;
    let at_rest = [
        (Status::Held, held),
        (Status::Failed, failed),
        (Status::Expired, expired),
        (Status::Scheduled, scheduled),
    ];
    for (status, runs) in at_rest {
        let standing = standings.entry(status).or_default();
        for run in runs {
            for (age, count) in run.by_age.counts().into_iter().enumerate() {
                standing.add_many(age, count, run.oldest);
            }
        }
    }
    standings.retain(|_, standing| standing.count > 0);
    Ok(standings)
}

/// How this part of a class stands, one for each shard: an entry costs the same to count and to read, and none is kept.
async fn standing(
    table: &Table,
    class: Class,
    span: Span,
    now: Timestamp,
) -> Result<Vec<Standing>, LogError> {
    let runs = asks(class, &span, "oa").map(|ask| async move {
        let (mut standing, mut start) = (Standing::default(), None);
        loop {
            let page = ask.page(table, start, None).await?;
            let waits = page.items.iter().filter_map(|item| number(item, "oa"));
            waits.for_each(|at| standing.add(Timestamp::from_ms(at), now));
            match page.next {
                Some(next) => start = Some(next),
                None => return Ok(standing),
            }
        }
    });
    try_join_all(runs).await
}

struct OnTheirWay {
    standings: Standings,
    oldest: Option<Timestamp>,
}

/// The class of those on their way, and the scheduled ones that have come due.
async fn on_their_way(table: &Table, now: Timestamp) -> Result<OnTheirWay, LogError> {
    let until_now = Span::times(None, Some(now));
    let (queued, due) = futures::try_join!(
        entries(table, Class::OnItsWay, Span::default(), "pk, oa, sv"),
        entries(table, Class::Scheduled, until_now, "pk, oa, sv")
    )?;
    let seen: Vec<Item> = queued.into_iter().chain(due).collect();
    let mut found = OnTheirWay { standings: Standings::new(), oldest: None };
    let mut add = |status, at: Option<Timestamp>| {
        found.standings.entry(status).or_default().add(at.unwrap_or(now), now);
        // One that a former hold put off is not on its way.
        let at = at.filter(|_| status != Status::Scheduled);
        found.oldest = found.oldest.into_iter().chain(at).min();
    };
    if seen.len() > MOST_ROWS {
        for item in &seen {
            let status = match Seen::read(item).state {
                Some(State::Retrying) => Status::Retrying,
                // Written by an attempt that ended without an answer.
                Some(State::Attempting) => Status::Unknown,
                _ => Status::Accepted,
            };
            add(status, number(item, "oa").map(Timestamp::from_ms));
        }
        return Ok(found);
    }
    let ids = seen.iter().filter_map(|item| text(item, "pk").and_then(keys::notification_id));
    let wanted: Vec<_> = ids.map(keys::row_key).collect();
    let rows = table.get(wanted).await?;
    for life in rows.values().filter_map(stored_row).map(|row| row.value.life) {
        // What left since the index was read counts next time.
        if life.state != State::Sent {
            add(life.status(now), Some(life.ready_at()));
        }
    }
    Ok(found)
}

/// How many there are in this part of a class.
async fn total(table: &Table, class: Class, span: Span) -> Result<u64, LogError> {
    let asks: Vec<Ask> = asks(class, &span, "pk").collect();
    Ok(try_join_all(asks.iter().map(|ask| ask.count(table))).await?.iter().sum())
}

/// The entries of this part of a class, oldest first within a shard.
async fn entries(
    table: &Table,
    class: Class,
    span: Span,
    projection: &'static str,
) -> Result<Vec<Item>, LogError> {
    let asks: Vec<Ask> = asks(class, &span, projection).collect();
    Ok(try_join_all(asks.iter().map(|ask| ask.all(table))).await?.concat())
}

fn asks(class: Class, span: &Span, projection: &'static str) -> impl Iterator<Item = Ask> {
    (0..class.shards()).map(move |shard| Ask {
        index: Some(OPEN_INDEX),
        partition: ("os", keys::open_partition(class, shard)),
        sort: Some("oa"),
        span: span.clone(),
        is_up: true,
        projection: Some(projection),
        ..Ask::default()
    })
}

/// Rows and entries are both read: the deadline stands in the one, the template in the other.
pub(super) async fn groups(log: &DynamoLog, filter: &Filter, now: Timestamp) -> Result<Vec<Group>, LogError> {
    let mut groups = Vec::new();
    let mut source = Source::open(&log.table, Walk::of(filter, now), filter, None, ROWS_AT_ONCE);
    loop {
        let candidates = source.next(ROWS_AT_ONCE).await?;
        if candidates.is_empty() {
            return Ok(Group::merged(groups));
        }
        let rows: Vec<Row> = fitting(&log.table, filter, &candidates, now)
            .await?
            .into_iter()
            .map(|(_, row)| row.value)
            .collect();
        let entries = log.table.get(rows.iter().map(Row::entry_key)).await?;
        for row in rows {
            let entry = entries.get(&row.entry_key()).and_then(|item| Entry::read(item).ok());
            let card = entry.and_then(|entry| entry.card().ok().flatten());
            groups.push(Group {
                status: row.life.status(now),
                template: card.and_then(|card| card.template().map(str::to_owned)),
                deadline: Deadline::of(row.life.useful_until, now),
                reason: row.life.reason,
                tenant: row.tenant,
                count: 1,
            });
        }
        // A hundred thousand of a kind are one line.
        groups = Group::merged(groups);
    }
}
