//! The folder: everything that is in the inbox is folded, whatever fails on the way.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kakitome::clock::Clock;
use kakitome::inbox::{Inbox, pack};
use kakitome::journal::{Document, Journal, Kind};
use kakitome::message_log::Recorded;
use kakitome::notification::NotificationId;
use kakitome::provider::health::HealthBoard;
use kakitome::provider::{EventKind, ProviderEvent};
use kakitome::shutdown::{self, Shutdown, ShutdownTrigger};
use kakitome::tracking::aside::Aside;
use kakitome::tracking::folder::{Config, Folder, Outcome};
use kakitome::tracking::{Listener, Tracker};
use metrics_exporter_prometheus::PrometheusBuilder;

use super::{EventLog, Step, TestInbox, now};

struct Bench {
    inbox: Arc<TestInbox>,
    log: Arc<EventLog>,
    folder: Folder,
    stopped: Shutdown,
    _trigger: ShutdownTrigger,
}

impl Bench {
    async fn open(log: EventLog) -> Self {
        Self::over(TestInbox::open().await, Arc::new(log), Vec::new())
    }

    fn over(inbox: TestInbox, log: Arc<EventLog>, listeners: Vec<Arc<dyn Listener>>) -> Self {
        let inbox = Arc::new(inbox);
        let clock = Clock::manual(now());
        let tracker = Arc::new(Tracker::new(log.clone(), HealthBoard::default(), clock.clone(), listeners));
        let quick = Duration::from_millis(1);
        let config =
            Config { events: 500, first_backoff: quick, longest_backoff: quick, ..Config::default() };
        let folder = Folder::new(inbox.clone(), tracker, Arc::new(inbox.journal()), clock, config);
        let (trigger, stopped) = shutdown::channel();
        Self { inbox, log, folder, stopped, _trigger: trigger }
    }

    /// The same storage as the next process finds it; the log remembers.
    async fn restarted(self) -> Self {
        let Self { inbox, log, folder, .. } = self;
        drop(folder);
        let inbox = Arc::into_inner(inbox).unwrap().restarted().await;
        Self::over(inbox, log, Vec::new())
    }

    /// The event ids that were set aside, and why.
    async fn aside(&self) -> Vec<(String, String)> {
        let documents = self.inbox.journal().list(Kind::EventAside, None, 100).await.unwrap();
        let read = |document: &Document| {
            let aside: Aside = document.read().unwrap();
            (aside.event.event_id.unwrap(), aside.why)
        };
        documents.iter().map(read).collect()
    }

    async fn append(&self, events: &[ProviderEvent]) {
        self.inbox.append(pack(events, now())).await.unwrap();
    }

    async fn step(&self) -> Outcome {
        self.folder.step(Duration::ZERO, &self.stopped).await
    }

    async fn waiting(&self) -> u64 {
        self.inbox.depth().await.unwrap().events.unwrap()
    }
}

fn event(lane: &str, event_id: &str) -> ProviderEvent {
    ProviderEvent {
        provider: "sendgrid".into(),
        id: Some(NotificationId::fresh()),
        provider_message_id: None,
        event_id: Some(event_id.to_owned()),
        kind: EventKind::Delivered,
        at: now().minus(Duration::from_secs(3)),
        recipient: None,
        machine: false,
        lane: Some(lane.to_owned()),
        detail: serde_json::Map::new(),
    }
}

fn events(lane: &str, count: usize) -> Vec<ProviderEvent> {
    (0..count).map(|n| event(lane, &format!("{lane}-{n}"))).collect()
}

#[tokio::test]
async fn what_waits_is_folded_in_bounded_calls_and_then_gone() {
    let bench = Bench::open(EventLog::default()).await;
    bench.append(&events("a", 1_201)).await;
    assert_eq!(bench.waiting().await, 1_201);
    for folded in [500, 500, 201] {
        assert_eq!(bench.step().await, Outcome::Folded(folded));
    }
    assert_eq!(bench.step().await, Outcome::Idle);
    assert_eq!((bench.waiting().await, bench.log.seen()), (0, 1_201));
    assert_eq!(*bench.log.calls.lock().unwrap(), vec![500, 500, 201]);
}

