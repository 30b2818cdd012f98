//! Facts told to what is known of a row, before anything is written.

use std::sync::Arc;

use super::change::Known;
use crate::clock::Timestamp;
use crate::message_log::Applied;
use crate::notification::status::{Fact, Life};

/// Facts told to a life, one after the other.
pub(super) struct Folded {
    /// What became of each.
    pub(super) results: Vec<Applied>,
    pub(super) before: Arc<Life>,
    /// The last life that a fact led to; `None` where none applied.
    last: Option<usize>,
}

impl Folded {
    pub(super) fn of(known: &Known, facts: &[(usize, &Fact)], now: Timestamp) -> Self {
        let mut results: Vec<Applied> = Vec::with_capacity(facts.len());
        let mut last = None;
        for (_, fact) in facts {
            let current = last.and_then(|ix: usize| after_of(&results[ix])).unwrap_or(&known.life);
            let before = current.status(now);
            let result = match current.after(fact, now) {
                Ok(life) => Applied::Done { before, life: Box::new(life) },
                Err(refusal) => Applied::Refused(refusal),
            };
            if matches!(result, Applied::Done { .. }) {
                last = Some(results.len());
            }
            results.push(result);
        }
        Self { results, before: known.life.clone(), last }
    }

    pub(super) fn after(&self) -> &Life {
        self.last.and_then(|ix| after_of(&self.results[ix])).unwrap_or(&self.before)
    }

    pub(super) fn is_refused(&self) -> bool {
        self.results.iter().any(|result| matches!(result, Applied::Refused(_)))
    }
}

fn after_of(applied: &Applied) -> Option<&Life> {
    match applied {
        Applied::Done { life, .. } => Some(life),
        _ => None,
    }
}
