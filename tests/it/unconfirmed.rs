//! What a provider took and was not heard of: found once its deadline is over, kept over restarts, gone once it is heard of.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kakitome::clock::{Clock, Timestamp};
use kakitome::journal::Journal;
use kakitome::journal::dynamodb::DynamoJournal;
use kakitome::journal::sqlite::SqliteJournal;
use kakitome::message_log::dynamodb::{self, DynamoLog};
use kakitome::message_log::sqlite::SqliteLog;
use kakitome::message_log::{Lacks, MessageLog};
use kakitome::notification::NotificationId;
use kakitome::notification::address::Address;
use kakitome::provider::{EventKind, ProviderEvent};
use kakitome::recovery::watchdog::{Config, Looked, Watchdog};
use kakitome::sqlite::Engine;
use kakitome::unconfirmed::{self, Dismissed};
use serde_json::{Value, json};

use super::conformance::{accept, send};
use super::emulator::{self, Emulator};
use super::world::World;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

struct House {
    clock: Clock,
    log: Arc<dyn MessageLog>,
    journal: Arc<dyn Journal>,
    _directory: Option<tempfile::TempDir>,
}

impl House {
    /// One on each backend.
    async fn each() -> [Self; 2] {
        [Self::embedded(), Self::on_aws().await]
    }

    fn embedded() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::from_ms(1_800_000_000_000));
        let engine = Engine::open(directory.path(), kakitome::sqlite::Config::default()).unwrap();
        let log: Arc<dyn MessageLog> = Arc::new(SqliteLog::new(engine.clone()));
        let journal: Arc<dyn Journal> = Arc::new(SqliteJournal::new(engine, clock.clone()));
        Self { clock, log, journal, _directory: Some(directory) }
    }

    async fn on_aws() -> Self {
        let (url, clock) = (&Emulator::ministack().url, Clock::manual(Timestamp::from_ms(1_800_000_000_000)));
        let aws = emulator::connect(url, url).await;
        let config = dynamodb::Config { table: emulator::fresh_name("dog"), ..dynamodb::Config::default() };
        dynamodb::setup(&aws, &config).await.unwrap();
        let log = Arc::new(DynamoLog::open(&aws, &config));
        let journal = Arc::new(DynamoJournal::open(&aws, &config.table, clock.clone()));
        Self { clock, log, journal, _directory: None }
    }

    /// A process's watchdog; the one provider's webhook is configured.
    fn dog(&self) -> Watchdog {
        self.dog_with(|_| {})
    }

    fn dog_with(&self, change: impl FnOnce(&mut Config)) -> Watchdog {
        let mut config = Config {
            providers: vec!["sendgrid".into()],
            awaited: BTreeSet::from(["sendgrid".into()]),
            ..Config::default()
        };
        change(&mut config);
        Watchdog::new(self.log.clone(), self.journal.clone(), self.clock.clone(), config)
    }

    async fn sent(&self) -> NotificationId {
        let now = self.clock.now();
        let id = accept(&*self.log, now, |_| {}).await;
        send(&*self.log, id, "m1", now).await;
        id
    }

    async fn hear(&self, id: NotificationId, kind: EventKind) {
        let event = ProviderEvent {
            provider: "sendgrid".into(),
            id: Some(id),
            provider_message_id: Some("m1".into()),
            event_id: Some(format!("{id}-{kind}")),
            kind,
            at: self.clock.now(),
            recipient: Address::parse("guest@example.com").ok(),
            machine: false,
            lane: None,
            detail: Default::default(),
        };
        self.log.record_events(&[event], self.clock.now()).await.remove(0).unwrap();
    }

    /// What is listed: the ids, and what each lacks.
    async fn listed(&self) -> Vec<(NotificationId, Lacks)> {
        let mut found = unconfirmed::list(&*self.journal, None, 1000).await.unwrap();
        found.retain(|finding| finding.dismissed.is_none());
        found.into_iter().map(|finding| (finding.id, finding.lacks)).collect()
    }

    /// What is counted: of nothing heard, without an end.
    async fn counted(&self) -> (u64, u64) {
        let stand = unconfirmed::stand(&*self.journal).await.unwrap();
        (stand.count(Lacks::Processed), stand.count(Lacks::End))
    }
}

fn found_and_heard(looked: Looked) -> (u64, u64) {
    assert!(!looked.is_elsewhere);
    (looked.found, looked.heard)
}

