//! Whoever bounced gets nothing more, until somebody takes them off the list.

use std::sync::Arc;

use async_trait::async_trait;
use kakitome::clock::Clock;
use kakitome::journal::Journal;
use kakitome::journal::sqlite::SqliteJournal;
use kakitome::message_log::MessageLog;
use kakitome::message_log::sqlite::SqliteLog;
use kakitome::provider::health::HealthBoard;
use kakitome::provider::{EventKind, ProviderEvent};
use kakitome::sqlite::{Config, Engine};

use kakitome::suppression::guard::Suppressions;
use kakitome::suppression::listener::EventListener;
use kakitome::suppression::sqlite::SqliteSuppressions;
use kakitome::suppression::verdict::Policy;
use kakitome::suppression::{
    Added, Entry, Filter, ListError, Page, Place, Reasons, Removal, SuppressionList,
};
use kakitome::tracking::Tracker;
use serde_json::{Value, json};

use super::conformance::{new, notification};
use super::process::{self, KEY, Kakitome};
use super::world::{World, booking};

/// A list that cannot be reached.
pub struct Away;

fn away<T>(count: usize) -> Vec<Result<T, ListError>> {
    (0..count).map(|_| Err(ListError::Unavailable("as the test says".into()))).collect()
}

#[async_trait]
impl SuppressionList for Away {
    async fn look_up(&self, asked: &[Place]) -> Vec<Result<Reasons, ListError>> {
        away(asked.len())
    }
    async fn add(&self, entries: &[Entry]) -> Vec<Result<Added, ListError>> {
        away(entries.len())
    }
    async fn remove(&self, removals: &[Removal]) -> Vec<Result<u64, ListError>> {
        away(removals.len())
    }
    async fn list(&self, _: &Filter, _: Option<&str>, _: usize) -> Result<Page, ListError> {
        Err(ListError::Unavailable("as the test says".into()))
    }
    async fn count(&self, _: &Filter) -> Result<u64, ListError> {
        Err(ListError::Unavailable("as the test says".into()))
    }
}

/// For a house in which nobody asks for it.
pub fn unasked(journal: Arc<dyn Journal>) -> Suppressions {
    Suppressions::new(Arc::new(Away), journal, Policy::default())
}

fn to(key: &str) -> impl FnOnce(&mut Value) {
    let to = json!([{"email": format!("{key}@example.com")}]);
    move |notification| notification["to"] = to
}

fn recipients(record: &Value) -> Vec<(&str, &str)> {
    let all = record["recipients"].as_array().unwrap();
    all.iter().map(|one| (one["email"].as_str().unwrap(), one["status"].as_str().unwrap())).collect()
}

fn has_event(record: &Value, kind: &str) -> bool {
    record["events"].as_array().unwrap().iter().any(|event| event["kind"] == kind)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_bounced_gets_nothing_more_while_others_in_the_same_mail_do() {
    let world = World::open(&[], "bounce:first=1").await;
    let first = world.accept("first", to("gone")).await;
    world.record_when(&first, |record| has_event(record, "bounced")).await;
    world.play("");

    let second = world.accept("second", to("gone")).await;
    let record = world.record_with_status(&second, "suppressed").await;
    assert_eq!(record["reason"], "suppressed_bounce");
    assert_eq!(record["attempts"], json!([]), "no byte was sent");
    assert_eq!(recipients(&record), [("gone@example.com", "dropped")]);
    assert!(has_event(&record, "suppressed"));

    let both = json!([{"email": "gone@example.com"}, {"email": "here@example.com"}]);
    let third = world.accept("third", |notification| notification["to"] = both).await;
    let record = world.record_when(&third, |record| has_event(record, "delivered")).await;
    assert_eq!(recipients(&record), [("gone@example.com", "dropped"), ("here@example.com", "delivered")]);
    let outbox = world.get("/metrics").await;
    assert!(outbox.as_str().unwrap().contains("kakitome_suppressed_total{reason=\"bounce\"} "));
    world.close().await;
}

/// Posts SendGrid events as they come, and waits until they are folded.
async fn told(world: &World, id: &str, events: &[Value]) {
    let http = process::http();
    let answer = http.post(format!("{}/webhooks/sendgrid", world.url())).body(json!(events).to_string());
    assert!(answer.send().await.unwrap().status().is_success());
    let count = events.len();
    world.record_when(id, |record| record["events"].as_array().unwrap().len() >= count).await;
}

fn event(id: &str, number: u32, kind: &str, email: &str, more: Value) -> Value {
    let at = kakitome::clock::Clock::system().now().as_ms() / 1000;
    let mut event = json!({"event": kind, "email": email, "kakitome_id": id, "timestamp": at,
        "sg_event_id": format!("{kind}-{number}")});
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

async fn reasons(world: &World) -> Vec<(String, String)> {
    let page = world.get("/v1/suppressions?limit=1000").await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut found: Vec<_> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(&one["email"]), text(&one["reason"])))
        .collect();
    found.sort();
    found
}

