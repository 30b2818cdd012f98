//! Claims that were won here: the outcome starts from what the claim wrote, without a read.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::change::Known;
use crate::notification::NotificationId;

/// Claims of one generation. Two generations are kept: more than any worker has under way.
const GENERATION: usize = 8192;

/// What is known of a row since this process wrote it.
#[derive(Clone, Debug)]
pub(super) struct Won {
    /// The row.
    pub(super) known: Known,
    /// The content, where the log does not have it.
    pub(super) content: Option<Bytes>,
}

/// Bounded: the generation before the last is forgotten.
#[derive(Debug, Default)]
pub(super) struct WonClaims(Mutex<[HashMap<NotificationId, Won>; 2]>);

impl WonClaims {
    pub(super) fn keep(&self, id: NotificationId, won: Won) {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *generations;
        if young.len() >= GENERATION {
            *old = std::mem::take(young);
        }
        old.remove(&id);
        young.insert(id, won);
    }

    pub(super) fn get(&self, id: NotificationId) -> Option<Won> {
        let generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        generations.iter().find_map(|generation| generation.get(&id)).cloned()
    }

    pub(super) fn forget(&self, id: NotificationId) {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for generation in &mut *generations {
            generation.remove(&id);
        }
    }
}
