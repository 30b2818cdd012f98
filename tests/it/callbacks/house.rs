//! The real house: a sandbox's mail, the API, a killed process.

use std::time::Duration;

use serde_json::{Value, json};

use super::receiver::{Mood, Receiver};
use super::until;
use crate::process::{KEY, Kakitome, http};

/// A running house and a client of it.
struct House {
    server: Kakitome,
    http: reqwest::Client,
}

impl House {
    fn start(dir: &std::path::Path) -> Self {
        let env = [
            ("KAKITOME_CALLBACK_ALLOW_INSECURE", "true".to_owned()),
            ("KAKITOME_LOG", "debug".to_owned()),
            // On SQS what a killed process had received comes again after this.
            ("KAKITOME_QUEUE_VISIBILITY", "15s".to_owned()),
        ];
        Self { server: Kakitome::start(dir, &["serve"], &env), http: http() }
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.server.url)).bearer_auth(KEY);
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> Value {
        let request = self.http.get(format!("{}{path}", self.server.url)).bearer_auth(KEY);
        serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap()
    }

    async fn hand_in(&self, key: &str) -> String {
        let (status, answer) = self.post("/v1/notifications", &crate::world::booking(key)).await;
        assert_eq!(status, 202, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the provider, which dies with the house, has told everything of it.
    async fn until_delivered(&self, id: &str) {
        let end = std::time::Instant::now() + Duration::from_secs(90);
        while self.get(&format!("/v1/notifications/{id}")).await["recipients"][0]["status"] != "delivered" {
            assert!(std::time::Instant::now() < end, "{id} was never delivered");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn statuses(receiver: &Receiver, id: &str) -> Vec<String> {
    let events = receiver.events().into_iter().filter(|event| event["id"] == id);
    events.map(|event| event["status"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_is_told_that_its_mail_was_sent_and_then_delivered() {
    let (home, receiver) = (tempfile::tempdir().unwrap(), Receiver::open().await);
    let house = House::start(home.path());
    let empty = house.get("/v1/events").await;
    if crate::backend::is_aws() {
        assert!(empty["detail"].as_str().unwrap().contains("feed.tenants"), "{empty}");
    } else {
        assert_eq!(empty["items"], json!([]));
    }
    let (status, made) = house.post("/v1/callbacks", &json!({"url": receiver.url})).await;
    assert_eq!(status, 201, "{made}");
    let secret = made["secret"].as_str().unwrap().to_owned();
    let id = house.hand_in("told").await;
    until("it is told", || statuses(&receiver, &id).len() >= 2).await;
    assert_eq!(statuses(&receiver, &id), ["sent", "delivered"]);
    assert!(receiver.posts().iter().all(|post| post.is_signed_with(&secret)));
    let pulled = house.get("/v1/events").await;
    assert_eq!(pulled["items"], Value::from(receiver.events()), "the feed and the callbacks say the same");
    let listed = house.get("/v1/callbacks").await;
    assert_eq!(listed["items"][0]["secrets"], 1);
    let (_, log) = house.server.terminate();
    for text in [listed.to_string(), log] {
        assert!(!text.contains("whsec_") && !text.contains(&secret[6..]), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_everything_is_told_in_order_and_a_message_again_under_its_id() {
    let (home, receiver) = (tempfile::tempdir().unwrap(), Receiver::open().await);
    let house = House::start(home.path());
    house.post("/v1/callbacks", &json!({"url": receiver.url})).await;
    let mut ids = Vec::new();
    receiver.is(Mood::Hanging);
    for n in 0..5 {
        ids.push(house.hand_in(&format!("before-{n}")).await);
    }
    for id in &ids {
        house.until_delivered(id).await;
    }
    until("a post is under way", || !receiver.posts().is_empty()).await;
    house.server.kill();
    let posted = receiver.posts().len();
    receiver.is(Mood::Well);
    let house = House::start(home.path());
    for n in 0..5 {
        ids.push(house.hand_in(&format!("after-{n}")).await);
    }
    until("all were told", || ids.iter().all(|id| statuses(&receiver, id).len() >= 2)).await;
    let message_ids = receiver.ids();
    assert!(posted >= 1 && message_ids[posted] == message_ids[posted - 1], "{message_ids:?}");
    let pulled = house.get("/v1/events?limit=1000").await;
    assert_eq!(pulled["items"], Value::from(receiver.events()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_tells_as_many_changes_as_it_is_asked_for_and_from_where_to_go_on() {
    if crate::backend::is_aws() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let house = House::start(home.path());
    let pull = |args: &[&str]| {
        let mut command = crate::backend::command(home.path());
        command.arg("events").args(args).env("KAKITOME_URL", &house.server.url).env("KAKITOME_API_KEY", KEY);
        let output = command.output().unwrap();
        let [told, said] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(output.status.success(), "{said}");
        (told, said)
    };
    let (_, said) = pull(&[]);
    assert!(said.starts_with("nothing has changed\nto go on: --since "), "{said}");
    house.hand_in("one").await;
    let both_are_there =
        async { while house.get("/v1/events?wait=1").await["items"].as_array().unwrap().len() < 2 {} };
    tokio::time::timeout(Duration::from_secs(60), both_are_there).await.unwrap();
    let (first, said) = pull(&["--limit", "1", "--json"]);
    let (rest, _) = pull(&["--since", said.trim().strip_prefix("to go on: --since ").unwrap(), "--json"]);
    let status = |text: &str| serde_json::from_str::<Value>(text).unwrap()["status"].clone();
    assert_eq!([status(&first), status(&rest)], ["sent", "delivered"]);
}
