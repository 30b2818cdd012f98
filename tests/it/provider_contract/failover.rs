//! Several providers in one house: who takes over, and what stays where it is.

use std::time::{Duration, Instant};

use kakitome::clock::Clock;
use serde_json::{Value, json};

use super::double::{Double, KEY, Mode};
use super::ears::{RESEND_SECRET, svix_signature};
use crate::killing::free_port;
use crate::process::{self, Kakitome};
use crate::sendgrid::loopback::{Play, Server};
use crate::world::{World, booking};

const PATIENCE: Duration = Duration::from_secs(60);

fn outcomes(record: &Value) -> Vec<&str> {
    record["attempts"].as_array().unwrap().iter().filter_map(|attempt| attempt["outcome"].as_str()).collect()
}

/// Tells the house of an event, as Resend would.
async fn tell(url: &str, event_id: &str, body: &Value) -> u16 {
    let (body, now) = (body.to_string(), (Clock::system().now().as_ms() / 1000).to_string());
    let signature = svix_signature(RESEND_SECRET, event_id, &now, &body);
    let request = process::http().post(format!("{url}/webhooks/resend")).body(body);
    let headers = [("svix-id", event_id), ("svix-timestamp", &now), ("svix-signature", &signature)];
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn while_the_preferred_provider_is_away_the_next_takes_new_mail_and_what_is_unknown_stays() {
    let mut double = Double::open(Mode::TakeAndFail).await;
    let settings = [
        ("provider", "resend,sandbox"),
        ("resend.api_key", KEY),
        ("resend.base_url", &double.url()),
        ("resend.webhook_secret", RESEND_SECRET),
    ];
    let world = World::open(&settings, "").await;
    let unknown = world.accept("unknown", |_| {}).await;
    world.record_with_status(&unknown, "unknown").await;
    double.go_away().await;
    for id in world.accept_many(20).await {
        let record = world.record_with_status(&id, "sent").await;
        assert_eq!(record["provider"], "sandbox", "{record:#}");
    }
    // It is asked for again now and then, and then on its way.
    let record = world.record_with_status(&unknown, "unknown").await;
    assert_eq!(record["provider"], "resend", "{record:#}");
    double.set(Mode::Take);
    double.come_back().await;
    let record = world.record_with_status(&unknown, "sent").await;
    assert_eq!(record["provider"], "resend");
    assert_eq!(record["provider_message_id"], format!("mail-{unknown}"));
    assert!(outcomes(&record).iter().rev().skip(1).all(|outcome| *outcome == "unknown"), "{record:#}");
    assert_eq!(double.mails().keys().collect::<Vec<_>>(), [&unknown], "one mail, whatever the requests");
    assert_eq!(world.sandbox().stats().accepted, 20);

    let event = json!({"type": "email.delivered", "created_at": Clock::system().now(), "data": {
        "email_id": format!("mail-{unknown}"), "to": ["guest.unknown@example.com"],
        "tags": {"kakitome_id": unknown, "kakitome_recipients": "1"}}});
    assert!((200..300).contains(&tell(world.url(), "event-1", &event).await));
    let is_delivered = |record: &Value| record["recipients"][0]["status"] == "delivered";
    world.record_when(&unknown, is_delivered).await;
    let forged = process::http().post(format!("{}/webhooks/resend", world.url())).body(event.to_string());
    assert_eq!(forged.send().await.unwrap().status().as_u16(), 403);
    world.close().await;
}

/// A server that sends through Resend alone, with everything that waits scaled down but the hold and the witness.
fn serve(dir: &std::path::Path, listen: &str, double: &Double) -> Kakitome {
    let env = [
        ("KAKITOME_PROVIDER", "resend"),
        ("KAKITOME_RESEND_API_KEY", KEY),
        ("KAKITOME_RESEND_BASE_URL", &double.url()),
        ("KAKITOME_WORKER_LEASE", "3s"),
        ("KAKITOME_WORKER_PROVIDER_TIMEOUT", "2s"),
        ("KAKITOME_QUEUE_VISIBILITY", "3s"),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    Kakitome::start(dir, &["serve", "--role", "api,worker", "--listen", listen], &env)
}

async fn record_when(url: &str, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let request = process::http().get(format!("{url}/v1/notifications/{id}")).bearer_auth(process::KEY);
        let answer = request.send().await.unwrap().bytes().await.unwrap();
        let record: Value = serde_json::from_slice(&answer).unwrap();
        if wanted(&record) {
            return record;
        }
        assert!(begun.elapsed() < PATIENCE, "it did not come to that: {record:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn hand_in(url: &str, key: &str) -> String {
    let request = process::http().post(format!("{url}/v1/notifications")).bearer_auth(process::KEY);
    let answer = request.body(booking(key).to_string()).send().await.unwrap().bytes().await.unwrap();
    serde_json::from_slice::<Value>(&answer).unwrap()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_was_taken_before_a_kill_is_asked_for_under_the_same_key_and_is_one_mail() {
    let (double, dir) = (Double::open(Mode::TakeAndStall).await, tempfile::tempdir().unwrap());
    let listen = format!("127.0.0.1:{}", free_port());
    let server = serve(dir.path(), &listen, &double);
    let id = hand_in(&server.url, "killed").await;
    let begun = Instant::now();
    while double.mails().is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill();
    double.set(Mode::Take);
    let server = serve(dir.path(), &listen, &double);
    let record = record_when(&server.url, &id, |record| record["status"] == "sent").await;
    assert_eq!(outcomes(&record), ["unknown", "accepted"]);
    assert_eq!((double.mails().len(), double.requests()), (1, 2));
    assert_eq!(record["provider_message_id"], format!("mail-{id}"));
    server.terminate();
}

#[tokio::test]
async fn mail_goes_through_ses_as_whom_the_environment_names() {
    let body = r#"{"MessageId":"0106018f2d"}"#;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut ses = Server::start(Play::Answer(answer.into_bytes())).await;
    let dir = tempfile::tempdir().unwrap();
    let env = [
        ("KAKITOME_PROVIDER", "ses"),
        ("KAKITOME_SES_REGION", "ap-northeast-1"),
        ("KAKITOME_SES_BASE_URL", &ses.base_url),
        ("AWS_ACCESS_KEY_ID", "AKIDOFTHEENVIRONMENT"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    let server = Kakitome::start(dir.path(), &["serve", "--role", "api,worker"], &env);
    let id = hand_in(&server.url, "ses").await;
    let record = record_when(&server.url, &id, |record| record["status"] == "sent").await;
    assert_eq!((&record["provider"], &record["provider_message_id"]), (&json!("ses"), &json!("0106018f2d")));
    let (head, _) = ses.request().await;
    assert!(
        head.contains("AKIDOFTHEENVIRONMENT/") && head.contains("/ap-northeast-1/ses/aws4_request"),
        "{head}"
    );
    server.terminate();
}

#[test]
fn what_a_role_lacks_for_its_provider_is_named_and_ends_with_2() {
    let dir = tempfile::tempdir().unwrap();
    for (provider, given, missing) in [
        ("resend", None, ["KAKITOME_RESEND_API_KEY", "KAKITOME_RESEND_WEBHOOK_SECRET"]),
        ("ses", None, ["KAKITOME_SES_REGION", "KAKITOME_SES_TOPIC_ARN"]),
        (
            "resend",
            Some(("KAKITOME_RESEND_WEBHOOK_SECRET", "whsec_short")),
            ["KAKITOME_RESEND_WEBHOOK_SECRET", "16 bytes"],
        ),
        ("ses", Some(("KAKITOME_SES_TOPIC_ARN", "ses-events")), ["KAKITOME_SES_TOPIC_ARN", "arn:aws:sns"]),
    ] {
        let mut command = crate::backend::command(dir.path());
        command.args(["serve", "--listen", "127.0.0.1:0"]).env("KAKITOME_PROVIDER", provider);
        let ended = command.envs(given).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(missing.iter().all(|name| said.contains(name)), "{missing:?} in {said}");
    }
}
