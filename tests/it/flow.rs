//! The main job, end to end: in, out, back, and again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use kakitome::clock::{Clock, Timestamp};
use kakitome::message_log::sqlite::SqliteLog;
use kakitome::queue::sqlite::SqliteQueue;
use kakitome::queue::{Delivery, Depth, Message, Queue, QueueError, Receipt, Settlement};
use kakitome::recovery::sweep::{self, Sweeper, Swept};
use kakitome::sqlite::Engine;
use serde_json::{Value, json};

use super::conformance;
use super::world::{World, booking};

fn ahead(span: Duration) -> Value {
    json!(Clock::system().now().plus(span).to_string())
}

#[tokio::test]
async fn a_booking_is_accepted_sent_tracked_and_shown() {
    let world = World::open(&[], "").await;
    let (status, answer) = world.post("/v1/notifications", &booking("b1")).await;
    assert_eq!((status, &answer["duplicate"]), (202, &json!(false)));
    let id = answer["id"].as_str().unwrap();
    let record = world.record_when(id, |record| record["recipients"][0]["status"] == "delivered").await;
    assert_eq!(record["status"], "sent");
    assert_eq!(record["provider"], "sandbox");
    assert_eq!(record["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(record["attempts"][0]["outcome"], "accepted");
    assert_eq!(record["attempts"][0]["http_status"], 202);
    let kinds: Vec<_> = record["events"].as_array().unwrap().iter().map(|event| &event["kind"]).collect();
    assert!(kinds.contains(&&json!("processed")) && kinds.contains(&&json!("delivered")), "{kinds:?}");
    let mails = world.sandbox().mails(10);
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].message_id, record["provider_message_id"].as_str().unwrap());
    world.close().await;
}

#[tokio::test]
async fn the_same_key_100_times_in_parallel_is_one_mail() {
    let world = World::open(&[], "").await;
    let booking = booking("pressed-twice");
    let answers = join_all((0..100).map(|_| world.post("/v1/notifications", &booking))).await;
    let first: Vec<_> = answers.iter().filter(|(status, _)| *status == 202).collect();
    assert_eq!(first.len(), 1, "{answers:?}");
    for (status, answer) in &answers {
        assert!(matches!(status, 200 | 202), "{status} {answer}");
        assert_eq!(answer["id"], first[0].1["id"]);
        assert_eq!(answer["duplicate"], json!(*status == 200));
    }
    world.record_with_status(first[0].1["id"].as_str().unwrap(), "sent").await;
    assert_eq!(world.sandbox().stats().accepted, 1);
    world.close().await;
}

#[tokio::test]
async fn every_sample_booking_is_taken_by_the_strict_provider() {
    let world = World::open(&[("worker.hold", "10s")], "").await;
    let bookings: Vec<Value> = include_str!("../../examples/bookings.ndjson")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(bookings.len(), 1000);
    let (status, answer) = world.post("/v1/notifications/batch", &json!(bookings)).await;
    assert_eq!(status, 207);
    let refused: Vec<_> =
        answer["results"].as_array().unwrap().iter().filter(|result| result["id"].is_null()).collect();
    assert!(refused.is_empty(), "{refused:?}");
    world.wait_for_count("sent", 1000).await;
    let stats = world.sandbox().stats();
    assert_eq!((stats.accepted, stats.duplicates, stats.refused), (1000, 0, 0));
    world.close().await;
}

#[tokio::test]
async fn an_answer_that_is_lost_after_acceptance_is_settled_by_the_event_and_never_sent_twice() {
    let world = World::open(&[], "reset-after-accept=100%").await;
    let ids = world.accept_many(20).await;
    for id in &ids {
        let record = world.record_with_status(id, "sent").await;
        assert_eq!(record["attempts"].as_array().unwrap().len(), 1, "{record:#}");
    }
    assert_eq!((world.sandbox().stats().accepted, world.sandbox().stats().duplicates), (20, 0));
    world.close().await;
}

#[tokio::test]
async fn an_unknown_outcome_is_resent_once_the_webhook_is_heard_past_it() {
    let world = World::open(&[("worker.witness_cap", "1h")], "5xx=100%:status=500").await;
    let id = world.accept("unknown", |_| {}).await;
    let record = world.record_with_status(&id, "unknown").await;
    assert_eq!(record["attempts"][0]["outcome"], "unknown");
    assert_eq!(record["attempts"][0]["http_status"], 500);
    world.play("");
    // Other mails' events show that the webhook is alive, and, sooner or later, past the time in question.
    for other in 0.. {
        assert!(other < 1000, "{:#}", world.record(&id).await);
        let other = world.accept(&format!("other-{other}"), |_| {}).await;
        world.record_when(&other, |record| record["recipients"][0]["status"] == "delivered").await;
        if world.record(&id).await["status"] == "sent" {
            break;
        }
    }
    let record = world.record(&id).await;
    assert_eq!(record["attempts"].as_array().unwrap().len(), 2, "{record:#}");
    assert_eq!(world.sandbox().stats().duplicates, 0);
    world.close().await;
}

