//! Callbacks: where a tenant's changes are posted to, and how far each has got. A document each in the journal; pure but
//! for the functions at the end.

pub mod slots;

use std::time::Duration;

use rand::RngExt;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use super::{Cursor, Told};
use crate::clock::Timestamp;
use crate::jitter::Schedule;
use crate::journal::{self, Journal, JournalError, Kind};
use crate::secret::Secret;

/// How many one tenant may have.
pub const PER_TENANT: usize = 5;
/// How many there may be.
pub const MOST: usize = 1000;
/// How many secrets sign at once, in a rotation.
pub const MOST_SECRETS: usize = 5;

/// One callback.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Callback {
    /// UUIDv7.
    pub id: String,
    /// Whose changes.
    pub tenant: String,
    /// Where they are posted to.
    pub url: String,
    /// Which; none: all.
    #[serde(default)]
    pub statuses: Vec<Told>,
    /// What signs, latest first.
    pub secrets: Vec<Signing>,
    /// Who asked for it.
    pub who: String,
    /// When.
    pub created_at: Timestamp,
    /// How it stands.
    pub state: CallbackState,
    /// Since when it stands so.
    pub since: Timestamp,
    /// Why it stands so.
    #[serde(default)]
    pub note: Option<String>,
    /// Everything before was taken.
    pub cursor: Cursor,
    /// What is being posted.
    #[serde(default)]
    pub batch: Option<Batch>,
    /// How many changes were taken.
    #[serde(default)]
    pub taken: u64,
    /// When the latest were.
    #[serde(default)]
    pub taken_at: Option<Timestamp>,
}

/// How a callback stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallbackState {
    /// Changes are posted.
    Active,
    /// Somebody paused it.
    Paused,
    /// It failed for so long that it was paused.
    Failed,
    /// It answered 410: nobody is there any more.
    Gone,
}

/// A secret that signs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Signing {
    /// `whsec_…`.
    #[serde(serialize_with = "reveal", deserialize_with = "hide")]
    pub secret: Secret,
    /// Until when, where another has taken its place.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

// The journal is the one place that a secret is written to.
fn reveal<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.reveal())
}

fn hide<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

/// What is being posted, until it is taken: the same message under the same id, however often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The message's id.
    pub id: String,
    /// Its changes end here.
    pub next: Cursor,
    /// How many they are.
    pub count: u64,
    /// When it was made; its `timestamp`.
    pub made_at: Timestamp,
    /// How often it was not taken.
    #[serde(default)]
    pub tries: u32,
    /// Since when.
    #[serde(default)]
    pub failing_since: Option<Timestamp>,
    /// The latest failure.
    #[serde(default)]
    pub error: Option<String>,
    /// Nobody else posts it before; without an owner, nobody at all does.
    pub due_at: Timestamp,
    /// The process that posts it.
    #[serde(default)]
    pub owner: Option<String>,
}

/// What became of a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Posted {
    /// 2xx.
    Taken,
    /// It was not taken; `retry_after`: what the endpoint asked for.
    Failed {
        /// In words, without the address.
        error: String,
        /// When to come again.
        retry_after: Option<Duration>,
    },
    /// 410.
    Gone,
}

/// How patient we are with an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between two posts of the same.
    pub schedule: Schedule,
    /// An endpoint that took nothing for this long is paused.
    pub give_up: Duration,
    /// A post is its process's alone for this long.
    pub lease: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            schedule: Schedule::default(),
            give_up: Duration::from_secs(24 * 3600),
            lease: Duration::from_secs(30),
        }
    }
}

impl Callback {
    /// What signs at `now`.
    pub fn signing(&self, now: Timestamp) -> Vec<Secret> {
        let is_active = |one: &&Signing| one.until.is_none_or(|until| until > now);
        self.secrets.iter().filter(is_active).map(|one| one.secret.clone()).collect()
    }

    /// Whether a change of this kind is told.
    pub fn tells(&self, status: Told) -> bool {
        self.statuses.is_empty() || self.statuses.contains(&status)
    }

    /// Another secret signs from now on; those before it sign on until `keep` is over.
    pub fn rotate(&mut self, secret: Secret, keep: Duration, now: Timestamp) {
        let until = now.plus(keep);
        for one in &mut self.secrets {
            one.until = Some(one.until.map_or(until, |before| before.min(until)));
        }
        self.secrets.retain(|one| one.until.is_some_and(|until| until > now));
        self.secrets.insert(0, Signing { secret, until: None });
        self.secrets.truncate(MOST_SECRETS);
    }

    /// Makes the next message, in this process's hands.
    pub fn begin(&mut self, next: Cursor, count: u64, owner: &str, now: Timestamp, patience: &Patience) {
        self.batch = Some(Batch {
            id: format!("msg_{}", uuid::Uuid::now_v7().simple()),
            next,
            count,
            made_at: now,
            tries: 0,
            failing_since: None,
            error: None,
            due_at: now.plus(patience.lease),
            owner: Some(owner.to_owned()),
        });
    }

