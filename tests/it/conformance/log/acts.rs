//! What operators do and ask for: acts, lives and contents of many, previews.

use std::collections::BTreeMap;

use kakitome::message_log::{Deadline, Filter, Group};
use kakitome::notification::Template;
use kakitome::notification::status::{Act, ActKind, Answer, By, Fact, Refusal, Status};

use super::super::LogBench;
use super::*;

fn by(who: &str) -> By {
    By::new(who, Some("because"))
}

/// A dead letter, last tried with this provider.
async fn fail(
    log: &dyn MessageLog,
    provider: &str,
    reason: &str,
    now: Timestamp,
    change: impl FnOnce(&mut Notification),
) -> NotificationId {
    let id = accept(log, now, change).await;
    let token = Token::fresh();
    let claimed = match claim_of(token, now) {
        Fact::Claimed { lease_until, hold_until, resend_of, limits, .. } => {
            let provider = provider.to_owned();
            Fact::Claimed { token, provider, lease_until, hold_until, resend_of, limits }
        }
        other => other,
    };
    assert!(matches!(claim_with(log, id, claimed, now).await, Claim::Won(_)));
    let refused = Fact::Refused { token, answer: Answer::default(), reason: reason.into() };
    assert!(matches!(apply(log, id, refused, now).await, Applied::Done { .. }));
    id
}

pub async fn acts_are_kept_and_read_back_in_their_order(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let id = accept(log, now, |_| ()).await;
    let facts = [
        Fact::Held { by: by("storm guard") },
        Fact::Released { by: By::new("予約係", None) },
        Fact::Cancelled { by: by("job 7") },
    ];
    for (i, fact) in (1..).zip(facts) {
        apply(log, id, fact, now.plus(secs(i))).await;
    }
    let act = |i, kind, who: &str, why: Option<&str>| Act {
        at: now.plus(secs(i)),
        kind,
        who: who.into(),
        why: why.map(str::to_owned),
    };
    let acts = vec![
        act(1, ActKind::Held, "storm guard", Some("because")),
        act(2, ActKind::Released, "予約係", None),
        act(3, ActKind::Cancelled, "job 7", Some("because")),
    ];
    assert_eq!(record(log, id).await.life.acts, acts);
    assert_eq!(log.lives(&[id]).await.unwrap()[0].as_ref().unwrap().acts, acts);
    let listed = log.list(&Filter::default(), None, 1, now).await.unwrap().items;
    assert_eq!(listed[0].life.acts, acts);
}

pub async fn a_redrive_keeps_the_deadline_and_a_late_one_drops_it(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let deadline = now.plus(secs(3600));
    let id = fail(log, "sendgrid", "poison", now, |n| n.useful_until = Some(deadline)).await;
    let redriven = |late| Fact::Redriven { by: by("job 1"), late };
    apply(log, id, redriven(true), now.plus(secs(10))).await;
    let life = record(log, id).await.life;
    assert_eq!((life.useful_until, life.acts[0].kind), (Some(deadline), ActKind::Redriven), "it is not late");
    apply(log, id, Fact::Expired, deadline.plus(secs(1))).await;
    let late = deadline.plus(secs(60));
    let refused = apply(log, id, redriven(false), late).await;
    assert!(matches!(refused, Applied::Refused(Refusal::NotAllowed(Status::Expired))), "{refused:?}");
    assert!(matches!(apply(log, id, redriven(true), late).await, Applied::Done { .. }));
    let life = record(log, id).await.life;
    assert_eq!((life.useful_until, life.status(late)), (None, Status::Retrying));
    assert_eq!(life.acts.last().unwrap().kind, ActKind::RedrivenLate);
    let due = log.due(late.plus(secs(7200)), 10).await.unwrap();
    assert_eq!((due[0].id, due[0].life.useful_until), (id, None), "no sweeper ends it");
    send(log, id, "m1", late).await;
}

pub async fn lives_and_contents_come_in_the_order_asked_for(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let mut news = Vec::new();
    for i in 0..120 {
        news.push(new(
            notification(|n| {
                n.tenant = format!("inn-{i}");
                n.deliver_at = Some(now.plus(secs(i)));
            }),
            now,
        ));
    }
    for accepted in log.accept(&news).await {
        accepted.unwrap();
    }
    let nobody = NotificationId::fresh();
    let mut ids: Vec<_> = news.iter().rev().map(|new| new.id).collect();
    ids.insert(50, nobody);
    ids.push(news[7].id);
    let (lives, contents) = (log.lives(&ids).await.unwrap(), log.contents(&ids).await.unwrap());
    assert_eq!((lives.len(), contents.len()), (122, 122));
    for ((id, life), content) in ids.iter().zip(lives).zip(contents) {
        let new = news.iter().find(|new| new.id == *id);
        assert_eq!(life.as_ref(), new.map(|new| &new.life));
        assert_eq!(content.as_ref(), new.map(|new| &new.content));
    }
    assert!(log.lives(&[]).await.unwrap().is_empty() && log.contents(&[]).await.unwrap().is_empty());
}

/// Random letters, which no compression makes small.
fn noise(bytes: usize) -> String {
    use rand::RngExt;
    let mut rng = rand::rng();
    (0..bytes).map(|_| char::from(rng.random_range(b' '..=b'~'))).collect()
}

