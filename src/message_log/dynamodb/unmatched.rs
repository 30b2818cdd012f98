//! Events that match no notification: kept for a while, under the day they tell of, and recognised when repeated.

mod again;

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::DynamoLog;
use super::entry::pack;
use super::event::Heard;
use super::keys::{self, Key};
use super::row::{b, n, s};
use super::write::{Write, Written};
use crate::clock::Timestamp;
use crate::message_log::unmatched::{FIRST_LOOK, KEPT, to_text};
use crate::message_log::{LogError, Recorded};

/// The partition that names every day of which there may be some.
const DAYS_PARTITION: &str = "u#days";

/// What this process knows of them.
#[derive(Debug, Default)]
pub(super) struct Strays {
    /// Days that are registered.
    days: Mutex<HashSet<String>>,
    walk: tokio::sync::Mutex<again::Walk>,
    counted: Mutex<Option<(Instant, u64)>>,
}

impl Strays {
    fn knows(&self, day: &str) -> bool {
        self.days.lock().unwrap_or_else(PoisonError::into_inner).contains(day)
    }

    fn note(&self, day: &str) {
        self.days.lock().unwrap_or_else(PoisonError::into_inner).insert(day.to_owned());
    }
}

/// Keeps each that is not known yet; a result by its place.
pub(super) async fn keep(
    log: &DynamoLog,
    strays: &[(usize, &Heard)],
    now: Timestamp,
) -> Vec<(usize, Result<Recorded, LogError>)> {
    if strays.is_empty() {
        return Vec::new();
    }
    let keys: Vec<Key> = strays.iter().map(|(_, heard)| key(heard)).collect();
    let known = match log.table.get(keys.clone()).await {
        Ok(known) => known,
        Err(error) => return strays.iter().map(|(ix, _)| (*ix, Err(error.clone()))).collect(),
    };
    let mut seen: HashSet<&Key> = known.keys().collect();
    let mut results = Vec::with_capacity(strays.len());
    let (mut places, mut writes) = (Vec::new(), Vec::new());
    for ((ix, heard), key) in strays.iter().zip(&keys) {
        if seen.insert(key) {
            places.push((*ix, key));
            writes.push(insert(log, heard, key, now));
        } else {
            results.push((*ix, key, Ok(Recorded::Repeat { tenant: None })));
        }
    }
    if let Err(error) = register(log, &places, now).await {
        return strays.iter().map(|(ix, _)| (*ix, Err(error.clone()))).collect();
    }
    let written = log.writer.write(writes).await;
    let first = places.into_iter().zip(written).map(|((ix, key), written)| {
        let result = written.and_then(|written| match written {
            Written::Done => Ok(Recorded::Unmatched),
            Written::Refused(_) => Ok(Recorded::Repeat { tenant: None }),
            Written::TooLate => Err(LogError::Unavailable("it was too late to keep an event".into())),
        });
        (ix, key, result)
    });
    let first: Vec<_> = first.collect();
    // A repeat of what could not be written is not kept either.
    let failed = |key: &Key| {
        first.iter().find_map(|(_, of, result)| result.as_ref().err().filter(|_| *of == key).cloned())
    };
    let repeats = results.into_iter().map(|(ix, key, repeat)| (ix, failed(key).map_or(repeat, Err)));
    let repeats: Vec<_> = repeats.collect();
    repeats.into_iter().chain(first.into_iter().map(|(ix, _, result)| (ix, result))).collect()
}

/// The days go first: nothing lies where nobody looks.
async fn register(log: &DynamoLog, places: &[(usize, &Key)], now: Timestamp) -> Result<(), LogError> {
    let days: HashSet<&str> = places.iter().map(|(_, key)| day_of(key)).collect();
    let new: Vec<&str> = days.into_iter().filter(|day| !log.strays.knows(day)).collect();
    // Longer than anything of that day: the latest is kept for as long as the first.
    let expires = now.plus(KEPT).plus(KEPT).as_ms() / 1000;
    let item = |day: &&str| {
        let mut item = Key::new(DAYS_PARTITION, *day).attributes();
        item.insert("exp".to_owned(), AttributeValue::N(expires.to_string()));
        item
    };
    for (day, put) in new.iter().zip(log.writer.put(new.iter().map(item).collect()).await) {
        put?;
        log.strays.note(day);
    }
    Ok(())
}

fn day_of(key: &Key) -> &str {
    key.pk.strip_prefix("u#").unwrap_or(&key.pk)
}

fn insert(log: &DynamoLog, heard: &Heard, key: &Key, now: Timestamp) -> Write {
    let statement = format!(
        "INSERT INTO \"{}\" VALUE {{'pk': ?, 'sk': ?, 'ev': ?, 'at': ?, 'la': ?, 'exp': ?}}",
        log.table.name
    );
    let parameters = vec![
        s(key.pk.as_str()),
        s(key.sk.as_str()),
        b(pack(to_text(&heard.event).as_bytes())),
        n(now.as_ms()),
        n(now.plus(FIRST_LOOK).as_ms()),
        n(now.plus(KEPT).as_ms() / 1000),
    ];
    Write { key: key.clone(), statement, parameters, send_before: None }
}

/// What makes an unmatched event the same event: the provider's number, else what it says.
fn key(heard: &Heard) -> Key {
    let event = &heard.event;
    let identity = match &event.event_id {
        Some(event_id) => json!([event.provider, event_id]),
        None => json!([
            event.provider,
            event.id,
            event.provider_message_id,
            event.kind,
            event.at,
            heard.recipient_key,
            event.link(),
        ]),
    };
    let hour = keys::hour(event.at);
    let day = hour.get(..8).unwrap_or(&hour);
    Key::new(format!("u#{day}"), keys::hex(&Sha256::digest(identity.to_string())))
}
