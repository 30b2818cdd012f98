//! Taking in where log and queue share an engine: one commit, so that whoever hands in waits for one, and a crash finds
//! both or neither.

use async_trait::async_trait;

use super::{Intake, Taken, is_created, message};
use crate::clock::Timestamp;
use crate::message_log::NewNotification;
use crate::message_log::sqlite::Accepting;
use crate::queue::sqlite::SqliteQueue;
use crate::sqlite::Engine;

/// [`Intake`] on the embedded engine.
#[derive(Clone, Debug)]
pub struct SqliteIntake {
    engine: Engine,
    queue: SqliteQueue,
}

impl SqliteIntake {
    /// In `engine`, in which `queue` lies as well.
    pub fn new(engine: Engine, queue: SqliteQueue) -> Self {
        Self { engine, queue }
    }
}

#[async_trait]
impl Intake for SqliteIntake {
    async fn take(&self, new: &[NewNotification], now: Timestamp) -> Taken {
        if new.is_empty() {
            return Taken::default();
        }
        let accepting = Accepting::of(new);
        let messages: Vec<_> = new.iter().map(|one| message(one, now)).collect();
        let sending = self.queue.sending(messages.iter().map(Option::as_ref));
        let taken = self.engine.write(move |tx| {
            let answers = accepting.run(tx)?;
            sending.run(tx, |place| answers.get(place).is_some_and(is_created))?;
            Ok(answers)
        });
        let answers = match taken.await {
            Ok(answers) => answers,
            Err(error) => new.iter().map(|_| Err(error.clone().into())).collect(),
        };
        Taken { answers, messages: Vec::new() }
    }
}
