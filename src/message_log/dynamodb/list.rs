//! Listings.

use super::DynamoLog;
use crate::clock::Timestamp;
use crate::message_log::{Filter, LogError, Page};

pub(super) async fn page(
    _log: &DynamoLog,
    _filter: &Filter,
    _cursor: Option<&str>,
    _limit: usize,
    _now: Timestamp,
) -> Result<Page, LogError> {
    Err(LogError::Unavailable("not readable yet".into()))
}
