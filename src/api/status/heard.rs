//! Whether the providers are heard: the newest event of each, and what was sent and not heard of.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::ApiState;
use crate::api::unconfirmed::UnconfirmedCounts;
use crate::clock::Timestamp;
use crate::unconfirmed;

/// The newest event of a provider: whether its silence means anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatusWitness)]
pub struct WitnessView {
    /// The provider.
    pub provider: String,
    /// When its newest event happened; null: none was ever heard.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub newest_event_at: Option<Timestamp>,
    /// How long ago that is, in whole seconds.
    #[schema(required = true)]
    pub age_seconds: Option<u64>,
    /// Whether it counts as a witness now: an unknown outcome whose hold ends at this moment would be sent again, as the
    /// provider was heard of for long enough after it and did not speak of it. Without one it waits on.
    pub is_alive: bool,
}

/// Every configured provider's; `None`: the log does not answer.
pub(super) async fn witnesses(state: &ApiState, now: Timestamp) -> Option<Vec<WitnessView>> {
    let mut views = Vec::with_capacity(state.config.providers.len());
    for provider in &state.config.providers {
        let newest = state.log.witness(provider).await.ok()?;
        let age = newest.map(|at| now.since(at));
        views.push(WitnessView {
            provider: provider.clone(),
            newest_event_at: newest,
            age_seconds: age.map(|age| age.as_secs()),
            is_alive: age.is_some_and(|age| age <= state.config.witness_lasts),
        });
    }
    Some(views)
}

/// What was sent and not heard of; `None`: the journal does not answer.
pub(super) async fn unconfirmed(state: &ApiState) -> Option<UnconfirmedCounts> {
    unconfirmed::stand(&*state.journal).await.ok().map(|stand| (&stand).into())
}
