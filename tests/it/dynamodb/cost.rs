//! What a notification costs in write units, as the service itself counts them.

use super::*;

/// A notification whose stored form has about 2 KB, as a booking's confirmation has.
fn two_kilobytes() -> NewNotification {
    let words: Vec<String> = (0..110_u64).map(|i| format!("語{:x}", i.wrapping_mul(0x9E37_79B9))).collect();
    let new = new(notification(|n| n.text = Some(words.join(" "))), start());
    assert!((1700..2300).contains(&new.content.len()), "{}", new.content.len());
    new
}

/// Ministack charges for the table alone.
fn counts_indexes(upstream: &str) -> bool {
    upstream == Emulator::dynoxide().url
}

async fn units(bench: &Bench) -> f64 {
    let seen = bench.proxy.seen();
    bench.proxy.reset();
    // The tally and the witness are one write for many notifications.
    let others = ["BatchGetItem", "GetItem", "Query", "UpdateItem"];
    let written = seen.iter().filter(|seen| !others.contains(&&*seen.operation));
    for one in written.clone() {
        assert!(one.body["ReturnConsumedCapacity"].is_string(), "{}", one.operation);
    }
    written.map(crate::proxy::Seen::units).sum()
}

#[tokio::test]
async fn two_kilobytes_up_to_sent_cost_seven_write_units_at_most() {
    for upstream in [&Emulator::ministack().url, &Emulator::dynoxide().url] {
        let (bench, now) = (bench_on(upstream).await, start());
        // Registers the hour, once for all that is accepted in it.
        bench.accept(&[plain()]).await;
        bench.proxy.reset();
        let new = two_kilobytes();
        bench.accept(std::slice::from_ref(&new)).await;
        let accept = units(&bench).await;
        bench.win(fresh(&new, now), now).await;
        let claim = units(&bench).await;
        bench.log.apply(&[(new.id, accepted())], now).await.remove(0).unwrap();
        let outcome = units(&bench).await;
        let total = accept + claim + outcome;
        assert!(claim >= 1.0 && total <= 7.0, "{accept} + {claim} + {outcome} = {total}");
        if counts_indexes(upstream) {
            assert_eq!((accept, claim, outcome), (3.0, 1.0, 2.0));
        }
    }
}

#[tokio::test]
async fn a_direct_message_up_to_sent_costs_five_write_units_at_most() {
    for upstream in [&Emulator::ministack().url, &Emulator::dynoxide().url] {
        let (bench, now) = (bench_on(upstream).await, start());
        bench.accept(&[plain()]).await;
        bench.proxy.reset();
        let new = two_kilobytes();
        bench.win(direct(&new, now), now).await;
        let claim = units(&bench).await;
        bench.log.apply(&[(new.id, accepted())], now).await.remove(0).unwrap();
        let outcome = units(&bench).await;
        assert!(claim >= 1.0 && claim + outcome <= 5.0, "{claim} + {outcome}");
        if counts_indexes(upstream) {
            assert_eq!((claim, outcome), (3.0, 2.0));
        }
    }
}

#[tokio::test]
async fn a_feed_costs_a_unit_for_each_change_that_it_tells_and_nothing_for_other_tenants() {
    use crate::conformance::told::FeedHouse;
    use kakitome::clock::Clock;
    use kakitome::feed::dynamodb::Named;
    let upstream = &Emulator::dynoxide().url;
    // Without a feed, with one for somebody else, with one of its own: accepted, claimed, sent, delivered.
    let others = Some(Named::These(vec!["hotel".into()]));
    for (named, expected) in [
        (None, [3.0, 1.0, 2.0, 1.0]),
        (others, [3.0, 1.0, 2.0, 1.0]),
        (Some(Named::All), [3.0, 1.0, 3.0, 2.0]),
    ] {
        let (bench, now) = (bench_on(upstream).await, start());
        let told = named.map(|named| FeedHouse::open(&bench.aws, &bench.config, &Clock::manual(now), named));
        let log: &dyn MessageLog = told.as_ref().map_or(&bench.log, |told| &*told.log);
        // Registers the hour, and lets it be known who has a feed.
        bench.accept(&[plain()]).await;
        let warm = plain();
        log.accept(std::slice::from_ref(&warm)).await.remove(0).unwrap();
        log.claim(&[fresh(&warm, now)], now).await.remove(0).unwrap();
        bench.proxy.reset();
        let new = two_kilobytes();
        log.accept(std::slice::from_ref(&new)).await.remove(0).unwrap();
        let mut costs = vec![units(&bench).await];
        log.claim(&[fresh(&new, now)], now).await.remove(0).unwrap();
        costs.push(units(&bench).await);
        log.apply(&[(new.id, accepted())], now).await.remove(0).unwrap();
        let reads = bench.proxy.operations().iter().filter(|one| *one == "BatchGetItem").count();
        assert_eq!(reads, 0, "an outcome is told without a read");
        costs.push(units(&bench).await);
        log.record_events(&[super::told::delivered(new.id, "guest@example.com")], now)
            .await
            .remove(0)
            .unwrap();
        costs.push(units(&bench).await);
        assert_eq!(costs, expected);
    }
}
