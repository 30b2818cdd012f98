//! Services that are ill but there: throttled, failing in part, losing answers.

use super::*;
use crate::proxy::Action;

const BATCHES: [&str; 4] =
    ["BatchExecuteStatement", "SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_of_the_writes_throttled_delays_and_loses_nothing() {
    let bench = Bench::open(&[], "").await;
    let whole = Action::Fail(400, "ProvisionedThroughputExceededException");
    let each = Action::one_in(3, whole, Action::withhold("ThrottlingError"));
    bench.proxy.always("BatchExecuteStatement", each);
    bench.accept("throttled", 60).await;
    bench.all_sent_once(60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_fail_in_every_batched_call_are_tried_again_and_their_neighbours_go_on() {
    let bench = Bench::open(&[], "").await;
    bench.proxy.always("BatchExecuteStatement", Action::withhold("InternalServerError"));
    for operation in &BATCHES[1..] {
        bench.proxy.always(operation, Action::withhold("InternalError"));
    }
    for operation in ["BatchWriteItem", "BatchGetItem"] {
        bench.proxy.always(operation, Action::withhold("unprocessed"));
    }
    bench.accept("partial", 60).await;
    // What the queue did not take in three tries is the sweeper's.
    bench.sweep_until_sent(60).await;
    bench.all_sent_once(60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_lost_after_a_committed_write_neither_lose_nor_double_a_mail() {
    let bench = Bench::open(&[], "").await;
    for operation in BATCHES.into_iter().chain(["BatchWriteItem", "ReceiveMessage"]) {
        bench.proxy.always(operation, Action::one_in(3, Action::LoseAnswer, Action::Pass));
    }
    bench.accept("lost", 60).await;
    bench.sweep_until_sent(60).await;
    bench.all_sent_once(60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_that_count_no_more_bring_a_message_again_and_no_second_mail() {
    let bench = Bench::open(&[], "outage:for=1h:mode=refuse").await;
    let stale = |code| Action::Withhold(Arc::new(|| true), code);
    bench.proxy.next(3, "DeleteMessageBatch", stale("ReceiptHandleIsInvalid"));
    bench.proxy.next(5, "ChangeMessageVisibilityBatch", stale("MessageNotInflight"));
    bench.accept("stale", 40).await;
    bench.sees("ChangeMessageVisibilityBatch", 5).await;
    bench.world.play("");
    bench.all_sent_once(40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_either_service_cost_time_and_nothing_else() {
    for operations in [&DYNAMODB[..], &SQS[..]] {
        let bench = Bench::open(&[], "outage:for=1h:mode=refuse").await;
        bench.accept("before", 30).await;
        let code = if operations == DYNAMODB { "InternalServerError" } else { "InternalFailure" };
        for operation in operations {
            bench.proxy.always(operation, Action::Fail(500, code));
        }
        let (status, answer) = bench.world.post("/v1/notifications", &booking("meanwhile")).await;
        // Without the log nothing is accepted; without the queue everything is.
        assert_eq!(status, if operations == DYNAMODB { 503 } else { 202 }, "{answer}");
        bench.sees(if operations == DYNAMODB { "Query" } else { "ReceiveMessage" }, 3).await;
        bench.world.play("");
        bench.proxy.pass_all();
        bench.accept("meanwhile-and-again", 1).await;
        if operations == DYNAMODB {
            bench.all_sent_once(31).await;
            continue;
        }
        // What the queue did not take has no message. The sweeper brings it a minute later: here at once.
        bench.wait_until_sent(31).await;
        bench.sweep_until_sent(32).await;
        bench.all_sent_once(32).await;
    }
}
