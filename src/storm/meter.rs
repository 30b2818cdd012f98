//! How many each tenant hands in, and how many it usually does. Every process measures what came through its own door.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Timestamp};
use crate::journal::{self, Journal, JournalError, Kind};
use crate::notification::NotificationId;

/// Seconds that are counted together, and how many of these make a minute.
const SLOT_SECONDS: i64 = 5;
const SLOTS: usize = 12;
/// What a minute above the usual teaches; and one that is unusual, so that a storm does not soon pass for usual.
const LESSON: f64 = 0.3;
const LESSON_IN_A_STORM: f64 = 0.02;
/// What was learnt halves in this time.
const HALF_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// For how long it is kept.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);
/// It is written down when it changed by more than this share.
const NEWS: f64 = 0.2;
/// A tenant that was silent for this long is not watched until it comes again.
const SILENCE_MINUTES: i64 = 60;
/// Tenants watched at once, and how many are read or written at once.
const MOST_TENANTS: usize = 10_000;
const AT_ONCE: usize = 100;

/// A tenant that hands in far more than usual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusual {
    /// Who.
    pub tenant: String,
    /// How many came in the last minute.
    pub per_minute: u64,
    /// How many come in its busier minutes.
    pub usual_per_minute: u64,
}

/// What is usual for a tenant: the rate of its busier minutes, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Usual {
    tenant: String,
    per_minute: f64,
    at: Timestamp,
}

impl Usual {
    /// What is left of it at `now`. Pure.
    fn faded(&self, now: Timestamp) -> f64 {
        let halvings = now.since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.per_minute * 0.5_f64.powf(halvings)
    }
}

/// What is usual after a minute in which `count` came. Pure.
fn learn(usual: f64, count: u64, is_unusual: bool) -> f64 {
    let share = if is_unusual { LESSON_IN_A_STORM } else { LESSON };
    share.mul_add((count as f64 - usual).max(0.0), usual)
}

/// What one tenant hands in.
#[derive(Debug, Default)]
struct Flow {
    slots: [u64; SLOTS],
    /// The number of the latest slot since the epoch.
    latest: i64,
    /// The minute since the epoch that is being counted.
    minute: i64,
    in_minute: u64,
    /// `None` until the journal was read.
    usual: Option<Usual>,
    /// What the journal has.
    written: f64,
    /// It was told that this tenant is unusual.
    is_told: bool,
}

impl Flow {
    fn turn(&mut self, now: Timestamp) {
        let slot = now.as_ms() / 1000 / SLOT_SECONDS;
        let passed = slot.saturating_sub(self.latest).clamp(0, SLOTS as i64);
        for old in 0..passed {
            self.slots[Self::place(slot - old)] = 0;
        }
        self.latest = self.latest.max(slot);
    }

    fn place(slot: i64) -> usize {
        usize::try_from(slot.rem_euclid(SLOTS as i64)).unwrap_or(0)
    }

    fn add(&mut self, count: u64, now: Timestamp) {
        self.turn(now);
        if self.in_minute == 0 {
            self.minute = minute_of(now);
        }
        self.slots[Self::place(self.latest)] += count;
        self.in_minute += count;
    }

    fn per_minute(&mut self, now: Timestamp) -> u64 {
        self.turn(now);
        self.slots.iter().sum()
    }
}

/// The meter of one process. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct Meter {
    journal: Arc<dyn Journal>,
    clock: Clock,
    factor: f64,
    floor: u64,
    flows: Arc<Mutex<HashMap<String, Flow>>>,
}

impl Meter {
    /// A meter that has counted nothing. A tenant is unusual above `floor` a minute and `factor` times its usual rate.
    pub fn new(journal: Arc<dyn Journal>, clock: Clock, factor: u32, floor: u32) -> Self {
        Self { journal, clock, factor: factor.into(), floor: floor.into(), flows: Arc::default() }
    }

    /// So many were accepted of this tenant.
    pub fn count(&self, tenant: &str, count: u64) {
        let now = self.clock.now();
        let mut flows = self.lock();
        if let Some(flow) = flows.get_mut(tenant) {
            flow.add(count, now);
        } else if flows.len() < MOST_TENANTS {
            let mut flow = Flow::default();
            flow.add(count, now);
            flows.insert(tenant.to_owned(), flow);
        }
    }

