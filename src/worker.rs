//! The worker: permits → receive → claim → send → outcome → settle, as a streaming window that is refilled as each
//! send ends. Loop and step are two functions: [`Worker::run`] paces, `deliver::step` does one handful.

pub mod breaker;
pub mod concurrency;
mod deliver;
mod heartbeat;
mod lanes;
pub mod retry;
mod settle;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::message_log::{ClaimRequest, Hint, MessageLog, NewNotification};
use crate::notification::status::{Fact, Token};
use crate::provider::Provider;
use crate::provider::health::HealthBoard;
use crate::queue::{Delivery, Origin, Queue, QueueError, Settlement};
use crate::shutdown::Shutdown;
use heartbeat::Held;
use lanes::{Lanes, Permit, Room};
pub use settle::Config as SettleConfig;
use settle::Outcome;

/// The worker's numbers. `settings` refuses the combinations that are unsafe.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a claim keeps others away.
    pub lease: Duration,
    /// How long after the lease an unknown outcome waits for evidence before it may be resent: more than the latest
    /// acceptance after our time-out plus the webhook's lag plus twice the clock skew.
    pub hold: Duration,
    /// The provider adapter's whole-attempt time-out.
    pub attempt_timeout: Duration,
    /// The queue's visibility time-out; held deliveries are extended at a third of it.
    pub visibility: Duration,
    /// One long poll.
    pub long_poll: Duration,
    /// Deliveries received in one call.
    pub receive_batch: usize,
    /// How long a message rests after the log could not be asked about it.
    pub trouble_wait: Duration,
    /// How long running sends and their outcomes may take to end at shutdown.
    pub drain: Duration,
    /// Retries, limits, the witness rule.
    pub retry: retry::Policy,
    /// The circuit breaker.
    pub breaker: breaker::Config,
    /// Attempts at once.
    pub concurrency: concurrency::Config,
    /// Batches of outcomes.
    pub settle: settle::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            hold: Duration::from_secs(600),
            attempt_timeout: Duration::from_secs(10),
            visibility: Duration::from_secs(60),
            long_poll: Duration::from_secs(20),
            receive_batch: 64,
            trouble_wait: Duration::from_secs(5),
            drain: Duration::from_secs(25),
            retry: retry::Policy::default(),
            breaker: breaker::Config::default(),
            concurrency: concurrency::Config::default(),
            settle: settle::Config::default(),
        }
    }
}

impl Config {
    /// What is left of a lease for everything but the attempt itself: clocks, scheduling, the write before it.
    pub const LEASE_MARGIN: Duration = Duration::from_millis(500);

    /// How long after the claim was asked for an attempt may still begin: it must end within the lease.
    fn latest_start(&self) -> Duration {
        self.lease.saturating_sub(self.attempt_timeout + Self::LEASE_MARGIN)
    }
}

/// The loop shows that it is alive at least this often, also while every circuit is open.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);

/// How long after its wait a poll that was open at shutdown may still answer.
const POLL_MARGIN: Duration = Duration::from_secs(5);

/// What a drain left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Deliveries given back unsent.
    pub given_back: usize,
    /// Handfuls whose sends had not ended in time. Their outcomes are unknown until evidence comes.
    pub left_running: usize,
}

/// Consumes the queue and sends.
pub struct Worker {
    hands: Arc<Hands>,
    held: Arc<Held>,
    queue: Arc<dyn Queue>,
    health: HealthBoard,
    outcomes: mpsc::Receiver<Outcome>,
}

/// What a step needs in its hands.
pub(crate) struct Hands {
    log: Arc<dyn MessageLog>,
    clock: Clock,
    config: Config,
    lanes: Lanes,
    outcomes: mpsc::Sender<Outcome>,
}

impl Hands {
    fn claim(&self, delivery: &Delivery, permit: &Permit, resend_of: Option<Token>) -> ClaimRequest {
        let lease_until = self.clock.now().plus(self.config.lease);
        let fact = Fact::Claimed {
            token: Token::fresh(),
            provider: permit.provider().name().to_owned(),
            lease_until,
            hold_until: lease_until.plus(self.config.hold),
            resend_of,
            limits: self.config.retry.limits,
        };
        let hint = match &delivery.origin {
            Origin::Fresh(life) if delivery.receive_count == 1 => Hint::Fresh(life.clone()),
            Origin::Direct(notification) => {
                // It was accepted when it lay on the queue.
                let new = NewNotification::of(delivery.id, notification.clone(), delivery.enqueued_at);
                Hint::New(Box::new(new))
            }
            Origin::Fresh(_) | Origin::Recorded => Hint::None,
        };
        ClaimRequest { id: delivery.id, fact, content: delivery.content.clone(), hint }
    }

    fn randomness(&self) -> f64 {
        rand::rng().random()
    }
}

impl Worker {
    /// A worker that sends through `providers`, the most preferred first.
    pub fn new(
        queue: Arc<dyn Queue>,
        log: Arc<dyn MessageLog>,
        providers: Vec<Arc<dyn Provider>>,
        clock: Clock,
        health: HealthBoard,
        config: Config,
    ) -> Self {
        let lanes = Lanes::new(providers, &config.breaker, config.concurrency, clock.clone(), health.clone());
        let (sender, outcomes) = mpsc::channel(1024);
        let held = Arc::new(Held::new(queue.clone(), log.clone(), clock.clone(), config.visibility));
        let hands = Arc::new(Hands { log, clock, config, lanes, outcomes: sender });
        Self { hands, held, queue, health, outcomes }
    }

