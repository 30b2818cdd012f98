//! Where a page ended.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::merge::{Candidate, Direction};
use crate::clock::Timestamp;
use crate::message_log::{Filter, LogError, Order};
use crate::notification::NotificationId;

/// What a listing is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// When it was accepted.
    Acceptance,
    /// From when the wait for it counts.
    Wait,
}

/// The order of one listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sorting {
    pub(super) by: By,
    pub(super) direction: Direction,
}

impl Sorting {
    pub(super) fn of(by: By, filter: &Filter) -> Self {
        let direction = match filter.order {
            Order::NewestFirst => Direction::Down,
            Order::OldestFirst => Direction::Up,
        };
        Self { by, direction }
    }

    fn tag(self) -> &'static str {
        match (self.by, self.direction) {
            (By::Acceptance, Direction::Down) => "n",
            (By::Acceptance, Direction::Up) => "o",
            (By::Wait, Direction::Down) => "v",
            (By::Wait, Direction::Up) => "w",
        }
    }
}

/// The place of the last record that a page had, or looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) at: Timestamp,
    pub(super) id: NotificationId,
}

impl Cursor {
    pub(super) fn of(candidate: &Candidate) -> Self {
        Self { at: candidate.at, id: candidate.id }
    }

    /// Reads a cursor back; one from a listing in another order is refused.
    pub(super) fn parse(text: &str, sorting: Sorting) -> Result<Self, LogError> {
        let read = || {
            let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
            let mut parts = text.split('.');
            let (tag, at, id) = (parts.next()?, parts.next()?, parts.next()?);
            let cursor = Self { at: Timestamp::from_ms(at.parse().ok()?), id: id.parse().ok()? };
            (tag == sorting.tag() && parts.next().is_none()).then_some(cursor)
        };
        read().ok_or(LogError::BadCursor)
    }

    pub(super) fn print(self, sorting: Sorting) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(format!("{}.{}.{}", sorting.tag(), self.at.as_ms(), self.id))
    }

    /// Whether this lies behind it.
    pub(super) fn is_before(self, candidate: &Candidate, direction: Direction) -> bool {
        direction.compare(&(self.at, self.id), &candidate.place()).is_lt()
    }
}
