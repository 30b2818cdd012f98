//! The queue's statements. Every function runs inside one transaction of the engine.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::RECEIVED_TOO_OFTEN;
use super::lanes::Lanes;
use super::{Config, Delivery, Depth, Message, Origin, Receipt, Settlement};
use crate::clock::Timestamp;
use crate::notification::status::Life;
use crate::notification::{NotificationId, Priority};

/// Dead letters pruned per added one: more than one, so that the table shrinks, and bounded.
const PRUNED_AT_ONCE: u32 = 10;

/// A message as its row needs it.
pub(super) struct Sent {
    id: NotificationId,
    tenant: String,
    lane: Priority,
    visible_at: Timestamp,
}

impl Sent {
    pub(super) fn new(message: &Message, now: Timestamp) -> Self {
        let visible_at = now.plus(message.delay.min(Life::LONGEST_QUEUE_WAIT));
        Self { id: message.id, tenant: message.tenant.clone(), lane: message.priority, visible_at }
    }
}

/// What a receipt says: the row, and the nonce of the receive.
#[derive(Clone, Copy)]
pub(super) struct Handle {
    seq: i64,
    nonce: i64,
}

impl Handle {
    pub(super) fn parse(receipt: &Receipt) -> Option<Self> {
        let (seq, nonce) = receipt.0.split_once('.')?;
        Some(Self { seq: seq.parse().ok()?, nonce: nonce.parse().ok()? })
    }

    fn receipt(self) -> Receipt {
        Receipt(format!("{}.{}", self.seq, self.nonce))
    }
}

fn lane_code(lane: Priority) -> i64 {
    match lane {
        Priority::Transactional => 0,
        Priority::Bulk => 1,
    }
}

fn lane_of(code: i64) -> Priority {
    if code == lane_code(Priority::Bulk) { Priority::Bulk } else { Priority::Transactional }
}

/// Which tenants have messages, and when the first of each becomes visible: one index seek per tenant.
pub(super) fn load(tx: &Connection) -> rusqlite::Result<Lanes> {
    let mut lanes = Lanes::default();
    let mut next = tx.prepare(
        "SELECT tenant, visible_at FROM queue WHERE lane = ?1 AND tenant > ?2 ORDER BY tenant, visible_at LIMIT 1",
    )?;
    for lane in [Priority::Transactional, Priority::Bulk] {
        let mut behind = String::new();
        let found = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
        while let Some((tenant, at)) = next.query_row(params![lane_code(lane), behind], found).optional()? {
            lanes.expect(lane, &tenant, Timestamp::from_ms(at));
            behind = tenant;
        }
    }
    Ok(lanes)
}

pub(super) fn send<'a>(
    tx: &Connection,
    lanes: &mut Lanes,
    rows: impl Iterator<Item = &'a Sent>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO queue (id, lane, tenant, visible_at, enqueued_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO NOTHING",
    )?;
    let mut revive = tx.prepare_cached("DELETE FROM queue_dead WHERE id = ?1")?;
    for row in rows {
        let (id, at) = (row.id.as_bytes(), row.visible_at);
        let inserted =
            insert.execute(params![id, lane_code(row.lane), row.tenant, at.as_ms(), now.as_ms()])?;
        if inserted == 1 {
            revive.execute([id])?;
            lanes.expect(row.lane, &row.tenant, at);
        } else {
            merge(tx, lanes, row)?;
        }
    }
    Ok(())
}

/// The message that is there becomes visible at the earlier of both moments. One in flight does not: its worker would
/// meet itself. It is remembered instead, and comes again when the delivery ends.
fn merge(tx: &Connection, lanes: &mut Lanes, row: &Sent) -> rusqlite::Result<()> {
    let (id, at) = (row.id.as_bytes(), row.visible_at.as_ms());
    tx.prepare_cached(
        "UPDATE queue SET resent_at = min(coalesce(resent_at, ?2), ?2) WHERE id = ?1 AND in_flight = 1",
    )?
    .execute(params![id, at])?;
    let moved = tx
        .prepare_cached(
            "UPDATE queue SET visible_at = ?2 WHERE id = ?1 AND in_flight = 0 AND visible_at > ?2
             RETURNING lane, tenant",
        )?
        .query_row(params![id, at], |row| Ok((lane_of(row.get(0)?), row.get::<_, String>(1)?)))
        .optional()?;
    if let Some((lane, tenant)) = moved {
        lanes.expect(lane, &tenant, row.visible_at);
    }
    Ok(())
}

