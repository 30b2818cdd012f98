//! Events: matched, recognised when repeated, kept, and taken as evidence. Recipients are folded when a record is read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::future::join_all;
use metrics::counter;
use rand::RngExt;

use super::entry::KEPT_LONGER;
use super::events_item::{self, EventsItem, KeptEvent};
use super::keys::{self, Item, Key};
use super::matching::{self, Match};
use super::row::{self, Row, WriteId};
use super::told::{History, Tenants};
use super::write::Written;
use super::{DynamoLog, unmatched, witness};
use crate::clock::Timestamp;
use crate::message_log::matched::MARK;
use crate::message_log::{Applied, LogError, MessageLog, Recorded};
use crate::metrics::EVENTS_LEFT_OUT_TOTAL;
use crate::notification::NotificationId;
use crate::notification::status::{Fact, Life, State, Status};
use crate::provider::ProviderEvent;

/// How often an item that others write too is tried: each time one of them gets on.
const ROUNDS: u32 = 16;

/// An item holds this many bytes of events, compressed: thousands. Above it only what changes a recipient is kept; a
/// robot that opens a mail again and again must not fill the item (400 KB).
const MOST_BYTES: usize = 250_000;

/// An event as it is looked for.
pub(super) struct Heard {
    pub(super) event: ProviderEvent,
    pub(super) recipient_key: Option<String>,
}

impl Heard {
    fn of(event: &ProviderEvent) -> Self {
        let mut event = event.clone();
        // Asynchronous bounces come with empty ids.
        event.provider_message_id = event.provider_message_id.filter(|id| !id.is_empty());
        event.event_id = event.event_id.filter(|id| !id.is_empty());
        Self { recipient_key: event.recipient.as_ref().map(keys::recipient_key), event }
    }
}

pub(super) async fn record(
    log: &DynamoLog,
    events: &[ProviderEvent],
    now: Timestamp,
) -> Vec<Result<Recorded, LogError>> {
    let mut heard: Vec<Heard> = events.iter().map(Heard::of).collect();
    let found = matching::find(&log.table, &heard, now).await;
    for (heard, found) in heard.iter_mut().zip(&found) {
        if let Ok(Some(Match { mark: Some(mark), .. })) = found {
            heard.event.detail.insert(MARK.into(), mark.clone());
        }
    }
    let mut recorded: Vec<Result<Recorded, LogError>> = Vec::with_capacity(heard.len());
    let (mut matched, mut strays) = (Vec::new(), Vec::new());
    for (ix, (heard, found)) in heard.iter().zip(found).enumerate() {
        recorded.push(Ok(Recorded::Unmatched));
        match found {
            Ok(Some(Match { row, .. })) => matched.push(Matched { ix, heard, row }),
            Ok(None) => strays.push((ix, heard)),
            Err(error) => recorded[ix] = Err(error),
        }
    }
    let (folded, kept) = futures::join!(fold(log, matched, now), unmatched::keep(log, &strays, now));
    for (ix, result) in folded.into_iter().chain(kept) {
        recorded[ix] = result;
    }
    // Last: silence is evidence only after everything that it covers is folded, or will never be.
    if recorded.iter().all(|one| matches!(one, Ok(_) | Err(LogError::Corrupt(_)))) {
        witness::hear(log, &heard, now).await;
    }
    recorded
}

/// An event, its place in the call, and the row it is about.
struct Matched<'a> {
    ix: usize,
    heard: &'a Heard,
    row: Row,
}

type Results = HashMap<usize, Result<Recorded, LogError>>;

/// Keeps each, and takes it as evidence. The evidence goes first: were the event kept before, a crash between the two
/// would make a repeat of the only proof.
async fn fold(log: &DynamoLog, matched: Vec<Matched<'_>>, now: Timestamp) -> Results {
    let mut slots: BTreeMap<Key, Vec<&Matched<'_>>> = BTreeMap::new();
    for one in &matched {
        let key = keys::events_key(one.row.id, one.heard.recipient_key.as_deref());
        slots.entry(key).or_default().push(one);
    }
    let wanted: Vec<Key> = slots.keys().cloned().collect();
    let (items, tenants) = match futures::try_join!(log.table.get(wanted), log.teller.tenants()) {
        Ok(read) => read,
        Err(error) => return matched.iter().map(|one| (one.ix, Err(error.clone()))).collect(),
    };
    let slots: Vec<Slot<'_>> =
        slots.into_iter().map(|(key, events)| Slot::new(items.get(&key), key, events)).collect();
    let fresh: Vec<usize> = slots.iter().flat_map(Slot::fresh).collect();
    let evidence = settle(log, &matched, &fresh, now).await;
    let expires = now.plus(log.retention).plus(KEPT_LONGER);
    let tenants = tenants.as_ref();
    let kept = join_all(slots.into_iter().map(|slot| slot.keep(log, &evidence, tenants, expires))).await;
    kept.into_iter().flatten().collect()
}

