//! The alerts in the journal, changed by compare-and-set. While the journal does not answer, this process goes on alone
//! with what it knew, and writes it down when the journal is back: an outage of the storage must not silence its alert.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::state::Alert;
use crate::clock::{Clock, Timestamp};
use crate::journal::{self, Journal, JournalError, Kind};

/// For how long an alert that nobody touches is kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// So many are listed.
const MOST: usize = 1000;
/// The journal has not answered by then.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keeps alerts.
pub(super) struct Keeper {
    journal: Arc<dyn Journal>,
    clock: Clock,
    /// As they were last read or written.
    known: BTreeMap<String, Alert>,
    /// Changed while the journal did not answer.
    alone: BTreeMap<String, Alert>,
    /// It did not answer when it was last asked for everything.
    is_away: bool,
}

impl Keeper {
    pub(super) fn new(journal: Arc<dyn Journal>, clock: Clock) -> Self {
        Self { journal, clock, known: BTreeMap::new(), alone: BTreeMap::new(), is_away: false }
    }

    /// Every alert, as far as it is known.
    pub(super) fn known(&self) -> &BTreeMap<String, Alert> {
        &self.known
    }

    /// Reads every alert anew, after writing down what was changed alone. Why not, if the journal does not answer.
    pub(super) async fn refresh(&mut self) -> Result<(), String> {
        let listing = in_time(self.journal.list(Kind::Alert, None, MOST)).await;
        self.is_away = listing.is_err();
        let documents = listing.map_err(|error| error.to_string())?;
        // One that cannot be read is none: the next change says so.
        let read = documents.iter().filter_map(|document| document.read::<Alert>().ok());
        self.known = read.map(|alert| (alert.key.clone(), alert)).collect();
        for key in self.alone.keys().cloned().collect::<Vec<_>>() {
            self.change(&key, |alert| Some((alert?.clone(), ()))).await;
        }
        Ok(())
    }

    /// Changes one alert. `change` gives what to write and what to answer, or `None` to leave it; it may be asked more
    /// than once.
    pub(super) async fn change<R: Send>(
        &mut self,
        key: &str,
        mut change: impl FnMut(Option<&Alert>) -> Option<(Alert, R)> + Send,
    ) -> Option<R> {
        let keep_until = Some(self.clock.now().plus(KEPT));
        let mine = self.alone.get(key).cloned();
        let step = |stored: Option<Alert>| {
            let before = newer(stored.clone(), mine.clone());
            match change(before.as_ref()) {
                Some((alert, answer)) => (Some(alert.clone()), (Some(alert), Some(answer))),
                None => (None, (stored, None)),
            }
        };
        let changed = if self.is_away {
            // Each alert would wait for it, one after the other.
            Err(JournalError::Unavailable("it did not answer just now".into()))
        } else {
            in_time(journal::change(&*self.journal, Kind::Alert, key, keep_until, step)).await
        };
        match changed {
            Ok((alert, answer)) => {
                self.alone.remove(key);
                self.known.extend(alert.map(|alert| (key.to_owned(), alert)));
                answer
            }
            Err(error) => {
                tracing::debug!(key, %error, "an alert could not be written down");
                let before = self.alone.get(key).or_else(|| self.known.get(key));
                let (alert, answer) = change(before)?;
                self.alone.insert(key.to_owned(), alert.clone());
                self.known.insert(key.to_owned(), alert);
                Some(answer)
            }
        }
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, JournalError>>) -> Result<T, JournalError> {
    let late = JournalError::Unavailable("no answer in time".into());
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(late))
}

/// What was said last, by whomever; who sees it is what the journal says.
fn newer(stored: Option<Alert>, mine: Option<Alert>) -> Option<Alert> {
    let said = |alert: &Option<Alert>| alert.as_ref().map_or(Timestamp::default(), |alert| alert.said_at);
    if said(&mine) <= said(&stored) {
        return stored;
    }
    let mut alert = mine?;
    for (name, at) in stored.map(|stored| stored.seen_by).unwrap_or_default() {
        alert.seen_by.entry(name).or_insert(at);
    }
    Some(alert)
}
