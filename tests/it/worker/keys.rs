//! Unknown outcomes at a provider that knows a repeated request for one: the same request again settles them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kakitome::clock::Clock;
use kakitome::notification::status::{AttemptOutcome, Status};
use kakitome::provider::SendErrorClass;
use kakitome::queue::sqlite;
use kakitome::worker::{Config, retry};

use super::bench::{Scripted, bench, bench_with, not_taken, quick, taken};
use super::{outcomes, status};

/// The waits of a house in earnest where evidence is concerned: none of them ends within a test.
fn patient() -> Config {
    let retry = retry::Policy {
        witness_cap: Duration::from_secs(6 * 3600),
        witness_poll: Duration::from_secs(60),
        ..quick().retry
    };
    Config { hold: Duration::from_secs(600), retry, ..quick() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_is_settled_by_the_same_request_without_a_hold_and_is_one_mail() {
    let bench = bench().await;
    let (first, other) = (Scripted::keyed("keyed"), Scripted::new("other"));
    let mails = Arc::new(Mutex::new(HashSet::new()));
    let taking = Arc::clone(&mails);
    first.play(move |id| {
        let is_new = taking.lock().unwrap().insert(id);
        // Taken, and the answer is lost; a repeat is answered as the first was.
        async move { if is_new { not_taken(SendErrorClass::Unknown) } else { taken() } }
    });
    let worker = bench.work(&[&first, &other], patient());
    let id = bench.hand_in("default", 1).await[0];
    let record = bench.record_when(id, |record| status(record) == Status::Sent).await;
    assert_eq!(outcomes(&record), [AttemptOutcome::Unknown, AttemptOutcome::Accepted]);
    assert_eq!(record.life.provider.as_deref(), Some("keyed"));
    assert_eq!((mails.lock().unwrap().len(), other.times_asked(id)), (1, 0));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_before_a_crash_is_asked_for_again_and_is_one_mail() {
    let config = sqlite::Config { visibility_timeout: Duration::from_secs(1), ..sqlite::Config::default() };
    let bench = bench_with(Clock::system(), config).await;
    let provider = Scripted::keyed("keyed");
    let mails = Arc::new(Mutex::new(HashSet::new()));
    let taking = Arc::clone(&mails);
    provider.play(move |id| {
        let is_new = taking.lock().unwrap().insert(id);
        async move {
            if is_new {
                // The crash comes between the mail's being taken and its answer.
                std::future::pending::<()>().await;
            }
            taken()
        }
    });
    let id = bench.hand_in("default", 1).await[0];
    let killed = bench.work_until_killed(&[&provider], patient());
    while provider.times_asked(id) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    killed.shutdown_background();
    let worker = bench.work(&[&provider], patient());
    let record = bench.record_when(id, |record| status(record) == Status::Sent).await;
    assert_eq!(outcomes(&record), [AttemptOutcome::Unknown, AttemptOutcome::Accepted]);
    assert_eq!((mails.lock().unwrap().len(), provider.times_asked(id)), (1, 2));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_that_is_turned_away_stays_with_its_provider_until_it_is_settled() {
    let bench = bench().await;
    let (first, second) = (Scripted::keyed("keyed"), Scripted::new("second"));
    let unknown = bench.hand_in("unknown", 1).await[0];
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&asked);
    first.play(move |id| {
        let times = if id == unknown { counting.fetch_add(1, Ordering::SeqCst) } else { 99 };
        async move {
            match times {
                0 => not_taken(SendErrorClass::Unknown),
                1 => not_taken(SendErrorClass::Throttled),
                2 => not_taken(SendErrorClass::NotAccepted),
                _ => taken(),
            }
        }
    });
    let worker = bench.work(&[&first, &second], patient());
    let record = bench.record_when(unknown, |record| status(record) == Status::Sent).await;
    assert_eq!(record.life.provider.as_deref(), Some("keyed"));
    let unknown_thrice = [AttemptOutcome::Unknown; 3];
    assert_eq!(
        outcomes(&record)[..3],
        unknown_thrice,
        "that a repeat was not taken says nothing of the first"
    );
    assert_eq!((asked.load(Ordering::SeqCst), second.times_asked(unknown)), (4, 0));
    worker.stop().await;
}
