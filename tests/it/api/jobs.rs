//! An act on many: counted, shown, done as a job, followed, stopped, resumed.

use std::time::Duration;

use kakitome::jobs::JobState;
use kakitome::journal::Kind;
use kakitome::notification::status::{Answer, By, Fact};
use kakitome::recovery::jobs::Outcome;
use serde_json::{Value, json};

use super::world::{ADMIN, HOTEL, READER, World, api_world, booking, booking_with};

/// Seven failed for one reason, three for another, and two that wait.
async fn dead_letters(world: &World) -> Vec<String> {
    let mut failed = Vec::new();
    for i in 0..10 {
        let id = world.hand_in(ADMIN, &booking_with(&format!("f-{i}"), json!({"batch": "tos"}))).await;
        world.fail(&id, if i < 7 { "bad_request" } else { "exhausted" }).await;
        failed.push(id);
    }
    for key in ["w-1", "w-2"] {
        world.hand_in(ADMIN, &booking_with(key, json!({"batch": "tos"}))).await;
    }
    world.drain_queue().await;
    failed.sort();
    failed
}

async fn preview(world: &World, key: &str, mut request: Value) -> Value {
    request["dry_run"] = true.into();
    let reply = world.post(key, "/v1/jobs", &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json
}

/// A worker sends it.
async fn send(world: &World, id: &str) {
    world.claim(id).await;
    let sent = Fact::Accepted { provider: "sandbox".into(), message_id: None, http_status: Some(202) };
    world.tell(id, sent).await;
}

fn redrive(pace: Value) -> Value {
    json!({"action": "redrive", "filter": {"batch": "tos"}, "pace": pace, "reason": "key is valid again"})
}

#[tokio::test]
async fn a_dry_run_counts_exactly_by_what_matters_shows_a_few_and_changes_nothing() {
    let world = api_world().await;
    dead_letters(&world).await;
    let templated = json!({"template": {"id": "d-1"}, "subject": null, "text": null,
        "useful_until": "2026-11-21T09:30:00Z", "tenant": "hotel"});
    let mut one = booking_with("t", templated);
    one.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let templated = world.hand_in(ADMIN, &one).await;
    world.fail(&templated, "bad_request").await;
    let before = world.get(ADMIN, "/v1/notifications").await.json;
    let found = preview(&world, ADMIN, json!({"action": "redrive"})).await;
    let group = |reason: &str, tenant: &str, template: Value, deadline: &str, count: u64| {
        json!({"status": "failed", "reason": reason, "tenant": tenant, "template": template,
            "deadline": deadline, "count": count})
    };
    let groups = json!([
        group("bad_request", "default", Value::Null, "none", 7),
        group("exhausted", "default", Value::Null, "none", 3),
        group("bad_request", "hotel", json!("d-1"), "within_hour", 1),
    ]);
    assert_eq!(
        (&found["matched"], &found["groups"], &found["standing"]),
        (&json!(11), &groups, &json!(false))
    );
    assert_eq!(found["samples"].as_array().map(Vec::len), Some(5));
    assert_eq!(found["samples"][0]["to"], "***@example.com");
    let ids = json!({"action": "redrive", "filter": {"ids": [templated]}});
    assert_eq!(preview(&world, ADMIN, ids).await["groups"], json!([groups[2]]));
    assert_eq!(world.get(ADMIN, "/v1/notifications").await.json, before);
    assert_eq!(world.get(ADMIN, "/v1/jobs").await.json, json!({"items": [], "next_cursor": null}));
}

#[tokio::test]
async fn a_redrive_touches_only_the_failed_and_ends_once_each_outcome_is_known() {
    let world = api_world().await;
    let failed = dead_letters(&world).await;
    let asked = world.post(ADMIN, "/v1/jobs", &redrive(json!({}))).await;
    assert_eq!((asked.status, &asked.json["state"]), (202, &json!("running")), "{}", asked.text);
    let mut work = world.take().await;
    assert!(matches!(world.go_on(&mut work).await, Outcome::Wait(_)));
    assert_eq!(
        (work.job.state, work.job.progress.done, work.job.awaited.len()),
        (JobState::Watching, 10, 10)
    );
    assert_eq!(world.drain_queue().await, failed);
    for id in &failed[..9] {
        send(&world, id).await;
    }
    world.fail(&failed[9], "bad_request").await;
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.go_on(&mut work).await, Outcome::Ended);
    let job = world.shown(&asked.id()).await;
    let expected = json!({"planned": 10, "done": 10, "refused": {}, "sent": 9, "failed": 1, "stopped": 0,
        "on_the_wire": 0, "went_out": 0});
    assert_eq!((&job["state"], &job["progress"]), (&json!("done"), &expected));
    assert_eq!((&job["who"], &job["reason"]), (&json!("admin"), &json!("key is valid again")));
    let acts = world.log.get(failed[0].parse().unwrap()).await.unwrap().unwrap().life.acts;
    assert_eq!(acts[0].who, format!("job {}", asked.id()));
    assert_eq!(acts[0].why.as_deref(), Some("key is valid again"));
}