#[tokio::test]
async fn an_unknown_outcome_is_held_where_the_producer_forbids_a_resend() {
    let world = World::open(&[], "5xx=100%").await;
    let id = world.accept("hold", |booking| booking["on_unknown"] = json!("hold")).await;
    let record = world.record_with_status(&id, "held").await;
    assert_eq!(record["reason"], "unknown_outcome");
    world.play("");
    let (status, _) = world.post(&format!("/v1/notifications/{id}/release"), &json!({})).await;
    assert_eq!(status, 200);
    world.record_with_status(&id, "sent").await;
    world.close().await;
}

#[tokio::test]
async fn used_up_attempts_become_a_dead_letter_that_a_redrive_sends() {
    let world = World::open(&[("worker.max_attempts", "1")], "").await;
    for i in 0..3 {
        // Only the failure of a provider that is well for others counts against a mail.
        world.play("");
        let fine = world.accept(&format!("fine-{i}"), |_| {}).await;
        world.record_with_status(&fine, "sent").await;
        world.play("429=100%");
        let id = world.accept(&format!("dead-{i}"), |_| {}).await;
        let record = world.record_with_status(&id, "failed").await;
        assert_eq!(record["reason"], "attempts_exhausted");
        assert_eq!(record["attempts"][0]["http_status"], 429);
        assert_eq!(record["next_attempt_at"], Value::Null);
    }
    let order =
        |dry_run: bool| json!({"action": "redrive", "filter": {"status": ["failed"]}, "dry_run": dry_run});
    let (_, preview) = world.post("/v1/jobs", &order(true)).await;
    assert_eq!(preview["matched"], 3);
    assert_eq!(
        (&preview["groups"][0]["reason"], &preview["groups"][0]["count"]),
        (&json!("attempts_exhausted"), &json!(3))
    );
    world.play("");
    let (status, job) = world.post("/v1/jobs", &order(false)).await;
    assert_eq!(status, 202);
    world.wait_for_count("sent", 6).await;
    let job = world.job_when(&job["id"], |job| job["state"] == "done").await;
    assert_eq!((&job["progress"]["done"], &job["progress"]["sent"]), (&json!(3), &json!(3)));
    let (_, again) = world.post("/v1/jobs", &order(true)).await;
    assert_eq!(again["matched"], 0);
    assert_eq!(world.sandbox().stats().accepted, 6);
    world.close().await;
}

#[tokio::test]
async fn nothing_is_sent_before_its_deliver_at() {
    let world = World::open(&[], "").await;
    let due = Clock::system().now().plus(Duration::from_secs(2));
    let id = world.accept("later", |booking| booking["deliver_at"] = json!(due.to_string())).await;
    assert_eq!(world.record(&id).await["status"], "scheduled");
    let record = world.record_with_status(&id, "sent").await;
    let sent_at = record["sent_at"].as_str().and_then(Timestamp::parse).unwrap();
    assert!(sent_at >= due, "{record:#}");
    world.close().await;
}

