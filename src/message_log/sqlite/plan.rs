//! From a filter to the statements that answer it, each told which index to walk: guesses of a planner without
//! statistics may walk everything.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::row::{STATES, is_unsent, key, state_code};
use crate::clock::Timestamp;
use crate::message_log::{Filter, Order};
use crate::notification::status::{State, Status};

/// Entries of an index that are counted to choose between indexes: about a millisecond's worth. What holds fewer may
/// be sorted at leisure.
const COUNTED: u64 = 20_000;

/// One statement's `FROM` clause and condition.
pub(super) struct Source {
    /// `notification`, with the index to walk.
    pub(super) from: &'static str,
    /// Everything that the filter says.
    pub(super) condition: String,
    /// The condition's texts, in order.
    pub(super) texts: Vec<Value>,
}

/// What a listing is sorted by. The row number settles ties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// When it was accepted, latest first.
    Newest,
    /// From when the wait for it counts: only where everything that is listed is unsent.
    LongestWaiting,
    /// When it was accepted, earliest first.
    Oldest,
}

impl Key {
    pub(super) fn of(filter: &Filter) -> Self {
        match filter.order {
            Order::NewestFirst => Key::Newest,
            Order::OldestFirst
                if !filter.statuses.is_empty() && filter.statuses.iter().all(|s| s.is_unsent()) =>
            {
                Key::LongestWaiting
            }
            Order::OldestFirst => Key::Oldest,
        }
    }

    pub(super) fn column(self) -> &'static str {
        match self {
            Key::Newest | Key::Oldest => "accepted_at",
            Key::LongestWaiting => "ready_at",
        }
    }
}

/// The statements whose results together are what `filter` asks for; no row comes from two of them.
pub(super) fn sources(tx: &Connection, filter: &Filter, now: Timestamp) -> rusqlite::Result<Vec<Source>> {
    let states = states(&filter.statuses, now);
    let (common, texts) = common(filter);
    let walk = walk(tx, filter, &states)?;
    let from = match walk {
        Walk::States => {
            let of_state = |(state, condition): &(State, String)| {
                let (from, stated) = if is_unsent(*state) {
                    ("notification INDEXED BY notification_unsent", "unsent = 1")
                } else {
                    ("notification INDEXED BY notification_stopped", "state IN (8, 9)")
                };
                let condition = format!("{stated} AND {condition}{common}");
                Source { from, condition, texts: texts.clone() }
            };
            return Ok(states.iter().map(of_state).collect());
        }
        Walk::Open => "notification INDEXED BY notification_open",
        // The recipient's own condition leads to the rows.
        Walk::Recipient => "notification NOT INDEXED",
        Walk::Reason => "notification INDEXED BY notification_reason",
        Walk::Batch => "notification INDEXED BY notification_batch",
        Walk::Tenant => "notification INDEXED BY notification_tenant",
        Walk::Time => "notification INDEXED BY notification_accepted",
    };
    let any: Vec<String> = states.iter().map(|(_, condition)| format!("({condition})")).collect();
    let open = if walk == Walk::Open { " AND unsent = 1" } else { "" };
    let stated = if filter.statuses.is_empty() { "1".into() } else { format!("({})", any.join(" OR ")) };
    Ok(vec![Source { from, condition: format!("{stated}{open}{common}"), texts }])
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    States,
    Open,
    Recipient,
    Reason,
    Batch,
    Tenant,
    Time,
}

/// The index that leads to the fewest rows; where all lead to many, the one in the order of the listing.
fn walk(tx: &Connection, filter: &Filter, states: &[(State, String)]) -> rusqlite::Result<Walk> {
    if filter.recipient.is_some() {
        return Ok(Walk::Recipient);
    }
    let mut best = (COUNTED, None);
    let mut consider = |walk, count: u64| {
        if count < best.0 {
            best = (count, Some(walk));
        }
    };
    let by_state = !states.is_empty() && states.iter().all(|(state, _)| *state != State::Sent);
    let tally = tally(tx)?;
    let counted = |of: &dyn Fn(State) -> bool| -> u64 {
        STATES.into_iter().zip(tally).filter(|(state, _)| of(*state)).map(|(_, count)| count).sum()
    };
    let asked = counted(&|state| states.iter().any(|(asked, _)| *asked == state));
    if by_state {
        consider(Walk::States, asked);
    }
    let narrow = [
        (Walk::Reason, "notification_reason", "reason", &filter.reason),
        (Walk::Batch, "notification_batch", "batch", &filter.batch),
        (Walk::Tenant, "notification_tenant", "tenant", &filter.tenant),
    ];
    for (walk, index, column, value) in &narrow {
        if let Some(value) = value {
            let sql = format!(
                "SELECT count(*) FROM (SELECT 1 FROM notification INDEXED BY {index} WHERE {column} = ?1 LIMIT {COUNTED})"
            );
            consider(
                *walk,
                tx.prepare_cached(&sql)?.query_row([value], |row| row.get::<_, i64>(0))?.unsigned_abs(),
            );
        }
    }
    if let Some(walk) = best.1 {
        return Ok(walk);
    }
    // A tenant's own index goes through everything that it was sent; those of what is open tell the tenant.
    let in_order = by_state && Key::of(filter) == Key::LongestWaiting;
    let is_of_open = |walk: Walk| by_state && walk == Walk::Tenant;
    let leads = |walk: Walk| !(in_order || is_of_open(walk));
    if let Some((walk, ..)) = narrow.iter().find(|(walk, .., value)| value.is_some() && leads(*walk)) {
        return Ok(*walk);
    }
    // Most of what is unsent: walking all of it in order soon finds a page.
    let most = states.iter().all(|(state, _)| is_unsent(*state)) && asked * 2 >= counted(&is_unsent);
    Ok(match (by_state, Key::of(filter)) {
        (true, Key::Newest) if most => Walk::Open,
        (true, _) => Walk::States,
        (false, _) => Walk::Time,
    })
}

