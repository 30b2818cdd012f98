//! What SendGrid's answers and the network's failures mean.

use std::error::Error;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

use super::redact::redact;
use crate::clock::Timestamp;
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
    let mut message = redact(&words, private);
    if message.is_empty() {
        message = status.canonical_reason().unwrap_or("no explanation").to_owned();
    }
    let retry_after = retry_after(headers, now).or_else(|| {
        let throttled = status == StatusCode::TOO_MANY_REQUESTS;
        throttled.then(|| rate_limit_reset(headers, now)).flatten()
    });
    SendError { class, http_status: Some(status.as_u16()), message, retry_after }
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

/// What a request without an answer means.
pub fn failure(error: &reqwest::Error) -> SendError {
    let class =
        if proves_nothing_written(error) { SendErrorClass::NotAccepted } else { SendErrorClass::Unknown };
    SendError { class, http_status: None, message: describe(error), retry_after: None }
}

/// Name look-up, connect and TLS fail before the first byte of a request. On a kept connection that turns out to be
/// closed, hyper cancels only requests that it has not begun to write; everything else is ambiguous.
fn proves_nothing_written(error: &reqwest::Error) -> bool {
    let canceled = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
    };
    error.is_builder() || error.is_connect() || causes(error).any(canceled)
}

/// The failure in words: what was being done, and the innermost cause. The URL stays out.
pub fn describe(error: &reqwest::Error) -> String {
    let stage = match (error.is_connect(), error.is_timeout()) {
        (true, true) => "no connection in time",
        (true, false) => "no connection",
        (false, true) => "no answer in time",
        (false, false) => "no answer",
    };
    let innermost = causes(error).last().map(ToString::to_string).unwrap_or_default();
    redact(&format!("{stage}: {innermost}"), &[])
}

/// Why the client could not be made.
pub fn describe_setup(error: &reqwest::Error) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| (**cause).source())
}

/// `Retry-After` in seconds or as an HTTP date (RFC 9110, 10.2.3); anything else counts as absent.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
    Some(Timestamp::from_ms(at).since(now))
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
