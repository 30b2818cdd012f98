//! A queue that lost messages, and one that only seems to.

use super::*;
use kakitome::recovery::sweep::Swept;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_purged_by_mistake_is_filled_again_and_each_is_sent_once() {
    let bench = Bench::open_as(|place| place.roles = API_ONLY, &[], "").await;
    bench.accept("purged", 40).await;
    bench.direct.sqs.purge_queue().queue_url(bench.queue_url()).send().await.unwrap();
    bench.proxy.reset();
    let clock = Clock::manual(Clock::system().now());
    let sweeper = bench.sweeper(&clock, &bench.proxy.url).await;
    assert_eq!(sweeper.step().await.unwrap(), Swept::default(), "they may still have their messages");
    clock.advance(Duration::from_secs(61));
    assert_eq!(sweeper.step().await.unwrap(), Swept { enqueued: 40, ..Swept::default() });
    clock.advance(Duration::from_secs(601));
    assert_eq!(sweeper.step().await.unwrap().enqueued, 0, "once is enough");
    assert_eq!(bench.enqueued(), 40);
    let Bench { world, proxy, place, direct } = bench;
    let world = world.reopen_as(Roles::ALL, &PATIENT, "").await;
    let bench = Bench { world, proxy, place, direct };
    bench.all_sent_once(40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_purged_under_a_running_worker_is_filled_again_and_each_is_sent_once() {
    // To a sweeper whose clock is ahead an attempt under way is overdue, and so its outcome unknown: it is made again.
    let bench = Bench::open(&[("worker.witness_cap", "3s")], "outage:for=1h:mode=refuse").await;
    bench.accept("purged", 60).await;
    bench.sees("ChangeMessageVisibilityBatch", 3).await;
    bench.direct.sqs.purge_queue().queue_url(bench.queue_url()).send().await.unwrap();
    bench.world.play("");
    bench.sweep_until_sent(60).await;
    bench.all_sent_once(60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_that_lost_nothing_gets_no_second_copies_however_often_the_sweeper_looks() {
    let bench = Bench::open(&[("worker.max_attempts", "100")], "outage:for=1h:mode=refuse").await;
    bench.accept("backlog", 200).await;
    assert_eq!(bench.enqueued(), 200);
    let clock = Clock::manual(Clock::system().now().plus(Duration::from_secs(61)));
    let sweeper = bench.sweeper(&clock, &bench.proxy.url).await;
    for _look in 0..5 {
        assert_eq!(sweeper.step().await.unwrap().enqueued, 0);
        clock.advance(Duration::from_secs(601));
    }
    assert_eq!(bench.enqueued(), 200);
    bench.world.play("");
    bench.all_sent_once(200).await;
}
