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