/// How many rows are in each state.
fn tally(tx: &Connection) -> rusqlite::Result<[u64; STATES.len()]> {
    let mut counts = [0; STATES.len()];
    let mut select = tx.prepare_cached("SELECT state, count FROM tally")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let place = usize::try_from(row.get::<_, i64>(0)?).unwrap_or(usize::MAX);
        if let Some(count) = counts.get_mut(place) {
            *count = row.get::<_, i64>(1)?.unsigned_abs();
        }
    }
    Ok(counts)
}

/// The written states that these statuses may stand for, each with its condition. No status: every state.
pub(super) fn states(statuses: &[Status], now: Timestamp) -> Vec<(State, String)> {
    let now = now.as_ms();
    let wanted = |status| statuses.contains(&status);
    let derived = |state, before: Status, column: &str, after: Status| match (wanted(before), wanted(after)) {
        (true, true) => Some(is(state)),
        (true, false) => Some(format!("{} AND {column} > {now}", is(state))),
        (false, true) => Some(format!("{} AND {column} <= {now}", is(state))),
        (false, false) => None,
    };
    let condition = |state| match state {
        State::Scheduled => derived(state, Status::Scheduled, "due_at", Status::Accepted),
        State::Attempting => derived(state, Status::Attempting, "lease_until", Status::Unknown),
        State::Accepted => wanted(Status::Accepted).then(|| is(state)),
        State::Held => wanted(Status::Held).then(|| is(state)),
        State::Retrying => wanted(Status::Retrying).then(|| is(state)),
        State::Sent => wanted(Status::Sent).then(|| is(state)),
        State::Failed => wanted(Status::Failed).then(|| is(state)),
        State::Expired => wanted(Status::Expired).then(|| is(state)),
        State::Cancelled => wanted(Status::Cancelled).then(|| is(state)),
        State::Suppressed => wanted(Status::Suppressed).then(|| is(state)),
    };
    STATES.into_iter().filter_map(|state| condition(state).map(|condition| (state, condition))).collect()
}

fn is(state: State) -> String {
    format!("state = {}", state_code(state))
}

/// What the filter says beside the status, as further conditions and their texts.
fn common(filter: &Filter) -> (String, Vec<Value>) {
    let mut condition = String::new();
    let mut texts = Vec::new();
    let columns = [
        ("tenant", &filter.tenant),
        ("batch", &filter.batch),
        ("provider", &filter.provider),
        ("reason", &filter.reason),
    ];
    for (column, value) in columns {
        if let Some(value) = value {
            condition.push_str(&format!(" AND {column} = ?"));
            texts.push(Value::Text(value.clone()));
        }
    }
    if let Some(address) = &filter.recipient {
        let key = key(&address.canonical());
        condition.push_str(&format!(" AND n IN (SELECT n FROM recipient WHERE address_key = {key})"));
    }
    if let Some(since) = filter.since {
        condition.push_str(&format!(" AND accepted_at >= {}", since.as_ms()));
    }
    if let Some(until) = filter.until {
        condition.push_str(&format!(" AND accepted_at < {}", until.as_ms()));
    }
    (condition, texts)
}

impl Source {
    /// Runs `SELECT {columns} FROM … WHERE … {rest}` and hands each row to `each`.
    pub(super) fn select(
        &self,
        tx: &Connection,
        columns: &str,
        rest: &str,
        mut each: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let sql = format!("SELECT {columns} FROM {} WHERE {} {rest}", self.from, self.condition);
        let mut select = tx.prepare(&sql)?;
        let mut rows = select.query(params_from_iter(&self.texts))?;
        while let Some(row) = rows.next()? {
            each(row)?;
        }
        Ok(())
    }
}
