//! Taking in: a notification is recorded, and then its message is put on the queue. Where both lie in one storage, at
//! once.

pub mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::message_log::{Acceptance, LogError, MessageLog, NewNotification};
use crate::queue::{self, Message, Queue};

/// Where notifications are taken in.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Records each, and puts what is new and due on the queue. One result per entry, in order; one that is `Ok` is
    /// durable, whatever became of its message: what the queue did not take, the sweeper brings.
    async fn take(&self, new: &[NewNotification], now: Timestamp) -> Vec<Result<Acceptance, LogError>>;
}

/// [`Intake`] over a log and a queue that know nothing of each other: one call to each.
#[derive(Clone)]
pub struct InTurn {
    log: Arc<dyn MessageLog>,
    queue: Arc<dyn Queue>,
    queue_timeout: Duration,
}

impl InTurn {
    /// Through `log` and `queue`, for which an answer waits so long.
    pub fn new(log: Arc<dyn MessageLog>, queue: Arc<dyn Queue>, queue_timeout: Duration) -> Self {
        Self { log, queue, queue_timeout }
    }
}

#[async_trait]
impl Intake for InTurn {
    async fn take(&self, new: &[NewNotification], now: Timestamp) -> Vec<Result<Acceptance, LogError>> {
        let answers = self.log.accept(new).await;
        let created = new.iter().zip(&answers).filter(|(_, answer)| is_created(answer));
        let messages: Vec<Message> = created.filter_map(|(one, _)| message(one, now)).collect();
        queue::bring(self.queue.as_ref(), &messages, self.queue_timeout).await;
        answers
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
