//! Which fault strikes which request: a pure function of the plan, the seed and the request's number.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{BounceType, Fault, Kind, OutageMode, Plan};

/// What happens to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sandbox) struct Turn {
    /// Its place in the order of arrival since the plan became active, from 0.
    pub(in crate::sandbox) number: u64,
    /// Time to waste before the verdict.
    pub(in crate::sandbox) delay: Duration,
    pub(in crate::sandbox) verdict: Verdict,
}

/// How a request ends, provided that it is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum Verdict {
    /// Taken and answered.
    Accept,
    /// Taken, the connection reset.
    AcceptThenReset,
    /// Taken, no answer, the connection reset after a time.
    AcceptThenSilence(Duration),
    /// Not taken: an error answer.
    ServerError(u16),
    /// Not taken: refused for good with this 4xx.
    Refuse(u16),
    /// Not taken: 429, with `Retry-After` seconds where given.
    TooManyRequests(Option<u32>),
    /// Not taken, not read: the connection reset.
    Reset,
    /// Not taken, not answered.
    Silence,
}

/// What happens to one recipient of an accepted mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sandbox) struct RecipientPlay<'a> {
    pub(in crate::sandbox) bounce: Option<(BounceType, &'a str)>,
    pub(in crate::sandbox) deferred: bool,
    pub(in crate::sandbox) reordered: bool,
}

/// What happens to one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox) struct EventPlay {
    pub(in crate::sandbox) dropped: bool,
    pub(in crate::sandbox) duplicated: bool,
    pub(in crate::sandbox) delay: Duration,
}

/// An active plan: it counts the requests and knows when it began.
#[derive(Debug)]
pub(in crate::sandbox) struct Script {
    plan: Plan,
    seed: u64,
    started: Instant,
    next: AtomicU64,
}

/// How long a silent outage holds a request. Longer than any client's patience.
const SILENCE: Duration = Duration::from_secs(300);

impl Script {
    pub(in crate::sandbox) fn new(plan: Plan, default_seed: u64) -> Self {
        let seed = plan.seed.unwrap_or(default_seed);
        Self {
            plan: Plan { seed: Some(seed), ..plan },
            seed,
            started: Instant::now(),
            next: AtomicU64::new(0),
        }
    }

    /// The plan, its seed filled in.
    pub(in crate::sandbox) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What happens to the request that has just arrived.
    pub(in crate::sandbox) fn next_turn(&self) -> Turn {
        self.turn(self.next.fetch_add(1, Ordering::Relaxed), self.started.elapsed())
    }

    /// Pure: the turn of request `number`, `elapsed` after the plan became active.
    pub(in crate::sandbox) fn turn(&self, number: u64, elapsed: Duration) -> Turn {
        let mut delay = Duration::ZERO;
        let mut verdict = Verdict::Accept;
        for (index, fault) in self.plan.faults.iter().enumerate() {
            let struck = match &fault.kind {
                Kind::Outage { after, length, mode } => {
                    is_out(*after, *length, elapsed).then_some(match mode {
                        OutageMode::Answers503 => Verdict::ServerError(503),
                        OutageMode::Refuse => Verdict::Reset,
                        OutageMode::Timeout => Verdict::Silence,
                    })
                }
                _ if !self.strikes(index, fault, number, 0) => None,
                Kind::ServerError { status } => {
                    let any = [500, 502, 503, 504][self.draw(index, number, u64::MAX) as usize % 4];
                    Some(Verdict::ServerError(status.unwrap_or(any)))
                }
                Kind::Refused { status } => Some(Verdict::Refuse(*status)),
                Kind::TooManyRequests { retry_after_seconds } => {
                    Some(Verdict::TooManyRequests(*retry_after_seconds))
                }
                Kind::Slow { by } => {
                    delay += *by;
                    None
                }
                Kind::ResetBefore => Some(Verdict::Reset),
                Kind::ResetAfterAccept => Some(Verdict::AcceptThenReset),
                Kind::TimeoutAfterAccept { hold } => Some(Verdict::AcceptThenSilence(*hold)),
                _ => None,
            };
            if let Some(struck) = struck
                && struck.rank() > verdict.rank()
            {
                verdict = struck;
            }
        }
        Turn { number, delay, verdict }
    }

    /// What happens to a recipient of request `number`; `recipient` is its place in that request.
    pub(in crate::sandbox) fn recipient(&self, number: u64, recipient: u64) -> RecipientPlay<'_> {
        let mut play = RecipientPlay { bounce: None, deferred: false, reordered: false };
        for (index, fault) in self.plan.faults.iter().enumerate() {
            if !matches!(fault.kind, Kind::Bounce { .. } | Kind::Defer | Kind::WebhookReorder)
                || !self.strikes(index, fault, number, recipient)
            {
                continue;
            }
            match &fault.kind {
                Kind::Bounce { how, status } => play.bounce = Some((*how, status)),
                Kind::Defer => play.deferred = true,
                _ => play.reordered = true,
            }
        }
        play
    }

    /// What happens to an event of a recipient; `event` is its place among that recipient's events.
    pub(in crate::sandbox) fn event(&self, number: u64, recipient: u64, event: u64) -> EventPlay {
        let mut play = EventPlay { dropped: false, duplicated: false, delay: Duration::ZERO };
        for (index, fault) in self.plan.faults.iter().enumerate() {
            let is_event_fault =
                matches!(fault.kind, Kind::WebhookDuplicate | Kind::WebhookDrop | Kind::WebhookDelay { .. });
            // A recipient has at most four events: the two places never meet.
            if !is_event_fault || !self.strikes(index, fault, number, recipient * 8 + event) {
                continue;
            }
            match fault.kind {
                Kind::WebhookDelay { by } => play.delay += by,
                Kind::WebhookDrop => play.dropped = true,
                _ => play.duplicated = true,
            }
        }
        play
    }

    fn strikes(&self, index: usize, fault: &Fault, number: u64, place: u64) -> bool {
        fault.first.is_none_or(|first| number < first)
            && self.draw(index, number, place) % 1_000_000 < fault.rate.parts_per_million()
    }

    /// An evenly spread number for this fault, request and place.
    fn draw(&self, index: usize, number: u64, place: u64) -> u64 {
        [index as u64, number, place].into_iter().fold(mix(self.seed), |state, part| mix(state ^ mix(part)))
    }
}

impl Verdict {
    /// Of two that strike the same request the one that comes first on its way wins.
    fn rank(self) -> u8 {
        match self {
            Verdict::Accept => 0,
            Verdict::AcceptThenReset => 1,
            Verdict::AcceptThenSilence(_) => 2,
            Verdict::ServerError(_) => 3,
            Verdict::TooManyRequests(_) => 4,
            Verdict::Refuse(_) => 5,
            Verdict::Silence => 6,
            Verdict::Reset => 7,
        }
    }

    /// Whether a valid mail is taken.
    pub(in crate::sandbox) fn takes_mail(self) -> bool {
        matches!(self, Verdict::Accept | Verdict::AcceptThenReset | Verdict::AcceptThenSilence(_))
    }

    /// How long a silent verdict is silent.
    pub(in crate::sandbox) fn silence(self) -> Duration {
        match self {
            Verdict::AcceptThenSilence(hold) => hold,
            _ => SILENCE,
        }
    }
}

fn is_out(after: Duration, length: Option<Duration>, elapsed: Duration) -> bool {
    elapsed >= after && length.is_none_or(|length| elapsed < after + length)
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
