//! A parcel: events of one lane, as they are kept. Its body is a version, then the events as JSON, compressed: a post's
//! events repeat each other nearly word for word.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use bytes::Bytes;
use serde::Deserializer;
use serde::de::{SeqAccess, Visitor};

use crate::background::patiently;
use crate::clock::Timestamp;
use crate::provider::ProviderEvent;

/// Events in one parcel at most.
pub const MOST_EVENTS: usize = 500;
/// JSON in one parcel at most, unless one event alone has more: what cannot be compressed at all still fits SQS's
/// 1 MiB in base64.
const MOST_JSON_BYTES: usize = 640 * 1024;
/// What a body may be unpacked to: twice what is ever packed.
const MOST_UNPACKED_BYTES: u64 = 2 << 20;
/// Lanes of their own in one post; the smallest others share the lane "". A flood is never among the smallest.
const MOST_LANES: usize = 16;
/// Fast; higher levels save little on so few bytes.
const ZSTD_LEVEL: i32 = 1;
/// JSON of a list of events, zstd.
const VERSION: u8 = 1;

/// Events of one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Whose turn it takes. A tag of the tenant, "" where the events name none: for fairness alone.
    pub lane: String,
    /// When they came.
    pub received_at: Timestamp,
    /// How many.
    pub events: usize,
    /// Packed.
    pub body: Bytes,
}

/// A parcel's body is not one that this program writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the parcel cannot be read: {0}")]
pub struct Unreadable(pub String);

/// Packs events by their lanes, in their order.
pub fn pack(events: &[ProviderEvent], now: Timestamp) -> Vec<Parcel> {
    let mut lanes: BTreeMap<&str, Vec<&ProviderEvent>> = BTreeMap::new();
    for event in events {
        lanes.entry(event.lane.as_deref().unwrap_or_default()).or_default().push(event);
    }
    while lanes.len() > MOST_LANES {
        let named = lanes.iter().filter(|(lane, _)| !lane.is_empty());
        let Some(smallest) = named.min_by_key(|(_, events)| events.len()).map(|(lane, _)| *lane) else {
            break;
        };
        let few = lanes.remove(smallest).unwrap_or_default();
        lanes.entry("").or_default().extend(few);
    }
    lanes.into_iter().flat_map(|(lane, events)| pack_lane(lane, &events, now)).collect()
}

fn pack_lane(lane: &str, events: &[&ProviderEvent], now: Timestamp) -> Vec<Parcel> {
    let mut parcels = Vec::new();
    let (mut json, mut count) = (Vec::new(), 0);
    let seal = |json: &mut Vec<u8>, count: &mut usize| {
        json.push(b']');
        let body = compress(&std::mem::take(json));
        Parcel { lane: lane.to_owned(), received_at: now, events: std::mem::take(count), body }
    };
    for event in patiently(events) {
        let before = json.len();
        json.push(if count == 0 { b'[' } else { b',' });
        // Nothing in an event can refuse to be written; one that does is cut out rather than half written.
        if let Err(error) = serde_json::to_writer(&mut json, event) {
            tracing::error!(%error, "an event cannot be packed");
            json.truncate(before);
            continue;
        }
        if count > 0 && json.len() > MOST_JSON_BYTES {
            let last = json.split_off(before + 1);
            json.truncate(before);
            parcels.push(seal(&mut json, &mut count));
            json = [b"[".as_slice(), &last].concat();
        }
        count += 1;
        if count == MOST_EVENTS {
            parcels.push(seal(&mut json, &mut count));
        }
    }
    if count > 0 {
        parcels.push(seal(&mut json, &mut count));
    }
    parcels
}

impl Parcel {
    /// The events in it.
    pub fn open(&self) -> Result<Vec<ProviderEvent>, Unreadable> {
        let unreadable = |why: &dyn std::fmt::Display| Unreadable(why.to_string());
        let packed = match self.body.split_first() {
            Some((&VERSION, packed)) => packed,
            Some((version, _)) => return Err(Unreadable(format!("version {version} is not known here"))),
            None => return Err(Unreadable("it is empty".into())),
        };
        let mut json = Vec::new();
        let unpacked = zstd::stream::Decoder::new(packed).and_then(|decoder| {
            // Whoever may write to the queue could write a bomb.
            decoder.take(MOST_UNPACKED_BYTES + 1).read_to_end(&mut json)
        });
        unpacked.map_err(|error| unreadable(&error))?;
        if u64::try_from(json.len()).unwrap_or(u64::MAX) > MOST_UNPACKED_BYTES {
            return Err(Unreadable("it is too large".into()));
        }
        let mut reader = serde_json::Deserializer::from_slice(&json);
        let events = reader.deserialize_seq(Events).and_then(|events| reader.end().map(|()| events));
        // serde's words could repeat a piece of it.
        events.map_err(|error| Unreadable(format!("line {}, column {}", error.line(), error.column())))
    }
}

/// A list of events that is read patiently.
struct Events;

impl<'de> Visitor<'de> for Events {
    type Value = Vec<ProviderEvent>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        patiently(std::iter::from_fn(|| seq.next_element().transpose())).collect()
    }
}

fn compress(json: &[u8]) -> Bytes {
    let packed = zstd::bulk::compress(json, ZSTD_LEVEL).unwrap_or_default();
    let mut body = Vec::with_capacity(1 + packed.len());
    body.push(VERSION);
    body.extend(packed);
    body.into()
}
