use super::*;
use crate::clock::Timestamp;
use crate::jobs::{New, Pace, Selection};
use crate::notification::OnUnknown;
use crate::notification::status::{Answer, AttemptLimits, By, Fact, Token};
use proptest::prelude::*;

fn at(s: u64) -> Timestamp {
    Timestamp::from_ms(1_000_000_000_000).plus(Duration::from_secs(s))
}

fn job(action: Action) -> Job {
    let new = New {
        action,
        selection: Selection::default(),
        scope: None,
        pace: Pace::default(),
        who: "operator".into(),
        why: None,
        planned: 0,
    };
    Job::new(new, at(100))
}

fn claim(at_s: u64) -> Fact {
    Fact::Claimed {
        token: Token([1; 16]),
        provider: "sandbox".into(),
        lease_until: at(at_s + 30),
        hold_until: at(at_s + 60),
        resend_of: None,
        limits: AttemptLimits { attempts: 12, unknown_resends: 2 },
    }
}

fn life(facts: &[(u64, Fact)]) -> Life {
    let fresh = Life::accepted(at(0), None, None, OnUnknown::Resend);
    facts.iter().fold(fresh, |life, (when, fact)| life.after(fact, at(*when)).unwrap_or(life))
}

fn failed(at_s: u64) -> Vec<(u64, Fact)> {
    vec![(at_s, Fact::Parked { reason: "attempts_exhausted".into(), hold: false })]
}

fn redriven(job: &Job) -> Vec<(u64, Fact)> {
    failed(50).into_iter().chain([(101, job.fact())]).collect()
}

#[test]
fn what_a_page_needs_after_a_crash_is_read_from_the_acts_in_the_jobs_own_name() {
    let job = job(Action::Redrive);
    assert!(belongs(&job, &life(&failed(50))));
    assert!(!belongs(&job, &life(&failed(150))), "it failed after it was asked for");
    assert!(!did(&job, &life(&failed(50))));
    assert!(did(&job, &life(&redriven(&job))));
    let again: Vec<_> = redriven(&job).into_iter().chain(failed(102)).collect();
    assert!(did(&job, &life(&again)) && !belongs(&job, &life(&again)), "failed again, done all the same");
    let by_another = Fact::Redriven { by: By::new("operator", None), late: false };
    assert!(!did(&job, &life(&[failed(50), vec![(60, by_another)]].concat())));
    assert_eq!(need(&job, None, at(101)), Need::Nothing("absent"));
}

#[test]
fn the_fate_of_what_was_redriven_counts_only_attempts_since_then() {
    let job = job(Action::Redrive);
    let begun = redriven(&job);
    let then = |facts: &[(u64, Fact)]| life(&[begun.clone(), facts.to_vec()].concat());
    let not_accepted = |due| {
        let answer = Answer { http_status: Some(503), error: None };
        Fact::NotAccepted { token: Token([1; 16]), answer, due_at: at(due), counts: true }
    };
    let sent = Fact::Accepted { provider: "sandbox".into(), message_id: None, http_status: None };
    let held = Fact::Held { by: By::new("operator", None) };
    assert_eq!(fate(Some(&then(&[])), at(101)), Fate::Pending);
    assert_eq!(fate(Some(&then(&[(102, claim(102))])), at(101)), Fate::Pending);
    let failing = then(&[(102, claim(102)), (103, not_accepted(110))]);
    assert_eq!(fate(Some(&failing), at(101)), Fate::Failing);
    assert_eq!(
        fate(Some(&failing), at(105)),
        Fate::Pending,
        "resumed since: judged by what happens from then on"
    );
    assert_eq!(fate(Some(&then(&[(102, claim(102)), (103, sent)])), at(101)), Fate::Sent);
    assert_eq!(fate(Some(&then(&failed(104))), at(101)), Fate::Failed);
    assert_eq!(fate(Some(&then(&[(104, held)])), at(101)), Fate::Stopped);
    assert_eq!(fate(None, at(101)), Fate::Stopped);
}