    /// Takes the message that waits, if its time has come.
    pub fn take(&mut self, owner: &str, now: Timestamp, patience: &Patience) -> bool {
        let Some(batch) = self.batch.as_mut().filter(|batch| batch.due_at <= now) else { return false };
        (batch.owner, batch.due_at) = (Some(owner.to_owned()), now.plus(patience.lease));
        true
    }

    /// What follows from a post of the message `id`. `randomness` is in 0 … 1. False where it is not the one any more.
    pub fn after(
        &mut self,
        id: &str,
        posted: &Posted,
        now: Timestamp,
        patience: &Patience,
        randomness: f64,
    ) -> bool {
        let Some(batch) = self.batch.as_mut().filter(|batch| batch.id == id) else { return false };
        match posted {
            Posted::Taken => {
                self.taken += batch.count;
                (self.taken_at, self.cursor) = (Some(now), batch.next.clone());
                self.batch = None;
            }
            Posted::Gone => {
                (batch.owner, batch.due_at) = (None, now);
                self.stand(CallbackState::Gone, Some("it answered 410".into()), now);
            }
            Posted::Failed { error, retry_after } => {
                batch.tries = batch.tries.saturating_add(1);
                let since = *batch.failing_since.get_or_insert(now);
                let wait = patience.schedule.delay(batch.tries, *retry_after, randomness);
                batch.error = Some(error.clone());
                (batch.owner, batch.due_at) = (None, now.plus(wait));
                if now.since(since) >= patience.give_up {
                    let note = format!("it took nothing since {since}: {error}");
                    self.stand(CallbackState::Failed, Some(note), now);
                }
            }
        }
        true
    }

    /// Stands so from now on. What was paused or gone stays so until somebody resumes it.
    pub fn stand(&mut self, state: CallbackState, note: Option<String>, now: Timestamp) {
        if self.state == CallbackState::Active || state == CallbackState::Paused {
            (self.state, self.note, self.since) = (state, note, now);
        }
    }

    /// Goes on where it ended, or from `from` on; what was being posted is then not posted again.
    pub fn resume(&mut self, from: Option<Cursor>, now: Timestamp) {
        (self.state, self.note, self.since) = (CallbackState::Active, None, now);
        match (from, &mut self.batch) {
            (Some(cursor), _) => (self.cursor, self.batch) = (cursor, None),
            (None, Some(batch)) => {
                (batch.tries, batch.failing_since) = (0, None);
                // In another's hands it stays there until its time is over.
                batch.due_at = if batch.owner.is_some() { batch.due_at } else { now };
            }
            (None, None) => {}
        }
    }
}

/// One callback.
pub async fn get(journal: &dyn Journal, id: &str) -> Result<Option<Callback>, JournalError> {
    journal.get(Kind::Callback, id).await?.map(|document| document.read()).transpose()
}

/// A tenant's callbacks, or all; the latest first.
pub async fn list(journal: &dyn Journal, tenant: Option<&str>) -> Result<Vec<Callback>, JournalError> {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = journal.list(Kind::Callback, after.as_deref(), 100).await?;
        for document in &page {
            found.push(document.read::<Callback>()?);
        }
        after = page.last().map(|document| document.key.clone());
        if page.len() < 100 || found.len() >= MOST {
            found.retain(|one| tenant.is_none_or(|tenant| tenant == one.tenant));
            return Ok(found);
        }
    }
}

/// Writes a new one down.
pub async fn add(journal: &dyn Journal, callback: &Callback) -> Result<(), JournalError> {
    let written = journal.put(Kind::Callback, &callback.id, &journal::write(callback), 0, None).await?;
    match written {
        journal::Put::Done(_) => Ok(()),
        journal::Put::Conflict => Err(JournalError::Contended(callback.id.clone())),
    }
}

/// Removes one.
pub async fn remove(journal: &dyn Journal, id: &str) -> Result<(), JournalError> {
    journal.delete(Kind::Callback, id).await
}

/// Changes one; `None` where it is gone. `change` says whether there is anything to write, and what to answer.
pub async fn change<R: Send>(
    journal: &dyn Journal,
    id: &str,
    mut change: impl FnMut(&mut Callback) -> (bool, R) + Send,
) -> Result<Option<R>, JournalError> {
    journal::change(journal, Kind::Callback, id, None, |found: Option<Callback>| {
        let Some(mut callback) = found else { return (None, None) };
        let (is_changed, answer) = change(&mut callback);
        (is_changed.then_some(callback), Some(answer))
    })
    .await
}

/// A number in 0 … 1 for the next wait.
pub fn chance() -> f64 {
    rand::rng().random()
}
