//! Who is affected, in which order, and what is told of it.

use std::collections::BTreeSet;

use super::*;
use crate::message_log::{Recipient, RecordedEvent};
use crate::notification::address::Address;
use crate::notification::status::recipient::RecipientStatus;
use crate::notification::status::{Answer, AttemptLimits, By, Fact, Life, Token};
use crate::notification::{NotificationId, OnUnknown, Priority, RecipientKind};
use crate::provider::EventKind;

fn at(s: u64) -> Timestamp {
    Timestamp::from_ms(1_800_000_000_000).plus(Duration::from_secs(s))
}

/// The moment of the question: an hour after it all began.
const NOW: u64 = 3600;

fn question() -> Question {
    let late_after = Duration::from_secs(600);
    Question { since: at(0), until: None, tenant: None, late_after, limit: 100, in_full: false }
}

fn address() -> Address {
    Address::parse("guest@example.com").unwrap_or_else(|fault| panic!("{fault}"))
}

fn record(number: u8, accepted: u64, deadline: Option<u64>) -> Record {
    let email = address();
    Record {
        id: NotificationId::from_bytes([number; 16]),
        tenant: "inn".into(),
        batch: None,
        priority: Priority::Transactional,
        metadata: BTreeMap::new(),
        life: Life::accepted(at(accepted), None, deadline.map(at), OnUnknown::Resend),
        recipients: vec![Recipient {
            email,
            kind: RecipientKind::To,
            status: RecipientStatus::Pending,
            since: at(accepted),
        }],
        events: Vec::new(),
    }
}

fn tell(record: &mut Record, fact: Fact, s: u64) {
    record.life = record.life.after(&fact, at(s)).unwrap_or_else(|refusal| panic!("{refusal}"));
}

fn claim(record: &mut Record, s: u64, resend_of: Option<Token>) -> Token {
    let token = Token([u8::try_from(s % 250).unwrap_or(0); 16]);
    let fact = Fact::Claimed {
        token,
        provider: "sendgrid".into(),
        lease_until: at(s + 30),
        hold_until: at(s + 60),
        resend_of,
        limits: AttemptLimits { attempts: 12, unknown_resends: 2 },
    };
    tell(record, fact, s);
    token
}

fn send(record: &mut Record, s: u64) {
    let fact =
        Fact::Accepted { provider: "sendgrid".into(), message_id: Some("m".into()), http_status: Some(202) };
    tell(record, fact, s);
}

fn fail(record: &mut Record, s: u64, error: &str) {
    let token = claim(record, s, None);
    let answer = Answer { http_status: Some(400), error: Some(error.into()) };
    tell(record, Fact::Refused { token, answer, reason: "refused_400".into() }, s + 1);
}

fn fold(question: Question, records: &[Record]) -> Report {
    let mut incident = Incident::new(question);
    records.iter().for_each(|record| incident.add(record, at(NOW)));
    incident.finish(false, at(NOW))
}

fn whys(report: &Report) -> Vec<(Why, u64)> {
    report.by_why.iter().map(|(why, count)| (*why, *count)).collect()
}

#[test]
fn what_can_be_saved_comes_first_by_its_time_left_and_what_is_over_last() {
    let mut sent_late = record(6, 0, None);
    claim(&mut sent_late, 1000, None);
    send(&mut sent_late, 1001);
    let mut expired = record(5, 100, Some(200));
    tell(&mut expired, Fact::Expired, 201);
    let records = [
        sent_late,
        expired,
        record(4, 50, Some(3000)),
        record(3, 3500, None),
        record(2, 20, None),
        record(1, 10, Some(9000)),
        record(0, 3000, Some(4000)),
    ];
    let order = |report: Report| report.items.iter().map(|item| item.id.as_bytes()[0]).collect::<Vec<_>>();
    assert_eq!(order(fold(question(), &records)), [0, 1, 2, 3, 4, 5, 6]);
    let few = fold(Question { limit: 3, ..question() }, &records);
    assert_eq!((few.affected, few.more), (7, true));
    assert_eq!(order(few), [0, 1, 2]);
    let none = fold(Question { limit: 0, ..question() }, &records);
    assert_eq!((none.affected, none.more, none.items.len()), (7, true, 0));
}

