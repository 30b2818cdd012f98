//! One record.

use super::DynamoLog;
use crate::message_log::{LogError, Record};
use crate::notification::NotificationId;

pub(super) async fn get(_log: &DynamoLog, _id: NotificationId) -> Result<Option<Record>, LogError> {
    Err(LogError::Unavailable("not readable yet".into()))
}
