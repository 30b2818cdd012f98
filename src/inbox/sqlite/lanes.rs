//! Whose turn it is: round-robin over the lanes, a parcel a turn, oldest first within a lane. Pure.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Config;
use super::{Depth, InboxError, Parcel, Receipt, Taken};
use crate::clock::Timestamp;

/// A parcel in the table.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) lane: String,
    pub(super) received_at: Timestamp,
    pub(super) events: usize,
    pub(super) bytes: u64,
    pub(super) tries: u32,
    /// Written by an earlier process.
    pub(super) is_left_behind: bool,
    /// Where memory has room for it.
    pub(super) body: Option<Bytes>,
    /// Held until the parcel is done: the last of an append to let go tells whoever appended.
    pub(super) folded: Option<Arc<oneshot::Sender<()>>>,
}

impl Head {
    pub(super) fn taken(self) -> Taken {
        let parcel = Parcel {
            lane: self.lane,
            received_at: self.received_at,
            events: self.events,
            body: self.body.unwrap_or_default(),
        };
        Taken { parcel, receipt: Receipt(self.seq.to_string()), tries: self.tries }
    }
}

/// What is known of a parcel while it is folded.
#[derive(Debug)]
struct Held {
    received_at: Timestamp,
    events: usize,
    bytes: u64,
    _folded: Option<Arc<oneshot::Sender<()>>>,
}

/// Every parcel in the table, and those on their way there.
#[derive(Debug)]
pub(super) struct Lanes {
    waiting: BTreeMap<String, VecDeque<Head>>,
    taken: HashMap<i64, Held>,
    /// The lane that was served last; the next turn begins behind it.
    served: String,
    next_seq: i64,
    parcels: usize,
    events: u64,
    bytes: u64,
    cached_bytes: u64,
}

impl Lanes {
    pub(super) fn of(left: Vec<Head>) -> Self {
        let mut lanes = Self {
            waiting: BTreeMap::new(),
            taken: HashMap::new(),
            served: String::new(),
            next_seq: 1,
            parcels: left.len(),
            events: 0,
            bytes: 0,
            cached_bytes: 0,
        };
        for head in left {
            lanes.next_seq = head.seq + 1;
            lanes.events += head.events as u64;
            lanes.bytes += head.bytes;
            lanes.waiting.entry(head.lane.clone()).or_default().push_back(head);
        }
        lanes
    }

    /// Room for these; their first number.
    pub(super) fn admit(&mut self, parcels: &[Parcel], config: &Config) -> Result<i64, InboxError> {
        let (events, bytes) = (events_in(parcels), bytes_in(parcels));
        let is_full = self.events + events > config.events_max
            || self.bytes + bytes > config.bytes_max
            || self.parcels + parcels.len() > config.parcels_max;
        // Whatever the bounds are, an empty inbox takes one post.
        if is_full && self.parcels > 0 {
            return Err(InboxError::Full(self.events));
        }
        self.parcels += parcels.len();
        self.events += events;
        self.bytes += bytes;
        let first = self.next_seq;
        self.next_seq += i64::try_from(parcels.len()).unwrap_or(0);
        Ok(first)
    }

    /// They are in the table and may be taken; or, without `folded`, they are not and the room is free again.
    pub(super) fn written(
        &mut self,
        first: i64,
        parcels: &[Parcel],
        folded: Option<oneshot::Sender<()>>,
        config: &Config,
    ) {
        let Some(folded) = folded.map(Arc::new) else {
            self.parcels -= parcels.len();
            self.events -= events_in(parcels);
            self.bytes -= bytes_in(parcels);
            return;
        };
        for (seq, parcel) in (first..).zip(parcels) {
            let bytes = parcel.body.len() as u64;
            let is_cached = self.cached_bytes + bytes <= config.cached_bytes_max;
            self.cached_bytes += if is_cached { bytes } else { 0 };
            self.waiting.entry(parcel.lane.clone()).or_default().push_back(Head {
                seq,
                lane: parcel.lane.clone(),
                received_at: parcel.received_at,
                events: parcel.events,
                bytes,
                tries: 0,
                is_left_behind: false,
                body: is_cached.then(|| parcel.body.clone()),
                folded: Some(folded.clone()),
            });
        }
    }

    /// One at the least, and no further one once they hold so many events.
    pub(super) fn take(&mut self, events: usize) -> Vec<Head> {
        let (mut heads, mut taken) = (Vec::new(), 0);
        while heads.is_empty() || taken < events {
            let Some(head) = self.next() else { break };
            taken += head.events;
            heads.push(head);
        }
        heads
    }

    fn next(&mut self) -> Option<Head> {
        let behind = (Bound::Excluded(self.served.as_str()), Bound::Unbounded);
        let lane =
            self.waiting.range::<str, _>(behind).next().or_else(|| self.waiting.iter().next())?.0.clone();
        let of_lane = self.waiting.get_mut(&lane)?;
        let head = of_lane.pop_front();
        if of_lane.is_empty() {
            self.waiting.remove(&lane);
        }
        self.served = lane;
        let head = head?;
        if let Some(body) = &head.body {
            self.cached_bytes -= body.len() as u64;
        }
        let held = Held {
            received_at: head.received_at,
            events: head.events,
            bytes: head.bytes,
            _folded: head.folded.clone(),
        };
        self.taken.insert(head.seq, held);
        Some(head)
    }

    /// They could not be handed out after all.
    pub(super) fn put_back(&mut self, heads: Vec<Head>) {
        for head in heads.into_iter().rev() {
            self.taken.remove(&head.seq);
            let head = Head { body: None, ..head };
            self.waiting.entry(head.lane.clone()).or_default().push_front(head);
        }
    }

    /// They are no more in the table.
    pub(super) fn done(&mut self, seqs: &[i64]) {
        for held in seqs.iter().filter_map(|seq| self.taken.remove(seq)) {
            self.parcels -= 1;
            self.events -= held.events as u64;
            self.bytes -= held.bytes;
        }
    }

    pub(super) fn depth(&self) -> Depth {
        let waiting = self.waiting.values().filter_map(|lane| lane.front()).map(|head| head.received_at);
        let taken = self.taken.values().map(|held| held.received_at);
        Depth { parcels: self.parcels as u64, events: Some(self.events), oldest: waiting.chain(taken).min() }
    }
}

fn events_in(parcels: &[Parcel]) -> u64 {
    parcels.iter().map(|parcel| parcel.events as u64).sum()
}

fn bytes_in(parcels: &[Parcel]) -> u64 {
    parcels.iter().map(|parcel| parcel.body.len() as u64).sum()
}
