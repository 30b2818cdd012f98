//! Which records are meant: the parameters of a listing and the filter of a job, lowered into the log's filter.

use axum::extract::Query;
use axum::http::Uri;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

use super::trouble::{self, fault};
use crate::clock::Timestamp;
use crate::message_log::{Filter, Order};
use crate::notification::address::Address;
use crate::notification::content::Fault;
use crate::notification::status::Status;
use crate::server::problem::Problem;

/// The largest page.
pub const MAX_LIMIT: usize = 1000;
const DEFAULT_LIMIT: usize = 100;

/// The parameters of a listing, as given. An empty value counts as not given.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Question {
    /// Any of these; repeat it, or separate by commas.
    pub status: Vec<Status>,
    /// Whose. Other tenants' need the scope admin.
    pub tenant: Option<String>,
    /// The broadcast.
    pub batch: Option<String>,
    /// A recipient's address.
    pub recipient: Option<String>,
    /// The provider of the latest attempt.
    pub provider: Option<String>,
    /// The reason, to the letter.
    pub reason: Option<String>,
    /// Recorded at or after: RFC 3339, or a span back from now such as `2h` or `7d`.
    pub since: Option<String>,
    /// Recorded before: RFC 3339, or a span back from now.
    pub until: Option<String>,
    /// `true`: only what was accepted and not handed to a provider, dead letters included.
    pub unsent: Option<bool>,
    /// `oldest` or `newest` (default) first.
    #[param(inline)]
    pub order: Option<OrderName>,
    /// 1 to 1000; 100 when not given.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<usize>,
    /// A former page's `next_cursor`.
    pub cursor: Option<String>,
}

/// The name of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OrderName {
    /// Latest accepted first.
    Newest,
    /// Waiting longest first.
    Oldest,
}

/// What a filter says of records. Every given field must match.
#[derive(Clone, Debug, Default)]
pub(super) struct Criteria {
    pub(super) statuses: Vec<Status>,
    pub(super) tenant: Option<String>,
    pub(super) batch: Option<String>,
    pub(super) recipient: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) since: Option<String>,
    pub(super) until: Option<String>,
}

/// A filter for the log. There, no status means every status; here a filter can also match nothing at all, and must
/// then not reach the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    pub(super) filter: Filter,
    pub(super) matches_nothing: bool,
}

impl Selection {
    /// Leaves only these statuses of those that were asked for.
    pub(super) fn narrow(&mut self, allowed: impl Fn(Status) -> bool) {
        let asked: &[Status] =
            if self.filter.statuses.is_empty() { &Status::ALL } else { &self.filter.statuses };
        let left: Vec<Status> = asked.iter().copied().filter(|status| allowed(*status)).collect();
        self.matches_nothing |= left.is_empty();
        self.filter.statuses = left;
    }
}

impl Criteria {
    /// The filter; faults name the fields below `place`.
    pub(super) fn lower(self, place: &str, now: Timestamp, faults: &mut Vec<Fault>) -> Selection {
        let mut time = |name: &str, text: Option<String>| {
            let text = text?;
            let at = moment(&text, now);
            if at.is_none() {
                faults.push(fault(
                    &format!("{place}/{name}"),
                    "is neither an RFC 3339 time nor a span such as 2h",
                ));
            }
            at
        };
        let (since, until) = (time("since", self.since), time("until", self.until));
        let recipient = self.recipient.and_then(|text| match Address::parse(&text) {
            Ok(address) => Some(address),
            Err(wrong) => {
                faults.push(fault(&format!("{place}/recipient"), wrong.to_string()));
                None
            }
        });
        let Self { statuses, tenant, batch, provider, reason, .. } = self;
        let order = Order::default();
        let filter = Filter { statuses, tenant, batch, recipient, provider, reason, since, until, order };
        Selection { filter, matches_nothing: false }
    }
}

/// How long a page may be, as the text of a parameter says; an empty one counts as not given.
pub(super) fn limit(text: Option<String>) -> Result<usize, &'static str> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(DEFAULT_LIMIT) };
    let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or("must be a whole number from 1 to 1000")
}

/// A moment: RFC 3339 with any offset, or a span back from `now` such as `90s`, `2h`, `1d12h`.
pub fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    // A `+` that a client did not escape comes out of a query as a blank, and no other blank is right here.
    Timestamp::parse(&text.replace(' ', "+")).or_else(|| Some(now.minus(span(text)?)))
}

/// A span of time: whole numbers, each with its unit `s`, `m`, `h`, `d` or `w`.
pub fn span(text: &str) -> Option<Duration> {
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let seconds = match rest.as_bytes()[digits] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(seconds)?)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then(|| Duration::from_secs(total))
}

