//! The parts of the answer that have words of their own.

use serde::Deserialize;

use super::super::when::{human, relative};
use crate::clock::Timestamp;
use crate::stops::Scope;

#[derive(Debug, Deserialize)]
pub(super) struct Stop {
    pub(super) kind: String,
    #[serde(default)]
    pub(super) scope: Scope,
    #[serde(default)]
    pub(super) who: String,
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) since: Timestamp,
}

impl Stop {
    pub(super) fn tell(&self, now: Timestamp) -> String {
        let Self { kind, scope, who, reason, since } = self;
        format!("{kind} of {scope} for {}, by {who}: {reason}", human(now.since(*since)))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Callback {
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) state: String,
    pub(super) since: Timestamp,
    pub(super) note: Option<String>,
}

impl Callback {
    pub(super) fn tell(&self, now: Timestamp) -> String {
        let Self { id, tenant, state, since, note } = self;
        let note = note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
        format!("{id} of {tenant} {state} for {}{note}", human(now.since(*since)))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Witness {
    pub(super) provider: String,
    pub(super) newest_event_at: Option<Timestamp>,
    pub(super) is_alive: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Provider {
    pub(super) name: String,
    pub(super) circuit: String,
    pub(super) since: Timestamp,
    pub(super) probe_at: Option<Timestamp>,
    pub(super) last_error: Option<String>,
}

/// Whether its silence means anything.
pub(super) fn tell_witness(witness: &Witness, now: Timestamp) -> String {
    let Witness { provider, newest_event_at, is_alive } = witness;
    let Some(at) = newest_event_at else {
        return format!("{provider}: none was ever heard, so that its silence says nothing");
    };
    let counts = if *is_alive { "" } else { ": too long ago for its silence to say anything" };
    format!("{provider}: the newest {}{counts}", relative(*at, now))
}

pub(super) fn tell_provider(provider: &Provider, now: Timestamp) -> String {
    let probe =
        provider.probe_at.map_or_else(String::new, |at| format!(", tried again {}", relative(at, now)));
    let error = provider.last_error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
    let (circuit, since) = (provider.circuit.replace('_', " "), human(now.since(provider.since)));
    format!("{}: circuit {circuit} for {since}{probe}{error}", provider.name)
}
