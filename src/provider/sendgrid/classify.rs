//! What SendGrid's answers mean.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use crate::clock::Timestamp;
use crate::provider::http::{refusal, retry_after};
use crate::provider::{SendError, SendErrorClass};

/// What an answer other than 2xx means. `body` may be cut off or empty; `private` is what must not be repeated.
pub fn answer(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    private: &[&str],
    now: Timestamp,
) -> SendError {
    let errors = serde_json::from_slice::<ErrorBody>(body).map(|body| body.errors).unwrap_or_default();
    let class = if status.is_client_error() && errors.iter().any(ErrorEntry::is_out_of_credits) {
        SendErrorClass::ProviderRefused
    } else {
        class_of(status)
    };
    let words = if errors.is_empty() {
        String::from_utf8_lossy(body).into_owned()
    } else {
        errors.iter().map(ErrorEntry::words).collect::<Vec<_>>().join("; ")
    };
    let retry_after = retry_after(headers, now).or_else(|| {
        let throttled = status == StatusCode::TOO_MANY_REQUESTS;
        throttled.then(|| rate_limit_reset(headers, now)).flatten()
    });
    SendError { retry_after, ..refusal(status, class, &words, private) }
}

/// What a status code other than 2xx means.
///
/// | status | class | why |
/// | --- | --- | --- |
/// | 400, 413, 415, 422 | refused | the content is wrong, and stays so |
/// | 429 | throttled | |
/// | 408, 499, 5xx, anything strange | unknown | a gateway may say so after the mail went through |
/// | 409, 421, 423, 424, 425 | not accepted | about this moment or connection, not about the message |
/// | 3xx and every other 4xx | provider refused | key, quota, sender, path, method: the same for every message |
fn class_of(status: StatusCode) -> SendErrorClass {
    match status.as_u16() {
        400 | 413 | 415 | 422 => SendErrorClass::Refused,
        429 => SendErrorClass::Throttled,
        408 | 499 => SendErrorClass::Unknown,
        409 | 421 | 423..=425 => SendErrorClass::NotAccepted,
        300..=498 => SendErrorClass::ProviderRefused,
        _ => SendErrorClass::Unknown,
    }
}

/// `X-RateLimit-Reset`: the Unix second at which the limit starts anew.
fn rate_limit_reset(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let seconds: i64 = headers.get("x-ratelimit-reset")?.to_str().ok()?.trim().parse().ok()?;
    let wait = Timestamp::from_ms(seconds.saturating_mul(1000)).since(now);
    (!wait.is_zero()).then_some(wait)
}

/// `{"errors":[{"message","field","help"}]}`, SendGrid's error body. There is no machine-readable code in it.
#[derive(Deserialize)]
struct ErrorBody {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    field: Option<String>,
}

impl ErrorEntry {
    /// The quota error hides behind 401, the status of a bad key (sendgrid-nodejs, issue 1032).
    fn is_out_of_credits(&self) -> bool {
        let message = self.message.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
        message.starts_with("maximum credits exceeded")
    }

    fn words(&self) -> String {
        let message = self.message.as_deref().unwrap_or("no message");
        match self.field.as_deref() {
            Some(field) if !field.is_empty() => format!("{message} ({field})"),
            _ => message.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn class(status: u16, body: &str) -> Option<SendErrorClass> {
        let status = StatusCode::from_u16(status).ok()?;
        Some(answer(status, &HeaderMap::new(), body.as_bytes(), &[], Timestamp::default()).class)
    }

    fn wait(name: &'static str, value: &'static str) -> Option<Duration> {
        // 2026-11-21T09:00:00Z
        let now = Timestamp::from_ms(1_795_251_600_000);
        let headers = HeaderMap::from_iter([(
            reqwest::header::HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )]);
        answer(StatusCode::TOO_MANY_REQUESTS, &headers, b"", &[], now).retry_after
    }

    #[test]
    fn every_status_has_its_class() {
        let table = [
            (SendErrorClass::Refused, vec![400, 413, 415, 422]),
            (SendErrorClass::Throttled, vec![429]),
            (SendErrorClass::Unknown, vec![100, 408, 499, 500, 502, 503, 504, 599]),
            (SendErrorClass::NotAccepted, vec![409, 421, 423, 424, 425]),
            (
                SendErrorClass::ProviderRefused,
                vec![301, 307, 401, 402, 403, 404, 405, 406, 410, 418, 426, 431, 451],
            ),
        ];
        for (expected, statuses) in table {
            for status in statuses {
                assert_eq!(class(status, ""), Some(expected), "{status}");
            }
        }
    }

    #[test]
    fn used_up_credits_are_the_providers_refusal_under_any_client_error() {
        let body = r#"{"errors":[{"message":"Maximum credits exceeded","field":null,"help":null}]}"#;
        for status in [400, 401, 403, 429] {
            assert_eq!(class(status, body), Some(SendErrorClass::ProviderRefused), "{status}");
        }
        assert_eq!(class(500, body), Some(SendErrorClass::Unknown));
    }

    #[test]
    fn a_wait_is_read_in_every_form_and_junk_counts_as_absent() {
        assert_eq!(wait("retry-after", "17"), Some(Duration::from_secs(17)));
        assert_eq!(wait("retry-after", "Sat, 21 Nov 2026 09:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(wait("retry-after", "Sat, 21 Nov 2026 08:00:00 GMT"), Some(Duration::ZERO));
        for junk in ["-5", "soon", "", "1.5", "99999999999999999999"] {
            assert_eq!(wait("retry-after", junk), None, "{junk}");
        }
        assert_eq!(wait("x-ratelimit-reset", "1795251660"), Some(Duration::from_secs(60)));
        for junk in ["1392815263", "-1", "tomorrow"] {
            assert_eq!(wait("x-ratelimit-reset", junk), None, "{junk}");
        }
    }
}