    /// Sends until the shutdown is pulled, then drains: stops receiving, awaits the open poll, gives back what is
    /// unsent, lets running sends end, and flushes every outcome.
    pub async fn run(self, shutdown: Shutdown) -> DrainReport {
        let Self { hands, held, queue, health, outcomes } = self;
        let settler = tokio::spawn(settle::run(held.clone(), outcomes, hands.config.settle));
        let heartbeat = tokio::spawn(heartbeat::run(held.clone()));
        let mut window = Window { hands, held, queue, health, ready: VecDeque::new(), steps: JoinSet::new() };
        window.stream(&shutdown).await;
        let given_back = window.give_back(Duration::ZERO).await;
        let drain = window.hands.config.drain;
        let all_ended = async { while window.steps.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(drain, all_ended).await.is_ok();
        let left_running = if in_time { 0 } else { window.steps.len() };
        window.steps.abort_all();
        while window.steps.join_next().await.is_some() {}
        // The last sender of outcomes goes with the window; the settler then flushes and ends.
        drop(window);
        if tokio::time::timeout(drain, settler).await.is_err() {
            tracing::error!("outcomes were left unwritten; the queue brings their messages again");
        }
        heartbeat.abort();
        let report = DrainReport { given_back, left_running };
        tracing::info!(given_back = report.given_back, left_running = report.left_running, "worker drained");
        report
    }
}

/// The streaming window: deliveries received ahead, and the handfuls being sent.
struct Window {
    hands: Arc<Hands>,
    held: Arc<Held>,
    queue: Arc<dyn Queue>,
    health: HealthBoard,
    ready: VecDeque<Delivery>,
    steps: JoinSet<()>,
}

impl Window {
    async fn stream(&mut self, shutdown: &Shutdown) {
        let mut poll: Option<tokio::task::JoinHandle<Result<Vec<Delivery>, QueueError>>> = None;
        while !shutdown.is_pulled() {
            self.hand_out();
            let shut_for = match self.hands.lanes.room() {
                Room::For(room) => {
                    let room = (room as usize).saturating_sub(self.ready.len());
                    if poll.is_none() && room > 0 {
                        poll = Some(self.receive(room));
                    }
                    None
                }
                Room::ShutUntil(until) => {
                    // Not receiving is on purpose here: whoever watches this worker must not restart it.
                    self.health.set_last_receive(self.hands.clock.now());
                    let wait = until.saturating_sub(self.hands.clock.boot_time());
                    self.give_back(wait.min(crate::notification::status::Life::LONGEST_QUEUE_WAIT)).await;
                    Some(wait.clamp(Duration::from_millis(10), LONGEST_SLEEP))
                }
            };
            tokio::select! {
                received = joined(&mut poll) => self.take_in(received).await,
                () = self.hands.lanes.freed() => {}
                _ended = self.steps.join_next(), if !self.steps.is_empty() => {}
                () = tokio::time::sleep(shut_for.unwrap_or(Duration::MAX)), if shut_for.is_some() => {}
                () = shutdown.pulled() => {}
            }
        }
        if poll.is_some() {
            // A poll that is dropped may have taken messages: wait for it, and give them back. No backend lets it wait
            // for longer than it was asked to.
            let longest = self.hands.config.long_poll + POLL_MARGIN;
            match tokio::time::timeout(longest, joined(&mut poll)).await {
                Ok(received) => self.take_in(received).await,
                Err(_) => {
                    tracing::info!("the open poll did not end in time; its messages come back by themselves")
                }
            }
        }
    }

    /// Hands out as many ready deliveries as there are permits.
    fn hand_out(&mut self) {
        while !self.ready.is_empty() {
            let permits = self.hands.lanes.take(self.ready.len());
            if permits.is_empty() {
                return;
            }
            let deliveries: Vec<_> = self.ready.drain(..permits.len()).collect();
            self.steps.spawn(deliver::step(self.hands.clone(), deliveries, permits));
        }
    }

    fn receive(&self, room: usize) -> tokio::task::JoinHandle<Result<Vec<Delivery>, QueueError>> {
        let (queue, wait) = (self.queue.clone(), self.hands.config.long_poll);
        let max = room.min(self.hands.config.receive_batch);
        tokio::spawn(async move { queue.receive(max, wait).await })
    }

    async fn take_in(&mut self, received: Result<Vec<Delivery>, QueueError>) {
        match received {
            Ok(deliveries) => {
                self.health.set_last_receive(self.hands.clock.now());
                self.held.hold(&deliveries);
                self.ready.extend(deliveries);
            }
            Err(error) => {
                tracing::warn!(%error, "could not receive");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// Gives every ready delivery back to the queue, visible again after `after`.
    async fn give_back(&mut self, after: Duration) -> usize {
        let returned: Vec<_> = self.ready.drain(..).map(|d| (d, Settlement::Again { after })).collect();
        let count = returned.len();
        if count > 0 {
            for (delivery, _) in &returned {
                self.held.let_go(&delivery.receipt);
            }
            for result in self.queue.settle(returned).await {
                if let Err(error) = result {
                    tracing::debug!(%error, "could not give a message back; it comes back by itself");
                }
            }
        }
        count
    }
}

/// Waits for the poll if there is one, else for ever.
async fn joined(
    poll: &mut Option<tokio::task::JoinHandle<Result<Vec<Delivery>, QueueError>>>,
) -> Result<Vec<Delivery>, QueueError> {
    let Some(handle) = poll.as_mut() else {
        return std::future::pending().await;
    };
    let received = handle.await;
    *poll = None;
    received.unwrap_or_else(|error| Err(QueueError::Unavailable(error.to_string())))
}
