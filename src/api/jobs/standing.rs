//! The standing stop that comes or goes with a job.

use super::super::{Door, trouble};
use super::keep_until;
use crate::clock::Timestamp;
use crate::jobs::{Action, New};
use crate::journal::Kind;
use crate::server::problem::Problem;
use crate::stops::{KNOWN_WITHIN, MAX_STOPS, Stop, StopKind};

/// What the record shows where an operator gave no reason.
const NO_REASON: &str = "operator";

/// Sets or lifts it: durable when this returns. Once one is lifted, every worker knows it when this returns: what one
/// still holds in its name belongs to the release.
pub(super) async fn set_or_lift(door: &Door, new: &New, now: Timestamp) -> Result<(), Problem> {
    let Some(scope) = &new.scope else { return Ok(()) };
    let stops = &door.state.stops;
    let kind = match new.action {
        Action::Redrive => return Ok(()),
        Action::Release => {
            let lifted = stops.lift(StopKind::Hold, scope).await?;
            if !lifted.is_empty() {
                tokio::time::sleep(KNOWN_WITHIN).await;
            }
            return Ok(());
        }
        Action::Hold => StopKind::Hold,
        Action::Cancel => StopKind::Cancel,
    };
    stops.refresh().await?;
    let known = stops.known().unwrap_or_default();
    if known.len() >= MAX_STOPS {
        return Err(trouble::forbidden_now("1000 stops stand already; release some first: GET /v1/stops"));
    }
    let stop = Stop {
        id: uuid::Uuid::now_v7().to_string(),
        kind,
        scope: scope.clone(),
        who: new.who.clone(),
        reason: new.why.clone().unwrap_or_else(|| NO_REASON.to_owned()),
        since: now,
        accepted_before: (kind == StopKind::Cancel).then_some(now),
    };
    let is_for_a_while = kind == StopKind::Cancel || !scope.ids.is_empty();
    stops.set(&stop, is_for_a_while.then(|| keep_until(now))).await?;
    // The new one says all that these said, and concerns also what was released since.
    for former in known.iter().filter(|former| former.kind == kind && former.scope == *scope) {
        door.state.journal.delete(Kind::Stop, &former.id).await?;
    }
    Ok(())
}
