//! One step of one callback: what waits is posted once, and what came of it is written down.

use std::time::Duration;

use metrics::counter;

use super::{Deliverer, StepError};
use crate::feed::callback::{self, Callback, CallbackState, Posted};
use crate::feed::courier::{self, MOST_BYTES, MOST_EVENTS, Message};
use crate::feed::{Cursor, Entry, FeedError};
use crate::metrics::CALLBACKS_TOTAL;

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A message was taken.
    Taken,
    /// Changes were passed over that this callback does not tell.
    Passed,
    /// There is nothing to tell.
    Idle,
    /// A message waits for its next post, or is in another process's hands.
    Wait(Duration),
    /// It is paused, gone or removed.
    Ended,
}

/// So many pages without anything to tell are passed over in one step.
const PASSED_PAGES: usize = 20;

impl Deliverer {
    /// One step.
    pub async fn step(&self, id: &str) -> Result<Outcome, StepError> {
        let now = self.clock.now();
        let Some(known) = callback::get(&*self.journal, id).await? else { return Ok(Outcome::Ended) };
        if known.state != CallbackState::Active {
            return Ok(Outcome::Ended);
        }
        let next = match &known.batch {
            Some(batch) => {
                let is_left_behind =
                    batch.owner.as_ref().is_some_and(|owner| *owner != self.owner) && self.config.alone;
                if batch.due_at > now && !is_left_behind {
                    return Ok(Outcome::Wait(batch.due_at.since(now)));
                }
                None
            }
            None => match self.look(&known).await {
                Ok(Found::Nothing) => return Ok(Outcome::Idle),
                Ok(found) => Some(found),
                Err(FeedError::Expired { since }) => return self.lost(&known, since).await,
                Err(error) => return Err(error.into()),
            },
        };
        let (owner, patience, alone) = (&self.owner, &self.config.patience, self.config.alone);
        let seen = (known.cursor.clone(), known.batch.as_ref().map(|batch| batch.id.clone()));
        let taken = callback::change(&*self.journal, id, |callback| {
            let is_as_seen = (&callback.cursor, callback.batch.as_ref().map(|batch| &batch.id))
                == (&seen.0, seen.1.as_ref());
            if callback.state != CallbackState::Active || !is_as_seen {
                return (false, None);
            }
            match &next {
                Some(Found::Passed(cursor)) => {
                    callback.cursor = cursor.clone();
                    return (true, None);
                }
                Some(Found::Some { passed, next, count }) => {
                    callback.cursor = passed.clone();
                    callback.begin(next.clone(), *count, owner, now, patience);
                }
                Some(Found::Nothing) | None => {
                    if let Some(batch) =
                        callback.batch.as_mut().filter(|batch| alone && batch.owner.as_ref() != Some(owner))
                    {
                        batch.due_at = batch.due_at.min(now);
                    }
                    if !callback.take(owner, now, patience) {
                        return (false, None);
                    }
                }
            }
            (true, Some(callback.clone()))
        });
        match taken.await? {
            Some(Some(callback)) => self.post(callback).await,
            Some(None) if matches!(next, Some(Found::Passed(_))) => Ok(Outcome::Passed),
            // Somebody else changed it meanwhile: look again.
            Some(None) => Ok(Outcome::Passed),
            None => Ok(Outcome::Ended),
        }
    }

