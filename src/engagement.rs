//! Which opens and clicks a person did, and which a machine: derived whenever a record is read, from its raw events and
//! the rules of the moment. Pure; nothing that is stored changes, so other rules tell another story of the same events.

mod file;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::message_log::RecordedEvent;
use crate::named::named;
use crate::provider::EventKind;
pub use file::{Fault, MAX_BYTES, MAX_ENTRIES, Rulebook};
pub use rules::{Networks, Rules};

/// So many opens and clicks of one recipient at once are no person's.
const BURST_OF_ANYTHING: usize = 3;
/// So many different links are not.
const BURST_OF_LINKS: usize = 2;

/// How an event is known to be a machine's. Where several hold, the first one here is told: the surest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MachineReason {
    /// The provider says so.
    ProviderFlag,
    /// It came from an excluded network.
    Network,
    /// Its user agent is an excluded one.
    UserAgent,
    /// It came from a data centre, before the mail was delivered or right after.
    DataCenter,
    /// It is one of several at once: faster than a person.
    Burst,
}

named! {
    /// Every one, the surest first.
    MachineReason {
        ProviderFlag: "provider_flag",
        Network: "network",
        UserAgent: "user_agent",
        DataCenter: "data_center",
        Burst: "burst",
    }
}

/// Who did what an event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It is neither an open nor a click; or it is, and the provider says that a machine did it all the same.
    Other(Option<MachineReason>),
    /// A person, as far as anything tells.
    Person,
    /// A machine.
    Machine(MachineReason),
}

impl Mark {
    /// Why it is a machine's; `None`: it is not.
    pub fn reason(self) -> Option<MachineReason> {
        match self {
            Mark::Machine(reason) => Some(reason),
            Mark::Other(reason) => reason,
            Mark::Person => None,
        }
    }
}

/// How many of a kind people did, and how many machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counted {
    /// By people.
    pub people: u64,
    /// By machines.
    pub machines: u64,
}

/// Opens and clicks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Engagement {
    /// How often images were loaded.
    pub opens: Counted,
    /// How often links were followed.
    pub clicks: Counted,
}

impl AddAssign for Engagement {
    fn add_assign(&mut self, other: Self) {
        for (sum, more) in [(&mut self.opens, other.opens), (&mut self.clicks, other.clicks)] {
            sum.people += more.people;
            sum.machines += more.machines;
        }
    }
}

impl Engagement {
    /// What these events, marked so, add up to.
    pub fn of(events: &[RecordedEvent], marks: &[Mark]) -> Self {
        let mut sum = Self::default();
        for (event, mark) in events.iter().zip(marks) {
            let counted = match event.kind {
                EventKind::Opened => &mut sum.opens,
                EventKind::Clicked => &mut sum.clicks,
                _ => continue,
            };
            match mark {
                Mark::Machine(_) => counted.machines += 1,
                Mark::Person => counted.people += 1,
                Mark::Other(_) => {}
            }
        }
        sum
    }
}

/// How many recipients did it at least once, as people do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reached {
    /// Opened the mail.
    pub opened: u64,
    /// Followed a link.
    pub clicked: u64,
}

impl AddAssign for Reached {
    fn add_assign(&mut self, other: Self) {
        self.opened += other.opened;
        self.clicked += other.clicked;
    }
}

impl Reached {
    /// Of one notification's recipients, by its events, marked so.
    pub fn of(events: &[RecordedEvent], marks: &[Mark]) -> Self {
        let who = |kind: EventKind| {
            let done = events.iter().zip(marks).filter(|(event, mark)| {
                event.kind == kind && **mark == Mark::Person && event.recipient.is_some()
            });
            let names = done.map(|(event, _)| event.recipient.as_ref().map(|address| address.canonical()));
            names.collect::<BTreeSet<_>>().len() as u64
        };
        Self { opened: who(EventKind::Opened), clicked: who(EventKind::Clicked) }
    }
}

