//! How AWS errors read, and what they call for.

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

/// What an error calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Too fast: later.
    Throttled,
    /// The service or the way to it: later. Whether it was done is not known.
    Unavailable,
    /// We may not.
    Denied,
    /// The queue, table or index is not there.
    Absent,
    /// The request itself: trying again changes nothing.
    Refused,
}

/// What `error` calls for.
pub fn kind<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Kind {
    match error {
        SdkError::ServiceError(context) => kind_of_code(context.err().code().unwrap_or_default()),
        SdkError::ConstructionFailure(_) => Kind::Refused,
        _ => Kind::Unavailable,
    }
}

/// What an error code calls for. The codes of one entry of a batch are the same words without `Exception`.
pub fn kind_of_code(code: &str) -> Kind {
    let code = code.rsplit(['#', '.']).next().unwrap_or(code);
    match code.strip_suffix("Exception").unwrap_or(code) {
        "Throttling"
        | "ThrottlingError"
        | "RequestThrottled"
        | "ProvisionedThroughputExceeded"
        | "RequestLimitExceeded"
        | "LimitExceeded"
        | "OverLimit"
        | "KmsThrottled"
        | "TransactionConflict" => Kind::Throttled,
        "AccessDenied"
        | "UnrecognizedClient"
        | "InvalidClientTokenId"
        | "InvalidSignature"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "MissingAuthenticationToken"
        | "KmsAccessDenied"
        | "InvalidSecurity"
        | "IncompleteSignature" => Kind::Denied,
        "QueueDoesNotExist" | "NonExistentQueue" | "ResourceNotFound" => Kind::Absent,
        "InternalServerError"
        | "InternalServer"
        | "InternalFailure"
        | "InternalError"
        | "ServiceUnavailable"
        | "" => Kind::Unavailable,
        _ => Kind::Refused,
    }
}

/// In one line, for a log or a person: the code and the service's words, or what happened on the way.
pub fn words<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    match error {
        SdkError::ServiceError(context) => {
            let code = context.err().code().unwrap_or("unknown error");
            let code = code.rsplit(['#', '.']).next().unwrap_or(code);
            match context.err().message() {
                Some(message) => format!("{code}: {message}"),
                None => code.to_owned(),
            }
        }
        SdkError::TimeoutError(_) => "no answer in time".into(),
        SdkError::DispatchFailure(failure) => {
            let Some(error) = failure.as_connector_error() else {
                return "the request could not be sent".into();
            };
            let mut root: &dyn std::error::Error = error;
            while let Some(source) = root.source() {
                root = source;
            }
            if error.is_timeout() { "no connection in time".into() } else { root.to_string() }
        }
        SdkError::ResponseError(_) => "an answer that is none of this service".into(),
        SdkError::ConstructionFailure(_) => "the request could not be made".into(),
        _ => "unknown error".into(),
    }
}
