//! The queue or the log fails, or a handler panics.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kakitome::api::ApiState;
use kakitome::clock::Timestamp;
use kakitome::message_log::{
    Acceptance, Applied, Claim, ClaimRequest, Counts, Due, Filter, Group, Heard, HeardPage, Lacks, LogError,
    MessageLog, NewNotification, Page, Record, Recorded, SentSpan, Standings,
};
use kakitome::notification::NotificationId;
use kakitome::notification::status::{Fact, Life};
use kakitome::provider::ProviderEvent;
use kakitome::queue::{Delivery, Depth, Message, Queue, QueueError, Receipt, Settlement};

use serde_json::json;
use tokio::sync::Notify;

use super::world::{ADMIN, World, booking, take_in_turn, world_with};

/// A queue that cannot be reached, or that never answers.
#[derive(Default)]
pub struct Unreachable {
    hangs: bool,
    /// Told when a send begins.
    asked: Arc<Notify>,
}

impl Unreachable {
    async fn fail<T>(&self) -> Result<T, QueueError> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Err(QueueError::Unavailable("no route to host".into()))
    }
}

#[async_trait]
impl Queue for Unreachable {
    async fn send_batch(&self, messages: &[Message]) -> Vec<Result<(), QueueError>> {
        self.asked.notify_one();
        let mut results = Vec::new();
        for _ in messages {
            results.push(self.fail().await);
        }
        results
    }
    async fn receive(&self, _: usize, _: Duration) -> Result<Vec<Delivery>, QueueError> {
        self.fail().await
    }
    async fn extend(&self, _: &[Receipt], _: Duration) -> Vec<Result<(), QueueError>> {
        Vec::new()
    }
    async fn settle(&self, _: Vec<(Delivery, Settlement)>) -> Vec<Result<(), QueueError>> {
        Vec::new()
    }
    async fn depth(&self) -> Result<Depth, QueueError> {
        self.fail().await
    }
}

/// A log that cannot be reached; looking one up panics.
pub struct Broken;

/// The door's log is [`Broken`].
pub fn break_log(state: &mut ApiState) {
    state.log = Arc::new(Broken);
    take_in_turn(state);
}

fn full() -> LogError {
    LogError::Unavailable("disk full at /secret/path".into())
}

#[async_trait]
impl MessageLog for Broken {
    async fn accept(&self, new: &[NewNotification]) -> Vec<Result<Acceptance, LogError>> {
        new.iter().map(|_| Err(full())).collect()
    }
    async fn claim(&self, _: &[ClaimRequest], _: Timestamp) -> Vec<Result<Claim, LogError>> {
        Vec::new()
    }
    async fn apply(&self, _: &[(NotificationId, Fact)], _: Timestamp) -> Vec<Result<Applied, LogError>> {
        Vec::new()
    }
    async fn record_events(&self, _: &[ProviderEvent], _: Timestamp) -> Vec<Result<Recorded, LogError>> {
        Vec::new()
    }
    async fn get(&self, id: NotificationId) -> Result<Option<Record>, LogError> {
        assert_eq!(*id.as_bytes(), [0; 16], "a panic on purpose");
        Err(full())
    }
    async fn lives(&self, _: &[NotificationId]) -> Result<Vec<Option<Life>>, LogError> {
        Err(full())
    }
    async fn contents(&self, _: &[NotificationId]) -> Result<Vec<Option<Bytes>>, LogError> {
        Err(full())
    }
    async fn list(&self, _: &Filter, _: Option<&str>, _: usize, _: Timestamp) -> Result<Page, LogError> {
        Err(LogError::Corrupt("row 7".into()))
    }
    async fn counts(&self, _: Timestamp) -> Result<Counts, LogError> {
        Err(full())
    }
    async fn standings(&self, _: Timestamp) -> Result<Standings, LogError> {
        Err(full())
    }
    async fn count_groups(&self, _: &Filter, _: Timestamp) -> Result<Vec<Group>, LogError> {
        Err(full())
    }
    async fn due(&self, _: Timestamp, _: usize) -> Result<Vec<Due>, LogError> {
        Err(full())
    }
    async fn witness(&self, _: &str) -> Result<Option<Timestamp>, LogError> {
        Err(full())
    }
    async fn sent_without(
        &self,
        _: Lacks,
        _: SentSpan,
        _: Option<&str>,
        _: usize,
    ) -> Result<HeardPage, LogError> {
        Err(full())
    }
    async fn heard_of(&self, _: &[NotificationId]) -> Result<Vec<Option<Heard>>, LogError> {
        Err(full())
    }
}