pub async fn a_large_content_is_read_back_and_counted_by_its_template(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let data = [("blob".to_owned(), noise(2_000_000).into())].into_iter().collect();
    let large = new(
        notification(|n| {
            (n.subject, n.text) = (None, None);
            n.template = Some(Template { id: "d-large".into(), data });
        }),
        now,
    );
    log.accept(std::slice::from_ref(&large)).await.remove(0).unwrap();
    assert_eq!(log.contents(&[large.id]).await.unwrap(), [Some(large.content.clone())]);
    let groups = log.count_groups(&Filter::default(), now).await.unwrap();
    assert_eq!(groups[0].template.as_deref(), Some("d-large"));
    match claim_with(log, large.id, claim_of(Token::fresh(), now), now).await {
        Claim::Won(won) => assert_eq!(won.content, large.content),
        other => panic!("{other:?}"),
    }
}

/// What a preview says of one record.
type Line = (Status, Option<String>, String, Option<String>, Deadline);

fn lines(groups: Vec<Group>) -> BTreeMap<Line, u64> {
    let count = groups.len();
    let line = |group: Group| {
        ((group.status, group.reason, group.tenant, group.template, group.deadline), group.count)
    };
    let lines: BTreeMap<Line, u64> = groups.into_iter().map(line).collect();
    assert_eq!(lines.len(), count, "one line for each kind");
    lines
}

pub async fn a_preview_counts_by_status_reason_tenant_template_and_deadline(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let mut expected: BTreeMap<Line, u64> = BTreeMap::new();
    let deadlines = [
        (None, Deadline::None),
        (Some(50), Deadline::Over),
        (Some(3000), Deadline::WithinHour),
        (Some(3700), Deadline::WithinDay),
        (Some(90_000), Deadline::Later),
    ];
    for i in 0..40_u64 {
        let (until, deadline) = deadlines[(i % 5) as usize];
        let reason = ["poison", "no_such_template"][(i % 2) as usize];
        let (tenant, template) = (format!("inn-{}", i % 3), (i % 4 == 0).then(|| format!("d-{}", i % 8)));
        fail(log, "sendgrid", reason, now, |n| {
            n.tenant.clone_from(&tenant);
            n.useful_until = until.map(|seconds| now.plus(secs(seconds)));
            n.template = template.clone().map(|id| Template { id, data: Default::default() });
        })
        .await;
        *expected.entry((Status::Failed, Some(reason.into()), tenant, template, deadline)).or_default() += 1;
    }
    accept(log, now, |n| n.deliver_at = Some(now.plus(secs(60)))).await;
    expected.insert((Status::Accepted, None, "default".into(), None, Deadline::None), 1);
    let at = now.plus(secs(100));
    assert_eq!(lines(log.count_groups(&Filter::default(), at).await.unwrap()), expected);
    let failed = Filter {
        statuses: vec![Status::Failed],
        tenant: Some("inn-1".into()),
        reason: Some("poison".into()),
        ..Filter::default()
    };
    expected.retain(|line, _| line.1.as_deref() == Some("poison") && line.2 == "inn-1");
    assert!(expected.len() > 3);
    let counted = log.count_groups(&failed, at).await.unwrap();
    assert!(counted.is_sorted_by(|a, b| a.count >= b.count), "most first");
    assert_eq!(lines(counted), expected);
}

pub async fn the_provider_of_the_latest_attempt_is_a_filter(bench: &LogBench) {
    let (log, now) = (&*bench.log, start());
    let mut of_eu = Vec::new();
    for i in 0..9 {
        let provider = if i % 3 == 0 { "sendgrid-eu" } else { "sendgrid" };
        let at = now.plus(secs(i));
        let id = fail(log, provider, "poison", at, |n| n.batch = Some("tos".into())).await;
        if i % 3 == 0 {
            of_eu.push(id);
        }
    }
    accept(log, now, |_| ()).await;
    let eu = Filter { provider: Some("sendgrid-eu".into()), ..Filter::default() };
    let by_class = Filter { statuses: vec![Status::Failed], ..eu.clone() };
    let by_batch = Filter { batch: Some("tos".into()), ..eu.clone() };
    for filter in [eu, by_class, by_batch] {
        let listed = log.list(&filter, None, 10, now).await.unwrap().items;
        let mut ids: Vec<_> = listed.into_iter().map(|record| record.id).collect();
        ids.reverse();
        assert_eq!(ids, of_eu, "{filter:?}");
        let counted = log.count_groups(&filter, now).await.unwrap();
        assert_eq!(counted.iter().map(|group| group.count).sum::<u64>(), 3);
    }
    apply(log, of_eu[0], Fact::Redriven { by: by("job 1"), late: false }, now.plus(secs(60))).await;
    claim(log, of_eu[0], now.plus(secs(60))).await;
    let filter = Filter { provider: Some("sendgrid-eu".into()), ..Filter::default() };
    let listed = log.list(&filter, None, 10, now.plus(secs(60))).await.unwrap().items;
    assert_eq!(listed.len(), 2, "the latest attempt was another's");
}
