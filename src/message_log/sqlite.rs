//! The message log in SQLite. Every change reads a row, asks `Life::after`, and writes the row inside one of the
//! writer's transactions, which makes it a compare-and-set.

mod accept;
mod change;
mod count;
mod event;
mod heard;
mod list;
mod plan;
mod row;

use async_trait::async_trait;
use bytes::Bytes;

use super::unmatched::{Looked, Unmatched, UnmatchedEvents, UnmatchedPage};
use super::{
    Acceptance, Applied, Claim, ClaimRequest, Counts, Due, Filter, Group, Heard, HeardPage, Lacks, LogError,
    MessageLog, NewNotification, Page, Record, Recorded, SentSpan, Standings,
};
use crate::clock::Timestamp;
use crate::notification::NotificationId;
use crate::notification::status::{Fact, Life};
use crate::provider::ProviderEvent;
use crate::sqlite::{Engine, EngineError};
pub(crate) use accept::Accepting;

/// [`MessageLog`] on the embedded engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SqliteLog {
    engine: Engine,
}

impl SqliteLog {
    /// The log in `engine`.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[async_trait]
impl MessageLog for SqliteLog {
    async fn accept(&self, new: &[NewNotification]) -> Vec<Result<Acceptance, LogError>> {
        let accepting = Accepting::of(new);
        each(self.engine.write(move |tx| accepting.run(tx)).await, new.len())
    }

    async fn claim(&self, claims: &[ClaimRequest], now: Timestamp) -> Vec<Result<Claim, LogError>> {
        let count = claims.len();
        let claims: Vec<change::Asked> = claims.iter().map(change::Asked::of).collect();
        each(self.engine.write(move |tx| change::claim(tx, &claims, now)).await, count)
    }

    async fn apply(
        &self,
        facts: &[(NotificationId, Fact)],
        now: Timestamp,
    ) -> Vec<Result<Applied, LogError>> {
        let count = facts.len();
        let facts = facts.to_vec();
        each(self.engine.write(move |tx| change::apply(tx, &facts, now)).await, count)
    }

    async fn record_events(
        &self,
        events: &[ProviderEvent],
        now: Timestamp,
    ) -> Vec<Result<Recorded, LogError>> {
        event::record(&self.engine, events, now).await
    }

    async fn get(&self, id: NotificationId) -> Result<Option<Record>, LogError> {
        self.engine.read(move |tx| list::get(tx, id)).await?
    }

    async fn lives(&self, ids: &[NotificationId]) -> Result<Vec<Option<Life>>, LogError> {
        let ids = ids.to_vec();
        self.engine.read(move |tx| list::lives(tx, &ids)).await?
    }

    async fn contents(&self, ids: &[NotificationId]) -> Result<Vec<Option<Bytes>>, LogError> {
        let ids = ids.to_vec();
        Ok(self.engine.read(move |tx| list::contents(tx, &ids)).await?)
    }

    async fn list(
        &self,
        filter: &Filter,
        cursor: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Page, LogError> {
        let filter = filter.clone();
        let cursor = cursor.map(|text| list::Cursor::parse(text, &filter)).transpose()?;
        let limit = limit.clamp(1, 1000);
        Ok(self.engine.read(move |tx| list::page(tx, &filter, cursor, limit, now)).await?)
    }

    async fn counts(&self, now: Timestamp) -> Result<Counts, LogError> {
        Ok(self.engine.read(move |tx| count::counts(tx, now)).await?)
    }

    async fn standings(&self, now: Timestamp) -> Result<Standings, LogError> {
        Ok(self.engine.read(move |tx| count::standings(tx, now)).await?)
    }

    async fn count_groups(&self, filter: &Filter, now: Timestamp) -> Result<Vec<Group>, LogError> {
        let filter = filter.clone();
        Ok(self.engine.read(move |tx| count::groups(tx, &filter, now)).await?)
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, LogError> {
        Ok(self.engine.read(move |tx| count::due(tx, now, limit)).await?)
    }

    async fn witness(&self, provider: &str) -> Result<Option<Timestamp>, LogError> {
        let provider = provider.to_owned();
        Ok(self.engine.read(move |tx| event::witness(tx, &provider)).await?)
    }

    async fn sent_without(
        &self,
        lacks: Lacks,
        span: SentSpan,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<HeardPage, LogError> {
        let cursor = cursor.map(heard::Cursor::parse).transpose()?.unwrap_or_default();
        let limit = limit.max(1);
        Ok(self.engine.read(move |tx| heard::page(tx, span, lacks, cursor, limit)).await?)
    }

    async fn heard_of(&self, ids: &[NotificationId]) -> Result<Vec<Option<Heard>>, LogError> {
        let ids = ids.to_vec();
        Ok(self.engine.read(move |tx| heard::of(tx, &ids)).await?)
    }
}

#[async_trait]
impl UnmatchedEvents for SqliteLog {
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Unmatched>, LogError> {
        Ok(self.engine.read(move |tx| event::due(tx, now, limit)).await?)
    }

    async fn looked(&self, looked: &[Looked], now: Timestamp) -> Result<(), LogError> {
        let looked = looked.to_vec();
        Ok(self.engine.write_between(move |tx, _| event::looked(tx, &looked, now).map(Some)).await?)
    }

    async fn list(&self, cursor: Option<&str>, limit: usize) -> Result<UnmatchedPage, LogError> {
        let cursor = cursor.map(str::to_owned);
        self.engine.read(move |tx| event::list(tx, cursor.as_deref(), limit)).await?
    }

    async fn count(&self) -> Result<u64, LogError> {
        Ok(self.engine.read(event::count).await?)
    }
}

/// One result per entry: its own, or the failure that they all share.
fn each<T>(done: Result<Vec<Result<T, LogError>>, EngineError>, count: usize) -> Vec<Result<T, LogError>> {
    match done {
        Ok(each) => each,
        Err(error) => (0..count).map(|_| Err(error.clone().into())).collect(),
    }
}

impl From<EngineError> for LogError {
    fn from(error: EngineError) -> Self {
        LogError::Unavailable(error.to_string())
    }
}
