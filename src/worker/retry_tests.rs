#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

use proptest::prelude::*;

use super::*;
use crate::notification::status::Status;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(1_000_000 + ms)
}

fn error(class: SendErrorClass, retry_after: Option<Duration>) -> SendError {
    SendError { class, http_status: Some(429), message: "slow down".into(), retry_after }
}

fn claimed(spent: u32) -> (Life, Token) {
    let token = Token([7; 16]);
    let mut life = Life::accepted(at(0), None, None, OnUnknown::Resend);
    life.spent = spent - 1;
    let fact = Fact::Claimed {
        token,
        provider: "p".into(),
        lease_until: at(30_000),
        hold_until: at(630_000),
        resend_of: None,
        limits: AttemptLimits { attempts: 12, unknown_resends: 2 },
    };
    (life.after(&fact, at(0)).unwrap(), token)
}

fn end(life: &Life, facts: &[Fact], now: Timestamp) -> Life {
    facts.iter().fold(life.clone(), |life, fact| life.after(fact, now).unwrap())
}

proptest! {
    #[test]
    fn a_delay_stays_between_what_the_provider_asked_for_and_the_ceiling(
        spent in 0_u32..1000, asked in prop::option::of(0_u64..100_000), randomness in -1.0_f64..2.0,
    ) {
        let policy = Policy::default();
        let delay = policy.delay(spent, asked.map(Duration::from_secs), randomness);
        let floor = Duration::from_secs(asked.unwrap_or(0)).min(policy.longest_retry_after);
        prop_assert!(delay >= floor);
        prop_assert!(delay <= policy.cap.max(floor));
    }

    #[test]
    fn every_failure_leads_to_facts_that_apply(
        class in prop::sample::select(vec![
            SendErrorClass::NotAccepted, SendErrorClass::Throttled, SendErrorClass::Refused,
            SendErrorClass::ProviderRefused, SendErrorClass::Unknown,
        ]),
        spent in 1_u32..=12, probing: bool, randomness in 0.0_f64..1.0,
    ) {
        let policy = Policy::default();
        let (life, token) = claimed(spent);
        let now = at(1_000);
        let facts = policy.after_failure(&error(class, None), &life, token, probing, now, randomness);
        let ended = end(&life, &facts, now);
        let dead = ended.status(now) == Status::Failed;
        let exhausted = spent == 12 && !probing
            && matches!(class, SendErrorClass::NotAccepted | SendErrorClass::Throttled);
        prop_assert_eq!(dead, class == SendErrorClass::Refused || exhausted);
        if probing || class == SendErrorClass::ProviderRefused {
            let counted = class == SendErrorClass::Refused;
            prop_assert_eq!(ended.spent, if counted { spent } else { spent - 1 });
        }
    }
}

#[test]
fn the_ceiling_doubles_from_a_second_to_fifteen_minutes() {
    let policy = Policy::default();
    let ceilings: Vec<_> = (1..=12).map(|spent| policy.delay(spent, None, 1.0).as_secs()).collect();
    assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
}

#[test]
fn a_retry_never_waits_beyond_the_deadline() {
    let (mut life, token) = claimed(11);
    life.useful_until = Some(at(20_000));
    let facts = Policy::default().after_failure(
        &error(SendErrorClass::Throttled, None),
        &life,
        token,
        false,
        at(1_000),
        1.0,
    );
    assert_eq!(end(&life, &facts, at(1_000)).due_at, at(20_000));
}

#[test]
fn silence_counts_only_while_the_witness_is_heard_past_the_attempt() {
    let policy = Policy::default();
    let judge = |witness, now| policy.judge_unknown(OnUnknown::Resend, false, at(0), witness, now);
    assert_eq!(judge(None, at(700_000)), Judgement::Wait(policy.witness_poll));
    assert_eq!(judge(Some(at(59_999)), at(700_000)), Judgement::Wait(policy.witness_poll));
    assert_eq!(judge(Some(at(60_000)), at(700_000)), Judgement::Resend);
    assert_eq!(judge(None, at(6 * 3_600_000)), Judgement::Resend);
}

#[test]
fn who_asked_to_hold_is_never_resent_and_who_is_used_up_becomes_a_dead_letter() {
    let policy = Policy::default();
    let parked = |hold| Judgement::Park(Fact::Parked { reason: "unknown_outcome".into(), hold });
    let witness = Some(at(100_000));
    assert_eq!(policy.judge_unknown(OnUnknown::Hold, false, at(0), witness, at(700_000)), parked(true));
    assert_eq!(policy.judge_unknown(OnUnknown::Resend, true, at(0), witness, at(700_000)), parked(false));
}

#[test]
fn a_short_wait_stays_on_the_queue_and_a_long_one_lives_in_the_log() {
    let (life, token) = claimed(1);
    let retry_in = |seconds| {
        let error = error(SendErrorClass::Throttled, Some(Duration::from_secs(seconds)));
        let facts = Policy::default().after_failure(&error, &life, token, false, at(0), 0.0);
        end(&life, &facts, at(0))
    };
    assert_eq!(settlement(&retry_in(60), at(0)), Settlement::Again { after: Duration::from_secs(60) });
    let long = retry_in(1800);
    assert_eq!(settlement(&long, at(0)), Settlement::Done);
    assert_eq!(long.wake_at, Some(at(1_800_000)));
}