#[test]
fn who_was_served_in_time_or_stopped_on_purpose_or_is_not_due_is_not_affected() {
    let mut sent = record(1, 0, None);
    claim(&mut sent, 1, None);
    send(&mut sent, 2);
    let mut cancelled = record(2, 0, None);
    tell(&mut cancelled, Fact::Cancelled { by: By::new("aoi", None) }, 3);
    let mut scheduled = record(3, 0, None);
    scheduled.life = Life::accepted(at(0), Some(at(9000)), None, OnUnknown::Resend);
    // Late counts from its deliver_at.
    let mut due_late = record(4, 0, None);
    due_late.life = Life::accepted(at(0), Some(at(3000)), None, OnUnknown::Resend);
    claim(&mut due_late, 3001, None);
    send(&mut due_late, 3002);
    let report = fold(question(), &[sent, cancelled, scheduled, due_late]);
    assert_eq!((report.affected, report.looked_at), (0, 4));
    assert_eq!(report.sent_delay.map(|spread| (spread.count, spread.max)), Some((2, 2.0)));
    assert_eq!(report.waiting, None);
    assert_eq!(report.timeline.points.iter().map(|point| point.accepted).sum::<u64>(), 4);
}

#[test]
fn what_was_open_or_failed_since_is_part_of_it_although_it_was_accepted_before() {
    let since = Question { since: at(1000), ..question() };
    let open = record(1, 0, None);
    let mut failed_before = record(2, 0, None);
    fail(&mut failed_before, 500, "no");
    let mut failed_since = record(3, 0, None);
    fail(&mut failed_since, 1500, "no");
    let mut sent_before = record(4, 0, None);
    claim(&mut sent_before, 1600, None);
    send(&mut sent_before, 1700);
    let after = record(5, 2500, None);
    let until = Question { until: Some(at(2000)), ..since.clone() };
    let records = [open, failed_before, failed_since, sent_before, after];
    assert_eq!(whys(&fold(since, &records)), [(Why::NotSent, 2), (Why::Failed, 1)]);
    assert_eq!(whys(&fold(until, &records)), [(Why::NotSent, 1), (Why::Failed, 1)]);
}

/// Unknown after a time-out, then sent again and taken.
fn resent(number: u8) -> Record {
    let mut record = record(number, 0, None);
    let token = claim(&mut record, 1, None);
    tell(&mut record, Fact::Unsettled { token, answer: Answer::default(), counts: true, again_at: None }, 11);
    claim(&mut record, 100, Some(token));
    send(&mut record, 101);
    record
}

#[test]
fn what_was_resent_after_an_unknown_is_perhaps_twice_and_certainly_if_the_events_say_so() {
    let event = |kind: EventKind, s: u64| RecordedEvent {
        at: at(s),
        kind,
        recipient: Some(address()),
        machine: false,
        detail: serde_json::Map::new(),
    };
    let perhaps = resent(1);
    let mut once = resent(2);
    once.events = vec![event(EventKind::Processed, 101), event(EventKind::Delivered, 103)];
    let mut twice = resent(3);
    twice.events = vec![event(EventKind::Delivered, 12), event(EventKind::Delivered, 103)];
    // The same attempt, told twice by a provider that retries.
    let mut deferred = record(4, 0, None);
    claim(&mut deferred, 1, None);
    send(&mut deferred, 2);
    deferred.events = vec![event(EventKind::Deferred, 3), event(EventKind::Deferred, 4)];
    let report = fold(question(), &[perhaps, once, twice, deferred]);
    assert_eq!(whys(&report), [(Why::SentTwice, 1), (Why::PerhapsTwice, 2)]);
    assert_eq!(report.affected, 3);
}