#[tokio::test]
async fn what_is_recorded_is_acknowledged_although_the_queue_is_away() {
    for hangs in [false, true] {
        let world = world_with(|state| {
            state.queue = Arc::new(Unreachable { hangs, ..Unreachable::default() });
            state.config.queue_timeout = Duration::from_millis(50);
            take_in_turn(state);
        })
        .await;
        let reply = world.post(ADMIN, "/v1/notifications", &booking("b-1")).await;
        assert_eq!(reply.status, 202, "{}", reply.text);
        let due = world.log.due(world.clock.now().plus(Duration::from_secs(60)), 10).await.unwrap();
        assert_eq!(due.len(), 1, "the sweeper will bring it");
        let status = world.get(ADMIN, "/v1/status").await;
        assert_eq!((status.status, status.json["queue"].is_null()), (200, true));
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_that_the_log_did_not_take() {
    let world = world_with(break_log).await;
    let reply = world.post(ADMIN, "/v1/notifications", &booking("b-1")).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "1"));
    let batch = world.post_raw(ADMIN, "/v1/notifications/batch", &[], booking("b-1").to_string()).await;
    assert_eq!(batch.json["results"][0]["error"]["status"], 503);
    assert_eq!(world.get(ADMIN, "/v1/status").await.status, 503);
    assert_eq!(world.get(ADMIN, "/v1/notifications").await.status, 500);
    assert_eq!(world.get(ADMIN, "/readyz").await.status, 503);
    assert_eq!(world.get(ADMIN, "/healthz").await.status, 200);
    for text in [reply.text, batch.text] {
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn a_panic_is_one_failed_request() {
    let world = world_with(break_log).await;
    let path = "/v1/notifications/11111111-1111-1111-1111-111111111111";
    for _ in 0..3 {
        let reply = world.get(ADMIN, path).await;
        assert_eq!((reply.status, reply.pointers().len()), (500, 0));
        assert!(!reply.text.contains("purpose"), "{}", reply.text);
    }
}

/// How many are due for the sweeper a minute from now, by which time every lost message is missed.
async fn due(world: &World) -> usize {
    let later = world.clock.now().plus(Duration::from_secs(60));
    world.log.due(later, 1000).await.unwrap().len()
}

#[tokio::test]
async fn a_redrive_killed_midway_is_resumed_and_nothing_is_lost() {
    let asked = Arc::new(Notify::new());
    let queue = Arc::new(Unreachable { hangs: true, asked: Arc::clone(&asked) });
    let world = world_with(|state| {
        state.queue = queue;
        state.config.queue_timeout = Duration::from_millis(50);
        take_in_turn(state);
    })
    .await;
    for i in 0..10 {
        let id = world.hand_in(ADMIN, &booking(&format!("f-{i}"))).await;
        world.fail(&id, "bad_request").await;
        asked.notified().await;
    }
    let id = world.ask(ADMIN, &json!({"action": "redrive"})).await;
    let mut work = world.take().await;
    tokio::select! {
        outcome = world.go_on(&mut work) => panic!("not killed: {outcome:?}"),
        // The log has the facts, the queue has nothing: the worst moment.
        () = asked.notified() => {}
    }
    drop(work);
    assert_eq!(due(&world).await, 4, "the sweeper will bring them");
    world.runner.interrupt_left_behind().await.unwrap();
    assert_eq!(world.shown(&id).await["state"], "interrupted");
    world.post(ADMIN, &format!("/v1/jobs/{id}/resume"), &json!({})).await;
    let mut work = world.runner.take(&id).await.unwrap().unwrap();
    world.go_on(&mut work).await;
    assert_eq!((work.job.progress.done, due(&world).await), (10, 10));
}
