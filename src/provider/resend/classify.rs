//! What Resend's answers mean, by their status and the `name` in their body (Resend's API reference, "Errors").

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use crate::clock::Timestamp;
use crate::provider::http::{refusal, retry_after};
use crate::provider::{SendError, SendErrorClass};

/// `{"statusCode","message","name"}`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    message: Option<String>,
    name: Option<String>,
}

/// What an answer other than 2xx means. `body` may be cut off or empty; `private` is what must not be repeated;
/// `is_template`: the request named a template.
pub fn answer(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    (private, is_template): (&[&str], bool),
    now: Timestamp,
) -> SendError {
    let told = serde_json::from_slice::<ErrorBody>(body).unwrap_or_default();
    let name = told.name.as_deref().unwrap_or_default();
    let class = class_of(status, name, is_template);
    let words = match &told.message {
        Some(message) if name.is_empty() => message.clone(),
        Some(message) => format!("{message} ({name})"),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    let retry_after = retry_after(headers, now).or_else(|| {
        let throttled = class == SendErrorClass::Throttled;
        throttled.then(|| window_left(headers)).flatten()
    });
    SendError { retry_after, ..refusal(status, class, &words, private) }
}

/// What an answer other than 2xx means.
///
/// | answer | class | why |
/// | --- | --- | --- |
/// | 400, 413, 415, 422 | refused | the content is wrong, and stays so |
/// | 404 to a template | refused | it is that message's template that is not there, not the way to Resend |
/// | 409 `concurrent_idempotent_requests` | unknown | the same mail is being handed in at this moment, whatever comes of it |
/// | 409 `invalid_idempotent_request` | unknown | the key is this notification's own: an earlier request of it came through, in another form (a recipient was left out since, another release) |
/// | 429 `rate_limit_exceeded` | throttled | |
/// | 429 `daily_quota_exceeded`, `monthly_quota_exceeded` | provider refused | the account has nothing left to send with |
/// | 408, 499, 5xx, anything strange | unknown | a gateway may say so after the mail went through |
/// | 421, 423, 424, 425, another 409 | not accepted | about this moment or connection, not about the message |
/// | 3xx and every other 4xx | provider refused | key, sender, path, method: the same for every message |
fn class_of(status: StatusCode, name: &str, is_template: bool) -> SendErrorClass {
    match (status.as_u16(), name) {
        (429, "daily_quota_exceeded" | "monthly_quota_exceeded") => SendErrorClass::ProviderRefused,
        (429, _) => SendErrorClass::Throttled,
        (409, "concurrent_idempotent_requests" | "invalid_idempotent_request") => SendErrorClass::Unknown,
        (404, _) if is_template => SendErrorClass::Refused,
        (400 | 413 | 415 | 422, _) => SendErrorClass::Refused,
        (408 | 499, _) => SendErrorClass::Unknown,
        (409 | 421 | 423..=425, _) => SendErrorClass::NotAccepted,
        (300..=498, _) => SendErrorClass::ProviderRefused,
        _ => SendErrorClass::Unknown,
    }
}

/// `ratelimit-reset`: seconds until the limit starts anew.
fn window_left(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u32 = headers.get("ratelimit-reset")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn told(status: u16, name: &str, template: bool) -> Option<SendErrorClass> {
        let body = format!(r#"{{"statusCode":{status},"message":"Because.","name":"{name}"}}"#);
        let status = StatusCode::from_u16(status).ok()?;
        Some(answer(status, &HeaderMap::new(), body.as_bytes(), (&[], template), Timestamp::default()).class)
    }

    #[test]
    fn status_and_name_together_give_the_class() {
        use SendErrorClass::{NotAccepted, ProviderRefused, Refused, Throttled, Unknown};
        for (status, name, class) in [
            (400, "validation_error", Refused),
            (400, "invalid_idempotency_key", Refused),
            (401, "missing_api_key", ProviderRefused),
            (401, "restricted_api_key", ProviderRefused),
            (403, "invalid_api_key", ProviderRefused),
            (403, "validation_error", ProviderRefused),
            (404, "not_found", ProviderRefused),
            (405, "method_not_allowed", ProviderRefused),
            (409, "invalid_idempotent_request", Unknown),
            (409, "concurrent_idempotent_requests", Unknown),
            (409, "", NotAccepted),
            (422, "missing_required_field", Refused),
            (422, "invalid_attachment", Refused),
            (429, "rate_limit_exceeded", Throttled),
            (429, "", Throttled),
            (429, "daily_quota_exceeded", ProviderRefused),
            (429, "monthly_quota_exceeded", ProviderRefused),
            (451, "security_error", ProviderRefused),
            (500, "application_error", Unknown),
            (500, "internal_server_error", Unknown),
            (502, "", Unknown),
            (503, "", Unknown),
            (307, "", ProviderRefused),
            (408, "", Unknown),
        ] {
            assert_eq!(told(status, name, false), Some(class), "{status} {name}");
        }
        assert_eq!(
            told(404, "not_found", true),
            Some(Refused),
            "one wrong template must not stop the others"
        );
    }

    #[test]
    fn a_throttled_answer_says_how_long_to_wait() {
        let of = |status, name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(
                reqwest::header::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )]);
            answer(status, &headers, b"", (&[], false), Timestamp::default()).retry_after
        };
        let throttled = StatusCode::TOO_MANY_REQUESTS;
        assert_eq!(of(throttled, "retry-after", "3"), Some(Duration::from_secs(3)));
        assert_eq!(of(throttled, "ratelimit-reset", "1"), Some(Duration::from_secs(1)));
        assert_eq!(of(throttled, "ratelimit-reset", "soon"), None);
        assert_eq!(of(StatusCode::BAD_GATEWAY, "ratelimit-reset", "1"), None);
    }
}
