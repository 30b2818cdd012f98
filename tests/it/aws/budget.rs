//! What a notification costs on the wire, counted through the whole house.

use super::*;
use crate::proxy::{Action, Seen};

/// Everything waits on the queue before the worker begins, so that how full its batches are does not hang on how
/// fast this machine is; and the sandbox posts no events, which cost a unit each beyond `sent`.
const QUIET: &str = "webhook-drop=100%";
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

fn ask_for_units(proxy: &Proxy) {
    for operation in ["BatchExecuteStatement", "BatchWriteItem"] {
        let ask = |body: &mut Value| body["ReturnConsumedCapacity"] = "INDEXES".into();
        proxy.always(operation, Action::Amend(Arc::new(ask)));
    }
}

fn report(what: &str, seen: &[Seen]) -> (f64, f64) {
    let count = COUNT as f64;
    let requests = sqs_requests(seen) as f64 / count;
    let writes =
        seen.iter().filter(|seen| seen.operation.starts_with("BatchE") || seen.operation == "BatchWriteItem");
    let units = writes.map(Seen::units).sum::<f64>() / count;
    let mut by_operation = std::collections::BTreeMap::new();
    for one in seen {
        let is_empty = one.operation == "ReceiveMessage" && one.answer["Messages"].is_null();
        let name = if is_empty { "ReceiveMessage (empty)" } else { &one.operation };
        *by_operation.entry(name.to_owned()).or_insert(0) += 1;
    }
    println!("{what}: {requests} SQS requests and {units} write units per notification; {by_operation:?}");
    (requests, units)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_of_2_kb_costs_no_more_than_its_budget_up_to_sent() {
    let bench = Bench::open_as(|place| place.roles = API_ONLY, &[], QUIET).await;
    bench.proxy.reset();
    ask_for_units(&bench.proxy);
    let bookings: Vec<Value> = (0..COUNT).map(|i| two_kilobytes(&format!("b{i}"))).collect();
    let (status, answer) = bench.world.post("/v1/notifications/batch", &json!(bookings)).await;
    assert_eq!(status, 207, "{answer}");
    let settings: Vec<_> = PATIENT.into_iter().chain([("worker.concurrency_min", "64")]).collect();
    let world = bench.world.reopen_as(Roles::ALL, &settings, QUIET).await;
    let bench = Bench { world, ..bench };
    bench.world.wait_for_count("sent", COUNT).await;
    let Bench { world, proxy, .. } = bench;
    world.leave().await;
    let (requests, units) = report("through the API", &proxy.seen());
    assert!(units > 4.0 && units <= 7.0, "{units} write units");
    assert!(requests <= 0.31, "{requests} SQS requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_put_straight_on_the_queue_costs_five_write_units_at_most() {
    let bench = Bench::open_as(|place| place.roles = API_ONLY, &[], QUIET).await;
    for i in 0..COUNT {
        let body = two_kilobytes(&format!("d{i}")).to_string();
        let call = bench.direct.sqs.send_message().queue_url(bench.queue_url()).message_body(body);
        call.send().await.unwrap();
    }
    bench.proxy.reset();
    ask_for_units(&bench.proxy);
    let settings: Vec<_> = PATIENT.into_iter().chain([("worker.concurrency_min", "64")]).collect();
    let world = bench.world.reopen_as(Roles::ALL, &settings, QUIET).await;
    world.wait_for_count("sent", COUNT).await;
    world.leave().await;
    let (requests, units) = report("straight on the queue", &bench.proxy.seen());
    assert!(units > 3.0 && units <= 5.0, "{units} write units");
    // Without its producer's own sends.
    assert!(requests <= 0.21, "{requests} SQS requests");
}