#[tokio::test]
async fn what_fails_again_at_once_is_not_redriven_again_by_the_same_job() {
    let world = api_world().await;
    let failed = dead_letters(&world).await;
    world.ask(ADMIN, &redrive(json!({}))).await;
    let mut work = world.take().await;
    assert_eq!(world.runner.step(&mut work).await.unwrap(), Outcome::Again);
    assert_eq!(world.runner.step(&mut work).await.unwrap(), Outcome::Again);
    world.clock.advance(Duration::from_millis(1));
    for id in &failed {
        if world.record(id).await["status"] == "retrying" {
            world.fail(id, "bad_request").await;
        }
    }
    world.clock.advance(Duration::from_secs(1));
    world.go_on(&mut work).await;
    assert_eq!((work.job.progress.done, work.job.progress.failed), (10, 4));
    assert_eq!(world.drain_queue().await.len(), 10);
}

#[tokio::test]
async fn killed_at_any_step_it_is_interrupted_resumed_and_counts_each_once() {
    for killed_after in 0..8 {
        let world = api_world().await;
        let failed = dead_letters(&world).await;
        let id = world.ask(ADMIN, &redrive(json!({}))).await;
        let mut work = world.take().await;
        for _ in 0..killed_after {
            world.runner.step(&mut work).await.unwrap();
        }
        // Killed: what it knew is gone, its lease stands.
        drop(work);
        assert!(world.runner.take(&id).await.unwrap().is_none(), "somebody else's while the lease lasts");
        world.clock.advance(Duration::from_secs(11));
        if let Some(mut watching) = world.runner.take(&id).await.unwrap() {
            assert_eq!(watching.job.state, JobState::Watching, "only what sends nothing goes on by itself");
            world.go_on(&mut watching).await;
        } else {
            assert_eq!(world.shown(&id).await["state"], "interrupted");
            assert!(world.runner.take(&id).await.unwrap().is_none());
            let resumed = world.post(ADMIN, &format!("/v1/jobs/{id}/resume"), &json!({})).await;
            assert_eq!((resumed.status, &resumed.json["state"]), (200, &json!("running")));
            let mut work = world.runner.take(&id).await.unwrap().unwrap();
            world.go_on(&mut work).await;
        }
        let job = world.shown(&id).await;
        assert_eq!(job["progress"]["done"], 10, "killed after {killed_after} steps: {job:#}");
        assert_eq!((&job["progress"]["refused"], &job["awaited"]), (&json!({}), &json!(10)));
        assert_eq!(world.drain_queue().await, failed);
        for id in &failed {
            let record = world.log.get(id.parse().unwrap()).await.unwrap().unwrap();
            assert_eq!(record.life.acts.len(), 1);
        }
    }
}

