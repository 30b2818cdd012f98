//! Dead letters that stand nowhere but in the queue: seen, copied before the queue destroys them, mended, sent once.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use kakitome::api::auth::KeyRing;
use kakitome::api::{self, ApiState};
use kakitome::aws::Aws;
use kakitome::cli::client::Client;
use kakitome::cli::output::Output;
use kakitome::cli::{Cli, Exit};
use kakitome::clock::{Clock, Timestamp};
use kakitome::feed::sqlite::SqliteFeed;
use kakitome::intake::InTurn;
use kakitome::jobs::Bell;
use kakitome::journal::dynamodb::DynamoJournal;
use kakitome::journal::sqlite::SqliteJournal;
use kakitome::journal::{Journal, Kind};
use kakitome::message_log::dynamodb::{self, DynamoLog};
use kakitome::message_log::sqlite::SqliteLog;
use kakitome::message_log::{Filter, MessageLog, NewNotification, Record};
use kakitome::notification::NotificationId;
use kakitome::notification::status::Fact;
use kakitome::provider::health::HealthBoard;
use kakitome::queue::sqlite::{self, SqliteQueue};
use kakitome::queue::{Message, Queue, Settlement};
use kakitome::recovery::dead_letters::{Config, Keeper, Looked};
use kakitome::secret::Secret;
use kakitome::sqlite::Engine;
use kakitome::stops::Stops;
use kakitome::storm::meter::Meter;
use serde_json::{Value, json};

use super::conformance::{new, notification};
use super::emulator;
use super::sqs;
use super::world::booking;

/// The storage, the keeper, and an operator's command line before it. Nobody receives.
struct House {
    log: Arc<dyn MessageLog>,
    queue: Arc<dyn Queue>,
    journal: Arc<dyn Journal>,
    keeper: Keeper,
    client: Client,
    aws: Option<(Aws, String, String)>,
    _home: tempfile::TempDir,
}

const KEY: &str = "kk_test_operator";

fn now() -> Timestamp {
    Clock::system().now()
}

impl House {
    fn new(
        log: Arc<dyn MessageLog>,
        queue: Arc<dyn Queue>,
        journal: Arc<dyn Journal>,
        aws: Option<(Aws, String, String)>,
    ) -> Self {
        let clock = Clock::system();
        // Nothing here asks for what changed.
        let home = tempfile::tempdir().unwrap();
        let engine = Engine::open(home.path(), kakitome::sqlite::Config::default()).unwrap();
        let feed = Arc::new(SqliteFeed::new(engine));
        let keeper =
            Keeper::new(log.clone(), queue.clone(), journal.clone(), clock.clone(), Config::default());
        let state = ApiState {
            intake: Arc::new(InTurn::new(log.clone())),
            log: log.clone(),
            queue: queue.clone(),
            inbox: None,
            stops: Stops::new(journal.clone()),
            suppressions: crate::suppression::unasked(journal.clone()),
            meter: Meter::new(journal.clone(), clock.clone(), 10, 100),
            machines: kakitome::engagement::Rulebook::new(None),
            journal: journal.clone(),
            bell: Bell::new(false).0,
            telling: api::events::Telling::new(feed, None),
            unmatched: Arc::new(crate::conformance::NoStrays),
            channels: None,
            clock,
            keys: Arc::new(KeyRing::single(KEY)),
            health: HealthBoard::default(),
            worker_expected: false,
            metrics: None,
            config: api::Config::default(),
        };
        let client = Client::in_process(api::router(state), Some(Secret::new(KEY)));
        Self { log, queue, journal, keeper, client, aws, _home: home }
    }

    async fn embedded() -> Self {
        let home = tempfile::tempdir().unwrap();
        let engine = Engine::open(home.path(), kakitome::sqlite::Config::default()).unwrap();
        let clock = Clock::system();
        let queue =
            SqliteQueue::open(engine.clone(), clock.clone(), sqlite::Config::default()).await.unwrap();
        let log = Arc::new(SqliteLog::new(engine.clone()));
        let journal = Arc::new(SqliteJournal::new(engine, clock));
        Self { _home: home, ..Self::new(log, Arc::new(queue), journal, None) }
    }