/// What the evidence of each event settled: the status before; by the event's place.
type Evidence = HashMap<usize, Result<Option<Status>, LogError>>;

/// Lets the rows know of every acceptance that is proved and not known.
async fn settle(log: &DynamoLog, matched: &[Matched<'_>], fresh: &[usize], now: Timestamp) -> Evidence {
    let mut lives: HashMap<NotificationId, Life> = HashMap::new();
    let (mut places, mut facts) = (Vec::new(), Vec::new());
    for one in matched.iter().filter(|one| fresh.contains(&one.ix)) {
        let event = &one.heard.event;
        let life = lives.entry(one.row.id).or_insert_with(|| one.row.life.clone());
        // Where the acceptance is known, with its id, an event has nothing to add.
        let known = life.state == State::Sent && life.provider_message_id.is_some();
        if known || !event.kind.proves_acceptance() {
            continue;
        }
        let fact = Fact::Accepted {
            provider: event.provider.clone(),
            message_id: event.provider_message_id.clone(),
            http_status: None,
        };
        if let Ok(after) = life.after(&fact, now)
            && after != *life
        {
            *life = after;
            places.push(one);
            facts.push((one.row.id, fact));
        }
    }
    if facts.is_empty() {
        return Evidence::new();
    }
    let mut evidence = Evidence::new();
    let mut failed: HashMap<NotificationId, LogError> = HashMap::new();
    for (one, applied) in places.into_iter().zip(log.apply(&facts, now).await) {
        let settled = match applied {
            Ok(Applied::Done { before, .. }) => Ok(Some(before).filter(|before| *before != Status::Sent)),
            Ok(Applied::Refused(_) | Applied::Absent) => Ok(None),
            Err(error) => Err(error),
        };
        if let Err(error) = &settled {
            failed.insert(one.row.id, error.clone());
        }
        evidence.insert(one.ix, settled);
    }
    // What rests on evidence that could not be written is not kept either: the provider tells it again.
    for one in matched {
        if let Some(error) = failed.get(&one.row.id) {
            evidence.insert(one.ix, Err(error.clone()));
        }
    }
    evidence
}

/// The events item of one or few recipients, and what is to go into it.
struct Slot<'a> {
    key: Key,
    events: Vec<&'a Matched<'a>>,
    stored: Result<Stored, LogError>,
}

/// An events item as it was read.
#[derive(Clone, Default)]
struct Stored {
    version: Option<u64>,
    kept: Vec<KeptEvent>,
    history: History,
}

impl<'a> Slot<'a> {
    fn new(item: Option<&Item>, key: Key, events: Vec<&'a Matched<'a>>) -> Self {
        Self { key, events, stored: Self::stored(item) }
    }

    fn stored(item: Option<&Item>) -> Result<Stored, LogError> {
        let Some(item) = item else { return Ok(Stored::default()) };
        let (version, history) = (events_item::version(item), History::read(item));
        Ok(Stored { version, kept: events_item::read(item)?, history })
    }

    /// The places of those that are no repeats.
    fn fresh(&self) -> Vec<usize> {
        let Ok(Stored { kept, .. }) = &self.stored else { return Vec::new() };
        let mut kept = kept.clone();
        self.add_to(&mut kept, |_| true)
    }

    /// Adds those that are no repeats and that `is_wanted`; their places.
    fn add_to(&self, kept: &mut Vec<KeptEvent>, is_wanted: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut added = Vec::new();
        for one in self.events.iter().filter(|one| is_wanted(one.ix)) {
            let event = KeptEvent::of(&one.heard.event);
            if !kept.iter().any(|known| event.is_repeat_of(known)) {
                kept.push(event);
                added.push(one.ix);
            }
        }
        added
    }