    /// Posts the message that is in our hands, and settles it.
    async fn post(&self, callback: Callback) -> Result<Outcome, StepError> {
        let Some(batch) = callback.batch.clone() else { return Ok(Outcome::Passed) };
        let mut entries = match self.feed.between(&callback.tenant, &callback.cursor, &batch.next).await {
            Ok(entries) => entries,
            Err(FeedError::Expired { since }) => return self.lost(&callback, since).await,
            Err(error) => return Err(error.into()),
        };
        // What is read so slowly may be in another's hands by the time it would be posted.
        let left = batch.due_at.since(self.clock.now());
        if left < self.config.patience.lease / 3 {
            return Ok(Outcome::Wait(left));
        }
        entries.retain(|entry| callback.tells(entry.status));
        let body = courier::body(&callback, &entries, batch.made_at);
        let message = Message::sign(&callback, &batch.id, body, self.clock.now());
        let posted: Posted = self.courier.post(&callback.url, &message).await.into();
        let (now, chance) = (self.clock.now(), callback::chance());
        let settled = callback::change(&*self.journal, &callback.id, |callback| {
            let is_ours = callback.after(&batch.id, &posted, now, &self.config.patience, chance);
            (is_ours, (callback.state, callback.batch.as_ref().map(|batch| batch.due_at.since(now))))
        });
        let Some((state, wait)) = settled.await? else { return Ok(Outcome::Ended) };
        self.tell(&callback, &posted, state);
        Ok(match (state, wait) {
            (CallbackState::Active, Some(wait)) => Outcome::Wait(wait),
            (CallbackState::Active, None) => Outcome::Taken,
            _ => Outcome::Ended,
        })
    }

    /// Some of what it has to tell was forgotten: nobody may be left to believe that they know all.
    async fn lost(&self, callback: &Callback, since: crate::clock::Timestamp) -> Result<Outcome, StepError> {
        let now = self.clock.now();
        let note = format!("what it has not taken is kept no longer than from {since} on");
        callback::change(&*self.journal, &callback.id, |callback| {
            callback.stand(CallbackState::Failed, Some(note.clone()), now);
            (true, ())
        })
        .await?;
        counter!(CALLBACKS_TOTAL, "outcome" => "paused").increment(1);
        tracing::warn!(callback = callback.id, tenant = callback.tenant, note, "a callback was paused");
        Ok(Outcome::Ended)
    }

    fn tell(&self, callback: &Callback, posted: &Posted, state: CallbackState) {
        let Callback { id, tenant, .. } = callback;
        let count = |outcome: &'static str| counter!(CALLBACKS_TOTAL, "outcome" => outcome).increment(1);
        match posted {
            Posted::Taken => count("taken"),
            Posted::Gone => {
                count("gone");
                tracing::warn!(callback = id, tenant, "a callback is gone: it answered 410");
            }
            Posted::Failed { error, .. } => {
                count("failed");
                tracing::debug!(callback = id, tenant, error, "a callback did not take its message");
                if state == CallbackState::Failed {
                    count("paused");
                    tracing::warn!(
                        callback = id,
                        tenant,
                        error,
                        "a callback was paused: it took nothing for too long"
                    );
                }
            }
        }
    }

    /// What a callback without a message has to tell next.
    async fn look(&self, callback: &Callback) -> Result<Found, FeedError> {
        let mut cursor = callback.cursor.clone();
        for _ in 0..PASSED_PAGES {
            let page = self.feed.read(&callback.tenant, Some(&cursor), MOST_EVENTS).await?;
            if page.entries.iter().any(|entry| callback.tells(entry.status)) {
                return self.fitting(callback, cursor, page.next, page.entries).await;
            }
            cursor = page.next;
            if !page.more {
                break;
            }
        }
        Ok(if cursor == callback.cursor { Found::Nothing } else { Found::Passed(cursor) })
    }

    /// As many of these as one message holds.
    async fn fitting(
        &self,
        callback: &Callback,
        passed: Cursor,
        mut next: Cursor,
        mut entries: Vec<Entry>,
    ) -> Result<Found, FeedError> {
        loop {
            let rows = entries.len();
            entries.retain(|entry| callback.tells(entry.status));
            let bytes = courier::body(callback, &entries, self.clock.now()).len();
            if bytes <= MOST_BYTES || rows <= 1 {
                let count = entries.len() as u64;
                return Ok(if count == 0 {
                    Found::Passed(next)
                } else {
                    Found::Some { passed, next, count }
                });
            }
            let page = self.feed.read(&callback.tenant, Some(&passed), rows / 2).await?;
            (next, entries) = (page.next, page.entries);
        }
    }
}

/// What there is to tell.
enum Found {
    Nothing,
    /// Nothing up to here.
    Passed(Cursor),
    /// This many, between these two.
    Some {
        passed: Cursor,
        next: Cursor,
        count: u64,
    },
}