#[tokio::test]
async fn a_process_that_has_the_storage_for_itself_says_at_once_what_was_left_behind() {
    let world = api_world().await;
    dead_letters(&world).await;
    let id = world.ask(ADMIN, &redrive(json!({}))).await;
    let mut work = world.take().await;
    world.runner.step(&mut work).await.unwrap();
    world.runner.interrupt_left_behind().await.unwrap();
    let job = world.shown(&id).await;
    assert_eq!(
        (&job["state"], &job["note"]),
        (&json!("interrupted"), &json!("the process that did it is gone"))
    );
    // The one that is thought gone and is not finds that the job is not its own any more, and lets go of it.
    assert_eq!(world.go_on(&mut work).await, Outcome::Lost);
}

#[tokio::test]
async fn a_job_that_no_process_took_in_time_does_not_come_to_life_later() {
    let world = api_world().await;
    dead_letters(&world).await;
    let id = world.ask(ADMIN, &redrive(json!({}))).await;
    world.clock.advance(Duration::from_secs(61));
    assert!(world.runner.take(&id).await.unwrap().is_none());
    assert_eq!(world.shown(&id).await["note"], "no process took it within a minute");
}

#[tokio::test]
async fn a_canary_goes_first_and_too_many_failures_stop_the_job_by_itself() {
    let world = api_world().await;
    let failed = dead_letters(&world).await;
    let id = world.ask(ADMIN, &redrive(json!({"canary": 3, "stop_above_percent": 30}))).await;
    let mut work = world.take().await;
    assert!(matches!(world.go_on(&mut work).await, Outcome::Wait(_)));
    let canary = world.drain_queue().await;
    assert_eq!((canary.len(), world.shown(&id).await["state"].clone()), (3, json!("canary")));
    send(&world, &canary[0]).await;
    world.clock.advance(Duration::from_secs(1));
    assert!(matches!(world.go_on(&mut work).await, Outcome::Wait(_)), "two are not known yet");
    // One fails for good, one in an attempt only.
    world.fail(&canary[1], "bad_request").await;
    let token = world.claim(&canary[2]).await;
    let due_at = world.clock.now().plus(Duration::from_secs(600));
    let answer = Answer { http_status: Some(503), error: None };
    world.tell(&canary[2], Fact::NotAccepted { token, answer, due_at, counts: true }).await;
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.go_on(&mut work).await, Outcome::Ended);
    let job = world.shown(&id).await;
    assert_eq!(
        (&job["state"], &job["note"]),
        (&json!("stopped"), &json!("2 of 3 failed again: more than 30 percent"))
    );
    assert_eq!(job["progress"]["done"], 3);
    assert!(world.drain_queue().await.is_empty());

    // Whoever resumes it has seen that: it goes on with the others.
    world.post(ADMIN, &format!("/v1/jobs/{id}/resume"), &json!({})).await;
    let mut work = world.runner.take(&id).await.unwrap().unwrap();
    world.go_on(&mut work).await;
    assert_eq!(world.drain_queue().await.len(), failed.len() - 3);
}

#[tokio::test]
async fn a_canary_that_lives_lets_the_others_go() {
    let world = api_world().await;
    dead_letters(&world).await;
    world.ask(ADMIN, &redrive(json!({"canary": 2}))).await;
    let mut work = world.take().await;
    world.go_on(&mut work).await;
    for id in world.drain_queue().await {
        send(&world, &id).await;
    }
    world.clock.advance(Duration::from_secs(1));
    world.go_on(&mut work).await;
    assert_eq!((work.job.progress.done, work.job.progress.sent), (10, 2));
    assert_eq!(world.drain_queue().await.len(), 8);
}

#[tokio::test]
async fn a_rate_is_kept() {
    let world = api_world().await;
    dead_letters(&world).await;
    world.ask(ADMIN, &redrive(json!({"per_second": 2}))).await;
    let mut work = world.take().await;
    for second in 0..4 {
        world.go_on(&mut work).await;
        let done = work.job.progress.done;
        assert!(done <= second * 2 + 1, "{done} after {second} s");
        for _ in 0..2 {
            world.clock.advance(Duration::from_millis(500));
            world.go_on(&mut work).await;
        }
    }
    assert_eq!(work.job.progress.done, 9);
}

