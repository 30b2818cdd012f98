//! The SendGrid adapter against a real server on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot be set up should fail loudly"
)]

mod events;
pub mod loopback;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kakitome::notification::address::Address;
use kakitome::notification::{Attachment, DisplayName, Mailbox, Notification, NotificationId, Template};
use kakitome::provider::sendgrid::{Config, ConfigError, SendGrid};
use kakitome::provider::{Handover, Provider, SendError, SendErrorClass};
use kakitome::secret::Secret;
use serde_json::{Value, json};

use loopback::{Play, Server};

const KEY: &str = "SG.secret-key";
const ACCEPTED: &str =
    "HTTP/1.1 202 Accepted\r\nX-Message-Id: kA5kcHA8SVGtVh5S9rAUew\r\nContent-Length: 0\r\n\r\n";

impl Server {
    fn client(&self) -> SendGrid {
        client(&self.base_url)
    }

    async fn send(&self) -> Result<Handover, SendError> {
        self.client().send(id(), &notification()).await
    }
}

fn client(base_url: &str) -> SendGrid {
    let config = Config {
        base_url: base_url.to_owned(),
        api_key: Secret::new(KEY),
        connect_timeout: Duration::from_secs(1),
        attempt_timeout: Duration::from_secs(2),
        ..Config::default()
    };
    SendGrid::new("sendgrid", config).unwrap()
}

fn id() -> NotificationId {
    "0f9b1c52-6a35-8d1e-9c2b-7a1d2e3f4a5b".parse().unwrap()
}

fn mailbox(email: &str, name: Option<&str>) -> Mailbox {
    Mailbox { email: Address::parse(email).unwrap(), name: name.map(|name| DisplayName(name.to_owned())) }
}

fn notification() -> Notification {
    Notification {
        idempotency_key: Some("booking-8123:confirmed:1".into()),
        tenant: "default".into(),
        from: mailbox("reserve@example.jp", Some("予約センター")),
        to: vec![mailbox("guest@example.com", Some("山田 太郎"))],
        cc: vec![],
        bcc: vec![],
        reply_to: None,
        subject: Some("ご予約が確定しました".into()),
        text: Some("ありがとうございます。".into()),
        html: None,
        template: None,
        attachments: vec![],
        headers: BTreeMap::new(),
        categories: vec![],
        metadata: BTreeMap::from([("booking".into(), "metadata-stays-here".into())]),
        deliver_at: None,
        useful_until: None,
        priority: Default::default(),
        batch: Some("batch-stays-here".into()),
        on_unknown: Default::default(),
    }
}

fn full_notification() -> Notification {
    Notification {
        to: vec![mailbox("guest@example.com", Some("山田 太郎")), mailbox("a..b@docomo.ne.jp", None)],
        cc: vec![mailbox(".a@ezweb.ne.jp", Some("Yamada, Taro"))],
        bcc: vec![mailbox("audit@example.jp", Some("Audit; \"internal\""))],
        reply_to: Some(mailbox("desk@example.jp", Some("Desk, Ginza"))),
        html: Some("<p>ありがとう\"ございます\"</p>".into()),
        template: Some(Template {
            id: "d-0123".into(),
            data: serde_json::Map::from_iter([("room".to_owned(), json!("桜"))]),
        }),
        attachments: vec![Attachment {
            filename: "voucher.pdf".into(),
            content_type: "application/pdf".into(),
            content: "JVBERi0=".into(),
        }],
        headers: BTreeMap::from([("X-Booking".into(), "8123".into())]),
        categories: vec!["booking".into()],
        ..notification()
    }
}

