//! Every alert's ready-made command is one that the program takes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Parser;
use kakitome::alerts::check::{
    AlertName, Limits, LogReading, Reading, Unconfirmed, Unusual, WebhookReading, Witness, WorkerReading,
    checks,
};
use kakitome::cli::Cli;
use kakitome::provider::health::{Circuit, ProviderHealth};

const HOUR: Duration = Duration::from_secs(3600);

fn provider(name: &str, circuit: Circuit, error: Option<&str>) -> ProviderHealth {
    let last_error = error.map(str::to_owned);
    ProviderHealth { name: name.into(), circuit, since: Default::default(), probe_at: None, last_error }
}

/// Everything is wrong.
fn disaster() -> Reading {
    let held = ["repeat", "batch_size", "unknown_outcome"].map(|reason| (reason.to_owned(), 7));
    let silent = Witness { newest_age: None, sent_since: 100 };
    let providers = vec![
        provider("a", Circuit::Open, None),
        provider("b", Circuit::Refused, Some("401")),
        provider("c", Circuit::Open, Some("no connection: invalid peer certificate: Expired")),
        provider("d", Circuit::Closed, None),
    ];
    Reading {
        running_for: 2 * HOUR,
        worker: Some(WorkerReading {
            providers,
            opened: BTreeSet::new(),
            last_receive_age: HOUR,
            witnesses: BTreeMap::from([("a".into(), silent)]),
        }),
        webhook: Some(WebhookReading {
            delivered: 5000,
            bounced: 1000,
            complained: 100,
            posts_taken: 0,
            posts_refused: 10,
            oldest_waiting: Some(2 * HOUR),
        }),
        log: Some(Ok(LogReading {
            oldest_unsent: Some(2 * HOUR),
            failed: 5,
            unknown: 50,
            held: Some(BTreeMap::from(held)),
        })),
        unreadable: Some(3),
        queue: Some(Err("gone".into())),
        journal: Some(Err("gone".into())),
        unusual: Some(vec![Unusual { tenant: "rock 'n' roll".into(), per_minute: 900.0, usual: 3.0 }]),
        paused_callbacks: Some(vec!["0197a3c2-7a10-7c3e-9a55-0d5f6f1f2a3c".into()]),
        unconfirmed: Some(Unconfirmed { processed: 3, end: 2, at_least: false }),
        events_aside: Some(4),
        interrupted_jobs: Some(vec!["0197a3c2-7a10-7c3e-9a55-0d5f6f1f2a3b".into()]),
        ..Reading::default()
    }
}

/// The words of a line as a shell has them.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => quoted = !quoted,
            '\\' if !quoted => word.extend(letters.next()),
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            other => word.push(other),
        }
    }
    words.push(word);
    words
}

#[test]
fn every_alert_comes_with_a_command_that_the_program_takes() {
    let limits = Limits {
        delay: Duration::from_secs(5400),
        poll_silence: Duration::from_secs(120),
        webhook_silence: Some(HOUR),
        webhook_expected: true,
        providers: ["a", "b", "c", "d"].map(str::to_owned).into(),
    };
    let mut findings = checks(&disaster(), &limits).findings;
    let unreachable = Reading { log: Some(Err("gone".into())), ..disaster() };
    findings.extend(checks(&unreachable, &limits).findings);
    let found: BTreeSet<_> = findings.iter().map(|finding| finding.alert).collect();
    assert_eq!(found, BTreeSet::from(AlertName::ALL));
    for finding in findings {
        let taken = Cli::try_parse_from(words(&finding.command));
        assert!(taken.is_ok(), "{}: {:?}", finding.command, taken.err());
    }
}
