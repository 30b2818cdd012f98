//! Combinations that cannot work, or would break a promise.

use std::time::Duration;

use super::fault::{Fault, Faults};
use super::keys::AWS_KEYS;
use super::providers::missing;
use super::reader::Reader;
use super::value::show_span;
use super::{Backend, Roles, Settings};

/// Clock skew allowed for between machines.
const SKEW: Duration = Duration::from_secs(2);
/// The latest that a provider was seen to accept a request after our time-out.
const LATEST_ACCEPTANCE: Duration = Duration::from_secs(60);

/// Checks one configuration; faults go to the reader, warnings to the settings.
pub fn check(settings: &mut Settings, reader: &mut Reader) {
    backend(settings, reader);
    let worker = &settings.worker;
    let least = worker.provider_timeout + (worker.provider_timeout / 2).min(SKEW);
    // A claim or a delivery that ends while its request is under way would let a second worker send the same.
    for (path, span) in [("worker.lease", worker.lease), ("queue.visibility", settings.queue.visibility)] {
        if span < least {
            let timeout = show_span(worker.provider_timeout);
            reader.refuse(
                path,
                format!(
                    "must outlast a request to the provider: at least {} with worker.provider_timeout {timeout}",
                    show_span(least)
                ),
            );
        }
    }
    orders(settings, reader);
    if settings.alert.webhook_secret.is_some() && settings.alert.webhook_url.is_none() {
        reader
            .refuse("alert.webhook_secret", "signs what is posted to alert.webhook_url, which is not given");
    }
    let worker = &settings.worker;
    if worker.hold < worker.provider_timeout {
        let least = show_span(worker.provider_timeout);
        reader.refuse("worker.hold", format!("must be at least worker.provider_timeout, {least}"));
    }
    let safe = LATEST_ACCEPTANCE + worker.witness_margin + 2 * SKEW;
    if worker.hold <= safe {
        settings.warnings.push(format!(
            "worker.hold {} is not above {}: a notification whose outcome is unknown may be sent twice although its \
             event is on the way",
            show_span(worker.hold),
            show_span(safe)
        ));
    }
    let insecure = [
        (settings.sendgrid.webhook_insecure, "sendgrid.webhook_insecure"),
        (settings.resend.webhook_insecure, "resend.webhook_insecure"),
    ];
    for (_, path) in insecure.iter().filter(|(is_insecure, _)| *is_insecure) {
        settings.warnings.push(format!("{path}: anybody can post events without a signature"));
    }
    if settings.callback.allow_insecure {
        settings.warnings.push(
            "callback.allow_insecure: whoever may add a callback reaches what only this machine can".into(),
        );
    }
}

fn backend(settings: &Settings, reader: &mut Reader) {
    let Backend::Aws(aws) = &settings.backend else {
        for path in AWS_KEYS {
            if reader.is_given(path) {
                reader.refuse(path, "belongs to backend `aws`; the backend is `embedded`");
            }
        }
        if reader.is_given("feed.tenants") {
            reader.refuse("feed.tenants", "belongs to backend `aws`; on `embedded` every tenant has a feed");
        }
        return;
    };
    if settings.callback.retention > aws.retention && reader.is_sound("dynamodb.retention") {
        // An entry is checked against its record when it is read.
        reader.refuse("feed.retention", "must not be above dynamodb.retention");
    }
    if settings.queue.visibility.subsec_nanos() != 0 {
        reader.refuse("queue.visibility", "SQS counts in whole seconds");
    }
    if aws.queue_url == aws.dead_letter_url && reader.is_sound("sqs.queue_url") {
        reader.refuse("sqs.dead_letter_url", "must be another queue than sqs.queue_url");
    }
}

fn orders(settings: &Settings, reader: &mut Reader) {
    let (worker, limits) = (&settings.worker, &settings.limits);
    let watchdog = &settings.watchdog;
    let pairs = [
        (watchdog.processed_within > watchdog.end_within, "watchdog.processed_within", "watchdog.end_within"),
        (
            worker.connect_timeout > worker.provider_timeout,
            "worker.connect_timeout",
            "worker.provider_timeout",
        ),
        (worker.concurrency_min > worker.concurrency_max, "worker.concurrency_min", "worker.concurrency_max"),
        (worker.breaker_open > worker.breaker_open_max, "worker.breaker_open", "worker.breaker_open_max"),
        (worker.backoff_base > worker.backoff_cap, "worker.backoff_base", "worker.backoff_cap"),
        (limits.notification_bytes > limits.batch_bytes, "limits.notification_size", "limits.batch_size"),
    ];
    for (wrong, path, bound) in pairs {
        if wrong && reader.is_sound(bound) {
            reader.refuse(path, format!("must not be above {bound}"));
        }
    }
}

/// What must hold before these roles can run.
pub fn check_roles(settings: &Settings, roles: Roles) -> Result<(), Faults> {
    let mut faults = Vec::new();
    let mut refuse = |subject: &str, detail: &str| {
        faults.push(Fault { subject: subject.to_owned(), detail: detail.to_owned() });
    };
    for (key, why) in missing(settings, roles) {
        refuse(key, why);
    }
    let has_inbox = match &settings.backend {
        Backend::Embedded => true,
        Backend::Aws(aws) => aws.events_url.is_some(),
    };
    if roles.webhook && !has_inbox {
        refuse(
            "KAKITOME_SQS_EVENTS_URL (sqs.events_url)",
            "the webhook role needs it on backend `aws`: provider events wait there until they are folded; \
             `kakitome setup` makes the queue",
        );
    }
    let no_key = settings.api_key.is_none() && settings.api_keys.is_empty();
    if roles.api && no_key && !settings.listen.ip().is_loopback() {
        refuse(
            "KAKITOME_API_KEY (api_key)",
            &format!("listening on {} needs a key; only on a loopback address one is made", settings.listen),
        );
    }
    if roles.console && !roles.api {
        refuse("--role console", "needs `api` in the same process, which the page asks: --role api,console");
    }
    if faults.is_empty() { Ok(()) } else { Err(Faults(faults)) }
}
