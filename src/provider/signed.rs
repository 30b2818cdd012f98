//! What the signatures of all webhooks have in common: which time stamps are taken, and how forgiving base64 is.

use std::time::Duration;

use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::WebhookError;
use crate::clock::Timestamp;

/// Providers repeat a post for up to 24 h, and whether they sign a repeat anew is mostly not documented.
const OLDEST: Duration = Duration::from_secs(25 * 3600);
/// What two clocks may differ by.
const FUTURE_TOLERANCE: Duration = Duration::from_secs(300);

/// Forgiving about padding: keys are pasted by people.
pub const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether what was signed at `at` may still be taken, or already.
pub fn check_time(at: Timestamp, now: Timestamp) -> Result<(), WebhookError> {
    if now.since(at) > OLDEST {
        return Err(WebhookError::Signature("the time stamp is too old"));
    }
    if at.since(now) > FUTURE_TOLERANCE {
        return Err(WebhookError::Signature("the time stamp is in the future"));
    }
    Ok(())
}
