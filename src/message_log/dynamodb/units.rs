//! What requests cost, as DynamoDB itself says.

use aws_sdk_dynamodb::types::ConsumedCapacity;

/// Capacity units that DynamoDB charged, by `operation`. Counter.
pub(super) const UNITS_TOTAL: &str = "kakitome_dynamodb_units_total";

/// Adds what one request cost, in whole units.
pub(super) fn count(operation: &'static str, consumed: &[ConsumedCapacity]) {
    if consumed.is_empty() {
        return;
    }
    let units: f64 = consumed.iter().filter_map(ConsumedCapacity::capacity_units).sum();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
    metrics::counter!(UNITS_TOTAL, "operation" => operation).increment(units.round() as u64);
}
