//! Each fault does what it says.

use std::error::Error as _;
use std::time::{Duration, Instant};

use kakitome::sandbox::Config;
use serde_json::json;

use super::{World, mail, playing, world};

fn is_reset(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionReset;
        }
        source = error.source();
    }
    false
}

async fn statuses(world: &World, count: usize) -> Vec<Option<u16>> {
    let mut statuses = Vec::new();
    for number in 0..count {
        let answer = world.try_send(&mail(&number.to_string())).await;
        statuses.push(answer.ok().map(|answer| answer.status().as_u16()));
    }
    statuses
}

#[tokio::test]
async fn a_5xx_is_answered_and_the_mail_not_taken() {
    let world = playing("5xx:status=502");
    let answer = world.send(&mail("a")).await;
    assert_eq!(answer.status(), 502);
    assert!(answer.text().await.unwrap().starts_with(r#"{"errors":[{"field":null"#));
    assert_eq!((world.sandbox.stats().accepted, world.sandbox.stats().faulted), (0, 1));
}

#[tokio::test]
async fn a_429_comes_with_and_without_retry_after() {
    let world = playing("429:retry-after=2");
    let answer = world.send(&mail("a")).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (429, "2"));
    world.sandbox.set_faults("429".parse().unwrap());
    let answer = world.send(&mail("a")).await;
    assert_eq!((answer.status().as_u16(), answer.headers().get("retry-after")), (429, None));
    assert_eq!(world.sandbox.stats().accepted, 0);
}

#[tokio::test]
async fn slow_and_latency_add_up_and_the_mail_is_taken() {
    let latency = Duration::from_millis(100);
    let world = world(Config { latency, faults: "slow=200ms".parse().unwrap(), ..Config::default() });
    let began = Instant::now();
    assert_eq!(world.send(&mail("a")).await.status(), 202);
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn reset_before_resets_and_takes_nothing() {
    let world = playing("reset-before");
    assert!(is_reset(&world.try_send(&mail("a")).await.unwrap_err()));
    assert_eq!(world.sandbox.stats().accepted, 0);
}

#[tokio::test]
async fn reset_after_accept_leaves_the_mail_in_the_outbox_and_no_answer() {
    let world = playing("reset-after-accept");
    assert!(is_reset(&world.try_send(&mail("a")).await.unwrap_err()));
    assert_eq!(world.sandbox.mails(10).len(), 1);
    // What SendGrid would refuse anyway is refused, not reset.
    assert_eq!(world.send(&json!({})).await.status(), 400);
}

#[tokio::test]
async fn timeout_after_accept_leaves_the_mail_in_the_outbox_and_resets_in_the_end() {
    let world = playing("timeout-after-accept:for=200ms");
    let began = Instant::now();
    assert!(is_reset(&world.try_send(&mail("a")).await.unwrap_err()));
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(world.sandbox.mails(10).len(), 1);
}

#[tokio::test]
async fn an_outage_ends_and_shows_itself_in_three_ways() {
    let world = playing("outage:for=500ms");
    assert_eq!(world.send(&mail("a")).await.status(), 503);
    let end = Instant::now() + super::PATIENCE;
    while world.send(&mail("a")).await.status() != 202 {
        assert!(Instant::now() < end, "the outage did not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.sandbox.set_faults("outage:mode=refuse".parse().unwrap());
    assert!(is_reset(&world.try_send(&mail("a")).await.unwrap_err()));
    world.sandbox.set_faults("outage:mode=timeout".parse().unwrap());
    let impatient = world.client.post(world.url("/v3/mail/send")).timeout(Duration::from_millis(200));
    let request = impatient.bearer_auth("k").header("Content-Type", "application/json");
    assert!(request.body(mail("a").to_string()).send().await.unwrap_err().is_timeout());
    world.sandbox.set_faults("outage:after=1h".parse().unwrap());
    assert_eq!(world.send(&mail("a")).await.status(), 202);
}

#[tokio::test]
async fn the_same_seed_plays_the_same_sequence() {
    let plan = "5xx=20%,429=20%,reset-after-accept=20%";
    let first = statuses(&playing(plan), 60).await;
    assert_eq!(first, statuses(&playing(plan), 60).await);
    assert_ne!(first, statuses(&playing(&format!("seed=2,{plan}")), 60).await);
    for wanted in [Some(202), Some(429), None] {
        assert!(first.contains(&wanted), "{wanted:?} was never played");
    }
}

#[tokio::test]
async fn faults_are_changed_while_it_runs_in_either_form() {
    let world = world(Config { seed: 5, ..Config::default() });
    assert_eq!(world.get("/sandbox/faults").await, json!({"seed": 5, "faults": []}));

    let (status, active) = world.post("/sandbox/faults", "429=50%:retry-after=2,outage:after=1h").await;
    let expected = json!({"seed": 5, "faults": [
        {"kind": "429", "rate": 0.5, "retry-after": 2},
        {"kind": "outage", "after": "3600s", "mode": "503"},
    ]});
    assert_eq!((status.as_u16(), &active), (200, &expected));
    assert_eq!(world.post("/sandbox/faults", &active.to_string()).await.1, expected);
    assert_eq!(world.get("/sandbox/faults").await, expected);

    let (status, problem) = world.post("/sandbox/faults", "429=50%,nonsense").await;
    assert_eq!(status, 400);
    assert!(problem["detail"].as_str().unwrap().starts_with("faults: in `nonsense`"));
    assert_eq!(world.get("/sandbox/faults").await, expected);

    assert_eq!(world.post("/sandbox/faults", "").await.1["faults"], json!([]));
    assert_eq!(world.send(&mail("a")).await.status(), 202);
}

#[tokio::test]
async fn a_plan_is_read_from_a_file_too() {
    use kakitome::sandbox::faults::Plan;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "# rehearsal\nseed=9\n5xx=1%\n").unwrap();
    let plan = Plan::load(file.path().to_str().unwrap()).unwrap();
    assert_eq!(plan.to_string(), "seed=9,5xx=1%");
    assert_eq!(Plan::load("seed=9,5xx=1%").unwrap(), plan);
}
