//! What the answers of Amazon SES mean, by their error type and status (SES API v2, `SendEmail`, "Errors"; and the
//! common errors of AWS).

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use crate::clock::Timestamp;
use crate::provider::http::{refusal, retry_after};
use crate::provider::{SendError, SendErrorClass};

/// The header with the error's type, sometimes with a URL after a colon.
const TYPE_HEADER: &str = "x-amzn-errortype";

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    #[serde(alias = "Message")]
    message: Option<String>,
    #[serde(rename = "__type", alias = "code")]
    kind: Option<String>,
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
    let header = headers.get(TYPE_HEADER).and_then(|value| value.to_str().ok());
    let kind = bare(header.or(told.kind.as_deref()).unwrap_or_default());
    // A signature that does not match is explained by repeating what was to be signed, session token included.
    let told_message =
        told.message.as_deref().map(|text| text.split("The Canonical String").next().unwrap_or(text));
    let message = told_message.unwrap_or_default();
    let class = class_of(status, kind, message, is_template);
    let words = match (told_message, kind) {
        (Some(message), "") => message.to_owned(),
        (Some(message), kind) => format!("{message} ({kind})"),
        (None, "") => String::from_utf8_lossy(body).into_owned(),
        (None, kind) => kind.to_owned(),
    };
    SendError { retry_after: retry_after(headers, now), ..refusal(status, class, &words, private) }
}

/// `com.amazonaws.ses#TooManyRequestsException:http://…` without what stands around the name.
fn bare(kind: &str) -> &str {
    let kind = kind.split(':').next().unwrap_or_default();
    kind.rsplit('#').next().unwrap_or_default().trim()
}

/// What an answer other than 2xx means.
///
/// | answer | class | why |
/// | --- | --- | --- |
/// | 408, 499, 5xx, anything strange | unknown | a gateway may say so after the mail went through |
/// | the daily quota, a limit | provider refused | the account has nothing left to send with |
/// | too many requests, the sending rate | throttled | |
/// | `MessageRejected` for an identity that is not verified | provider refused | sender or account, not the content |
/// | any other `MessageRejected` | refused | the content |
/// | suspended, paused, MAIL FROM not verified | provider refused | |
/// | no such configuration set | provider refused | it is ours, not the message's |
/// | no such template | refused | it is that message's |
/// | credentials and signature, under 400 too | provider refused | |
/// | other 400, 413, 415, 422 | refused | the content is wrong, and stays so |
/// | 409, 421, 423, 424, 425 | not accepted | about this moment or connection, not about the message |
/// | 3xx and every other 4xx | provider refused | permission, path, method: the same for every message |
fn class_of(status: StatusCode, kind: &str, message: &str, is_template: bool) -> SendErrorClass {
    use SendErrorClass::{NotAccepted, ProviderRefused, Refused, Throttled, Unknown};
    let message = message.to_ascii_lowercase();
    let says = |words: &str| message.contains(words);
    match (status.as_u16(), kind) {
        (408 | 499, _) => Unknown,
        (..300 | 500.., _) => Unknown,
        _ if says("daily message quota") || says("daily sending quota") => ProviderRefused,
        (_, "TooManyRequestsException" | "ThrottlingException" | "Throttling") | (429, _) => Throttled,
        _ if says("maximum sending rate") => Throttled,
        (_, "MessageRejected") if says("not verified") => ProviderRefused,
        (_, "MessageRejected") => Refused,
        _ if says("configuration set") || says("configurationset") => ProviderRefused,
        (_, "NotFoundException") | (404, _) if is_template => Refused,
        (_, kind) if is_about_us(kind) => ProviderRefused,
        (400 | 413 | 415 | 422, _) => Refused,
        (409 | 421 | 423..=425, _) => NotAccepted,
        _ => ProviderRefused,
    }
}

/// Error types that come under 400 and speak of the account or its credentials.
fn is_about_us(kind: &str) -> bool {
    const ACCOUNT: [&str; 5] = [
        "AccountSuspendedException",
        "SendingPausedException",
        "MailFromDomainNotVerifiedException",
        "LimitExceededException",
        "NotFoundException",
    ];
    const CREDENTIALS: [&str; 11] = [
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "OptInRequired",
        "RequestExpired",
        "UnrecognizedClientException",
    ];
    ACCOUNT.contains(&kind) || CREDENTIALS.contains(&kind)
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn told(status: u16, kind: &'static str, message: &str, template: bool) -> Option<SendErrorClass> {
        let headers =
            HeaderMap::from_iter([(HeaderName::from_static(TYPE_HEADER), HeaderValue::from_static(kind))]);
        let body = format!(r#"{{"message":"{message}"}}"#);
        let status = StatusCode::from_u16(status).ok()?;
        Some(answer(status, &headers, body.as_bytes(), (&[], template), Timestamp::default()).class)
    }

    #[test]
    fn type_message_and_status_together_give_the_class() {
        use SendErrorClass::{NotAccepted, ProviderRefused, Refused, Throttled, Unknown};
        for (status, kind, message, class) in [
            (400, "BadRequestException", "Missing final '@domain'", Refused),
            (400, "BadRequestException", "Configuration set <x> does not exist.", ProviderRefused),
            (400, "MessageRejected", "Email address is not verified.", ProviderRefused),
            (400, "MessageRejected", "Message failed virus scan", Refused),
            (400, "MailFromDomainNotVerifiedException", "", ProviderRefused),
            (400, "AccountSuspendedException", "", ProviderRefused),
            (400, "SendingPausedException", "", ProviderRefused),
            (400, "LimitExceededException", "", ProviderRefused),
            (400, "ThrottlingException", "Maximum sending rate exceeded.", Throttled),
            (400, "Throttling", "Daily message quota exceeded.", ProviderRefused),
            (429, "TooManyRequestsException", "Too many", Throttled),
            (429, "TooManyRequestsException", "Daily message quota exceeded", ProviderRefused),
            (429, "", "", Throttled),
            (400, "ExpiredTokenException", "", ProviderRefused),
            (403, "InvalidSignatureException", "", ProviderRefused),
            (403, "AccessDeniedException", "", ProviderRefused),
            (404, "NotFoundException", "Template x does not exist", ProviderRefused),
            (409, "", "", NotAccepted),
            (413, "", "", Refused),
            (408, "", "", Unknown),
            (500, "InternalServiceErrorException", "", Unknown),
            (503, "ThrottlingException", "", Unknown),
            (307, "", "", ProviderRefused),
        ] {
            assert_eq!(told(status, kind, message, false), Some(class), "{status} {kind} {message}");
        }
        assert_eq!(told(404, "NotFoundException", "Template x does not exist", true), Some(Refused));
        let set = told(404, "NotFoundException", "Configuration set <x> does not exist", true);
        assert_eq!(set, Some(ProviderRefused));
        assert_eq!(bare("com.amazonaws.ses#MessageRejected:http://internal/"), "MessageRejected");
    }
}
