//! Lost answers, throttling, and errors of single entries.

use std::time::Duration;

use kakitome::aws;
use kakitome::message_log::{Acceptance, Applied, Claim, LogError, Recorded};
use kakitome::notification::status::Status;
use kakitome::provider::{EventKind, ProviderEvent};
use serde_json::json;

use super::*;
use crate::proxy::Action;

const WRITE: &str = "BatchExecuteStatement";

/// One entry's answer becomes an error of this code, although the service said otherwise.
fn entry_fails(entry: usize, code: &'static str) -> Action {
    Action::rewrite(move |_, answer| {
        answer["Responses"][entry] = json!({ "Error": { "Code": code, "Message": "as told" } });
    })
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_recognised() {
    let (bench, now) = (bench().await, start());
    let new = plain();
    bench.proxy.next(1, WRITE, Action::LoseAnswer);
    let accepted_as = bench.log.accept(std::slice::from_ref(&new)).await.remove(0).unwrap();
    assert_eq!(accepted_as, Acceptance::Created(Status::Accepted));
    bench.proxy.next(1, WRITE, Action::LoseAnswer);
    let won = bench.win(fresh(&new, now), now).await;
    assert_eq!(won.life.attempt, 1);
    bench.proxy.next(1, WRITE, Action::LoseAnswer);
    let applied = bench.log.apply(&[(new.id, accepted())], now).await.remove(0).unwrap();
    assert!(matches!(applied, Applied::Done { before: Status::Attempting, .. }), "{applied:?}");
    let other = plain();
    bench.proxy.next(1, WRITE, Action::LoseAnswer);
    assert!(bench.win(direct(&other, now), now).await.created);
    let applied = bench.log.apply(&[(other.id, accepted())], now).await.remove(0).unwrap();
    assert!(matches!(applied, Applied::Done { .. }));
}

#[tokio::test]
async fn a_lost_answer_is_recognised_where_the_service_does_not_say_what_stands_there() {
    let (bench, now) = (bench().await, start());
    let new = plain();
    let without_item = Action::rewrite(|_, answer| {
        for response in answer["Responses"].as_array_mut().into_iter().flatten() {
            if let Some(error) = response["Error"].as_object_mut() {
                error.remove("Item");
            }
        }
    });
    for claim in [fresh(&new, now), direct(&plain(), now)] {
        bench.accept(std::slice::from_ref(&new)).await;
        bench.proxy.next(1, WRITE, Action::LoseAnswer);
        bench.proxy.next(1, WRITE, without_item.clone());
        assert!(matches!(bench.claim(claim, now).await, Claim::Won(_)));
    }
    bench.proxy.always(WRITE, without_item);
    let rival = bench.claim(fresh(&new, now), now).await;
    assert!(matches!(rival, Claim::Refused { .. }), "{rival:?}");
    let again = bench.log.accept(std::slice::from_ref(&new)).await.remove(0).unwrap();
    assert_eq!(again, Acceptance::Duplicate(Status::Attempting));
}

#[tokio::test]
async fn a_throttled_entry_is_tried_again_alone() {
    let (bench, now) = (bench().await, start());
    let new = several(10);
    bench.accept(&new).await;
    bench.proxy.reset();
    // Said to be throttled although it was written: then it is recognised as ours.
    bench.proxy.next(1, WRITE, entry_fails(3, "ThrottlingError"));
    let claims: Vec<_> = new.iter().map(|new| fresh(new, now)).collect();
    for claim in bench.log.claim(&claims, now).await {
        assert!(matches!(claim.unwrap(), Claim::Won(_)));
    }
    let seen = bench.proxy.seen();
    let sizes: Vec<_> =
        seen.iter().filter(|seen| seen.operation == WRITE).map(|seen| seen.statements().len()).collect();
    assert_eq!(sizes, [10, 1]);
}

#[tokio::test]
async fn an_entry_that_stays_throttled_fails_alone_and_is_not_won() {
    let (bench, now) = (bench().await, start());
    let new = several(10);
    bench.accept(&new).await;
    bench.proxy.always(
        WRITE,
        Action::rewrite(|seen, answer| {
            let count = seen.statements().len();
            let entry = if count == 10 { 3 } else { 0 };
            answer["Responses"][entry] =
                json!({ "Error": { "Code": "ThrottlingError", "Message": "as told" } });
        }),
    );
    let claims: Vec<_> = new.iter().map(|new| fresh(new, now)).collect();
    let claimed = bench.log.claim(&claims, now).await;
    let failed: Vec<_> = (0..10).filter(|ix| matches!(claimed[*ix], Err(LogError::Unavailable(_)))).collect();
    assert_eq!(failed, [3]);
}

#[tokio::test]
async fn an_answer_that_is_missing_from_a_batch_is_a_failure() {
    let (bench, now) = (bench().await, start());
    let new = several(10);
    bench.accept(&new).await;
    let short = Action::rewrite(|_, answer| {
        answer["Responses"].as_array_mut().unwrap().pop();
    });
    bench.proxy.next(1, WRITE, short);
    let claims: Vec<_> = new.iter().map(|new| fresh(new, now)).collect();
    let claimed = bench.log.claim(&claims, now).await;
    assert_eq!(claimed.iter().filter(|claim| claim.is_err()).count(), 1);
    assert!(claimed[9].is_err());
}

#[tokio::test]
async fn what_comes_back_unprocessed_is_tried_again() {
    let (bench, now) = (bench().await, start());
    // Nothing was written, or read, of this request.
    bench.proxy.next(
        1,
        "BatchWriteItem",
        Action::rewrite(|seen, answer| answer["UnprocessedItems"] = seen.body["RequestItems"].clone()),
    );
    bench.proxy.next(
        1,
        "BatchGetItem",
        Action::rewrite(|seen, answer| {
            answer["UnprocessedKeys"] = seen.body["RequestItems"].clone();
            answer["Responses"] = json!({});
        }),
    );
    let new = plain();
    bench.accept(std::slice::from_ref(&new)).await;
    assert_eq!(bench.win(bare(&new, now), now).await.content, new.content);
}

#[tokio::test]
async fn nothing_is_won_while_the_service_is_away() {
    let (bench, now) = (bench().await, start());
    let new = plain();
    bench.accept(std::slice::from_ref(&new)).await;
    bench.proxy.always(WRITE, Action::Fail(500, "InternalServerError"));
    let claimed = bench.log.claim(&[fresh(&new, now), direct(&plain(), now)], now).await;
    assert!(claimed.iter().all(|claim| matches!(claim, Err(LogError::Unavailable(_)))), "{claimed:?}");
    let accepted = bench.log.accept(&[plain()]).await.remove(0);
    assert!(matches!(accepted, Err(LogError::Unavailable(_))));
    bench.proxy.reset();
    bench.win(fresh(&new, now), now).await;
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_given_up_and_what_it_did_is_recognised() {
    let (bench, now) = (bench().await, start());
    let new = plain();
    bench.accept(std::slice::from_ref(&new)).await;
    let short = Duration::from_millis(150);
    let config =
        aws::Config { attempt_timeout: short, operation_timeout: 2 * short, ..aws::Config::default() };
    let aws = Aws::connect(&emulator::access(&bench.proxy.url, &bench.proxy.url), config).await.unwrap();
    let log = DynamoLog::open(&aws, &bench.config);
    bench.proxy.always(WRITE, Action::Stall);
    let claim = fresh(&new, now);
    let claimed = log.claim(std::slice::from_ref(&claim), now).await.remove(0);
    assert!(matches!(claimed, Err(LogError::Unavailable(_))), "{claimed:?}");
    bench.proxy.reset();
    let claimed = bench.claim(claim, now).await;
    assert!(matches!(claimed, Claim::Won(_)), "{claimed:?}");
}

#[tokio::test]
async fn a_table_that_is_missing_is_named_with_what_creates_it() {
    let (bench, now) = (bench().await, start());
    let nowhere = Config { table: "nowhere".into(), ..Config::default() };
    let log = DynamoLog::open(&bench.aws, &nowhere);
    let claimed = log.claim(&[bare(&plain(), now)], now).await.remove(0);
    let Err(LogError::Unavailable(words)) = claimed else { panic!("{claimed:?}") };
    assert!(words.contains("`nowhere`; `kakitome setup`"), "{words}");
}

#[tokio::test]
async fn the_witness_says_nothing_before_all_that_it_covers_is_folded() {
    let (bench, now) = (bench().await, start());
    let new = plain();
    bench.accept(std::slice::from_ref(&new)).await;
    bench.win(fresh(&new, now), now).await;
    let event = ProviderEvent {
        provider: "sendgrid".into(),
        id: Some(new.id),
        provider_message_id: None,
        event_id: Some("processed-1".into()),
        kind: EventKind::Processed,
        at: now,
        recipient: None,
        machine: false,
        lane: None,
        detail: Default::default(),
    };
    let told = async || bench.log.record_events(std::slice::from_ref(&event), now).await.remove(0);
    bench.proxy.always(WRITE, Action::Fail(400, "AccessDeniedException"));
    assert!(matches!(told().await, Err(LogError::Unavailable(_))));
    assert_eq!(bench.log.witness("sendgrid").await.unwrap(), None, "its proof is not folded");
    bench.proxy.pass_all();
    assert!(matches!(told().await, Ok(Recorded::Folded { .. })));
    assert_eq!(bench.log.witness("sendgrid").await.unwrap(), Some(now));
}
