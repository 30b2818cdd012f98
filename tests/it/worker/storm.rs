//! The storm guard, asked by the worker before the first attempt of each.

use std::collections::BTreeSet;
use std::time::Duration;

use kakitome::clock::Timestamp;
use kakitome::journal::{Journal, Kind};
use kakitome::message_log::{Filter, MessageLog};
use kakitome::notification::NotificationId;
use kakitome::notification::status::{ActKind, By, Fact, State, Status};
use kakitome::provider::SendErrorClass;
use kakitome::queue::Queue;
use kakitome::storm::{Config, batches};

use super::bench::{Bench, Scripted, bench, bench_with, not_taken, quick, quick_with, taken};
use super::status;

fn guarded() -> Config {
    Config::default()
}

fn no_repeats() -> Config {
    Config { repeat_limit: 0, ..Config::default() }
}

/// Waits until so many of the tenant are held with this reason.
async fn held(bench: &Bench, tenant: &str, reason: &str, count: usize) -> Vec<NotificationId> {
    let filter = Filter {
        statuses: vec![Status::Held],
        tenant: Some(tenant.into()),
        reason: Some(reason.into()),
        ..Filter::default()
    };
    let looking = async {
        loop {
            let page = bench.log.list(&filter, None, 1000, bench.clock.now()).await.unwrap();
            if page.items.len() == count {
                return page.items.into_iter().map(|record| record.id).collect();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looking).await.expect("so many are held")
}

async fn declare(bench: &Bench, tenant: &str, batch: &str, expected: u64) {
    batches::declare(&*bench.journal, (tenant, batch), expected, "ops", bench.clock.now()).await.unwrap();
}

/// How many places are taken, as the journal says.
async fn taken_places(bench: &Bench) -> u64 {
    batches::list(&*bench.journal, None).await.unwrap()[0].taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_content_goes_to_a_person_three_times_and_the_rest_is_held() {
    let mut bench = bench().await;
    bench.storm = guarded();
    let provider = Scripted::new("watching");
    // All at once: every one of them is claimed while the first are judged.
    let ids = bench.hand_in("inn", 20).await;
    let worker = bench.work(&[&provider], quick_with(64));
    let held = held(&bench, "inn", "repeat", 17).await;
    bench.depth_when(|depth| depth.live() == 0).await;
    assert_eq!(provider.asked().len(), 3);
    let record = bench.record(held[0]).await;
    let act = &record.life.acts[0];
    assert_eq!(
        (act.kind, act.who.as_str(), act.why.as_deref()),
        (ActKind::Held, "storm guard", Some("repeat"))
    );
    assert_eq!((record.life.attempt, record.life.spent), (0, 0));
    // Another tenant's are its own.
    bench.hand_in("hotel", 1).await;
    bench.depth_when(|depth| depth.live() == 0).await;
    assert_eq!(provider.asked().len(), 4);
    // What an operator lets go is not asked again.
    let fact = Fact::Released { by: By::new("ops", None) };
    bench.log.apply(&[(held[0], fact)], bench.clock.now()).await.pop().unwrap().unwrap();
    bench.enqueue("inn", &held[..1]).await;
    bench.record_when(held[0], |record| status(record) == Status::Sent).await;
    worker.stop().await;
    assert_eq!((provider.asked().len(), ids.len()), (5, 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_held_is_judged_when_it_is_released() {
    let mut bench = bench().await;
    bench.storm = guarded();
    let ids = bench.hand_in("inn", 6).await;
    for by in [Fact::Held { by: By::new("ops", None) }, Fact::Released { by: By::new("ops", None) }] {
        let facts: Vec<_> = ids.iter().map(|id| (*id, by.clone())).collect();
        for applied in bench.log.apply(&facts, bench.clock.now()).await {
            applied.unwrap();
        }
    }
    let provider = Scripted::new("watching");
    let worker = bench.work(&[&provider], quick());
    held(&bench, "inn", "repeat", 3).await;
    bench.depth_when(|depth| depth.live() == 0).await;
    worker.stop().await;
    assert_eq!(provider.asked().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_is_no_repeat() {
    let mut bench = bench().await;
    bench.storm = guarded();
    let provider = Scripted::new("busy");
    provider.play(|_| async { not_taken(SendErrorClass::NotAccepted) });
    let ids = bench.hand_in("inn", 3).await;
    let worker = bench.work(&[&provider], quick());
    for id in &ids {
        bench.record_when(*id, |record| record.life.attempt >= 3).await;
    }
    provider.play(|_| async { taken() });
    for id in &ids {
        bench.record_when(*id, |record| status(record) == Status::Sent).await;
    }
    bench.hand_in_from("inn", 3, 2).await;
    held(&bench, "inn", "repeat", 2).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_window_slides() {
    let clock = kakitome::clock::Clock::manual(Timestamp::parse("2026-11-22T09:00:00Z").unwrap());
    let mut bench = bench_with(clock, kakitome::queue::sqlite::Config::default()).await;
    bench.storm = guarded();
    let provider = Scripted::new("watching");
    let worker = bench.work(&[&provider], quick());
    for (from, sent) in [(0, 3), (10, 6), (20, 9)] {
        for id in bench.hand_in_from("inn", from, 5).await {
            let decided = |record: &_| matches!(status_at(record, &bench), Status::Sent | Status::Held);
            bench.record_when(id, decided).await;
        }
        assert_eq!(provider.asked().len(), sent);
        bench.clock.advance(Duration::from_secs(3601));
    }
    worker.stop().await;
}

fn status_at(record: &kakitome::message_log::Record, bench: &Bench) -> Status {
    record.life.status(bench.clock.now())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_restart_lets_one_more_of_the_same_go_at_the_most() {
    let mut bench = bench().await;
    bench.storm = guarded();
    let provider = Scripted::new("watching");
    for restart in 0..4 {
        let worker = bench.work(&[&provider], quick());
        for id in bench.hand_in_from("inn", restart * 10, 4).await {
            bench.record_when(id, |one| matches!(status(one), Status::Sent | Status::Held)).await;
        }
        worker.stop().await;
        assert!(provider.asked().len() <= 3 + restart, "{} after {restart} restarts", provider.asked().len());
    }
    assert!(provider.asked().len() >= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declared_broadcast_of_a_hundred_lets_a_hundred_through_on_two_workers() {
    let mut bench = bench().await;
    bench.storm = no_repeats();
    declare(&bench, "inn", "tos", 100).await;
    let provider = Scripted::new("watching");
    bench.hand_in_batch("inn", "tos", 150).await;
    bench.hand_in_batch("hotel", "tos", 10).await;
    let workers = [bench.work(&[&provider], quick()), bench.work(&[&provider], quick())];
    bench.depth_when(|depth| depth.live() == 0).await;
    let sent = provider.asked().len() - 10;
    // Another process may hold a place or two that this one would have needed: never one too few.
    assert!((95..=100).contains(&sent), "{sent}");
    held(&bench, "inn", "batch_size", 150 - sent).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(taken_places(&bench).await, sent as u64, "what was not used is given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_worker_lets_exactly_as_many_through_and_more_when_more_is_declared() {
    let mut bench = bench().await;
    bench.storm = no_repeats();
    declare(&bench, "inn", "tos", 100).await;
    let provider = Scripted::new("watching");
    let worker = bench.work(&[&provider], quick());
    bench.hand_in_batch("inn", "tos", 150).await;
    held(&bench, "inn", "batch_size", 50).await;
    bench.depth_when(|depth| depth.live() == 0).await;
    assert_eq!(provider.asked().iter().collect::<BTreeSet<_>>().len(), 100);
    worker.stop().await;
    declare(&bench, "inn", "tos", 110).await;
    let worker = bench.work(&[&provider], quick());
    bench.hand_in_batch_from("inn", "tos", 150, 20).await;
    held(&bench, "inn", "batch_size", 60).await;
    bench.depth_when(|depth| depth.live() == 0).await;
    assert_eq!(provider.asked().len(), 110);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_and_resends_take_no_second_place() {
    let mut bench = bench().await;
    bench.storm = no_repeats();
    declare(&bench, "inn", "tos", 10).await;
    let provider = Scripted::new("ill");
    provider.play(|_| async { not_taken(SendErrorClass::NotAccepted) });
    let ids = bench.hand_in_batch("inn", "tos", 10).await;
    let worker = bench.work(&[&provider], quick());
    for id in &ids {
        bench.record_when(*id, |record| record.life.attempt >= 1).await;
    }
    provider.play(|_| async { not_taken(SendErrorClass::Unknown) });
    bench
        .record_when(ids[0], |record| record.life.state == State::Attempting && record.life.attempt > 1)
        .await;
    provider.play(|_| async { taken() });
    for id in &ids {
        bench.record_when(*id, |record| status(record) == Status::Sent).await;
    }
    worker.stop().await;
    assert_eq!(taken_places(&bench).await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_holds_too_many_and_never_too_few() {
    let visibility = Duration::from_secs(1);
    let config = kakitome::queue::sqlite::Config { visibility_timeout: visibility, ..Default::default() };
    let mut bench = bench_with(kakitome::clock::Clock::system(), config).await;
    bench.storm = no_repeats();
    declare(&bench, "inn", "tos", 200).await;
    let provider = Scripted::new("watching");
    for crash in 0..5 {
        bench.hand_in_batch_from("inn", "tos", crash * 50, 50).await;
        let worker = bench.work_until_killed(&[&provider], quick());
        let enough = provider.asked().len() + 10;
        while provider.asked().len() < enough && bench.queue.depth().await.unwrap().live() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        worker.shutdown_background();
    }
    let worker = bench.work(&[&provider], quick());
    bench.depth_when(|depth| depth.live() == 0).await;
    worker.stop().await;
    let sent: BTreeSet<_> = provider.asked().into_iter().collect();
    assert!(sent.len() <= 200, "{}", sent.len());
    // What a dead worker may have sent takes another place, or is held where there is none.
    let filter = Filter { statuses: vec![Status::Held], ..Filter::default() };
    let held = bench.log.list(&filter, None, 1000, bench.clock.now()).await.unwrap().items;
    let dealt_with: BTreeSet<_> = held.into_iter().map(|record| record.id).chain(sent).collect();
    assert_eq!(dealt_with.len(), 250, "none is lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unusual_tenant_is_held_where_that_is_configured_and_once_released_not_held_again() {
    let mut bench = bench().await;
    bench.storm = Config { rate_hold: true, rate_floor: 50, repeat_limit: 0, ..Config::default() };
    let guard = bench.guard(&bench.storm);
    let (stop, stopped) = kakitome::shutdown::channel();
    let running = tokio::spawn(guard.clone().run(stopped));
    guard.meter().count("inn", 51);
    guard.meter().count("hotel", 50);
    let stops = bench.stops.clone();
    let stands = async || {
        while stops.known().is_none_or(|known| known.is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stops.known().unwrap()
    };
    let known = tokio::time::timeout(Duration::from_secs(10), stands()).await.unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!((known[0].scope.tenant.as_deref(), known[0].reason.as_str()), (Some("inn"), "rate"));
    let scope = known[0].scope.clone();
    bench.stops.lift(kakitome::stops::StopKind::Hold, &scope).await.unwrap();
    // The time itself is what is tested here: two looks.
    tokio::time::sleep(Duration::from_millis(2200)).await;
    assert_eq!(bench.journal.list(Kind::Stop, None, 10).await.unwrap(), []);
    stop.pull();
    running.await.unwrap();
}
