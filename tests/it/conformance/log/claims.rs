//! Recording, claiming, and facts by compare-and-set.

use kakitome::message_log::{Acceptance, Applied, Claim};
use kakitome::notification::status::{Answer, By, Fact, Refusal, Status, Token};

use super::super::LogBench;
use super::*;

pub async fn the_same_id_is_recorded_once(bench: &LogBench) {
    let now = start();
    let keyed = |text: &str| {
        let text = text.to_owned();
        new(
            notification(|n| {
                n.idempotency_key = Some("booking-1".into());
                n.text = Some(text);
            }),
            now,
        )
    };
    let accept = async |new| bench.log.accept(&[new]).await.remove(0).unwrap();
    assert_eq!(accept(keyed("a")).await, Acceptance::Created(Status::Accepted));
    assert_eq!(accept(keyed("a")).await, Acceptance::Duplicate(Status::Accepted));
    assert_eq!(accept(keyed("b")).await, Acceptance::Conflict);
    send(&*bench.log, keyed("a").id, "m1", now).await;
    assert_eq!(accept(keyed("a")).await, Acceptance::Duplicate(Status::Sent));
    let record = record(&*bench.log, keyed("a").id).await;
    assert_eq!(record.tenant, "default");
    assert_eq!(record.metadata["booking"], "8123");
    assert_eq!(record.recipients[0].email, address("guest@example.com"));
}

pub async fn the_same_id_twice_in_one_batch_is_a_repeat_or_a_conflict(bench: &LogBench) {
    let keyed = |subject: &str| {
        let subject = subject.to_owned();
        new(
            notification(|n| {
                n.idempotency_key = Some("twice".into());
                n.subject = Some(subject);
            }),
            start(),
        )
    };
    let batch = [keyed("a"), new(notification(|_| ()), start()), keyed("a"), keyed("b")];
    let accepted: Vec<_> = bench.log.accept(&batch).await.into_iter().map(Result::unwrap).collect();
    let created = Acceptance::Created(Status::Accepted);
    assert_eq!(accepted, [created, created, Acceptance::Duplicate(Status::Accepted), Acceptance::Conflict]);
    assert!(bench.log.accept(&[]).await.is_empty());
}

pub async fn an_unknown_id_is_absent(bench: &LogBench) {
    let (log, id, now) = (&*bench.log, NotificationId::fresh(), start());
    assert!(log.get(id).await.unwrap().is_none());
    assert!(matches!(claim_with(log, id, claim_of(Token::fresh(), now), now).await, Claim::Absent));
    assert_eq!(apply(log, id, Fact::Released { by: By::new("tester", None) }, now).await, Applied::Absent);
}

pub async fn a_claim_hands_out_the_content_and_leases_the_notification(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let new = new(notification(|_| ()), now);
    log.accept(std::slice::from_ref(&new)).await.remove(0).unwrap();
    let Claim::Won(won) = claim_with(log, new.id, claim_of(Token::fresh(), now), now).await else {
        panic!("the claim is refused");
    };
    assert_eq!(won.content, new.content);
    assert_eq!((won.life.attempt, won.life.status(now)), (1, Status::Attempting));
    assert_eq!(record(log, new.id).await.life, won.life);
    let refused = claim_with(log, new.id, claim_of(Token::fresh(), now), now).await;
    let Claim::Refused { refusal: Refusal::Leased { until }, life, .. } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((until, life.attempt), (now.plus(secs(630)), 1));
}

pub async fn of_eight_claims_at_once_exactly_one_wins(bench: &LogBench) {
    let now = start();
    for _round in 0..200 {
        let id = accept(&*bench.log, now, |_| ()).await;
        let rivals = (0..8).map(|_| {
            let log = Arc::clone(&bench.log);
            tokio::spawn(async move {
                let fact = claim_of(Token::fresh(), now);
                matches!(claim_with(&*log, id, fact, now).await, Claim::Won(_))
            })
        });
        let mut winners = 0;
        for rival in rivals.collect::<Vec<_>>() {
            winners += usize::from(rival.await.unwrap());
        }
        assert_eq!(winners, 1);
    }
}

pub async fn a_claim_that_is_repeated_is_the_same_claim(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let id = accept(log, now, |_| ()).await;
    let fact = claim_of(Token::fresh(), now);
    for _ in 0..2 {
        let Claim::Won(won) = claim_with(log, id, fact.clone(), now).await else { panic!("not won") };
        assert_eq!((won.life.attempt, won.life.attempts.len()), (1, 1));
    }
}

