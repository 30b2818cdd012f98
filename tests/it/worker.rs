//! The worker over embedded storage, with providers that do what a test says.

mod bench;
mod keys;
mod stops;
mod storm;
mod suppress;

use std::sync::Arc;
use std::time::Duration;

use kakitome::clock::{Clock, Timestamp};
use kakitome::message_log::{MessageLog, Record};
use kakitome::notification::status::{AttemptOutcome, Status};
use kakitome::provider::SendErrorClass;
use kakitome::queue::{Queue, sqlite};
use kakitome::worker::{Config, DrainReport};
use tokio::sync::Semaphore;

use bench::{Scripted, bench, bench_with, not_taken, quick, quick_with, taken};

fn status(record: &Record) -> Status {
    record.life.status(Clock::system().now())
}

fn outcomes(record: &Record) -> Vec<AttemptOutcome> {
    record.life.attempts.iter().map(|attempt| attempt.outcome).collect()
}

/// A provider whose sends all wait until the semaphore gives each a permit.
fn gated() -> (Arc<Scripted>, Arc<Semaphore>) {
    let (provider, gate) = (Scripted::new("slow"), Arc::new(Semaphore::new(0)));
    let inner = Arc::clone(&gate);
    provider.play(move |_| {
        let gate = Arc::clone(&inner);
        async move {
            gate.acquire().await.unwrap().forget();
            taken()
        }
    });
    (provider, gate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_while_sending_is_one_failed_attempt_whose_outcome_nobody_knows() {
    let bench = bench().await;
    let provider = Scripted::new("panicking");
    provider.play(|_| async { panic!("on purpose: the attempt panics") });
    let worker = bench.work(&[&provider], quick());
    let id = bench.hand_in("default", 1).await[0];
    let record = bench.record_when(id, |record| status(record) == Status::Unknown).await;
    assert_eq!(outcomes(&record), [AttemptOutcome::Unknown]);
    assert!(record.life.attempts[0].error.as_deref().unwrap().contains("panicked"), "{record:#?}");
    provider.play(|_| async { taken() });
    let record = bench.record_when(id, |record| status(record) == Status::Sent).await;
    assert_eq!(outcomes(&record), [AttemptOutcome::Unknown, AttemptOutcome::Accepted]);
    bench.depth_when(|depth| depth.visible + depth.in_flight + depth.delayed == 0).await;
    assert_eq!(worker.stop().await, DrainReport::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_before_its_claim_is_recorded() {
    let bench = bench().await;
    let provider = Scripted::new("watching");
    let log = Arc::clone(&bench.log);
    provider.play(move |id| {
        let log = Arc::clone(&log);
        async move {
            let record = log.get(id).await.unwrap().unwrap();
            let claimed = status(&record) == Status::Attempting && record.life.token.is_some();
            // A refusal ends it as failed, which the test then sees.
            if claimed { taken() } else { not_taken(SendErrorClass::Refused) }
        }
    });
    let worker = bench.work(&[&provider], quick());
    for id in bench.hand_in("default", 100).await {
        bench.record_when(id, |record| status(record) == Status::Sent).await;
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_took_too_long_is_put_back_unsent() {
    let clock = Clock::manual(Timestamp::from_ms(1_800_000_000_000));
    let bench = bench_with(clock.clone(), sqlite::Config::default()).await;
    let config = Config {
        lease: Duration::from_secs(30),
        attempt_timeout: Duration::from_secs(10),
        hold: Duration::from_secs(600),
        ..quick()
    };
    // The attempt would begin 20 s into a lease of 30 s and could last 10 s: nothing would be left over.
    bench.log.before_claim(move || clock.advance(Duration::from_secs(20)));
    let provider = Scripted::new("never-late");
    let asked_at = bench.clock.now();
    let id = bench.hand_in("default", 1).await[0];
    let worker = bench.work(&[&provider], config);
    let record = bench.record_when(id, |record| record.life.status(bench.clock.now()) == Status::Sent).await;
    assert!(bench.queue.delivered() >= 2, "the first delivery was given back");
    assert_eq!(provider.asked(), [id]);
    assert_eq!(outcomes(&record), [AttemptOutcome::Accepted], "what was put back is no attempt");
    assert!(record.life.attempts[0].started_at > asked_at);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_that_outlasts_the_visibility_time_out_stays_in_one_hand() {
    let visibility = Duration::from_millis(1200);
    let config = sqlite::Config { visibility_timeout: visibility, ..sqlite::Config::default() };
    let bench = bench_with(Clock::system(), config).await;
    let (provider, gate) = gated();
    let id = bench.hand_in("default", 1).await[0];
    let worker = bench.work(&[&provider], Config { visibility, lease: Duration::from_secs(60), ..quick() });
    bench.record_when(id, |record| status(record) == Status::Attempting).await;
    // The time itself is what is tested here: two and a half time-outs.
    tokio::time::sleep(visibility.mul_f64(2.5)).await;
    assert_eq!(bench.queue.delivered(), 1, "it became visible again while it was being sent");
    gate.add_permits(1);
    bench.record_when(id, |record| status(record) == Status::Sent).await;
    worker.stop().await;
    assert_eq!((bench.queue.delivered(), provider.asked().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_gives_back_what_is_unsent_and_says_what_it_left_running() {
    let bench = bench().await;
    let (provider, _gate) = gated();
    bench.hand_in("default", 3).await;
    let worker = bench.work(&[&provider], Config { drain: Duration::from_millis(200), ..quick_with(1) });
    // One is being sent, one is ready, and there is no room for the third.
    bench.depth_when(|depth| depth.in_flight == 2).await;
    assert_eq!(worker.stop().await, DrainReport { given_back: 1, left_running: 1 });
    let depth = bench.queue.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight), (2, 1), "what was given back can be had at once");
    assert_eq!(provider.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_lets_a_running_send_end_and_writes_its_outcome() {
    let bench = bench().await;
    let (provider, gate) = gated();
    let id = bench.hand_in("default", 1).await[0];
    let worker = bench.work(&[&provider], quick());
    bench.record_when(id, |record| status(record) == Status::Attempting).await;
    let stopping = tokio::spawn(worker.stop());
    gate.add_permits(1);
    assert_eq!(stopping.await.unwrap(), DrainReport::default());
    assert_eq!(status(&bench.record(id).await), Status::Sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_five_thousand_delay_nobody_elses_one() {
    let bench = bench().await;
    let provider = Scripted::new("fair");
    bench.hand_in("flood", 5000).await;
    let id = bench.hand_in("small", 1).await[0];
    let worker = bench.work(&[&provider], quick_with(8));
    bench.record_when(id, |record| status(record) == Status::Sent).await;
    worker.stop().await;
    let before = provider.asked().iter().position(|asked| *asked == id).unwrap();
    assert!(before < 100, "{before} of the flood went before it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_first_provider_is_ill_the_second_sends_but_never_what_is_unknown_at_the_first() {
    let bench = bench().await;
    let (first, second) = (Scripted::new("first"), Scripted::new("second"));
    first.play(|_| async { not_taken(SendErrorClass::Unknown) });
    let worker = bench.work(&[&first, &second], quick());
    let unknown = bench.hand_in("unknown", 1).await[0];
    bench.record_when(unknown, |record| status(record) == Status::Unknown).await;
    first.play(|_| async { not_taken(SendErrorClass::NotAccepted) });
    for id in bench.hand_in("others", 20).await {
        let record = bench.record_when(id, |record| status(record) == Status::Sent).await;
        assert_eq!(record.life.provider.as_deref(), Some("second"));
    }
    assert_ne!(status(&bench.record(unknown).await), Status::Sent);
    first.play(|_| async { taken() });
    let record = bench.record_when(unknown, |record| status(record) == Status::Sent).await;
    assert_eq!(record.life.provider.as_deref(), Some("first"));
    assert_eq!(second.times_asked(unknown), 0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_whose_outcome_is_unknown_three_times_is_parked() {
    let bench = bench().await;
    let provider = Scripted::new("choking");
    let poisoned = bench.hand_in("poisoned", 1).await[0];
    provider.play(move |id| async move {
        if id == poisoned { not_taken(SendErrorClass::Unknown) } else { taken() }
    });
    let worker = bench.work(&[&provider], quick());
    // Only the failures of a provider that is well for others count against a mail.
    let mut record = bench.record(poisoned).await;
    for others in 0.. {
        if status(&record) == Status::Failed {
            break;
        }
        assert!(others < 5000, "{record:#?}");
        let fine = bench.hand_in(&format!("fine-{others}"), 1).await[0];
        bench.record_when(fine, |record| status(record) == Status::Sent).await;
        record = bench.record(poisoned).await;
    }
    assert_eq!(record.life.reason.as_deref(), Some("unknown_outcome"));
    assert_eq!(outcomes(&record), [AttemptOutcome::Unknown; 3]);
    assert_eq!(provider.times_asked(poisoned), 3);
    worker.stop().await;
}