pub(super) fn receive(
    tx: &Connection,
    lanes: &mut Lanes,
    max: usize,
    now: Timestamp,
    config: &Config,
) -> rusqlite::Result<Vec<Delivery>> {
    let mut received = Vec::new();
    for lane in lanes.order() {
        let mut turn = lanes.turn(lane, now, max - received.len());
        // Equal shares; who leaves part of its share leaves it to those that have more.
        while !turn.is_empty() && received.len() < max {
            let share = (max - received.len()).div_ceil(turn.len());
            let mut more = Vec::new();
            for tenant in turn {
                let limit = share.min(max - received.len());
                if limit == 0 {
                    break;
                }
                let taken = take(tx, lane, &tenant, limit, now, config, &mut received)?;
                let next = next_visible_at(tx, lane, &tenant)?;
                lanes.correct(lane, &tenant, next);
                if taken > 0 && next.is_some_and(|next| next <= now) {
                    more.push(tenant);
                }
            }
            turn = more;
        }
    }
    Ok(received)
}

fn next_visible_at(tx: &Connection, lane: Priority, tenant: &str) -> rusqlite::Result<Option<Timestamp>> {
    let next: Option<i64> = tx
        .prepare_cached("SELECT min(visible_at) FROM queue WHERE lane = ?1 AND tenant = ?2")?
        .query_row(params![lane_code(lane), tenant], |row| row.get(0))?;
    Ok(next.map(Timestamp::from_ms))
}

struct Visible {
    seq: i64,
    id: [u8; 16],
    receive_count: u32,
    enqueued_at: Timestamp,
}

/// Receives up to `limit` of one tenant's messages; how many rows were visible, dead letters included.
fn take(
    tx: &Connection,
    lane: Priority,
    tenant: &str,
    limit: usize,
    now: Timestamp,
    config: &Config,
    received: &mut Vec<Delivery>,
) -> rusqlite::Result<usize> {
    let visible = visible(tx, lane, tenant, limit, now)?;
    let mut hide = tx.prepare_cached(
        "UPDATE queue SET visible_at = ?2, in_flight = 1, nonce = ?3, receive_count = receive_count + 1,
             resent_at = NULL
         WHERE seq = ?1",
    )?;
    let until = now.plus(config.visibility_timeout).as_ms();
    for row in &visible {
        if row.receive_count >= config.max_receive_count {
            bury(tx, row.seq, RECEIVED_TOO_OFTEN, now, config)?;
            continue;
        }
        let handle = Handle { seq: row.seq, nonce: rand::random() };
        hide.execute(params![handle.seq, until, handle.nonce])?;
        received.push(Delivery {
            id: NotificationId::from_bytes(row.id),
            tenant: tenant.to_owned(),
            priority: lane,
            receipt: handle.receipt(),
            receive_count: row.receive_count + 1,
            enqueued_at: row.enqueued_at,
            content: None,
            origin: Origin::Recorded,
        });
    }
    Ok(visible.len())
}

fn visible(
    tx: &Connection,
    lane: Priority,
    tenant: &str,
    limit: usize,
    now: Timestamp,
) -> rusqlite::Result<Vec<Visible>> {
    tx.prepare_cached(
        "SELECT seq, id, receive_count, enqueued_at FROM queue
         WHERE lane = ?1 AND tenant = ?2 AND visible_at <= ?3 ORDER BY visible_at LIMIT ?4",
    )?
    .query_map(
        params![lane_code(lane), tenant, now.as_ms(), i64::try_from(limit).unwrap_or(i64::MAX)],
        |row| {
            Ok(Visible {
                seq: row.get(0)?,
                id: row.get(1)?,
                receive_count: row.get(2)?,
                enqueued_at: Timestamp::from_ms(row.get(3)?),
            })
        },
    )?
    .collect()
}

/// Moves a message to the dead letters.
fn bury(tx: &Connection, seq: i64, reason: &str, now: Timestamp, config: &Config) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO queue_dead (id, lane, tenant, reason, receive_count, at)
         SELECT id, lane, tenant, ?2, receive_count, ?3 FROM queue WHERE seq = ?1",
    )?
    .execute(params![seq, reason, now.as_ms()])?;
    tx.prepare_cached("DELETE FROM queue WHERE seq = ?1")?.execute([seq])?;
    tx.prepare_cached(
        "DELETE FROM queue_dead WHERE id IN (SELECT id FROM queue_dead WHERE at < ?1 ORDER BY at LIMIT ?2)",
    )?
    .execute(params![now.minus(config.dead_letters_kept).as_ms(), PRUNED_AT_ONCE])?;
    Ok(())
}

