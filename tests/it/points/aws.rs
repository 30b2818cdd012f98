//! On SQS and DynamoDB: the server is killed before a request of its leaves for AWS, and when AWS has answered it and the
//! answer is still on its way, for every kind of request that ingest and fold write with.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use futures::StreamExt;
use kakitome::aws::Aws;
use kakitome::clock::Clock;
use kakitome::inbox::sqs::{Config, SqsInbox};
use kakitome::journal::dynamodb::DynamoJournal;
use kakitome::journal::{Journal, Kind};
use kakitome::message_log::dynamodb::{self, DynamoLog};
use kakitome::queue::sqs::setup::{Queues, setup};
use serde_json::Value;

use super::story::Story;
use super::{PATIENCE, Posts, until_as_told};
use crate::emulator::{self, Emulator};
use crate::process::Kakitome;
use crate::proxy::{ANY, Action, Proxy, Seen};
use crate::world::SHORT;
use crate::{backend, tracking};

/// What a killed process has received comes back after this.
const VISIBILITY: Duration = Duration::from_secs(2);

/// Every kind of request by which ingest and fold change something on AWS.
const STEPS: [(&str, &str); 12] = [
    ("post", "the post's events are durable"),
    ("receive", "a parcel is taken"),
    ("row", "an event has told what came of an attempt"),
    ("event", "events are on their records"),
    ("days", "there is a day with unmatched events"),
    ("unmatched", "an event that matches nothing is kept"),
    ("witness", "silence up to the newest event is evidence"),
    ("mark", "workers are told that there is somebody to whom nothing is sent"),
    ("tenants", "and in whose list"),
    ("suppression", "nothing more is sent to an address"),
    ("aside", "an event that cannot be folded is in the journal"),
    ("done", "the parcels are gone"),
];

/// What is written beside it: alerts, what a look at the unmatched came to, that a parcel is still being folded, and that
/// one is folded late.
const OTHERS: [&str; 4] = ["alert", "looked", "kept", "late"];

/// So many at once: most of the time of one is spent in waiting.
const AT_ONCE: usize = 4;

/// Which steps a request takes; empty for what only reads.
fn steps(seen: &Seen) -> BTreeSet<&'static str> {
    let is_of_events = || seen.body["QueueUrl"].as_str().is_some_and(|url| url.contains("/epoints"));
    match seen.operation.as_str() {
        "SendMessageBatch" if is_of_events() => ["post"].into(),
        "ReceiveMessage" if is_of_events() => ["receive"].into(),
        "DeleteMessageBatch" if is_of_events() => ["done"].into(),
        "ChangeMessageVisibilityBatch" if is_of_events() => ["kept"].into(),
        "BatchExecuteStatement" => {
            seen.body["Statements"].as_array().unwrap().iter().map(of_statement).collect()
        }
        "BatchWriteItem" => {
            let tables = seen.body["RequestItems"].as_object().unwrap().values();
            let puts = tables.flat_map(|puts| puts.as_array().unwrap());
            puts.map(|put| of_key(&put["PutRequest"]["Item"])).collect()
        }
        "PutItem" => [of_key(&seen.body["Item"])].into(),
        "UpdateItem" => [of_key(&seen.body["Key"])].into(),
        "GetItem" | "BatchGetItem" | "Query" | "GetQueueAttributes" => BTreeSet::new(),
        _ => ["?"].into(),
    }
}

fn of_statement(statement: &Value) -> &'static str {
    let texts: Vec<&str> =
        statement["Parameters"].as_array().unwrap().iter().filter_map(|value| value["S"].as_str()).collect();
    let has = |start: &str| texts.iter().any(|text| text.starts_with(start));
    let is_new = statement["Statement"].as_str().unwrap().starts_with("INSERT");
    match (has("u#"), has("n#"), has("e#")) {
        (true, ..) if is_new => "unmatched",
        (true, ..) => "looked",
        (_, true, true) => "event",
        (_, true, _) => "row",
        _ => "?",
    }
}

fn of_key(item: &Value) -> &'static str {
    let [pk, sk] = ["pk", "sk"].map(|name| item[name]["S"].as_str().unwrap_or_default());
    match (pk, sk) {
        ("u#days", _) => "days",
        ("j#mark", "suppressions") => "mark",
        ("j#mark", "events_late") => "late",
        ("j#alert", _) => "alert",
        ("j#event_aside", _) => "aside",
        ("s#tenants", _) => "tenants",
        _ if pk.starts_with("w#") => "witness",
        _ if pk.starts_with("s#") => "suppression",
        _ => "?",
    }
}

