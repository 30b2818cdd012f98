//! One step: a handful of deliveries is claimed together, then each is sent on its own.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::attempt::{Won, send};
use super::lanes::Permit;
use super::retry::{Judgement, Unsettled, settlement};
use super::settle::Finished;
use super::{Evidence, Hands};
use crate::clock::Timestamp;
use crate::message_log::{Claim, ClaimRequest, Hint, LogError, NewNotification};
use crate::metrics::{ACCEPTED_TOTAL, UNKNOWN_TOTAL};
use crate::notification::content;
use crate::notification::status::{Fact, Life, Refusal, Token};
use crate::queue::{Delivery, Settlement};

/// Claims the deliveries, one permit each, sends those that were won, and hands every outcome to the settler.
/// Ends when the last send has.
pub async fn step(hands: Arc<Hands>, deliveries: Vec<Delivery>, permits: Vec<Permit>) {
    debug_assert_eq!(deliveries.len(), permits.len());
    let claimed_at = hands.clock.boot_time();
    let claims: Vec<_> = deliveries.iter().zip(&permits).map(|(d, p)| hands.claim(d, p, None)).collect();
    let tickets: Vec<_> = deliveries.iter().map(|delivery| hands.guards.storm.enter(delivery.id)).collect();
    let mut answers = hands.log.claim(&claims, hands.clock.now()).await;
    record_again(&hands, &claims, &mut answers).await;
    let mut sends = JoinSet::new();
    let asked = deliveries.into_iter().zip(permits).zip(tickets);
    for (((delivery, permit), ticket), (claim, answer)) in asked.zip(claims.into_iter().zip(answers)) {
        let hands = hands.clone();
        match answer {
            Ok(Claim::Won(won)) => {
                hands.count_created(won.created, &claim);
                let (token, ticket) = (token_of(&claim.fact), Some(ticket));
                sends.spawn(send(hands, Won { delivery, permit, claimed: *won, token, claimed_at, ticket }));
            }
            Ok(Claim::Refused { refusal, life, created }) => {
                drop(permit);
                hands.count_created(created, &claim);
                sends.spawn(not_won(hands, delivery, refusal, *life));
            }
            Ok(Claim::Absent) => {
                tracing::warn!(id = %delivery.id, "a queue message without a record: dead-lettered");
                hands.finish(delivery, Settlement::Dead { reason: "no_record".into() }).await;
            }
            Ok(Claim::Conflict) => {
                tracing::warn!(id = %delivery.id, "its idempotency key was used with other content: dead-lettered");
                hands.finish(delivery, Settlement::Dead { reason: "conflict".into() }).await;
            }
            Err(error @ LogError::Corrupt(_)) => {
                tracing::error!(id = %delivery.id, %error, "what is recorded cannot be sent: a dead letter");
                let fact = Fact::Parked { reason: "content_lost".into(), hold: false };
                hands.conclude(Finished { delivery, facts: vec![fact], sent_by: None }).await;
            }
            Err(error) => {
                // Whoever reaches the log says so once; this comes for every message, again and again.
                tracing::debug!(id = %delivery.id, %error, "could not claim; the queue brings it again");
                hands.finish(delivery, Settlement::Again { after: hands.config.trouble_wait }).await;
            }
        }
    }
    while let Some(ended) = sends.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a delivery's task failed; the queue brings the message again");
        }
    }
}

/// A record that is gone although its message carries the content (a table that was lost): recorded again, so that
/// it is sent and seen.
async fn record_again(hands: &Hands, claims: &[ClaimRequest], answers: &mut [Result<Claim, LogError>]) {
    for (claim, answer) in claims.iter().zip(answers) {
        let (Ok(Claim::Absent), Some(body)) = (&*answer, &claim.content) else { continue };
        let Ok(notification) = content::decode(body) else { continue };
        tracing::warn!(id = %claim.id, "a queue message whose record is gone: recorded again");
        let now = hands.clock.now();
        let new = NewNotification::of(claim.id, Arc::new(notification), now);
        let again = ClaimRequest { hint: Hint::New(Box::new(new)), ..claim.clone() };
        if let Some(second) = hands.log.claim(&[again], now).await.pop() {
            *answer = second;
        }
    }
}

impl Hands {
    fn count_created(&self, created: bool, claim: &ClaimRequest) {
        metrics::counter!(ACCEPTED_TOTAL, "door" => "queue").increment(u64::from(created));
        if let (true, Hint::New(new)) = (created, &claim.hint) {
            self.guards.storm.meter().count(&new.notification.tenant, 1);
        }
    }
}

