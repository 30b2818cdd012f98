//! One action that is not allowed, and allowed again.

use super::*;
use crate::proxy::Action;

impl Bench {
    async fn is_ready(&self) -> bool {
        self.world.get("/readyz").await["status"] == "ok"
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_write_is_told_once_although_reads_answer_and_ends_when_it_is_allowed() {
    let bench = Bench::open_as(
        |place| place.is_process = true,
        &[("worker.witness_cap", "3s")],
        "outage:for=1h:mode=refuse",
    )
    .await;
    bench.accept("denied", 20).await;
    bench.proxy.reset();
    bench.proxy.always("BatchExecuteStatement", Action::Fail(400, "AccessDeniedException"));
    bench.world.play("");
    let (status, _) = bench.world.post("/v1/notifications", &booking("refused")).await;
    assert_eq!(status, 503);
    // Reads go on, the sweeper's looks above all.
    bench.sees("Query", 120).await;
    bench.sees("BatchExecuteStatement", 8).await;
    bench.proxy.pass_all();
    bench.wait_until_sent(20).await;
    let log = bench.all_sent_once(20).await;
    assert_eq!(said(&log, "DynamoDB fails"), 1, "{log}");
    assert_eq!(
        said(&log, "AccessDeniedException: as told"),
        2,
        "the service's line and the refused request's: {log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_read_makes_the_house_unready_until_it_is_allowed() {
    let bench = Bench::open(&[], "").await;
    assert!(bench.is_ready().await);
    bench.proxy.always("BatchGetItem", Action::Fail(400, "AccessDeniedException"));
    assert!(!bench.is_ready().await);
    bench.proxy.pass_all();
    assert!(bench.is_ready().await);
    bench.accept("ready", 5).await;
    bench.all_sent_once(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_receive_is_told_once_and_what_waits_is_sent_when_it_is_allowed() {
    // Without the webhook, so that every receive is the worker's.
    let sends = |place: &mut Place| {
        (place.is_process, place.roles.webhook) = (true, false);
    };
    let bench = Bench::open_as(sends, &[], "").await;
    bench.proxy.always("ReceiveMessage", Action::Fail(403, "AccessDenied"));
    bench.sees("ReceiveMessage", 1).await;
    bench.accept("waiting", 20).await;
    bench.proxy.reset();
    bench.proxy.always("ReceiveMessage", Action::Fail(403, "AccessDenied"));
    bench.sees("ReceiveMessage", 3).await;
    assert!(bench.is_ready().await, "what is handed in is still recorded");
    assert_eq!(bench.world.sandbox().stats().accepted, 0);
    bench.proxy.pass_all();
    let log = bench.all_sent_once(20).await;
    assert_eq!((said(&log, "SQS fails"), said(&log, "AccessDenied: as told")), (1, 1), "{log}");
}
