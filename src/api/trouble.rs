//! From what went wrong to the problem that the caller reads.

use std::time::Duration;

use axum::http::StatusCode;

use crate::feed::FeedError;
use crate::inbox::InboxError;
use crate::journal::JournalError;
use crate::message_log::LogError;
use crate::notification::content::Fault;
use crate::notification::status::Refusal;
use crate::queue::QueueError;
use crate::server::BodyError;
use crate::server::problem::Problem;
use crate::suppression::ListError;

/// How long to wait when the storage or the memory is short: long enough for a group commit or a burst to pass.
const SHORTAGE: Duration = Duration::from_secs(1);
/// How long to wait for a backlog to shrink.
const BACKLOG: Duration = Duration::from_secs(5);

/// One fault at a place.
pub(super) fn fault(pointer: &str, detail: impl Into<String>) -> Fault {
    Fault { pointer: pointer.to_owned(), detail: detail.into() }
}

/// Notes a fault unless the value is right.
pub(super) fn check(is_right: bool, pointer: &str, detail: &str, faults: &mut Vec<Fault>) {
    if !is_right {
        faults.push(fault(pointer, detail));
    }
}

/// 422 with every fault.
pub(super) fn invalid(errors: Vec<Fault>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY).with_detail("the request is not valid").with_errors(errors)
}

/// 422 with one fault.
pub(super) fn invalid_at(pointer: &str, detail: impl Into<String>) -> Problem {
    invalid(vec![fault(pointer, detail)])
}

pub(super) fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND).with_detail("there is no such notification")
}

/// A key that may not act for the tenant that `pointer` names.
pub(super) fn foreign_tenant(pointer: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN)
        .with_detail("the key belongs to another tenant")
        .with_errors(vec![fault(pointer, "is not the tenant of this key")])
}

/// 409: the notification's state forbids it.
pub(super) fn refused(refusal: &Refusal) -> Problem {
    Problem::new(StatusCode::CONFLICT).with_detail(refusal.to_string())
}

/// 409: the idempotency key stands for something else.
pub(super) fn conflict() -> Problem {
    Problem::new(StatusCode::CONFLICT)
        .with_detail("the idempotency key was used before with other content")
        .with_errors(vec![fault("/idempotency_key", "was used before with other content")])
}

pub(super) fn backlog_full() -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS)
        .with_detail("too many notifications are open; hand in more once some are sent")
        .with_retry_after(BACKLOG)
}

pub(super) fn memory_short() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE)
        .with_detail("too many large requests are under way")
        .with_retry_after(SHORTAGE)
}

/// 413; `limit` in bytes.
pub(super) fn too_large(limit: usize) -> Problem {
    let detail = format!("the body is larger than the limit of {limit} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE).with_detail(detail)
}

/// A body that could not be read; `limit` in bytes.
pub(super) fn body(error: BodyError, limit: usize) -> Problem {
    match error {
        BodyError::TooLarge => too_large(limit),
        BodyError::TimedOut => Problem::new(StatusCode::REQUEST_TIMEOUT).with_detail(error.to_string()),
        BodyError::Broken => Problem::new(StatusCode::BAD_REQUEST).with_detail(error.to_string()),
    }
}

/// The log failed: writes that down once, and says so to the caller.
pub(super) fn log(error: &LogError) -> Problem {
    if !matches!(error, LogError::BadCursor) {
        tracing::error!(%error, "a request could not be answered");
    }
    log_failed(error)
}

/// The journal failed: writes that down once, and says so to the caller.
pub(super) fn journal(error: &JournalError) -> Problem {
    tracing::error!(%error, "a request could not be answered");
    let problem = match error {
        JournalError::Unavailable(_) | JournalError::Contended(_) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE).with_retry_after(SHORTAGE)
        }
        JournalError::Corrupt { .. } | JournalError::TooLarge(_) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR)
        }
    };
    problem.with_detail("the journal could not answer")
}

/// The feed did not answer, or not to this cursor.
pub(super) fn feed(error: &FeedError) -> Problem {
    let at_cursor = |status| Problem::new(status).with_errors(vec![fault("/cursor", error.to_string())]);
    match error {
        FeedError::BadCursor => at_cursor(StatusCode::BAD_REQUEST).with_detail("the cursor cannot be used"),
        FeedError::Expired { since } => at_cursor(StatusCode::GONE).with_detail(format!(
            "some of what follows the cursor is gone: entries are kept from {since} on"
        )),
        FeedError::NotKept { .. } => Problem::new(StatusCode::NOT_FOUND).with_detail(error.to_string()),
        FeedError::Unavailable(_) => {
            tracing::error!(%error, "a request could not be answered");
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).with_retry_after(SHORTAGE);
            problem.with_detail("the feed could not answer")
        }
    }
}

/// The queue failed: writes that down once, and says so to the caller.
pub(super) fn queue(error: &QueueError) -> Problem {
    tracing::error!(%error, "a request could not be answered");
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).with_retry_after(SHORTAGE);
    problem.with_detail("the queue could not answer")
}

/// The inbox of events failed: writes that down once, and says so to the caller.
pub(super) fn inbox(error: &InboxError) -> Problem {
    tracing::error!(%error, "a request could not be answered");
    let wait = if matches!(error, InboxError::Full(_)) { BACKLOG } else { SHORTAGE };
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).with_retry_after(wait);
    problem.with_detail("the inbox of events does not take them back now")
}

/// The suppression list failed: writes that down once, and says so to the caller.
pub(super) fn suppressions(error: &ListError) -> Problem {
    let problem = match error {
        ListError::BadCursor => return invalid_at("/cursor", "is not a cursor that this server gave out"),
        ListError::Unavailable(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE).with_retry_after(SHORTAGE),
        ListError::Corrupt => Problem::new(StatusCode::INTERNAL_SERVER_ERROR),
    };
    tracing::error!(%error, "a request could not be answered");
    problem.with_detail("the suppression list could not answer")
}

/// A list that answers too few has not said that the rest is durable.
pub(super) fn no_answer() -> ListError {
    ListError::Unavailable("it gave no answer".into())
}

/// 409 in these words.
pub(super) fn forbidden_now(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::CONFLICT).with_detail(detail.into())
}

/// What the caller reads when the log failed. The cause is for our own log: it may name paths and hosts.
pub(super) fn log_failed(error: &LogError) -> Problem {
    let problem = match error {
        LogError::BadCursor => return invalid_at("/cursor", "is not a cursor that this server gave out"),
        LogError::Unavailable(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE).with_retry_after(SHORTAGE),
        LogError::Corrupt(_) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR),
    };
    problem.with_detail("the message log could not answer")
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        log(&error)
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        journal(&error)
    }
}

impl From<FeedError> for Problem {
    fn from(error: FeedError) -> Self {
        feed(&error)
    }
}

impl From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        suppressions(&error)
    }
}
