//! The proof: what it rests on, and that nothing is taken for well that did not answer. And what a record says of the
//! acts upon it and of what comes next.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kakitome::clock::Timestamp;
use kakitome::jobs::{Action, Job, JobState, Lease, Pace, Progress, Selection};
use kakitome::journal::{self, Document, Journal, JournalError, Kind, Put};
use kakitome::notification::NotificationId;
use kakitome::queue::Settlement;
use kakitome::stops::{Scope, Stop, StopKind, Stops};
use serde_json::{Value, json};

use super::world::{ADMIN, HOTEL, READER, World, api_world, booking, booking_with, world_with};

/// A world, its journal and its stops.
async fn world() -> (World, Arc<dyn Journal>, Stops) {
    let seen = Arc::new(Mutex::new(None));
    let place = seen.clone();
    let world = world_with(move |state| {
        *place.lock().unwrap() = Some((state.journal.clone(), state.stops.clone()));
    })
    .await;
    let (journal, stops) = seen.lock().unwrap().take().unwrap();
    (world, journal, stops)
}

async fn prove(world: &World, key: &str) -> Value {
    let reply = world.get(key, "/v1/status?prove=true").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let proof = reply.json;
    assert_eq!(proof["converged"], proof["open"].as_array().unwrap().is_empty(), "{proof}");
    proof
}

fn open(proof: &Value) -> Vec<String> {
    let tell = |open: &Value| {
        format!("{}:{}:{}", open["source"].as_str().unwrap(), open["what"].as_str().unwrap(), open["count"])
    };
    proof["open"].as_array().unwrap().iter().map(tell).collect()
}

fn job(state: JobState, planned: u64, tenant: Option<&str>, now: Timestamp) -> Job {
    Job {
        id: format!("job-{planned}"),
        action: Action::Redrive,
        selection: Selection { tenant: tenant.map(str::to_owned), ..Selection::default() },
        scope: None,
        pace: Pace::default(),
        who: "admin".into(),
        why: Some("key mended".into()),
        created_at: now,
        state,
        note: None,
        lease: Some(Lease { owner: "p".into(), until: now.plus(Duration::from_secs(10)) }),
        ended_at: None,
        progress: Progress { planned, done: 1, ..Progress::default() },
        cursor: None,
        behind: None,
        page: Vec::new(),
        awaited: Vec::new(),
    }
}

async fn keep(journal: &dyn Journal, job: &Job) {
    let put = journal.put(Kind::Job, &job.id, &journal::write(job), 0, None).await;
    assert_eq!(put.unwrap(), Put::Done(1));
}

fn stop(scope: Scope, since: Timestamp) -> Stop {
    let (who, reason) = ("admin".into(), "wrong date".into());
    let id = format!("stop-{}", scope.tenant.as_deref().unwrap_or("all"));
    Stop { id, kind: StopKind::Hold, scope, who, reason, since, accepted_before: None }
}

#[tokio::test]
async fn an_empty_house_is_converged_and_says_where_it_looked() {
    let world = api_world().await;
    let proof = prove(&world, ADMIN).await;
    assert_eq!((&proof["converged"], open(&proof)), (&json!(true), vec![]));
    let evidence = &proof["evidence"];
    for source in ["queue", "log", "dead_letters", "jobs", "stops", "provider_scheduled", "providers"] {
        let read = &evidence[source];
        assert_eq!((read["answered"].as_bool(), &read["read_at"]), (Some(true), &proof["now"]), "{source}");
        assert!(read["source"].is_string());
    }
    assert_eq!(evidence["provider_scheduled"]["at_provider"], 0);
    assert!(evidence["provider_scheduled"]["note"].as_str().unwrap().starts_with("kakitome never uses"));
    let plain = world.get(ADMIN, "/v1/status").await.json;
    assert_eq!((&plain["converged"], &plain["evidence"]), (&Value::Null, &Value::Null));
    for wrong in ["prove=maybe", "prov=true"] {
        let refused = world.get(ADMIN, &format!("/v1/status?{wrong}")).await;
        assert_eq!((refused.status, refused.pointers()), (422, vec!["/prove"]), "{wrong}");
    }
}

