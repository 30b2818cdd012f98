//! What both AWS adapters share: how AWS is reached, how its errors read, and calls that are shared by many.
//!
//! Region, credentials and endpoints come from the usual AWS variables, profiles and container or instance roles. TLS
//! is rustls with ring, like everywhere else in the program.

pub mod batch;
mod error;
mod report;
pub mod sign;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{SharedCredentialsProvider, SharedHttpClient};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use crate::secret::Secret;
pub use error::{Kind, kind, words};
pub use report::{Done, Finding, Step};
pub use watch::Watch;

/// How long AWS calls may take, and how often the SDK tries them. What fails for longer is for the callers' own, slower
/// retries.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Connecting, TLS included.
    pub connect_timeout: Duration,
    /// One try.
    pub attempt_timeout: Duration,
    /// One call with all its tries.
    pub operation_timeout: Duration,
    /// Tries of one SQS call.
    pub sqs_tries: u32,
    /// Tries of one DynamoDB call.
    pub dynamodb_tries: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            attempt_timeout: Duration::from_secs(2),
            operation_timeout: Duration::from_secs(6),
            sqs_tries: 3,
            dynamodb_tries: 4,
        }
    }
}

/// Where AWS is, and as whom we speak to it.
#[derive(Clone, Debug, Default)]
pub enum Access {
    /// As the environment says.
    #[default]
    Environment,
    /// A server of the same protocols at known addresses.
    Fixed {
        /// Such as `us-east-1`.
        region: String,
        /// `http://…`
        sqs_url: String,
        /// `http://…`
        dynamodb_url: String,
        /// The access key's id.
        key_id: String,
        /// The access key's secret.
        key_secret: Secret,
    },
}

/// Clients of the two services, on one connection pool. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Aws {
    /// SQS.
    pub sqs: aws_sdk_sqs::Client,
    /// DynamoDB.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// Tells that SQS fails, once for all queues.
    pub sqs_watch: Arc<Watch>,
}

/// AWS cannot be spoken to at all.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AccessError {
    /// No region.
    #[error("no AWS region is configured: set AWS_REGION, or `region` in the profile")]
    NoRegion,
}

impl Aws {
    /// Clients as `access` says. Reaches nothing yet: credentials are fetched with the first call.
    pub async fn connect(access: &Access, config: Config) -> Result<Self, AccessError> {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(config.connect_timeout)
            .operation_attempt_timeout(config.attempt_timeout)
            .operation_timeout(config.operation_timeout)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(https())
            .timeout_config(timeouts)
            // Bodies are small, and every try has its time-out.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Access::Fixed { region, key_id, key_secret, .. } = access {
            let keys =
                aws_sdk_sqs::config::Credentials::new(key_id, key_secret.reveal(), None, None, "fixed");
            loader = loader.region(Region::new(region.clone())).credentials_provider(keys);
        }
        let shared = loader.load().await;
        if shared.region().is_none() {
            return Err(AccessError::NoRegion);
        }
        let sqs_watch = Arc::new(Watch::new("SQS"));
        Ok(Self { sqs: sqs(&shared, access, config), dynamodb: dynamodb(&shared, access, config), sqs_watch })
    }
}

fn https() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

/// Whoever the environment says we are, for requests that no SDK sends. Fetches nothing yet.
async fn credentials() -> Option<SharedCredentialsProvider> {
    let loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(https());
    loader.load().await.credentials_provider()
}

fn sqs(shared: &SdkConfig, access: &Access, config: Config) -> aws_sdk_sqs::Client {
    let retries = RetryConfig::standard().with_max_attempts(config.sqs_tries);
    let mut own = aws_sdk_sqs::config::Builder::from(shared).retry_config(retries);
    if let Access::Fixed { sqs_url, .. } = access {
        own = own.endpoint_url(sqs_url);
    }
    aws_sdk_sqs::Client::from_conf(own.build())
}

fn dynamodb(shared: &SdkConfig, access: &Access, config: Config) -> aws_sdk_dynamodb::Client {
    let retries = RetryConfig::standard().with_max_attempts(config.dynamodb_tries);
    let mut own = aws_sdk_dynamodb::config::Builder::from(shared).retry_config(retries);
    if let Access::Fixed { dynamodb_url, .. } = access {
        own = own.endpoint_url(dynamodb_url);
    }
    aws_sdk_dynamodb::Client::from_conf(own.build())
}
