//! Alerts: is anything wrong, since when, and who was told.
//!
//! Loop and step are two functions. A step takes a reading (`look`), judges it purely (`check`), lets each alert's
//! readings make up a verdict (`streak`), changes the shared alert in the journal (`state`, by compare-and-set through
//! `keeper`), and hands what is to be said to the channels (`post`). A channel that fails or hangs is nobody's trouble
//! but its own.

pub mod check;
mod keeper;
mod look;
pub mod message;
pub mod post;
pub mod slack;
pub mod state;
pub mod streak;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use metrics::gauge;
use tokio::sync::mpsc;

use crate::api::alerts::{ChannelTest, Channels};
use crate::clock::{Clock, Timestamp};
use crate::inbox::Inbox;
use crate::journal::Journal;
use crate::message_log::MessageLog;
use crate::metrics::ALERT_FIRING;
use crate::provider::health::HealthBoard;
use crate::queue::Queue;
use crate::shutdown::Shutdown;
use check::{AlertName, Finding, Limits};
use keeper::Keeper;
pub use look::UnusualTenants;
use message::Message;
use post::{Channel, Done, Job, Post};
use state::{Alert, Change, Policy, Posting, after};
use streak::{Look, Streak};

/// How alerts are watched for and said.
#[derive(Clone)]
pub struct Config {
    /// When something is wrong.
    pub limits: Limits,
    /// Between two readings.
    pub interval: Duration,
    /// How long all must be well before an alert is over.
    pub calm: Duration,
    /// Between two messages about an alert that goes on.
    pub reminder: Duration,
    /// Where the runbooks are: an address, or `runbooks`.
    pub runbooks: String,
    /// This process runs the worker.
    pub worker: bool,
    /// This process runs the webhook.
    pub webhook: bool,
    /// Where the storm guard says who is unusual.
    pub unusual: Option<UnusualTenants>,
}

/// What alerts are read from, and kept in.
#[derive(Clone)]
pub struct Ports {
    /// The obligation.
    pub log: Arc<dyn MessageLog>,
    /// The timer.
    pub queue: Arc<dyn Queue>,
    /// Where events wait to be folded, if this process knows.
    pub inbox: Option<Arc<dyn Inbox>>,
    /// Where alerts are kept.
    pub journal: Arc<dyn Journal>,
    /// What worker and webhook saw.
    pub health: HealthBoard,
    /// The time.
    pub clock: Clock,
}

/// For how long whoever wrote a message down may post it alone: longer than a channel with something waiting takes.
const LEASE: Duration = Duration::from_secs(60);
/// A message that a channel did not take is tried again after this, twice as long each time.
const RETRY: Duration = Duration::from_secs(30);
/// And at the longest after this.
const LONGEST_RETRY: Duration = Duration::from_secs(900);
/// A message is given up when it was tried so often.
const MOST_TRIES: u32 = 24;

/// Watches, and says what is wrong.
pub struct Alerts {
    config: Config,
    policy: Policy,
    clock: Clock,
    /// Names this process among those who see an alert.
    instance: String,
    eyes: look::Eyes,
    keeper: Keeper,
    streaks: BTreeMap<String, Streak>,
    post: Post,
    done: mpsc::Receiver<Done>,
}

impl Alerts {
    /// Watches these ports and posts to these channels. Needs a runtime: each channel is a task.
    pub fn new(ports: Ports, channels: &[Channel], config: Config) -> Self {
        let (sender, done) = mpsc::channel(64);
        let policy = Policy {
            reminder: config.reminder,
            calm: config.calm,
            // A process that is restarted has this long to say that it still sees what it saw.
            stale: config.interval * 8 + config.calm,
            lease: LEASE,
            channels: channels.iter().map(|channel| channel.name().to_owned()).collect(),
        };
        Self {
            policy,
            clock: ports.clock.clone(),
            instance: uuid::Uuid::now_v7().simple().to_string(),
            keeper: Keeper::new(ports.journal.clone(), ports.clock.clone()),
            eyes: look::Eyes::new(ports, config.clone()),
            streaks: BTreeMap::new(),
            post: Post::start(channels, &sender),
            done,
            config,
        }
    }

    /// Watches until the shutdown is pulled. What is not posted by then is posted after the next start.
    pub async fn run(mut self, stopped: Shutdown) {
        let mut next = tokio::time::Instant::now();
        while !stopped.is_pulled() {
            tokio::select! {
                () = tokio::time::sleep_until(next) => {
                    tokio::select! {
                        () = self.step() => {}
                        () = stopped.pulled() => return,
                    }
                    next = tokio::time::Instant::now() + self.config.interval;
                }
                Some(done) = self.done.recv() => self.settle(&done).await,
                () = stopped.pulled() => {}
            }
        }
    }