#[tokio::test]
async fn the_whole_of_a_notification_reaches_the_provider_in_its_form() {
    let mut server = Server::start(Play::Answer(ACCEPTED.into())).await;
    let sent = server.client().send(id(), &full_notification()).await.unwrap();
    assert_eq!(sent, Handover { message_id: Some("kA5kcHA8SVGtVh5S9rAUew".into()), http_status: 202 });
    let (head, body) = server.request().await;
    let head = head.to_ascii_lowercase();
    for line in [
        "post /v3/mail/send http/1.1",
        "authorization: bearer sg.secret-key",
        "content-type: application/json",
        "accept: application/json",
    ] {
        assert!(head.lines().any(|l| l == line), "{line} in {head}");
    }
    let request: Value = serde_json::from_str(&body).unwrap();
    // The lane is the tenant's, told to nobody who does not know it: the first 16 hex digits of its SHA-256.
    let lane = kakitome::provider::lane(&full_notification().tenant);
    assert_eq!(request["custom_args"], json!({ "kakitome_id": id(), "kakitome_lane": lane }));
    insta::assert_json_snapshot!(request);
    assert_eq!(body.matches("audit@example.jp").count(), 1, "a blind copy stands in one place only");
    assert!(!body.contains("stays-here"), "labels and batches are the house's own");
}

#[tokio::test]
async fn a_plain_notification_has_no_empty_fields() {
    let mut server = Server::start(Play::Answer(ACCEPTED.into())).await;
    server.send().await.unwrap();
    let request: Value = serde_json::from_str(&server.request().await.1).unwrap();
    insta::assert_json_snapshot!(request);
}

#[tokio::test]
async fn a_path_in_the_base_url_is_kept() {
    let mut server = Server::start(Play::Answer(ACCEPTED.into())).await;
    client(&format!("{}/mail/", server.base_url)).send(id(), &notification()).await.unwrap();
    assert!(server.request().await.0.starts_with("POST /mail/v3/mail/send HTTP/1.1"));
}

#[tokio::test]
async fn connections_are_kept_between_sends() {
    let mut server = Server::start(Play::Answer(ACCEPTED.into())).await;
    let client = server.client();
    for _ in 0..20 {
        client.send(id(), &notification()).await.unwrap();
    }
    let mut connections = 0;
    while let Ok((connection, _)) = server.requests.try_recv() {
        connections = connections.max(connection + 1);
    }
    assert!(connections < 20, "{connections}");
}