/// A place of its own on AWS, with a proxy on the way there.
struct House {
    directory: tempfile::TempDir,
    proxy: Proxy,
    settings: Vec<(&'static str, String)>,
    direct: Aws,
}

impl House {
    /// In which everything stands as before the first post.
    async fn prepare(story: &Story) -> Self {
        let url = &Emulator::ministack().url;
        let name = emulator::fresh_name("points").replace("kakitome-", "");
        let own = SHORT.into_iter().chain([("queue.visibility", "2s")]);
        let own = own.map(|(path, value)| (path, value.to_owned()));
        let house = Self {
            directory: tempfile::tempdir().unwrap(),
            proxy: Proxy::before(url).await,
            settings: backend::aws_settings(&name).into_iter().chain(own).collect(),
            direct: emulator::connect(url, url).await,
        };
        let queues = Queues {
            queue_url: house.setting("sqs.queue_url"),
            dead_letter_url: house.setting("sqs.dead_letter_url"),
            events_url: Some(house.setting("sqs.events_url")),
            visibility_timeout: VISIBILITY,
            max_receive_count: 100,
        };
        setup(&house.direct, &queues).await.unwrap();
        let table = house.setting("dynamodb.table");
        let config = dynamodb::Config { table: table.clone(), ..dynamodb::Config::default() };
        dynamodb::setup(&house.direct, &config).await.unwrap();
        let log = DynamoLog::open(&house.direct, &config);
        let inbox = Config { url: house.setting("sqs.events_url"), visibility_timeout: VISIBILITY };
        story.prepare(&log, &SqsInbox::open(&house.direct, inbox)).await;
        story.tell_of_broken(&log).await;
        log.close().await;
        house.spoil(&table).await;
        house
    }

    /// Makes the events of one record unreadable.
    async fn spoil(&self, table: &str) {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let found = self
            .direct
            .dynamodb
            .query()
            .table_name(table)
            .key_condition_expression("pk = :pk AND begins_with(sk, :e)");
        let found = found.expression_attribute_values(":pk", text(&format!("n#{}", Story::broken())));
        let mut found =
            found.expression_attribute_values(":e", text("e#")).send().await.unwrap().items.unwrap();
        assert_eq!(found.len(), 1);
        let mut item = found.remove(0);
        item.insert("ev".into(), AttributeValue::B(Blob::new(*b"no zstd")));
        self.direct.dynamodb.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
    }

    fn setting(&self, wanted: &str) -> String {
        self.settings.iter().find(|(path, _)| *path == wanted).unwrap().1.clone()
    }

    async fn start(&self) -> Kakitome {
        let directory = self.directory.path().to_owned();
        let command =
            backend::command_with(&directory, &self.settings, Some((&self.proxy.url, &self.proxy.url)));
        let asked = ["serve", "--role", "api,webhook"];
        let start = move || Kakitome::run(command, &directory, &asked, &tracking::environment());
        tokio::task::spawn_blocking(start).await.unwrap()
    }

    /// One server, until a request that takes this step is on its way, or was answered, and is kept from going on.
    async fn play_until_killed(&self, posts: &mut Posts, step: &'static str, is_answered: bool) {
        let action = if is_answered { Action::KeepAnswer } else { Action::Stall };
        let choose =
            move |seen: &Seen| if steps(seen).contains(step) { action.clone() } else { Action::Pass };
        self.proxy.always(ANY, Action::Choose(Arc::new(choose)));
        let server = self.start().await;
        tokio::select! {
            () = async {
                posts.post(&server.url).await;
                std::future::pending().await
            } => {}
            () = self.meets(step, is_answered) => {}
        }
        server.kill();
        self.proxy.pass_all();
    }

    async fn meets(&self, step: &str, is_answered: bool) {
        let begun = Instant::now();
        let is_met = |seen: &Seen| {
            // Most receives bring nothing.
            let is_empty = step == "receive" && seen.answer["Messages"].as_array().is_none_or(Vec::is_empty);
            steps(seen).contains(step) && !(is_answered && is_empty)
        };
        while !self.proxy.seen().iter().any(is_met) {
            assert!(begun.elapsed() < PATIENCE, "no request took the step {step}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The rest of the story, with a server that lives; every step that was seen.
    async fn play_on(&self, story: &Story, posts: &mut Posts) -> BTreeSet<&'static str> {
        let server = self.start().await;
        posts.post(&server.url).await;
        until_as_told(&posts.client, &server.url, story, String::new).await;
        let journal = DynamoJournal::open(&self.direct, &self.setting("dynamodb.table"), Clock::system());
        assert_eq!(journal.list(Kind::EventAside, None, 10).await.unwrap().len(), 1);
        server.kill();
        self.proxy.seen().iter().flat_map(steps).collect()
    }
}

async fn play(story: &Story, step: &'static str, is_answered: bool) -> BTreeSet<&'static str> {
    let house = House::prepare(story).await;
    let mut posts = Posts::of(story);
    house.play_until_killed(&mut posts, step, is_answered).await;
    house.play_on(story, &mut posts).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_before_and_after_each_kind_of_request_loses_no_event_and_counts_none_twice() {
    let story = Story::at(Clock::system().now());
    let points = STEPS.iter().flat_map(|(step, _)| [(*step, false), (*step, true)]);
    let plays = points.map(|(step, is_answered)| play(&story, step, is_answered));
    let seen: Vec<BTreeSet<&str>> = futures::stream::iter(plays).buffer_unordered(AT_ONCE).collect().await;
    let known: BTreeSet<&str> = STEPS.iter().map(|(step, _)| *step).chain(OTHERS).collect();
    let met: BTreeSet<&str> = seen.into_iter().flatten().collect();
    assert_eq!(
        met.difference(&known).collect::<Vec<_>>(),
        Vec::<&&str>::new(),
        "no step that this test knows"
    );
}