#[tokio::test]
async fn nothing_is_sent_after_its_useful_until() {
    let world = World::open(&[], "429=100%").await;
    let span = Duration::from_secs(2);
    let id = world.accept("tonight", |booking| booking["useful_until"] = ahead(span)).await;
    let record = world.record_with_status(&id, "expired").await;
    assert_eq!(record["reason"], "deadline_over");
    world.play("");
    let (status, _) = world.post(&format!("/v1/notifications/{id}/redrive"), &json!({})).await;
    assert_eq!(status, 409);
    let mut late = booking("late");
    late["useful_until"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(world.post("/v1/notifications", &late).await.0, 422);
    assert_eq!(world.sandbox().stats().accepted, 0);
    world.close().await;
}

#[tokio::test]
async fn what_is_cancelled_while_it_waits_is_never_sent() {
    let world = World::open(&[], "").await;
    let span = Duration::from_secs(2);
    let id = world.accept("withdrawn", |booking| booking["deliver_at"] = ahead(span)).await;
    let other = world.accept("kept", |booking| booking["deliver_at"] = ahead(span)).await;
    let (status, record) =
        world.post(&format!("/v1/notifications/{id}/cancel"), &json!({"reason": "withdrawn"})).await;
    assert_eq!(
        (status, &record["status"], &record["reason"]),
        (200, &json!("cancelled"), &json!("withdrawn"))
    );
    world.record_with_status(&other, "sent").await;
    assert_eq!(world.record(&id).await["status"], "cancelled");
    assert_eq!(world.sandbox().stats().accepted, 1);
    world.close().await;
}

#[tokio::test]
async fn a_stopped_house_goes_on_where_it_was_when_it_is_opened_again() {
    let world = World::open(&[], "outage:for=1h:mode=refuse").await;
    let ids = world.accept_many(30).await;
    let world = world.reopen(&[], "").await;
    for id in &ids {
        world.record_with_status(id, "sent").await;
    }
    let stats = world.sandbox().stats();
    assert_eq!((stats.distinct, stats.duplicates), (30, 0));
    world.close().await;
}

#[tokio::test]
async fn events_that_come_twice_late_and_in_disorder_end_the_same() {
    let world =
        World::open(&[], "webhook-duplicate=50%,webhook-reorder=50%,webhook-delay=1s,bounce=30%").await;
    let ids = world.accept_many(40).await;
    let mut ends = std::collections::BTreeMap::new();
    for id in &ids {
        let ended = |record: &Value| {
            matches!(
                record["recipients"][0]["status"].as_str(),
                Some("delivered" | "bounced" | "blocked" | "dropped")
            )
        };
        let record = world.record_when(id, ended).await;
        assert_eq!(record["status"], "sent");
        *ends.entry(record["recipients"][0]["status"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert!(ends.len() > 1, "{ends:?}");
    world.close().await;
}

#[tokio::test]
async fn a_queue_that_lost_everything_is_filled_again_from_the_log() {
    let (home, lost) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let clock = Clock::manual(Timestamp::from_ms(1_800_000_000_000));
    let engine = |home: &tempfile::TempDir| Engine::open(home.path(), Default::default()).unwrap();
    let log = Arc::new(SqliteLog::new(engine(&home)));
    let ids: BTreeSet<_> = join_all((0..10).map(|i| {
        let key = Some(format!("open-{i}"));
        conformance::accept(&*log, clock.now(), |n| n.idempotency_key = key)
    }))
    .await
    .into_iter()
    .collect();
    let done = conformance::accept(&*log, clock.now(), |n| n.idempotency_key = Some("done".into())).await;
    conformance::send(&*log, done, "m1", clock.now()).await;
    // Every message went with the queue; this one knows of nothing.
    let queue = SqliteQueue::open(engine(&lost), clock.clone(), Default::default()).await.unwrap();
    let queue = Arc::new(queue);
    let sweeper = Sweeper::new(log, queue.clone(), clock.clone(), sweep::Config::default());
    assert_eq!(sweeper.step().await.unwrap(), Swept::default(), "they may still have their messages");
    clock.advance(Duration::from_secs(61));
    assert_eq!(sweeper.step().await.unwrap(), Swept { enqueued: 10, ..Swept::default() });
    assert_eq!(sweeper.step().await.unwrap(), Swept::default(), "once is enough");
    let received = queue.receive(100, Duration::ZERO).await.unwrap();
    assert_eq!(received.len(), 10);
    assert_eq!(received.iter().map(|delivery| delivery.id).collect::<BTreeSet<_>>(), ids);
}

#[tokio::test]
async fn after_a_crash_what_had_no_message_yet_does_not_wait_for_the_sweepers_minute() {
    let home = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Timestamp::from_ms(1_800_000_000_000));
    let engine = Engine::open(home.path(), Default::default()).unwrap();
    let log = Arc::new(SqliteLog::new(engine.clone()));
    let queue = SqliteQueue::open(engine, clock.clone(), Default::default()).await.unwrap();
    let queue = Arc::new(queue);
    let id = conformance::accept(&*log, clock.now(), |_| {}).await;
    let sweeper = Sweeper::new(log, queue.clone(), clock, sweep::Config::default());
    assert_eq!(sweeper.first_step().await.unwrap().enqueued, 1);
    assert_eq!(sweeper.first_step().await.unwrap().enqueued, 0);
    assert_eq!(queue.receive(1, Duration::ZERO).await.unwrap()[0].id, id);
}

/// A queue that says nothing of which messages it has, as SQS does, and counts more than there should be.
#[derive(Debug)]
struct Crowded(SqliteQueue);

#[async_trait::async_trait]
impl Queue for Crowded {
    async fn send_batch(&self, messages: &[Message]) -> Vec<Result<(), QueueError>> {
        self.0.send_batch(messages).await
    }
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, QueueError> {
        self.0.receive(max, wait).await
    }
    async fn extend(&self, receipts: &[Receipt], for_: Duration) -> Vec<Result<(), QueueError>> {
        self.0.extend(receipts, for_).await
    }
    async fn settle(&self, settled: Vec<(Delivery, Settlement)>) -> Vec<Result<(), QueueError>> {
        self.0.settle(settled).await
    }
    async fn depth(&self) -> Result<Depth, QueueError> {
        let depth = self.0.depth().await?;
        Ok(Depth { in_flight: depth.in_flight + 64, ..depth })
    }
}

#[tokio::test]
async fn after_a_crash_what_had_no_message_yet_gets_one_although_others_left_theirs_behind() {
    let home = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Timestamp::from_ms(1_800_000_000_000));
    let engine = Engine::open(home.path(), Default::default()).unwrap();
    let log = Arc::new(SqliteLog::new(engine.clone()));
    let queue = SqliteQueue::open(engine, clock.clone(), Default::default()).await.unwrap();
    let queue = Arc::new(Crowded(queue));
    let id = conformance::accept(&*log, clock.now(), |_| {}).await;
    let sweeper = Sweeper::new(log, queue.clone(), clock, sweep::Config::default());
    assert_eq!(sweeper.first_step().await.unwrap().enqueued, 1);
    assert_eq!(queue.receive(1, Duration::ZERO).await.unwrap()[0].id, id);
}
