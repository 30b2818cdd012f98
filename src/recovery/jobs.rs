//! Jobs: an act on many notifications, done page by page, paced, watched, stopped and resumed by its journal.
//!
//! A page is written down before it is begun, and counted when the next one is written down. Killed between any two
//! steps, each notification of the page is looked at again: what the job did carries its name. So nothing is done
//! twice and the counts are exact. A job whose process is gone is `interrupted` and stays so until somebody resumes it.

mod decide;
mod pace;
mod page;
mod step;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::jobs::{Job, JobState, Lease, Rings};
use crate::journal::{self, Journal, JournalError, Kind, Put};
use crate::message_log::{LogError, MessageLog};
use crate::queue::Queue;
use crate::shutdown::Shutdown;
use decide::Find;

pub use decide::CANARY_PERCENT;
pub use step::{Outcome, Work};

/// Jobs that one look through the journal sees.
const SEEN: usize = 100;
/// Every so many looks, all jobs there are.
const DEEP: u32 = 60;

/// How jobs are done.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Notifications in a page.
    pub page: usize,
    /// How many may be redriven and not yet settled: so a redrive is never faster than what is being sent, and an ill
    /// provider stalls it.
    pub window: usize,
    /// Between two looks at what became of them.
    pub look_every: Duration,
    /// Between two times that what became of them is written down, while nothing else is.
    pub tell_every: Duration,
    /// For how long nobody else may do a job; renewed at a third of it.
    pub lease: Duration,
    /// Between two looks through the journal.
    pub scan_every: Duration,
    /// How long a page waits for the queue. What the queue did not take in time is the sweeper's to bring.
    pub queue_timeout: Duration,
    /// Jobs at once.
    pub at_once: usize,
    /// Whether workers run, so that what becomes of the redriven can be learnt.
    pub sees_outcomes: bool,
    /// Do only jobs that were asked for in this process.
    pub only_own: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            page: 500,
            window: 2000,
            look_every: Duration::from_millis(200),
            tell_every: Duration::from_millis(500),
            lease: Duration::from_secs(10),
            scan_every: Duration::from_secs(1),
            queue_timeout: Duration::from_secs(5),
            at_once: 16,
            sees_outcomes: true,
            only_own: false,
        }
    }
}

/// Why a step was not done; the next try looks at its page again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Trouble {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Does jobs. One in each process with workers, and one in a command that works without a server.
pub struct Runner {
    log: Arc<dyn MessageLog>,
    queue: Arc<dyn Queue>,
    journal: Arc<dyn Journal>,
    clock: Clock,
    config: Config,
    owner: String,
}

impl Runner {
    /// A runner on these ports, with a name of its own.
    pub fn new(
        log: Arc<dyn MessageLog>,
        queue: Arc<dyn Queue>,
        journal: Arc<dyn Journal>,
        clock: Clock,
        config: Config,
    ) -> Self {
        let owner = uuid::Uuid::now_v7().to_string();
        Self { log, queue, journal, clock, config, owner }
    }

    /// Does jobs until the shutdown is pulled: those that ring, and those that it finds.
    pub async fn run(self, mut rings: Rings, shutdown: Shutdown) {
        let runner = Arc::new(self);
        let mut under_way: JoinSet<String> = JoinSet::new();
        let mut taken: HashSet<String> = HashSet::new();
        let mut looks = 0_u32;
        let mut was_ill = false;
        while !shutdown.is_pulled() {
            let found = tokio::select! {
                Some(id) = rings.recv() => runner.take(&id).await.map(Vec::from_iter),
                Some(ended) = under_way.join_next() => {
                    if let Ok(id) = ended {
                        taken.remove(&id);
                    }
                    continue;
                }
                () = tokio::time::sleep(runner.config.scan_every), if !runner.config.only_own => {
                    looks = looks.wrapping_add(1);
                    runner.scan(looks.is_multiple_of(DEEP), &taken, under_way.len()).await
                }
                () = shutdown.pulled() => break,
            };
            if let Err(error) = &found
                && !was_ill
            {
                tracing::warn!(%error, "cannot look through the jobs");
            }
            was_ill = found.is_err();
            for work in found.unwrap_or_default() {
                taken.insert(work.job.id.clone());
                let (runner, shutdown) = (Arc::clone(&runner), shutdown.clone());
                under_way.spawn(async move { runner.drive(work, shutdown).await });
            }
        }
        while under_way.join_next().await.is_some() {}
    }