/// What a listing asks for.
pub(super) struct Wanted {
    pub(super) selection: Selection,
    pub(super) cursor: Option<String>,
    pub(super) limit: usize,
}

/// Reads a listing's parameters; every fault at once.
pub(super) fn parse(uri: &Uri, now: Timestamp) -> Result<Wanted, Problem> {
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
        return Err(trouble::invalid_at("", "the query cannot be read"));
    };
    let mut faults = Vec::new();
    let question = Question::of(pairs, &mut faults);
    let criteria = Criteria {
        statuses: question.status,
        tenant: question.tenant,
        batch: question.batch,
        recipient: question.recipient,
        provider: question.provider,
        reason: question.reason,
        since: question.since,
        until: question.until,
    };
    let mut selection = criteria.lower("", now, &mut faults);
    if question.unsent == Some(true) {
        selection.narrow(Status::is_unsent);
    }
    if question.order == Some(OrderName::Oldest) {
        selection.filter.order = Order::OldestFirst;
    }
    if faults.is_empty() {
        Ok(Wanted { selection, cursor: question.cursor, limit: question.limit.unwrap_or(DEFAULT_LIMIT) })
    } else {
        Err(trouble::invalid(faults))
    }
}

impl Question {
    fn of(pairs: Vec<(String, String)>, faults: &mut Vec<Fault>) -> Self {
        let mut question = Self::default();
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            if let Err(detail) = question.take(&name, value) {
                // The name is the caller's, and could be anything of any length.
                let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
                faults.push(fault(&format!("/{}", shown.replace('~', "~0").replace('/', "~1")), detail));
            }
        }
        question
    }

    fn take(&mut self, name: &str, value: String) -> Result<(), &'static str> {
        let text = match name {
            "status" => return self.take_statuses(&value),
            "unsent" => {
                let unsent = value.parse().map_err(|_| "must be true or false")?;
                return put(&mut self.unsent, unsent);
            }
            "order" => {
                let order = match value.as_str() {
                    "newest" => OrderName::Newest,
                    "oldest" => OrderName::Oldest,
                    _ => return Err("must be newest or oldest"),
                };
                return put(&mut self.order, order);
            }
            "limit" => {
                return put(&mut self.limit, limit(Some(value))?);
            }
            "tenant" => &mut self.tenant,
            "batch" => &mut self.batch,
            "recipient" => &mut self.recipient,
            "provider" => &mut self.provider,
            "reason" => &mut self.reason,
            "since" => &mut self.since,
            "until" => &mut self.until,
            "cursor" => &mut self.cursor,
            _ => return Err("is not a parameter of this listing"),
        };
        put(text, value)
    }

    fn take_statuses(&mut self, value: &str) -> Result<(), &'static str> {
        for name in value.split(',').map(str::trim) {
            let status = Status::named(name);
            let status = status.ok_or(
                "must be of accepted, scheduled, held, attempting, retrying, unknown, sent, failed, expired, \
                 cancelled, suppressed",
            )?;
            if !self.status.contains(&status) {
                self.status.push(status);
            }
        }
        Ok(())
    }
}

fn put<T>(place: &mut Option<T>, value: T) -> Result<(), &'static str> {
    match place.replace(value) {
        Some(_) => Err("is given twice"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_of_any_offset_or_a_span_back_from_now() {
        let now = Timestamp::from_ms(1_000_000_000_000);
        let at = |text| moment(text, now).map(|at| at.to_string()).unwrap_or_default();
        assert_eq!(at("2026-11-21T18:00:00+09:00"), "2026-11-21T09:00:00.000Z");
        assert_eq!(at("2026-11-21T18:00:00 09:00"), "2026-11-21T09:00:00.000Z");
        assert_eq!(moment("1d12h", now), Some(now.minus(Duration::from_secs(129_600))));
        for wrong in ["", "2", "h", "2y", "-2h", "2 h", "99999999999999999999w", "2026-11-21"] {
            assert_eq!(moment(wrong, now), None, "{wrong}");
        }
    }

    #[test]
    fn statuses_that_exclude_each_other_match_nothing_rather_than_everything() {
        let mut selection = Selection::default();
        selection.narrow(|status| status == Status::Failed);
        assert_eq!(
            (selection.filter.statuses.as_slice(), selection.matches_nothing),
            (&[Status::Failed][..], false)
        );
        selection.narrow(|status| status == Status::Held);
        assert!(selection.matches_nothing);
    }
}
