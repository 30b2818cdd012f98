//! Standing stops, asked right before the bytes of every attempt.

use std::time::Duration;

use kakitome::clock::Timestamp;
use kakitome::notification::NotificationId;
use kakitome::notification::status::{Act, ActKind, By, Fact, State, Status};
use kakitome::provider::SendErrorClass;
use kakitome::provider::health::Circuit;
use kakitome::stops::{Scope, Stop, StopKind, Stops};

use super::bench::{Bench, Scripted, bench, not_taken, quick, quick_with, taken};
use super::status;

fn stop(bench: &Bench, kind: StopKind, scope: Scope) -> Stop {
    Stop {
        id: NotificationId::fresh().to_string(),
        kind,
        scope,
        who: "ops".into(),
        reason: "wrong date".into(),
        since: bench.clock.now(),
        accepted_before: None,
    }
}

async fn set(bench: &Bench, kind: StopKind, scope: Scope) -> Stop {
    let stop = stop(bench, kind, scope);
    bench.stops.set(&stop, None).await.unwrap();
    stop
}

fn tenant(name: &str) -> Scope {
    Scope { tenant: Some(name.into()), ..Scope::default() }
}

fn provider(name: &str) -> Scope {
    Scope { provider: Some(name.into()), ..Scope::default() }
}

/// Releases it and has the queue bring it.
async fn release(bench: &Bench, id: NotificationId, of: &str) {
    let fact = Fact::Released { by: By::new("ops", None) };
    use kakitome::message_log::MessageLog;
    bench.log.apply(&[(id, fact)], bench.clock.now()).await.pop().unwrap().unwrap();
    bench.enqueue(of, &[id]).await;
}