    /// Those that hand in far more than usual now, the most first.
    pub fn unusual(&self, now: Timestamp) -> Vec<Unusual> {
        let mut flows = self.lock();
        let mut found: Vec<_> =
            flows.iter_mut().filter_map(|(tenant, flow)| self.judge(tenant, flow, now)).collect();
        found.sort_by_key(|unusual| std::cmp::Reverse(unusual.per_minute));
        found
    }

    fn judge(&self, tenant: &str, flow: &mut Flow, now: Timestamp) -> Option<Unusual> {
        let usual = flow.usual.as_ref()?.faded(now);
        let per_minute = flow.per_minute(now);
        self.is_unusual(per_minute, usual).then(|| Unusual {
            tenant: tenant.to_owned(),
            per_minute,
            usual_per_minute: usual.round() as u64,
        })
    }

    fn is_unusual(&self, per_minute: u64, usual: f64) -> bool {
        per_minute > self.floor && per_minute as f64 > self.factor * usual
    }

    /// Those that have become unusual since they were last told. Told again only after their rate has halved.
    pub(super) fn newly_unusual(&self, now: Timestamp) -> Vec<Unusual> {
        let mut flows = self.lock();
        let mut found = Vec::new();
        for (tenant, flow) in flows.iter_mut() {
            let Some(usual) = flow.usual.as_ref().map(|usual| usual.faded(now)) else { continue };
            let per_minute = flow.per_minute(now);
            if !self.is_unusual(per_minute.saturating_mul(2), usual) {
                flow.is_told = false;
            }
            if let Some(unusual) = self.judge(tenant, flow, now).filter(|_| !flow.is_told) {
                flow.is_told = true;
                found.push(unusual);
            }
        }
        found
    }

    /// Has it told again: what followed from it could not be done.
    pub(super) fn arm(&self, tenant: &str) {
        if let Some(flow) = self.lock().get_mut(tenant) {
            flow.is_told = false;
        }
    }

    /// Learns from the minutes that are over, reads what is known of new tenants, and writes down what is news.
    pub(super) async fn learn(&self) -> Result<(), JournalError> {
        let now = self.clock.now();
        let (unread, news) = self.turn(now);
        for tenant in unread {
            let found = self.journal.get(Kind::Usual, &key(&tenant)).await?;
            let found = found.map(|document| document.read::<Usual>()).transpose()?;
            if let Some(flow) = self.lock().get_mut(&tenant) {
                flow.written = found.as_ref().map_or(0.0, |usual| usual.per_minute);
                flow.usual = Some(found.unwrap_or(Usual { tenant, per_minute: 0.0, at: now }));
            }
        }
        for usual in news {
            let (own, keep_until) = (&usual, Some(now.plus(KEPT)));
            journal::change(&*self.journal, Kind::Usual, &key(&usual.tenant), keep_until, |found| {
                // Another process may have learnt more.
                let known = found.filter(|known: &Usual| known.faded(now) > own.per_minute);
                (known.is_none().then(|| own.clone()), ())
            })
            .await?;
            if let Some(flow) = self.lock().get_mut(&usual.tenant) {
                flow.written = usual.per_minute;
            }
        }
        Ok(())
    }

    /// Ends the minutes that are over: tenants not read yet, and what is to be written.
    fn turn(&self, now: Timestamp) -> (Vec<String>, Vec<Usual>) {
        let minute = minute_of(now);
        let (mut unread, mut news) = (Vec::new(), Vec::new());
        self.lock().retain(|tenant, flow| {
            let Some(usual) = &mut flow.usual else {
                if unread.len() < AT_ONCE {
                    unread.push(tenant.clone());
                }
                return true;
            };
            if flow.minute < minute && flow.in_minute > 0 {
                let faded = usual.faded(now);
                usual.per_minute = learn(faded, flow.in_minute, self.is_unusual(flow.in_minute, faded));
                usual.at = now;
                (flow.minute, flow.in_minute) = (minute, 0);
            }
            let is_news = (usual.per_minute - flow.written).abs() > NEWS * flow.written.max(1.0);
            if is_news && news.len() < AT_ONCE {
                news.push(usual.clone());
            }
            is_news || minute - flow.minute < SILENCE_MINUTES
        });
        (unread, news)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Flow>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn minute_of(now: Timestamp) -> i64 {
    now.as_ms() / 60_000
}

fn key(tenant: &str) -> String {
    NotificationId::derived(tenant, "usual").to_string()
}

#[cfg(test)]
#[path = "meter_tests.rs"]
mod tests;