#[tokio::test]
async fn what_is_not_heard_of_in_time_is_listed_until_it_is() {
    for house in House::each().await {
        let dog = house.dog();
        dog.step().await.unwrap();
        house.clock.advance(MINUTE);
        let (silent, begun, ended) = (house.sent().await, house.sent().await, house.sent().await);
        house.hear(begun, EventKind::Processed).await;
        house.hear(ended, EventKind::Delivered).await;
        house.clock.advance(15 * MINUTE);
        assert_eq!(found_and_heard(dog.step().await.unwrap()), (0, 0), "its fifteen minutes are not over");
        house.clock.advance(Duration::from_millis(1));
        assert_eq!(found_and_heard(dog.step().await.unwrap()), (1, 0));
        assert_eq!((house.listed().await, house.counted().await), (vec![(silent, Lacks::Processed)], (1, 0)));
        // Once, however often it is looked; and not by who has read it before.
        house.clock.advance(MINUTE);
        assert_eq!(found_and_heard(dog.step().await.unwrap()), (0, 0));
        // Heard of, it leaves the list, and has until its own deadline to end.
        house.hear(silent, EventKind::Deferred).await;
        assert_eq!(found_and_heard(dog.step().await.unwrap()), (0, 1));
        assert_eq!((house.listed().await, house.counted().await), (vec![], (0, 0)));
        house.clock.advance(72 * HOUR);
        assert_eq!(found_and_heard(dog.step().await.unwrap()), (2, 0));
        let listed: BTreeSet<_> = house.listed().await.into_iter().map(|(id, _)| id.to_string()).collect();
        assert_eq!(listed, BTreeSet::from([silent.to_string(), begun.to_string()]));
        assert_eq!(house.counted().await, (0, 2));
        house.hear(silent, EventKind::Bounced).await;
        house.hear(begun, EventKind::Delivered).await;
        assert_eq!(found_and_heard(dog.step().await.unwrap()), (0, 2));
        assert_eq!((house.listed().await, house.counted().await), (vec![], (0, 0)));
    }
}

#[tokio::test]
async fn what_is_silent_for_72_hours_is_listed_once_as_silent() {
    for house in House::each().await {
        let dog = house.dog();
        dog.step().await.unwrap();
        let id = house.sent().await;
        for wait in [16 * MINUTE, 73 * HOUR, HOUR] {
            house.clock.advance(wait);
            dog.step().await.unwrap();
            assert_eq!((house.listed().await, house.counted().await), (vec![(id, Lacks::Processed)], (1, 0)));
        }
        // What is kept is bounded in time, too.
        house.clock.advance(30 * 24 * HOUR);
        dog.step().await.unwrap();
        assert_eq!((house.listed().await, house.counted().await), (vec![], (0, 0)));
    }
}

#[tokio::test]
async fn a_provider_without_events_is_told_and_not_watched() {
    for house in House::each().await {
        let dog = house.dog_with(|config| config.awaited.clear());
        dog.step().await.unwrap();
        house.sent().await;
        house.clock.advance(HOUR);
        assert_eq!(found_and_heard(dog.step().await.unwrap()), (0, 0));
        let stand = unconfirmed::stand(&*house.journal).await.unwrap();
        assert_eq!((stand.total(), stand.without_events), (0, vec!["sendgrid".to_owned()]));
        // Heard of once, it is watched from then on.
        let heard = house.sent().await;
        house.hear(heard, EventKind::Delivered).await;
        let silent = house.sent().await;
        house.clock.advance(HOUR);
        assert_eq!(found_and_heard(dog.step().await.unwrap()), (1, 0));
        assert_eq!(house.listed().await, [(silent, Lacks::Processed)]);
    }
}

#[tokio::test]
async fn a_full_list_says_at_least_and_goes_on_where_it_stood() {
    for house in House::each().await {
        let dog = house.dog_with(|config| config.most = 3);
        dog.step().await.unwrap();
        let mut all = BTreeSet::new();
        for _ in 0..8 {
            all.insert(house.sent().await.to_string());
            house.clock.advance(Duration::from_secs(1));
        }
        house.clock.advance(HOUR);
        let mut heard = BTreeSet::new();
        let mut rounds = 0;
        while heard.len() < all.len() {
            dog.step().await.unwrap();
            let stand = unconfirmed::stand(&*house.journal).await.unwrap();
            let listed = house.listed().await;
            assert_eq!(listed.len() as u64, stand.total());
            assert_eq!(stand.is_full, listed.len() == 3, "{stand:?}");
            for (id, _) in listed {
                assert!(heard.insert(id.to_string()), "each once");
                house.hear(id, EventKind::Delivered).await;
            }
            rounds += 1;
            assert!(rounds < 10, "it stands still for good");
        }
        assert_eq!(heard, all);
        assert_eq!(rounds, 3);
    }
}

#[tokio::test]
async fn what_is_dismissed_is_neither_listed_nor_found_again() {
    for house in House::each().await {
        let dog = house.dog();
        dog.step().await.unwrap();
        let (dealt_with, other) = (house.sent().await, house.sent().await);
        house.clock.advance(16 * MINUTE);
        assert_eq!(found_and_heard(dog.step().await.unwrap()), (2, 0));
        let found = unconfirmed::list(&*house.journal, None, 10).await.unwrap();
        let finding = found.into_iter().find(|finding| finding.id == dealt_with).unwrap();
        let dismissed = Dismissed { at: house.clock.now(), who: "admin".into(), why: "lost".into() };
        assert!(unconfirmed::dismiss(&*house.journal, &finding, &dismissed).await.unwrap());
        assert!(!unconfirmed::dismiss(&*house.journal, &finding, &dismissed).await.unwrap());
        for wait in [MINUTE, 73 * HOUR] {
            house.clock.advance(wait);
            assert_eq!(found_and_heard(dog.step().await.unwrap()), (0, 0));
            assert_eq!(
                (house.listed().await, house.counted().await),
                (vec![(other, Lacks::Processed)], (1, 0))
            );
        }
    }
}

