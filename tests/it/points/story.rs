//! A few notifications, everything that a provider tells of them, and a fold of the test's own.

use std::collections::{BTreeMap, BTreeSet};

use kakitome::clock::Timestamp;
use kakitome::inbox::{Inbox, pack};
use kakitome::message_log::{Acceptance, MessageLog};
use kakitome::notification::NotificationId;
use kakitome::notification::address::Address;
use kakitome::provider::{EventKind, ProviderEvent, lane};
use serde_json::{Map, Value, json};

use crate::conformance::{claim, new, notification, send, to};
use crate::tracking::get;

/// What is known of a notification before the first post.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Sent,
    /// A worker had it, and nobody knows what came of that.
    Unknown,
    /// Its first event came before it did.
    Late,
    /// Its record cannot be read.
    Broken,
    /// It is none of ours.
    Nobodys,
}

/// Key, tenant, and how it stands.
const CAST: [(&str, &str, Before); 9] = [
    ("plain", "default", Before::Sent),
    ("other", "inn-2", Before::Sent),
    ("bounced", "default", Before::Sent),
    ("complained", "inn-2", Before::Sent),
    ("unknown", "default", Before::Unknown),
    ("late", "inn-2", Before::Late),
    ("broken", "default", Before::Broken),
    ("left", "default", Before::Sent),
    ("nobody", "default", Before::Nobodys),
];

/// Of whom, what, in SendGrid's words, and how many seconds after the beginning. No two events of one are of one second.
type Told = (&'static str, &'static str, i64);

/// Told before the first post: by a process that was killed before it folded it, and as long ago that it is looked at
/// again.
const LEFT_BEHIND: [Told; 2] = [("left", "processed", 1), ("other", "processed", 2)];
const EARLY: Told = ("late", "processed", 1);

/// A post each, of two lanes where it names two tenants. Told twice is what is told twice.
pub const POSTS: [&[Told]; 5] = [
    &[("plain", "processed", 1), ("other", "deferred", 3), ("left", "deferred", 2)],
    // An asynchronous bounce, and what is nobody's.
    &[("bounced", "bounce", 9), ("nobody", "delivered", 4), ("left", "delivered", 3)],
    // The first ends an unknown, the second can never be folded.
    &[("unknown", "delivered", 5), ("broken", "delivered", 5), ("complained", "spamreport", 7)],
    &[("plain", "processed", 1), ("plain", "delivered", 6), ("other", "deferred", 3), ("plain", "open", 8)],
    &[
        ("bounced", "bounce", 9),
        ("complained", "spamreport", 7),
        ("nobody", "delivered", 4),
        ("late", "delivered", 6),
    ],
];

/// Ranks of what changes a recipient, in SendGrid's words, with ours.
const RANKS: [(&str, &str); 5] = [
    ("processed", "processed"),
    ("deferred", "deferred"),
    ("delivered", "delivered"),
    ("bounce", "bounced"),
    ("spamreport", "complained"),
];

/// The story, at its time.
#[derive(Clone)]
pub struct Story {
    /// Unix seconds of its beginning.
    start: i64,
}

fn tenant(key: &str) -> &'static str {
    CAST.iter().find(|(known, ..)| *known == key).unwrap().1
}

fn id(key: &str) -> NotificationId {
    NotificationId::derived(tenant(key), key)
}

fn email(key: &str) -> String {
    format!("guest.{key}@example.com")
}

impl Story {
    /// It began ten minutes before.
    pub fn at(now: Timestamp) -> Self {
        Self { start: now.as_ms() / 1000 - 600 }
    }

    fn moment(&self, second: i64) -> Timestamp {
        Timestamp::from_ms((self.start + second) * 1000)
    }

    /// Everything that stands before the first post.
    pub async fn prepare(&self, log: &dyn MessageLog, inbox: &dyn Inbox) {
        let start = self.moment(0);
        for (key, tenant, before) in CAST {
            if before == Before::Late {
                let early = log.record_events(&[self.event(EARLY)], start).await;
                assert!(early.iter().all(Result::is_ok), "{early:?}");
            }
            if before == Before::Nobodys {
                continue;
            }
            let change = |n: &mut kakitome::notification::Notification| {
                (n.tenant, n.to) = (tenant.into(), to(&email(key)));
                n.idempotency_key = Some(key.into());
            };
            let accepted = log.accept(&[new(notification(change), start)]).await.remove(0).unwrap();
            assert!(matches!(accepted, Acceptance::Created(_)));
            match before {
                Before::Unknown => drop(claim(log, id(key), start).await),
                Before::Sent | Before::Broken => send(log, id(key), &format!("m-{key}"), start).await,
                Before::Late | Before::Nobodys => {}
            }
        }
        inbox.append(pack(&LEFT_BEHIND.map(|told| self.event(told)), start)).await.unwrap();
    }

    /// Something of the record that is to be made unreadable, where there must be something first.
    pub async fn tell_of_broken(&self, log: &dyn MessageLog) {
        let told = log.record_events(&[self.event(("broken", "processed", 1))], self.moment(1)).await;
        assert!(told.iter().all(Result::is_ok), "{told:?}");
    }

    /// The notification whose record is to be made unreadable.
    pub fn broken() -> NotificationId {
        id("broken")
    }

    /// As the reader of the provider's posts would give it.
    fn event(&self, (key, kind, second): Told) -> ProviderEvent {
        assert_eq!(kind, "processed");
        ProviderEvent {
            provider: "sendgrid".into(),
            id: Some(id(key)),
            provider_message_id: None,
            event_id: Some(format!("{key}-{second}")),
            kind: EventKind::Processed,
            at: self.moment(second),
            recipient: Some(Address::parse(&email(key)).unwrap()),
            machine: false,
            lane: Some(lane(tenant(key))),
            detail: Map::new(),
        }
    }

