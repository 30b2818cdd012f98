//! The callbacks that an operator must know of: those that are told nothing.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::ApiState;
use crate::clock::Timestamp;
use crate::feed::callback::{self, CallbackState};

/// One callback that is told nothing right now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatusCallback)]
pub struct CallbackLine {
    /// Its id.
    pub id: String,
    /// Whose changes it is told.
    pub tenant: String,
    /// How it stands.
    pub state: CallbackState,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Why.
    #[schema(required = true)]
    pub note: Option<String>,
}

/// Every one; `None` when the journal did not answer.
pub(super) async fn read(state: &ApiState) -> Option<Vec<CallbackLine>> {
    let found = callback::list(&*state.journal, None).await;
    let found = found.inspect_err(|error| tracing::warn!(%error, "the callbacks cannot be read")).ok()?;
    let silent = found.into_iter().filter(|one| one.state != CallbackState::Active);
    let line = |one: callback::Callback| {
        let callback::Callback { id, tenant, state, since, note, .. } = one;
        CallbackLine { id, tenant, state, since, note }
    };
    Some(silent.map(line).collect())
}
