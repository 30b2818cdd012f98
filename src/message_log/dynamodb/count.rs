//! Counting.

use super::DynamoLog;
use crate::clock::Timestamp;
use crate::message_log::{Counts, Filter, LogError, ReasonCount};

pub(super) async fn counts(_log: &DynamoLog, _now: Timestamp) -> Result<Counts, LogError> {
    Err(LogError::Unavailable("not readable yet".into()))
}

pub(super) async fn by_reason(
    _log: &DynamoLog,
    _filter: &Filter,
    _now: Timestamp,
) -> Result<Vec<ReasonCount>, LogError> {
    Err(LogError::Unavailable("not readable yet".into()))
}
