//! Tells the producers what changed: posts the feed, callback by callback, from each one's own cursor.
//!
//! Loop and step are two functions. The feed is the queue: a step makes a message of what lies behind the cursor, writes
//! down what is in it before it posts, and moves the cursor once it is taken. So after a crash the same message is posted
//! again under the same id. Each callback is a task of its own, so an endpoint that is slow or ill holds up nobody else.

pub mod address;
pub mod post;
mod step;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::gauge;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

pub use step::Outcome;

use crate::clock::Clock;
use crate::feed::callback::{self, Callback, CallbackState, Patience};
use crate::feed::courier::Courier;
use crate::feed::{Feed, FeedError, RETENTION};
use crate::journal::{Journal, JournalError};
use crate::metrics::CALLBACK_LAG_SECONDS;
use crate::shutdown::Shutdown;

/// How callbacks are told.
#[derive(Clone, Debug)]
pub struct Config {
    /// How patient we are with an endpoint.
    pub patience: Patience,
    /// Between two looks at the feed while there is nothing to tell, and at the list of callbacks.
    pub look_every: Duration,
    /// How long changes are kept.
    pub retention: Duration,
    /// Between two prunings of the feed.
    pub prune_every: Duration,
    /// Posts at once, over all callbacks.
    pub posts: usize,
    /// No other process has this storage: what another holds was left behind.
    pub alone: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            patience: Patience::default(),
            look_every: Duration::from_secs(1),
            retention: RETENTION,
            prune_every: Duration::from_secs(60),
            posts: 256,
            alone: false,
        }
    }
}

/// So much is forgotten at once.
const PRUNED_AT_ONCE: usize = 5000;
/// After a failure of the storage, a callback rests for this long.
const REST: Duration = Duration::from_secs(5);

/// Why a step could not be taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StepError {
    /// The feed did not answer.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The journal did not answer.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// One callback's loop.
struct Task {
    running: JoinHandle<()>,
    /// It had nothing to tell when it looked last.
    is_idle: Arc<AtomicBool>,
}

/// Tells the producers. Cheap to clone.
#[derive(Clone)]
pub struct Deliverer {
    feed: Arc<dyn Feed>,
    journal: Arc<dyn Journal>,
    courier: Arc<dyn Courier>,
    clock: Clock,
    config: Config,
    /// Names this process among those who post.
    owner: String,
    posts: Arc<Semaphore>,
}

impl Deliverer {
    /// Reads `feed`, keeps its place in `journal`, posts through `courier`.
    pub fn new(
        feed: Arc<dyn Feed>,
        journal: Arc<dyn Journal>,
        courier: Arc<dyn Courier>,
        clock: Clock,
        config: Config,
    ) -> Self {
        let owner = uuid::Uuid::now_v7().simple().to_string();
        let posts = Arc::new(Semaphore::new(config.posts.max(1)));
        Self { feed, journal, courier, clock, config, owner, posts }
    }

    /// Tells until the shutdown is pulled. A post under way ends; what is not taken is posted after the next start.
    pub async fn run(self, stopped: Shutdown) {
        let mut tasks: BTreeMap<String, Task> = BTreeMap::new();
        let mut next_prune = tokio::time::Instant::now();
        let mut is_well = true;
        while !stopped.is_pulled() {
            let looked = self.look_after(&mut tasks, &stopped).await;
            if let (Err(error), true) = (&looked, is_well) {
                tracing::warn!(%error, "callbacks cannot be looked after; they are when the storage answers again");
            }
            is_well = looked.is_ok();
            if tokio::time::Instant::now() >= next_prune {
                self.prune(&stopped).await;
                next_prune = tokio::time::Instant::now() + self.config.prune_every;
            }
            tokio::select! {
                () = tokio::time::sleep(self.config.look_every) => {}
                () = stopped.pulled() => {}
            }
        }
        for (id, task) in tasks {
            if let Err(error) = task.running.await {
                tracing::error!(callback = id, %error, "a callback's task ended badly");
            }
        }
    }

    /// Gives every active callback a task, and shows how far behind the slowest is.
    async fn look_after(
        &self,
        tasks: &mut BTreeMap<String, Task>,
        stopped: &Shutdown,
    ) -> Result<(), StepError> {
        let callbacks = callback::list(&*self.journal, None).await?;
        tasks.retain(|_, task| !task.running.is_finished());
        let mut lag = Duration::ZERO;
        for callback in callbacks.iter().filter(|one| one.state == CallbackState::Active) {
            let task = tasks.entry(callback.id.clone()).or_insert_with(|| {
                let is_idle = Arc::new(AtomicBool::new(false));
                let task = self.clone().run_one(callback.id.clone(), is_idle.clone(), stopped.clone());
                Task { running: tokio::spawn(task), is_idle }
            });
            // Its task has just looked, and on AWS a look is paid for.
            if !task.is_idle.load(Ordering::Relaxed) {
                lag = lag.max(self.lag(callback).await);
            }
        }
        gauge!(CALLBACK_LAG_SECONDS).set(lag.as_secs_f64());
        Ok(())
    }

    async fn lag(&self, callback: &Callback) -> Duration {
        let oldest = self.feed.read(&callback.tenant, Some(&callback.cursor), 1).await;
        let at = oldest.ok().and_then(|page| Some(page.entries.first()?.at));
        at.map_or(Duration::ZERO, |at| self.clock.now().since(at))
    }

    /// One callback's loop: paces its steps until it is paused, gone or removed.
    async fn run_one(self, id: String, is_idle: Arc<AtomicBool>, stopped: Shutdown) {
        while !stopped.is_pulled() {
            let Ok(permit) = self.posts.acquire().await else { return };
            let stepped = self.step(&id).await;
            drop(permit);
            is_idle.store(matches!(stepped, Ok(Outcome::Idle)), Ordering::Relaxed);
            let wait = match stepped {
                Ok(Outcome::Taken | Outcome::Passed) => continue,
                Ok(Outcome::Idle) => self.config.look_every,
                // Somebody may resume or pause it meanwhile.
                Ok(Outcome::Wait(wait)) => wait.clamp(Duration::from_millis(10), self.config.look_every),
                Ok(Outcome::Ended) => return,
                Err(error) => {
                    tracing::warn!(callback = id, %error, "a callback waits for the storage");
                    REST
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stopped.pulled() => {}
            }
        }
    }

    /// Forgets what is older than it is kept.
    async fn prune(&self, stopped: &Shutdown) {
        let before = self.clock.now().minus(self.config.retention);
        loop {
            match self.feed.prune(before, PRUNED_AT_ONCE).await {
                Ok(pruned) if pruned == PRUNED_AT_ONCE as u64 && !stopped.is_pulled() => {}
                Ok(_) => return,
                Err(error) => return tracing::warn!(%error, "the feed cannot be pruned"),
            }
        }
    }
}
