//! What SendGrid refuses, the sandbox refuses.

use kakitome::sandbox::Config;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{mail, world};

/// Sets `pointer` (RFC 6901) in a valid mail to `value`; null takes it away.
fn changed(pointer: &str, value: Value) -> Value {
    let mut mail = mail("a");
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = mail.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Value::Object(object), Value::Null) => drop(object.remove(name)),
        (Value::Object(object), value) => drop(object.insert(name.to_owned(), value)),
        (Value::Array(array), value) => array[name.parse::<usize>().unwrap()] = value,
        _ => panic!("{pointer} does not fit"),
    }
    mail
}

fn recipients(count: usize) -> Value {
    (0..count).map(|number| json!({"email": format!("guest{number}@example.com")})).collect()
}

fn in_hours(hours: i64) -> i64 {
    kakitome::clock::Clock::system().now().as_ms() / 1000 + hours * 3600
}

fn to(email: &str) -> Value {
    changed("/personalizations/0/to/0/email", email.into())
}

// One case a line, as a table; rustfmt would make it four times as long.
#[rustfmt::skip]
fn table() -> Vec<(Value, &'static str, &'static str)> {
    let p0 = "/personalizations/0";
    let with = |name: &str, value: Value| changed(&format!("{p0}/{name}"), value);
    let guest = json!([{"email": "GUEST@example.com"}]);
    let attachment = |name: &str, value: Value| {
        let mut one = json!({"content": "QUJD", "filename": "a.txt"});
        one[name] = value;
        changed("/attachments", json!([one]))
    };
    vec![
        (changed("/personalizations", Value::Null), "personalizations", "at least one personalization"),
        (changed("/personalizations", json!([])), "personalizations", "at least one personalization"),
        (with("to", Value::Null), "personalizations.0.to", "The to array is required"),
        (with("to", json!([])), "personalizations.0.to", "The to array is required"),
        (with("to", json!("a@example.com")), "personalizations.0.to", "Expected: array, given: string."),
        (with("to", json!([{"name": "x"}])), "personalizations.0.to.0.email", "The to email parameter is required."),
        (to("a..b@docomo.ne.jp"), "personalizations.0.to.0.email", "valid address"),
        (to(".a@ezweb.ne.jp"), "personalizations.0.to.0.email", "valid address"),
        (to("a.@docomo.ne.jp"), "personalizations.0.to.0.email", "valid address"),
        (to("a@example.com\r\nBcc: b@example.com"), "personalizations.0.to.0.email", "valid address"),
        (to(&format!("a@{}.com", "b".repeat(320))), "personalizations.0.to.0.email", "320"),
        (with("to/0/name", json!("a, b")), "personalizations.0.to.0.name", "';' or ','"),
        (with("cc", guest.clone()), "personalizations.0", "unique between to, cc, and bcc"),
        (with("bcc", guest), "personalizations.0", "unique between to, cc, and bcc"),
        (with("cc", recipients(1000)), "personalizations", "limit of 1000 total recipients"),
        (with("subject", json!("")), "personalizations.0.subject", "one character"),
        (with("headers", json!({"X-A": 1})), "personalizations.0.headers.X-A", "must be strings"),
        (with("custom_args", json!({"a": 1})), "personalizations.0.custom_args", "must be strings"),
        (with("custom_args", json!({})), "personalizations.0.custom_args", "cannot be empty"),
        (with("custom_args", json!({"a": "x".repeat(9_990)})), "personalizations.0.custom_args", "10,000 bytes"),
        (with("dynamic_template_data", json!({"a": 1})), "personalizations.0.dynamic_template_data", "d-"),
        (with("send_at", json!(in_hours(73))), "personalizations.0.send_at", "72 hours"),
        (with("nonsense", json!(1)), "personalizations.0.nonsense", "not allowed"),
        (changed("/from", Value::Null), "from", "The from object must be provided"),
        (changed("/from", json!("a@example.com")), "from", "Expected: object, given: string."),
        (changed("/from/email", json!("nobody")), "from.email", "valid address"),
        (changed("/from/email", json!(1)), "from.email", "Expected: string, given: integer."),
        (changed("/reply_to", json!({"email": "x"})), "reply_to.email", "valid address"),
        (changed("/subject", Value::Null), "subject", "The subject is required"),
        (changed("/subject", json!("")), "subject", "at least one character"),
        (changed("/content", Value::Null), "content", "the content parameter is required"),
        (changed("/content", json!([])), "content", "the content parameter is required"),
        (changed("/content/0/value", json!("")), "content.0.value", "at least one character"),
        (changed("/content/0/type", json!("text/plain; charset=x")), "content.0.type", "';'"),
        (changed("/content", json!([{"type": "text/html", "value": "x"}, {"type": "text/plain", "value": "x"}])), "content", "RFC 1341"),
        (changed("/headers", json!({"Reply-To": "a@example.com"})), "headers.Reply-To", "reserved"),
        (changed("/headers", json!({"X A": "a"})), "headers.X A", "empty spaces"),
        (changed("/headers", json!({"X-A": "a", "x-a": "b"})), "headers.x-a", "duplicate"),
        (changed("/headers", json!({"X-A": "a\r\nb: c"})), "headers.X-A", "CRLF"),
        (changed("/headers", json!({"X-A": "予約"})), "headers.X-A", "non-ASCII"),
        (changed("/categories", json!(["a", "a"])), "categories.1", "unique"),
        (changed("/categories", json!(["予約"])), "categories.0", "non-ASCII"),
        (changed("/categories", json!(["x".repeat(256)])), "categories.0", "255"),
        (changed("/categories", (0..11).map(|n| n.to_string()).collect()), "categories", "You provided 11"),
        (attachment("content", json!("not base64!")), "attachments.0.content", "base64"),
        (attachment("content", json!("")), "attachments.0.content", "one character"),
        (attachment("filename", Value::Null), "attachments.0.filename", "must be a string"),
        (attachment("filename", json!("a\r\nb")), "attachments.0.filename", "CRLF"),
        (attachment("disposition", json!("sideways")), "attachments.0.disposition", "You provided \"sideways\"."),
        (changed("/send_at", json!("soon")), "send_at", "Unix timestamp"),
        (changed("/template_id", json!(7)), "template_id", "you provided 7."),
        (changed("/asm", json!({"group_id": "x"})), "asm.group_id", "integer"),
        (changed("/ip_pool_name", json!("x")), "ip_pool_name", "valid pool name"),
        (changed("/mail_settings", json!({"sandbox_mode": {"enable": "yes"}})), "mail_settings.sandbox_mode.enable", "boolean"),
        (changed("/tracking_settings", json!({"open_tracking": {"substitution_tag": 1}})), "tracking_settings.open_tracking.substitution_tag", "string"),
        (changed("/nonsense", json!(1)), "nonsense", "not allowed"),
    ]
}

