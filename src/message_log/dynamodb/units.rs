//! What requests cost, as DynamoDB itself says.

use aws_sdk_dynamodb::types::ConsumedCapacity;

use crate::metrics::DYNAMODB_UNITS_TOTAL;

/// Adds what one request cost, in whole units.
pub(super) fn count(operation: &'static str, consumed: &[ConsumedCapacity]) {
    if consumed.is_empty() {
        return;
    }
    let units: f64 = consumed.iter().filter_map(ConsumedCapacity::capacity_units).sum();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
    metrics::counter!(DYNAMODB_UNITS_TOTAL, "operation" => operation).increment(units.round() as u64);
}