#[tokio::test]
async fn what_is_open_is_told_by_status_and_age_until_its_end() {
    let (world, ..) = world().await;
    let first = world.hand_in(ADMIN, &booking("a")).await;
    world.clock.advance(Duration::from_secs(700));
    let second = world.hand_in(ADMIN, &booking("b")).await;
    let later = booking_with("c", json!({"deliver_at": "2026-12-01T00:00:00Z"}));
    let third = world.hand_in(ADMIN, &later).await;
    let proof = prove(&world, ADMIN).await;
    assert_eq!(open(&proof), ["log:accepted:2", "log:scheduled:1", "queue:messages:2"]);
    let standing = &proof["evidence"]["log"]["standings"][0];
    let ages = |status: &Value| {
        let age = |name: &str| status["by_age"][name].as_u64().unwrap();
        ["not_due", "under_1m", "under_10m", "under_1h", "under_24h", "older"].map(age)
    };
    assert_eq!(
        (&standing["status"], &standing["count"], ages(standing)),
        (&json!("accepted"), &json!(2), [0, 1, 0, 1, 0, 0])
    );
    assert_eq!(standing["oldest_since"], "2026-11-21T09:00:00.000Z");
    assert_eq!(ages(&proof["evidence"]["log"]["standings"][1]), [1, 0, 0, 0, 0, 0]);
    assert_eq!(proof["evidence"]["provider_scheduled"]["in_log"], 1);
    world.fail(&first, "refused_400").await;
    for id in [&second, &third] {
        let cancelled = world.post_raw(ADMIN, &format!("/v1/notifications/{id}/cancel"), &[], "").await;
        assert_eq!(cancelled.status, 200);
    }
    // Their queue copies are for nothing, and this queue can tell.
    let proof = prove(&world, ADMIN).await;
    assert_eq!((&proof["converged"], open(&proof)), (&json!(true), vec![]));
    let queue = &proof["evidence"]["queue"];
    assert_eq!((&queue["spent"], &queue["depth"]["visible"]), (&json!(2), &json!(2)));
    assert!(queue["note"].as_str().unwrap().contains("nothing can be sent for them"));
    assert_eq!(proof["evidence"]["dead_letters"]["in_log"], 1);
}

#[tokio::test]
async fn a_queue_message_of_which_nobody_knows_that_it_is_for_nothing_is_not_yet_the_end() {
    let (world, ..) = world().await;
    let id = world.hand_in(ADMIN, &booking("a")).await;
    let mut taken = world.queue.receive(10, Duration::ZERO).await.unwrap();
    assert_eq!(open(&prove(&world, ADMIN).await), ["log:accepted:1", "queue:messages:1"]);
    world.fail(&id, "refused_400").await;
    let done = (taken.remove(0), Settlement::Done);
    assert!(world.queue.settle(vec![done]).await.iter().all(Result::is_ok));
    let strange = kakitome::queue::Message {
        id: NotificationId::fresh(),
        tenant: "default".into(),
        priority: Default::default(),
        delay: Duration::from_secs(60),
        content: None,
        fresh: None,
    };
    assert!(world.queue.send_batch(&[strange]).await.iter().all(Result::is_ok));
    assert_eq!(open(&prove(&world, ADMIN).await), ["queue:messages:1"]);
}

#[tokio::test]
async fn a_job_that_can_still_send_is_not_yet_the_end_and_a_stopped_one_is_named() {
    let (world, journal, _) = world().await;
    let now = world.clock.now();
    keep(&*journal, &job(JobState::Done, 1, None, now)).await;
    keep(&*journal, &job(JobState::Stopped, 7, None, now)).await;
    keep(&*journal, &job(JobState::Watching, 5, None, now)).await;
    let proof = prove(&world, ADMIN).await;
    assert_eq!((&proof["converged"], proof["jobs"].as_array().unwrap().len()), (&json!(true), 2));
    keep(&*journal, &job(JobState::Running, 10, Some("default"), now)).await;
    keep(&*journal, &job(JobState::Interrupted, 4, None, now)).await;
    let proof = prove(&world, ADMIN).await;
    assert_eq!(open(&proof), ["job:job-4:3", "job:job-10:9"]);
    let running = proof["jobs"].as_array().unwrap().iter().find(|job| job["id"] == "job-10").unwrap();
    assert_eq!((&running["left"], &running["is_orphaned"]), (&json!(9), &json!(false)));
    world.clock.advance(Duration::from_secs(60));
    let later = prove(&world, ADMIN).await;
    let running = later["jobs"].as_array().unwrap().iter().find(|job| job["id"] == "job-10").unwrap();
    assert_eq!(running["is_orphaned"], true);
    // Another tenant's is not shown, and counts all the same.
    let hotel = prove(&world, HOTEL).await;
    assert!(hotel["jobs"].as_array().unwrap().iter().all(|job| job["tenant"] != "default"));
    assert_eq!(open(&hotel).len(), 2);
}

/// A journal that cannot be reached.
struct Away;

#[async_trait]
impl Journal for Away {
    async fn get(&self, _: Kind, _: &str) -> Result<Option<Document>, JournalError> {
        Err(JournalError::Unavailable("away".into()))
    }
    async fn put(
        &self,
        _: Kind,
        _: &str,
        _: &str,
        _: u64,
        _: Option<Timestamp>,
    ) -> Result<Put, JournalError> {
        Err(JournalError::Unavailable("away".into()))
    }
    async fn delete(&self, _: Kind, _: &str) -> Result<(), JournalError> {
        Err(JournalError::Unavailable("away".into()))
    }
    async fn list(&self, _: Kind, _: Option<&str>, _: usize) -> Result<Vec<Document>, JournalError> {
        Err(JournalError::Unavailable("away".into()))
    }
}

