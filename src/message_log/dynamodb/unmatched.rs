//! Events that match no notification: kept for a while, under the day they tell of, and recognised when repeated.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::DynamoLog;
use super::entry::pack;
use super::event::Heard;
use super::keys::{self, Key};
use super::row::{b, n, s};
use super::write::{Write, Written};
use crate::clock::Timestamp;
use crate::message_log::{LogError, Recorded};

/// For how long they are kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

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
    let written = log.writer.write(writes).await;
    let first = places.into_iter().zip(written).map(|((ix, key), written)| {
        let result = written.map(|written| match written {
            Written::Done => Recorded::Unmatched,
            Written::Refused(_) => Recorded::Repeat { tenant: None },
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

fn insert(log: &DynamoLog, heard: &Heard, key: &Key, now: Timestamp) -> Write {
    let event = &heard.event;
    let text = json!({
        "provider": event.provider,
        "id": event.id,
        "provider_message_id": event.provider_message_id,
        "event_id": event.event_id,
        "kind": event.kind,
        "at": event.at,
        "recipient": event.recipient,
        "machine": event.machine,
        "detail": event.detail,
    });
    let statement =
        format!("INSERT INTO \"{}\" VALUE {{'pk': ?, 'sk': ?, 'ev': ?, 'exp': ?}}", log.table.name);
    let parameters = vec![
        s(key.pk.as_str()),
        s(key.sk.as_str()),
        b(pack(text.to_string().as_bytes())),
        n(now.plus(KEPT).as_ms() / 1000),
    ];
    Write { key: key.clone(), statement, parameters }
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
            heard.recipient_key
        ]),
    };
    let hour = keys::hour(event.at);
    let day = hour.get(..8).unwrap_or(&hour);
    Key::new(format!("u#{day}"), keys::hex(&Sha256::digest(identity.to_string())))
}