/// The list, once it has so many entries.
async fn reasons_when(world: &World, count: usize) -> Vec<(String, String)> {
    for _ in 0..3000 {
        let found = reasons(world).await;
        if found.len() == count {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("not {count}: {:?}", reasons(world).await);
}

const UNSIGNED: [(&str, &str); 1] = [("sendgrid.webhook_insecure", "true")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_that_speaks_against_an_address_puts_it_on_its_tenants_list_and_no_other_does() {
    let world = World::open(&UNSIGNED, "webhook-drop=100%").await;
    let id = world.accept("one", |_| {}).await;
    world.record_with_status(&id, "sent").await;
    let events = [
        event(&id, 1, "bounce", "bounced@example.com", json!({"type": "bounce", "reason": "550 5.1.1"})),
        event(&id, 2, "bounce", "blocked@example.com", json!({"type": "blocked"})),
        event(&id, 3, "bounce", "expired@example.com", json!({"type": "expired"})),
        event(&id, 4, "deferred", "deferred@example.com", json!({})),
        event(&id, 5, "spamreport", "angry@example.com", json!({})),
        event(&id, 6, "unsubscribe", "done@example.com", json!({})),
        event(&id, 7, "group_unsubscribe", "news@example.com", json!({"asm_group_id": 7})),
        event(&id, 8, "group_unsubscribe", "back@example.com", json!({"asm_group_id": 7})),
        event(&id, 9, "group_resubscribe", "back@example.com", json!({"asm_group_id": 7})),
        event(&id, 10, "dropped", "a@example.com", json!({"reason": "Bounced Address"})),
        event(&id, 11, "dropped", "b@example.com", json!({"reason": "Spam Reporting Address"})),
        event(&id, 12, "dropped", "c@example.com", json!({"reason": "Unsubscribed Address"})),
        event(&id, 13, "dropped", "d@example.com", json!({"reason": "Spam Content"})),
        event(&id, 14, "dropped", "e@example.com", json!({"reason": "Invalid SMTPAPI header"})),
        event(&id, 15, "dropped", "f@example.com", json!({"reason": "Recipient List over Package Quota"})),
        event(&id, 16, "dropped", "g@example.com", json!({"reason": "Invalid"})),
        event(&id, 17, "open", "open@example.com", json!({})),
    ];
    // The group's two words come within a second: the later one counts.
    let mut events = events.to_vec();
    events[8]["timestamp"] = json!(events[7]["timestamp"].as_i64().unwrap() + 1);
    events[7]["timestamp"] = json!(events[7]["timestamp"].as_i64().unwrap() - 5);
    told(&world, &id, &events).await;
    let found = reasons_when(&world, 8).await;
    let expected = [
        ("a@example.com", "bounce"),
        ("angry@example.com", "complaint"),
        ("b@example.com", "complaint"),
        ("bounced@example.com", "bounce"),
        ("c@example.com", "unsubscribe"),
        ("done@example.com", "unsubscribe"),
        ("g@example.com", "drop"),
        ("news@example.com", "unsubscribe"),
    ];
    assert_eq!(found, expected.map(|(email, reason)| (email.to_owned(), reason.to_owned())));
    let page = world.get("/v1/suppressions?address=bounced@example.com").await;
    let entry = &page["items"][0];
    assert_eq!((&entry["tenant"], &entry["source"]["kind"]), (&json!("default"), &json!("event")));
    assert_eq!(entry["source"]["notification"], json!(id));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_removal_outlives_repeats_of_the_old_event_and_the_mail_is_sent_again() {
    let world = World::open(&UNSIGNED, "webhook-drop=100%").await;
    let first = world.accept("first", to("guest")).await;
    world.record_with_status(&first, "sent").await;
    let bounce = event(&first, 1, "bounce", "guest@example.com", json!({"type": "bounce"}));
    told(&world, &first, std::slice::from_ref(&bounce)).await;
    reasons_when(&world, 1).await;
    let second = world.accept("second", to("guest")).await;
    world.record_with_status(&second, "suppressed").await;

    // Not by the way: who is suppressed is redriven by name alone.
    let redrive = |statuses: Value, dry_run: bool| json!({"action": "redrive", "filter": {"status": statuses}, "dry_run": dry_run});
    let (_, preview) = world.post("/v1/jobs", &redrive(json!([]), true)).await;
    assert_eq!(preview["matched"], 0, "{preview}");
    let (_, preview) = world.post("/v1/jobs", &redrive(json!(["suppressed"]), true)).await;
    assert_eq!(preview["matched"], 1, "{preview}");

    let body = json!({"addresses": ["guest@example.com"], "note": "mailbox is back"});
    let (status, answer) = world.post("/v1/suppressions/remove", &body).await;
    assert_eq!((status, &answer["results"][0]["removed"]), (207, &json!(1)));
    for number in [1, 2] {
        // The same event again, and under another number.
        let mut again = bounce.clone();
        again["sg_event_id"] = json!(format!("bounce-{number}"));
        told(&world, &first, &[again]).await;
    }
    let (_, job) = world.post("/v1/jobs", &redrive(json!(["suppressed"]), false)).await;
    world.job_when(&job["id"], |job| job["progress"]["sent"] == 1).await;
    let record = world.record_with_status(&second, "sent").await;
    assert_eq!(record["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(reasons(&world).await, []);
    world.close().await;
}

/// A process that folds and lists; with `away` it dies, as it were, between the two.
fn process_on(dir: &std::path::Path, away: bool) -> (Engine, Tracker, Suppressions) {
    let (engine, clock) = (Engine::open(dir, Config::default()).unwrap(), Clock::system());
    let log = Arc::new(SqliteLog::new(engine.clone()));
    let journal = Arc::new(SqliteJournal::new(engine.clone(), clock.clone()));
    let list: Arc<dyn SuppressionList> =
        if away { Arc::new(Away) } else { Arc::new(SqliteSuppressions::new(engine.clone(), clock.clone())) };
    let suppressions = Suppressions::new(list, journal, Policy::default());
    let feed = Arc::new(EventListener::new(suppressions.clone(), clock.clone()));
    (engine, Tracker::new(log, HealthBoard::default(), clock, vec![feed]), suppressions)
}

#[tokio::test]
async fn what_was_folded_but_not_listed_when_the_process_died_is_listed_when_it_comes_again() {
    let home = tempfile::tempdir().unwrap();
    let (engine, tracker, _) = process_on(home.path(), true);
    let now = Clock::system().now();
    let one = new(notification(|n| n.tenant = "inn".into()), now);
    let event = ProviderEvent {
        provider: "sendgrid".into(),
        id: Some(one.id),
        provider_message_id: None,
        event_id: Some("bounce-1".into()),
        kind: EventKind::Bounced,
        at: now,
        recipient: Some(one.notification.to[0].email.clone()),
        lane: None,
        machine: false,
        detail: Default::default(),
    };
    let log = SqliteLog::new(engine.clone());
    log.accept(&[one]).await.pop().unwrap().unwrap();
    assert!(tracker.track(std::slice::from_ref(&event)).await.is_err(), "it is not done");
    engine.close().await;
    drop((engine, tracker, log));

    let (engine, tracker, suppressions) = process_on(home.path(), false);
    for _ in 0..3 {
        // A repeat to the log, and news to the list.
        tracker.track(std::slice::from_ref(&event)).await.unwrap();
        assert_eq!(suppressions.count(&Filter::default()).await.unwrap(), 1);
    }
    engine.close().await;
}

/// `kill -9` while posts come in: the provider posts again what was not acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_among_a_hundred_bounces_loses_none_of_them() {
    const POSTS: usize = 10;
    let dir = tempfile::tempdir().unwrap();
    let env = [
        ("KAKITOME_SENDGRID_WEBHOOK_INSECURE", "true".to_owned()),
        // On SQS what a killed process had received comes again after this.
        ("KAKITOME_QUEUE_VISIBILITY", "15s".to_owned()),
    ];
    let serve = || Kakitome::start(dir.path(), &["serve"], &env);
    let (server, http) = (serve(), process::http());
    let get = async |server: &Kakitome, path: &str| -> Value {
        let answer = http.get(format!("{}{path}", server.url)).bearer_auth(KEY).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    };
    let bookings: Vec<Value> = (0..POSTS * 10).map(|i| booking(&i.to_string())).collect();
    let batch = http.post(format!("{}/v1/notifications/batch", server.url)).bearer_auth(KEY);
    let answer = batch.body(json!(bookings).to_string()).send().await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let ids: Vec<&str> =
        answer["results"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    let posts: Vec<String> = (0..POSTS)
        .map(|post| {
            let events = (0..10).map(|i| {
                let number = post * 10 + i;
                let email = format!("guest.{number}@example.com");
                event(ids[number], number as u32, "bounce", &email, json!({"type": "bounce"}))
            });
            json!(events.collect::<Vec<_>>()).to_string()
        })
        .collect();
    let post = |url: String, body: String| {
        let http = http.clone();
        async move {
            let answer = http.post(format!("{url}/webhooks/sendgrid")).body(body).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        }
    };
    let mut under_way = tokio::task::JoinSet::new();
    for (number, body) in posts.iter().enumerate() {
        let sent = post(server.url.clone(), body.clone());
        under_way.spawn(async move { (number, sent.await) });
    }
    let mut acknowledged = std::collections::BTreeSet::new();
    let mut server = Some(server);
    while let Some(ended) = under_way.join_next().await {
        let (number, is_done) = ended.unwrap();
        if is_done {
            acknowledged.insert(number);
        }
        if let Some(server) = server.take() {
            server.kill();
        }
    }
    let server = serve();
    for (number, body) in posts.iter().enumerate() {
        if !acknowledged.contains(&number) {
            assert!(post(server.url.clone(), body.clone()).await);
        }
    }
    let begun = std::time::Instant::now();
    loop {
        let page = get(&server, "/v1/suppressions?limit=1000&reason=bounce").await;
        let count = page["items"].as_array().unwrap().len();
        if count == POSTS * 10 {
            break;
        }
        assert!(begun.elapsed().as_secs() < 90, "{count} of {}", POSTS * 10);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(server.terminate().0);
}