#[tokio::test]
async fn deadlines_hold_unless_the_operator_says_otherwise() {
    let world = api_world().await;
    for i in 0..6 {
        let until = if i < 3 { "2026-11-21T09:30:00Z" } else { "2026-11-21T23:00:00Z" };
        let id = world.hand_in(ADMIN, &booking_with(&format!("f-{i}"), json!({"useful_until": until}))).await;
        world.fail(&id, "bad_request").await;
    }
    let expired = json!({"useful_until": "2026-11-21T09:10:00Z"});
    let expired = world.hand_in(ADMIN, &booking_with("expired", expired)).await;
    world.clock.advance(Duration::from_secs(3600));
    world.tell(&expired, Fact::Expired).await;
    world.drain_queue().await;
    let job = world.job(ADMIN, &json!({"action": "redrive"})).await;
    assert_eq!(
        (&job["progress"]["done"], &job["progress"]["refused"]),
        (&json!(3), &json!({"deadline_over": 3}))
    );
    assert_eq!(world.drain_queue().await.len(), 3);
    let late = json!({"action": "redrive", "pace": {"late": true}});
    assert_eq!(preview(&world, ADMIN, late.clone()).await["matched"], 4);
    assert_eq!(world.job(ADMIN, &late).await["progress"]["done"], 4);
    assert_eq!(world.drain_queue().await.len(), 4);
    assert_eq!(world.record(&expired).await["useful_until"], Value::Null);
}

#[tokio::test]
async fn a_stopped_job_turns_no_further_page_and_can_be_resumed() {
    let world = api_world().await;
    dead_letters(&world).await;
    let id = world.ask(ADMIN, &redrive(json!({}))).await;
    let mut work = world.take().await;
    world.runner.step(&mut work).await.unwrap();
    let stop = format!("/v1/jobs/{id}/stop");
    let stopped = world.post(ADMIN, &stop, &json!({})).await;
    assert_eq!(
        (&stopped.json["state"], &stopped.json["note"]),
        (&json!("stopped"), &json!("stopped by admin"))
    );
    assert_eq!(world.go_on(&mut work).await, Outcome::Ended);
    assert_eq!(
        (world.drain_queue().await.len(), world.shown(&id).await["progress"]["done"].clone()),
        (4, json!(4))
    );
    assert_eq!(world.post(ADMIN, &stop, &json!({})).await.status, 200, "told twice is stopped once");
    world.post(ADMIN, &format!("/v1/jobs/{id}/resume"), &json!({})).await;
    let mut work = world.runner.take(&id).await.unwrap().unwrap();
    world.go_on(&mut work).await;
    assert_eq!((world.drain_queue().await.len(), work.job.progress.done), (6, 10));
    assert_eq!(world.post(ADMIN, &stop, &json!({})).await.status, 409, "only watching now");
}

#[tokio::test]
async fn what_a_worker_holds_before_it_knows_of_the_release_is_released_too() {
    let world = api_world().await;
    dead_letters(&world).await;
    let filter = json!({"batch": "tos"});
    world.job(ADMIN, &json!({"action": "hold", "filter": filter, "reason": "wrong prices"})).await;
    let late = world.hand_in(ADMIN, &booking_with("late", json!({"batch": "tos"}))).await;
    let other_worker = async {
        // The stop is gone from the journal, and this one has not read that yet.
        while !world.journal.list(Kind::Stop, None, 10).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        world.clock.advance(Duration::from_secs(1));
        world.tell(&late, Fact::Held { by: By::new("admin", Some("wrong prices")) }).await;
    };
    let release = json!({"action": "release", "filter": filter});
    let (released, ()) = tokio::join!(world.job(ADMIN, &release), other_worker);
    assert_eq!((&released["state"], &released["progress"]["done"]), (&json!("done"), &json!(3)));
}

