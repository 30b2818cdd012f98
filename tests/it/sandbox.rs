//! The sandbox provider over real HTTP.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod faults;
mod strictness;
mod webhooks;

use std::time::Duration;

use kakitome::sandbox::{Config, Sandbox};
use kakitome::shutdown::{self, ShutdownTrigger};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    sandbox: Sandbox,
    client: Client,
    _trigger: ShutdownTrigger,
}

fn world(config: Config) -> World {
    rustls::crypto::ring::default_provider().install_default().ok();
    let (trigger, shutdown) = shutdown::channel();
    let config = Config { listen: "127.0.0.1:0".parse().unwrap(), ..config };
    let sandbox = Sandbox::start(config, shutdown).unwrap();
    let client = Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    World { sandbox, client, _trigger: trigger }
}

fn playing(faults: &str) -> World {
    world(Config { faults: faults.parse().unwrap(), ..Config::default() })
}

impl World {
    fn url(&self, path: &str) -> String {
        self.sandbox.url() + path
    }

    async fn try_send(&self, mail: &Value) -> reqwest::Result<Response> {
        let request = self.client.post(self.url("/v3/mail/send")).bearer_auth("SG.key");
        request.header("Content-Type", "application/json").body(mail.to_string()).send().await
    }

    async fn send(&self, mail: &Value) -> Response {
        self.try_send(mail).await.unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(self.url(path)).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    async fn post(&self, path: &str, body: &str) -> (StatusCode, Value) {
        let answer = self.client.post(self.url(path)).body(body.to_owned()).send().await.unwrap();
        let status = answer.status();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }
}

fn mail(id: &str) -> Value {
    json!({
        "personalizations": [{"to": [{"email": "guest@example.com", "name": "山田 太郎"}]}],
        "from": {"email": "reserve@example.jp", "name": "予約センター"},
        "subject": "ご予約が確定しました",
        "content": [{"type": "text/plain", "value": "<本文> & more"}],
        "custom_args": {"kakitome_id": id},
    })
}

#[tokio::test]
async fn a_valid_mail_is_answered_as_sendgrid_does_and_kept() {
    let world = world(Config::default());
    let sent = mail("id-1");
    let answer = world.send(&sent).await;
    assert_eq!(answer.status(), 202);
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    let message_id = answer.headers()["x-message-id"].to_str().unwrap().to_owned();
    assert_eq!(message_id.len(), 22);
    assert_eq!(answer.text().await.unwrap(), "");

    let outbox = world.get("/sandbox/outbox").await;
    assert_eq!(outbox.as_array().unwrap().len(), 1);
    assert_eq!(outbox[0]["request"], sent);
    assert_eq!(outbox[0]["kakitome_id"], "id-1");
    assert_eq!(outbox[0]["message_id"], message_id);
    assert!(outbox[0]["accepted_at"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn duplicates_are_counted_by_kakitome_id() {
    let world = world(Config::default());
    for id in ["a", "b", "a", "a"] {
        world.send(&mail(id)).await;
    }
    world.send(&json!({})).await;
    let answer = world.client.get(world.url("/sandbox/stats")).send().await.unwrap().text().await.unwrap();
    assert!(answer.starts_with(r#"{"accepted":4,"distinct":2,"duplicates":2,"refused":1"#), "{answer}");

    let cleared = world.client.delete(world.url("/sandbox/outbox")).send().await.unwrap();
    assert_eq!(cleared.status(), 204);
    assert_eq!(world.get("/sandbox/stats").await["accepted"], 0);
    world.send(&mail("a")).await;
    assert_eq!(world.sandbox.stats().duplicates, 0);
}

#[tokio::test]
async fn the_outbox_is_searched_by_id_and_recipient_newest_last() {
    let world = world(Config { outbox_capacity: 3, ..Config::default() });
    for id in ["a", "b", "c", "d"] {
        let mut mail = mail(id);
        mail["personalizations"][0]["to"][0]["email"] = format!("{id}@example.com").into();
        world.send(&mail).await;
    }
    let ids = async |query: &str| {
        let found = world.get(&format!("/sandbox/outbox{query}")).await;
        let ids: Vec<_> = found.as_array().unwrap().iter().map(|m| m["kakitome_id"].to_string()).collect();
        ids.join(" ").replace('"', "")
    };
    assert_eq!(ids("").await, "b c d");
    assert_eq!(ids("?limit=2").await, "c d");
    assert_eq!(ids("?kakitome_id=c").await, "c");
    assert_eq!(ids("?to=B@example.com").await, "b");
    assert_eq!(ids("?to=nobody@example.com").await, "");
    let wrong = world.client.get(world.url("/sandbox/outbox?limti=2")).send().await.unwrap();
    assert_eq!(wrong.status(), 400);
    assert_eq!(wrong.headers()["content-type"], "application/problem+json");
}