#[test]
fn what_was_on_the_wire_is_out_or_back_once_its_lease_is_over() {
    let sent = Fact::Accepted { provider: "sandbox".into(), message_id: None, http_status: None };
    let on = life(&[(100, claim(100))]);
    assert_eq!(wire(Action::Hold, Some(&on), at(110)), Wire::On);
    assert_eq!(wire(Action::Hold, Some(&on), at(130)), Wire::Back, "unknown, and held so");
    let out = life(&[(100, claim(100)), (101, sent)]);
    assert_eq!(wire(Action::Cancel, Some(&out), at(110)), Wire::Out);
    let held = life(&[(100, Fact::Held { by: By::new("operator", None) })]);
    assert_eq!(wire(Action::Hold, Some(&held), at(110)), Wire::Stopped);
    assert_eq!(wire(Action::Cancel, Some(&held), at(110)), Wire::Back);
    assert_eq!(wire(Action::Hold, Some(&life(&failed(50))), at(110)), Wire::Over);
    assert_eq!(wire(Action::Cancel, Some(&life(&failed(50))), at(110)), Wire::Back);
}

fn situation(state: JobState) -> Situation {
    Situation {
        state,
        done: 0,
        canary: None,
        stop_above_percent: None,
        known: Known::default(),
        awaited: 0,
        failing: 0,
        allowed: 500,
        unchanged_for: Duration::ZERO,
    }
}

#[test]
fn a_canary_waits_for_each_of_its_outcomes_and_then_decides() {
    let here = Situation { canary: Some(10), ..situation(JobState::Canary) };
    assert_eq!(next(&here), Next::Page(10));
    assert_eq!(next(&Situation { done: 4, allowed: 3, ..here }), Next::Page(3));
    assert_eq!(next(&Situation { allowed: 0, ..here }), Next::Wait);
    let out = Situation { done: 10, ..here };
    assert_eq!(next(&Situation { awaited: 1, known: Known { good: 9, bad: 0 }, ..out }), Next::Wait);
    assert_eq!(next(&Situation { known: Known { good: 10, bad: 0 }, ..out }), Next::Proceed);
    // One of ten is not more than ten percent, which is the default; two are.
    let failing = Situation { awaited: 1, failing: 1, known: Known { good: 9, bad: 1 }, ..out };
    assert_eq!(next(&failing), Next::Proceed);
    let worse = Situation { known: Known { good: 8, bad: 2 }, ..out };
    assert_eq!(next(&worse), Next::Stop("2 of 10 failed again: more than 10 percent".into()));
    assert_eq!(next(&Situation { stop_above_percent: Some(20), ..worse }), Next::Proceed);
    assert!(matches!(next(&out), Next::Stop(_)), "all of it was held meanwhile: nothing is known");
}

#[test]
fn a_running_job_stops_by_itself_once_enough_is_known() {
    let here = Situation { stop_above_percent: Some(20), ..situation(JobState::Running) };
    assert_eq!(next(&Situation { known: Known { good: 0, bad: 9 }, ..here }), Next::Page(500));
    assert!(matches!(next(&Situation { known: Known { good: 7, bad: 3 }, ..here }), Next::Stop(_)));
    assert_eq!(next(&Situation { known: Known { good: 8, bad: 2 }, ..here }), Next::Page(500));
    let careless = Situation { stop_above_percent: None, known: Known { good: 0, bad: 100 }, ..here };
    assert_eq!(next(&careless), Next::Page(500), "nobody asked for it");
    assert_eq!(next(&Situation { allowed: 0, ..here }), Next::Wait);
}

#[test]
fn a_watching_job_ends_when_all_is_known_or_nothing_came_for_a_day() {
    let here = Situation { awaited: 3, ..situation(JobState::Watching) };
    assert_eq!(next(&here), Next::Wait);
    assert_eq!(next(&Situation { awaited: 0, ..here }), Next::Done(None));
    let long = Situation { unchanged_for: WATCHED + Duration::from_secs(1), ..here };
    assert!(matches!(next(&long), Next::Done(Some(_))));
}

