//! The one table of configuration keys. A key's environment variable is its path in capitals, dots as underscores,
//! after `KAKITOME_`.

use std::time::Duration;

use super::value::{show_bytes, show_span};

/// One configuration key.
#[derive(Debug)]
pub struct Key {
    /// Where it stands in the TOML file, such as `worker.lease`.
    pub path: &'static str,
    /// How it is read and what it may be.
    pub kind: Kind,
    /// Its value when nobody gives one; `None`: it then has no value.
    pub default: Option<&'static str>,
    /// What it means, for people.
    pub doc: &'static str,
}

/// How a key's text is read, with its allowed range.
#[derive(Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// `http://…` or `https://…`, without a query.
    Url,
    /// An IP address and port to listen on.
    Listen,
    /// A path.
    Path,
    /// A span of time such as `30s`, from … to.
    Span(Duration, Duration),
    /// A whole number, from … to.
    Count(u64, u64),
    /// A size such as `10MiB`, in bytes from … to.
    Bytes(u64, u64),
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Some of these words, each once, in order of preference.
    Choices(&'static [&'static str]),
    /// Tenants, separated by commas; `*` for all.
    Tenants,
    /// A list of base64 public keys. Also from a file.
    PublicKeys,
    /// X.509 certificates, as PEM. Also from a file.
    Certificates,
    /// A text that is never printed. Also from a file.
    Secret,
    /// A log filter.
    LogFilter,
}

impl Kind {
    /// Whether `…_file` may name a file that holds the value.
    pub fn has_file(&self) -> bool {
        matches!(self, Kind::Secret | Kind::PublicKeys | Kind::Certificates)
    }

    /// What is allowed, in words.
    pub fn allowed(&self) -> String {
        match self {
            Kind::Text | Kind::Secret => "any text".into(),
            Kind::Url => "an address such as http://127.0.0.1:7625, without query or fragment".into(),
            Kind::Listen => "an IP address and a port, such as 127.0.0.1:7625 or [::1]:7625".into(),
            Kind::Path => "a path".into(),
            Kind::Span(from, to) => {
                format!("{} to {}, such as 500ms, 30s or 10m", show_span(*from), show_span(*to))
            }
            Kind::Count(from, to) => format!("a whole number from {from} to {to}"),
            Kind::Bytes(from, to) => {
                format!("{} to {}, such as 64KiB or 10MiB", show_bytes(*from), show_bytes(*to))
            }
            Kind::Switch => "true or false".into(),
            Kind::Choice(words) => words.join(" or "),
            Kind::Choices(words) => format!("one or more of {}, each once", words.join(", ")),
            Kind::Tenants => "names of tenants, separated by commas, or *".into(),
            Kind::PublicKeys => "base64 public keys, separated by commas".into(),
            Kind::Certificates => "X.509 certificates as PEM (-----BEGIN CERTIFICATE-----)".into(),
            Kind::LogFilter => {
                "a level (error, warn, info, debug, trace) or a list such as info,kakitome=debug".into()
            }
        }
    }
}

impl Key {
    /// Its environment variable.
    pub fn env(&self) -> String {
        format!("KAKITOME_{}", self.path.replace('.', "_").to_uppercase())
    }
}