#[test]
fn answers_are_grouped_by_what_they_have_in_common() {
    let mut records = Vec::new();
    for number in 0..5 {
        let mut record = record(number, 0, None);
        fail(
            &mut record,
            u64::from(number) + 1,
            &format!("no such template d-{}", 100_000 + u64::from(number)),
        );
        records.push(record);
    }
    let report = fold(question(), &records);
    let [answer] = report.answers.as_slice() else { panic!("{:?}", report.answers) };
    assert_eq!((answer.count, answer.http_status), (5, Some(400)));
    assert_eq!(answer.error.as_deref(), Some("no such template d-N"));
    assert_eq!((answer.first_at, answer.last_at), (at(2), at(6)));
    assert_eq!(report.by_reason, [Counted { name: Some("refused_400".into()), count: 5 }]);
}

#[test]
fn the_timeline_has_no_gaps_and_few_points() {
    let mut records = vec![record(1, 0, None), record(2, 3000, None)];
    claim(&mut records[0], 600, None);
    send(&mut records[0], 601);
    let timeline = fold(question(), &records).timeline;
    assert_eq!((timeline.step_seconds, timeline.points.len()), (60, 51));
    let sum = |figure: fn(&Point) -> u64| timeline.points.iter().map(figure).sum::<u64>();
    assert_eq!((sum(|p| p.accepted), sum(|p| p.sent), sum(|p| p.failed)), (2, 1, 0));
    let long = fold(question(), &[record(1, 0, None), record(2, 30 * 24 * 3600, None)]).timeline;
    assert_eq!(long.step_seconds, 24 * 3600);
    assert!(long.points.len() <= 60, "{}", long.points.len());
    assert_eq!(fold(question(), &[]).timeline.points, []);
}

#[test]
fn the_commands_name_exactly_what_is_concerned() {
    let mut failed = record(1, 0, None);
    fail(&mut failed, 100, "no");
    let mut held = record(2, 2000, None);
    tell(&mut held, Fact::Held { by: By::new("storm guard", Some("repeat")) }, 2001);
    let mut waiting = record(3, 2000, None);
    waiting.tenant = "it's a hotel".into();
    let mut records = vec![failed, held, waiting];
    records.extend(
        (10..14).map(|number| Record { tenant: "it's a hotel".into(), ..record(number, 2000, None) }),
    );
    let question = Question { since: at(50), ..question() };
    let commands: Vec<String> =
        fold(question, &records).commands.into_iter().map(|command| command.command).collect();
    assert_eq!(
        commands,
        [
            r"kakitome hold --tenant 'it'\''s a hotel' --reason 'incident'",
            "kakitome redrive --since 2027-01-15T08:00:00Z --reason refused_400 --dry-run",
            "kakitome redrive --since 2027-01-15T08:00:00Z --reason refused_400 --canary 20 --stop-above 10 --note \
             'incident'",
            "kakitome release --held-for repeat --since 2027-01-15T08:33:20Z",
            "kakitome status",
            "kakitome incident --since 2027-01-15T08:00:50Z --csv incident.csv",
            "kakitome status --prove",
        ]
    );
}

#[test]
fn counts_by_tenant_add_up_however_many_there_are() {
    let records: Vec<Record> = (0..200)
        .map(|number| Record { tenant: format!("inn-{number}"), ..record(number, 0, Some(9000)) })
        .collect();
    let report = fold(question(), &records);
    assert_eq!(report.by_tenant.len(), MOST_NAMES + 1);
    assert_eq!(
        report.by_tenant.last().map(|share| (share.tenant.clone(), share.affected)),
        Some((None, 150))
    );
    let sum = |figure: fn(&TenantCount) -> u64| report.by_tenant.iter().map(figure).sum::<u64>();
    assert_eq!((sum(|s| s.affected), sum(|s| s.not_sent), sum(|s| s.with_time_left)), (200, 200, 200));
}

#[test]
fn addresses_are_masked_unless_they_may_be_read() {
    let told = |in_full| {
        let report = fold(Question { in_full, ..question() }, &[record(1, 0, None)]);
        serde_json::to_value(&report.items[0].recipients).unwrap_or_default().to_string()
    };
    assert_eq!(
        (told(true).as_str(), told(false).as_str()),
        (r#"["guest@example.com"]"#, r#"["***@example.com"]"#)
    );
    let whys: BTreeSet<&str> = BTreeSet::from(["not_sent"]);
    assert_eq!(fold(question(), &[record(1, 0, None)]).by_why.len(), whys.len());
}