fn leased(state: JobState, owner: &str, until: u64) -> Job {
    let lease = Some(Lease { owner: owner.into(), until: at(until) });
    Job { state, lease, ..job(Action::Redrive) }
}

#[test]
fn only_an_offer_is_taken_and_what_was_left_behind_waits_for_somebody() {
    use JobState::{Canary, Done, Interrupted, Running, Stopped, Watching};
    let found = |job: &Job| find(job, at(100), false);
    for state in [Canary, Running] {
        assert_eq!(found(&leased(state, "", 101)), Find::Take);
        assert!(matches!(found(&leased(state, "", 100)), Find::Interrupt(_)));
        assert_eq!(found(&leased(state, "other", 101)), Find::Leave);
        assert!(matches!(found(&leased(state, "other", 100)), Find::Interrupt(_)));
        assert!(matches!(find(&leased(state, "other", 101), at(100), true), Find::Interrupt(_)));
        assert!(matches!(find(&leased(state, "", 101), at(100), true), Find::Interrupt(_)));
    }
    assert_eq!(found(&leased(Watching, "other", 101)), Find::Leave);
    assert_eq!(found(&leased(Watching, "other", 100)), Find::Take, "it sends nothing");
    for state in [Stopped, Interrupted, Done] {
        assert_eq!(found(&leased(state, "", 101)), Find::Leave);
    }
}

#[test]
fn whoever_stopped_a_job_meanwhile_is_heard_and_no_count_is_lost() {
    let mut ours = leased(JobState::Running, "us", 101);
    ours.progress.done = 500;
    let stopped = Job {
        state: JobState::Stopped,
        note: Some("stopped".into()),
        ..leased(JobState::Running, "us", 101)
    };
    let merged = merge(ours.clone(), stopped.clone(), "us");
    assert!(merged.is_some_and(|job| job.state == JobState::Stopped && job.progress.done == 500));
    // A page that was never written down is none; one that was, and is not finished, stays.
    let id = crate::notification::NotificationId::fresh();
    let turned = Job { page: vec![id], ..ours.clone() };
    assert!(merge(turned.clone(), stopped.clone(), "us").is_some_and(|job| job.page.is_empty()));
    let unfinished = Job { page: vec![id], ..stopped };
    assert!(merge(turned, unfinished, "us").is_some_and(|job| job.page == [id]));
    assert_eq!(merge(ours.clone(), leased(JobState::Running, "other", 101), "us"), None);
    assert_eq!(merge(ours, Job { lease: None, ..job(Action::Redrive) }, "us"), None);
}

fn states() -> impl Strategy<Value = JobState> {
    prop::sample::select(vec![JobState::Canary, JobState::Running, JobState::Watching])
}

proptest! {
    /// Whatever happens, no more go than the pace and the window allow, and of a canary no more than its number.
    #[test]
    fn no_page_is_larger_than_what_is_allowed(
        state in states(),
        done in 0_u64..20,
        canary in prop::option::of(1_u32..20),
        percent in prop::option::of(0_u32..=100),
        (good, bad) in (0_u64..50, 0_u64..50),
        (awaited, failing) in (0_usize..50, 0_usize..50),
        allowed in 0_usize..600,
    ) {
        let here = Situation {
            state, done, canary, stop_above_percent: percent, known: Known { good, bad }, awaited,
            failing: failing.min(awaited), allowed, unchanged_for: Duration::ZERO,
        };
        match next(&here) {
            Next::Page(size) => {
                prop_assert!(state.is_active() && size > 0 && size <= allowed);
                if state == JobState::Canary {
                    prop_assert!(done + size as u64 <= canary.map_or(0, u64::from));
                }
                if let (JobState::Running, Some(percent)) = (state, percent) {
                    prop_assert!(good + bad < 10 || bad * 100 <= u64::from(percent) * (good + bad) || canary.is_some());
                }
            }
            Next::Stop(_) => prop_assert!(state.is_active()),
            Next::Proceed => prop_assert!(state == JobState::Canary),
            Next::Done(_) => prop_assert!(state == JobState::Watching && awaited == 0),
            Next::Wait => {}
        }
    }
}
