//! What an incident did, folded from the records one by one: who is affected and can still be saved, what was sent late
//! or twice, how long it took, what the providers answered, and what to do next. Pure: no log, no clock.

mod affected;
mod answers;
mod commands;
mod delays;
mod timeline;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::message_log::Record;
use crate::notification::status::Status;

pub use affected::{Affected, Shown, Why};
use affected::{Ranked, Rows};
use answers::Answers;
pub use answers::ProviderAnswer;
pub use commands::Command;
use delays::Delays;
pub use delays::Spread;
use timeline::Minutes;
pub use timeline::{Point, Timeline};

/// Names in a table of counts; the rest is one line.
const MOST_NAMES: usize = 50;

/// What is asked about.
#[derive(Clone, Debug)]
pub struct Question {
    /// From when on.
    pub since: Timestamp,
    /// Accepted before; `None`: until now.
    pub until: Option<Timestamp>,
    /// One tenant's only, as the commands are to say it.
    pub tenant: Option<String>,
    /// Sent, or not sent, later than this after it was ready is late.
    pub late_after: Duration,
    /// How many affected ones are told one by one.
    pub limit: usize,
    /// Tell recipients' addresses in full.
    pub in_full: bool,
}

/// The fold.
pub struct Incident {
    question: Question,
    looked_at: u64,
    affected: u64,
    by_why: BTreeMap<Why, u64>,
    by_status: BTreeMap<Status, u64>,
    reasons: BTreeMap<String, u64>,
    batches: BTreeMap<String, u64>,
    tenants: BTreeMap<String, TenantCount>,
    earliest: BTreeMap<Why, Timestamp>,
    dead_reasons: BTreeMap<String, u64>,
    held_reasons: BTreeMap<String, u64>,
    rows: Rows,
    delays: Delays,
    answers: Answers,
    minutes: Minutes,
}

/// What came of the fold.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Incident)]
pub struct Report {
    /// From when on.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Accepted before; null: until now.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub until: Option<Timestamp>,
    /// When it was looked at.
    #[schema(value_type = String, format = DateTime)]
    pub now: Timestamp,
    /// One tenant's only; null: all.
    #[schema(required = true)]
    pub tenant: Option<String>,
    /// After how many seconds one counts as late.
    pub late_after_seconds: u64,
    /// How many records were looked at.
    pub looked_at: u64,
    /// There was more to look at: every figure is a lower bound.
    pub cut: bool,
    /// How many are affected.
    pub affected: u64,
    /// By why; one may be affected for two reasons.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub by_why: BTreeMap<Why, u64>,
    /// Affected ones by status.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub by_status: BTreeMap<Status, u64>,
    /// Affected ones by reason, or by what the provider said last, most first.
    pub by_reason: Vec<Counted>,
    /// Affected ones by broadcast, most first.
    pub by_batch: Vec<Counted>,
    /// Affected ones by tenant, most first.
    pub by_tenant: Vec<TenantCount>,
    /// From ready to sent, for what was sent.
    #[schema(required = true)]
    pub sent_delay: Option<Spread>,
    /// From ready until now, for what is not sent and should be.
    #[schema(required = true)]
    pub waiting: Option<Spread>,
    /// What the providers answered, most first.
    pub answers: Vec<ProviderAnswer>,
    /// What happened when.
    pub timeline: Timeline,
    /// What to do next.
    pub commands: Vec<Command>,
    /// Affected ones: those that can still be saved first, least time left first; then those without a deadline, longest
    /// wait first; then what is over; then what was sent late or twice.
    pub items: Vec<Affected>,
    /// There are more affected ones than `items` tells.
    pub more: bool,
}

/// A name and how many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = IncidentCount)]
pub struct Counted {
    /// The name; null: all others together.
    #[schema(required = true)]
    pub name: Option<String>,
    /// How many.
    pub count: u64,
}

/// One tenant's share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = IncidentTenant)]
pub struct TenantCount {
    /// Whose; null: all others together.
    #[schema(required = true)]
    pub tenant: Option<String>,
    /// How many are affected.
    pub affected: u64,
    /// Of those: not sent.
    pub not_sent: u64,
    /// Of those: not sent, and their deadline is to come.
    pub with_time_left: u64,
}

impl Incident {
    /// Nothing looked at yet.
    pub fn new(question: Question) -> Self {
        Self {
            rows: Rows::new(question.limit),
            question,
            looked_at: 0,
            affected: 0,
            by_why: BTreeMap::new(),
            by_status: BTreeMap::new(),
            reasons: BTreeMap::new(),
            batches: BTreeMap::new(),
            tenants: BTreeMap::new(),
            earliest: BTreeMap::new(),
            dead_reasons: BTreeMap::new(),
            held_reasons: BTreeMap::new(),
            delays: Delays::default(),
            answers: Answers::default(),
            minutes: Minutes::default(),
        }
    }