    /// One reading, and what follows from it.
    pub async fn step(&mut self) {
        while let Ok(done) = self.done.try_recv() {
            self.settle(&done).await;
        }
        let journal = self.keeper.refresh().await;
        let reading = self.eyes.look(journal).await;
        let checked = check::checks(&reading, &self.config.limits);
        let found: BTreeMap<String, &Finding> = checked.findings.iter().map(|f| (f.key(), f)).collect();
        let firing = self.keeper.known().values().filter(|alert| alert.is_firing());
        let mut keys: BTreeSet<String> = firing.map(|alert| alert.key.clone()).collect();
        keys.extend(found.keys().cloned());
        keys.extend(self.streaks.keys().cloned());
        let now = reading.at;
        for key in keys {
            let look = match found.get(&key) {
                Some(finding) => Look::Bad(finding),
                None if checked.judges(&key) => Look::Well,
                None => Look::Nothing,
            };
            let streak = self.streaks.remove(&key).unwrap_or_default();
            let streak = streak.after(look, now, self.config.calm);
            self.say(&key, &streak, now).await;
            let is_firing = self.keeper.known().get(&key).is_some_and(Alert::is_firing);
            if is_firing || !matches!(look, Look::Well) {
                self.streaks.insert(key, streak);
            }
        }
        self.post_what_waits().await;
        self.show();
    }

    /// Changes the shared alert by what this process sees of it.
    async fn say(&mut self, key: &str, streak: &Streak, now: Timestamp) {
        let Some(sight) = streak.sight(now) else { return };
        let known = self.keeper.known().get(key);
        // Asked before the journal is: most of the time there is nothing to change.
        if after(known, &sight, &self.instance, now, &self.policy).is_none() {
            return;
        }
        let (instance, policy) = (&self.instance, &self.policy);
        let changed = self.keeper.change(key, |alert| {
            let (alert, change) = after(alert, &sight, instance, now, policy)?;
            let posting = change.and_then(|_| alert.outbox.last().cloned());
            Some((alert, (change, posting)))
        });
        let Some((Some(change), posting)) = changed.await else { return };
        let Some(alert) = self.keeper.known().get(key).cloned() else { return };
        log(&alert, change, now);
        if let Some(posting) = posting {
            self.hand(&alert, &posting);
        }
    }

    /// Takes up what somebody wrote down and did not post.
    async fn post_what_waits(&mut self) {
        let now = self.clock.now();
        let waiting = |alert: &&Alert| alert.outbox.iter().any(|posting| posting.lease_until <= now);
        let keys: Vec<String> =
            self.keeper.known().values().filter(waiting).map(|alert| alert.key.clone()).collect();
        for key in keys {
            let taken = self.keeper.change(&key, |alert| {
                let mut alert = alert?.clone();
                let mut taken = Vec::new();
                for posting in alert.outbox.iter_mut().filter(|posting| posting.lease_until <= now) {
                    posting.lease_until = now.plus(LEASE);
                    taken.push(posting.clone());
                }
                (!taken.is_empty()).then_some((alert, taken))
            });
            let taken = taken.await.unwrap_or_default();
            let Some(alert) = self.keeper.known().get(&key).cloned() else { continue };
            for posting in taken {
                self.hand(&alert, &posting);
            }
        }
    }

    fn hand(&self, alert: &Alert, posting: &Posting) {
        for channel in &posting.left {
            let message = Message::of(alert, posting, &self.config.runbooks);
            let (key, lease_until) = (alert.key.clone(), posting.lease_until);
            self.post.hand(channel, Job { key, message, lease_until });
        }
    }

    /// Writes down what became of a message.
    async fn settle(&mut self, done: &Done) {
        let now = self.clock.now();
        let channels = &self.policy.channels;
        let settled = self.keeper.change(&done.key, |alert| {
            let mut alert = alert?.clone();
            let posting = alert.outbox.iter_mut().find(|posting| posting.id == done.id)?;
            if done.is_taken {
                // A channel that is no longer configured will not take it either.
                posting.left.retain(|left| left != done.channel && channels.contains(left));
            } else {
                posting.tries += 1;
                let wait = RETRY.saturating_mul(1 << posting.tries.min(10)).min(LONGEST_RETRY);
                posting.lease_until = now.plus(wait);
            }
            alert.outbox.retain(|posting| !posting.left.is_empty() && posting.tries < MOST_TRIES);
            Some((alert, ()))
        });
        settled.await;
    }

    fn show(&self) {
        for name in AlertName::ALL {
            let is_it = |alert: &&Alert| alert.is_firing() && alert.alert == name.as_str();
            let firing = self.keeper.known().values().filter(is_it).count();
            gauge!(ALERT_FIRING, "alert" => name.as_str()).set(firing as f64);
        }
    }
}

/// One line a change, by the process that made it.
fn log(alert: &Alert, change: Change, now: Timestamp) {
    let Alert { key, summary, count, .. } = alert;
    match change {
        Change::Resolved => {
            let lasted_s = now.since(alert.since).as_secs();
            tracing::info!(alert = key, lasted_s, "an alert is over");
        }
        Change::Reminder => tracing::info!(alert = key, count, summary, "an alert goes on"),
        Change::Firing | Change::Worse | Change::Test => {
            tracing::warn!(alert = key, severity = alert.severity.as_str(), count, summary, "alert");
        }
    }
}

/// Sends a test message to every channel.
#[derive(Clone)]
pub struct Tester {
    /// To which.
    pub channels: Vec<Channel>,
    /// Where the runbooks are.
    pub runbooks: String,
    /// The time.
    pub clock: Clock,
}

#[async_trait]
impl Channels for Tester {
    async fn test(&self) -> Vec<ChannelTest> {
        let message = Message::test(self.clock.now(), &self.runbooks);
        let posts = self.channels.iter().map(async |channel| {
            let error = channel.post(&message).await.err().map(|error| error.to_string());
            ChannelTest { channel: channel.name().to_owned(), ok: error.is_none(), error }
        });
        futures::future::join_all(posts).await
    }
}