#[tokio::test]
async fn a_flood_in_one_lane_delays_anothers_events_by_no_more_than_a_parcel_each() {
    let bench = Bench::open(EventLog::default()).await;
    bench.append(&events("a", 100_000)).await;
    bench.append(&events("b", 1)).await;
    bench.step().await;
    bench.step().await;
    assert!(bench.log.has_seen("b-0"), "{} events went before it", bench.log.seen());
    assert!(bench.log.seen() <= 1_001, "{}", bench.log.seen());
}

#[tokio::test]
async fn whatever_step_fails_each_event_is_folded_and_none_twice() {
    for step in [Step::Take, Step::Done, Step::Removed] {
        let bench = Bench::open(EventLog::default()).await;
        bench.append(&events("a", 3)).await;
        bench.inbox.fail(step, 1);
        while bench.step().await != Outcome::Idle {}
        assert_eq!(bench.waiting().await, 0, "{step:?}");
        assert_eq!(bench.log.seen(), 3, "{step:?}");
    }
}

#[tokio::test]
async fn one_event_that_is_not_durable_keeps_its_parcel_in_the_inbox() {
    let bench = Bench::open(EventLog::default()).await;
    bench.append(&events("a", 3)).await;
    bench.log.failing.lock().unwrap().insert("a-1".into());
    bench._trigger.pull();
    assert_eq!(bench.step().await, Outcome::Failed);
    assert_eq!(bench.waiting().await, 3);
}

#[tokio::test]
async fn an_event_without_a_result_counts_as_not_durable() {
    let bench = Bench::open(EventLog { swallows_results: true, ..EventLog::default() }).await;
    bench.append(&events("a", 2)).await;
    bench._trigger.pull();
    assert_eq!(bench.step().await, Outcome::Failed);
    assert_eq!(bench.waiting().await, 2);
}

/// Hears everything, and fails when it is told to.
#[derive(Default)]
struct Ear {
    heard: Mutex<Vec<String>>,
    fails: AtomicUsize,
}

#[async_trait]
impl Listener for Ear {
    async fn hear(&self, told: &[(&ProviderEvent, Recorded)]) -> Result<(), String> {
        if self.fails.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err("the list cannot be written".into());
        }
        self.heard.lock().unwrap().extend(told.iter().filter_map(|(event, _)| event.event_id.clone()));
        Ok(())
    }
}

#[tokio::test]
async fn a_listener_that_could_not_act_hears_of_it_again() {
    let ear = Arc::new(Ear { fails: AtomicUsize::new(2), ..Ear::default() });
    let inbox = TestInbox::open().await;
    let bench = Bench::over(inbox, Arc::default(), vec![ear.clone()]);
    bench.append(&events("a", 2)).await;
    assert_eq!(bench.step().await, Outcome::Folded(2));
    assert_eq!(*ear.heard.lock().unwrap(), ["a-0", "a-1"]);
    assert_eq!((bench.waiting().await, bench.log.seen()), (0, 2));
}

/// A process that dies between any two steps leaves its parcels, and the next one folds them.
#[tokio::test]
async fn what_was_taken_and_not_done_is_folded_by_the_next_process() {
    let mut bench = Bench::open(EventLog::default()).await;
    bench.append(&events("a", 3)).await;
    bench.append(&events("b", 3)).await;
    let _taken = bench.inbox.take(1, Duration::ZERO).await.unwrap();
    bench = bench.restarted().await;
    // Folded, and the process died before it said done.
    bench.inbox.fail(Step::Done, usize::MAX);
    bench._trigger.pull();
    assert_eq!(bench.step().await, Outcome::Failed);
    bench = bench.restarted().await;
    while bench.step().await != Outcome::Idle {}
    assert_eq!((bench.waiting().await, bench.log.seen()), (0, 6));
    assert_eq!(bench.log.folded(), 6, "none was counted twice");
}

#[tokio::test]
async fn an_outage_of_the_log_loses_nothing_and_sets_nothing_aside() {
    let bench = Bench::open(EventLog::default()).await;
    bench.append(&events("a", 400)).await;
    bench.log.outage.store(40, SeqCst);
    assert_eq!(bench.step().await, Outcome::Folded(400));
    assert_eq!((bench.waiting().await, bench.log.seen(), bench.aside().await.len()), (0, 400, 0));
}