#[tokio::test]
async fn a_batch_is_held_released_and_cancelled_whole_and_the_hold_stands_until_then() {
    let world = api_world().await;
    dead_letters(&world).await;
    let filter = json!({"batch": "tos"});
    let held = json!({"action": "hold", "filter": filter, "reason": "wrong prices"});
    assert_eq!(preview(&world, ADMIN, held.clone()).await["standing"], true);
    assert_eq!(world.get(ADMIN, "/v1/stops").await.json["items"], json!([]));
    let job = world.job(ADMIN, &held).await;
    assert_eq!((&job["state"], &job["progress"]["done"]), (&json!("done"), &json!(2)));
    let listed = world.get(ADMIN, "/v1/notifications?status=held&reason=wrong%20prices").await;
    assert_eq!(listed.json["items"].as_array().map(Vec::len), Some(2));
    let stops = world.get(ADMIN, "/v1/stops").await.json["items"].clone();
    assert_eq!(stops.as_array().map(Vec::len), Some(1));
    assert_eq!((&stops[0]["kind"], &stops[0]["scope"]), (&json!("hold"), &json!({"batch": "tos"})));
    assert_eq!((&stops[0]["reason"], &stops[0]["who"]), (&json!("wrong prices"), &json!("admin")));
    // Held once more, one stop stands still.
    world.job(ADMIN, &held).await;
    assert_eq!(world.get(ADMIN, "/v1/stops").await.json["items"].as_array().map(Vec::len), Some(1));

    let released = world.job(ADMIN, &json!({"action": "release", "filter": filter})).await;
    assert_eq!(released["progress"]["done"], 2);
    assert_eq!(world.get(ADMIN, "/v1/stops").await.json["items"], json!([]));
    assert_eq!(world.drain_queue().await.len(), 2);
    let cancelled = world.job(ADMIN, &json!({"action": "cancel", "filter": filter})).await;
    assert_eq!(cancelled["progress"]["done"], 12);
    let status = world.get(ADMIN, "/v1/status").await.json;
    assert_eq!(status["by_status"]["cancelled"], 12);
    let stop = &world.get(ADMIN, "/v1/stops").await.json["items"][0];
    assert_eq!(
        (&stop["kind"], &stop["accepted_before"]),
        (&json!("cancel"), &json!("2026-11-21T09:00:00.000Z"))
    );
    world.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(
        world.get(ADMIN, "/v1/stops").await.json["items"],
        json!([]),
        "by then it has met all it could"
    );
}

#[tokio::test]
async fn what_was_on_the_wire_is_followed_and_what_comes_back_unsent_is_held() {
    let world = api_world().await;
    let mut ids = Vec::new();
    for key in ["goes-out", "comes-back", "crashes", "waits"] {
        ids.push(world.hand_in(ADMIN, &booking(key)).await);
    }
    world.claim(&ids[0]).await;
    let token = world.claim(&ids[1]).await;
    world.claim(&ids[2]).await;
    let id = world.ask(ADMIN, &json!({"action": "hold", "all": true, "reason": "find out first"})).await;
    let mut work = world.take().await;
    assert!(matches!(world.go_on(&mut work).await, Outcome::Wait(_)));
    let job = world.shown(&id).await;
    assert_eq!(
        (&job["progress"]["done"], &job["progress"]["on_the_wire"], &job["awaited"]),
        (&json!(1), &json!(3), &json!(3))
    );
    let sent = Fact::Accepted { provider: "sandbox".into(), message_id: None, http_status: Some(202) };
    world.tell(&ids[0], sent).await;
    let answer = Answer { http_status: Some(503), error: None };
    world.tell(&ids[1], Fact::NotAccepted { token, answer, due_at: world.clock.now(), counts: true }).await;
    world.clock.advance(Duration::from_secs(1));
    world.go_on(&mut work).await;
    assert_eq!(world.record(&ids[1]).await["status"], "held");
    // The last one's worker is gone: its lease ends, and it is held with its outcome unknown.
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(world.go_on(&mut work).await, Outcome::Ended);
    assert_eq!(world.record(&ids[2]).await["status"], "held");
    let job = world.shown(&id).await;
    let progress = &job["progress"];
    assert_eq!(
        (&progress["on_the_wire"], &progress["went_out"], &progress["done"]),
        (&json!(3), &json!(1), &json!(3))
    );
    let stops = world.get(ADMIN, "/v1/stops").await.json["items"].clone();
    assert_eq!(stops[0]["scope"], json!({"all": true}));
}

