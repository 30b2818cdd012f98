//! The worker: permits → receive → claim → send → outcome → settle, as a streaming window that is refilled as each
//! send ends. Loop and step are two functions: [`Worker::run`] paces, `deliver::step` does one handful.

mod attempt;
pub mod breaker;
pub mod concurrency;
mod config;
mod deliver;
mod heartbeat;
mod lanes;
pub mod retry;
mod settle;
mod suppress;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::inbox::Inbox;
use crate::message_log::{ClaimRequest, Hint, MessageLog, NewNotification};
use crate::notification::status::{Fact, Token};
use crate::provider::health::HealthBoard;
use crate::provider::{Idempotency, Provider};
use crate::queue::{Delivery, Origin, Queue, QueueError, Settlement};
use crate::shutdown::Shutdown;
use crate::stops::Stops;
use crate::storm;
use crate::suppression::guard::Suppressions;
pub use config::Config;
use heartbeat::Held;
use lanes::{Lanes, Permit, Room};
pub use settle::Config as SettleConfig;
use settle::Outcome;

/// The loop shows that it is alive at least this often, also while every circuit is open.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);

/// How long after its wait a poll that was open at shutdown may still answer.
const POLL_MARGIN: Duration = Duration::from_secs(5);

/// So long the first reading of the standing stops may take before it is told.
const STOPS_PATIENCE: Duration = Duration::from_secs(5);

/// What may keep back what would be sent.
#[derive(Clone)]
pub struct Guards {
    /// What operators hold and cancel.
    pub stops: Stops,
    /// What looks like a mistake.
    pub storm: storm::Guard,
    /// To whom nothing is sent.
    pub suppressions: Suppressions,
    /// Where events wait that may settle what is unknown.
    pub evidence: Evidence,
}

/// Where events wait that may settle what is unknown.
#[derive(Clone)]
pub enum Evidence {
    /// Nowhere: an event is in its record once it has come.
    Nowhere,
    /// In this inbox.
    In(Arc<dyn Inbox>),
    /// In one that this process does not know: it cannot tell whether any waits.
    Elsewhere,
}

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
    guards: Guards,
    outcomes: mpsc::Sender<Outcome>,
}

impl Hands {
    fn claim(&self, delivery: &Delivery, permit: &Permit, resend_of: Option<Token>) -> ClaimRequest {
        let lease_until = self.clock.now().plus(self.config.lease);
        let idempotency = permit.provider().idempotency();
        let hold_until = match idempotency {
            Idempotency::None => lease_until.plus(self.config.hold),
            // Nothing needs to be waited for where the same request again settles it.
            Idempotency::Key { .. } => lease_until,
        };
        let fact = Fact::Claimed {
            token: Token::fresh(),
            provider: permit.provider().name().to_owned(),
            lease_until,
            hold_until,
            resend_of,
            limits: self.config.retry.limits_at(idempotency),
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

    /// Waits until the standing stops were read once, and what the other guards go by.
    async fn learn_stops(&self, health: &HealthBoard, shutdown: &Shutdown) {
        let Guards { stops, storm, suppressions, .. } = &self.guards;
        let mut changes = stops.watch();
        let mut was_told = false;
        while !shutdown.is_pulled()
            && (stops.known().is_none()
                || storm.refresh().await.is_err()
                || suppressions.refresh().await.is_err())
        {
            // Not receiving is on purpose here: whoever watches this worker must not restart it.
            health.set_last_receive(self.clock.now());
            tokio::select! {
                _changed = changes.changed() => {}
                () = tokio::time::sleep(STOPS_PATIENCE) => {
                    if !was_told {
                        tracing::warn!("nothing is sent before it is known what is held and cancelled");
                    }
                    was_told = true;
                }
                () = shutdown.pulled() => {}
            }
        }
        self.lanes.review(stops);
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
        guards: Guards,
        config: Config,
    ) -> Self {
        let lanes = Lanes::new(providers, &config.breaker, config.concurrency, clock.clone(), health.clone());
        let (sender, outcomes) = mpsc::channel(1024);
        let held = Arc::new(Held::new(queue.clone(), log.clone(), clock.clone(), config.visibility));
        let hands = Arc::new(Hands { log, clock, config, lanes, guards, outcomes: sender });
        Self { hands, held, queue, health, outcomes }
    }

    /// Sends until the shutdown is pulled, then drains: stops receiving, awaits the open poll, gives back what is
    /// unsent, lets running sends end, and flushes every outcome. Sends nothing before the standing stops are known.
    pub async fn run(self, shutdown: Shutdown) -> DrainReport {
        let Self { hands, held, queue, health, outcomes } = self;
        hands.learn_stops(&health, &shutdown).await;
        let storm = hands.guards.storm.clone();
        let following = tokio::spawn(follow(hands.clone()));
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
        following.abort();
        let _aborted = following.await;
        if tokio::time::timeout(drain, settler).await.is_err() {
            tracing::error!("outcomes were left unwritten; the queue brings their messages again");
        }
        heartbeat.abort();
        storm.close().await;
        let report = DrainReport { given_back, left_running };
        tracing::info!(given_back = report.given_back, left_running = report.left_running, "worker drained");
        report
    }
}

async fn follow(hands: Arc<Hands>) {
    hands.lanes.follow(&hands.guards.stops).await;
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
                // Whoever reaches the queue says so once; this comes every second.
                tracing::debug!(%error, "could not receive");
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
