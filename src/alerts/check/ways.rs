//! What is wrong with the ways out and back: providers, queue, storage, webhooks, jobs.

use std::time::Duration;

use super::{
    AlertName, Checked, Finding, Limits, POST_WINDOW, Reading, Severity, WebhookReading, Witness,
    WorkerReading, human, word,
};
use crate::clock::Timestamp;
use crate::provider::health::{Circuit, ProviderHealth};

/// So many refused signatures are no accident, if they are at least as many as the posts that were taken: anybody can
/// post rubbish at the door.
const REFUSED_POSTS: u64 = 5;
/// So many sends without an event are needed: the event of a single one may be late.
const SENT_WITHOUT_EVENT: u64 = 3;
/// A circuit that is probed this long without falling open again is no trouble any more, only little mail.
const LONG_PROBING: Duration = Duration::from_secs(300);
/// A provider's words in a message are at most this long.
const WORDS: usize = 200;

pub(super) fn check(reading: &Reading, limits: &Limits, checked: &mut Checked) {
    match &reading.worker {
        Some(worker) => {
            for provider in &worker.providers {
                circuit(provider, worker, reading.at, checked);
            }
            failover(worker, limits, checked);
            polling(worker, limits, checked);
            silence(worker, limits, checked);
        }
        None => checked.skip(&[
            AlertName::ProviderRefused,
            AlertName::BreakerOpen,
            AlertName::ProviderTls,
            AlertName::Failover,
            AlertName::NotPolling,
            AlertName::WebhookSilent,
        ]),
    }
    match &reading.webhook {
        Some(webhook) => {
            refused_posts(webhook, checked);
            events_waiting(webhook, limits, checked);
        }
        None => checked.skip(&[AlertName::WebhookRefused, AlertName::EventsWaiting]),
    }
    let consequence = "nothing can be accepted or sent, and producers get errors";
    storage(
        AlertName::LogUnreachable,
        "The message log",
        reading.log.as_ref().map(drop_value),
        consequence,
        checked,
    );
    let consequence = "what is accepted waits in the log";
    storage(
        AlertName::QueueUnreachable,
        "The queue",
        reading.queue.as_ref().map(drop_value),
        consequence,
        checked,
    );
    let consequence = "stops, jobs and alerts cannot be changed";
    storage(
        AlertName::JournalUnreachable,
        "The journal",
        reading.journal.as_ref().map(drop_value),
        consequence,
        checked,
    );
    events_aside(reading.events_aside, checked);
    jobs(reading, checked);
    callbacks(reading, checked);
}

fn drop_value<T>(answer: &Result<T, String>) -> Result<(), &str> {
    answer.as_ref().map(drop).map_err(String::as_str)
}

fn circuit(provider: &ProviderHealth, worker: &WorkerReading, now: Timestamp, checked: &mut Checked) {
    let name = provider.name.as_str();
    let words = provider.last_error.as_deref().map(shown).unwrap_or_default();
    let mut find = |alert, summary: String, command: String| {
        checked.findings.push(Finding::new(alert, Severity::Critical, summary, command).of(name));
    };
    match provider.circuit {
        Circuit::Refused => find(
            AlertName::ProviderRefused,
            format!("Provider {name} refuses us (key, credits or sender); sending there is paused{words}."),
            "kakitome check".into(),
        ),
        Circuit::Open if is_about_tls(provider.last_error.as_deref()) => find(
            AlertName::ProviderTls,
            format!("No secure connection to provider {name}; sending there is paused{words}."),
            "kakitome check".into(),
        ),
        Circuit::Open => find(
            AlertName::BreakerOpen,
            format!("Provider {name} is ill; sending there is paused and begins again by itself{words}."),
            "kakitome status".into(),
        ),
        // Neither ill nor well for certain: what was known stays.
        Circuit::HalfOpen if now.since(provider.since) < LONG_PROBING => {
            for alert in [AlertName::BreakerOpen, AlertName::ProviderTls, AlertName::ProviderRefused] {
                checked.unjudged.insert(super::key(alert, Some(name)));
            }
        }
        _ if worker.opened.contains(name) => find(
            AlertName::BreakerOpen,
            format!("Provider {name} was ill for a moment: its circuit opened and closed again."),
            "kakitome status".into(),
        ),
        _ => {}
    }
}

/// The words of rustls about certificates and handshakes reach us in the error; the adapter has no other sign of it.
fn is_about_tls(error: Option<&str>) -> bool {
    let error = error.unwrap_or_default().to_ascii_lowercase();
    ["certificate", "tls", "handshake"].iter().any(|word| error.contains(word))
}

/// Somebody else's words behind a sentence of ours: short, on one line, and without anything that could be an address.
fn shown(words: &str) -> String {
    let mut text = String::new();
    for word in words.split_whitespace() {
        text.push(' ');
        text.push_str(if word.contains('@') { "…" } else { word });
    }
    let cut: String = text.chars().filter(|c| !c.is_control()).take(WORDS).collect();
    if cut.trim().is_empty() { String::new() } else { format!(":{}", cut.trim_end_matches('.')) }
}

