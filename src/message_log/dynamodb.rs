//! The message log in one DynamoDB table: on demand, keys `pk` and `sk`, items deleted some days after their `exp`.
//!
//! | item | `pk` | `sk` | what it is |
//! | --- | --- | --- | --- |
//! | row | `n#<id>` | `n` | the life, and its places in the indexes; see `row.rs` and `change.rs` |
//! | entry | `h#<hour>#<shard>` | `<recipient>#<accepted_at>#<id>#<hash>` | one per recipient, the first with the content; see `entry.rs` |
//! | parts | `n#<id>` | `c#<nn>` | a content too large for one item |
//! | events | `n#<id>` | `e#<bucket>` | what providers told, by recipient |
//! | hours | `hours` | `<hour>` | under which hours entries lie |
//! | witness | `w#<provider>` | `w` | the newest event time |
//! | unmatched | `u#<day>` | `<digest>` | events of nobody |
//! | tally | `tally` | `<shard>` | how many were sent |
//! | told | `f#<shard>#<tenant>` | `<stamp>#<id>#<write>` | what the feed is told, see `told.rs` |
//!
//! Three sparse indexes: `open` holds whatever is not sent, by class and shard; `wake` what the sweeper looks at, by
//! its time; `batch` what belongs to a broadcast. A sent notification is in none but `batch`; one that was sent late
//! stays in `open`, in a class of its own, by when it was sent (`heard.rs`).
//!
//! Every change of a row is a compare-and-set on its version `v`, as one PartiQL statement, 25 to a request. Each
//! write has a random name `w`, by which it is recognised when its answer was lost. What the queue message or an
//! earlier write of this process says about a row is tried first and never taken for true: a condition that does not
//! hold brings the row as it is.
//!
//! Write units of a notification of 2 KB up to sent, as measured by a service that counts index units
//! (`tests/it/dynamodb/cost.rs`):
//!
//! | step | content with the API | content left to the queue |
//! | --- | --- | --- |
//! | accept | entry with content 1 … 2, row 1, `open` 1 | |
//! | claim | row 1 | row 1, `open` 1, entry without content 1 |
//! | outcome | row 1, `open` 1 | row 1, `open` 1 |
//! | sum | 6 … 7 | 5 |
//!
//! One more with a batch, one more per further recipient, one per event that changes something.
//!
//! Read units (R: records shown or told of; a row, an entry or an events item of up to 4 KB is one):
//!
//! | question | read units |
//! | --- | --- |
//! | one record | row 1, entry 1, events 1 |
//! | a page of what was not sent | 8 for what is on its way (16 shards, half a unit each), 2 for any other class, then 3 R |
//! | a page of a broadcast | 4 (8 shards), then 3 R |
//! | a page of a recipient | half a unit an hour that is looked at, 3 per 500 hours to know them, then 3 R |
//! | a page of everything, or of what was sent | an hour whole, contents included: half a unit for each 4 KB; then 3 R |
//! | counts | 28, or half a unit for each 4 KB of index entries (some 30 of them); up to 2,000 rows on their way, 1 each |
//! | counts by age | as counts, never told again |
//! | what was sent and lacks an event | the hours that the span touches, whole; then 3 for each that was sent in it |
//! | counts by reason | as counts for what is at rest; 1 for every other row that may match |
//! | an event with our id | row 1, events item 1; a repeat no more than that |
//! | an event without | half a unit an hour for 7 days, 84 at most; then 1 a row, 500 at most |

mod accept;
mod apply;
mod change;
mod check;
mod claim;
mod content;
mod count;
mod cursor;
mod due;
mod entry;
mod event;
mod events_item;
mod folded;
mod heard;
mod hours;
mod keys;
mod life;
mod list;
mod matching;
mod merge;
mod page;
mod plan;
mod read;
mod row;
mod setup;
mod source;
mod table;
mod tally;
pub mod told;
mod units;
mod unmatched;
mod witness;
mod won;
mod write;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Acceptance, Applied, Claim, ClaimRequest, Counts, Due, Filter, Group, Heard, HeardPage, Lacks, LogError,
    MessageLog, NewNotification, Page, Record, Recorded, SentSpan, Standings,
};
use crate::aws::Aws;
use crate::clock::Timestamp;
use crate::notification::NotificationId;
use crate::notification::status::{Fact, Life};
use crate::provider::ProviderEvent;
use accept::Hours;
pub use check::check;
use due::Walk;
pub use setup::{SetupError, setup};
use table::Table;
use tally::Tally;
use told::{Teller, Telling};
use won::WonClaims;
use write::Writer;

