//! What happened when, in steps as long as fit a line.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::message_log::Record;
use crate::notification::status::AttemptOutcome;

/// The most points, if the longest step allows.
const MOST_POINTS: i64 = 60;

/// Steps, in minutes: one, five, a quarter, an hour, six, a day, a week.
const STEPS: [i64; 7] = [1, 5, 15, 60, 360, 1440, 10_080];

const MINUTE_MS: i64 = 60_000;

/// What happened when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = IncidentTimeline)]
pub struct Timeline {
    /// How long each point stands for, in seconds.
    pub step_seconds: u64,
    /// From the first thing that happened to the last, without gaps.
    pub points: Vec<Point>,
}

/// What happened in one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = IncidentPoint)]
pub struct Point {
    /// When it begins.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Accepted.
    pub accepted: u64,
    /// Taken by a provider.
    pub sent: u64,
    /// Attempts that failed or whose outcome is not known.
    pub failed: u64,
}

/// Counts by minute: accepted, sent, failed.
#[derive(Default)]
pub(super) struct Minutes(BTreeMap<i64, [u64; 3]>);

impl Minutes {
    pub(super) fn add(&mut self, record: &Record, within: impl Fn(Timestamp) -> bool) {
        let life = &record.life;
        let mut add = |at: Timestamp, what: usize| {
            if within(at) {
                self.0.entry(at.as_ms() / MINUTE_MS).or_default()[what] += 1;
            }
        };
        add(life.accepted_at, 0);
        if let Some(at) = life.sent_at {
            add(at, 1);
        }
        let failed = [AttemptOutcome::NotAccepted, AttemptOutcome::Refused, AttemptOutcome::Unknown];
        for attempt in life.attempts.iter().filter(|attempt| failed.contains(&attempt.outcome)) {
            add(attempt.ended_at.unwrap_or(attempt.started_at), 2);
        }
    }

    pub(super) fn finish(self) -> Timeline {
        let first = self.0.keys().next().copied().unwrap_or(0);
        let last = self.0.keys().next_back().copied().unwrap_or(0);
        let points = |step: i64| last.div_euclid(step) - first.div_euclid(step) + 1;
        let step = STEPS.into_iter().find(|step| points(*step) <= MOST_POINTS).unwrap_or(STEPS[6]);
        let mut steps: BTreeMap<i64, [u64; 3]> = BTreeMap::new();
        if !self.0.is_empty() && points(step) <= 10 * MOST_POINTS {
            // Also those in which nothing happened: that is what an outage looks like.
            let all = first.div_euclid(step)..=last.div_euclid(step);
            steps.extend(all.map(|at| (at, [0; 3])));
        }
        for (minute, counts) in self.0 {
            let sum = steps.entry(minute.div_euclid(step)).or_default();
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        let point = |(at, [accepted, sent, failed]): (i64, [u64; 3])| Point {
            at: Timestamp::from_ms(at * step * MINUTE_MS),
            accepted,
            sent,
            failed,
        };
        let step_seconds = step.unsigned_abs() * 60;
        Timeline { step_seconds, points: steps.into_iter().map(point).collect() }
    }
}
