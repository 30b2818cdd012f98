use super::*;
use crate::provider::health::Circuit;

const MINUTE: Duration = Duration::from_secs(60);

fn limits() -> Limits {
    Limits {
        delay: 10 * MINUTE,
        poll_silence: 2 * MINUTE,
        webhook_silence: Some(30 * MINUTE),
        webhook_expected: true,
        providers: vec!["sendgrid".into(), "spare".into()],
    }
}

fn provider(name: &str, circuit: Circuit, error: &str) -> ProviderHealth {
    let last_error = (!error.is_empty()).then(|| error.to_owned());
    ProviderHealth { name: name.into(), circuit, since: Timestamp::default(), probe_at: None, last_error }
}

/// Both providers' events came just now.
fn heard() -> BTreeMap<String, Witness> {
    let witness = Witness { newest_age: Some(Duration::ZERO), sent_since: 0 };
    limits().providers.into_iter().map(|name| (name, witness)).collect()
}

/// Everything is seen, and well.
fn well() -> Reading {
    let providers = vec![provider("sendgrid", Circuit::Closed, ""), provider("spare", Circuit::Closed, "")];
    Reading {
        at: Timestamp::from_ms(1_795_251_600_000),
        running_for: 120 * MINUTE,
        worker: Some(WorkerReading { providers, witnesses: heard(), ..WorkerReading::default() }),
        webhook: Some(WebhookReading::default()),
        log: Some(Ok(LogReading { held: Some(BTreeMap::new()), ..LogReading::default() })),
        unreadable: Some(0),
        queue: Some(Ok(())),
        journal: Some(Ok(())),
        unusual: Some(Vec::new()),
        unconfirmed: Some(Unconfirmed::default()),
        events_aside: Some(0),
        interrupted_jobs: Some(Vec::new()),
        paused_callbacks: Some(Vec::new()),
    }
}

/// What is found after a change of what is well.
fn found(change: impl FnOnce(&mut Reading)) -> Vec<Finding> {
    let mut reading = well();
    change(&mut reading);
    checks(&reading, &limits()).findings
}

