//! One attempt: whether it may be, asked right before its bytes, and what it came to.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use super::Hands;
use super::lanes::Permit;
use super::retry::Failed;
use super::settle::Finished;
use super::suppress::{Refused, leave_out};
use crate::clock::Timestamp;
use crate::message_log::Claimed;
use crate::metrics::{ATTEMPTS_TOTAL, UNKNOWN_TOTAL};
use crate::notification::status::{Fact, Life, Token};
use crate::notification::{Notification, NotificationId, content};
use crate::provider::{Handover, SendError, SendErrorClass};
use crate::queue::Delivery;
use crate::stops::{Candidate, Stop, StopKind};
use crate::storm::{self, Asked, Reason, Ticket, Verdict};
use crate::suppression::guard::LeftOut;

/// A won claim with everything that its attempt needs.
pub struct Won {
    /// To be settled.
    pub delivery: Delivery,
    /// The right to one attempt.
    pub permit: Permit,
    /// What was won.
    pub claimed: Claimed,
    /// Names the claim.
    pub token: Token,
    /// Boot time just before the claim was asked for: the lease cannot have begun earlier.
    pub claimed_at: Duration,
    /// Until it was judged; none where it was judged before.
    pub ticket: Option<Ticket>,
}

/// What became of a won claim.
enum Ended {
    /// The provider was asked.
    Asked(Result<Handover, SendError>),
    /// Not a byte was sent.
    Kept(Kept),
}

/// Why not a byte was sent.
enum Kept {
    /// It was claimed too long ago to send safely.
    Late,
    /// Its provider is held: another one may take it.
    ProviderHeld,
    /// It is held or cancelled.
    Stopped(Box<Stop>),
    /// It looks like a mistake.
    Guarded(Reason),
    /// Everybody it is for is on the suppression list: the reason's code.
    Suppressed(String),
    /// It could not be found out whether it may go.
    Unjudged,
}

impl Kept {
    fn facts(self, token: Token, trouble_wait: Duration, now: Timestamp) -> Vec<Fact> {
        let put_back = |due_at| Fact::PutBack { token, due_at };
        match self {
            Kept::Late | Kept::ProviderHeld => vec![put_back(now)],
            Kept::Unjudged => vec![put_back(now.plus(trouble_wait))],
            Kept::Guarded(reason) => vec![put_back(now), Fact::Held { by: reason.by() }],
            Kept::Suppressed(reason) => vec![put_back(now), Fact::Suppressed { reason }],
            Kept::Stopped(stop) => {
                let by = stop.by();
                let end = match stop.kind {
                    StopKind::Hold => Fact::Held { by },
                    StopKind::Cancel => Fact::Cancelled { by },
                };
                vec![put_back(now), end]
            }
        }
    }
}

/// What an attempt is judged by.
struct Asking {
    id: NotificationId,
    life: Life,
    provider: String,
    claimed_at: Duration,
    ticket: Option<Ticket>,
}

/// Sends what was won, unless it may not be sent any more. A panic inside is one failed attempt with an unknown outcome.
pub async fn send(hands: Arc<Hands>, won: Won) {
    let Won { delivery, permit, claimed, token, claimed_at, ticket } = won;
    let Claimed { life, content, .. } = claimed;
    let (id, provider) = (delivery.id, permit.provider().clone());
    let name = provider.name().to_owned();
    let asking = Asking { id, life: life.clone(), provider: name.clone(), claimed_at, ticket };
    let judge = hands.clone();
    let attempt = async move {
        let mut notification = match content::decode(&content) {
            Ok(notification) => notification,
            Err(error) => return Ended::Asked(Err(unreadable(&error))),
        };
        drop(content);
        match judge.permit(asking, &notification).await {
            Err(kept) => Ended::Kept(kept),
            Ok(left_out) => {
                leave_out(&mut notification, &left_out);
                Ended::Asked(provider.send(id, &notification).await)
            }
        }
    };
    // A panic in it is an outcome like any other.
    let attempt = AssertUnwindSafe(attempt).catch_unwind();
    let ended = attempt.await.unwrap_or_else(|_panicked| Ended::Asked(Err(panicked())));
    let now = hands.clock.now();
    let (facts, sent_by) = match ended {
        Ended::Kept(kept) => (kept.facts(token, hands.config.trouble_wait, now), None),
        Ended::Asked(outcome) => {
            let sent_by = outcome.is_ok().then(|| name.clone());
            (heard(&hands, &permit, &outcome, (id, &life, token), now), sent_by)
        }
    };
    drop(permit);
    hands.conclude(Finished { delivery, facts, sent_by }).await;
}

