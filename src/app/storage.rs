//! The configured storage, opened.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use tokio::task::JoinHandle;

use super::{aws, in_process, rooms};
use crate::api::auth::ApiKey;
use crate::clock::Clock;
use crate::feed::Feed;
use crate::feed::dynamodb::{DynamoFeed, FeedTenants};
use crate::feed::sqlite::SqliteFeed;
use crate::inbox::Inbox;
use crate::inbox::sqlite::{self as inbox_sqlite, SqliteInbox};
use crate::inbox::sqs::SqsInbox;
use crate::intake::sqlite::SqliteIntake;
use crate::intake::{InTurn, Intake};
use crate::jobs::Bell;
use crate::journal::Journal;
use crate::journal::dynamodb::DynamoJournal;
use crate::journal::sqlite::SqliteJournal;
use crate::message_log::MessageLog;
use crate::message_log::dynamodb::DynamoLog;
use crate::message_log::dynamodb::told::Telling;
use crate::message_log::sqlite::SqliteLog;
use crate::message_log::unmatched::UnmatchedEvents;
use crate::queue::Queue;
use crate::queue::sqlite::{self as queue_sqlite, SqliteQueue};
use crate::queue::sqs::SqsQueue;
use crate::recovery::dead_letters::{self, Keeper};
use crate::recovery::jobs::{self, Runner};
use crate::secret::Secret;
use crate::settings::{AwsSettings, Backend, Settings};
use crate::shutdown::{self, Shutdown, ShutdownTrigger};
use crate::sqlite::{self, Engine, OpenError};
use crate::suppression::SuppressionList;
use crate::suppression::dynamodb::DynamoSuppressions;
use crate::suppression::sqlite::SqliteSuppressions;

/// A server holds the data directory; `DATA_DIR/server.json` says where it listens.
#[derive(Debug, thiserror::Error)]
#[error("a running server holds the data directory {}: stop it first, or choose another with --data-dir", .0.display())]
pub struct Locked(pub PathBuf);

/// The ports on their backend.
pub(super) struct Storage {
    pub(super) intake: Arc<dyn Intake>,
    pub(super) log: Arc<dyn MessageLog>,
    pub(super) unmatched: Arc<dyn UnmatchedEvents>,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) feed: Arc<dyn Feed>,
    /// On AWS only where there is a queue for it.
    pub(super) inbox: Option<Arc<dyn Inbox>>,
    pub(super) suppressions: Arc<dyn SuppressionList>,
    ground: Ground,
}

/// What the ports stand on.
enum Ground {
    Embedded(Engine),
    Aws(Arc<DynamoLog>),
}

impl Storage {
    /// Opens it; nothing waits for a message once `stopped` is pulled. Fails with [`Locked`] while another process
    /// holds it.
    pub(super) async fn open(
        settings: &Settings,
        clock: &Clock,
        stopped: Option<Shutdown>,
    ) -> anyhow::Result<Self> {
        match &settings.backend {
            Backend::Embedded => Self::open_embedded(settings, clock, stopped).await,
            Backend::Aws(aws) => Self::open_aws(settings, aws, clock, stopped).await,
        }
    }

    async fn open_embedded(
        settings: &Settings,
        clock: &Clock,
        stopped: Option<Shutdown>,
    ) -> anyhow::Result<Self> {
        let engine = match Engine::open(&settings.data_dir, sqlite::Config::default()) {
            Err(OpenError::Locked(dir)) => return Err(Locked(dir).into()),
            opened => opened?,
        };
        let config = queue_sqlite::Config {
            visibility_timeout: settings.queue.visibility,
            max_receive_count: settings.queue.max_receive_count,
            ..queue_sqlite::Config::default()
        };
        let mut queue = SqliteQueue::open(engine.clone(), clock.clone(), config).await?;
        let mut inbox = SqliteInbox::open(engine.clone(), inbox_sqlite::Config::default()).await?;
        if let Some(stopped) = stopped {
            queue = queue.waiting_until(stopped.clone());
            inbox = inbox.waiting_until(stopped);
        }
        let log = SqliteLog::new(engine.clone());
        let journal = SqliteJournal::new(engine.clone(), clock.clone());
        Ok(Self {
            intake: Arc::new(SqliteIntake::new(engine.clone(), queue.clone())),
            log: Arc::new(log.clone()),
            unmatched: Arc::new(log),
            queue: Arc::new(queue),
            journal: Arc::new(journal),
            feed: Arc::new(SqliteFeed::new(engine.clone())),
            inbox: Some(Arc::new(inbox)),
            suppressions: Arc::new(SqliteSuppressions::new(engine.clone(), clock.clone())),
            ground: Ground::Embedded(engine),
        })
    }

