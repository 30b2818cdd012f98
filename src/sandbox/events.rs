//! The events of an accepted mail, as SendGrid's event webhook writes them.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::faults::{BounceType, Script};
use crate::clock::Timestamp;

/// Where the sandbox says it sends from (RFC 5737, documentation only).
const SENDING_IP: &str = "192.0.2.25";

/// One event on its way.
pub(super) struct Event {
    /// One JSON object, `<`, `>` and `&` escaped.
    pub(super) json: Bytes,
    /// How long to hold it back.
    pub(super) delay: Duration,
    /// Post it once more, later.
    pub(super) again: bool,
}

/// What the events of one mail share.
struct Context<'a> {
    script: &'a Script,
    number: u64,
    message_id: &'a str,
    /// Seconds since the epoch at which the mail goes out.
    sent_at: i64,
    send_at: i64,
    /// From now to then.
    wait: Duration,
    categories: Option<&'a Value>,
}

/// The events of `request`, a valid one that was the plan's request `number`.
pub(super) fn of(
    request: &Value,
    message_id: &str,
    number: u64,
    script: &Script,
    now: Timestamp,
) -> Vec<Event> {
    let now_seconds = now.as_ms() / 1000;
    let mut events = Vec::new();
    let mut place = 0;
    for one in request["personalizations"].as_array().into_iter().flatten() {
        let send_at = one["send_at"].as_i64().or(request["send_at"].as_i64()).unwrap_or(0);
        let sent_at = send_at.max(now_seconds);
        let context = Context {
            script,
            number,
            message_id,
            sent_at,
            send_at,
            wait: Duration::from_secs((sent_at - now_seconds).unsigned_abs()),
            categories: request.get("categories"),
        };
        let custom_args = [&request["custom_args"], &one["custom_args"]];
        let args: BTreeMap<_, _> = custom_args.into_iter().filter_map(Value::as_object).flatten().collect();
        for entry in
            ["to", "cc", "bcc"].into_iter().flat_map(|list| one[list].as_array().into_iter().flatten())
        {
            recipient(&mut events, &context, &args, entry["email"].as_str().unwrap_or_default(), place);
            place += 1;
        }
    }
    events
}

fn recipient(
    events: &mut Vec<Event>,
    context: &Context<'_>,
    args: &BTreeMap<&String, &Value>,
    email: &str,
    place: u64,
) {
    let play = context.script.recipient(context.number, place);
    let mut kinds = Vec::with_capacity(3);
    // A dropped mail is one that SendGrid did not begin to process.
    if !matches!(play.bounce, Some((BounceType::Dropped, _))) {
        kinds.push(processed(context.send_at));
    }
    if play.deferred {
        kinds.push(deferred());
    }
    kinds.push(match play.bounce {
        None => delivered(),
        Some((how, status)) => bounced(how, status),
    });
    let first = events.len();
    for (index, mut fields) in (0..).zip(kinds) {
        let event = context.script.event(context.number, place, index);
        if event.dropped {
            continue;
        }
        let common = common(context, email, place, fields["event"].as_str().unwrap_or_default());
        // SendGrid's own names win over custom arguments of the same name (sendgrid/docs, "Reserved Keys").
        let mut whole: Map<String, Value> =
            args.iter().map(|(name, value)| ((*name).clone(), (*value).clone())).collect();
        whole.extend(common);
        whole.append(&mut fields);
        let json = Bytes::from(escape(Value::Object(whole).to_string()));
        events.push(Event { json, delay: event.delay + context.wait, again: event.duplicated });
    }
    if play.reordered {
        events[first..].reverse();
    }
}

fn common(context: &Context<'_>, email: &str, place: u64, kind: &str) -> Map<String, Value> {
    let Context { message_id, number, sent_at, .. } = context;
    let mut fields = fields(json!({
        "email": email,
        "timestamp": sent_at,
        // Deterministic, as decoded real ones are: a repeated event has the same id.
        "sg_event_id": URL_SAFE_NO_PAD.encode(format!("{kind}-0-{message_id}-{place}")),
        "sg_message_id": format!("{message_id}.recvd-sandbox-{number}-{place}-{sent_at:X}-0"),
        "smtp-id": format!("<{message_id}@ismtpd-sandbox>"),
    }));
    fields.extend(context.categories.map(|categories| ("category".to_owned(), categories.clone())));
    fields
}

fn processed(send_at: i64) -> Map<String, Value> {
    fields(json!({"event": "processed", "send_at": send_at}))
}

fn deferred() -> Map<String, Value> {
    fields(json!({
        "event": "deferred", "response": "450 4.2.0 try again later", "attempt": "1", "ip": SENDING_IP,
    }))
}

fn delivered() -> Map<String, Value> {
    fields(json!({"event": "delivered", "response": "250 2.0.0 OK", "ip": SENDING_IP, "tls": 1}))
}

fn bounced(how: BounceType, status: &str) -> Map<String, Value> {
    let (code, words, classification) = match how {
        BounceType::Dropped => {
            return fields(json!({"event": "dropped", "reason": "Bounced Address", "status": status}));
        }
        BounceType::Bounce => {
            (550, "The email account that you tried to reach does not exist", "Invalid Address")
        }
        BounceType::Blocked => (554, "Message refused for the reputation of its sender", "Reputation"),
    };
    fields(json!({
        "event": "bounce", "type": how.as_str(), "status": status, "bounce_classification": classification,
        "reason": format!("{code} {status} {words}"), "ip": SENDING_IP, "tls": 1,
    }))
}

fn fields(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// As captured posts have it. These characters stand only inside strings, so replacing them anywhere is safe.
fn escape(json: String) -> String {
    if json.contains(['<', '>', '&']) {
        json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    } else {
        json
    }
}
