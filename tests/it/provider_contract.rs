//! One contract for every provider adapter: what it does with each answer and each failure of a strict double of its
//! provider on loopback, and what it makes of that provider's posts.

mod double;
mod ears;
mod events;
mod failover;
mod ses;
mod sides;

use std::time::{Duration, Instant};

use kakitome::notification::address::Address;
use kakitome::notification::{Attachment, DisplayName, Mailbox, Notification, NotificationId};
use kakitome::provider::{Handover, SendError, SendErrorClass};
use serde_json::{Value, json};

use crate::sendgrid::loopback::{Play, Server};
use sides::{SIDES, Side};

const ID: &str = "0f9b1c52-6a35-8d1e-9c2b-7a1d2e3f4a5b";

fn id() -> NotificationId {
    ID.parse().unwrap()
}

fn mailbox(email: &str, name: Option<&str>) -> Mailbox {
    Mailbox { email: Address::parse(email).unwrap(), name: name.map(|name| DisplayName(name.to_owned())) }
}

fn notification() -> Notification {
    let json = json!({
        "tenant": "default",
        "from": {"email": "reserve@example.jp", "name": "予約センター"},
        "to": [{"email": "guest@example.com", "name": "山田 太郎"}],
        "subject": "ご予約が確定しました",
        "text": "ありがとうございます。",
        "metadata": {"booking": "metadata-stays-here"},
        "batch": "batch-stays-here",
    });
    serde_json::from_value(json).unwrap()
}

fn full_notification() -> Notification {
    Notification {
        to: vec![mailbox("guest@example.com", Some("山田 太郎")), mailbox("a..b@docomo.ne.jp", None)],
        cc: vec![mailbox(".a@ezweb.ne.jp", Some("Yamada, Taro"))],
        bcc: vec![mailbox("audit@example.jp", Some("Audit"))],
        reply_to: Some(mailbox("desk@example.jp", Some("Desk, Ginza"))),
        html: Some("<p>ありがとう\"ございます\"</p>".into()),
        attachments: vec![Attachment {
            filename: "voucher.pdf".into(),
            content_type: "application/pdf".into(),
            content: "JVBERi0=".into(),
        }],
        headers: [("X-Booking".to_owned(), "8123".to_owned())].into(),
        ..notification()
    }
}

async fn send_to(side: &Side, server: &Server) -> Result<Handover, SendError> {
    (side.provider)(&server.base_url).send(id(), &notification()).await
}

async fn answering(side: &Side, status: u16, headers: &str, body: &str) -> SendError {
    let server = Server::answering(status, headers, body).await;
    send_to(side, &server).await.unwrap_err()
}

/// SendGrid's requests stand in its own tests.
fn snapshot(side: &Side, what: &str, request: Value) {
    if side.name != "sendgrid" {
        insta::assert_json_snapshot!(format!("{what}_{}", side.name), request);
    }
}

/// A whole answer as it stands on the wire.
fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} Whatever\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

#[tokio::test]
async fn the_whole_of_a_notification_is_handed_over_and_the_message_id_kept() {
    for side in &SIDES {
        let (status, headers, body) = side.taken;
        let mut server = Server::start(Play::Answer(answer(status, headers, body))).await;
        let sent = (side.provider)(&server.base_url).send(id(), &full_notification()).await.unwrap();
        let expected = Handover { message_id: Some(side.message_id.into()), http_status: status };
        assert_eq!(sent, expected, "{}", side.name);
        let (head, body) = server.request().await;
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with(&format!("post {} http/1.1\r\n", side.path)), "{head}");
        assert!(head.contains("\ncontent-type: application/json"), "{head}");
        for line in side.headers {
            assert!(head.lines().any(|one| one.starts_with(line)), "{}: {line} in {head}", side.name);
        }
        let request: Value = serde_json::from_str(&body).unwrap();
        snapshot(side, "request", request);
        assert_eq!(body.matches("audit@example.jp").count(), 1, "a blind copy stands in one place only");
        assert!(!body.contains("stays-here"), "labels and batches are the house's own");
        assert!(body.contains(ID), "our id goes along");
    }
}

#[tokio::test]
async fn a_plain_notification_has_no_empty_fields() {
    for side in &SIDES {
        let (status, headers, body) = side.taken;
        let mut server = Server::start(Play::Answer(answer(status, headers, body))).await;
        send_to(side, &server).await.unwrap();
        snapshot(side, "plain_request", serde_json::from_str(&server.request().await.1).unwrap());
    }
}

#[tokio::test]
async fn every_answer_has_its_class_and_no_address_name_or_key_survives_in_its_words() {
    for side in &SIDES {
        for (status, headers, body, class) in side.refusals {
            let secret = "guest@example.com, \\\"a..b\\\"@docomo.ne.jp, 山田 太郎, the-key-itself";
            let body = body.replace("WORDS", secret);
            let error = answering(side, *status, headers, &body).await;
            assert_eq!((error.class, error.http_status), (*class, Some(*status)), "{}: {body}", side.name);
            // SES never sees the key that requests are signed with, so that it cannot repeat it.
            let key = if side.name == "ses" { "guest" } else { "the-key-itself" };
            for private in ["guest", "docomo", "山田", key] {
                assert!(!error.message.contains(private), "{}: {}", side.name, error.message);
            }
        }
    }
}

