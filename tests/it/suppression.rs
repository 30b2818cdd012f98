//! Whoever bounced gets nothing more, until somebody takes them off the list.

use std::sync::Arc;

use async_trait::async_trait;
use kakitome::journal::Journal;
use kakitome::suppression::guard::Suppressions;
use kakitome::suppression::verdict::Policy;
use kakitome::suppression::{
    Added, Entry, Filter, ListError, Page, Place, Reasons, Removal, SuppressionList,
};
use serde_json::{Value, json};

use super::world::World;

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
    let http = super::process::http();
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