fn acts(acts: &[Act]) -> Vec<(ActKind, &str, Option<&str>)> {
    acts.iter().map(|act| (act.kind, act.who.as_str(), act.why.as_deref())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stop_concerns_is_held_without_a_byte_and_its_message_ends_while_others_go_on() {
    let bench = bench().await;
    let provider = Scripted::new("watching");
    let (stopped, fine) = (bench.hand_in("inn", 3).await, bench.hand_in("hotel", 3).await);
    set(&bench, StopKind::Hold, tenant("inn")).await;
    let worker = bench.work(&[&provider], quick());
    for id in &fine {
        bench.record_when(*id, |record| status(record) == Status::Sent).await;
    }
    for id in &stopped {
        let record = bench.record_when(*id, |record| status(record) == Status::Held).await;
        assert_eq!(record.life.reason.as_deref(), Some("wrong date"));
        assert_eq!(acts(&record.life.acts), [(ActKind::Held, "ops", Some("wrong date"))]);
        assert_eq!((record.life.attempt, record.life.spent, record.life.attempts.len()), (0, 0, 0));
    }
    bench.depth_when(|depth| depth.live() == 0).await;
    // Released, they go, although the stop still stands: it is older than their release.
    for id in &stopped {
        release(&bench, *id, "inn").await;
        bench.record_when(*id, |record| status(record) == Status::Sent).await;
    }
    worker.stop().await;
    assert_eq!(provider.asked().len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_is_set_between_claim_and_bytes_still_holds() {
    let bench = bench().await;
    let provider = Scripted::new("watching");
    let id = bench.hand_in("inn", 1).await[0];
    let (stops, stop) = (bench.stops.clone(), stop(&bench, StopKind::Hold, tenant("inn")));
    let handle = tokio::runtime::Handle::current();
    bench.log.before_claim(move || {
        tokio::task::block_in_place(|| handle.block_on(stops.set(&stop, None))).unwrap();
    });
    let worker = bench.work(&[&provider], quick());
    bench.record_when(id, |record| status(record) == Status::Held).await;
    worker.stop().await;
    assert_eq!(provider.asked(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_ends_what_was_accepted_before_it_also_while_it_waits_for_a_retry() {
    let bench = bench().await;
    let provider = Scripted::new("busy");
    provider.play(|_| async { not_taken(SendErrorClass::NotAccepted) });
    let old = bench.hand_in("inn", 2).await;
    let worker = bench.work(&[&provider], quick());
    for id in &old {
        bench.record_when(*id, |record| record.life.state == State::Retrying).await;
    }
    // What is accepted from now on is not concerned.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let until = bench.clock.now();
    let cancel = Stop { accepted_before: Some(until), ..stop(&bench, StopKind::Cancel, tenant("inn")) };
    bench.stops.set(&cancel, Some(until.plus(Duration::from_secs(3600)))).await.unwrap();
    for id in &old {
        let record = bench.record_when(*id, |record| status(record) == Status::Cancelled).await;
        assert_eq!(acts(&record.life.acts), [(ActKind::Cancelled, "ops", Some("wrong date"))]);
    }
    provider.play(|_| async { taken() });
    let new = bench.hand_in_from("inn", 100, 1).await[0];
    bench.record_when(new, |record| status(record) == Status::Sent).await;
    bench.depth_when(|depth| depth.live() == 0).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resend_of_an_unknown_is_held_and_released_is_the_same_unknown_again() {
    let bench = bench().await;
    let provider = Scripted::new("silent");
    provider.play(|_| async { not_taken(SendErrorClass::Unknown) });
    let id = bench.hand_in("inn", 1).await[0];
    let worker = bench.work(&[&provider], quick());
    bench.record_when(id, |record| status(record) == Status::Unknown).await;
    set(&bench, StopKind::Hold, tenant("inn")).await;
    let asked = provider.asked().len();
    provider.play(|_| async { taken() });
    let record = bench.record_when(id, |record| status(record) == Status::Held).await;
    assert!(record.life.token.is_some(), "its outcome is still open");
    release(&bench, id, "inn").await;
    let record = bench.record_when(id, |record| status(record) == Status::Sent).await;
    assert_eq!(record.life.attempts.len(), 2);
    worker.stop().await;
    assert!(provider.asked().len() <= asked + 2, "{asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_never_read_the_stops_sends_nothing() {
    let bench = bench().await;
    let provider = Scripted::new("watching");
    let id = bench.hand_in("inn", 1).await[0];
    let unread = Stops::new(bench.journal.clone());
    let worker = bench.work_with(unread.clone(), &[&provider], quick());
    // The time itself is what is tested here: three polls.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((bench.queue.delivered(), provider.asked().len()), (0, 0));
    unread.refresh().await.unwrap();
    bench.record_when(id, |record| status(record) == Status::Sent).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_provider_is_not_asked_others_take_over_and_it_comes_back_when_it_is_released() {
    let bench = bench().await;
    let (first, second) = (Scripted::new("first"), Scripted::new("second"));
    let worker = bench.work(&[&first, &second], quick_with(64));
    set(&bench, StopKind::Hold, provider("first")).await;
    for id in bench.hand_in("inn", 20).await {
        let record = bench.record_when(id, |record| status(record) == Status::Sent).await;
        assert_eq!(record.life.provider.as_deref(), Some("second"));
    }
    assert_eq!(first.asked(), []);
    let board = bench.health.providers();
    assert_eq!(board[0].circuit, Circuit::Held);
    assert_eq!(board[0].last_error.as_deref(), Some("held by ops: wrong date"));
    assert_eq!(board[1].circuit, Circuit::Closed);
    assert_eq!(bench.stops.lift(StopKind::Hold, &provider("first")).await.unwrap().len(), 1);
    for id in bench.hand_in("hotel", 20).await {
        let record = bench.record_when(id, |record| status(record) == Status::Sent).await;
        assert_eq!(record.life.provider.as_deref(), Some("first"));
    }
    assert_eq!(bench.health.providers()[0].circuit, Circuit::Closed);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_only_provider_is_held_everything_waits_and_nothing_is_marked_or_spent() {
    let bench = bench().await;
    let only = Scripted::new("only");
    set(&bench, StopKind::Hold, provider("only")).await;
    let worker = bench.work(&[&only], quick_with(4));
    let ids = bench.hand_in("inn", 10).await;
    // The time itself is what is tested here: longer than a held lane is looked at again.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(only.asked(), []);
    let silent = bench.clock.now().since(bench.health.last_receive().unwrap_or(Timestamp::from_ms(0)));
    assert!(silent < Duration::from_secs(2), "it shows that it lives: {silent:?}");
    for id in &ids {
        assert_eq!(
            (status(&bench.record(*id).await), bench.record(*id).await.life.spent),
            (Status::Accepted, 0)
        );
    }
    bench.stops.lift(StopKind::Hold, &provider("only")).await.unwrap();
    let released_at = bench.clock.now();
    for id in &ids {
        let record = bench.record_when(*id, |record| status(record) == Status::Sent).await;
        assert!(record.life.sent_at.unwrap().since(released_at) < Duration::from_secs(2));
    }
    worker.stop().await;
}