    /// Takes what is free, and says of what was left behind that it is interrupted.
    async fn scan(
        &self,
        deep: bool,
        taken: &HashSet<String>,
        busy: usize,
    ) -> Result<Vec<Work>, JournalError> {
        let mut works = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let documents = self.journal.list(Kind::Job, after.as_deref(), SEEN).await?;
            for document in documents.iter().filter(|document| !taken.contains(&document.key)) {
                if works.len() + busy < self.config.at_once {
                    works.extend(self.look_at(document, false).await?);
                }
            }
            after = documents.last().map(|document| document.key.clone());
            if !deep || documents.len() < SEEN {
                return Ok(works);
            }
        }
    }

    /// Takes one job, if it is free.
    pub async fn take(&self, id: &str) -> Result<Option<Work>, JournalError> {
        match self.journal.get(Kind::Job, id).await? {
            Some(document) => self.look_at(&document, false).await,
            None => Ok(None),
        }
    }

    async fn look_at(&self, document: &journal::Document, alone: bool) -> Result<Option<Work>, JournalError> {
        let Ok(mut job) = document.read::<Job>() else {
            // One that cannot be read must not keep the others from being done; whoever lists them is told.
            return Ok(None);
        };
        let now = self.clock.now();
        let find = decide::find(&job, now, alone);
        match find {
            Find::Leave => return Ok(None),
            Find::Take => {
                job.lease = Some(Lease { owner: self.owner.clone(), until: now.plus(self.config.lease) });
            }
            Find::Interrupt(why) => job.end(JobState::Interrupted, Some(why.into()), now),
        }
        let body = journal::write(&job);
        let put = self.journal.put(Kind::Job, &job.id, &body, document.version, Some(job.keep_until()));
        let Put::Done(version) = put.await? else { return Ok(None) };
        if find != Find::Take {
            tracing::warn!(
                job = job.id,
                action = job.action.as_str(),
                "a job was interrupted; resume it to finish it"
            );
            return Ok(None);
        }
        Ok(Some(Work::new(job, version, self.clock.boot_time())))
    }

    /// For a process that has the storage for itself, when it begins: whatever looks as if it were being done was left
    /// behind by a process that is gone.
    pub async fn interrupt_left_behind(&self) -> Result<(), JournalError> {
        for document in self.journal.list(Kind::Job, None, SEEN).await? {
            let is_to_do = document.read().is_ok_and(|job: Job| {
                matches!(decide::find(&job, self.clock.now(), true), Find::Interrupt(_))
            });
            if is_to_do {
                self.look_at(&document, true).await?;
            }
        }
        Ok(())
    }

    /// Steps through one job until its end, or until the shutdown is pulled. Its id.
    async fn drive(&self, mut work: Work, shutdown: Shutdown) -> String {
        let mut was_ill = false;
        loop {
            if shutdown.is_pulled() {
                self.put_down(&mut work).await;
                break;
            }
            let stepped = self.step(&mut work).await;
            let wait = match stepped {
                Ok(Outcome::Again) => {
                    was_ill = false;
                    continue;
                }
                Ok(Outcome::Wait(wait)) => wait,
                Ok(Outcome::Ended | Outcome::Lost) => break,
                Err(error) => {
                    if !was_ill {
                        tracing::warn!(job = work.job.id, %error, "a job cannot go on; tried again");
                    }
                    was_ill = true;
                    Duration::from_secs(1)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shutdown.pulled() => {}
            }
        }
        work.job.id
    }

    /// Leaves a job in order: counted, and free for whoever resumes it.
    async fn put_down(&self, work: &mut Work) {
        if work.job.state.is_active() {
            let note = "the process that did it was stopped".to_owned();
            work.job.end(JobState::Interrupted, Some(note), self.clock.now());
        } else {
            work.job.lease = None;
        }
        if let Err(error) = self.write(work).await {
            tracing::warn!(job = work.job.id, %error, "a job's end could not be written down");
        }
    }
}
