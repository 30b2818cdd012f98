//! From a filter to where its records are looked for.

use super::cursor::{By, Sorting};
use super::keys::{self, Class, Item};
use super::life;
use super::row::{number, text};
use crate::clock::Timestamp;
use crate::message_log::Filter;
use crate::notification::status::{State, Status};

/// Where the records of a filter are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// Among this recipient's entries, hour by hour.
    Recipient(String),
    /// In the index `batch`.
    Batch(String),
    /// In these parts of the index `open`: nothing that was sent is asked for.
    Open(Vec<Part>),
    /// Among all entries, hour by hour.
    Time,
}

/// A class in the index `open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) class: Class,
    /// Only up to this place.
    pub(super) until: Option<Timestamp>,
}

impl Walk {
    pub(super) fn of(filter: &Filter, now: Timestamp) -> Self {
        if let Some(address) = &filter.recipient {
            return Walk::Recipient(keys::recipient_key(address));
        }
        if let Some(batch) = &filter.batch {
            return Walk::Batch(batch.clone());
        }
        // What was sent has no reason.
        let is_open = filter.reason.is_some()
            || !filter.statuses.is_empty() && !filter.statuses.contains(&Status::Sent);
        if is_open { Walk::Open(parts(filter, now)) } else { Walk::Time }
    }

    /// The order of its listing. Only the index `open` goes by the wait.
    pub(super) fn sorting(&self, filter: &Filter) -> Sorting {
        let by = if matches!(self, Walk::Open(_)) { By::Wait } else { By::Acceptance };
        Sorting::of(by, filter)
    }
}

fn parts(filter: &Filter, now: Timestamp) -> Vec<Part> {
    let wants = |statuses: &[Status]| {
        filter.statuses.is_empty() || statuses.iter().any(|status| filter.statuses.contains(status))
    };
    let whole = |class| Part { class, until: None };
    let part = |class| match class {
        Class::OnItsWay => {
            let on_its_way = [Status::Accepted, Status::Attempting, Status::Unknown, Status::Retrying];
            wants(&on_its_way).then(|| whole(class))
        }
        Class::Scheduled if wants(&[Status::Scheduled]) => Some(whole(class)),
        // Those that have come due, claimed or not.
        Class::Scheduled => wants(&[Status::Accepted, Status::Attempting, Status::Unknown])
            .then_some(Part { class, until: Some(now) }),
        Class::Held => wants(&[Status::Held]).then(|| whole(class)),
        Class::Failed => wants(&[Status::Failed]).then(|| whole(class)),
        Class::Expired => wants(&[Status::Expired]).then(|| whole(class)),
        Class::Stopped => wants(&[Status::Cancelled, Status::Suppressed]).then(|| whole(class)),
    };
    Class::ALL.into_iter().filter_map(part).collect()
}

/// What an entry of the index `open` says of its row. Right but for claims, which the index does not see.
pub(super) struct Seen<'a> {
    pub(super) state: Option<State>,
    pub(super) reason: Option<&'a str>,
    tenant: Option<&'a str>,
    batch: Option<&'a str>,
    accepted_at: Option<Timestamp>,
}

impl<'a> Seen<'a> {
    pub(super) fn read(item: &'a Item) -> Self {
        Self {
            state: number(item, "sv").and_then(life::state),
            reason: text(item, "rn"),
            tenant: text(item, "te"),
            batch: text(item, "ba"),
            accepted_at: number(item, "aa").map(Timestamp::from_ms),
        }
    }

    /// Whether its row may be what the filter asks for. A claim takes a reason away and gives none.
    pub(super) fn may_fit(&self, filter: &Filter) -> bool {
        let statuses = self.state.map_or(&Status::ALL[..], may_be);
        (filter.statuses.is_empty() || filter.statuses.iter().any(|status| statuses.contains(status)))
            && filter.reason.as_deref().is_none_or(|reason| self.reason == Some(reason))
            && filter.tenant.as_deref().is_none_or(|tenant| self.tenant == Some(tenant))
            && filter.batch.as_deref().is_none_or(|batch| self.batch == Some(batch))
            && self.accepted_at.is_none_or(|at| is_within(filter, at))
    }
}

/// Whether it was accepted when the filter says.
pub(super) fn is_within(filter: &Filter, accepted_at: Timestamp) -> bool {
    filter.since.is_none_or(|since| accepted_at >= since)
        && filter.until.is_none_or(|until| accepted_at < until)
}

/// The statuses of a row that the index saw in this state last: it may have been claimed since.
fn may_be(state: State) -> &'static [Status] {
    match state {
        State::Accepted => &[Status::Accepted, Status::Attempting, Status::Unknown],
        State::Scheduled => &[Status::Scheduled, Status::Accepted, Status::Attempting, Status::Unknown],
        State::Retrying => &[Status::Retrying, Status::Attempting, Status::Unknown],
        State::Attempting => &[Status::Attempting, Status::Unknown],
        State::Held => &[Status::Held],
        State::Sent => &[],
        State::Failed => &[Status::Failed],
        State::Expired => &[Status::Expired],
        State::Cancelled => &[Status::Cancelled],
        State::Suppressed => &[Status::Suppressed],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(statuses: &[Status]) -> String {
        let filter = Filter { statuses: statuses.to_vec(), ..Filter::default() };
        match Walk::of(&filter, Timestamp::from_ms(9)) {
            Walk::Open(parts) => {
                let letter = |part: &Part| {
                    format!("{}{}", part.class.letter(), if part.until.is_some() { "!" } else { "" })
                };
                parts.iter().map(letter).collect()
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn only_the_parts_of_the_index_that_may_hold_it_are_read() {
        assert_eq!(classes(&[Status::Failed]), "f");
        assert_eq!(classes(&[Status::Cancelled]), "c");
        assert_eq!(classes(&[Status::Retrying]), "q");
        assert_eq!(classes(&[Status::Unknown]), "qs!");
        assert_eq!(classes(&[Status::Scheduled]), "s");
        assert_eq!(classes(&[Status::Scheduled, Status::Accepted, Status::Held]), "qsh");
        assert_eq!(classes(&[Status::Sent, Status::Failed]), "Time");
        assert_eq!(classes(&[]), "Time");
        let reason = Filter { reason: Some("no".into()), ..Filter::default() };
        assert!(matches!(Walk::of(&reason, Timestamp::from_ms(0)), Walk::Open(parts) if parts.len() == 6));
    }
}
