//! Events.

use super::DynamoLog;
use crate::clock::Timestamp;
use crate::message_log::{LogError, Recorded};
use crate::provider::ProviderEvent;

pub(super) async fn record(
    _log: &DynamoLog,
    events: &[ProviderEvent],
    _now: Timestamp,
) -> Vec<Result<Recorded, LogError>> {
    events.iter().map(|_| Err(LogError::Unavailable("not readable yet".into()))).collect()
}

pub(super) async fn witness(_log: &DynamoLog, _provider: &str) -> Result<Option<Timestamp>, LogError> {
    Err(LogError::Unavailable("not readable yet".into()))
}
