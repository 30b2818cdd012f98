//! What was accepted: the latest mails whole, and every id ever, to tell duplicates.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;

/// One accepted request. `Debug` leaves out what it says and to whom.
#[derive(Clone)]
pub struct Mail {
    /// When it was taken.
    pub accepted_at: Timestamp,
    /// What its `X-Message-Id` said.
    pub message_id: String,
    /// Its `kakitome_id` custom argument, where it has one.
    pub kakitome_id: Option<String>,
    /// The request as it came.
    pub request: Bytes,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail")
            .field("message_id", &self.message_id)
            .field("kakitome_id", &self.kakitome_id)
            .finish_non_exhaustive()
    }
}

/// The counts of [`Outbox`]. `accepted` = `distinct` + `duplicates`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) accepted: u64,
    pub(super) distinct: u64,
    pub(super) duplicates: u64,
    pub(super) refused: u64,
}

/// Accepted mails, newest last. The lock is held for a push or a copy of handles, never for formatting.
#[derive(Debug)]
pub(super) struct Outbox {
    capacity: usize,
    capacity_bytes: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    mails: VecDeque<Mail>,
    bytes: usize,
    /// 16 bytes an id, so that a million mails cost some 30 MB.
    seen: HashSet<u128>,
    counts: Counts,
}

impl Outbox {
    pub(super) fn new(capacity: usize, capacity_bytes: usize) -> Self {
        Self { capacity, capacity_bytes, kept: Mutex::default() }
    }

    pub(super) fn accept(&self, mail: Mail) {
        let id = mail.kakitome_id.as_deref().map(compact);
        let mut forgotten = Vec::new();
        self.with(|kept| {
            kept.counts.accepted += 1;
            // A mail without an id cannot be told from any other: it counts as distinct.
            if id.is_none_or(|id| kept.seen.insert(id)) {
                kept.counts.distinct += 1;
            } else {
                kept.counts.duplicates += 1;
            }
            kept.bytes += mail.request.len();
            kept.mails.push_back(mail);
            while kept.mails.len() > self.capacity || kept.bytes > self.capacity_bytes {
                let Some(oldest) = kept.mails.pop_front() else {
                    break;
                };
                kept.bytes -= oldest.request.len();
                // Freed after the lock.
                forgotten.push(oldest);
            }
        });
    }

    pub(super) fn refuse(&self) {
        self.with(|kept| kept.counts.refused += 1);
    }

    pub(super) fn counts(&self) -> Counts {
        self.with(|kept| kept.counts)
    }

    /// The kept mails that `wanted` wants, at most the newest `limit` of them, newest last.
    pub(super) fn mails(&self, limit: usize, wanted: impl Fn(&Mail) -> bool) -> Vec<Mail> {
        let all: Vec<_> = self.with(|kept| kept.mails.iter().cloned().collect());
        let mut mails: Vec<_> = all.into_iter().rev().filter(wanted).take(limit).collect();
        mails.reverse();
        mails
    }

    /// Forgets everything, counts and ids included.
    pub(super) fn clear(&self) {
        drop(self.with(std::mem::take));
    }

    fn with<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> T {
        look(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A UUID as it is, anything else as half of its SHA-256.
fn compact(id: &str) -> u128 {
    uuid::Uuid::try_parse(id).map(|uuid| uuid.as_u128()).unwrap_or_else(|_| {
        let hash = Sha256::digest(id.as_bytes());
        hash.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(id: Option<&str>, bytes: usize) -> Mail {
        Mail {
            accepted_at: Timestamp::from_ms(0),
            message_id: String::new(),
            kakitome_id: id.map(str::to_owned),
            request: Bytes::from(vec![b' '; bytes]),
        }
    }

    #[test]
    fn forgotten_mails_still_count_as_seen() {
        let outbox = Outbox::new(2, 100);
        for id in
            ["a", "b", "c", "a", "0193a2d0-7c1c-7000-8000-000000000001", "0193A2D07C1C70008000000000000001"]
        {
            outbox.accept(mail(Some(id), 1));
        }
        assert_eq!(outbox.counts(), Counts { accepted: 6, distinct: 4, duplicates: 2, refused: 0 });
        assert_eq!(outbox.mails(10, |_| true).len(), 2);
    }

    #[test]
    fn mails_are_forgotten_by_their_bytes_too() {
        let outbox = Outbox::new(10, 100);
        (0..5).for_each(|_| outbox.accept(mail(None, 40)));
        assert_eq!(outbox.mails(10, |_| true).len(), 2);
        assert_eq!(outbox.mails(1, |_| true).len(), 1);
        assert_eq!(outbox.counts().distinct, 5);
        outbox.clear();
        assert_eq!((outbox.counts(), outbox.mails(10, |_| true).len()), (Counts::default(), 0));
    }
}