    /// As SendGrid posts it. Asynchronous bounces come with an address alone.
    fn told(&self, (key, kind, second): Told) -> Value {
        let mut told = json!({
            "event": kind, "email": email(key), "timestamp": self.start + second, "sg_event_id": format!("{key}-{second}"),
        });
        if kind != "bounce" {
            told["kakitome_id"] = json!(id(key));
            told["kakitome_lane"] = json!(lane(tenant(key)));
        }
        told
    }

    /// What the provider posts, in this order.
    pub fn posts(&self) -> Vec<String> {
        POSTS
            .iter()
            .map(|post| post.iter().map(|told| self.told(*told)).collect::<Value>().to_string())
            .collect()
    }

    /// How the house stands once all is told and folded: by a fold that knows sets and ranks, and nothing of steps.
    pub fn expected(&self) -> Value {
        let told = || LEFT_BEHIND.into_iter().chain([EARLY]).chain(POSTS.concat());
        let rank = |kind: &str| RANKS.iter().position(|(word, _)| *word == kind);
        let mut records = BTreeMap::new();
        for (key, _, before) in CAST {
            if matches!(before, Before::Broken | Before::Nobodys) {
                continue;
            }
            let own: BTreeSet<(i64, &str)> =
                told().filter(|told| told.0 == key).map(|(_, kind, second)| (second, kind)).collect();
            let highest = own.iter().filter_map(|(_, kind)| rank(kind)).max().unwrap();
            let events: Vec<Value> =
                own.iter().map(|(second, kind)| self.line(*second, our_word(kind))).collect();
            records.insert(key, json!({"status": "sent", "recipient": RANKS[highest].1, "events": events}));
        }
        json!({
            "records": records,
            "suppressed": [[email("bounced"), "bounce"], [email("complained"), "complaint"]],
            "unmatched": [email("nobody")],
            "parcels": 0,
        })
    }

    fn line(&self, second: i64, kind: &str) -> Value {
        json!(format!("{} {kind}", self.moment(second)))
    }

    /// How it stands.
    pub async fn stand(&self, client: &reqwest::Client, url: &str) -> Value {
        let ask = |path: &str| get(client, format!("{url}{path}"));
        let mut records = BTreeMap::new();
        for (key, _, before) in CAST {
            if matches!(before, Before::Broken | Before::Nobodys) {
                continue;
            }
            let record = ask(&format!("/v1/notifications/{}", id(key))).await;
            let mut events: Vec<String> =
                record["events"].as_array().unwrap_or(&Vec::new()).iter().map(event_line).collect();
            events.sort();
            records.insert(
                key,
                json!({"status": record["status"], "recipient": record["recipients"][0]["status"], "events": events}),
            );
        }
        let mut suppressed = Vec::new();
        for tenant in ["default", "inn-2"] {
            for one in items(&ask(&format!("/v1/suppressions?tenant={tenant}")).await) {
                suppressed.push(json!([one["email"], one["reason"]]));
            }
        }
        let unmatched = items(&ask("/v1/events/unmatched").await);
        json!({
            "records": records,
            "suppressed": suppressed,
            "unmatched": unmatched.iter().map(|one| one["recipient"].clone()).collect::<Vec<_>>(),
            "parcels": ask("/v1/status").await["inbox"]["parcels"],
        })
    }
}

/// The feed tells each change once, and in the end where everything stands.
pub async fn check_feed(client: &reqwest::Client, url: &str) {
    let mut told: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for tenant in ["default", "inn-2"] {
        for one in items(&get(client, format!("{url}/v1/events?tenant={tenant}&limit=1000")).await) {
            let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
            told.entry(text("id")).or_default().push((text("recipient"), text("status")));
        }
    }
    for (key, _, before) in CAST.iter().filter(|(_, _, before)| *before != Before::Nobodys) {
        let told = told.get(&id(key).to_string()).cloned().unwrap_or_default();
        assert_eq!(told.len(), told.iter().collect::<BTreeSet<_>>().len(), "{key}: told twice: {told:?}");
        assert!(told.contains(&(String::new(), "sent".into())), "{key}: {told:?}");
        let of_recipient: Vec<&str> =
            told.iter().filter(|(recipient, _)| !recipient.is_empty()).map(|(_, status)| &**status).collect();
        let ranks: Vec<_> =
            of_recipient.iter().map(|told| RANKS.iter().position(|(_, own)| own == told)).collect();
        assert!(ranks.is_sorted(), "{key}: {told:?}");
        let last = POSTS.concat().into_iter().filter(|told| told.0 == *key).map(|told| our_word(told.1));
        let last = last.filter_map(|kind| RANKS.iter().position(|(_, own)| *own == kind)).max();
        if *before != Before::Broken {
            assert_eq!(of_recipient.last().copied(), last.map(|rank| RANKS[rank].1), "{key}: {told:?}");
        }
    }
}

fn our_word(kind: &str) -> &str {
    match kind {
        "open" => "opened",
        kind => RANKS.iter().find(|(word, _)| *word == kind).unwrap().1,
    }
}

fn event_line(event: &Value) -> String {
    format!("{} {}", event["at"].as_str().unwrap(), event["kind"].as_str().unwrap())
}

fn items(page: &Value) -> Vec<Value> {
    page["items"].as_array().unwrap_or_else(|| panic!("{page}")).clone()
}