impl Hands {
    /// The newest event time of a provider, and until when everything that came in is folded. What is folded while this
    /// is asked is in the record, and then the resend is refused.
    async fn heard(
        &self,
        provider: &str,
        now: Timestamp,
    ) -> Result<(Option<Timestamp>, Timestamp), LogError> {
        let witness = self.log.witness(provider).await?;
        // As if everything that ever came still waited.
        let nobody_knows = Timestamp::default();
        let inbox = match &self.guards.evidence {
            Evidence::Nowhere => return Ok((witness, now)),
            Evidence::Elsewhere => return Ok((witness, nobody_knows)),
            Evidence::In(inbox) => inbox,
        };
        let mut newest = witness;
        for other in self.lanes.names().into_iter().filter(|name| *name != provider) {
            newest = newest.max(self.log.witness(&other).await?);
        }
        let folded_until = match inbox.folded_until(now, newest).await {
            Ok(until) => until.unwrap_or(nobody_knows),
            Err(error) => {
                tracing::warn!(%error, provider, "whether events wait is not known: nothing unknown is resent");
                nobody_knows
            }
        };
        Ok((witness, folded_until))
    }
}

/// Settles a delivery whose claim was refused: nothing was sent for it, and mostly nothing has to be.
async fn not_won(hands: Arc<Hands>, delivery: Delivery, refusal: Refusal, life: Life) {
    let now = hands.clock.now();
    let fact = match refusal {
        Refusal::Unknown { seen, provider, ended_at, exhausted: _ } => {
            judge_unknown(hands, delivery, life, Unknown { seen, provider, ended_at }).await;
            return;
        }
        Refusal::Exhausted => Fact::Parked { reason: "attempts_exhausted".into(), hold: false },
        Refusal::DeadlineOver => Fact::Expired,
        _ => {
            hands.finish(delivery, settlement(&life, now)).await;
            return;
        }
    };
    hands.conclude(Finished { delivery, facts: vec![fact], sent_by: None }).await;
}

/// An unknown whose hold is over.
struct Unknown {
    seen: Token,
    provider: String,
    ended_at: Timestamp,
}

async fn judge_unknown(hands: Arc<Hands>, delivery: Delivery, life: Life, unknown: Unknown) {
    let now = hands.clock.now();
    let Unknown { seen, provider, ended_at } = unknown;
    let (witness, folded_until) = match hands.heard(&provider, now).await {
        Ok(heard) => heard,
        Err(error) => {
            tracing::warn!(id = %delivery.id, %error, "could not read the witness; looked at again later");
            hands.finish(delivery, Settlement::Again { after: hands.config.trouble_wait }).await;
            return;
        }
    };
    let policy = &hands.config.retry;
    let idempotency = hands.lanes.idempotency_of(&provider);
    let key_until = idempotency.settles_until(&life, &provider).filter(|until| *until > now);
    // The claim that was refused went by the limits of whichever provider had a permit.
    let limits = key_until.map_or(policy.limits, |_| policy.limits_at(idempotency));
    let exhausted = life.spent >= limits.attempts || life.resends >= limits.unknown_resends;
    let (on_unknown, hold) = (life.on_unknown, hands.config.hold);
    let case = Unsettled { on_unknown, exhausted, ended_at, hold, key_until, witness, folded_until };
    match policy.judge_unknown(&case, now) {
        Judgement::Wait(after) => hands.finish(delivery, Settlement::Again { after }).await,
        Judgement::Park(fact) => {
            metrics::counter!(UNKNOWN_TOTAL, "resolution" => "parked").increment(1);
            tracing::warn!(id = %delivery.id, provider, "outcome still unknown; parked for an operator");
            hands.conclude(Finished { delivery, facts: vec![fact], sent_by: None }).await;
        }
        Judgement::Resend => resend(hands, delivery, seen, &provider).await,
    }
}

/// Sends an unknown again, at the provider that it is unknown at.
async fn resend(hands: Arc<Hands>, delivery: Delivery, seen: Token, provider: &str) {
    // A provider that left the configuration cannot settle it any more: any other may.
    let permit =
        if hands.lanes.knows(provider) { hands.lanes.take_of(provider) } else { hands.lanes.take(1).pop() };
    let Some(permit) = permit else {
        hands.finish(delivery, Settlement::Again { after: hands.config.retry.look_again() }).await;
        return;
    };
    let claimed_at = hands.clock.boot_time();
    let claim = hands.claim(&delivery, &permit, Some(seen));
    let token = token_of(&claim.fact);
    let answer = hands.log.claim(&[claim], hands.clock.now()).await.pop();
    match answer {
        Some(Ok(Claim::Won(won))) => {
            send(hands, Won { delivery, permit, claimed: *won, token, claimed_at, ticket: None }).await;
        }
        // Somebody else was faster, or evidence came in.
        _ => hands.finish(delivery, Settlement::Again { after: hands.config.retry.look_again() }).await,
    }
}

fn token_of(claim: &Fact) -> Token {
    match claim {
        Fact::Claimed { token, .. } => *token,
        _ => Token([0; 16]),
    }
}
