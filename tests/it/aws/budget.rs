//! What a notification costs on the wire, counted through the whole house.

use super::*;
use crate::proxy::{Action, Seen};

/// Everything waits on the queue before the worker begins, so that how full its batches are does not hang on how
/// fast this machine is; and the sandbox posts no events, which cost a unit each beyond `sent`.
const NO_EVENTS: &str = "webhook-drop=100%";
/// Beside them, a unit in all registers the hour.
const COUNT: u64 = 100;

/// About 2 KB as stored, as a booking's confirmation has.
fn two_kilobytes(key: &str) -> Value {
    let words: Vec<String> = (0..95_u64).map(|i| format!("語{:x}", i.wrapping_mul(0x9E37_79B9))).collect();
    let mut booking = booking(key);
    booking["text"] = words.join(" ").into();
    booking
}

/// Requests to SQS, apart from receives that brought nothing and questions about a queue's depth.
fn sqs_requests(seen: &[Seen]) -> usize {
    let counts = |seen: &&Seen| match seen.operation.as_str() {
        "ReceiveMessage" => seen.answer["Messages"].as_array().is_some_and(|found| !found.is_empty()),
        "GetQueueAttributes" => false,
        operation => SQS.contains(&operation),
    };
    seen.iter().filter(counts).count()
}

/// How many messages the house sent. After a start the sweeper sends a copy for each that nobody has taken up yet,
/// in case the crash came before its message; a copy goes the same way, and costs as much.
fn messages(seen: &[Seen]) -> u64 {
    let sends = seen.iter().filter(|seen| seen.operation == "SendMessageBatch");
    sends.filter_map(|seen| seen.body["Entries"].as_array()).map(|entries| entries.len() as u64).sum()
}

/// An empty house without a worker, whose table is on dynoxide: ministack does not count what an index costs.
async fn unmanned() -> (Bench, Proxy) {
    let log = Proxy::before(&Emulator::dynoxide().url).await;
    let url = log.url.clone();
    let change = |place: &mut Place| (place.roles, place.dynamodb_url) = (API_ONLY, url);
    let bench = Bench::open_as(change, &[], NO_EVENTS).await;
    log.reset();
    bench.proxy.reset();
    for operation in ["BatchExecuteStatement", "BatchWriteItem"] {
        let ask = |body: &mut Value| body["ReturnConsumedCapacity"] = "INDEXES".into();
        log.always(operation, Action::Amend(Arc::new(ask)));
    }
    (bench, log)
}

/// Lets everything be sent that waits; SQS requests and write units for each.
async fn send(bench: Bench, log: &Proxy) -> (f64, f64, String) {
    let own = [("worker.concurrency_min", "64"), ("queue.visibility", "60s")];
    let settings: Vec<_> = PATIENT.into_iter().chain(own).collect();
    let world = bench.world.reopen_as(Roles::ALL, &settings, NO_EVENTS).await;
    world.wait_for_count("sent", COUNT).await;
    world.leave().await;
    let seen: Vec<Seen> = bench.proxy.seen().into_iter().chain(log.seen()).collect();
    let requests = sqs_requests(&seen) as f64 / messages(&seen).max(COUNT) as f64;
    let writes =
        seen.iter().filter(|seen| ["BatchExecuteStatement", "BatchWriteItem"].contains(&&*seen.operation));
    let units = writes.map(Seen::units).sum::<f64>() / COUNT as f64;
    let mut by_operation = std::collections::BTreeMap::new();
    for one in &seen {
        *by_operation.entry(&one.operation).or_insert(0) += 1;
    }
    let told =
        format!("{requests} SQS requests a message and {units} write units a notification: {by_operation:?}");
    (requests, units, told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "how full requests are hangs on the pace: `make test` runs it alone"]
async fn a_notification_of_2_kb_costs_no_more_than_its_budget_up_to_sent() {
    let (bench, log) = unmanned().await;
    let bookings: Vec<Value> = (0..COUNT).map(|i| two_kilobytes(&format!("b{i}"))).collect();
    let (status, answer) = bench.world.post("/v1/notifications/batch", &json!(bookings)).await;
    assert_eq!(status, 207, "{answer}");
    let (requests, units, told) = send(bench, &log).await;
    assert!(requests > 0.2 && requests <= 0.31, "{told}");
    assert!(units > 5.0 && units <= 7.05, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "how full requests are hangs on the pace: `make test` runs it alone"]
async fn a_notification_put_straight_on_the_queue_costs_five_write_units_at_most() {
    let (bench, log) = unmanned().await;
    for i in 0..COUNT {
        let body = two_kilobytes(&format!("d{i}")).to_string();
        let call = bench.direct.sqs.send_message().queue_url(bench.queue_url()).message_body(body);
        call.send().await.unwrap();
    }
    let (requests, units, told) = send(bench, &log).await;
    // Without its producer's own sends.
    assert!(requests > 0.1 && requests <= 0.21, "{told}");
    assert!(units > 3.0 && units <= 5.05, "{told}");
}
