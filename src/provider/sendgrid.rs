//! SendGrid and whatever speaks its v3 mail-send protocol, the sandbox included.

mod classify;
mod events;
mod redact;
mod request;
mod signature;

pub use events::SendGridEvents;
pub use request::ID_ARGUMENT;
pub use signature::{KeyError, SIGNATURE_HEADER, TIMESTAMP_HEADER};

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::{Client, Method, Request, Response, Url};

use super::{Handover, Provider, SendError, SendErrorClass};
use crate::clock::Clock;
use crate::notification::{Notification, NotificationId};
use crate::secret::Secret;

/// The most that is read of an error answer. SendGrid's lists every fault of a message; a gateway's is a page.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// SendGrid's ids of messages have 22 characters; what is far longer is none.
const MAX_MESSAGE_ID_BYTES: usize = 255;

/// As whom we introduce ourselves.
const AGENT: &str = concat!("kakitome/", env!("CARGO_PKG_VERSION"));

/// One SendGrid account.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the API is, without `/v3/mail/send`. Plain `http` is allowed: sandboxes and staging hosts use it.
    pub base_url: String,
    /// The API key.
    pub api_key: Secret,
    /// For name look-up, connect and TLS together.
    pub connect_timeout: Duration,
    /// For one attempt as a whole, connect included.
    pub attempt_timeout: Duration,
    /// Idle connections that are kept; as many as attempts run at once, so that none connects anew.
    pub max_idle_connections: usize,
    /// How long an idle connection is kept. Below the 60 s after which usual gateways close one: a request that
    /// crosses with that close leaves an unknown behind.
    pub idle_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_url: "https://api.sendgrid.com".into(),
            api_key: Secret::new(""),
            connect_timeout: Duration::from_secs(2),
            attempt_timeout: Duration::from_secs(10),
            max_idle_connections: 128,
            idle_timeout: Duration::from_secs(20),
        }
    }
}

/// Why an account cannot be used. Repeats neither the key nor the URL, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The base URL does not parse or is of the wrong kind.
    #[error("the base URL {0}")]
    BaseUrl(&'static str),
    /// The key is empty or cannot stand in a header.
    #[error("the API key {0}")]
    ApiKey(&'static str),
    /// The HTTP client cannot be made, most likely for want of root certificates.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
}

/// Hands notifications to one SendGrid account, one request each.
pub struct SendGrid {
    name: String,
    client: Client,
    base_url: Url,
    send_url: Url,
    headers: HeaderMap,
    api_key: Secret,
    clock: Clock,
}

impl SendGrid {
    /// An account under the name that records and metrics use. Connects to nothing yet.
    pub fn new(name: &str, config: Config) -> Result<Self, ConfigError> {
        let base_url = parse_base_url(&config.base_url)?;
        // A key that was read from a file usually ends with a line feed.
        let api_key = Secret::new(config.api_key.reveal().trim());
        let mut send_url = base_url.clone();
        send_url.set_path(&format!("{}/v3/mail/send", base_url.path().trim_end_matches('/')));
        Ok(Self {
            name: name.to_owned(),
            client: client(&config, base_url.scheme() == "https")?,
            base_url,
            send_url,
            headers: headers(&api_key)?,
            api_key,
            clock: Clock::system(),
        })
    }

    /// What an answer may repeat and a record must not: the key, and everybody's address and name. A name of one or
    /// two letters is left, as masking it would leave nothing to read.
    fn private_texts<'a>(&'a self, notification: &'a Notification) -> Vec<&'a str> {
        let senders = [Some(&notification.from), notification.reply_to.as_ref()].into_iter().flatten();
        let parties = notification.recipients().map(|(_, mailbox)| mailbox).chain(senders);
        let texts =
            parties.flat_map(|party| [Some(party.email.reveal()), party.name.as_ref().map(|n| n.0.as_str())]);
        texts.flatten().chain([self.api_key.reveal()]).filter(|text| text.len() > 2).collect()
    }

    /// The answer's body as far as it is worth reading; what it says is judged by the status alone if it is cut.
    async fn error_body(mut response: Response) -> Vec<u8> {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = MAX_ERROR_BYTES - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == MAX_ERROR_BYTES {
                break;
            }
        }
        body
    }
}

#[async_trait]
impl Provider for SendGrid {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, id: NotificationId, notification: &Notification) -> Result<Handover, SendError> {
        let body = request::body(id, notification).map_err(|error| SendError {
            class: SendErrorClass::Refused,
            http_status: None,
            message: format!("the request cannot be written: {error}"),
            retry_after: None,
        })?;
        let mut request = Request::new(Method::POST, self.send_url.clone());
        request.headers_mut().clone_from(&self.headers);
        *request.body_mut() = Some(body.into());
        let response = self.client.execute(request).await.map_err(|error| classify::failure(&error))?;
        let status = response.status();
        if status.is_success() {
            // The status alone is the acceptance: a body that is cut off afterwards changes nothing.
            return Ok(Handover { message_id: message_id(response.headers()), http_status: status.as_u16() });
        }
        let headers = response.headers().clone();
        let body = Self::error_body(response).await;
        let private = self.private_texts(notification);
        Err(classify::answer(status, &headers, &body, &private, self.clock.now()))
    }

    async fn reach(&self) -> Result<(), String> {
        // Any answer will do, a 404 included: it came from an HTTP server that the connection and TLS led to.
        let request = self.client.head(self.base_url.clone());
        request.send().await.map(drop).map_err(|error| classify::describe(&error))
    }
}

fn parse_base_url(text: &str) -> Result<Url, ConfigError> {
    let url = Url::parse(text.trim()).map_err(|_| ConfigError::BaseUrl("is not a URL"))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(ConfigError::BaseUrl("must start with https:// (or http://)"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ConfigError::BaseUrl("must not hold a user name or password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(ConfigError::BaseUrl("must end with its path"));
    }
    Ok(url)
}

fn headers(api_key: &Secret) -> Result<HeaderMap, ConfigError> {
    if api_key.reveal().is_empty() {
        return Err(ConfigError::ApiKey("is empty"));
    }
    let mut authorization = HeaderValue::from_str(&format!("Bearer {}", api_key.reveal()))
        .map_err(|_| ConfigError::ApiKey("holds characters that no HTTP header can carry"))?;
    authorization.set_sensitive(true);
    let json = HeaderValue::from_static("application/json");
    let agent = HeaderValue::from_static(AGENT);
    // A missing Accept is answered with 406 by SendGrid's v3 API.
    let content = [(AUTHORIZATION, authorization), (ACCEPT, json.clone()), (CONTENT_TYPE, json)];
    Ok(content.into_iter().chain([(USER_AGENT, agent)]).collect())
}

fn client(config: &Config, tls: bool) -> Result<Client, ConfigError> {
    // Fails when a provider is installed already, which serves as well.
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut builder = Client::builder()
        .user_agent(AGENT)
        .connect_timeout(config.connect_timeout)
        .timeout(config.attempt_timeout)
        .pool_max_idle_per_host(config.max_idle_connections)
        .pool_idle_timeout(config.idle_timeout)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy();
    if !tls {
        // Without TLS the machine's root certificates need not be there, nor be read.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| ConfigError::Client(classify::describe_setup(&error)))
}

fn message_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-message-id")?.to_str().ok()?.trim();
    (!id.is_empty() && id.len() <= MAX_MESSAGE_ID_BYTES).then(|| id.to_owned())
}
