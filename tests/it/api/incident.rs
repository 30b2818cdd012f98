//! The incident over the door: whose it is, what it reads, and when it says that there is more.

use std::time::Duration;

use clap::Parser;
use kakitome::api::auth::{ApiKey, KeyRing, Scope};
use kakitome::notification::status::{Answer, Fact};
use serde_json::{Value, json};

use super::world::{ADMIN, HOTEL, READER, World, api_world, booking, booking_with, world_with};

async fn report(world: &World, key: &str, query: &str) -> Value {
    let reply = world.get(key, &format!("/v1/incident?{query}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json
}

fn ids(report: &Value) -> Vec<&str> {
    report["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_incident_tells_who_is_affected_before_since_and_within() {
    let world = api_world().await;
    let before = world.hand_in(ADMIN, &booking("before")).await;
    let sent_before = world.hand_in(ADMIN, &booking("sent before")).await;
    world.clock.advance(Duration::from_secs(3600));
    let failed = world.hand_in(ADMIN, &booking("failed")).await;
    world.fail(&failed, "refused_400").await;
    let deadline =
        booking_with("deadline", json!({"useful_until": "2026-11-21T12:00:00Z", "tenant": "hotel"}));
    let urgent = world.hand_in(ADMIN, &deadline).await;
    let token = world.claim(&urgent).await;
    let answer = Answer { http_status: Some(503), error: Some("try later".into()) };
    let due_at = world.clock.now().plus(Duration::from_secs(60));
    world.tell(&urgent, Fact::NotAccepted { token, answer, due_at, counts: true }).await;
    world.claim(&sent_before).await;
    let taken = Fact::Accepted { provider: "sandbox".into(), message_id: None, http_status: Some(202) };
    world.tell(&sent_before, taken).await;
    world.clock.advance(Duration::from_secs(1800));
    let all = report(&world, ADMIN, "since=1h").await;
    assert_eq!(ids(&all), [urgent.as_str(), &before, &failed]);
    assert_eq!(all["by_why"], json!({"not_sent": 2, "failed": 1}));
    assert_eq!((&all["affected"], &all["more"], &all["cut"]), (&json!(3), &json!(false), &json!(false)));
    assert_eq!(all["items"][0]["recipients"], json!(["guest@example.com"]));
    assert_eq!(
        (&all["items"][0]["time_left_seconds"], &all["items"][0]["attempts"]),
        (&json!(5400), &json!(1))
    );
    assert_eq!(
        all["by_tenant"][0],
        json!({"tenant": "default", "affected": 2, "not_sent": 2, "with_time_left": 0})
    );
    let long = report(&world, ADMIN, "since=2026-11-21T08:00:00Z&limit=1").await;
    assert_eq!((&long["affected"], &long["more"]), (&json!(4), &json!(true)));
    assert_eq!((&long["by_why"]["sent_late"], &long["sent_delay"]["max"]), (&json!(1), &json!(3600.0)));
    let answers: Vec<_> =
        long["answers"].as_array().unwrap().iter().map(|one| one["http_status"].clone()).collect();
    assert!([400, 503, 202].iter().all(|status| answers.contains(&json!(status))), "{answers:?}");
}

#[tokio::test]
async fn an_incident_is_ones_own_tenants_and_masked_for_who_may_not_read() {
    let operator = "kk_test_operator";
    let world = world_with(|state| {
        state.keys = KeyRing::new(vec![
            ApiKey::of_secret("admin", ADMIN, "default", &Scope::ALL),
            ApiKey::of_secret("hotel", HOTEL, "hotel", &[Scope::Send, Scope::Read, Scope::Operate]),
            ApiKey::of_secret("reader", READER, "hotel", &[Scope::Read]),
            ApiKey::of_secret("op", operator, "hotel", &[Scope::Operate]),
        ])
        .into();
    })
    .await;
    world.hand_in(ADMIN, &booking("default's")).await;
    let own = world.hand_in(HOTEL, &booking_with("hotel's", json!({"tenant": "hotel"}))).await;
    for (key, to) in [(HOTEL, "guest@example.com"), (operator, "***@example.com")] {
        let report = report(&world, key, "since=1h").await;
        assert_eq!((ids(&report), &report["tenant"]), (vec![own.as_str()], &json!("hotel")));
        assert_eq!(report["items"][0]["recipients"], json!([to]));
    }
    assert_eq!(world.get(HOTEL, "/v1/incident?since=1h&tenant=default").await.status, 403);
    assert_eq!(world.get(READER, "/v1/incident?since=1h").await.status, 403);
    let admin = report(&world, ADMIN, "since=1h&tenant=hotel").await;
    assert_eq!(ids(&admin), [own.as_str()]);
}

#[tokio::test]
async fn a_question_that_cannot_be_meant_is_refused() {
    let world = api_world().await;
    for (query, pointer) in [
        ("", "/since"),
        ("since=yesterday", "/since"),
        ("since=1h&until=2h", "/until"),
        ("since=1h&limit=50001", "/limit"),
        ("since=1h&batch=x", ""),
    ] {
        let reply = world.get(ADMIN, &format!("/v1/incident?{query}")).await;
        assert_eq!((reply.status, reply.pointers()), (422, vec![pointer]), "{query}");
    }
    let none = report(&world, ADMIN, "since=1h&limit=0").await;
    assert_eq!((&none["affected"], &none["timeline"]["points"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn more_than_a_page_is_folded_and_each_once() {
    let world = api_world().await;
    let one = |i: usize| booking(&format!("b-{i}"));
    for page in 0..3 {
        let batch: Vec<Value> = (0..800).map(|i| one(page * 800 + i)).collect();
        assert_eq!(world.post(ADMIN, "/v1/notifications/batch", &json!(batch)).await.status, 207);
    }
    let report = report(&world, ADMIN, "since=1h&limit=5").await;
    assert_eq!((&report["affected"], &report["looked_at"]), (&json!(2400), &json!(2400)));
    assert_eq!(report["items"].as_array().unwrap().len(), 5);
}

/// As a shell would read it, as far as these commands need one.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for c in command.chars() {
        match c {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

#[tokio::test]
async fn every_command_of_an_incident_is_one_that_the_program_takes() {
    let world = api_world().await;
    for (key, reason) in [("a", Some("repeat")), ("b", Some("batch size")), ("c", None)] {
        let id = world.hand_in(ADMIN, &booking_with(key, json!({"batch": "tos"}))).await;
        if let Some(reason) = reason {
            let held =
                world.post(ADMIN, &format!("/v1/notifications/{id}/hold"), &json!({"reason": reason})).await;
            assert_eq!(held.status, 200);
        }
    }
    let failed = world.hand_in(ADMIN, &booking("f")).await;
    world.fail(&failed, "refused_400").await;
    let unknown = world.hand_in(ADMIN, &booking("u")).await;
    world.claim(&unknown).await;
    world.clock.advance(Duration::from_secs(60));
    for query in ["since=1h", "since=1h&tenant=default&until=1s"] {
        let report = report(&world, ADMIN, query).await;
        let commands = report["commands"].as_array().unwrap();
        let told: Vec<_> = commands.iter().map(|command| command["command"].as_str().unwrap()).collect();
        for verb in ["hold", "redrive", "release", "list", "status", "incident"] {
            assert!(
                told.iter().any(|command| command.starts_with(&format!("kakitome {verb} ")))
                    || verb == "status"
            );
        }
        for command in told {
            let taken = kakitome::cli::Cli::try_parse_from(words(command));
            assert!(taken.is_ok(), "{command}: {}", taken.unwrap_err());
        }
    }
}