impl Hands {
    /// Whether it may be sent now, and to whom not.
    async fn permit(&self, mut asking: Asking, notification: &Notification) -> Result<Vec<LeftOut>, Kept> {
        if let Some(kept) = self.may_not_send(&asking, notification) {
            return Err(kept);
        }
        let asked = Asked { id: asking.id, notification, life: &asking.life };
        let verdict = self.guards.storm.judge(asked).await;
        asking.ticket = None;
        let pass = match verdict {
            Ok(Verdict::Pass(pass)) => pass,
            Ok(Verdict::Hold(reason)) => {
                tracing::debug!(id = %asking.id, reason = reason.as_str(), "held by the storm guard");
                return Err(Kept::Guarded(reason));
            }
            Err(error) => {
                tracing::debug!(id = %asking.id, %error, "the storm guard cannot say; put back");
                return Err(Kept::Unjudged);
            }
        };
        let left_out = self.left_out(asking.id, &asking.life, notification).await;
        let left_out = left_out.map_err(|refused| match refused {
            Refused::Nobody(reason) => Kept::Suppressed(reason.of_notification()),
            Refused::Unjudged => Kept::Unjudged,
        });
        // The answers may have taken their time.
        let kept = match (self.may_not_send(&asking, notification), left_out) {
            (None, Ok(left_out)) => return Ok(left_out),
            (Some(kept), _) | (None, Err(kept)) => kept,
        };
        self.guards.storm.give_back(pass).await;
        Err(kept)
    }

    /// Why it must not be sent, asked right before its bytes.
    fn may_not_send(&self, asking: &Asking, notification: &Notification) -> Option<Kept> {
        let Asking { id, life, provider, claimed_at, .. } = asking;
        if self.clock.boot_time().saturating_sub(*claimed_at) > self.config.latest_start() {
            tracing::warn!(%id, "claimed too long ago to send safely; put back");
            return Some(Kept::Late);
        }
        let candidate = Candidate {
            id: *id,
            tenant: &notification.tenant,
            batch: notification.batch.as_deref(),
            accepted_at: life.accepted_at,
            released_at: life.released_at(),
        };
        if let Some(stop) = self.guards.stops.judge(&candidate) {
            if stop.who == storm::WHO {
                Reason::Rate.count();
            }
            tracing::debug!(%id, stop = stop.id, who = stop.who, "stopped before it was sent");
            return Some(Kept::Stopped(Box::new(stop)));
        }
        self.guards.stops.of_provider(provider).map(|_held| Kept::ProviderHeld)
    }
}

/// The facts that follow from what the provider answered, or did not.
fn heard(
    hands: &Hands,
    permit: &Permit,
    outcome: &Result<Handover, SendError>,
    (id, life, token): (NotificationId, &Life, Token),
    now: Timestamp,
) -> Vec<Fact> {
    let name = permit.provider().name().to_owned();
    let randomness = hands.randomness();
    let error = outcome.as_ref().err();
    let label = error.map_or("accepted", |error| error.class.as_str());
    metrics::counter!(ATTEMPTS_TOTAL, "provider" => name.clone(), "outcome" => label).increment(1);
    if life.is_resend {
        metrics::counter!(UNKNOWN_TOTAL, "resolution" => "resent").increment(1);
        tracing::warn!(%id, provider = name, "outcome unknown and no event about it; sent again");
    }
    let heard = error.map_or(Ok(()), |error| Err(error.class));
    let counts = hands.lanes.hear(permit, heard, error.map(|error| error.message.as_str()), randomness);
    match outcome {
        Ok(Handover { message_id, http_status }) => {
            let (message_id, http_status) = (message_id.clone(), Some(*http_status));
            vec![Fact::Accepted { provider: name, message_id, http_status }]
        }
        Err(error) => {
            tracing::warn!(%id, provider = name, attempt = life.attempt, outcome = label,
                http_status = error.http_status, error = error.message, "attempt failed");
            let key_until = permit.provider().idempotency().settles_until(life, &name);
            let failed = Failed { life, token, counts, key_until };
            hands.config.retry.after_failure(error, failed, now, randomness)
        }
    }
}

fn unreadable(error: &serde_json::Error) -> SendError {
    // The position only: the text may quote the content.
    let message = format!("the stored content cannot be read (column {})", error.column());
    SendError { class: SendErrorClass::Refused, http_status: None, message, retry_after: None }
}

fn panicked() -> SendError {
    let message = "the attempt panicked; whether the provider was reached is not known".to_owned();
    SendError { class: SendErrorClass::Unknown, http_status: None, message, retry_after: None }
}
