//! A log on DynamoDB that tells its feed, as the program has them.

use std::sync::Arc;

use async_trait::async_trait;
use kakitome::aws::Aws;
use kakitome::clock::{Clock, Timestamp};
use kakitome::feed::dynamodb::{Config, DynamoFeed, FeedTenants, Named};
use kakitome::feed::{Cursor, Entry, Feed, FeedError, Page, RETENTION};
use kakitome::journal::dynamodb::DynamoJournal;
use kakitome::message_log::dynamodb::told::{self, Telling};
use kakitome::message_log::dynamodb::{self, DynamoLog};

pub struct FeedHouse {
    pub log: Arc<DynamoLog>,
    pub journal: Arc<DynamoJournal>,
    pub feed: Arc<DynamoFeed>,
    pub clock: Clock,
}

/// How the program reads it, unless the settings say otherwise.
pub fn config() -> Config {
    Config { retention: RETENTION, settled: told::settled(&kakitome::aws::Config::default()) }
}

impl FeedHouse {
    /// In a table that is set up.
    pub fn open(aws: &Aws, log: &dynamodb::Config, clock: &Clock, named: Named) -> Self {
        let journal = Arc::new(DynamoJournal::open(aws, &log.table, clock.clone()));
        let tenants = FeedTenants::new(journal.clone(), named);
        let telling = Telling {
            audience: Arc::new(tenants.clone()),
            clock: clock.clone(),
            kept: config().kept(),
            settled: config().settled,
        };
        let log = Arc::new(DynamoLog::open(aws, log).telling(telling));
        let feed = Arc::new(DynamoFeed::new(log.clone(), tenants, clock.clone(), config()));
        Self { log, journal, feed, clock: clock.clone() }
    }

    /// Its feed, whose clock goes on before every question until all is settled.
    pub fn settling(&self) -> Settling {
        Settling { feed: self.feed.clone(), clock: self.clock.clone() }
    }

    pub fn settle(&self) {
        self.settling().settle();
    }
}

pub struct Settling {
    feed: Arc<DynamoFeed>,
    clock: Clock,
}

impl Settling {
    fn settle(&self) {
        self.clock.advance(config().settled + std::time::Duration::from_millis(1));
    }
}

#[async_trait]
impl Feed for Settling {
    async fn read(&self, tenant: &str, after: Option<&Cursor>, limit: usize) -> Result<Page, FeedError> {
        self.settle();
        self.feed.read(tenant, after, limit).await
    }

    async fn between(&self, tenant: &str, after: &Cursor, until: &Cursor) -> Result<Vec<Entry>, FeedError> {
        self.feed.between(tenant, after, until).await
    }

    async fn begin(&self, tenant: &str) -> Result<Cursor, FeedError> {
        self.feed.begin(tenant).await
    }

    async fn end(&self, tenant: &str) -> Result<Cursor, FeedError> {
        self.settle();
        self.feed.end(tenant).await
    }

    async fn count(&self, tenant: &str, after: &Cursor) -> Result<u64, FeedError> {
        self.settle();
        self.feed.count(tenant, after).await
    }

    async fn follow(&self, tenant: &str) {
        self.feed.follow(tenant).await;
    }

    async fn prune(&self, before: Timestamp, limit: usize) -> Result<u64, FeedError> {
        self.feed.prune(before, limit).await
    }
}