    /// How many records were looked at.
    pub fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// Folds one record in, as it stands at `now`. What the question is not about changes nothing.
    pub fn add(&mut self, record: &Record, now: Timestamp) {
        self.looked_at += 1;
        let Question { since, until, .. } = self.question;
        let life = &record.life;
        let status = life.status(now);
        let is_accepted_within =
            life.accepted_at >= since && until.is_none_or(|until| life.accepted_at < until);
        // What was handed in before and is open still, or failed since, is part of it too.
        let is_left_over = life.accepted_at < since
            && status.is_unsent()
            && (!status.is_end() || life.status_since(now) >= since);
        if !is_accepted_within && !is_left_over {
            return;
        }
        let within = |at: Timestamp| at >= since && until.is_none_or(|until| at < until);
        self.minutes.add(record, within);
        self.answers.add(&life.attempts, |at| at >= since);
        self.delays.add(life, status, now);
        let why = affected::why(record, status, self.question.late_after, now);
        if !why.is_empty() {
            self.count(record, status, &why, now);
        }
    }

    fn count(&mut self, record: &Record, status: Status, why: &[Why], now: Timestamp) {
        let life = &record.life;
        self.affected += 1;
        *self.by_status.entry(status).or_default() += 1;
        for why in why {
            *self.by_why.entry(*why).or_default() += 1;
            let earliest = self.earliest.entry(*why).or_insert(life.accepted_at);
            *earliest = life.accepted_at.min(*earliest);
        }
        *self.reasons.entry(affected::reason(life)).or_default() += 1;
        if let Some(batch) = &record.batch {
            *self.batches.entry(batch.clone()).or_default() += 1;
        }
        if let Some(reason) = &life.reason {
            let reasons = match status {
                Status::Failed => Some(&mut self.dead_reasons),
                Status::Held => Some(&mut self.held_reasons),
                _ => None,
            };
            if let Some(reasons) = reasons {
                *reasons.entry(reason.clone()).or_default() += 1;
            }
        }
        let share = self.tenants.entry(record.tenant.clone()).or_default();
        share.affected += 1;
        share.not_sent += u64::from(status != Status::Sent);
        let has_time_left = status.is_unsent() && life.useful_until.is_some_and(|deadline| deadline > now);
        share.with_time_left += u64::from(has_time_left);
        let in_full = self.question.in_full;
        self.rows.offer(Ranked::of(life, status, record.id, now), || {
            Affected::of(record, status, why.to_vec(), in_full, now)
        });
    }

    /// What came of it. `cut`: not every record was looked at.
    pub fn finish(self, cut: bool, now: Timestamp) -> Report {
        let commands = commands::next(&self);
        let more = self.affected > self.rows.len();
        let Self { question, .. } = self;
        let mut by_tenant: Vec<TenantCount> = self
            .tenants
            .into_iter()
            .map(|(tenant, share)| TenantCount { tenant: Some(tenant), ..share })
            .collect();
        by_tenant.sort_by_key(|share| std::cmp::Reverse(share.affected));
        let rest = by_tenant.split_off(by_tenant.len().min(MOST_NAMES));
        let others = rest.into_iter().reduce(|sum, one| TenantCount {
            tenant: None,
            affected: sum.affected + one.affected,
            not_sent: sum.not_sent + one.not_sent,
            with_time_left: sum.with_time_left + one.with_time_left,
        });
        by_tenant.extend(others.map(|others| TenantCount { tenant: None, ..others }));
        Report {
            since: question.since,
            until: question.until,
            now,
            tenant: question.tenant,
            late_after_seconds: question.late_after.as_secs(),
            looked_at: self.looked_at,
            cut,
            affected: self.affected,
            by_why: self.by_why,
            by_status: self.by_status,
            by_reason: counted(self.reasons),
            by_batch: counted(self.batches),
            by_tenant,
            sent_delay: self.delays.sent(),
            waiting: self.delays.waiting(),
            answers: self.answers.finish(),
            timeline: self.minutes.finish(),
            commands,
            items: self.rows.finish(),
            more,
        }
    }
}

/// Most first.
fn counted(counts: BTreeMap<String, u64>) -> Vec<Counted> {
    let mut counted: Vec<Counted> =
        counts.into_iter().map(|(name, count)| Counted { name: Some(name), count }).collect();
    counted.sort_by_key(|one| std::cmp::Reverse(one.count));
    let rest = counted.split_off(counted.len().min(MOST_NAMES));
    if !rest.is_empty() {
        counted.push(Counted { name: None, count: rest.iter().map(|one| one.count).sum() });
    }
    counted
}

#[cfg(test)]
#[path = "incident_tests.rs"]
mod tests;
