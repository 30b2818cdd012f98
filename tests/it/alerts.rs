//! Alerts from the reading to the post: a whole house with a Slack and a webhook of its own.

mod commands;
mod ear;
mod rules;
mod shared;

use std::time::{Duration, Instant};

use clap::Parser;
use kakitome::cli::client::Client;
use kakitome::cli::output::Output;
use kakitome::cli::{Cli, Exit};
use kakitome::clock::Clock;
use kakitome::sandbox::{self, Sandbox};
use kakitome::secret::Secret;
use kakitome::shutdown;
use serde_json::{Value, json};

use super::process;
use super::world::World;
use ear::{Ear, Mood};

/// Nothing that these tests wait for takes longer on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The watch of a house that is in a hurry; a circuit that closes after few mails.
fn hurry<'a>(slack: &'a Ear, webhook: &'a Ear) -> Vec<(&'static str, &'a str)> {
    vec![
        ("slack.webhook_url", slack.url.as_str()),
        ("alert.webhook_url", webhook.url.as_str()),
        ("alert.webhook_secret", "between-us"),
        ("alert.interval", "50ms"),
        ("alert.calm", "200ms"),
        ("worker.concurrency_min", "1"),
        ("worker.concurrency_max", "4"),
    ]
}

fn with<'a>(
    mut settings: Vec<(&'static str, &'a str)>,
    more: &[(&'static str, &'a str)],
) -> Vec<(&'static str, &'a str)> {
    settings.extend(more);
    settings
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "it did not come to that: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The alert with this key, as the API tells it.
async fn told(world: &World, key: &str) -> Value {
    let alerts = world.get("/v1/alerts").await;
    alerts["items"].as_array().unwrap().iter().find(|alert| alert["key"] == key).cloned().unwrap_or_default()
}

async fn until_state(world: &World, key: &str, state: &str) {
    until(&format!("{key} {state}"), async || {
        let alert = told(world, key).await;
        alert["state"] == state && alert["unposted"] == 0
    })
    .await;
}

#[tokio::test]
async fn an_outage_is_said_once_with_runbook_and_command_and_once_that_it_is_over() {
    let (slack, webhook) = (Ear::open().await, Ear::open().await);
    let world = World::open(&hurry(&slack, &webhook), "outage:mode=refuse").await;
    world.accept_many(30).await;
    until_state(&world, "breaker_open:sandbox", "firing").await;
    // The recorder is one for all houses of this process: another may have overwritten the figure.
    until("the gauge shows it", async || {
        let metrics = world.get("/metrics").await;
        metrics.as_str().unwrap().contains(r#"kakitome_alert_firing{alert="breaker_open"} 1"#)
    })
    .await;
    world.play("");
    world.wait_for_count("sent", 30).await;
    until_state(&world, "breaker_open:sandbox", "resolved").await;

    let posts = webhook.about("breaker_open");
    let changes: Vec<_> = posts.iter().map(|post| post.body["change"].as_str().unwrap()).collect();
    assert_eq!(changes, ["firing", "resolved"]);
    let (fired, over) = (&posts[0], &posts[1]);
    assert_eq!((&fired.body["subject"], &fired.body["severity"]), (&json!("sandbox"), &json!("critical")));
    assert_eq!(fired.body["runbook"], "runbooks/provider-outage.md");
    assert_eq!(fired.body["command"], "kakitome status");
    assert_eq!(over.body["since"], fired.body["since"]);
    assert!(over.body["duration_seconds"].is_u64());
    assert_eq!(fired.headers["kakitome-alert-id"], fired.body["id"].as_str().unwrap());
    assert!(fired.is_signed_with("between-us"), "{fired:?}");

    let texts: Vec<_> =
        slack.posts().iter().map(|post| post.body["text"].as_str().unwrap().to_owned()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(
        texts[0].starts_with(":red_circle: *breaker_open sandbox* Provider sandbox is ill"),
        "{}",
        texts[0]
    );
    assert!(texts[0].contains("runbooks/provider-outage.md\n```kakitome status```"), "{}", texts[0]);
    assert!(texts[1].contains("Over after "), "{}", texts[1]);
    world.close().await;
}

#[tokio::test]
async fn a_channel_that_hangs_holds_up_neither_the_mail_nor_the_other_channel() {
    let (slack, webhook) = (Ear::open().await, Ear::open().await);
    slack.is(Mood::Hanging);
    let world = World::open(&hurry(&slack, &webhook), "outage:mode=refuse").await;
    world.accept_many(30).await;
    until("the webhook hears of it", async || webhook.about("breaker_open").len() == 1).await;
    world.play("");
    world.wait_for_count("sent", 30).await;
    until("the webhook hears that it is over", async || webhook.about("breaker_open").len() == 2).await;
    let alert = told(&world, "breaker_open:sandbox").await;
    assert_eq!((&alert["state"], &alert["unposted"]), (&json!("resolved"), &json!(2)), "kept for Slack");
    world.close().await;
}

#[tokio::test]
async fn a_restart_in_the_middle_repeats_nothing() {
    let (slack, webhook) = (Ear::open().await, Ear::open().await);
    let settings = with(hurry(&slack, &webhook), &[("alert.delay", "1s"), ("alert.calm", "1s")]);
    let world = World::open(&settings, "outage:mode=refuse").await;
    world.accept_many(5).await;
    until_state(&world, "oldest_unsent", "firing").await;
    let world = world.reopen(&settings, "outage:mode=refuse").await;
    // It has taken the alert over once it says something of its own about another one.
    until_state(&world, "breaker_open:sandbox", "firing").await;
    world.play("");
    until_state(&world, "oldest_unsent", "resolved").await;
    until_state(&world, "breaker_open:sandbox", "resolved").await;
    for alert in ["oldest_unsent", "breaker_open"] {
        let said: Vec<_> = webhook
            .about(alert)
            .iter()
            .map(|post| post.body["change"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(said, ["firing", "resolved"], "{alert}");
    }
    world.close().await;
}

#[tokio::test]
async fn a_revoked_key_is_an_alert_that_the_provider_refuses_us() {
    let (slack, webhook) = (Ear::open().await, Ear::open().await);
    let (stop, stopped) = shutdown::channel();
    let config = sandbox::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        api_key: Some("SG.another".into()),
        ..sandbox::Config::default()
    };
    let provider = Sandbox::start(config, stopped).unwrap();
    let url = provider.url();
    let key = [("sandbox.url", url.as_str()), ("sandbox.api_key", "SG.revoked")];
    let world = World::open(&with(hurry(&slack, &webhook), &key), "").await;
    world.accept("refused", |_| {}).await;
    until_state(&world, "provider_refused:sandbox", "firing").await;
    let said = webhook.about("provider_refused");
    assert_eq!(said[0].body["command"], "kakitome check");
    assert!(said[0].body["summary"].as_str().unwrap().contains("refuses us"), "{said:?}");
    let everything = format!("{:?}{:?}", slack.posts(), webhook.posts());
    assert!(!everything.contains("SG.") && !everything.contains("@example.com"), "{everything}");
    world.leave().await;
    stop.pull();
    provider.stopped().await;
}

#[tokio::test]
async fn webhook_posts_with_a_wrong_signature_are_an_alert() {
    let (slack, webhook) = (Ear::open().await, Ear::open().await);
    let world = World::open(&hurry(&slack, &webhook), "").await;
    for _ in 0..5 {
        assert_eq!(world.post("/webhooks/sendgrid", &json!([])).await.0, 403);
    }
    until_state(&world, "webhook_refused", "firing").await;
    let said = webhook.about("webhook_refused");
    assert!(said[0].body["summary"].as_str().unwrap().starts_with("5 webhook posts"), "{said:?}");
    world.close().await;
}

#[tokio::test]
async fn dead_letters_are_told_by_the_command_and_the_channels_can_be_tried() {
    let (slack, webhook) = (Ear::open().await, Ear::open().await);
    let world =
        World::open(&with(hurry(&slack, &webhook), &[("worker.max_attempts", "1")]), "429=100%").await;
    let client = Client::http(world.url(), Some(Secret::new(world.key()))).unwrap();
    assert_eq!(run(&client, &["alerts"]).await.0, "no alert fires\n");
    world.accept("dead", |_| {}).await;
    world.wait_for_count("failed", 1).await;
    until_state(&world, "dead_letters", "firing").await;
    let (table, ended) = run(&client, &["alerts"]).await;
    assert_eq!(ended, Exit::Done);
    for line in [
        "warning   dead_letters  since ",
        "    1 notification failed for good and nobody has dealt with them.\n",
        "    runbook  dead-letters.md\n",
        "    begin    kakitome unsent --status failed\n",
    ] {
        assert!(table.contains(line), "{line}: {table}");
    }
    let json: Value =
        serde_json::from_str(run(&client, &["alerts", "--json"]).await.0.lines().next().unwrap()).unwrap();
    assert_eq!((&json["alert"], &json["state"]), (&json!("dead_letters"), &json!("firing")));

    let (told, ended) = run(&client, &["alerts", "--test"]).await;
    assert_eq!((told.lines().count(), ended), (2, Exit::Done), "{told}");
    assert_eq!(webhook.posts().last().unwrap().body["change"], "test");
    slack.is(Mood::Refusing);
    let (told, ended) = run(&client, &["alerts", "--test", "--json"]).await;
    assert_eq!(ended, Exit::Failed);
    assert!(told.contains(r#"{"channel":"slack","error":"it answered 403","ok":false}"#), "{told}");
    world.leave().await;
}

#[tokio::test]
async fn without_a_channel_a_test_says_which_setting_makes_one() {
    let world = World::open(&[], "").await;
    let client = Client::http(world.url(), Some(Secret::new(world.key()))).unwrap();
    let cli = Cli::try_parse_from(["kakitome", "alerts", "--test"]).unwrap();
    let (mut output, _, err) = Output::captured(Clock::system(), None);
    assert_eq!(cli.run_on(&client, PATIENCE, &mut output).await.unwrap(), Exit::Failed);
    assert!(err.text().contains("KAKITOME_SLACK_WEBHOOK_URL"), "{}", err.text());
    world.close().await;
}

async fn run(client: &Client, args: &[&str]) -> (String, Exit) {
    let cli = Cli::try_parse_from(std::iter::once(&"kakitome").chain(args)).unwrap();
    let (mut output, out, _) = Output::captured(Clock::system(), None);
    let ended = cli.run_on(client, PATIENCE, &mut output).await.unwrap();
    (out.text(), ended)
}

#[tokio::test]
async fn the_alerts_are_for_operators_alone() {
    let world = World::open(&[], "").await;
    let answer = process::http().get(format!("{}/v1/alerts", world.url())).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 401);
    world.close().await;
}