pub async fn only_the_latest_claim_may_say_not_accepted_or_refused(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let id = accept(log, now, |_| ()).await;
    let first = claim(log, id, now).await;
    let not_accepted =
        |token, due_at| Fact::NotAccepted { token, answer: Answer::default(), due_at, counts: true };
    let refused = |token| Fact::Refused { token, answer: Answer::default(), reason: "no".into() };
    let applied = apply(log, id, not_accepted(first, now.plus(secs(5))), now).await;
    assert!(matches!(applied, Applied::Done { before: Status::Attempting, .. }));
    assert_eq!(status(log, id, now).await, Status::Retrying);

    let later = now.plus(secs(6));
    let second = claim(log, id, later).await;
    let before = record(log, id).await.life;
    for stale in [not_accepted(first, later), refused(first)] {
        assert_eq!(apply(log, id, stale, later).await, Applied::Refused(Refusal::Stale));
    }
    assert_eq!(record(log, id).await.life, before);
    assert!(matches!(apply(log, id, refused(second), later).await, Applied::Done { .. }));
    let life = record(log, id).await.life;
    assert_eq!((life.status(later), life.reason.as_deref()), (Status::Failed, Some("no")));
}

pub async fn an_acceptance_counts_whoever_tells_it(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let id = accept(log, now, |_| ()).await;
    let token = claim(log, id, now).await;
    let refused = Fact::Refused { token, answer: Answer::default(), reason: "no".into() };
    apply(log, id, refused, now).await;
    let applied = apply(log, id, accepted_as("m1"), now.plus(secs(9))).await;
    assert!(matches!(applied, Applied::Done { before: Status::Failed, .. }));
    let life = record(log, id).await.life;
    assert_eq!((life.sent_at, life.provider_message_id.as_deref()), (Some(now.plus(secs(9))), Some("m1")));
    assert_eq!((life.reason, life.wake_at), (None, None));
}

pub async fn an_attempt_without_an_answer_becomes_unknown_by_time_alone(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let id = accept(log, now, |_| ()).await;
    claim(log, id, now).await;
    assert_eq!(status(log, id, now.plus(secs(29))).await, Status::Attempting);
    assert_eq!(status(log, id, now.plus(secs(30))).await, Status::Unknown);
    let counts = log.counts(now.plus(secs(30))).await.unwrap();
    assert_eq!(counts.by_status, [(Status::Unknown, 1)].into());
}

pub async fn an_unknown_is_resent_only_by_who_saw_its_token(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let id = accept(log, now, |_| ()).await;
    let first = claim(log, id, now).await;
    let later = now.plus(secs(631));
    let resend = |resend_of: Option<Token>| {
        let mut fact = claim_of(Token::fresh(), later);
        if let Fact::Claimed { resend_of: field, .. } = &mut fact {
            *field = resend_of;
        }
        fact
    };
    for not_seen in [None, Some(Token::fresh())] {
        let refused = claim_with(log, id, resend(not_seen), later).await;
        let Claim::Refused { refusal: Refusal::Unknown { seen, exhausted: false, .. }, .. } = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(seen, first);
    }
    assert!(matches!(claim_with(log, id, resend(Some(first)), later).await, Claim::Won(_)));
    let rival = claim_with(log, id, resend(Some(first)), later).await;
    assert!(matches!(rival, Claim::Refused { refusal: Refusal::Leased { .. }, .. }));
}

pub async fn facts_for_one_id_apply_in_their_order(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let id = accept(log, now, |_| ()).await;
    let held = Fact::Held { by: By::new("tester", Some("ask first")) };
    let cancelled = Fact::Cancelled { by: By::new("tester", Some("closed")) };
    let facts = [
        (id, held.clone()),
        (id, Fact::Released { by: By::new("tester", None) }),
        (id, held),
        (id, cancelled),
        (id, Fact::Released { by: By::new("tester", None) }),
    ];
    let applied: Vec<_> = log.apply(&facts, now).await.into_iter().map(Result::unwrap).collect();
    let befores: Vec<_> = applied
        .iter()
        .map(|applied| match applied {
            Applied::Done { before, .. } => Some(*before),
            _ => None,
        })
        .collect();
    let (accepted, held) = (Some(Status::Accepted), Some(Status::Held));
    assert_eq!(befores, [accepted, held, accepted, held, None]);
    assert_eq!(status(log, id, now).await, Status::Cancelled);
}