/// How often a write is tried that finds its row changed, each time from the row as it is then.
const ROUNDS: u32 = 8;

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct Config {
    /// The table's name.
    pub table: String,
    /// For how long a record is kept after its end; at least 30 days.
    pub retention: Duration,
    /// Ask DynamoDB what each write costs, for `kakitome_dynamodb_units_total`.
    pub count_units: bool,
    /// For how long counts are told again at least; longer where counting takes long. Zero: never.
    pub counts_kept: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let retention = Duration::from_secs(90 * 24 * 3600);
        Self { table: "kakitome".into(), retention, count_units: false, counts_kept: Duration::from_secs(1) }
    }
}

/// No record goes while the last events about it may still come.
const SHORTEST_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// [`MessageLog`] on DynamoDB.
#[derive(Debug)]
pub struct DynamoLog {
    table: Table,
    writer: Writer,
    tally: Arc<Tally>,
    won: WonClaims,
    hours: Hours,
    walk: Walk,
    retention: Duration,
    witnesses: witness::Witnesses,
    strays: unmatched::Strays,
    counts_kept: Duration,
    counted: count::Counted,
    teller: Teller,
}

impl DynamoLog {
    /// The log in an existing table. Reaches nothing yet. Must be called inside a runtime.
    pub fn open(aws: &Aws, config: &Config) -> Self {
        let config = &Config { retention: config.retention.max(SHORTEST_RETENTION), ..config.clone() };
        let table = Table::new(aws.dynamodb.clone(), &config.table, config.count_units);
        let tally = Arc::new(Tally::default());
        tokio::spawn(tally::flush_regularly(Arc::downgrade(&tally), table.clone()));
        Self {
            writer: Writer::start(table.clone()),
            table,
            tally,
            won: WonClaims::default(),
            hours: Hours::default(),
            walk: Walk::default(),
            retention: config.retention,
            witnesses: witness::Witnesses::default(),
            strays: unmatched::Strays::default(),
            counts_kept: config.counts_kept,
            counted: count::Counted::default(),
            teller: Teller::default(),
        }
    }

    /// With somebody who is told what changes.
    pub fn telling(self, telling: Telling) -> Self {
        Self { teller: Teller::new(telling), ..self }
    }

    /// Writes what is only counted in memory so far.
    pub async fn close(&self) {
        self.tally.flush(&self.table).await;
    }
}

#[async_trait]
impl MessageLog for DynamoLog {
    async fn accept(&self, new: &[NewNotification]) -> Vec<Result<Acceptance, LogError>> {
        self.accept_all(&new.iter().collect::<Vec<_>>()).await
    }

    async fn claim(&self, claims: &[ClaimRequest], now: Timestamp) -> Vec<Result<Claim, LogError>> {
        self.claim_all(claims, now).await
    }

    async fn apply(
        &self,
        facts: &[(NotificationId, Fact)],
        now: Timestamp,
    ) -> Vec<Result<Applied, LogError>> {
        self.apply_all(facts, now).await
    }

    async fn record_events(
        &self,
        events: &[ProviderEvent],
        now: Timestamp,
    ) -> Vec<Result<Recorded, LogError>> {
        event::record(self, events, now).await
    }

    async fn get(&self, id: NotificationId) -> Result<Option<Record>, LogError> {
        read::get(self, id).await
    }

    async fn lives(&self, ids: &[NotificationId]) -> Result<Vec<Option<Life>>, LogError> {
        read::lives(self, ids).await
    }

    async fn contents(&self, ids: &[NotificationId]) -> Result<Vec<Option<Bytes>>, LogError> {
        self.contents_of(ids).await
    }

    async fn list(
        &self,
        filter: &Filter,
        cursor: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Page, LogError> {
        list::page(self, filter, cursor, limit.clamp(1, 1000), now).await
    }

    async fn counts(&self, now: Timestamp) -> Result<Counts, LogError> {
        count::counts(self, now).await
    }

    async fn standings(&self, now: Timestamp) -> Result<Standings, LogError> {
        count::standings(self, now).await
    }

    async fn count_groups(&self, filter: &Filter, now: Timestamp) -> Result<Vec<Group>, LogError> {
        count::groups(self, filter, now).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, LogError> {
        self.due_now(now, limit).await
    }

    async fn witness(&self, provider: &str) -> Result<Option<Timestamp>, LogError> {
        witness::read(self, provider).await
    }

    async fn sent_without(
        &self,
        lacks: Lacks,
        span: SentSpan,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<HeardPage, LogError> {
        heard::page(self, lacks, span, cursor, limit.max(1)).await
    }

    async fn heard_of(&self, ids: &[NotificationId]) -> Result<Vec<Option<Heard>>, LogError> {
        heard::of(self, ids).await
    }
}