#[tokio::test]
async fn everything_that_sendgrid_refuses_is_refused_with_its_field() {
    let world = world(Config::default());
    let table = table();
    for (mail, field, words) in &table {
        let answer = world.send(mail).await;
        assert_eq!(answer.status(), 400, "{field}: {words}");
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let errors = body["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{field}: {body}");
        assert_eq!(errors[0]["field"], *field, "{body}");
        assert!(errors[0]["message"].as_str().unwrap().contains(words), "{field}: {body}");
        assert!(errors[0]["help"].as_str().unwrap().contains("errors.html#message."), "{body}");
    }
    assert_eq!(world.sandbox.stats().refused, table.len() as u64);
    assert_eq!(world.sandbox.stats().accepted, 0);
}

#[tokio::test]
async fn all_issues_come_at_once() {
    let world = world(Config::default());
    let body = world.send(&json!({})).await.text().await.unwrap();
    let fields: Vec<_> = serde_json::from_str::<Value>(&body).unwrap()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["field"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(fields, ["personalizations", "from", "subject", "content"]);
}

#[tokio::test]
async fn what_sendgrid_takes_is_taken() {
    let world = world(Config::default());
    let mut templated = changed("/template_id", json!("d-0123"));
    for name in ["subject", "content"] {
        templated.as_object_mut().unwrap().remove(name);
    }
    templated["personalizations"][0]["dynamic_template_data"] = json!({"room": "桜"});
    let many = changed("/personalizations/0/to", recipients(1000));
    let full = changed(
        "/attachments",
        json!([{"content": "QUI=", "filename": "a.pdf", "type": "application/pdf", "disposition": "inline"}]),
    );
    for mail in [
        to("\"a..b\"@docomo.ne.jp"),
        changed("/personalizations/0/to/0/name", json!("\"a, b\"")),
        changed("/send_at", json!(in_hours(71))),
        changed("/headers", json!({"X-Booking": "8123"})),
        changed("/categories", json!(["booking"])),
        templated,
        many,
        full,
    ] {
        let answer = world.send(&mail).await;
        assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
    }
}

#[tokio::test]
async fn sendgrids_own_sandbox_mode_validates_only() {
    let world = world(Config::default());
    let mail = changed("/mail_settings", json!({"sandbox_mode": {"enable": true}}));
    assert_eq!(world.send(&mail).await.status(), 200);
    assert_eq!(world.sandbox.stats().accepted, 0);
}

#[tokio::test]
async fn the_key_must_be_there_and_be_the_right_one() {
    let any = world(Config::default());
    let one = world(Config { api_key: Some("SG.right".to_owned()), ..Config::default() });
    for (world, key, status) in [
        (&any, "", 401),
        (&any, "Basic x", 401),
        (&any, "Bearer x", 202),
        (&one, "Bearer SG.wrong", 401),
        (&one, "Bearer SG.right", 202),
    ] {
        let request = world.client.post(world.url("/v3/mail/send")).header("Authorization", key);
        let request = request.header("Content-Type", "application/json").body(mail("a").to_string());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{key}");
        if status == 401 {
            assert!(answer.text().await.unwrap().starts_with(r#"{"errors":[{"field":null,"help":null"#));
        }
    }
}

#[tokio::test]
async fn what_is_not_a_json_post_is_refused_by_its_status() {
    let world = world(Config::default());
    let url = world.url("/v3/mail/send");
    assert_eq!(world.client.get(&url).send().await.unwrap().status(), 405);
    assert_eq!(world.client.get(world.url("/v3/mail")).send().await.unwrap().status(), 404);
    let json = ("Content-Type", "application/json");
    for (header, body, status) in [
        (json, b"{".to_vec(), 400),
        (json, b"[]".to_vec(), 400),
        (json, b"{\"a\":\"\xff\"}".to_vec(), 415),
        (("Content-Type", "text/plain"), b"{}".to_vec(), 415),
        (("Content-Encoding", "gzip"), b"{}".to_vec(), 415),
    ] {
        let request = world.client.post(&url).bearer_auth("k").header(header.0, header.1).body(body);
        assert_eq!(request.send().await.unwrap().status(), status, "{header:?}");
    }
    assert_eq!(world.sandbox.stats().refused, 5);
}

#[tokio::test]
async fn more_than_30_mb_is_refused_unread() {
    let world = world(Config::default());
    let mut stream = tokio::net::TcpStream::connect(world.sandbox.address()).await.unwrap();
    let head = "POST /v3/mail/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n\
                Content-Type: application/json\r\nContent-Length: 31457281\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}
