//! Taking in: a notification is recorded, and then its message is put on the queue. Where both lie in one storage, at
//! once.

pub mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::message_log::{Acceptance, LogError, MessageLog, NewNotification};
use crate::queue::Message;

/// Where notifications are taken in.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Records each, and enqueues what is new and due where it can do both at once.
    async fn take(&self, new: &[NewNotification], now: Timestamp) -> Taken;
}

/// What became of them.
#[derive(Debug, Default)]
pub struct Taken {
    /// One per entry, in order; one that is `Ok` is durable.
    pub answers: Vec<Result<Acceptance, LogError>>,
    /// What is not on the queue yet: the caller's to bring there.
    pub messages: Vec<Message>,
}

/// [`Intake`] into a log that knows nothing of the queue.
#[derive(Clone)]
pub struct InTurn {
    log: Arc<dyn MessageLog>,
}

impl InTurn {
    /// Into `log`.
    pub fn new(log: Arc<dyn MessageLog>) -> Self {
        Self { log }
    }
}

#[async_trait]
impl Intake for InTurn {
    async fn take(&self, new: &[NewNotification], now: Timestamp) -> Taken {
        let answers = self.log.accept(new).await;
        let created = new.iter().zip(&answers).filter(|(_, answer)| is_created(answer));
        let messages = created.filter_map(|(one, _)| message(one, now)).collect();
        Taken { answers, messages }
    }
}

fn is_created(answer: &Result<Acceptance, LogError>) -> bool {
    matches!(answer, Ok(Acceptance::Created(_)))
}

/// The first message for it; `None` when its wait is the log's.
fn message(new: &NewNotification, now: Timestamp) -> Option<Message> {
    let notification = &new.notification;
    let mut message = Message::waking(new.id, &notification.tenant, notification.priority, &new.life, now)?;
    message.content = Some(new.content.clone());
    message.fresh = Some(Box::new(new.life.clone()));
    Some(message)
}
