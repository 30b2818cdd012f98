//! Takes the readings: asks every port, each for a few seconds at most, and never fails.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use metrics::gauge;

use super::check::{
    Limits, LogReading, POST_WINDOW, RATE_WINDOW, Reading, Unconfirmed, Unusual, WebhookReading, Witness,
    WorkerReading,
};
use super::{Config, Ports};
use crate::clock::Timestamp;
use crate::dead_letters;
use crate::feed::callback::{self, CallbackState};
use crate::jobs::{self, JobState};
use crate::message_log::{Filter, Lacks};
use crate::metrics::EVENTS_ASIDE;
use crate::notification::status::Status;
use crate::provider::EventKind;
use crate::provider::health::Tick;
use crate::tracking::aside;
use crate::unconfirmed;

/// A port that has not answered by then does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at jobs and copies, whose documents are the largest of the journal.
const RECORDS_EVERY: Duration = Duration::from_secs(60);
/// So many of the latest jobs are looked at.
const JOBS: usize = 20;
/// So many copies of dead letters are.
const COPIES: usize = 1000;
/// A copy that is older is no news.
const NEWS: Duration = Duration::from_secs(24 * 3600);
/// What is held is counted anew at least this often.
const HELD_EVERY: Duration = Duration::from_secs(300);
/// And at most for this part of the time.
const HELD_SHARE: u32 = 20;

/// Where the storm guard says who is unusual.
pub type UnusualTenants = std::sync::Arc<dyn Fn() -> Vec<Unusual> + Send + Sync>;

/// Takes readings.
pub(super) struct Eyes {
    ports: Ports,
    config: Config,
    started: Timestamp,
    openings: BTreeMap<String, u64>,
    held: Held,
    records: Option<(Timestamp, Records)>,
}

/// What the journal has of jobs and copies.
#[derive(Clone)]
struct Records {
    interrupted: Vec<String>,
    unreadable: u64,
    paused: Vec<String>,
    aside: u64,
}

/// What was last seen of the held ones.
#[derive(Default)]
struct Held {
    total: u64,
    by_reason: BTreeMap<String, u64>,
    at: Option<Timestamp>,
    took: Duration,
}

async fn within<T, E: ToString>(asked: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_elapsed) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

impl Eyes {
    pub(super) fn new(ports: Ports, config: Config) -> Self {
        let started = ports.clock.now();
        let openings = ports.health.openings();
        Self { ports, config, started, openings, held: Held::default(), records: None }
    }

    /// Looks. `journal`: whether it answered just now.
    pub(super) async fn look(&mut self, journal: Result<(), String>) -> Reading {
        let now = self.ports.clock.now();
        let queue = self.ports.queue.clone();
        let (log, queue) = futures::join!(self.log(now), within(queue.depth()));
        let worker = if self.config.worker { Some(self.worker(now, log.is_ok()).await) } else { None };
        let webhook = if self.config.webhook { Some(self.webhook(now).await) } else { None };
        let records = if journal.is_ok() { self.records(now).await } else { None };
        let unconfirmed = if journal.is_ok() { self.unconfirmed().await } else { None };
        Reading {
            at: now,
            running_for: now.since(self.started),
            worker,
            webhook,
            log: Some(log),
            unreadable: records.as_ref().map(|records| records.unreadable),
            queue: Some(queue.map(drop)),
            journal: Some(journal),
            unusual: self.config.unusual.as_ref().map(|unusual| unusual()),
            unconfirmed,
            events_aside: records.as_ref().map(|records| records.aside),
            paused_callbacks: records.as_ref().map(|records| records.paused.clone()),
            interrupted_jobs: records.map(|records| records.interrupted),
        }
    }

    async fn unconfirmed(&self) -> Option<Unconfirmed> {
        let stand = within(unconfirmed::stand(&*self.ports.journal)).await.ok()?;
        let (processed, end) = (stand.count(Lacks::Processed), stand.count(Lacks::End));
        Some(Unconfirmed { processed, end, at_least: stand.is_full })
    }

