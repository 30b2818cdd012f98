//! What claims read and write.

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use kakitome::message_log::{Applied, Claim, MessageLog};
use kakitome::notification::status::{Answer, By, Fact, Refusal, State, Status, Token};
use serde_json::Value;

use super::*;

#[tokio::test]
async fn a_claim_of_a_fresh_message_writes_once_and_reads_nothing() {
    let (bench, now) = (bench().await, start());
    let new = plain();
    bench.accept(std::slice::from_ref(&new)).await;
    bench.proxy.reset();
    let won = bench.win(fresh(&new, now), now).await;
    assert_eq!((won.content, won.life.attempt, won.created), (new.content.clone(), 1, false));
    bench.log.apply(&[(new.id, accepted())], now).await.remove(0).unwrap();
    assert_eq!(bench.proxy.operations(), ["BatchExecuteStatement"; 2]);
    let statements: usize = bench.proxy.seen().iter().map(|seen| seen.statements().len()).sum();
    assert_eq!(statements, 2);
}

#[tokio::test]
async fn ten_claims_share_one_request_and_thirty_share_two() {
    let (bench, now) = (bench().await, start());
    for (count, requests) in [(10, 1), (30, 2)] {
        let new = several(count);
        bench.accept(&new).await;
        bench.proxy.reset();
        let claims: Vec<_> = new.iter().map(|new| fresh(new, now)).collect();
        for claim in bench.log.claim(&claims, now).await {
            assert!(matches!(claim.unwrap(), Claim::Won(_)));
        }
        assert_eq!(bench.proxy.operations().len(), requests);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sixteen_claims_at_once_exactly_one_wins() {
    let (bench, now) = (Arc::new(bench().await), start());
    for _round in 0..10 {
        let new = plain();
        bench.accept(std::slice::from_ref(&new)).await;
        let rivals = (0..16).map(|i| {
            let (bench, request) =
                (bench.clone(), if i % 2 == 0 { fresh(&new, now) } else { bare(&new, now) });
            tokio::spawn(async move { matches!(bench.claim(request, now).await, Claim::Won(_)) })
        });
        let won =
            futures::future::join_all(rivals).await.into_iter().filter(|won| *won.as_ref().unwrap()).count();
        assert_eq!(won, 1);
    }
}

#[tokio::test]
async fn twins_in_one_call_are_told_one_after_the_other() {
    let (bench, now) = (bench().await, start());
    let (recorded, unrecorded) = (plain(), plain());
    bench.accept(std::slice::from_ref(&recorded)).await;
    let claims =
        [fresh(&recorded, now), direct(&unrecorded, now), fresh(&recorded, now), direct(&unrecorded, now)];
    let claimed = bench.log.claim(&claims, now).await;
    let won: Vec<_> =
        claimed.iter().map(|claimed| matches!(claimed.as_ref().unwrap(), Claim::Won(_))).collect();
    assert_eq!(won, [true, true, false, false]);
    // No request named an item twice: DynamoDB refuses such a request as a whole.
    for seen in bench.proxy.seen() {
        let mut keys: Vec<_> = seen.body["Statements"].as_array().into_iter().flatten().map(key_of).collect();
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count, "{:?}", seen.body);
    }
}

fn key_of(statement: &Value) -> String {
    let parameters = statement["Parameters"].as_array().unwrap();
    let is_update = statement["Statement"].as_str().unwrap().starts_with("UPDATE");
    let first = if is_update { parameters.len() - 3 } else { 0 };
    format!("{}{}", parameters[first], parameters[first + 1])
}

#[tokio::test]
async fn a_direct_message_is_created_with_its_claim() {
    let (bench, now) = (bench().await, start());
    let new = plain();
    let won = bench.win(direct(&new, now), now).await;
    assert!(won.created);
    assert_eq!(won.content, new.content);
    // Redelivered while that attempt runs.
    let again = bench.claim(direct(&new, now), now).await;
    let Claim::Refused { refusal: Refusal::Leased { .. }, created: false, .. } = again else {
        panic!("{again:?}")
    };
    let mut other = new.clone();
    other.content_hash = [7; 32];
    assert!(matches!(bench.claim(direct(&other, now), now).await, Claim::Conflict));
}

#[tokio::test]
async fn a_direct_message_that_may_not_be_sent_is_recorded_with_its_content() {
    let (bench, now) = (bench().await, start());
    let later = now.plus(secs(3600));
    let new = new(notification(|n| n.deliver_at = Some(later)), now);
    let refused = bench.claim(direct(&new, now), now).await;
    let Claim::Refused { refusal: Refusal::NotDue { due_at }, created: true, life } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((due_at, life.state), (later, State::Scheduled));
    let again = bench.claim(direct(&new, now), now).await;
    assert!(matches!(again, Claim::Refused { created: false, .. }));
    // The queue message is gone by then.
    assert_eq!(bench.win(bare(&new, later), later).await.content, new.content);
}

#[tokio::test]
async fn the_content_of_a_direct_message_is_kept_when_its_attempt_fails() {
    let (bench, now) = (bench().await, start());
    let ends: [fn(Token) -> Fact; 3] = [
        |token| Fact::NotAccepted { token, answer: Answer::default(), due_at: start(), counts: true },
        |token| Fact::Refused { token, answer: Answer::default(), reason: "no".into() },
        |token| Fact::PutBack { token, due_at: start() },
    ];
    for end in ends {
        let new = plain();
        let claim = direct(&new, now);
        let Fact::Claimed { token, .. } = claim.fact.clone() else { panic!() };
        bench.win(claim, now).await;
        let applied = bench.log.apply(&[(new.id, end(token))], now).await.remove(0).unwrap();
        assert!(matches!(applied, Applied::Done { before: Status::Attempting, .. }), "{applied:?}");
        if matches!(end(token), Fact::Refused { .. }) {
            bench
                .log
                .apply(&[(new.id, Fact::Redriven { by: By::new("tester", None), late: false })], now)
                .await
                .remove(0)
                .unwrap();
        }
        assert_eq!(bench.win(bare(&new, now), now).await.content, new.content);
    }
}

#[tokio::test]
async fn the_content_of_a_direct_message_is_kept_when_a_later_claim_is_refused() {
    let (bench, now) = (bench().await, start());
    let new = plain();
    bench.win(direct(&new, now), now).await;
    // Another worker, which knows nothing of that claim; the first one has died.
    let other = DynamoLog::open(&bench.aws, &bench.config);
    let refused = other.claim(&[direct(&new, now)], now).await.remove(0).unwrap();
    assert!(matches!(refused, Claim::Refused { .. }));
    bench.proxy.reset();
    let refused = other.claim(&[direct(&new, now)], now).await.remove(0).unwrap();
    let Claim::Refused { life, .. } = refused else { panic!("{refused:?}") };
    assert!(!bench.proxy.operations().iter().any(|operation| operation == "BatchWriteItem"), "kept once");
    let later = now.plus(secs(700));
    let mut resend = bare(&new, later);
    if let Fact::Claimed { resend_of, .. } = &mut resend.fact {
        *resend_of = life.token;
    }
    assert_eq!(bench.win(resend, later).await.content, new.content);
}

#[tokio::test]
async fn what_a_message_says_is_not_taken_for_true() {
    let (bench, now) = (bench().await, start());
    let new = plain();
    bench.accept(std::slice::from_ref(&new)).await;
    let held = Fact::Held { by: By::new("tester", Some("ask first")) };
    bench.log.apply(&[(new.id, held)], now).await.remove(0).unwrap();
    let refused = bench.claim(fresh(&new, now), now).await;
    assert!(matches!(refused, Claim::Refused { refusal: Refusal::Held, .. }), "{refused:?}");
    bench
        .log
        .apply(&[(new.id, Fact::Released { by: By::new("tester", None) })], now)
        .await
        .remove(0)
        .unwrap();
    bench.win(fresh(&new, now), now).await;
    let gone = plain();
    assert!(matches!(bench.claim(fresh(&gone, now), now).await, Claim::Absent));
}

#[tokio::test]
async fn a_content_of_megabytes_comes_back_whole() {
    let (bench, now) = (bench().await, start());
    let noise: String =
        (0..400_000_u64).map(|i| format!("{:x}", i.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    let large = new(notification(|n| n.text = Some(noise[..1_200_000].to_owned())), now);
    bench.accept(std::slice::from_ref(&large)).await;
    assert_eq!(bench.win(bare(&large, now), now).await.content, large.content);
}

#[tokio::test]
async fn a_record_expires_long_after_its_end_and_a_dead_letter_never() {
    let (bench, now) = (bench().await, start());
    let new = plain();
    bench.accept(std::slice::from_ref(&new)).await;
    let expires = async || {
        let key = AttributeValue::S(format!("n#{}", new.id));
        let read = bench.aws.dynamodb.get_item().table_name(&bench.config.table).key("pk", key);
        let read = read.key("sk", AttributeValue::S("n".into())).consistent_read(true).send().await.unwrap();
        let expires = read.item.unwrap().remove("exp");
        expires.map(|at| at.as_n().unwrap().parse::<u64>().unwrap())
    };
    assert_eq!(expires().await, None);
    let tell = async |fact| bench.log.apply(&[(new.id, fact)], now).await.remove(0).unwrap();
    tell(Fact::Parked { reason: "no".into(), hold: false }).await;
    assert_eq!(expires().await, None, "it lists as unsent until somebody deals with it");
    tell(Fact::Redriven { by: By::new("tester", None), late: false }).await;
    assert_eq!(expires().await, None);
    tell(accepted()).await;
    let end = u64::try_from(now.as_ms()).unwrap() / 1000 + bench.config.retention.as_secs();
    assert_eq!(expires().await, Some(end));
}
