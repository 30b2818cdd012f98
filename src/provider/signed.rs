//! What the signatures of all webhooks have in common: which time stamps are taken, and how forgiving base64 is.

use std::time::Duration;

use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::WebhookError;
use crate::clock::Timestamp;
use crate::metrics::WEBHOOK_LATE_POSTS_TOTAL;

/// Providers repeat a post for up to 24 h, and whether they sign a repeat anew is mostly not documented.
const OLDEST: Duration = Duration::from_secs(25 * 3600);
/// What two clocks may differ by.
const FUTURE_TOLERANCE: Duration = Duration::from_secs(300);

/// Forgiving about padding: keys are pasted by people.
pub const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A post that was signed longer ago is counted: a repeat of the provider's, or a replay, which changes nothing.
const LATE: Duration = Duration::from_secs(300);

/// Whether what was signed at `at` may still be taken, or already. Asked of what is genuine: it counts what is late.
pub fn check_time(at: Timestamp, now: Timestamp) -> Result<(), WebhookError> {
    if now.since(at) > OLDEST {
        return Err(WebhookError::Signature("the time stamp is too old"));
    }
    if at.since(now) > FUTURE_TOLERANCE {
        return Err(WebhookError::Signature("the time stamp is in the future"));
    }
    if now.since(at) > LATE {
        metrics::counter!(WEBHOOK_LATE_POSTS_TOTAL).increment(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_minutes_ago_is_taken_and_counted() {
        for (age_s, counted) in [(0, 0), (300, 0), (301, 1), (25 * 3600, 1)] {
            let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
            metrics::with_local_recorder(&recorder, || {
                let now = Timestamp::from_ms(1_800_000_000_000);
                assert_eq!(check_time(now.minus(Duration::from_secs(age_s)), now), Ok(()));
                let line = format!("{WEBHOOK_LATE_POSTS_TOTAL} 1");
                assert_eq!(recorder.handle().render().lines().filter(|l| *l == line).count(), counted);
            });
        }
    }
}
