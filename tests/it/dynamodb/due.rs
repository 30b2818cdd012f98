//! What the sweeper is given.

use std::time::Duration;

use kakitome::message_log::MessageLog;
use kakitome::notification::status::{Answer, By, Fact, Life};

use super::*;
use crate::proxy::Action;

impl Bench {
    async fn due(&self, now: Timestamp) -> usize {
        self.log.due(now, 100).await.unwrap().len()
    }

    async fn tell(&self, new: &NewNotification, fact: Fact, now: Timestamp) {
        self.log.apply(&[(new.id, fact)], now).await.remove(0).unwrap();
    }

    fn writes(&self) -> usize {
        self.proxy.seen().iter().map(|seen| seen.statements().len()).sum()
    }
}

fn enqueued(now: Timestamp) -> Fact {
    Fact::Enqueued { wake_at: now.plus(secs(600)) }
}

#[tokio::test]
async fn what_has_no_queue_message_is_found_again_every_ten_minutes_without_a_write() {
    let (bench, now) = (bench().await, start().plus(Life::FIRST_LOOK));
    bench.accept(&several(5)).await;
    bench.proxy.reset();
    let due = bench.log.due(now, 3).await.unwrap();
    assert_eq!(due.len(), 3);
    // Not told that these were seen to: they come again, and the others with them.
    let due = bench.log.due(now, 100).await.unwrap();
    assert_eq!(due.len(), 5);
    for due in due {
        bench.log.apply(&[(due.id, enqueued(now))], now).await.remove(0).unwrap();
    }
    for later in [6, 300, 590] {
        assert_eq!(bench.due(now.plus(secs(later))).await, 0);
    }
    assert_eq!(bench.due(now.plus(secs(600))).await, 5);
    assert_eq!(bench.writes(), 0);
    let restarted = DynamoLog::open(&bench.aws, &bench.config);
    assert_eq!(restarted.due(now.plus(secs(10)), 100).await.unwrap().len(), 5);
}

#[tokio::test]
async fn the_walk_goes_on_where_it_stood() {
    let (bench, now) = (bench().await, start().plus(Life::FIRST_LOOK));
    let early = plain();
    bench.accept(std::slice::from_ref(&early)).await;
    assert_eq!(bench.due(now).await, 1);
    bench.tell(&early, enqueued(now), now).await;
    let late = new(notification(|_| ()), start().plus(secs(20)));
    bench.accept(std::slice::from_ref(&late)).await;
    assert_eq!(bench.due(now.plus(secs(10))).await, 0);
    let due = bench.log.due(now.plus(secs(20)), 100).await.unwrap();
    assert_eq!(due.iter().map(|due| due.id).collect::<Vec<_>>(), [late.id]);
}

#[tokio::test]
async fn what_the_walk_found_and_could_not_read_is_not_passed_over() {
    let (bench, now) = (bench().await, start().plus(Life::FIRST_LOOK));
    bench.accept(&several(3)).await;
    bench.proxy.always("BatchGetItem", Action::Fail(500, "InternalServerError"));
    assert!(bench.log.due(now, 100).await.is_err());
    bench.proxy.reset();
    assert_eq!(bench.due(now).await, 3);
}

#[tokio::test]
async fn a_scheduled_one_is_due_when_its_time_comes_and_no_earlier() {
    let (bench, now) = (bench().await, start());
    let at = now.plus(secs(7200));
    let new = new(notification(|n| n.deliver_at = Some(at)), now);
    bench.accept(std::slice::from_ref(&new)).await;
    assert_eq!(bench.due(at.minus(secs(1))).await, 0);
    assert_eq!(bench.due(at).await, 1);
    bench.tell(&new, enqueued(at), at).await;
    assert_eq!(bench.due(at.plus(secs(599))).await, 0);
    assert_eq!(bench.due(at.plus(secs(600))).await, 1);
}

#[tokio::test]
async fn a_retry_is_due_at_its_time_and_its_claim_leaves_a_trace_that_is_mended_once() {
    let (bench, now) = (bench().await, start());
    let new = plain();
    bench.accept(std::slice::from_ref(&new)).await;
    let claim = fresh(&new, now);
    let Fact::Claimed { token, .. } = claim.fact.clone() else { panic!() };
    bench.win(claim, now).await;
    let retry_at = now.plus(Duration::from_secs(3600));
    let fact = Fact::NotAccepted { token, answer: Answer::default(), due_at: retry_at, counts: true };
    bench.tell(&new, fact, now).await;
    assert_eq!(bench.due(retry_at.minus(secs(1))).await, 0);
    assert_eq!(bench.due(retry_at).await, 1);
    // Claimed, and its worker dies: the index still says the time of the retry.
    bench.win(bare(&new, retry_at), retry_at).await;
    bench.proxy.reset();
    assert_eq!(bench.due(retry_at.plus(secs(1))).await, 0);
    assert_eq!(bench.writes(), 1);
    assert_eq!(bench.due(retry_at.plus(secs(2))).await, 0);
    assert_eq!(bench.writes(), 1);
    assert_eq!(bench.due(retry_at.plus(secs(690))).await, 1);
    let restarted = DynamoLog::open(&bench.aws, &bench.config);
    // The mending disturbed no version: the claim's outcome still counts.
    let accepted = restarted.apply(&[(new.id, accepted())], retry_at).await.remove(0);
    assert!(accepted.is_ok(), "{accepted:?}");
    assert_eq!(bench.due(retry_at.plus(secs(691))).await, 0);
}

#[tokio::test]
async fn whatever_is_at_its_end_is_never_due() {
    let (bench, now) = (bench().await, start());
    let ends = several(3);
    bench.accept(&ends).await;
    bench.tell(&ends[0], accepted(), now).await;
    bench.tell(&ends[1], Fact::Cancelled { by: By::new("tester", Some("closed")) }, now).await;
    bench.tell(&ends[2], Fact::Parked { reason: "no".into(), hold: false }, now).await;
    for later in [60, 700, 100_000] {
        assert_eq!(bench.due(now.plus(secs(later))).await, 0);
    }
}
