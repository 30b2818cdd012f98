#![allow(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

use proptest::prelude::*;

use super::super::check::AlertName;
use super::super::streak::{Look, Streak};
use super::*;

const INTERVAL: Duration = Duration::from_secs(15);
const CALM: Duration = Duration::from_secs(60);

fn policy() -> Policy {
    Policy {
        reminder: Duration::from_secs(3600),
        calm: CALM,
        stale: Duration::from_secs(120),
        lease: Duration::from_secs(60),
        channels: vec!["slack".into(), "webhook".into()],
    }
}

fn finding(count: u64) -> Finding {
    Finding {
        alert: AlertName::DeadLetters,
        subject: None,
        severity: Severity::Warning,
        summary: format!("{count} notifications failed."),
        count,
        command: "kakitome unsent --status failed".into(),
        is_conclusive: true,
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_ms(1_800_000_000_000).plus(Duration::from_secs(seconds))
}

/// Processes that share one alert, and what is said of it.
#[derive(Default)]
struct House {
    alert: Option<Alert>,
    streaks: BTreeMap<String, Streak>,
    said: Vec<Change>,
}

impl House {
    /// One reading of one process: `None`, it can say nothing; else how many it sees.
    fn read(&mut self, name: &str, look: Option<u64>, conclusive: bool, now: Timestamp) {
        let mut seen = finding(look.unwrap_or_default());
        seen.is_conclusive = conclusive;
        let look = match look {
            None => Look::Nothing,
            Some(0) => Look::Well,
            Some(_) => Look::Bad(&seen),
        };
        let streak = self.streaks.remove(name).unwrap_or_default().after(look, now, CALM);
        let sight = streak.sight(now);
        self.streaks.insert(name.to_owned(), streak);
        let Some(sight) = sight else { return };
        if let Some((alert, change)) = after(self.alert.as_ref(), &sight, name, now, &policy()) {
            self.said.extend(change);
            self.alert = Some(alert);
        }
    }

    fn is_firing(&self) -> bool {
        self.alert.as_ref().is_some_and(Alert::is_firing)
    }
}

#[test]
fn an_alert_is_said_once_reminded_of_each_hour_and_over_after_three_readings_and_a_minute() {
    let mut house = House::default();
    for reading in 0..=480 {
        house.read("a", Some(3), true, at(reading * 15));
    }
    assert_eq!(house.said, [Change::Firing, Change::Reminder, Change::Reminder], "two hours");
    for reading in 481..=484 {
        house.read("a", Some(0), true, at(reading * 15));
        assert!(house.is_firing(), "45 s of calm are too short");
    }
    house.read("a", Some(0), true, at(485 * 15));
    assert_eq!(house.said.last(), Some(&Change::Resolved));
    let alert = house.alert.unwrap();
    assert_eq!(alert.resolved_at, Some(at(485 * 15)));
    let over = alert.outbox.last().unwrap();
    assert_eq!((over.change, over.since, over.at), (Change::Resolved, at(0), at(485 * 15)));
    assert!(alert.outbox.iter().all(|posting| posting.change != Change::Reminder), "overtaken: {alert:#?}");
}

#[test]
fn what_becomes_ten_times_as_many_or_critical_is_said_again() {
    let mut house = House::default();
    for (reading, count) in [1, 5, 9, 10, 60, 99, 100, 100].into_iter().enumerate() {
        house.read("a", Some(count), true, at(reading as u64 * 15));
    }
    assert_eq!(house.said, [Change::Firing, Change::Worse, Change::Worse]);
    let critical = Finding { severity: Severity::Critical, ..finding(100) };
    let (_, change) = after(house.alert.as_ref(), &Sight::Bad(critical), "a", at(200), &policy()).unwrap();
    assert_eq!(change, Some(Change::Worse));
}

#[test]
fn a_process_that_is_restarted_repeats_nothing_and_ends_nothing() {
    let mut house = House::default();
    house.read("first", Some(3), true, at(0));
    // A minute later another process in its place, which can say nothing for a while.
    house.read("second", None, true, at(60));
    for reading in 0..40 {
        house.read("second", Some(3), true, at(75 + reading * 15));
    }
    assert_eq!(house.said, [Change::Firing]);
    let seen_by: Vec<_> = house.alert.as_ref().unwrap().seen_by.keys().collect();
    assert_eq!(seen_by, ["second"], "the first is gone");
}

#[test]
fn it_is_over_only_when_no_process_sees_it_any_more() {
    let mut house = House::default();
    for reading in 0..40 {
        house.read("a", Some(3), true, at(reading * 15));
        house.read("b", Some(if reading < 4 { 3 } else { 0 }), true, at(reading * 15));
    }
    assert_eq!(house.said, [Change::Firing]);
    // `a` dies without a word.
    for reading in 40..60 {
        house.read("b", Some(0), true, at(reading * 15));
    }
    assert_eq!(house.said, [Change::Firing, Change::Resolved]);
}

#[test]
fn what_comes_back_soon_must_be_well_for_longer_each_time() {
    let mut house = House::default();
    // Ill for a minute, well for four, over six hours.
    for reading in 0..(6 * 240) {
        let is_ill = reading % 20 < 4;
        house.read("a", Some(u64::from(is_ill)), true, at(reading * 15));
    }
    let begun = house.said.iter().filter(|change| **change == Change::Firing).count();
    assert!(begun <= 3, "{begun} times in 72 illnesses: {:?}", house.said);
}

#[test]
fn without_a_channel_nothing_waits_to_be_posted() {
    let policy = Policy { channels: Vec::new(), ..policy() };
    let (alert, change) = after(None, &Sight::Bad(finding(1)), "a", at(0), &policy).unwrap();
    assert_eq!((change, alert.outbox.len()), (Some(Change::Firing), 0));
}

#[test]
fn messages_that_nobody_takes_do_not_pile_up() {
    let mut house = House::default();
    for reading in 0..4000 {
        let is_ill = reading % 200 < 4;
        house.read("a", Some(u64::from(is_ill)), true, at(reading * 15));
    }
    assert!(house.said.len() > 8);
    assert_eq!(house.alert.unwrap().outbox.len(), MOST_POSTINGS);
}

/// Some readings by some processes.
fn readings() -> impl Strategy<Value = Vec<Vec<Option<u64>>>> {
    let look = prop_oneof![3 => Just(Some(0)), 3 => Just(Some(5)), 1 => Just(None)];
    prop::collection::vec(prop::collection::vec(look, 3), 1..200)
}

proptest! {
    #[test]
    fn a_condition_that_toggles_makes_at_most_one_message(
        conclusive: bool,
        begins_ill: bool,
        readings in 1_u64..240,
    ) {
        let mut house = House::default();
        for reading in 0..readings {
            let is_ill = (reading % 2 == 0) == begins_ill;
            house.read("a", Some(u64::from(is_ill)), conclusive, at(reading * INTERVAL.as_secs()));
        }
        prop_assert!(house.said.len() <= 1, "{:?}", house.said);
    }

    #[test]
    fn every_alert_that_fired_and_ends_is_resolved_once(readings in readings(), conclusive: bool) {
        let mut house = House::default();
        for (round, looks) in readings.iter().enumerate() {
            for (who, look) in looks.iter().enumerate() {
                house.read(&format!("p{who}"), *look, conclusive, at(round as u64 * 15));
            }
        }
        // In the end it is well for everybody, for as long as any relapse asks for.
        for round in 0..200 {
            house.read("p0", Some(0), conclusive, at((readings.len() as u64 + round) * 15));
            house.read("p1", Some(0), conclusive, at((readings.len() as u64 + round) * 15));
            house.read("p2", Some(0), conclusive, at((readings.len() as u64 + round) * 15));
        }
        prop_assert!(!house.is_firing());
        let changes: Vec<_> =
            house.said.iter().filter(|c| matches!(c, Change::Firing | Change::Resolved)).collect();
        for pair in changes.chunks(2) {
            prop_assert_eq!(pair, [&Change::Firing, &Change::Resolved]);
        }
    }

    #[test]
    fn in_which_order_processes_speak_does_not_matter(readings in readings(), turned: bool) {
        // All that is asked at the end of each round: does it fire?
        let mut houses = [House::default(), House::default()];
        for (round, looks) in readings.iter().enumerate() {
            let now = at(round as u64 * 15);
            let forth = [0, 1, 2];
            let back = if turned { [2, 1, 0] } else { [1, 2, 0] };
            for (house, order) in houses.iter_mut().zip([forth, back]) {
                for who in order {
                    house.read(&format!("p{who}"), looks[who], true, now);
                }
            }
            prop_assert_eq!(houses[0].is_firing(), houses[1].is_firing(), "round {}", round);
        }
    }
}
