//! Every status, every rule: what happens next.

use super::*;
use crate::notification::status::{Answer, By, Fact, Token};
use crate::stops::Scope;

fn at(s: u64) -> Timestamp {
    Timestamp::from_ms(1_000_000_000_000).plus(Duration::from_secs(s))
}

fn fresh(change: impl FnOnce(&mut Option<Timestamp>, &mut Option<Timestamp>, &mut OnUnknown)) -> Life {
    let (mut deliver_at, mut useful_until, mut on_unknown) = (None, None, OnUnknown::Resend);
    change(&mut deliver_at, &mut useful_until, &mut on_unknown);
    Life::accepted(at(0), deliver_at, useful_until, on_unknown)
}

fn plain() -> Life {
    fresh(|_, _, _| ())
}

fn after(life: &Life, fact: Fact, s: u64) -> Life {
    life.after(&fact, at(s)).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// Claimed at `s`, with a lease of 30 s and a hold of 630 s.
fn claimed(life: &Life, s: u64) -> Life {
    let fact = Fact::Claimed {
        token: Token([7; 16]),
        provider: "sendgrid".into(),
        lease_until: at(s + 30),
        hold_until: at(s + 630),
        resend_of: None,
        limits: Policy::default().limits,
    };
    after(life, fact, s)
}

fn next(life: &Life, s: u64) -> (Step, Option<Timestamp>, Option<Timestamp>) {
    let Next { what, at, latest, .. } = next_action(life, &Policy::default(), None, None, at(s));
    (what, at, latest)
}

fn stop(kind: StopKind) -> Stop {
    let scope = Scope { tenant: Some("inn".into()), ..Scope::default() };
    let (who, reason) = ("aoi".into(), "wrong date".into());
    Stop { id: "s".into(), kind, scope, who, reason, since: at(0), accepted_before: None }
}

#[test]
fn what_waits_is_attempted_when_it_is_due() {
    let life = plain();
    assert_eq!(next(&life, 1), (Step::Attempt, Some(at(1)), None));
    let later = fresh(|deliver_at, _, _| *deliver_at = Some(at(500)));
    assert_eq!(next(&later, 1), (Step::Attempt, Some(at(500)), None));
    let answer = Answer::default();
    let failed = Fact::NotAccepted { token: Token([7; 16]), answer, due_at: at(90), counts: true };
    let retrying = after(&claimed(&life, 1), failed, 2);
    assert_eq!(next(&retrying, 3), (Step::Attempt, Some(at(90)), None));
    let why = next_action(&retrying, &Policy::default(), None, None, at(3)).why;
    assert_eq!(why, "attempt 2; the provider did not take the last one");
    let due = next_action(&retrying, &Policy::default(), None, None, at(100)).why;
    assert!(due.contains("the queue brings it to a worker, and if it lost it, the sweeper at "), "{due}");
}

#[test]
fn a_deadline_that_comes_first_ends_it() {
    let life = fresh(|deliver_at, useful_until, _| {
        (*deliver_at, *useful_until) = (Some(at(500)), Some(at(400)));
    });
    assert_eq!(next(&life, 1), (Step::Expire, Some(at(400)), None));
    assert_eq!(next(&life, 450), (Step::Expire, Some(at(450)), None));
    let in_time = fresh(|_, useful_until, _| *useful_until = Some(at(400)));
    assert_eq!(next(&in_time, 1), (Step::Attempt, Some(at(1)), None));
    let held = after(&in_time, Fact::Held { by: By::new("aoi", None) }, 2);
    assert_eq!(next(&held, 3), (Step::Expire, Some(at(400)), None));
}

#[test]
fn a_standing_stop_is_met_when_it_is_due() {
    let life = fresh(|deliver_at, _, _| *deliver_at = Some(at(500)));
    let met = |kind| next_action(&life, &Policy::default(), Some(&stop(kind)), None, at(1));
    assert_eq!((met(StopKind::Hold).what, met(StopKind::Hold).at), (Step::Hold, Some(at(500))));
    assert_eq!(met(StopKind::Cancel).what, Step::Cancel);
    let why = met(StopKind::Hold).why;
    assert_eq!(why, "a standing stop keeps it back: hold of the tenant inn by aoi: wrong date");
}

#[test]
fn an_attempt_under_way_ends_at_its_lease_at_the_latest() {
    let life = claimed(&plain(), 1);
    assert_eq!(next(&life, 2), (Step::Answer, None, Some(at(31))));
}

#[test]
fn an_unknown_is_resent_after_its_hold_if_the_webhook_is_alive_and_at_the_cap_at_the_latest() {
    let life = claimed(&plain(), 1);
    let cap = at(31 + 6 * 3600);
    assert_eq!(next(&life, 60), (Step::Resend, Some(at(631)), Some(cap)));
    let alive = |witness| next_action(&life, &Policy::default(), None, Some(at(witness)), at(60));
    assert_eq!((alive(91).what, alive(91).at, alive(91).latest), (Step::Resend, Some(at(631)), None));
    assert_eq!(alive(90).latest, Some(cap));
    assert!(alive(90).why.contains("an event of sendgrid about it settles it"), "{}", alive(90).why);
    assert_eq!(next(&life, 7 * 3600), (Step::Resend, Some(at(7 * 3600)), None));
}

#[test]
fn an_unknown_ends_otherwise_where_its_policy_its_counters_or_its_deadline_say_so() {
    let hold = claimed(&fresh(|_, _, on_unknown| *on_unknown = OnUnknown::Hold), 1);
    assert_eq!(next(&hold, 60), (Step::Hold, Some(at(631)), None));
    let used_up = Life { resends: 2, ..claimed(&plain(), 1) };
    assert_eq!(next(&used_up, 60), (Step::Fail, Some(at(631)), None));
    let short = claimed(&fresh(|_, useful_until, _| *useful_until = Some(at(300))), 1);
    assert_eq!(next(&short, 60), (Step::Expire, Some(at(631)), None));
    let before_cap = claimed(&fresh(|_, useful_until, _| *useful_until = Some(at(3000))), 1);
    assert_eq!(next(&before_cap, 60), (Step::Resend, Some(at(631)), None));
    let life = claimed(&plain(), 1);
    let stopped = next_action(&life, &Policy::default(), Some(&stop(StopKind::Hold)), None, at(60));
    assert_eq!((stopped.what, stopped.at), (Step::Hold, Some(at(631))));
}

#[test]
fn at_an_end_and_held_nothing_happens_by_itself() {
    let life = plain();
    let by = || By::new("aoi", Some("ask first"));
    let held = after(&life, Fact::Held { by: by() }, 1);
    let why = next_action(&held, &Policy::default(), None, None, at(2)).why;
    assert_eq!(why, "held by aoi: nothing until an operator releases it");
    let ends = [
        held,
        after(&life, Fact::Cancelled { by: by() }, 1),
        after(&life, Fact::Parked { reason: "attempts_exhausted".into(), hold: false }, 1),
        after(&life, Fact::Accepted { provider: "x".into(), message_id: None, http_status: None }, 1),
    ];
    for end in ends {
        assert_eq!(next(&end, 2), (Step::Nothing, None, None));
    }
}

#[test]
fn what_was_redriven_says_by_whom() {
    let failed = after(&plain(), Fact::Parked { reason: "no".into(), hold: false }, 1);
    let redriven = after(&failed, Fact::Redriven { by: By::new("job 7", None), late: false }, 5);
    let next = next_action(&redriven, &Policy::default(), None, None, at(5));
    assert!(next.why.starts_with("attempt 1; redriven by job 7; due"), "{}", next.why);
}