#[tokio::test]
async fn a_hold_meets_what_waits_for_a_retry_what_is_scheduled_and_what_a_redrive_set_on_its_way() {
    let world = api_world().await;
    let later = json!({"deliver_at": "2026-11-21T12:00:00Z"});
    let scheduled = world.hand_in(ADMIN, &booking_with("scheduled", later)).await;
    let retrying = world.hand_in(ADMIN, &booking("retrying")).await;
    let token = world.claim(&retrying).await;
    let due_at = world.clock.now().plus(Duration::from_secs(600));
    world.tell(&retrying, Fact::NotAccepted { token, answer: Answer::default(), due_at, counts: true }).await;
    let redriven = world.hand_in(ADMIN, &booking("redriven")).await;
    world.fail(&redriven, "bad_request").await;
    world.ask(ADMIN, &json!({"action": "redrive"})).await;
    let mut redrive = world.take().await;
    world.go_on(&mut redrive).await;
    let held = world.job(ADMIN, &json!({"action": "hold", "filter": {"tenant": "default"}})).await;
    assert_eq!(held["progress"]["done"], 3);
    for id in [&scheduled, &retrying, &redriven] {
        assert_eq!(world.record(id).await["status"], "held");
    }
    world.clock.advance(Duration::from_secs(1));
    world.go_on(&mut redrive).await;
    assert_eq!((redrive.job.progress.stopped, redrive.job.state), (1, JobState::Done));
}

#[tokio::test]
async fn a_provider_is_held_and_released_by_its_standing_stop_alone() {
    let world = api_world().await;
    let of_provider = |action: &str| json!({"action": action, "filter": {"provider": "sendgrid"}});
    let held = world.post(ADMIN, "/v1/jobs", &of_provider("hold")).await;
    assert_eq!((held.status, &held.json["state"]), (202, &json!("done")));
    assert_eq!(world.stops.of_provider("sendgrid").map(|stop| stop.who).as_deref(), Some("admin"));
    world.post(ADMIN, "/v1/jobs", &of_provider("release")).await;
    assert!(world.stops.of_provider("sendgrid").is_none());
    let beside = json!({"action": "hold", "filter": {"provider": "sendgrid", "batch": "tos"}});
    let refused = world.post(ADMIN, "/v1/jobs", &beside).await;
    assert_eq!((refused.status, refused.pointers()), (422, vec!["/filter/provider"]));
    let cancelled = world.post(ADMIN, "/v1/jobs", &of_provider("cancel")).await;
    assert_eq!((cancelled.status, cancelled.pointers()), (422, vec!["/filter/provider"]));
}