/// One recipient's events; what names nobody is apart.
#[derive(Default)]
struct Person {
    deliveries: Vec<Timestamp>,
    /// Opens and clicks, by their place among the events.
    acts: Vec<usize>,
}

/// A mark for each event of one notification, in their order. That order, and how often this is asked, change nothing.
pub fn marks(events: &[RecordedEvent], rules: &Rules) -> Vec<Mark> {
    let mut people: BTreeMap<Option<String>, Person> = BTreeMap::new();
    for (ix, event) in events.iter().enumerate() {
        let name = event.recipient.as_ref().map(|address| address.canonical());
        let person = people.entry(name).or_default();
        match event.kind {
            EventKind::Delivered => person.deliveries.push(event.at),
            EventKind::Opened | EventKind::Clicked => person.acts.push(ix),
            _ => {}
        }
    }
    let flagged = |event: &RecordedEvent| event.machine.then_some(MachineReason::ProviderFlag);
    let mut marks: Vec<Mark> = events.iter().map(|event| Mark::Other(flagged(event))).collect();
    for person in people.values() {
        let bursts = bursts(events, &person.acts, rules);
        for (at, ix) in person.acts.iter().enumerate() {
            let event = &events[*ix];
            let alone = flagged(event).or_else(|| by_origin(event, &person.deliveries, rules));
            let reason = alone.or(bursts[at].then_some(MachineReason::Burst));
            marks[*ix] = reason.map_or(Mark::Person, Mark::Machine);
        }
    }
    marks
}

/// What its network and its program say.
fn by_origin(event: &RecordedEvent, deliveries: &[Timestamp], rules: &Rules) -> Option<MachineReason> {
    let address = rules::address(&event.detail);
    if address.is_some_and(|address| rules.networks.contain(address)) {
        return Some(MachineReason::Network);
    }
    if rules::user_agent(&event.detail).is_some_and(|agent| rules.excludes_agent(agent)) {
        return Some(MachineReason::UserAgent);
    }
    if !address.is_some_and(|address| rules.data_centers.contain(address)) {
        return None;
    }
    // Where no delivery was heard of yet, it comes before it.
    let first = deliveries.iter().min();
    let is_early = first.is_none_or(|first| event.at < *first)
        || deliveries.iter().any(|at| *at <= event.at && event.at <= at.plus(rules.after_delivery));
    is_early.then_some(MachineReason::DataCenter)
}

/// Which of these opens and clicks are part of a burst: of several links, or of many anythings, within its span.
/// Providers tell whole seconds, so both ends count.
fn bursts(events: &[RecordedEvent], acts: &[usize], rules: &Rules) -> Vec<bool> {
    let mut order: Vec<usize> = (0..acts.len()).collect();
    order.sort_by_key(|at| events[acts[*at]].at);
    let mut marked = vec![false; acts.len()];
    let event = |at: usize| &events[acts[order[at]]];
    // Up to where all is marked, so that a thousand at once are not marked a thousand times.
    let mut done = 0;
    let mut end = 0;
    for begin in 0..order.len() {
        let last = event(begin).at.plus(rules.burst);
        while end < order.len() && event(end).at <= last {
            end += 1;
        }
        if end - begin >= BURST_OF_ANYTHING || has_several_links((begin..end).map(event)) {
            for at in begin.max(done)..end {
                marked[order[at]] = true;
            }
            done = done.max(end);
        }
    }
    marked
}

fn has_several_links<'a>(events: impl Iterator<Item = &'a RecordedEvent>) -> bool {
    let clicks = events.filter(|event| event.kind == EventKind::Clicked);
    let mut links: Vec<&str> = clicks.filter_map(|event| rules::link(&event.detail)).collect();
    links.sort_unstable();
    links.dedup();
    links.len() >= BURST_OF_LINKS
}

#[cfg(test)]
#[path = "engagement_tests.rs"]
mod tests;