const fn key(path: &'static str, kind: Kind, default: Option<&'static str>, doc: &'static str) -> Key {
    Key { path, kind, default, doc }
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

const HOUR: u64 = 3600;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * 1024;

/// Keys that belong to the `aws` backend alone.
pub const AWS_KEYS: [&str; 5] =
    ["sqs.queue_url", "sqs.dead_letter_url", "sqs.events_url", "dynamodb.table", "dynamodb.retention"];

/// Every key, `[[api_key]]` tables apart.
#[rustfmt::skip]
pub const KEYS: [Key; 76] = [
    key("backend", Kind::Choice(&["embedded", "aws"]), Some("embedded"), "where notifications are kept and queued"),
    key("data_dir", Kind::Path, Some("./data"), "embedded storage"),
    key("listen", Kind::Listen, Some("127.0.0.1:7625"), "address of all HTTP roles"),
    key("url", Kind::Url, None, "for client commands: use this running server instead of the storage directly"),
    key("api_key", Kind::Secret, None, "one key with every scope, tenant `default`; client commands present it"),
    key("provider", Kind::Choices(&["sandbox", "sendgrid", "resend", "ses"]), Some("sandbox"), "providers in order of preference"),
    key("sandbox.url", Kind::Url, None, "where the sandbox provider listens; without one it runs inside the server"),
    key("sandbox.api_key", Kind::Secret, None, "the key that the sandbox provider expects, if it was given one"),
    key("sendgrid.api_key", Kind::Secret, None, "SendGrid's API key"),
    key("sendgrid.base_url", Kind::Url, Some("https://api.sendgrid.com"), "SendGrid's API"),
    key("sendgrid.webhook_key", Kind::PublicKeys, None,
        "public keys of its signed event webhook, several in a rotation"),
    key("sendgrid.webhook_insecure", Kind::Switch, Some("false"), "accept event posts without a signature"),
    key("resend.api_key", Kind::Secret, None, "Resend's API key"),
    key("resend.base_url", Kind::Url, Some("https://api.resend.com"), "Resend's API"),
    key("resend.webhook_secret", Kind::Secret, None,
        "signing secrets of its webhook, several in a rotation, separated by commas"),
    key("resend.webhook_insecure", Kind::Switch, Some("false"), "accept event posts without a signature"),
    key("ses.region", Kind::Text, None, "Amazon SES: its region"),
    key("ses.base_url", Kind::Url, None, "Amazon SES: its API, if not at the region's own address"),
    key("ses.configuration_set", Kind::Text, None, "Amazon SES: the configuration set that publishes its events"),
    key("ses.topic_arn", Kind::Text, None, "Amazon SES: the SNS topic that its events come by"),
    key("sqs.queue_url", Kind::Url, None, "aws: the queue"),
    key("sqs.dead_letter_url", Kind::Url, None, "aws: the dead-letter queue"),
    key("sqs.events_url", Kind::Url, None, "aws: the queue of provider events"),
    key("dynamodb.table", Kind::Text, None, "aws: the table"),
    key("dynamodb.retention", Kind::Span(s(30 * 24 * HOUR), s(3650 * 24 * HOUR)), Some("90d"),
        "aws: how long a record is kept after its end; a repeat of its idempotency key is recognised as long"),
    key("slack.webhook_url", Kind::Secret, None, "where alerts are posted"),
    key("alert.delay", Kind::Span(s(1), s(7 * 24 * HOUR)), Some("10m"),
        "an unsent notification older than this is an alert"),
    key("alert.interval", Kind::Span(ms(50), s(HOUR)), Some("15s"), "how often it is looked whether anything is wrong"),
    key("alert.calm", Kind::Span(ms(50), s(24 * HOUR)), Some("1m"), "how long all must be well before an alert is over"),
    key("alert.reminder", Kind::Span(s(1), s(7 * 24 * HOUR)), Some("1h"), "how often an alert that goes on is said again"),
    key("alert.webhook_silence", Kind::Span(ms(0), s(7 * 24 * HOUR)), Some("30m"),
        "mail sent this long ago without any event since is an alert; 0s: never"),
    key("alert.runbook_url", Kind::Url, None, "where the runbooks are, for the links in alerts; without it `runbooks`"),
    key("alert.webhook_url", Kind::Secret, None, "where alerts are posted as JSON"),
    key("alert.webhook_secret", Kind::Secret, None, "signs what is posted there"),
    key("feed.retention", Kind::Span(s(48 * HOUR), s(90 * 24 * HOUR)), Some("7d"),
        "how long what changed can be pulled, and a paused callback can go on without loss"),
    key("feed.tenants", Kind::Tenants, None,
        "aws: tenants with a feed though they have no callback, separated by commas; `*`: all. An entry costs a write unit"),
    key("callback.allow_insecure", Kind::Switch, Some("false"),
        "callbacks may go over http, and to any port and private address: for tests and development"),
    key("callback.ca", Kind::Certificates, None,
        "authorities of one's own that callbacks' certificates may come from, beside those that the machine trusts"),
    key("threads", Kind::Count(1, 1024), None, "threads that do the work; one a processor core"),
    key("log", Kind::LogFilter, None, "what is logged; servers info, client commands warn"),
    key("log_format", Kind::Choice(&["json", "pretty"]), None, "how it is logged; pretty on a terminal, else json"),
    key("worker.lease", Kind::Span(ms(100), s(900)), Some("30s"), "how long a claim is the worker's alone"),
    key("worker.provider_timeout", Kind::Span(ms(50), s(300)), Some("10s"), "one request to the provider, whole"),
    key("worker.connect_timeout", Kind::Span(ms(10), s(60)), Some("2s"), "connecting to the provider"),
    key("worker.hold", Kind::Span(ms(100), s(24 * HOUR)), Some("600s"),
        "an unknown outcome waits this long for an event"),
    key("worker.witness_margin", Kind::Span(ms(0), s(HOUR)), Some("60s"),
        "how far events must be past an attempt to count as silence"),
    key("worker.witness_cap", Kind::Span(ms(100), s(72 * HOUR)), Some("6h"),
        "after this long an unknown is resent without a witness"),
    key("worker.witness_poll", Kind::Span(ms(100), s(HOUR)), Some("60s"), "how often an unknown is looked at again while there is no witness"),
    key("worker.breaker_open", Kind::Span(ms(100), s(HOUR)), Some("15s"), "how long an ill provider's circuit stays open the first time; doubles"),
    key("worker.breaker_open_max", Kind::Span(ms(100), s(HOUR)), Some("300s"), "how long an ill provider's circuit stays open at the longest"),
    key("worker.max_attempts", Kind::Count(1, 100), Some("12"), "attempts before a dead letter"),
    key("worker.unknown_resends", Kind::Count(0, 10), Some("2"), "resends of unknown outcomes"),
    key("worker.concurrency_min", Kind::Count(1, 1024), Some("8"), "sends at once, at the least"),
    key("worker.concurrency_max", Kind::Count(1, 1024), Some("64"), "sends at once, at the most"),
    key("worker.backoff_base", Kind::Span(ms(1), s(HOUR)), Some("1s"), "the first retry's longest wait"),
    key("worker.backoff_cap", Kind::Span(ms(1), s(24 * HOUR)), Some("900s"), "any retry's longest wait"),
    key("worker.drain", Kind::Span(ms(0), s(900)), Some("25s"), "how long a shutdown waits for sends under way"),
    key("queue.visibility", Kind::Span(ms(100), s(12 * HOUR)), Some("60s"), "how long a received message is hidden"),
    key("queue.long_poll", Kind::Span(ms(100), s(20)), Some("20s"), "how long one receive waits for a message"),
    key("queue.max_receive_count", Kind::Count(1, 1000), Some("100"), "receives before the dead-letter queue"),
    key("limits.notification_size", Kind::Bytes(KIB, 30 * MIB), Some("10MiB"), "one notification"),
    key("limits.batch_size", Kind::Bytes(KIB, 1024 * MIB), Some("64MiB"), "one batch body"),
    key("limits.batch_entries", Kind::Count(1, 1000), Some("1000"), "notifications in one batch"),
    key("limits.connections", Kind::Count(1, 65_536), Some("1024"), "HTTP connections at once"),
    key("limits.requests_per_second", Kind::Count(0, 1_000_000), Some("0"), "requests a second of one API key; 0: any"),
    key("limits.backlog", Kind::Count(0, 1_000_000_000), Some("0"),
        "unsent notifications before new ones get 429; 0: any"),
    key("guard.repeat_limit", Kind::Count(0, 100), Some("3"),
        "how often the same content may go to the same recipient in the window; 0: any"),
    key("guard.repeat_window", Kind::Span(s(1), s(24 * HOUR)), Some("1h"), "that window"),
    key("guard.rate_factor", Kind::Count(1, 1000), Some("10"),
        "a tenant that hands in more than so many times its usual rate is unusual"),
    key("guard.rate_floor", Kind::Count(1, 1_000_000_000), Some("100"), "fewer than this a minute are never unusual"),
    key("guard.rate_hold", Kind::Switch, Some("false"), "hold everything of an unusual tenant"),
    key("watchdog.processed_within", Kind::Span(s(1), s(24 * HOUR)), Some("15m"),
        "what was sent and not heard of at all for this long is listed as unconfirmed"),
    key("watchdog.end_within", Kind::Span(s(1), s(30 * 24 * HOUR)), Some("72h"),
        "what was sent and has no end (delivered, refused, dropped) after this long is, too"),
    key("machines.file", Kind::Path, None, "what tells machines' opens and clicks from people's, beside what is built in; re-read when it changes"),
    key("suppression.transactional_through_unsubscribe", Kind::Switch, Some("false"),
        "transactional mail also goes to people who unsubscribed"),
    key("suppression.transactional_through_unsubscribe_of", Kind::Text, None, "the same for these tenants, separated by commas"),
];

/// The key at this TOML path.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}
