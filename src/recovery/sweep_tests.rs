use super::*;
use crate::notification::OnUnknown;

const AGAIN: Duration = Duration::from_secs(600);

fn at(s: i64) -> Timestamp {
    Timestamp::from_ms(s * 1000)
}

fn life(deliver_at: Option<i64>, useful_until: Option<i64>) -> Life {
    Life::accepted(at(0), deliver_at.map(at), useful_until.map(at), OnUnknown::Resend)
}

#[test]
fn what_is_due_gets_a_message_and_what_is_due_soon_gets_a_delayed_one() {
    assert_eq!(need(&life(None, None), at(60), AGAIN), Need::Another(Duration::ZERO));
    assert_eq!(need(&life(Some(900), None), at(60), AGAIN), Need::Another(Duration::from_secs(840)));
    let waits_in_log = life(Some(5_000), None);
    assert_eq!(need(&waits_in_log, at(4_990), AGAIN), Need::Message(Duration::from_secs(10)));
}

#[test]
fn a_long_wait_stays_in_the_log() {
    assert_eq!(need(&life(Some(5_000), None), at(60), AGAIN), Need::Look(at(5_000)));
}

#[test]
fn what_is_past_its_deadline_ends_unless_an_outcome_may_still_come() {
    assert_eq!(need(&life(None, Some(50)), at(60), AGAIN), Need::Expiry);
    let mut open = life(None, Some(50));
    open.state = State::Attempting;
    open.hold_until = at(700);
    assert_eq!(need(&open, at(60), AGAIN), Need::Look(at(700)));
    assert_eq!(need(&open, at(700), AGAIN), Need::Expiry);
}
