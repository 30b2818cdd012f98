//! How every door says that something is wrong: problem details (RFC 9457).

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::notification::content::Fault;

/// The media type of problem details (RFC 9457, section 3).
pub const CONTENT_TYPE: &str = "application/problem+json";

/// An error answer: `{"status", "title", "detail", "errors"}`, without the fields that are empty. `type` is left out,
/// which means `about:blank`: the status says everything (RFC 9457, section 4.2.1).
#[derive(Clone, Debug, PartialEq, Eq, utoipa::ToSchema)]
#[schema(example = json!({
    "status": 422,
    "title": "Unprocessable Entity",
    "detail": "the request is not valid",
    "errors": [{"pointer": "/to/0/email", "detail": "has no @"}]
}))]
pub struct Problem {
    /// The status code of the answer.
    #[schema(value_type = u16)]
    pub status: StatusCode,
    /// What kind of problem it is, the same words each time: the status code's reason phrase.
    pub title: &'static str,
    /// What is wrong this time, for the caller. Never holds an address or a secret.
    #[schema(value_type = Option<String>)]
    pub detail: Option<String>,
    /// Every fault of the body, each with its place.
    #[schema(required = false)]
    pub errors: Vec<Fault>,
    /// Sent as `Retry-After`, in whole seconds rounded up; not part of the body.
    #[schema(ignore)]
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// A problem that the status code's own phrase names.
    pub fn new(status: StatusCode) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { status, title, detail: None, errors: Vec::new(), retry_after: None }
    }

    /// Says what is wrong this time.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Names every fault of the body.
    pub fn with_errors(mut self, errors: Vec<Fault>) -> Self {
        self.errors = errors;
        self
    }

    /// Asks the caller to come back after `wait`.
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

// By hand because a status code does not serialise by itself; also used for the results of a batch's entries.
impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = 2 + usize::from(self.detail.is_some()) + usize::from(!self.errors.is_empty());
        let mut object = serializer.serialize_struct("Problem", fields)?;
        object.serialize_field("status", &self.status.as_u16())?;
        object.serialize_field("title", self.title)?;
        if let Some(detail) = &self.detail {
            object.serialize_field("detail", detail)?;
        }
        if !self.errors.is_empty() {
            object.serialize_field("errors", &self.errors)?;
        }
        object.end()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let retry_after = self.retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        let mut response = match serde_json::to_vec(&self) {
            Ok(body) => (self.status, body).into_response(),
            // Strings and numbers always serialise; the status alone still says the essential.
            Err(_) => self.status.into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_its_status_in_the_body_and_leaves_out_what_is_empty() {
        let json = serde_json::to_string(&Problem::new(StatusCode::FORBIDDEN)).unwrap_or_default();
        assert_eq!(json, r#"{"status":403,"title":"Forbidden"}"#);
    }

    #[test]
    fn a_problem_carries_its_media_type_and_a_whole_number_of_seconds_to_wait() {
        let problem =
            Problem::new(StatusCode::SERVICE_UNAVAILABLE).with_retry_after(Duration::from_millis(1_200));
        let response = problem.into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], CONTENT_TYPE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}