#[tokio::test]
async fn a_source_that_does_not_answer_is_never_converged() {
    let world = world_with(|state| state.journal = Arc::new(Away)).await;
    let proof = prove(&world, ADMIN).await;
    assert_eq!(open(&proof), ["unread:journal:null"]);
    assert_eq!((&proof["jobs"], &proof["evidence"]["jobs"]["answered"]), (&Value::Null, &json!(false)));

    let queue = Arc::new(super::outage::Unreachable::default());
    let world = world_with(|state| state.queue = queue).await;
    let proof = prove(&world, ADMIN).await;
    assert_eq!(open(&proof), ["unread:queue:null"]);
    assert_eq!(proof["evidence"]["dead_letters"]["in_queue"], Value::Null);

    let world = world_with(super::outage::break_log).await;
    let proof = prove(&world, ADMIN).await;
    assert_eq!(open(&proof), ["unread:log:null"]);
    assert_eq!((&proof["by_status"], &proof["drain_seconds"]), (&json!({}), &Value::Null));
}

#[tokio::test]
async fn standing_stops_are_told_to_whom_they_concern() {
    let (world, _, stops) = world().await;
    let now = world.clock.now();
    for tenant in ["hotel", "inn"] {
        let scope = Scope { tenant: Some(tenant.into()), ..Scope::default() };
        stops.set(&stop(scope, now), None).await.unwrap();
    }
    stops.set(&stop(Scope { all: true, ..Scope::default() }, now), None).await.unwrap();
    let told = async |key| world.get(key, "/v1/status").await.json["stops"].as_array().unwrap().len();
    assert_eq!((told(ADMIN).await, told(HOTEL).await), (3, 2));
}

#[tokio::test]
async fn a_record_tells_who_did_what_to_it_and_what_comes_next() {
    let (world, _, stops) = world().await;
    let id = world.hand_in(ADMIN, &booking("a")).await;
    let fresh = world.record(&id).await;
    assert_eq!((&fresh["acts"], &fresh["next"]["what"]), (&json!([]), &json!("attempt")));
    let held =
        world.post(ADMIN, &format!("/v1/notifications/{id}/hold"), &json!({"reason": "ask first"})).await;
    let act = json!({"at": "2026-11-21T09:00:00.000Z", "kind": "held", "who": "admin", "why": "ask first"});
    assert_eq!(held.json["acts"], json!([act]));
    assert_eq!(held.json["next"]["why"], "held by admin: nothing until an operator releases it");
    world.post_raw(ADMIN, &format!("/v1/notifications/{id}/release"), &[], "").await;
    let listed = world.get(ADMIN, "/v1/notifications").await.json["items"][0].clone();
    assert_eq!((listed["acts"].as_array().unwrap().len(), &listed["next"]["what"]), (2, &json!("attempt")));
    world.clock.advance(Duration::from_secs(1));
    let scope = Scope { tenant: Some("default".into()), ..Scope::default() };
    stops.set(&stop(scope, world.clock.now()), None).await.unwrap();
    let next = world.record(&id).await["next"].clone();
    assert_eq!(next["what"], "hold");
    assert_eq!(next["why"], "a standing stop keeps it back: hold of the tenant default by admin: wrong date");
}

#[tokio::test]
async fn the_next_step_of_an_unknown_heeds_the_events_of_its_provider() {
    let (world, ..) = world().await;
    let id = world.hand_in(ADMIN, &booking("a")).await;
    world.claim(&id).await;
    assert_eq!(world.record(&id).await["next"]["what"], "answer");
    world.clock.advance(Duration::from_secs(300));
    let next = world.record(&id).await["next"].clone();
    assert_eq!(
        (&next["what"], &next["at"], &next["latest"]),
        (&json!("resend"), &json!("2026-11-21T09:10:30.000Z"), &json!("2026-11-21T15:00:30.000Z"))
    );
    let event = kakitome::provider::ProviderEvent {
        provider: "sandbox".into(),
        id: None,
        provider_message_id: None,
        event_id: Some("e1".into()),
        kind: kakitome::provider::EventKind::Delivered,
        at: world.clock.now(),
        recipient: None,
        machine: false,
        lane: None,
        detail: Default::default(),
    };
    world.log.record_events(&[event], world.clock.now()).await;
    let next = world.record(&id).await["next"].clone();
    assert_eq!((&next["at"], &next["latest"]), (&json!("2026-11-21T09:10:30.000Z"), &Value::Null));
    let reader = world.get(READER, &format!("/v1/notifications/{id}")).await;
    assert_eq!(reader.status, 404, "another tenant's");
}