    /// Writes what is new, however often others write the same item meanwhile.
    async fn keep(
        mut self,
        log: &DynamoLog,
        evidence: &Evidence,
        tenants: Option<&Tenants>,
        expires: Timestamp,
    ) -> Results {
        let Some(row) = self.events.first().map(|one| &one.row) else { return Results::new() };
        let is_kept = |ix| !matches!(evidence.get(&ix), Some(Err(_)));
        for round in 0..ROUNDS {
            if round > 0 {
                super::table::pause(round.min(4)).await;
            }
            let Stored { version, kept: before, history } = match &self.stored {
                Ok(stored) => stored.clone(),
                Err(error) => return self.all_failed(error),
            };
            let mut kept = before.clone();
            let mut added = self.add_to(&mut kept, is_kept);
            if events_item::packed(&before).len() > MOST_BYTES {
                self.leave_out_minor(&mut kept, &mut added);
            }
            if added.is_empty() {
                return self.results(&added, evidence);
            }
            let write_id: WriteId = rand::rng().random();
            let told = log.tell_recipients(row, (&history, write_id), tenants, (&before, &kept)).await;
            let notes = match told {
                Ok(notes) => notes,
                Err(error) => return self.all_failed(&error),
            };
            let list = events_item::packed(&kept);
            let item = EventsItem { key: &self.key, version, write_id, list, expires, notes: &notes };
            let written = log.writer.write(vec![events_item::write(&log.table, item)]).await.pop();
            let now = match written {
                Some(Ok(Written::Done)) => {
                    log.repeat_late_notes(notes).await;
                    return self.results(&added, evidence);
                }
                Some(Ok(Written::TooLate)) => continue,
                Some(Ok(Written::Refused(Some(item)))) => Ok(Some(item)),
                Some(Ok(Written::Refused(None))) => {
                    let found = log.table.get([self.key.clone()]).await;
                    found.map(|mut found| found.remove(&self.key))
                }
                Some(Err(error)) => {
                    log.repeat_late_notes(notes).await;
                    return self.all_failed(&error);
                }
                None => Err(LogError::Unavailable("a write came to no answer".into())),
            };
            match now {
                // Ours: the answer was lost on the way.
                Ok(Some(item)) if row::bytes(&item, "w") == Some(write_id) => {
                    log.repeat_late_notes(notes).await;
                    return self.results(&added, evidence);
                }
                Ok(item) => self.stored = Self::stored(item.as_ref()),
                Err(error) => return self.all_failed(&error),
            }
        }
        self.all_failed(&LogError::Unavailable("many write the same events at once".into()))
    }

    /// A full item takes only what changes a recipient.
    fn leave_out_minor(&self, kept: &mut Vec<KeptEvent>, added: &mut Vec<usize>) {
        let known = kept.len() - added.len();
        let is_minor = |event: &KeptEvent| event.kind().recipient_status().is_none();
        let minor: Vec<bool> = kept.iter().skip(known).map(is_minor).collect();
        let mut place = minor.iter();
        added.retain(|_| !place.next().copied().unwrap_or(false));
        let left_out = minor.iter().filter(|is_minor| **is_minor).count();
        counter!(EVENTS_LEFT_OUT_TOTAL).increment(u64::try_from(left_out).unwrap_or(0));
        let mut place = 0;
        kept.retain(|event| {
            place += 1;
            place <= known || !is_minor(event)
        });
    }

    fn results(&self, added: &[usize], evidence: &Evidence) -> Results {
        let result = |one: &&Matched<'_>| {
            let result = match evidence.get(&one.ix) {
                Some(Err(error)) => Err(error.clone()),
                Some(Ok(settled)) if settled.is_some() => Ok(one.folded(*settled)),
                _ if added.contains(&one.ix) => Ok(one.folded(None)),
                _ => Ok(Recorded::Repeat { tenant: Some(one.tenant()) }),
            };
            (one.ix, result)
        };
        self.events.iter().map(result).collect()
    }

    fn all_failed(&self, error: &LogError) -> Results {
        self.events.iter().map(|one| (one.ix, Err(error.clone()))).collect()
    }
}

impl Matched<'_> {
    fn folded(&self, settled: Option<Status>) -> Recorded {
        Recorded::Folded { tenant: self.tenant(), settled, ready_at: self.row.life.ready_at() }
    }

    fn tenant(&self) -> Arc<str> {
        self.row.tenant.as_str().into()
    }
}
