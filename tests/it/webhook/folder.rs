//! The folder: everything that is in the inbox is folded, whatever fails on the way.

use std::sync::Arc;
use std::time::Duration;

use kakitome::clock::Clock;
use kakitome::inbox::{Inbox, pack};
use kakitome::notification::NotificationId;
use kakitome::provider::health::HealthBoard;
use kakitome::provider::{EventKind, ProviderEvent};
use kakitome::shutdown::{self, Shutdown, ShutdownTrigger};
use kakitome::tracking::Tracker;
use kakitome::tracking::folder::{Config, Folder, Outcome};
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
        let (inbox, log) = (Arc::new(TestInbox::open().await), Arc::new(log));
        let clock = Clock::manual(now());
        let tracker = Arc::new(Tracker::new(log.clone(), HealthBoard::default(), clock, Vec::new()));
        let quick = Duration::from_millis(1);
        let config = Config { first_backoff: quick, longest_backoff: quick, ..Config::default() };
        let folder = Folder::new(inbox.clone(), tracker, config);
        let (trigger, stopped) = shutdown::channel();
        Self { inbox, log, folder, stopped, _trigger: trigger }
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