fn one(change: impl FnOnce(&mut Reading)) -> Finding {
    let mut found = found(change);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

fn worker(change: impl FnOnce(&mut WorkerReading)) -> impl FnOnce(&mut Reading) {
    move |reading| change(reading.worker.get_or_insert_default())
}

fn log(change: impl FnOnce(&mut LogReading)) -> impl FnOnce(&mut Reading) {
    move |reading| {
        if let Some(Ok(log)) = &mut reading.log {
            change(log);
        }
    }
}

fn webhook(change: impl FnOnce(&mut WebhookReading)) -> impl FnOnce(&mut Reading) {
    move |reading| change(reading.webhook.get_or_insert_default())
}

#[test]
fn where_all_is_well_nothing_is_found_and_everything_is_judged() {
    let checked = checks(&well(), &limits());
    assert_eq!((checked.findings, checked.unjudged), (Vec::new(), BTreeSet::new()));
}

#[test]
fn what_could_not_be_seen_is_not_judged() {
    let checked = checks(&Reading::default(), &limits());
    assert_eq!(checked.findings, Vec::new());
    let judged: Vec<_> = AlertName::ALL.into_iter().filter(|name| checked.judges(name.as_str())).collect();
    assert_eq!(judged, []);
    assert!(!checked.judges("breaker_open:sendgrid"));
}

#[test]
fn the_oldest_unsent_may_be_as_old_as_the_limit_and_no_older() {
    let aged = |age| found(log(move |log| log.oldest_unsent = Some(age)));
    assert_eq!(aged(10 * MINUTE), Vec::new());
    let late = aged(11 * MINUTE).remove(0);
    assert_eq!(late.key(), "oldest_unsent");
    assert_eq!(late.summary, "The oldest unsent notification waits for 11m, above 10m.");
    assert_eq!(late.command, "kakitome unsent --until 10m");
}

#[test]
fn dead_letters_unknowns_and_what_is_held_say_their_numbers_and_their_command() {
    let dead = one(log(|log| log.failed = 41));
    assert_eq!((dead.key(), dead.count), ("dead_letters".into(), 41));
    assert_eq!(dead.command, "kakitome unsent --status failed");
    assert_eq!(found(log(|log| log.unknown = 9)), Vec::new());
    assert_eq!(one(log(|log| log.unknown = 10)).key(), "unknown_outcomes");
    let held = |reason: &str, count| BTreeMap::from([(reason.to_owned(), count)]);
    let parked = one(log(|log| log.held = Some(held("unknown_outcome", 2))));
    assert_eq!(parked.command, "kakitome list --status held --reason unknown_outcome");
    let storm = one(log(|log| log.held = Some(held("batch_size", 4000))));
    assert_eq!((storm.key(), storm.count), ("guard_held:batch_size".into(), 4000));
    assert_eq!(found(log(|log| log.held = Some(held("asked for by the customer", 3)))), Vec::new());
    assert_eq!(one(|reading| reading.unreadable = Some(3)).key(), "unreadable_messages");
}

#[test]
fn a_provider_that_refuses_us_is_named_with_its_words_and_no_address() {
    let words = "Unauthorized: guest@example.com\nis not allowed";
    let refused = one(worker(|w| w.providers = vec![provider("sendgrid", Circuit::Refused, words)]));
    assert_eq!(refused.key(), "provider_refused:sendgrid");
    assert_eq!(refused.severity, Severity::Critical);
    assert!(refused.summary.ends_with("paused: Unauthorized: … is not allowed."), "{}", refused.summary);
}

#[test]
fn an_open_circuit_is_an_alert_and_mail_that_goes_by_another_way_is_one_more() {
    let found = found(worker(|w| w.providers[0] = provider("sendgrid", Circuit::Open, "502 Bad Gateway")));
    let keys: Vec<_> = found.iter().map(Finding::key).collect();
    assert_eq!(keys, ["breaker_open:sendgrid", "failover:spare"]);
    // Both ill: there is no other way.
    let both = one(worker(|w| {
        w.providers = vec![provider("sendgrid", Circuit::Open, ""), provider("gone", Circuit::Closed, "")];
    }));
    assert_eq!(both.key(), "breaker_open:sendgrid");
}

#[test]
fn a_circuit_that_opened_and_closed_between_two_readings_is_not_missed() {
    let brief = one(worker(|w| w.opened = BTreeSet::from(["sendgrid".into()])));
    assert_eq!(brief.key(), "breaker_open:sendgrid");
    assert!(brief.summary.contains("for a moment"), "{}", brief.summary);
}

#[test]
fn a_probed_circuit_says_nothing_for_a_while_and_is_well_when_it_stays_so() {
    let probed = |age: Duration| {
        let mut reading = well();
        let mut half_open = provider("sendgrid", Circuit::HalfOpen, "");
        half_open.since = reading.at.minus(age);
        reading.worker.get_or_insert_default().providers[0] = half_open;
        checks(&reading, &limits())
    };
    assert!(!probed(MINUTE).judges("breaker_open:sendgrid") && probed(MINUTE).judges("breaker_open:spare"));
    assert!(probed(10 * MINUTE).judges("breaker_open:sendgrid"));
}

#[test]
fn trouble_with_a_certificate_is_told_from_illness() {
    let words = "no connection: invalid peer certificate: Expired";
    let tls = found(worker(|w| w.providers[0] = provider("sendgrid", Circuit::Open, words))).remove(0);
    assert_eq!((tls.key(), tls.command.as_str()), ("provider_tls:sendgrid".into(), "kakitome check"));
}

#[test]
fn bounces_and_complaints_count_from_a_number_that_says_something() {
    let bounced =
        |bounced, delivered| found(webhook(move |w| (w.bounced, w.delivered) = (bounced, delivered))).len();
    assert_eq!((bounced(6, 94), bounced(5, 95), bounced(50, 49)), (1, 0, 0));
    let complained = |complained, delivered| {
        found(webhook(move |w| (w.complained, w.delivered) = (complained, delivered))).len()
    };
    assert_eq!((complained(2, 1000), complained(1, 1000), complained(9, 999)), (1, 0, 0));
    let rate = one(webhook(|w| (w.bounced, w.delivered) = (8, 92)));
    assert_eq!(rate.summary, "8.00 % bounced in the last hour (8 of 100), above 5 %.");
    // Right after a start nothing was counted yet: that is no proof that all is well.
    let mut fresh = well();
    fresh.running_for = MINUTE;
    assert!(!checks(&fresh, &limits()).judges("bounce_rate"));
}

#[test]
fn an_unusual_tenant_is_named_with_the_command_that_stops_it() {
    let unusual = |tenant: &str| Unusual { tenant: tenant.into(), per_minute: 5210.4, usual: 12.0 };
    let found = one(|reading| reading.unusual = Some(vec![unusual("o'hotel")]));
    assert_eq!(found.key(), "unusual_rate:o'hotel");
    assert_eq!(found.summary, "Tenant o'hotel hands in 5210 a minute; usual are 12.");
    assert_eq!(found.command, r"kakitome hold --tenant 'o'\''hotel' --reason 'unusual rate'");
    let many = (0..1000).map(|i| unusual(&format!("t{i}"))).collect();
    assert_eq!(super::tests::found(|reading| reading.unusual = Some(many)).len(), 10);
}

#[test]
fn a_worker_that_receives_nothing_is_an_alert_after_two_minutes() {
    assert_eq!(found(worker(|w| w.last_receive_age = 2 * MINUTE)), Vec::new());
    assert_eq!(one(worker(|w| w.last_receive_age = 3 * MINUTE)).key(), "not_polling");
}

#[test]
fn a_silent_webhook_is_an_alert_once_mail_was_sent_into_the_silence() {
    let silent = |newest_age, sent_since| {
        let mut reading = well();
        let witness = Witness { newest_age, sent_since };
        reading.worker.get_or_insert_default().witnesses = BTreeMap::from([("sendgrid".into(), witness)]);
        let checked = checks(&reading, &limits());
        (checked.findings.len(), checked.judges("webhook_silent:sendgrid"))
    };
    assert_eq!(silent(Some(31 * MINUTE), 3), (1, true));
    assert_eq!(silent(None, 3), (1, true));
    assert_eq!(silent(Some(31 * MINUTE), 2), (0, false), "too little mail to say");
    assert_eq!(silent(Some(29 * MINUTE), 0), (0, true), "heard");
    let mut unconfigured = limits();
    unconfigured.webhook_expected = false;
    let mut reading = well();
    let never = Witness { newest_age: None, sent_since: 100 };
    reading.worker.get_or_insert_default().witnesses = BTreeMap::from([("sendgrid".into(), never)]);
    assert_eq!(checks(&reading, &unconfigured).findings, Vec::new(), "nobody set a webhook up");
}

#[test]
fn refused_webhook_posts_are_an_alert_unless_most_are_taken() {
    let posts = |refused, taken| found(webhook(move |w| (w.posts_refused, w.posts_taken) = (refused, taken)));
    assert_eq!((posts(5, 0).len(), posts(4, 0).len(), posts(50, 51).len()), (1, 0, 0));
    assert_eq!(posts(50, 50)[0].key(), "webhook_refused");
}

#[test]
fn events_that_are_set_aside_are_an_alert_and_unseen_ones_no_all_clear() {
    let aside = one(|reading| reading.events_aside = Some(3));
    assert_eq!(
        (aside.key(), aside.count, aside.command.as_str()),
        ("events_aside".into(), 3, "kakitome events aside")
    );
    let mut reading = well();
    reading.events_aside = None;
    assert!(!checks(&reading, &limits()).judges("events_aside"));
}

#[test]
fn each_port_that_does_not_answer_is_an_alert_of_its_own() {
    let down = || Some(Err("dispatch failure".to_owned()));
    assert_eq!(one(|reading| reading.queue = down()).key(), "queue_unreachable");
    assert_eq!(one(|reading| reading.journal = down()).key(), "journal_unreachable");
    let log = one(|reading| reading.log = Some(Err("dispatch failure".into())));
    assert_eq!(log.key(), "log_unreachable");
    assert!(log.summary.ends_with(": dispatch failure.") && !log.is_conclusive, "{}", log.summary);
}

#[test]
fn an_interrupted_job_comes_with_the_command_that_resumes_it() {
    let job = one(|reading| reading.interrupted_jobs = Some(vec!["0197a3c2".into(), "0197a3c1".into()]));
    assert_eq!((job.command.as_str(), job.count), ("kakitome redrive --resume 0197a3c2", 2));
}

#[test]
fn every_runbook_is_there_and_every_name_is_of_its_own() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks");
    let names: BTreeSet<_> = AlertName::ALL.iter().map(|name| name.as_str()).collect();
    assert_eq!(names.len(), AlertName::ALL.len());
    for name in AlertName::ALL {
        assert!(root.join(name.runbook()).is_file(), "{} has no runbook", name.as_str());
    }
}