/// Whether each receipt was known.
pub(super) fn extend(
    tx: &Connection,
    handles: &[Option<Handle>],
    until: Timestamp,
) -> rusqlite::Result<Vec<bool>> {
    let mut extend = tx
        .prepare_cached("UPDATE queue SET visible_at = ?3 WHERE seq = ?1 AND nonce = ?2 AND in_flight = 1")?;
    let known = |handle: &Option<Handle>| match handle {
        Some(Handle { seq, nonce }) => Ok(extend.execute(params![seq, nonce, until.as_ms()])? == 1),
        None => Ok(false),
    };
    handles.iter().map(known).collect()
}

/// Whether each receipt was known.
pub(super) fn settle(
    tx: &Connection,
    lanes: &mut Lanes,
    ends: &[(Option<Handle>, Settlement)],
    now: Timestamp,
    config: &Config,
) -> rusqlite::Result<Vec<bool>> {
    let known = |(handle, end): &(Option<Handle>, Settlement)| match handle {
        Some(handle) => settle_one(tx, lanes, *handle, end, now, config),
        None => Ok(false),
    };
    ends.iter().map(known).collect()
}

fn settle_one(
    tx: &Connection,
    lanes: &mut Lanes,
    Handle { seq, nonce }: Handle,
    end: &Settlement,
    now: Timestamp,
    config: &Config,
) -> rusqlite::Result<bool> {
    if *end == Settlement::Done {
        let done = tx
            .prepare_cached(
                "DELETE FROM queue WHERE seq = ?1 AND nonce = ?2 AND in_flight = 1 AND resent_at IS NULL",
            )?
            .execute(params![seq, nonce])?;
        if done == 1 {
            return Ok(true);
        }
    }
    let found = tx
        .prepare_cached(
            "SELECT lane, tenant, resent_at FROM queue WHERE seq = ?1 AND nonce = ?2 AND in_flight = 1",
        )?
        .query_row(params![seq, nonce], |row| {
            Ok((lane_of(row.get(0)?), row.get::<_, String>(1)?, row.get::<_, Option<i64>>(2)?))
        })
        .optional()?;
    let Some((lane, tenant, resent_at)) = found else {
        return Ok(false);
    };
    let resent_at = resent_at.map(Timestamp::from_ms);
    let again_at = match end {
        Settlement::Again { after } => Some(now.plus((*after).min(Life::LONGEST_QUEUE_WAIT))),
        Settlement::Done | Settlement::Dead { .. } => None,
    };
    match (again_at.into_iter().chain(resent_at).min(), end) {
        (None, Settlement::Dead { reason }) => bury(tx, seq, reason, now, config)?,
        (Some(at), _) => {
            // A message that was sent again while this delivery ended counts its receives anew.
            let count_kept = i64::from(again_at.is_some());
            tx.prepare_cached(
                "UPDATE queue SET visible_at = ?2, in_flight = 0, resent_at = NULL,
                     receive_count = receive_count * ?3
                 WHERE seq = ?1",
            )?
            .execute(params![seq, at.as_ms(), count_kept])?;
            lanes.expect(lane, &tenant, at);
        }
        (None, Settlement::Done | Settlement::Again { .. }) => {}
    }
    Ok(true)
}

pub(super) fn purge(tx: &Connection) -> rusqlite::Result<usize> {
    tx.execute("DELETE FROM queue", [])
}

pub(super) fn depth(tx: &Connection, now: Timestamp) -> rusqlite::Result<Depth> {
    let count = |row: &Row<'_>, ix| row.get::<_, Option<i64>>(ix).map(|n| n.unwrap_or(0).unsigned_abs());
    let dead = tx.prepare_cached("SELECT count(*) FROM queue_dead")?.query_row([], |row| count(row, 0))?;
    tx.prepare_cached(
        "SELECT sum(visible_at <= ?1), sum(visible_at > ?1 AND in_flight), sum(visible_at > ?1 AND NOT in_flight)
         FROM queue INDEXED BY queue_visible",
    )?
    .query_row([now.as_ms()], |row| {
        Ok(Depth { visible: count(row, 0)?, in_flight: count(row, 1)?, delayed: count(row, 2)?, dead })
    })
}