    async fn worker(&mut self, now: Timestamp, log_answers: bool) -> WorkerReading {
        let health = &self.ports.health;
        let openings = health.openings();
        let more = |(name, count): &(&String, &u64)| self.openings.get(*name).unwrap_or(&0) < count;
        let opened: BTreeSet<String> = openings.iter().filter(more).map(|(name, _)| name.clone()).collect();
        let last = health.last_receive().unwrap_or(self.started).max(self.started);
        let mut reading = WorkerReading {
            providers: health.providers(),
            opened,
            last_receive_age: now.since(last),
            witnesses: BTreeMap::new(),
        };
        self.openings = openings;
        let Limits { webhook_silence: Some(silence), providers, .. } = &self.config.limits else {
            return reading;
        };
        if !log_answers {
            return reading;
        }
        for name in providers {
            let Ok(newest) = within(self.ports.log.witness(name)).await else { continue };
            // From the minute after the event's own.
            let from = newest.map_or(Timestamp::default(), |at| at.plus(Duration::from_secs(60)));
            let sent_since = self.ports.health.counted(&Tick::Sent(name.clone()), from, now.minus(*silence));
            let newest_age = newest.map(|at| now.since(at));
            reading.witnesses.insert(name.clone(), Witness { newest_age, sent_since });
        }
        reading
    }

    async fn webhook(&self, now: Timestamp) -> WebhookReading {
        let oldest = match &self.ports.inbox {
            Some(inbox) => within(inbox.depth()).await.ok().and_then(|depth| depth.oldest),
            None => None,
        };
        let counted = |tick, window| self.ports.health.counted(&tick, now.minus(window), now);
        let events = |kind: EventKind| counted(Tick::Event(kind.as_str().to_owned()), RATE_WINDOW);
        WebhookReading {
            delivered: events(EventKind::Delivered),
            bounced: events(EventKind::Bounced),
            complained: events(EventKind::Complained),
            posts_taken: counted(Tick::PostTaken, POST_WINDOW),
            posts_refused: counted(Tick::PostRefused, POST_WINDOW),
            oldest_waiting: oldest.map(|since| now.since(since)),
        }
    }

    async fn log(&mut self, now: Timestamp) -> Result<LogReading, String> {
        let counts = within(self.ports.log.counts(now)).await?;
        let count = |status: Status| counts.by_status.get(&status).copied().unwrap_or(0);
        Ok(LogReading {
            oldest_unsent: counts.oldest_unsent.map(|since| now.since(since)),
            failed: count(Status::Failed),
            unknown: count(Status::Unknown),
            held: self.held(count(Status::Held), now).await,
        })
    }

    /// Held ones by reason. Counting them reads each, so it is done when their number changed, and not all the time.
    async fn held(&mut self, total: u64, now: Timestamp) -> Option<BTreeMap<String, u64>> {
        if total == 0 {
            self.held = Held::default();
            return Some(BTreeMap::new());
        }
        let since = self.held.at.map(|at| now.since(at));
        let rests = since.is_some_and(|since| since < self.held.took * HELD_SHARE);
        let is_known = self.held.total == total && since.is_some_and(|since| since < HELD_EVERY);
        if !is_known && !rests {
            let filter = Filter { statuses: vec![Status::Held], ..Filter::default() };
            let groups = within(self.ports.log.count_groups(&filter, now)).await;
            // A count that takes too long is left alone for a while, too.
            (self.held.at, self.held.took) = (Some(now), self.ports.clock.now().since(now));
            let groups = groups.ok()?;
            self.held.by_reason.clear();
            for group in groups {
                *self.held.by_reason.entry(group.reason.unwrap_or_default()).or_default() += group.count;
            }
            self.held.total = total;
        }
        (self.held.total > 0).then(|| self.held.by_reason.clone())
    }

    async fn records(&mut self, now: Timestamp) -> Option<Records> {
        let is_known = self.records.as_ref().is_some_and(|(at, _)| now.since(*at) < RECORDS_EVERY);
        if !is_known {
            let journal = &*self.ports.journal;
            let latest = within(jobs::list(journal, None, JOBS)).await.ok()?;
            let interrupted = latest.into_iter().filter(|job| job.state == JobState::Interrupted);
            let copies = within(dead_letters::list(journal, None, COPIES)).await.ok()?;
            let news = copies.iter().filter(|copy| copy.resent.is_none() && now.since(copy.kept_at) < NEWS);
            let unreadable = news.count() as u64;
            let aside = within(aside::count(journal)).await.ok()?.count;
            gauge!(EVENTS_ASIDE).set(aside as f64);
            let callbacks = within(callback::list(journal, None)).await.ok()?;
            let told_nothing = callbacks
                .into_iter()
                .filter(|one| matches!(one.state, CallbackState::Failed | CallbackState::Gone));
            let records = Records {
                interrupted: interrupted.map(|job| job.id).collect(),
                unreadable,
                paused: told_nothing.map(|one| one.id).collect(),
                aside,
            };
            self.records = Some((now, records));
        }
        self.records.as_ref().map(|(_, records)| records.clone())
    }
}