#[tokio::test]
async fn a_throttled_answer_carries_the_wait_that_is_asked_for() {
    for side in &SIDES {
        let (status, headers, body) = side.throttled;
        let headers = format!("{headers}Retry-After: 7\r\n");
        let error = answering(side, status, &headers, body).await;
        assert_eq!(error.class, SendErrorClass::Throttled, "{}", side.name);
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)), "{}", side.name);
    }
}

#[tokio::test]
async fn an_acceptance_with_its_body_cut_off_is_an_acceptance() {
    for side in &SIDES {
        let status = side.taken.0;
        let cut = format!("HTTP/1.1 {status} OK\r\nContent-Length: 1000\r\n\r\n{{\"i");
        let server = Server::start(Play::AnswerAndClose(cut.into())).await;
        let sent = send_to(side, &server).await.unwrap();
        assert_eq!((sent.http_status, sent.message_id), (status, None), "{}", side.name);
    }
}

#[tokio::test]
async fn an_error_with_its_body_cut_off_keeps_the_class_of_its_status() {
    for side in &SIDES {
        for (status, class) in [(400, SendErrorClass::Refused), (502, SendErrorClass::Unknown)] {
            let cut = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 1000\r\n\r\n{{\"errors\":[");
            let server = Server::start(Play::AnswerAndClose(cut.into())).await;
            assert_eq!(send_to(side, &server).await.unwrap_err().class, class, "{}", side.name);
        }
    }
}

#[tokio::test]
async fn what_ends_without_an_answer_after_the_request_is_unknown_and_not_tried_again() {
    for side in &SIDES {
        for play in [
            Play::CloseAfterReading,
            Play::Stall,
            // Slow headers, and what is no HTTP at all.
            Play::AnswerAndClose("HTTP/1.1 202 Acc".into()),
            Play::AnswerAndClose("SSH-2.0-OpenSSH_9.9\r\n".into()),
        ] {
            let mut server = Server::start(play).await;
            let started = Instant::now();
            let error = send_to(side, &server).await.unwrap_err();
            assert_eq!((error.class, error.http_status), (SendErrorClass::Unknown, None), "{error}");
            assert!(started.elapsed() < Duration::from_secs(5));
            server.request().await;
            assert!(server.requests.try_recv().is_err(), "{} was asked twice", side.name);
        }
    }
}

#[tokio::test]
async fn a_connection_reset_at_once_is_never_the_messages_fault() {
    for side in &SIDES {
        let server = Server::start(Play::ResetBeforeReading).await;
        let class = send_to(side, &server).await.unwrap_err().class;
        // Whether a byte was written before the reset came in is a race; both are true of their case.
        assert!(matches!(class, SendErrorClass::Unknown | SendErrorClass::NotAccepted), "{class:?}");
    }
}

#[tokio::test]
async fn what_fails_before_the_request_is_not_accepted() {
    for side in &SIDES {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let plain = Server::answering(200, "", "{}").await;
        let not_tls = plain.base_url.replace("http://", "https://");
        for base_url in [format!("http://{free}"), "http://nowhere.invalid".to_owned(), not_tls] {
            let provider = (side.provider)(&base_url);
            let error = provider.send(id(), &notification()).await.unwrap_err();
            let seen = (error.class, error.http_status);
            assert_eq!(seen, (SendErrorClass::NotAccepted, None), "{} {base_url}: {error}", side.name);
            assert!(provider.reach().await.is_err());
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for side in &SIDES {
        let mut server = Server::answering(307, "Location: /elsewhere\r\n", "").await;
        assert_eq!(send_to(side, &server).await.unwrap_err().class, SendErrorClass::ProviderRefused);
        server.request().await;
        assert!(server.requests.try_recv().is_err(), "{}", side.name);
    }
}

#[tokio::test]
async fn an_endless_error_page_is_read_only_so_far() {
    for side in &SIDES {
        let page = format!("<html>{}</html>", "guest@example.com is down ".repeat(40_000));
        let error = answering(side, 502, "", &page).await;
        assert_eq!(error.class, SendErrorClass::Unknown);
        assert!(error.message.chars().count() <= 500 && !error.message.contains('@'), "{}", error.message);
    }
}

#[tokio::test]
async fn any_answer_shows_that_the_provider_can_be_reached_and_no_key_is_shown_to_it() {
    for side in &SIDES {
        let mut server = Server::answering(404, "", "").await;
        (side.provider)(&server.base_url).reach().await.unwrap();
        let head = server.request().await.0;
        assert!(!head.contains("the-key-itself") && !head.to_ascii_lowercase().contains("authorization"));
    }
}

#[tokio::test]
async fn what_the_provider_cannot_take_is_refused_before_a_byte_is_written() {
    for side in &SIDES {
        for (what, change) in side.unsendable {
            let mut server = Server::answering(200, "", "{}").await;
            let mut asked = notification();
            change(&mut asked);
            let error = (side.provider)(&server.base_url).send(id(), &asked).await.unwrap_err();
            let seen = (error.class, error.http_status);
            assert_eq!(seen, (SendErrorClass::Refused, None), "{}: {what}", side.name);
            assert!(error.message.contains(what), "{}: {}", side.name, error.message);
            assert!(server.requests.try_recv().is_err());
        }
    }
}
