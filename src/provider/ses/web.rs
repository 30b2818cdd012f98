//! The two things that are fetched for SNS: the certificate that signed a post, and the address that confirms a
//! subscription. Only from SNS itself.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::Url;

use crate::provider::http::{self, Config, ConfigError};

/// A certificate has some two kilobytes.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Fetches what SNS keeps at an address of its own.
#[async_trait]
pub trait Internet: Send + Sync {
    /// The body of the answer to a `GET`.
    async fn get(&self, url: &Url) -> Result<Bytes, FetchError>;
}

/// Why there is no body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The answer was not 2xx: asking again changes nothing.
    #[error("the answer was {0}")]
    Refused(u16),
    /// No answer, or one that says to come back.
    #[error("{0}")]
    Unavailable(String),
}

/// The real one: no redirects, no proxy, certificates of the machine.
pub struct Web {
    client: reqwest::Client,
}

impl Web {
    /// Connects to nothing yet.
    pub fn new() -> Result<Self, ConfigError> {
        let config = Config { connect_timeout: TIMEOUT, attempt_timeout: TIMEOUT, ..Config::default() };
        Ok(Self { client: http::client(&config, true)? })
    }
}

#[async_trait]
impl Internet for Web {
    async fn get(&self, url: &Url) -> Result<Bytes, FetchError> {
        let response = self.client.get(url.clone()).send().await;
        let response = response.map_err(|error| FetchError::Unavailable(http::describe(&error)))?;
        let status = response.status();
        if status.is_server_error() || status.as_u16() == 429 {
            return Err(FetchError::Unavailable(format!("the answer was {}", status.as_u16())));
        }
        if !status.is_success() {
            return Err(FetchError::Refused(status.as_u16()));
        }
        Ok(http::body(response).await.into())
    }
}

/// Whether this is an address of SNS: `https://sns.<region>.amazonaws.com`, or China's.
pub fn is_of_sns(url: &Url) -> bool {
    let is_plain = url.scheme() == "https"
        && url.port().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let Some(host) = url.host_str() else { return false };
    let host = host.strip_suffix(".cn").unwrap_or(host);
    let region = host.strip_prefix("sns.").and_then(|rest| rest.strip_suffix(".amazonaws.com"));
    let is_region = |region: &str| {
        !region.is_empty()
            && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    is_plain && region.is_some_and(is_region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sns_itself_is_asked_for_anything() {
        let of = |text: &str| Url::parse(text).is_ok_and(|url| is_of_sns(&url));
        for genuine in [
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0123.pem",
            "https://sns.cn-north-1.amazonaws.com.cn/?Action=ConfirmSubscription",
            "https://SNS.ap-northeast-1.amazonaws.com:443/",
        ] {
            assert!(of(genuine), "{genuine}");
        }
        for forged in [
            "http://sns.us-east-1.amazonaws.com/a.pem",
            "https://sns.us-east-1.amazonaws.com.evil.example/a.pem",
            "https://sns.us-east-1.amazonaws.com@evil.example/a.pem",
            "https://evil.sns.us-east-1.amazonaws.com/a.pem",
            "https://sns.us-east-1.evil.amazonaws.com/a.pem",
            "https://sns.amazonaws.com/a.pem",
            "https://sns..amazonaws.com/a.pem",
            "https://sns.us-east-1.amazonaws.com:8443/a.pem",
            "https://user@sns.us-east-1.amazonaws.com/a.pem",
            "https://s3.us-east-1.amazonaws.com/a.pem",
            "file:///etc/passwd",
        ] {
            assert!(!of(forged), "{forged}");
        }
    }
}
