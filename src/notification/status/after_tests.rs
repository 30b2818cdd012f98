#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

use std::time::Duration;

use proptest::prelude::*;

use super::super::{AttemptLimits, By, Status};
use super::*;
use crate::notification::OnUnknown;

const LIMITS: AttemptLimits = AttemptLimits { attempts: 4, unknown_resends: 2 };
const LEASE: Duration = Duration::from_secs(30);
const HOLD: Duration = Duration::from_secs(600);

/// What happens next; which token is meant is settled when it happens.
#[derive(Clone, Debug)]
enum Act {
    Claim { resend: Whose },
    Accepted,
    NotAccepted { by: Whose, wait_s: u64, counts: bool },
    Refused { by: Whose },
    Unsettled { by: Whose, counts: bool },
    PutBack { by: Whose, wait_s: u64 },
    Parked { hold: bool },
    Expired,
    Suppressed,
    Held,
    Released,
    Cancelled,
    Redriven { late: bool },
    Enqueued,
}

fn by() -> By {
    By::new("tester", Some("why"))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Whose {
    Nobodys,
    Latest,
    /// A claim of that step, or one that was refused.
    Step(u8),
}

fn whose() -> impl Strategy<Value = Whose> {
    prop_oneof![
        1 => Just(Whose::Nobodys),
        6 => Just(Whose::Latest),
        2 => (0_u8..8).prop_map(Whose::Step),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let wait = || prop::sample::select(vec![0_u64, 1, 60, 2000]);
    prop_oneof![
        8 => whose().prop_map(|resend| Act::Claim { resend }),
        1 => Just(Act::Accepted),
        3 => (whose(), wait(), any::<bool>())
            .prop_map(|(by, wait_s, counts)| Act::NotAccepted { by, wait_s, counts }),
        1 => whose().prop_map(|by| Act::Refused { by }),
        3 => (whose(), any::<bool>()).prop_map(|(by, counts)| Act::Unsettled { by, counts }),
        3 => (whose(), wait()).prop_map(|(by, wait_s)| Act::PutBack { by, wait_s }),
        1 => any::<bool>().prop_map(|hold| Act::Parked { hold }),
        1 => Just(Act::Expired),
        1 => Just(Act::Suppressed),
        1 => Just(Act::Held),
        2 => Just(Act::Released),
        1 => Just(Act::Cancelled),
        2 => any::<bool>().prop_map(|late| Act::Redriven { late }),
        1 => Just(Act::Enqueued),
    ]
}

fn acts() -> impl Strategy<Value = Vec<(u64, Act)>> {
    let pause_s = prop::sample::select(vec![0_u64, 0, 1, 31, 601, 5000]);
    prop::collection::vec((pause_s, act()), 1..40)
}

fn start() -> impl Strategy<Value = Life> {
    let after_s = || prop::option::of(prop::sample::select(vec![40_u64, 2000, 40_000]));
    (after_s(), after_s(), any::<bool>()).prop_map(|(deliver, deadline, hold)| {
        let now = Timestamp::from_ms(1_000_000_000);
        let at = |s: Option<u64>| s.map(|s| now.plus(Duration::from_secs(s)));
        let policy = if hold { OnUnknown::Hold } else { OnUnknown::Resend };
        Life::accepted(now, at(deliver), at(deadline), policy)
    })
}

fn fact(act: &Act, step: u8, life: &Life, now: Timestamp) -> Fact {
    let token = |whose: Whose| match whose {
        Whose::Nobodys => Token([255; 16]),
        Whose::Latest => life.token.unwrap_or(Token([254; 16])),
        Whose::Step(step) => Token([step; 16]),
    };
    let later = |s: u64| now.plus(Duration::from_secs(s));
    let answer = Answer::default();
    match act.clone() {
        Act::Claim { resend } => Fact::Claimed {
            token: Token([step; 16]),
            provider: format!("provider-{step}"),
            lease_until: now.plus(LEASE),
            hold_until: now.plus(LEASE).plus(HOLD),
            resend_of: (resend != Whose::Nobodys).then(|| token(resend)),
            limits: LIMITS,
        },
        Act::Accepted => Fact::Accepted {
            provider: "p".into(),
            message_id: Some(format!("m{step}")),
            http_status: Some(202),
        },
        Act::NotAccepted { by, wait_s, counts } => {
            Fact::NotAccepted { token: token(by), answer, due_at: later(wait_s), counts }
        }
        Act::Refused { by } => Fact::Refused { token: token(by), answer, reason: "refused_400".into() },
        Act::Unsettled { by, counts } => Fact::Unsettled { token: token(by), answer, counts, again_at: None },
        Act::PutBack { by, wait_s } => Fact::PutBack { token: token(by), due_at: later(wait_s) },
        Act::Parked { hold } => Fact::Parked { reason: "parked".into(), hold },
        Act::Expired => Fact::Expired,
        Act::Suppressed => Fact::Suppressed { reason: "suppressed_bounce".into() },
        Act::Held => Fact::Held { by: by() },
        Act::Released => Fact::Released { by: by() },
        Act::Cancelled => Fact::Cancelled { by: by() },
        Act::Redriven { late } => Fact::Redriven { by: by(), late },
        Act::Enqueued => Fact::Enqueued { wake_at: later(600) },
    }
}

/// One thing that happened: before, the fact, after (the same as before if it was refused), when.
struct Happening {
    before: Life,
    fact: Fact,
    result: Result<Life, Refusal>,
    after: Life,
    now: Timestamp,
}

/// Lets it all happen and looks at every step.
fn walk(start: &Life, acts: &[(u64, Act)], mut look: impl FnMut(&Happening)) -> (Life, Timestamp) {
    let (mut life, mut now) = (start.clone(), start.accepted_at);
    for (step, (pause_s, act)) in acts.iter().enumerate() {
        now = now.plus(Duration::from_secs(*pause_s));
        let fact = fact(act, u8::try_from(step).unwrap(), &life, now);
        let result = life.after(&fact, now);
        let after = result.clone().unwrap_or_else(|_| life.clone());
        let happening = Happening { before: life, fact, result, after, now };
        look(&happening);
        life = happening.after;
    }
    (life, now)
}

fn speaker(fact: &Fact) -> Option<Token> {
    match fact {
        Fact::NotAccepted { token, .. }
        | Fact::Refused { token, .. }
        | Fact::Unsettled { token, .. }
        | Fact::PutBack { token, .. } => Some(*token),
        _ => None,
    }
}

fn is_new_claim(h: &Happening) -> bool {
    matches!(h.fact, Fact::Claimed { .. }) && h.after != h.before
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn sent_is_never_left_and_other_ends_only_by_acceptance_or_an_operator(start in start(), acts in acts()) {
        walk(&start, &acts, |h| {
            if h.before.state == State::Sent {
                assert_eq!((h.after.state, h.after.sent_at), (State::Sent, h.before.sent_at));
            }
            let by_whom = matches!(h.fact, Fact::Accepted { .. } | Fact::Cancelled { .. } | Fact::Redriven { .. });
            if h.before.status(h.now).is_end() && !by_whom {
                assert_eq!(h.after, h.before);
            }
        });
    }

    #[test]
    fn once_accepted_it_is_sent_whatever_else_is_told_and_in_whatever_order(
        start in start(), before in acts(), after in acts(),
    ) {
        let all: Vec<_> = before.into_iter().chain([(0, Act::Accepted)]).chain(after).collect();
        let (life, now) = walk(&start, &all, |_| {});
        prop_assert_eq!(life.status(now), Status::Sent);
        prop_assert!(life.sent_at.is_some() && life.token.is_none());
    }

    #[test]
    fn a_fact_told_twice_is_a_fact_told_once(start in start(), acts in acts()) {
        walk(&start, &acts, |h| {
            // Where it does not fit any more, it changes nothing.
            if let Ok(again) = h.after.after(&h.fact, h.now) {
                assert_eq!(again, h.after);
            }
        });
    }

    #[test]
    fn only_the_open_claim_speaks_and_only_once(start in start(), acts in acts()) {
        let mut spoken = Vec::new();
        walk(&start, &acts, |h| {
            if is_new_claim(h) {
                spoken.retain(|token| Some(*token) != h.after.token);
            }
            let Some(token) = speaker(&h.fact) else { return };
            let is_open = h.before.state == State::Attempting && h.before.token == Some(token);
            if !is_open || spoken.contains(&token) {
                assert_eq!(h.after, h.before);
            }
            if is_open {
                spoken.push(token);
            }
        });
    }

    #[test]
    fn no_claim_is_won_before_its_time_or_while_another_may_still_be_accepted(
        start in start(), acts in acts(),
    ) {
        walk(&start, &acts, |h| {
            if !is_new_claim(h) {
                return;
            }
            assert!(h.before.useful_until.is_none_or(|deadline| deadline > h.now));
            let Fact::Claimed { resend_of, token, .. } = &h.fact else { unreachable!() };
            match h.before.state {
                State::Attempting => {
                    assert!(h.before.hold_until <= h.now);
                    assert!(resend_of.is_some() && *resend_of == h.before.token);
                }
                State::Accepted | State::Scheduled | State::Retrying => assert!(h.before.due_at <= h.now),
                other => panic!("claimed while {other:?}"),
            }
            assert_eq!(h.after.token, Some(*token));
            assert_eq!(h.after.attempts.last().unwrap().outcome, AttemptOutcome::Pending);
        });
    }

    #[test]
    fn the_budget_is_kept_and_what_does_not_count_is_given_back(start in start(), acts in acts()) {
        let mut before_claim = None;
        walk(&start, &acts, |h| {
            assert!(h.after.spent <= LIMITS.attempts && h.after.resends <= LIMITS.unknown_resends);
            assert!(h.after.resends <= h.after.spent && h.after.spent <= h.after.attempt);
            if is_new_claim(h) {
                before_claim = Some(h.before.clone());
                assert_eq!(h.after.spent, h.before.spent + 1);
                let resent = u32::from(h.before.state == State::Attempting);
                assert_eq!(h.after.resends, h.before.resends + resent);
            }
            let refunds = matches!(
                h.fact,
                Fact::PutBack { .. } | Fact::NotAccepted { counts: false, .. } | Fact::Unsettled { counts: false, .. }
            );
            if let (true, Some(was)) = (refunds && h.after != h.before, &before_claim) {
                assert_eq!((h.after.spent, h.after.resends), (was.spent, was.resends));
            }
        });
    }

    #[test]
    fn a_claim_put_back_leaves_no_trace(start in start(), acts in acts()) {
        let mut before_claim: Option<Life> = None;
        walk(&start, &acts, |h| {
            if is_new_claim(h) {
                before_claim = Some(h.before.clone());
            }
            if !matches!(h.fact, Fact::PutBack { .. }) || h.after == h.before {
                return;
            }
            let was = before_claim.clone().unwrap();
            assert_eq!(h.after.attempt, was.attempt);
            assert_eq!(h.after.provider, was.attempts.last().map(|last| last.provider.clone()));
            let outcomes = |life: &Life| life.attempts.iter().map(|a| a.outcome).collect::<Vec<_>>();
            let mut expected = outcomes(&was);
            if was.state == State::Attempting {
                // The lapse of its hold had made it an unknown for good before the claim that was put back.
                *expected.last_mut().unwrap() = AttemptOutcome::Unknown;
                assert_eq!(h.after.status(h.now), Status::Unknown);
            } else {
                assert!(h.after.token.is_none());
            }
            assert_eq!(outcomes(&h.after), expected);
        });
    }

    #[test]
    fn nothing_open_is_forgotten_by_the_sweeper(start in start(), acts in acts()) {
        walk(&start, &acts, |h| {
            let life = &h.after;
            let is_end = life.status(h.now).is_end();
            if is_end {
                assert_eq!(life.wake_at, None);
                assert_eq!(life.token, None);
                assert!(life.attempts.iter().all(|a| a.outcome != AttemptOutcome::Pending));
            } else if life.state == State::Held {
                assert_eq!(life.wake_at, life.useful_until);
            } else {
                let wake_at = life.wake_at.unwrap();
                assert!(life.useful_until.is_none_or(|deadline| deadline <= h.now || wake_at <= deadline));
            }
            let looked_later = matches!(h.fact, Fact::Enqueued { .. }) && h.result.is_ok();
            assert!(!looked_later || life.wake_at > Some(h.now));
        });
    }

    #[test]
    fn a_worker_that_keeps_at_it_brings_everything_open_to_an_end(start in start(), acts in acts()) {
        let (mut life, mut now) = walk(&start, &acts, |_| {});
        for step in 100..104 {
            if life.status(now).is_end() || life.state == State::Held {
                break;
            }
            now = now.max(life.due_at).max(life.hold_until).max(life.wake_at.unwrap());
            let resend = Act::Claim { resend: Whose::Latest };
            let next = match life.after(&fact(&resend, step, &life, now), now) {
                Ok(_) => Act::Accepted,
                Err(Refusal::DeadlineOver) => Act::Expired,
                Err(Refusal::Exhausted | Refusal::Unknown { exhausted: true, .. }) => Act::Parked { hold: false },
                Err(other) => panic!("{other:?} at {now}: {life:?}"),
            };
            life = life.after(&fact(&next, step, &life, now), now).unwrap();
        }
        prop_assert!(life.status(now).is_end() || life.state == State::Held);
    }

    #[test]
    fn no_dead_letter_is_sent_again_after_its_deadline_unless_somebody_says_so(start in start(), acts in acts()) {
        walk(&start, &acts, |h| {
            if let Fact::Redriven { late, .. } = h.fact && h.result.is_ok() {
                let is_late = h.before.useful_until.is_some_and(|deadline| deadline <= h.now);
                assert!(late || !is_late && h.before.state != State::Expired);
                assert!(matches!(h.before.state, State::Failed | State::Expired | State::Suppressed));
                assert_eq!(h.after.useful_until, h.before.useful_until.filter(|_| !is_late));
                assert_eq!((h.after.spent, h.after.resends), (0, 0));
            }
            if h.fact == Fact::Expired && h.result.is_ok() {
                assert!(h.before.useful_until.is_some_and(|deadline| deadline <= h.now));
            }
        });
    }
}
