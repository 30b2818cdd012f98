#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

use proptest::prelude::*;

use super::*;
use crate::notification::status::{Attempt, AttemptOutcome, Status};

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
        spent in 1_u32..=12, counts: bool, randomness in 0.0_f64..1.0,
    ) {
        let policy = Policy::default();
        let (life, token) = claimed(spent);
        let now = at(1_000);
        let failed = Failed { life: &life, token, counts, key_until: None };
        let facts = policy.after_failure(&error(class, None), failed, now, randomness);
        let ended = end(&life, &facts, now);
        let dead = ended.status(now) == Status::Failed;
        let exhausted = spent == 12 && counts
            && matches!(class, SendErrorClass::NotAccepted | SendErrorClass::Throttled);
        prop_assert_eq!(dead, class == SendErrorClass::Refused || exhausted);
        if !counts || class == SendErrorClass::ProviderRefused {
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
    let failed = Failed { life: &life, token, counts: false, key_until: None };
    let facts =
        Policy::default().after_failure(&error(SendErrorClass::Throttled, None), failed, at(1_000), 1.0);
    assert_eq!(end(&life, &facts, at(1_000)).due_at, at(20_000));
}

/// An attempt that ended at 0, at a provider to which every request is a new one.
fn open(witness: Option<Timestamp>) -> Unsettled {
    Unsettled {
        on_unknown: OnUnknown::Resend,
        exhausted: false,
        ended_at: at(0),
        hold: Duration::from_secs(600),
        key_until: None,
        witness,
        folded_until: at(i64::MAX / 2),
    }
}

#[test]
fn silence_counts_only_while_the_witness_is_heard_past_the_attempt() {
    let policy = Policy::default();
    let judge = |witness, now| policy.judge_unknown(&open(witness), now);
    assert_eq!(judge(None, at(700_000)), Judgement::Wait(policy.witness_poll));
    assert_eq!(judge(Some(at(59_999)), at(700_000)), Judgement::Wait(policy.witness_poll));
    assert_eq!(judge(Some(at(60_000)), at(700_000)), Judgement::Resend);
    assert_eq!(judge(Some(at(60_000)), at(599_000)), Judgement::Wait(Duration::from_secs(1)));
    assert_eq!(judge(None, at(6 * 3_600_000)), Judgement::Resend);
}

#[test]
fn an_event_that_waits_to_be_folded_may_be_the_evidence() {
    let policy = Policy::default();
    let waiting = |folded_until| Unsettled { folded_until, ..open(Some(at(650_000))) };
    assert_eq!(
        policy.judge_unknown(&waiting(at(599_999)), at(700_000)),
        Judgement::Wait(policy.witness_poll)
    );
    assert_eq!(policy.judge_unknown(&waiting(at(600_000)), at(700_000)), Judgement::Resend);
    assert_eq!(policy.judge_unknown(&waiting(at(0)), at(6 * 3_600_000)), Judgement::Resend, "not for ever");
}

#[test]
fn who_asked_to_hold_is_never_resent_and_who_is_used_up_becomes_a_dead_letter() {
    let policy = Policy::default();
    let parked = |hold| Judgement::Park(Fact::Parked { reason: "unknown_outcome".into(), hold });
    let key = Some(at(23 * 3_600_000));
    for key_until in [None, key] {
        let asked = Unsettled { on_unknown: OnUnknown::Hold, key_until, ..open(Some(at(100_000))) };
        assert_eq!(policy.judge_unknown(&asked, at(700_000)), parked(true));
        assert!(matches!(policy.judge_unknown(&asked, at(1_000)), Judgement::Wait(_)));
        let used_up = Unsettled { exhausted: true, key_until, ..open(Some(at(100_000))) };
        assert_eq!(policy.judge_unknown(&used_up, at(700_000)), parked(false));
        assert!(matches!(policy.judge_unknown(&used_up, at(1_000)), Judgement::Wait(_)));
    }
}

#[test]
fn a_key_settles_an_unknown_at_once_and_only_while_the_provider_remembers_it() {
    let policy = Policy::default();
    let keyed = Unsettled { key_until: Some(at(23 * 3_600_000)), ..open(None) };
    assert_eq!(policy.judge_unknown(&keyed, at(1)), Judgement::Resend, "no hold and no witness");
    assert_eq!(policy.judge_unknown(&keyed, at(23 * 3_600_000 - 1)), Judgement::Resend);
    let late = Unsettled { ended_at: at(23 * 3_600_000), ..keyed };
    assert!(
        matches!(policy.judge_unknown(&late, at(23 * 3_600_000)), Judgement::Wait(_)),
        "the hold counts again"
    );
    assert_eq!(
        policy.judge_unknown(&late, at(23 * 3_600_000 + 700_000)),
        Judgement::Wait(policy.witness_poll)
    );
}

#[test]
fn a_key_is_good_from_the_first_request_that_the_provider_may_have_taken() {
    let key = Idempotency::Key { ttl: Duration::from_secs(24 * 3600) };
    let (mut life, _) = claimed(1);
    assert_eq!(Idempotency::None.settles_until(&life, "p"), None);
    assert_eq!(key.settles_until(&life, "another"), None);
    assert_eq!(key.settles_until(&life, "p"), Some(at(23 * 3_600_000)));
    let again = Attempt { started_at: at(5_000), ..life.attempts[0].clone() };
    life.attempts[0].outcome = AttemptOutcome::Unknown;
    life.attempts.push(again);
    assert_eq!(key.settles_until(&life, "p"), Some(at(23 * 3_600_000)), "the repeat does not prolong it");
    life.attempts[0].outcome = AttemptOutcome::NotAccepted;
    assert_eq!(key.settles_until(&life, "p"), Some(at(23 * 3_600_000 + 5_000)));
}

#[test]
fn a_repeat_that_is_turned_away_leaves_the_former_request_unknown() {
    let policy = Policy::default();
    let (mut life, token) = claimed(2);
    life.is_resend = true;
    life.resends = 1;
    let key_until = Some(at(23 * 3_600_000));
    for (class, asked, wait) in [
        (SendErrorClass::NotAccepted, None, 2_000),
        (SendErrorClass::Throttled, Some(7), 7_000),
        (SendErrorClass::ProviderRefused, None, 60_000),
        (SendErrorClass::Unknown, None, 2_000),
    ] {
        let failed = Failed { life: &life, token, counts: true, key_until };
        let error = error(class, asked.map(Duration::from_secs));
        let ended = end(&life, &policy.after_failure(&error, failed, at(1_000), 1.0), at(1_000));
        assert_eq!(ended.status(at(1_000)), Status::Unknown, "{class:?}");
        assert_eq!(ended.hold_until, at(1_000 + wait), "{class:?}");
        assert_eq!(ended.resends, u32::from(class != SendErrorClass::ProviderRefused));
        // Without a key the hold and the witness have proved the former one not taken.
        let failed = Failed { key_until: None, ..failed };
        let ended = end(&life, &policy.after_failure(&error, failed, at(1_000), 1.0), at(1_000));
        let retrying = class != SendErrorClass::Unknown;
        assert_eq!(ended.status(at(1_000)) == Status::Retrying, retrying, "{class:?}");
    }
}

#[test]
fn a_short_wait_stays_on_the_queue_and_a_long_one_lives_in_the_log() {
    let (life, token) = claimed(1);
    let retry_in = |seconds| {
        let error = error(SendErrorClass::Throttled, Some(Duration::from_secs(seconds)));
        let failed = Failed { life: &life, token, counts: true, key_until: None };
        let facts = Policy::default().after_failure(&error, failed, at(0), 0.0);
        end(&life, &facts, at(0))
    };
    assert_eq!(settlement(&retry_in(60), at(0)), Settlement::Again { after: Duration::from_secs(60) });
    let long = retry_in(1800);
    assert_eq!(settlement(&long, at(0)), Settlement::Done);
    assert_eq!(long.wake_at, Some(at(1_800_000)));
}