#[tokio::test]
async fn every_answer_has_its_class() {
    let table = [
        (400, SendErrorClass::Refused),
        (401, SendErrorClass::ProviderRefused),
        (403, SendErrorClass::ProviderRefused),
        (404, SendErrorClass::ProviderRefused),
        (413, SendErrorClass::Refused),
        (429, SendErrorClass::Throttled),
        (500, SendErrorClass::Unknown),
        (503, SendErrorClass::Unknown),
    ];
    for (status, class) in table {
        let server = Server::answering(status, "", "").await;
        let error = server.send().await.unwrap_err();
        assert_eq!((error.class, error.http_status), (class, Some(status)));
    }
    assert_eq!(Server::answering(200, "", "{}").await.send().await.unwrap().http_status, 200);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut server = Server::answering(307, "Location: /elsewhere\r\n", "").await;
    assert_eq!(server.send().await.unwrap_err().class, SendErrorClass::ProviderRefused);
    server.request().await;
    assert!(server.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_throttled_send_carries_the_wait_that_is_asked_for() {
    let server = Server::answering(429, "Retry-After: 7\r\n", "").await;
    assert_eq!(server.send().await.unwrap_err().retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn an_acceptance_with_its_body_cut_off_is_an_acceptance() {
    let cut = "HTTP/1.1 202 Accepted\r\nX-Message-Id: abc\r\nContent-Length: 10\r\n\r\n{\"a";
    let server = Server::start(Play::AnswerAndClose(cut.into())).await;
    assert_eq!(server.send().await.unwrap().message_id.as_deref(), Some("abc"));
}

#[tokio::test]
async fn an_error_with_its_body_cut_off_keeps_its_class() {
    let cut = "HTTP/1.1 400 Bad Request\r\nContent-Length: 1000\r\n\r\n{\"errors\":[";
    let server = Server::start(Play::AnswerAndClose(cut.into())).await;
    assert_eq!(server.send().await.unwrap_err().class, SendErrorClass::Refused);
}

#[tokio::test]
async fn what_ends_without_an_answer_after_the_request_is_unknown() {
    for play in [
        Play::CloseAfterReading,
        Play::Stall,
        Play::AnswerAndClose("HTTP/1.1 202 Acc".into()),
        Play::AnswerAndClose("SSH-2.0-OpenSSH_9.9\r\n".into()),
    ] {
        let server = Server::start(play).await;
        let started = Instant::now();
        let error = server.send().await.unwrap_err();
        assert_eq!((error.class, error.http_status), (SendErrorClass::Unknown, None), "{error}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn a_connection_reset_at_once_is_never_the_messages_fault() {
    let server = Server::start(Play::ResetBeforeReading).await;
    let class = server.send().await.unwrap_err().class;
    // Whether a byte was written before the reset came in is a race; both are true of their case.
    assert!(matches!(class, SendErrorClass::Unknown | SendErrorClass::NotAccepted), "{class:?}");
}

#[tokio::test]
async fn what_fails_before_the_request_is_not_accepted() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plain = Server::start(Play::Answer(ACCEPTED.into())).await;
    let not_tls = plain.base_url.replace("http://", "https://");
    for base_url in [format!("http://{free}"), "http://nowhere.invalid".to_owned(), not_tls] {
        let error = client(&base_url).send(id(), &notification()).await.unwrap_err();
        assert_eq!(
            (error.class, error.http_status),
            (SendErrorClass::NotAccepted, None),
            "{base_url}: {error}"
        );
        assert!(client(&base_url).reach().await.is_err());
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connection_that_does_not_come_in_time_is_not_accepted() {
    // A full accept queue lets further connections hang.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let _waiting: Vec<_> = (0..8)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.connect(&address).ok();
            socket
        })
        .collect();
    let base_url = format!("http://{}", address.as_socket().unwrap());
    let error = client(&base_url).send(id(), &notification()).await.unwrap_err();
    assert_eq!(error.class, SendErrorClass::NotAccepted, "{error}");
    assert!(error.message.starts_with("no connection in time"), "{error}");
}

#[tokio::test]
async fn any_answer_shows_that_the_provider_can_be_reached_and_no_key_is_shown_to_it() {
    let mut server = Server::answering(404, "", "").await;
    server.client().reach().await.unwrap();
    assert!(!server.request().await.0.contains(KEY));
}

#[tokio::test]
async fn no_address_name_or_key_survives_in_an_error() {
    let body = json!({"errors": [
        {"message": "Does not contain a valid address: guest@example.com", "field": "personalizations.0.to", "help": null},
        {"message": "\"a..b\"@docomo.ne.jp and guest%40example.com, 山田 太郎, Bearer SG.secret-key", "field": null},
    ]});
    let server = Server::answering(400, "", &body.to_string()).await;
    let error = server.send().await.unwrap_err();
    assert_eq!(
        error.message,
        "Does not contain a valid address: *** (personalizations.0.to); *** and ***, ***, Bearer ***"
    );
}

#[tokio::test]
async fn an_endless_error_page_is_read_only_so_far() {
    let page = format!("<html>{}</html>", "guest@example.com is down ".repeat(40_000));
    let server = Server::answering(502, "", &page).await;
    let error = server.send().await.unwrap_err();
    assert_eq!(error.class, SendErrorClass::Unknown);
    assert!(error.message.chars().count() <= 500 && !error.message.contains('@'), "{}", error.message);
}

#[test]
fn an_account_that_cannot_work_is_refused_without_repeating_its_secrets() {
    let of = |base_url: &str, key: &str| {
        let config = Config { base_url: base_url.into(), api_key: Secret::new(key), ..Config::default() };
        SendGrid::new("sendgrid", config).err()
    };
    assert!(matches!(of("api.sendgrid.com", KEY), Some(ConfigError::BaseUrl(_))));
    assert!(matches!(of("ftp://example.com", KEY), Some(ConfigError::BaseUrl(_))));
    assert!(matches!(of("http://user:pass@example.com", KEY), Some(ConfigError::BaseUrl(_))));
    assert!(matches!(of("http://example.com/?a=b", KEY), Some(ConfigError::BaseUrl(_))));
    assert!(matches!(of("http://example.com", " "), Some(ConfigError::ApiKey(_))));
    assert!(matches!(of("http://example.com", "a\nb"), Some(ConfigError::ApiKey(_))));
    assert_eq!(of("http://example.com", "SG.key\n"), None);
    let config = Config { api_key: Secret::new(KEY), ..Config::default() };
    assert!(!format!("{config:?} {}", config.api_key).contains(KEY));
}