    async fn on_aws() -> Self {
        let sqs::Bench { aws, queues, queue } = sqs::Bench::open(sqs::fresh_queues()).await;
        let config = dynamodb::Config { table: emulator::fresh_name("dead"), ..dynamodb::Config::default() };
        dynamodb::setup(&aws, &config).await.unwrap();
        let log = Arc::new(DynamoLog::open(&aws, &config));
        let journal = Arc::new(DynamoJournal::open(&aws, &config.table, Clock::system()));
        let urls = (aws, queues.queue_url, queues.dead_letter_url);
        Self::new(log, Arc::new(queue), journal, Some(urls))
    }

    /// Puts these on the queue as a producer would, and has whoever receives sort out what cannot be read.
    async fn put(&self, bodies: &[String]) {
        let (aws, queue_url, _) = self.aws.as_ref().unwrap();
        for body in bodies {
            aws.sqs.send_message().queue_url(queue_url).message_body(body).send().await.unwrap();
        }
    }

    /// What a worker does with what has no record, or another's: without a claim.
    async fn bury(&self, reason: &str) -> usize {
        let received = self.queue.receive(10, Duration::ZERO).await.unwrap();
        let dead =
            received.into_iter().map(|delivery| (delivery, Settlement::Dead { reason: reason.into() }));
        let dead: Vec<_> = dead.collect();
        let count = dead.len();
        for settled in self.queue.settle(dead).await {
            settled.unwrap();
        }
        count
    }

    async fn run(&self, args: &[&str]) -> (Exit, Vec<Value>, String) {
        let words = ["kakitome", "dead-letters"].iter().chain(args);
        let cli = Cli::try_parse_from(words).unwrap();
        let (mut output, out, err) = Output::captured(Clock::system(), None);
        let ended = cli.run_on(&self.client, Duration::from_secs(600), &mut output).await;
        let lines = out.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (ended.unwrap_or_else(|error| panic!("{error:#}")), lines, err.text())
    }

    async fn list(&self, args: &[&str]) -> Vec<Value> {
        let args: Vec<&str> = ["list", "--json"].into_iter().chain(args.iter().copied()).collect();
        self.run(&args).await.1
    }

    async fn resend(&self, lines: &[Value]) -> (Exit, Vec<Value>) {
        let file = self._home.path().join("lines.ndjson");
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&file, text).unwrap();
        let (exit, results, _) = self.run(&["resend", file.to_str().unwrap(), "--yes"]).await;
        (exit, results)
    }

    async fn records(&self) -> Vec<Record> {
        self.log.list(&Filter::default(), None, 100, now()).await.unwrap().items
    }

    async fn dead(&self) -> u64 {
        self.queue.depth().await.unwrap().dead
    }
}

fn by_reason<'a>(letters: &'a [Value], reason: &str) -> &'a Value {
    let found = letters.iter().find(|letter| letter["reason"].as_str().unwrap().starts_with(reason));
    found.unwrap_or_else(|| panic!("{letters:#?}"))
}