#[tokio::test]
async fn an_event_that_can_never_be_folded_is_set_aside_and_its_neighbours_are_folded() {
    for deadly in [false, true] {
        let bench = Bench::open(EventLog::default()).await;
        bench.append(&events("a", 20)).await;
        bench.append(&events("b", 20)).await;
        let bad = if deadly { &bench.log.deadly } else { &bench.log.corrupt };
        bad.lock().unwrap().insert("a-7".into());
        while bench.step().await != Outcome::Idle {}
        assert_eq!((bench.waiting().await, bench.log.seen()), (0, 39));
        let aside = bench.aside().await;
        assert_eq!((aside.len(), aside[0].0.as_str()), (1, "a-7"));
    }
}

#[tokio::test]
async fn an_event_that_fails_for_itself_alone_waits_by_itself() {
    let bench = Bench::open(EventLog::default()).await;
    bench.append(&events("a", 20)).await;
    bench.log.failing.lock().unwrap().insert("a-7".into());
    bench.step().await;
    assert_eq!((bench.waiting().await, bench.log.seen(), bench.aside().await.len()), (1, 19, 0));
    bench.log.failing.lock().unwrap().clear();
    bench.step().await;
    assert_eq!((bench.waiting().await, bench.log.seen()), (0, 20));
}

/// An overflow of the stack, all memory gone: nothing in the process can catch it.
#[tokio::test]
async fn an_event_that_ends_every_process_is_set_aside_after_some() {
    let mut bench = Bench::open(EventLog::default()).await;
    bench.log.fatal.lock().unwrap().insert("a-1".into());
    bench.append(&events("a", 3)).await;
    bench.append(&events("b", 1)).await;
    for _process in 0..20 {
        loop {
            let outcome = tokio::select! {
                outcome = bench.step() => outcome,
                () = bench.log.died.notified() => Outcome::Failed,
            };
            if outcome == Outcome::Failed {
                break;
            }
            if outcome == Outcome::Idle && bench.waiting().await == 0 {
                assert_eq!(bench.aside().await.first().map(|one| one.0.as_str()), Some("a-1"));
                assert_eq!(bench.log.seen(), 3);
                return;
            }
        }
        bench = bench.restarted().await;
    }
    panic!("it still ends every process");
}

#[tokio::test]
async fn metrics_count_what_was_new_under_bounded_names() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let bench = Bench::open(EventLog::default()).await;
    let mut odd = event("a", "e-2");
    (odd.kind, odd.at) = (EventKind::Other("reseller_notice_4711".into()), now());
    bench.append(&[event("a", "e-1"), event("a", "e-1"), odd]).await;
    bench.step().await;
    let text = metrics.render();
    for line in [
        r#"kakitome_events_total{provider="sendgrid",kind="delivered"} 1"#,
        r#"kakitome_events_total{provider="sendgrid",kind="other"} 1"#,
        r#"kakitome_unknown_total{resolution="event"} 1"#,
        "kakitome_webhook_lag_seconds_count 2",
        "kakitome_webhook_lag_seconds_sum 3",
        // What only its event settled was sent as well.
        "kakitome_accept_to_sent_seconds_count 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    assert!(!text.contains("4711"));
}

/// Whoever posts to a quiet house and then looks sees it: the door waits a moment for exactly this.
#[tokio::test]
async fn a_running_folder_is_told_at_once() {
    let bench = Bench::open(EventLog::default()).await;
    let Bench { inbox, log, folder, stopped, _trigger } = bench;
    let running = tokio::spawn(folder.run(stopped));
    for n in 0..20 {
        let appended = inbox.append(pack(&[event("a", &format!("a-{n}"))], now())).await.unwrap();
        // Far below the wait of a take: nobody sleeps until something may have come.
        let folded = tokio::time::timeout(Duration::from_secs(10), appended.folded.unwrap()).await;
        assert!(folded.is_ok(), "nobody told the folder");
        assert!(log.has_seen(&format!("a-{n}")));
    }
    running.abort();
}