    async fn open_aws(
        settings: &Settings,
        from: &AwsSettings,
        clock: &Clock,
        stopped: Option<Shutdown>,
    ) -> anyhow::Result<Self> {
        let directory = &settings.data_dir;
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let connected = aws::connect(from).await?;
        let mut queue = SqsQueue::open(&connected, aws::queue(settings, from));
        let journal: Arc<dyn Journal> = Arc::new(DynamoJournal::open(&connected, &from.table, clock.clone()));
        let mut inbox = aws::inbox(settings, from).map(|config| {
            let inbox = SqsInbox::open(&connected, config);
            inbox.telling(journal.clone(), clock.clone(), aws::lag(settings))
        });
        if let Some(stopped) = stopped {
            queue = queue.waiting_until(stopped.clone());
            inbox = inbox.map(|inbox| inbox.waiting_until(stopped));
        }
        let journal: Arc<dyn Journal> = Arc::new(DynamoJournal::open(&connected, &from.table, clock.clone()));
        let (config, named) = aws::feed(settings, from);
        let tenants = FeedTenants::new(journal.clone(), named);
        let telling = Telling {
            audience: Arc::new(tenants.clone()),
            clock: clock.clone(),
            kept: config.kept(),
            settled: config.settled,
        };
        let log = Arc::new(DynamoLog::open(&connected, &aws::log(from)).telling(telling));
        Ok(Self {
            intake: Arc::new(InTurn::new(log.clone())),
            log: log.clone(),
            unmatched: log.clone(),
            queue: Arc::new(queue),
            journal,
            feed: Arc::new(DynamoFeed::new(log.clone(), tenants, clock.clone(), config)),
            inbox: inbox.map(|inbox| Arc::new(inbox) as Arc<dyn Inbox>),
            suppressions: Arc::new(DynamoSuppressions::open(&connected, &from.table)),
            ground: Ground::Aws(log),
        })
    }

    /// Where events wait to be folded. Fails where none is configured, which the settings refuse before.
    pub(super) fn inbox(&self) -> anyhow::Result<Arc<dyn Inbox>> {
        self.inbox.clone().context("there is no queue for provider events: set KAKITOME_SQS_EVENTS_URL")
    }

    /// Who does jobs on it.
    pub(super) fn runner(&self, clock: &Clock, config: jobs::Config) -> Runner {
        Runner::new(self.log.clone(), self.queue.clone(), self.journal.clone(), clock.clone(), config)
    }

    /// Who keeps copies of its dead letters.
    pub(super) fn keeper(&self, clock: &Clock) -> Keeper {
        let config = dead_letters::Config::default();
        Keeper::new(self.log.clone(), self.queue.clone(), self.journal.clone(), clock.clone(), config)
    }

    /// Where this process has the storage for itself: what looks as if it were being done was left behind.
    pub(super) async fn interrupt_left_behind(&self, runner: &Runner) -> anyhow::Result<()> {
        match &self.ground {
            Ground::Embedded(_) => Ok(runner.interrupt_left_behind().await?),
            Ground::Aws(_) => Ok(()),
        }
    }

    /// Waits until the storage can record nothing more, which no try will mend; why.
    pub(super) fn broken(&self) -> impl Future<Output = String> + use<> {
        let engine = match &self.ground {
            Ground::Embedded(engine) => Some(engine.clone()),
            Ground::Aws(_) => None,
        };
        async move {
            match engine {
                Some(engine) => engine.broken().await.to_string(),
                None => std::future::pending().await,
            }
        }
    }

    /// Writes the last things down and gives the storage free.
    pub(super) async fn close(&self) {
        match &self.ground {
            Ground::Embedded(engine) => engine.close().await,
            Ground::Aws(log) => log.close().await,
        }
    }
}

/// Takes every message off the embedded queue, for a drill. Fails with [`Locked`] while a server holds it.
pub async fn purge_queue(settings: &Settings) -> anyhow::Result<()> {
    let engine = match Engine::open(&settings.data_dir, sqlite::Config::default()) {
        Err(OpenError::Locked(dir)) => return Err(Locked(dir).into()),
        opened => opened?,
    };
    let queue = SqliteQueue::open(engine.clone(), Clock::system(), queue_sqlite::Config::default()).await?;
    queue.purge().await?;
    engine.close().await;
    Ok(())
}

/// The opened storage behind an in-process router.
pub struct OperatorSession {
    /// A key with every scope, for this session alone.
    pub key: Secret,
    storage: Storage,
    // Jobs that were asked for in this session are done in it, until it is dropped.
    jobs: JoinHandle<()>,
    stop: ShutdownTrigger,
}

impl OperatorSession {
    /// Gives the storage free.
    pub async fn close(self) {
        self.stop.pull();
        if let Err(error) = self.jobs.await {
            tracing::error!(%error, "the jobs ended badly");
        }
        self.storage.close().await;
    }
}

/// Opens the storage directly, for a client command. Fails with [`Locked`] while a server holds it.
pub async fn operator_router(settings: &Settings) -> anyhow::Result<(Router, OperatorSession)> {
    let storage = Storage::open(settings, &Clock::system(), None).await?;
    let key = Secret::new(ApiKey::generate("operator", "default", &[]).0);
    let (bell, rings) = Bell::new(false);
    let router = in_process(&storage, settings, &key, bell);
    let config = jobs::Config { sees_outcomes: false, only_own: true, ..rooms::jobs(settings) };
    let runner = storage.runner(&Clock::system(), config);
    storage.interrupt_left_behind(&runner).await?;
    let (stop, stopped) = shutdown::channel();
    let jobs = tokio::spawn(runner.run(rings, stopped));
    Ok((router, OperatorSession { key, storage, jobs, stop }))
}
