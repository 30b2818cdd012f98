//! Services that are silent or gone: nothing is lost, and the log says so once.

use std::collections::BTreeSet;

use super::*;
use crate::proxy::{ANY, Action};

/// A process' sandbox posts no events: an unknown is resent when its time is over. Nothing is sent while the log is away.
const NO_EVENTS: [(&str, &str); 1] = [("worker.witness_cap", "3s")];

/// Time-outs short enough that a test outlives many.
fn short(place: &mut Place) {
    place.calls = Config {
        attempt_timeout: Duration::from_millis(300),
        operation_timeout: Duration::from_secs(1),
        ..Config::default()
    };
}

fn process(place: &mut Place) {
    place.is_process = true;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silence_many_times_the_time_outs_costs_time_and_nothing_else() {
    let bench = Bench::open_as(short, &[], "outage:for=1h:mode=refuse").await;
    bench.accept("silent", 40).await;
    bench.proxy.reset();
    bench.proxy.always(ANY, Action::Stall);
    let (status, _) = bench.world.post("/v1/notifications", &booking("unheard")).await;
    assert_eq!(status, 503);
    bench.world.play("");
    // The sweeper's second look, each of a whole call's tries; and the worker's second poll.
    bench.sees("Query", 64).await;
    bench.sees("ReceiveMessage", 2).await;
    bench.proxy.pass_all();
    bench.all_sent_once(40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silence_is_one_line_in_the_log_for_each_service_and_one_when_it_is_over() {
    let bench = Bench::open_as(process, &NO_EVENTS, "outage:for=1h:mode=refuse").await;
    bench.accept("silent", 20).await;
    bench.proxy.reset();
    bench.proxy.always(ANY, Action::Stall);
    bench.sees("Query", 100).await;
    bench.sees("ReceiveMessage", 2).await;
    bench.proxy.pass_all();
    bench.world.play("");
    bench.wait_until_sent(20).await;
    let log = until_well(bench, 20).await;
    told_once(&log, &["SQS", "DynamoDB"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_vanishes_is_one_line_in_the_log_and_is_recorded_anew_from_the_queue() {
    let bench = Bench::open_as(process, &NO_EVENTS, "outage:for=1h:mode=refuse").await;
    bench.accept("homeless", 20).await;
    let table = bench.setting("dynamodb.table");
    bench
        .direct
        .dynamodb
        .update_table()
        .table_name(&table)
        .deletion_protection_enabled(false)
        .send()
        .await
        .unwrap();
    bench.direct.dynamodb.delete_table().table_name(&table).send().await.unwrap();
    // What was claimed before is refused meanwhile, so that nothing is on its way when the provider is well again.
    for faults in ["outage:for=1h:mode=refuse", ""] {
        bench.world.play(faults);
        bench.proxy.reset();
        bench.sees("BatchGetItem", 8).await;
    }
    assert_eq!(bench.world.sandbox().stats().accepted, 0);
    let config = dynamodb::Config { table, ..dynamodb::Config::default() };
    dynamodb::setup(&bench.direct, &config).await.unwrap();
    bench.wait_until_sent(20).await;
    let found = bench.world.get("/v1/notifications?limit=100").await;
    assert_eq!(found["items"].as_array().unwrap().len(), 20, "they are listed again");
    let log = until_well(bench, 20).await;
    told_once(&log, &["DynamoDB"]);
    let told: Vec<&str> = log.lines().filter(|line| line.contains("`kakitome setup` creates it")).collect();
    let rooms: BTreeSet<&str> = told.iter().filter_map(|line| line.split("\"target\":").nth(1)).collect();
    assert!(!told.is_empty(), "the remedy is told: {log}");
    assert_eq!(rooms.len(), told.len(), "each room says once what it cannot do: {log}");
    assert_eq!(said(&log, "SQS fails"), 0, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_vanishes_is_one_line_in_the_log_and_is_filled_again_from_the_table() {
    let bench = Bench::open_as(process, &NO_EVENTS, "outage:for=1h:mode=refuse").await;
    bench.accept("stranded", 10).await;
    bench.direct.sqs.delete_queue().queue_url(bench.queue_url()).send().await.unwrap();
    // Accepted all the same: the log is the obligation.
    bench.accept("without", 10).await;
    bench.proxy.reset();
    bench.sees("ReceiveMessage", 3).await;
    let queues = sqs::setup::Queues {
        queue_url: bench.queue_url(),
        dead_letter_url: bench.dead_letter_url(),
        events_url: None,
        visibility_timeout: Duration::from_secs(2),
        max_receive_count: 100,
    };
    sqs::setup::setup(&bench.direct, &queues).await.unwrap();
    bench.world.play("");
    bench.sweep_until_sent(20).await;
    let log = until_well(bench, 20).await;
    told_once(&log, &["SQS"]);
    assert_eq!(said(&log, "DynamoDB fails"), 0, "{log}");
}

/// The log, once the services have answered long enough to be called well again.
async fn until_well(bench: Bench, count: u64) -> String {
    // Time itself: a service is well when nothing has failed for ten seconds.
    tokio::time::sleep(Duration::from_secs(12)).await;
    bench.all_sent_once(count).await
}

/// One line when it begins, one when it is over, and no flood beside them.
fn told_once(log: &str, services: &[&str]) {
    for service in services {
        assert_eq!(said(log, &format!("{service} fails")), 1, "{log}");
        assert_eq!(said(log, &format!("{service} answers again")), 1, "{log}");
    }
    let floods = ["could not receive", "could not claim", "could not settle"];
    let floods: usize = floods.iter().map(|words| said(log, words)).sum();
    assert_eq!(floods, 0, "{log}");
}
