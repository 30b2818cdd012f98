//! The newest event time heard from each provider.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::error::ProvideErrorMetadata;

use super::DynamoLog;
use super::event::Heard;
use super::keys::Key;
use super::matching::FUTURE_ALLOWED;
use super::row::{n, number};
use crate::clock::Timestamp;
use crate::message_log::LogError;

/// Written only when it moves by this much: events come many to a second.
const STEP: Duration = Duration::from_secs(1);

/// What this process knows to be written, by provider.
#[derive(Debug, Default)]
pub(super) struct Witnesses(Mutex<HashMap<String, Timestamp>>);

impl Witnesses {
    fn written(&self, provider: &str) -> Option<Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(provider).copied()
    }

    fn note(&self, provider: &str, at: Timestamp) {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = written.entry(provider.to_owned()).or_insert(at);
        *known = at.max(*known);
    }
}

fn key(provider: &str) -> Key {
    Key::new(format!("w#{provider}"), "w")
}

/// Moves the witnesses to the newest of these events. What claims to come from later than now says nothing about now.
pub(super) async fn hear(log: &DynamoLog, heard: &[Heard], now: Timestamp) {
    let mut newest: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for event in heard.iter().map(|heard| &heard.event).filter(|event| event.at <= now.plus(FUTURE_ALLOWED)) {
        let at = newest.entry(&event.provider).or_default();
        *at = event.at.max(*at);
    }
    for (provider, at) in newest {
        let known = log.witnesses.written(provider);
        if known.is_none_or(|known| at.since(known) >= STEP)
            && let Err(error) = forward(log, provider, at).await
        {
            // Silence proves less than it could; the next event says more.
            tracing::debug!(%error, "the witness was not moved");
        }
    }
}

async fn forward(log: &DynamoLog, provider: &str, at: Timestamp) -> Result<(), LogError> {
    if let Some(stored) = read(log, provider).await?
        && at.since(stored) < STEP
    {
        log.witnesses.note(provider, stored);
        return Ok(());
    }
    let moved = log
        .table
        .client
        .update_item()
        .table_name(log.table.name.as_ref())
        .set_key(Some(key(provider).attributes()))
        .update_expression("SET #at = :at")
        .condition_expression("attribute_not_exists(#at) OR #at < :at")
        .expression_attribute_names("#at", "at")
        .expression_attribute_values(":at", n(at.as_ms()))
        .send()
        .await;
    match moved {
        Ok(_) => log.witnesses.note(provider, at),
        // Another heard of a later one.
        Err(error)
            if error.as_service_error().and_then(ProvideErrorMetadata::code)
                == Some("ConditionalCheckFailedException") => {}
        Err(error) => return Err(log.table.failed(&error)),
    }
    Ok(())
}

pub(super) async fn read(log: &DynamoLog, provider: &str) -> Result<Option<Timestamp>, LogError> {
    let found = log.table.get([key(provider)]).await?;
    Ok(found.get(&key(provider)).and_then(|item| number(item, "at")).map(Timestamp::from_ms))
}