fn failover(worker: &WorkerReading, limits: &Limits, checked: &mut Checked) {
    let circuit = |name: &String| worker.providers.iter().find(|p| p.name == *name).map(|p| p.circuit);
    let Some(preferred) = limits.providers.first() else { return };
    let Some(used) = limits.providers.iter().find(|name| circuit(name) == Some(Circuit::Closed)) else {
        return;
    };
    if used != preferred && circuit(preferred).is_some() {
        let summary = format!("Mail goes by provider {used}: the preferred {preferred} is ill or held.");
        let found = Finding::new(AlertName::Failover, Severity::Warning, summary, "kakitome status");
        checked.findings.push(found.of(used));
    }
}

fn polling(worker: &WorkerReading, limits: &Limits, checked: &mut Checked) {
    let age = worker.last_receive_age;
    if age > limits.poll_silence {
        let summary = format!("A worker has received nothing from the queue for {}.", human(age));
        let found = Finding::new(AlertName::NotPolling, Severity::Critical, summary, "kakitome status");
        checked.findings.push(found.not_at_once());
    }
}

fn silence(worker: &WorkerReading, limits: &Limits, checked: &mut Checked) {
    let Some(allowed) = limits.webhook_silence else { return };
    for name in &limits.providers {
        let Some(Witness { newest_age, sent_since }) = worker.witnesses.get(name) else {
            checked.unjudged.insert(super::key(AlertName::WebhookSilent, Some(name)));
            continue;
        };
        let is_heard = newest_age.is_some_and(|age| age <= allowed);
        if is_heard || (newest_age.is_none() && !limits.webhook_expected) {
            continue;
        }
        if *sent_since < SENT_WITHOUT_EVENT {
            // Silence ends with an event, not with the end of the mail.
            checked.unjudged.insert(super::key(AlertName::WebhookSilent, Some(name)));
            continue;
        }
        let since = newest_age.map_or("ever".to_owned(), |age| format!("for {}", human(age)));
        let summary = format!("No event of provider {name} {since}, though {sent_since} were sent since.");
        let found = Finding::new(
            AlertName::WebhookSilent,
            Severity::Critical,
            summary,
            "kakitome list --status sent --since 1h",
        );
        checked.findings.push(found.of(name).not_at_once());
    }
}

fn events_waiting(webhook: &WebhookReading, limits: &Limits, checked: &mut Checked) {
    if let Some(age) = webhook.oldest_waiting.filter(|age| *age > limits.delay) {
        let summary = format!(
            "Provider events are taken in and not folded: the oldest waits for {}, above {}.",
            human(age),
            human(limits.delay)
        );
        checked.findings.push(Finding::new(
            AlertName::EventsWaiting,
            Severity::Warning,
            summary,
            "kakitome status",
        ));
    }
}

fn events_aside(count: Option<u64>, checked: &mut Checked) {
    let count = match count {
        None => return checked.skip(&[AlertName::EventsAside]),
        Some(0) => return,
        Some(count) => count,
    };
    let what = if count == 1 { "1 provider event".into() } else { format!("{count} provider events") };
    let summary = format!("{what} could not be folded: set aside until somebody puts them back.");
    let found = Finding::new(AlertName::EventsAside, Severity::Warning, summary, "kakitome events aside");
    checked.findings.push(found.counting(count));
}

fn refused_posts(webhook: &WebhookReading, checked: &mut Checked) {
    let WebhookReading { posts_taken: taken, posts_refused: refused, .. } = *webhook;
    if refused >= REFUSED_POSTS && refused >= taken {
        let window = human(POST_WINDOW);
        let summary = format!(
            "{refused} webhook posts of the last {window} were refused for their signature, {taken} were taken: is \
             the key right?"
        );
        let found = Finding::new(AlertName::WebhookRefused, Severity::Critical, summary, "kakitome check");
        checked.findings.push(found.not_at_once());
    }
}

fn storage(
    alert: AlertName,
    what: &str,
    answer: Option<Result<(), &str>>,
    consequence: &str,
    checked: &mut Checked,
) {
    match answer {
        None => checked.skip(&[alert]),
        Some(Ok(())) => {}
        Some(Err(error)) => {
            let summary = format!("{what} does not answer: {consequence}{}.", shown(error));
            let found = Finding::new(alert, Severity::Critical, summary, "kakitome check");
            checked.findings.push(found.not_at_once());
        }
    }
}

fn jobs(reading: &Reading, checked: &mut Checked) {
    let Some(jobs) = &reading.interrupted_jobs else {
        checked.skip(&[AlertName::JobInterrupted]);
        return;
    };
    let Some(first) = jobs.first() else { return };
    let count = jobs.len() as u64;
    let what = if count == 1 { "1 job was".to_owned() } else { format!("{count} jobs were") };
    let summary = format!("{what} interrupted and will not go on by itself.");
    let command = format!("kakitome redrive --resume {}", word(first));
    checked
        .findings
        .push(Finding::new(AlertName::JobInterrupted, Severity::Warning, summary, command).counting(count));
}

fn callbacks(reading: &Reading, checked: &mut Checked) {
    let Some(paused) = &reading.paused_callbacks else {
        checked.skip(&[AlertName::CallbackPaused]);
        return;
    };
    let Some(first) = paused.first() else { return };
    let count = paused.len() as u64;
    let which = if count == 1 { format!("Callback {first} is") } else { format!("{count} callbacks are") };
    let summary = format!("{which} told nothing any more: the endpoint took nothing for a day, or is gone.");
    let found =
        Finding::new(AlertName::CallbackPaused, Severity::Warning, summary, "kakitome callbacks list");
    checked.findings.push(found.counting(count));
}