#[tokio::test]
async fn what_is_held_for_a_reason_is_released_in_bulk_and_no_standing_hold_goes() {
    let world = api_world().await;
    for key in ["a", "b"] {
        let id = world.hand_in(ADMIN, &booking(key)).await;
        let by = kakitome::notification::status::By::new("storm guard", Some("repeat"));
        world.tell(&id, Fact::Held { by }).await;
    }
    world.job(ADMIN, &json!({"action": "hold", "filter": {"batch": "other"}})).await;
    let released = world.job(ADMIN, &json!({"action": "release", "filter": {"reason": "repeat"}})).await;
    assert_eq!(released["progress"]["done"], 2);
    assert_eq!(world.get(ADMIN, "/v1/stops").await.json["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn named_ids_that_are_not_touched_say_why() {
    let world = api_world().await;
    let failed = dead_letters(&world).await;
    let waiting = world.hand_in(ADMIN, &booking("w-3")).await;
    let absent = "00000000-0000-0000-0000-000000000000";
    let request = json!({"action": "redrive", "filter": {"ids": [failed[0], failed[0], waiting, absent]}});
    let found = preview(&world, ADMIN, request.clone()).await;
    let details: Vec<_> = found["refused"].as_array().unwrap().iter().map(|one| &one["detail"]).collect();
    assert_eq!(details, ["its status accepted does not allow it", "there is no such notification"]);
    let job = world.job(ADMIN, &request).await;
    let progress = &job["progress"];
    assert_eq!((&progress["planned"], &progress["done"]), (&json!(1), &json!(1)));
    assert_eq!(progress["refused"], json!({"changed": 1, "absent": 1}));
    let narrowed = json!({"action": "cancel", "filter": {"ids": [waiting], "batch": "tos"}});
    assert_eq!(
        preview(&world, ADMIN, narrowed.clone()).await["refused"][0]["detail"],
        "it does not match the filter"
    );
    assert_eq!(world.job(ADMIN, &narrowed).await["progress"]["refused"], json!({"not_matching": 1}));
    let held = world.job(ADMIN, &json!({"action": "hold", "filter": {"ids": [waiting]}})).await;
    assert_eq!(held["progress"]["done"], 1);
    let stops = world.get(ADMIN, "/v1/stops").await.json["items"].clone();
    assert_eq!(stops[0]["scope"], json!({"ids": [waiting]}));
}

#[tokio::test]
async fn statuses_that_the_act_does_not_concern_match_nothing() {
    let world = api_world().await;
    dead_letters(&world).await;
    let statuses = json!({"action": "redrive", "filter": {"status": ["accepted", "sent"]}});
    assert_eq!(preview(&world, ADMIN, statuses.clone()).await["matched"], 0);
    let job = world.job(ADMIN, &statuses).await;
    assert_eq!((&job["state"], &job["progress"]["done"]), (&json!("done"), &json!(0)));
    assert!(world.drain_queue().await.is_empty());
}

#[tokio::test]
async fn a_tenant_acts_on_its_own_alone_and_sees_its_own_jobs_and_stops() {
    let world = api_world().await;
    let failed = dead_letters(&world).await;
    let theirs = world.hand_in(HOTEL, &booking("h")).await;
    let cancelled = world.job(HOTEL, &json!({"action": "cancel", "filter": {"since": "1h"}})).await;
    assert_eq!(cancelled["progress"]["done"], 1);
    assert_eq!(world.record(&theirs).await["status"], "cancelled");
    let by_id = world.job(HOTEL, &json!({"action": "redrive", "filter": {"ids": [failed[0]]}})).await;
    assert_eq!(by_id["progress"]["refused"], json!({"absent": 1}));
    for (request, pointer) in [
        (json!({"action": "cancel", "filter": {"tenant": "default"}}), "/filter/tenant"),
        (json!({"action": "hold", "all": true}), "/all"),
        (json!({"action": "hold", "filter": {"provider": "sandbox"}}), "/filter/provider"),
    ] {
        let asked = world.post(HOTEL, "/v1/jobs", &request).await;
        assert_eq!((asked.status, asked.pointers()), (403, vec![pointer]));
    }
    world.job(HOTEL, &json!({"action": "hold", "filter": {"batch": "tos"}})).await;
    let foreign = world.job(ADMIN, &json!({"action": "hold", "filter": {"tenant": "default"}})).await;
    let count =
        async |key: &str, path: &str| world.get(key, path).await.json["items"].as_array().map(Vec::len);
    assert_eq!((count(HOTEL, "/v1/jobs").await, count(ADMIN, "/v1/jobs").await), (Some(3), Some(4)));
    assert_eq!((count(HOTEL, "/v1/stops").await, count(ADMIN, "/v1/stops").await), (Some(1), Some(2)));
    let stops = world.get(HOTEL, "/v1/stops").await.json["items"].clone();
    assert_eq!(stops[0]["scope"], json!({"batch": "tos", "tenant": "hotel"}));
    let foreign = format!("/v1/jobs/{}", foreign["id"].as_str().unwrap());
    assert_eq!(world.get(HOTEL, &foreign).await.status, 404);
    assert_eq!(world.post(HOTEL, &format!("{foreign}/stop"), &json!({})).await.status, 404);
    assert_eq!(world.get(READER, "/v1/jobs").await.status, 403);
}

#[tokio::test]
async fn jobs_are_listed_page_by_page_the_latest_first() {
    let world = api_world().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, world.ask(ADMIN, &json!({"action": "redrive"})).await);
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world.get(ADMIN, &format!("/v1/jobs?limit=2{cursor}")).await.json;
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    for (query, pointers) in [("limit=0", vec!["/limit"]), ("limit=101", vec!["/limit"]), ("x=1", vec![""])] {
        let reply = world.get(ADMIN, &format!("/v1/jobs?{query}")).await;
        assert_eq!((reply.status, reply.pointers()), (422, pointers));
    }
    assert_eq!(world.get(ADMIN, "/v1/jobs/unknown").await.status, 404);
    assert_eq!(world.post(ADMIN, "/v1/jobs/unknown/resume", &json!({})).await.status, 404);
}

#[tokio::test]
async fn a_request_that_is_not_right_does_nothing() {
    let world = api_world().await;
    dead_letters(&world).await;
    let ids: Vec<String> = (0..1001).map(|_| "00000000-0000-0000-0000-000000000000".to_owned()).collect();
    let paced = |pace: Value| json!({"action": "redrive", "pace": pace});
    for (request, pointers) in [
        (paced(json!({"per_second": 0})), vec!["/pace/per_second"]),
        (
            paced(json!({"canary": 0, "stop_above_percent": 101})),
            vec!["/pace/canary", "/pace/stop_above_percent"],
        ),
        (json!({"action": "release", "all": true, "pace": {"canary": 1}}), vec!["/pace/canary"]),
        (json!({"action": "hold", "all": true, "pace": {"per_second": 1}}), vec!["/pace/per_second"]),
        (json!({"action": "hold", "all": true, "pace": {"late": true}}), vec!["/pace/late"]),
        (json!({"action": "redrive", "filter": {"ids": ids}}), vec!["/filter/ids"]),
        (json!({"action": "redrive", "filter": {"ids": []}}), vec!["/filter/ids"]),
        (
            json!({"action": "redrive", "filter": {"since": "soon", "recipient": "x"}}),
            vec!["/filter/since", "/filter/recipient"],
        ),
        (json!({"action": "redrive", "filter": {"batches": "tos"}}), vec![""]),
        (json!({"action": "explode"}), vec![""]),
        (json!({"filter": {}}), vec![""]),
        (json!({"action": "redrive", "reason": "x".repeat(201)}), vec!["/reason"]),
        (json!({"action": "cancel"}), vec!["/filter"]),
        (json!({"action": "hold", "filter": {}}), vec!["/filter"]),
        (json!({"action": "hold", "all": true, "filter": {"batch": "tos"}}), vec!["/all"]),
    ] {
        let reply = world.post(ADMIN, "/v1/jobs", &request).await;
        assert_eq!((reply.status, reply.pointers()), (422, pointers), "{}", reply.text);
    }
    assert!(world.journal.list(Kind::Job, None, 10).await.unwrap().is_empty());
    assert!(world.journal.list(Kind::Stop, None, 10).await.unwrap().is_empty());
    assert!(world.drain_queue().await.is_empty());
}
