//! The tables, as an ordered list of migrations. A step that has shipped is never edited; a change is a further step.

use rusqlite::{Connection, TransactionBehavior};

use super::{OpenError, heard};

/// `PRAGMA user_version` counts the steps that a file has been through.
const MIGRATIONS: &[&str] = &[QUEUE, LOG, JOURNAL, TENANTS, FEED, INBOX, EVENTS];

/// The queue. `resent_at` remembers a send that came while the message was in flight.
const QUEUE: &str = "
CREATE TABLE queue (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    lane INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    visible_at INTEGER NOT NULL,
    in_flight INTEGER NOT NULL DEFAULT 0,
    nonce INTEGER NOT NULL DEFAULT 0,
    receive_count INTEGER NOT NULL DEFAULT 0,
    enqueued_at INTEGER NOT NULL,
    resent_at INTEGER
) STRICT;
-- For receive: the oldest visible message of one tenant in one lane. in_flight is there so that counting the depth
-- reads this index alone.
CREATE INDEX queue_visible ON queue (lane, tenant, visible_at, in_flight);

CREATE TABLE queue_dead (
    id BLOB NOT NULL PRIMARY KEY,
    lane INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    reason TEXT NOT NULL,
    receive_count INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- For pruning.
CREATE INDEX queue_dead_at ON queue_dead (at);
";

/// The message log. Content lies apart from the state: in the state row it costs 2.2 times the CPU and 3.1 times the
/// bytes written, as each change of state would rewrite it.
const LOG: &str = "
CREATE TABLE notification (
    n INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    batch TEXT,
    priority INTEGER NOT NULL,
    state INTEGER NOT NULL,
    unsent INTEGER NOT NULL,
    state_since INTEGER NOT NULL,
    reason TEXT,
    accepted_at INTEGER NOT NULL,
    ready_at INTEGER NOT NULL,
    deliver_at INTEGER,
    useful_until INTEGER,
    on_unknown INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    wake_at INTEGER,
    attempt INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    resends INTEGER NOT NULL,
    is_resend INTEGER NOT NULL,
    token BLOB,
    lease_until INTEGER NOT NULL,
    hold_until INTEGER NOT NULL,
    provider TEXT,
    provider_message_id TEXT,
    sent_at INTEGER,
    attempts TEXT NOT NULL,
    metadata TEXT NOT NULL,
    content_hash BLOB NOT NULL
) STRICT;
-- What was not sent, by state: listing, counting what time derives, the oldest one's age.
CREATE INDEX notification_unsent ON notification (state, ready_at, accepted_at, due_at) WHERE unsent = 1;
-- The same by acceptance alone, for when most of it is asked for: sorting a million entries takes a third of a second.
CREATE INDEX notification_open ON notification (accepted_at) WHERE unsent = 1;
-- What the sweeper looks at next.
CREATE INDEX notification_wake ON notification (wake_at) WHERE wake_at IS NOT NULL;
-- Listing everything, by time; only ever appended to.
CREATE INDEX notification_accepted ON notification (accepted_at);
CREATE INDEX notification_tenant ON notification (tenant, accepted_at);
CREATE INDEX notification_batch ON notification (batch, accepted_at) WHERE batch IS NOT NULL;
-- Few rows have a reason, so this costs the happy path nothing.
CREATE INDEX notification_reason ON notification (reason, accepted_at) WHERE reason IS NOT NULL;
-- Cancelled and suppressed: ends that are few among the many sent.
CREATE INDEX notification_stopped ON notification (state, accepted_at) WHERE state IN (8, 9);
CREATE TABLE content (n INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;

-- How many stand in each written state; changed in the transaction that changes the states.
CREATE TABLE tally (state INTEGER PRIMARY KEY, count INTEGER NOT NULL) STRICT;

CREATE TABLE recipient (
    n INTEGER NOT NULL,
    ix INTEGER NOT NULL,
    email TEXT NOT NULL,
    address_key INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    status INTEGER NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (n, ix)
) STRICT, WITHOUT ROWID;
-- For listing by recipient and for events that come without our id. The key is a hash of the address's canonical form:
-- entries come in no order, so each dirties a page of its own, and short ones make fewer pages. For the same reason
-- there is no such index on the provider's message ids: an event names its recipient as well.
CREATE INDEX recipient_address ON recipient (address_key, n);

-- The key is what makes two events the same where the provider numbers them anew.
CREATE TABLE event (
    n INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    address_key INTEGER NOT NULL,
    recipient TEXT,
    machine INTEGER NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (n, at, kind, address_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE event_key (
    event_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    PRIMARY KEY (event_id, provider)
) STRICT, WITHOUT ROWID;

CREATE TABLE unmatched_event (
    digest BLOB NOT NULL PRIMARY KEY,
    kept_at INTEGER NOT NULL,
    provider TEXT NOT NULL,
    event TEXT NOT NULL
) STRICT, WITHOUT ROWID;
-- For pruning.
CREATE INDEX unmatched_event_kept ON unmatched_event (kept_at);

CREATE TABLE witness (provider TEXT NOT NULL PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// Operators' acts: in the rows, and the journal's documents.
const JOURNAL: &str = "
ALTER TABLE notification ADD COLUMN acts TEXT;

CREATE TABLE journal (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    body TEXT NOT NULL,
    keep_until INTEGER,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
";

/// The tenant in the indexes of what was not sent: of a million open rows those of one tenant are found without a look
/// at the others' rows. It never changes, so no write is added, only some bytes to those there are.
const TENANTS: &str = "
DROP INDEX notification_unsent;
CREATE INDEX notification_unsent ON notification (state, ready_at, accepted_at, due_at, tenant) WHERE unsent = 1;
DROP INDEX notification_open;
CREATE INDEX notification_open ON notification (accepted_at, tenant) WHERE unsent = 1;
";

/// What changed, per tenant and in order. Triggers write it, in the transaction that makes the change, so that no code
/// path can forget it; reading joins the rest. The states are those of `feed.rs`: 2 held, 5 to 9 the ends; of a recipient
/// from 2, deferred, upwards. The greatest number of a tenant is never deleted, so none is given out twice.
const FEED: &str = "
CREATE TABLE feed (
    tenant TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    n INTEGER NOT NULL,
    ix INTEGER,
    status INTEGER NOT NULL,
    reason TEXT,
    PRIMARY KEY (tenant, seq)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER feed_notification AFTER UPDATE OF state ON notification
WHEN NEW.state <> OLD.state AND NEW.state <> 3
    AND (NEW.state = 2 OR NEW.state >= 5 OR OLD.state = 2 OR OLD.state >= 5)
BEGIN
    INSERT INTO feed (tenant, seq, at, n, status, reason)
    VALUES (NEW.tenant, (SELECT coalesce(max(seq), 0) + 1 FROM feed WHERE tenant = NEW.tenant),
        NEW.state_since, NEW.n, NEW.state, NEW.reason);
END;

CREATE TRIGGER feed_recipient AFTER UPDATE OF status ON recipient
WHEN NEW.status <> OLD.status AND NEW.status >= 2
BEGIN
    INSERT INTO feed (tenant, seq, at, n, ix, status)
    SELECT x.tenant, (SELECT coalesce(max(seq), 0) + 1 FROM feed WHERE tenant = x.tenant),
        NEW.since, NEW.n, NEW.ix, NEW.status
    FROM notification x WHERE x.n = NEW.n;
END;
";

/// Provider events that are not folded yet. `body` is last: what a start reads of a row lies before it.
const INBOX: &str = "
CREATE TABLE inbox (
    seq INTEGER PRIMARY KEY,
    lane TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    events INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
";

/// Events are appended, and a repeat is recognised by what their recipient's row remembers: an index of event ids over
/// all notifications, and events that lie by notification, dirtied a page of their own each. Unmatched ones are looked
/// at again.
const EVENTS: &str = "
ALTER TABLE recipient ADD COLUMN heard BLOB;
ALTER TABLE event RENAME TO event_former;
CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    n INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    recipient TEXT,
    machine INTEGER NOT NULL,
    detail TEXT NOT NULL
) STRICT;
DROP TABLE event_key;

ALTER TABLE unmatched_event ADD COLUMN look_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX unmatched_event_look ON unmatched_event (look_at);
";

/// Brings the file to the newest schema; refuses one that is newer still.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(OpenError::NewerSchema { found, known });
    }
    if found == known {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in MIGRATIONS.iter().skip(found as usize) {
        transaction.execute_batch(step)?;
        if *step == EVENTS {
            heard::carry_over(&transaction)?;
            transaction.execute_batch("DROP TABLE event_former")?;
        }
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failing step fails the test")]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_migrated_once_and_a_newer_one_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        migrate(&mut connection).unwrap();
        connection.pragma_update(None, "user_version", MIGRATIONS.len() as u32 + 1).unwrap();
        assert!(matches!(migrate(&mut connection), Err(OpenError::NewerSchema { .. })));
    }
}