#[tokio::test]
async fn one_process_looks_at_a_time_and_another_goes_on_after_a_crash() {
    for house in House::each().await {
        let (first, second) = (house.dog(), house.dog());
        first.step().await.unwrap();
        assert!(second.step().await.unwrap().is_elsewhere);
        let id = house.sent().await;
        house.clock.advance(16 * MINUTE);
        // The first was killed: its lease is over, and how far it was is known.
        drop(first);
        assert_eq!(found_and_heard(second.step().await.unwrap()), (1, 0));
        assert_eq!(house.listed().await, [(id, Lacks::Processed)]);
        // A third finds what is known, and nothing anew.
        house.clock.advance(16 * MINUTE);
        let third = house.dog();
        assert_eq!(found_and_heard(third.step().await.unwrap()), (0, 0));
        assert_eq!((house.listed().await, house.counted().await), (vec![(id, Lacks::Processed)], (1, 0)));
    }
}

/// Nothing that these tests wait for takes longer on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The answer to this question, once `wanted` holds of it.
async fn answer_when(world: &World, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let answer = world.get(path).await;
        if wanted(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "it did not come to that: {answer:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn alert<'a>(alerts: &'a Value, key: &str) -> &'a Value {
    let items = alerts["items"].as_array().unwrap();
    items.iter().find(|alert| alert["key"] == key).unwrap_or(&Value::Null)
}

const HURRY: [(&str, &str); 5] = [
    // The provider's times are whole seconds: a witness must last longer.
    ("worker.hold", "60s"),
    ("watchdog.processed_within", "1s"),
    ("watchdog.end_within", "20m"),
    ("alert.interval", "50ms"),
    ("alert.calm", "200ms"),
];

#[tokio::test(flavor = "multi_thread")]
async fn lost_events_are_listed_alerted_kept_over_a_restart_and_gone_once_they_come() {
    // What is heard of at once shows that the webhook works.
    let world = World::open(&HURRY, "").await;
    let heard = world.accept("heard", |_| {}).await;
    world.record_when(&heard, |record| record["recipients"][0]["status"] == "delivered").await;
    let status = world.get("/v1/status").await;
    assert_eq!(status["witnesses"][0]["provider"], "sandbox");
    assert_eq!(status["witnesses"][0]["is_alive"], true, "{status:#}");

    world.play("webhook-delay:for=8s");
    let lost = world.accept("lost", |_| {}).await;
    let listed = answer_when(&world, "/v1/unconfirmed", |answer| answer["processed"] == 1).await;
    let items = listed["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["id"]), (1, &Value::from(lost.clone())), "{listed:#}");
    assert_eq!((&items[0]["lacks"], &items[0]["without"]), (&"processed".into(), &1.into()));
    assert_eq!(listed["at_least"], false);
    answer_when(&world, "/v1/alerts", |alerts| alert(alerts, "unconfirmed:processed")["state"] == "firing")
        .await;
    assert_eq!(world.get("/v1/status").await["unconfirmed"]["processed"], 1);
    // Once it is heard of, it leaves the list and the alert is over.
    world.record_when(&lost, |record| record["recipients"][0]["status"] == "delivered").await;
    answer_when(&world, "/v1/unconfirmed", |answer| answer["processed"] == 0).await;
    answer_when(&world, "/v1/alerts", |alerts| alert(alerts, "unconfirmed:processed")["state"] == "resolved")
        .await;

    // Never heard of: a restart keeps it.
    world.play("webhook-drop");
    let gone = world.accept("gone", |_| {}).await;
    let first = answer_when(&world, "/v1/unconfirmed", |answer| answer["processed"] == 1).await;
    let world = world.reopen(&HURRY, "webhook-drop").await;
    let again = world.get("/v1/unconfirmed").await;
    assert_eq!((&again["items"], &again["processed"]), (&first["items"], &first["processed"]));
    assert_eq!(again["items"][0]["id"], gone.as_str());
    let dismissal = json!({"id": gone, "reason": "a test", "dry_run": true});
    assert_eq!(world.post("/v1/unconfirmed/dismiss", &dismissal).await, (200, json!({"count": 1})));
    let (refused, _) = world.post("/v1/unconfirmed/dismiss", &json!({"id": gone})).await;
    assert_eq!(refused, 422, "without a reason");
    // The gauge, as a scraper sees it.
    answer_when(&world, "/metrics", |text| {
        text.as_str().is_some_and(|text| text.contains("kakitome_unconfirmed{lacks=\"processed\"} 1"))
    })
    .await;
    let dismissal = json!({"id": gone, "reason": "a test"});
    assert_eq!(world.post("/v1/unconfirmed/dismiss", &dismissal).await, (200, json!({"count": 1})));
    answer_when(&world, "/v1/unconfirmed", |answer| answer["processed"] == 0).await;
    world.close().await;
}