/// A message on the queue for an id that nobody recorded.
async fn orphan(house: &House, of: &NewNotification) {
    let message = Message {
        id: of.id,
        tenant: of.notification.tenant.clone(),
        priority: of.notification.priority,
        delay: Duration::ZERO,
        content: Some(of.content.clone()),
        fresh: None,
    };
    house.queue.send_batch(&[message]).await.remove(0).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_read_is_listed_exported_mended_and_sent_once() {
    let mut house = House::on_aws().await;
    let mut wrong = booking("wrong");
    wrong["recipient"] = "x".into();
    house.put(&["no JSON".into(), wrong.to_string(), booking("fine").to_string()]).await;
    assert_eq!(house.bury("no_record").await, 1, "the others are buried by the receive");
    assert_eq!(house.dead().await, 3);
    let listed = house.list(&[]).await;
    assert_eq!(listed.len(), 3);
    let seen = by_reason(&listed, "invalid: /recipient");
    assert!(seen["kept_until"].is_null() && seen["bytes"] == wrong.to_string().len(), "{seen}");
    assert_eq!(house.list(&[]).await.len(), 3, "a look hides nothing");

    let looked = house.keeper.step().await.unwrap();
    assert_eq!(looked, Looked { seen: 3, kept: 3, removed: 0, unkept: 0 });
    assert_eq!(house.keeper.step().await.unwrap(), Looked::default(), "nothing new costs no look");
    let (_, exported, _) = house.run(&["export"]).await;
    let invalid = by_reason(&exported, "invalid: /recipient").clone();
    assert_eq!(invalid["body"], wrong.to_string());

    let mut mended = wrong.clone();
    mended.as_object_mut().unwrap().remove("recipient");
    let of_text = json!({"key": by_reason(&exported, "not_json")["key"], "notification": booking("new")});
    let lines = [
        json!({"key": invalid["key"], "notification": mended}),
        of_text,
        by_reason(&exported, "no_record").clone(),
        json!({"key": "nobody"}),
        json!({"key": "misspelt", "notificaton": {}}),
    ];
    let (exit, results) = house.resend(&lines).await;
    assert_eq!(exit, Exit::Failed);
    let outcome = |result: &Value| match &result["error"]["status"] {
        Value::Null => format!("{} {}", result["status"], result["duplicate"]),
        status => status.to_string(),
    };
    let seen: Vec<_> = results.iter().map(outcome).collect();
    assert_eq!(seen, ["\"accepted\" false", "\"accepted\" false", "\"accepted\" false", "404", "422"]);
    assert_eq!(house.dead().await, 0);
    assert!(house.list(&[]).await.is_empty() && house.list(&["--all"]).await.len() == 3);
    assert_eq!(house.records().await.len(), 3);
    assert_eq!(house.queue.depth().await.unwrap().visible, 3);
    assert!(house.journal.list(Kind::DeadLetterPart, None, 9).await.unwrap().is_empty());

    let (exit, again) = house.resend(&lines[..3]).await;
    assert_eq!(
        (exit, again.iter().map(outcome).collect::<Vec<_>>()),
        (Exit::Done, vec!["\"accepted\" true".into(); 3])
    );
    assert_eq!(again[0]["id"], results[0]["id"]);
    assert_eq!((house.records().await.len(), house.queue.depth().await.unwrap().visible), (3, 3));
    let content = house.log.contents(&[results[0]["id"].as_str().unwrap().parse().unwrap()]).await.unwrap();
    assert!(String::from_utf8_lossy(content[0].as_ref().unwrap()).contains("guest.wrong@example.com"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_outlives_the_queue_and_the_largest_message_fits() {
    let mut house = House::on_aws().await;
    let large = format!("{:?}", "予\"".repeat(200_000));
    let bodies = [large.clone(), "[1,".to_owned()];
    house.put(&bodies).await;
    assert_eq!(house.bury("none").await, 0);
    assert_eq!(house.keeper.step().await.unwrap().kept, 2);
    let (aws, _, dead_url) = house.aws.as_ref().unwrap();
    aws.sqs.purge_queue().queue_url(dead_url).send().await.unwrap();
    let (_, exported, _) = house.run(&["export"]).await;
    let mut found: Vec<_> = exported.iter().map(|letter| letter["body"].as_str().unwrap()).collect();
    found.sort_unstable_by_key(|body| body.len());
    assert_eq!(found, ["[1,", large.as_str()]);
    let table = house.run(&["list"]).await;
    assert_eq!(table.0, Exit::Done);
    let key = by_reason(&exported, "not_json")["key"].clone();
    let (_, results) = house.resend(&[json!({"key": key, "notification": booking("a")})]).await;
    assert_eq!(results[0]["status"], "accepted");
    assert_eq!(house.list(&[]).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_a_record_is_left_to_redrive_and_what_contradicts_it_is_kept() {
    let mut house = House::on_aws().await;
    let recorded = new(notification(|n| n.idempotency_key = Some("k".into())), now());
    house.log.accept(std::slice::from_ref(&recorded)).await.remove(0).unwrap();
    orphan(&house, &recorded).await;
    assert_eq!(house.bury("attempts_used_up").await, 1);
    let mut other = booking("k");
    other["subject"] = "another".into();
    house.put(&[other.to_string()]).await;
    assert_eq!(house.bury("conflict").await, 1);
    assert_eq!(house.keeper.step().await.unwrap(), Looked { seen: 2, kept: 1, removed: 0, unkept: 0 });
    let (_, listed, note) = house.run(&["list", "--json"]).await;
    assert_eq!((listed.len(), listed[0]["reason"].as_str(), note.as_str()), (1, Some("conflict"), ""));
    assert!(house.run(&["list"]).await.2.contains("1 more have a record: `kakitome redrive`"));
    let all = house.list(&["--all"]).await;
    let with_record = by_reason(&all, "attempts_used_up");
    assert_eq!((all.len(), &with_record["recorded"]), (2, &json!(true)));
    let lines = [json!({"key": with_record["key"]}), json!({"key": listed[0]["key"]})];
    let (exit, results) = house.resend(&lines).await;
    assert_eq!((exit, house.dead().await), (Exit::Failed, 2), "what is refused stays");
    let detail = results[0]["error"]["detail"].as_str().unwrap();
    assert!(detail.contains(&format!("kakitome redrive --id {}", recorded.id)), "{detail}");
    assert_eq!(results[1]["error"]["errors"][0]["pointer"], "/idempotency_key");
    other["idempotency_key"] = "k:mended".into();
    let mended = json!({"key": listed[0]["key"], "notification": other});
    assert_eq!(house.resend(&[mended]).await.1[0]["status"], "accepted");
    assert_eq!(house.dead().await, 1, "the failed one's message stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resend_that_was_cut_off_before_the_queue_heard_of_it_is_ended_by_the_keeper() {
    let mut house = House::on_aws().await;
    house.put(&["no JSON".into()]).await;
    assert_eq!(house.bury("none").await, 0);
    // Somebody looks at it while it is resent.
    house.keeper.step().await.unwrap();
    let held = house.queue.dead_letters(None, 10).await.unwrap();
    assert_eq!(held.len(), 1);
    let line = json!({"key": held[0].key, "notification": booking("a")});
    let (exit, _) = house.resend(std::slice::from_ref(&line)).await;
    assert_eq!((exit, house.dead().await), (Exit::Done, 1));
    let shown = held.into_iter().map(|letter| (letter.handle, kakitome::queue::DeadEnd::Show)).collect();
    house.queue.end_dead_letters(shown).await.remove(0).unwrap();
    let mut fresh = Keeper::new(
        house.log.clone(),
        house.queue.clone(),
        house.journal.clone(),
        Clock::system(),
        Config::default(),
    );
    assert_eq!(fresh.step().await.unwrap(), Looked { seen: 1, kept: 0, removed: 1, unkept: 0 });
    assert_eq!((house.dead().await, house.records().await.len()), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_embedded_queue_a_message_without_a_record_needs_a_content() {
    let mut house = House::embedded().await;
    let (lost, failed) = (new(notification(|_| ()), now()), new(notification(|_| ()), now()));
    house.log.accept(std::slice::from_ref(&failed)).await.remove(0).unwrap();
    let parked = Fact::Parked { reason: "attempts_used_up".into(), hold: false };
    house.log.apply(&[(failed.id, parked)], now()).await.remove(0).unwrap();
    for (of, reason) in [(&lost, "no_record"), (&failed, "attempts_used_up")] {
        orphan(&house, of).await;
        assert_eq!(house.bury(reason).await, 1);
    }
    assert_eq!(house.keeper.step().await.unwrap(), Looked { seen: 2, kept: 1, removed: 0, unkept: 0 });
    let listed = house.list(&[]).await;
    assert_eq!((listed.len(), &listed[0]["key"]), (1, &json!(lost.id.to_string())));
    let (exit, results) = house.resend(&[json!({"key": lost.id.to_string()})]).await;
    assert_eq!((exit, &results[0]["error"]["errors"][0]["pointer"]), (Exit::Failed, &json!("/notification")));
    let mut given = booking("x");
    given.as_object_mut().unwrap().remove("idempotency_key");
    let line = json!({"key": lost.id.to_string(), "notification": given});
    for duplicate in [false, true] {
        let (exit, results) = house.resend(std::slice::from_ref(&line)).await;
        assert_eq!((exit, &results[0]["duplicate"]), (Exit::Done, &json!(duplicate)), "{results:?}");
        assert_eq!(results[0]["id"], lost.id.to_string(), "the id that its producer was told");
    }
    let ids: Vec<NotificationId> = house.records().await.iter().map(|record| record.id).collect();
    assert!(ids.len() == 2 && ids.contains(&lost.id));
    assert_eq!((house.dead().await, house.queue.depth().await.unwrap().visible), (1, 1));
}
