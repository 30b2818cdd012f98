//! What the adapters' HTTP has in common: one client, one request, no retry, nothing followed, every failure classified.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use reqwest::{Client, Method, Request, Response, StatusCode, Url};

use super::redact::redact;
use super::{SendError, SendErrorClass};
use crate::clock::{Clock, Timestamp};
use crate::notification::Notification;
use crate::secret::Secret;

/// The most that is read of an answer. SendGrid's errors list every fault of a message; a gateway's is a page.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Providers' ids of messages have 22 to some 60 characters; what is far longer is none.
const MAX_MESSAGE_ID_BYTES: usize = 255;

/// As whom we introduce ourselves.
const AGENT: &str = concat!("kakitome/", env!("CARGO_PKG_VERSION"));

/// One account's way to its provider.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the API is, without the path of the send call. Plain `http` is allowed: sandboxes and staging hosts use it.
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
            base_url: String::new(),
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

/// One account: its name, the way to it, and what every request to it says.
pub(super) struct Wire {
    /// The name that records and metrics use.
    pub name: String,
    client: Client,
    base_url: Url,
    /// Where mail is posted to.
    pub send_url: Url,
    /// The headers of every request.
    pub headers: HeaderMap,
    api_key: Option<Secret>,
    pub clock: Clock,
}

impl Wire {
    /// Whose requests need no key, as they are signed. `path` of the send call. Connects to nothing yet.
    pub fn new(name: &str, config: &Config, path: &str) -> Result<Self, ConfigError> {
        let base_url = parse_base_url(&config.base_url)?;
        let mut send_url = base_url.clone();
        send_url.set_path(&format!("{}{path}", base_url.path().trim_end_matches('/')));
        Ok(Self {
            name: name.to_owned(),
            client: client(config, base_url.scheme() == "https")?,
            base_url,
            send_url,
            headers: json_headers(),
            api_key: None,
            clock: Clock::system(),
        })
    }

    /// Whose requests carry its key. One that was read from a file usually ends with a line feed.
    pub fn with_key(name: &str, config: &Config, path: &str) -> Result<Self, ConfigError> {
        let key = Secret::new(config.api_key.reveal().trim());
        let mut wire = Self::new(name, config, path)?;
        wire.headers.insert(AUTHORIZATION, bearer(&key)?);
        Ok(Self { api_key: Some(key), ..wire })
    }

    /// One `POST` of a mail, and the head of its answer.
    pub async fn post(&self, headers: HeaderMap, body: Vec<u8>) -> Result<Response, SendError> {
        self.post_within(headers, body, None).await
    }

    /// The same in what is left of the attempt, where a part of it is used up.
    pub async fn post_within(
        &self,
        headers: HeaderMap,
        body: Vec<u8>,
        within: Option<Duration>,
    ) -> Result<Response, SendError> {
        let mut request = Request::new(Method::POST, self.send_url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(body.into());
        if within.is_some() {
            *request.timeout_mut() = within;
        }
        self.client.execute(request).await.map_err(|error| failure(&error))
    }

    /// What an answer may repeat and a record must not: everybody's address and name, and the key. A name of one or two
    /// letters is left, as masking it would leave nothing to read.
    pub fn private_texts<'a>(&'a self, notification: &'a Notification) -> Vec<&'a str> {
        let senders = [Some(&notification.from), notification.reply_to.as_ref()].into_iter().flatten();
        let parties = notification.recipients().map(|(_, mailbox)| mailbox).chain(senders);
        let texts =
            parties.flat_map(|party| [Some(party.email.reveal()), party.name.as_ref().map(|n| n.0.as_str())]);
        let key = self.api_key.as_ref().map(Secret::reveal);
        texts.flatten().filter(|text| text.len() > 2).chain(key).collect()
    }

    /// Whether it can be reached: any answer will do, a 404 included. It came from an HTTP server that the connection
    /// and TLS led to.
    pub async fn reach(&self) -> Result<(), String> {
        let request = self.client.head(self.base_url.clone());
        request.send().await.map(drop).map_err(|error| describe(&error))
    }
}

/// An answer's body as far as it is worth reading; cut off, it is what came.
pub(super) async fn body(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = MAX_ANSWER_BYTES - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == MAX_ANSWER_BYTES {
            break;
        }
    }
    body
}

/// The headers of every request to an API that takes and gives JSON.
fn json_headers() -> HeaderMap {
    let json = HeaderValue::from_static("application/json");
    let agent = HeaderValue::from_static(AGENT);
    // A missing Accept is answered with 406 by SendGrid's v3 API, a missing User-Agent with 403 by Resend's.
    [(ACCEPT, json.clone()), (CONTENT_TYPE, json), (USER_AGENT, agent)].into_iter().collect()
}

/// The key as a header.
fn bearer(key: &Secret) -> Result<HeaderValue, ConfigError> {
    if key.reveal().is_empty() {
        return Err(ConfigError::ApiKey("is empty"));
    }
    let mut authorization = HeaderValue::from_str(&format!("Bearer {}", key.reveal()))
        .map_err(|_| ConfigError::ApiKey("holds characters that no HTTP header can carry"))?;
    authorization.set_sensitive(true);
    Ok(authorization)
}

/// A message id that may be kept.
pub(super) fn message_id(text: &str) -> Option<String> {
    let id = text.trim();
    (!id.is_empty() && id.len() <= MAX_MESSAGE_ID_BYTES).then(|| id.to_owned())
}

/// An answer in this class, in the provider's words.
pub(super) fn refusal(status: StatusCode, class: SendErrorClass, words: &str, private: &[&str]) -> SendError {
    let mut message = redact(words, private);
    if message.is_empty() {
        message = status.canonical_reason().unwrap_or("no explanation").to_owned();
    }
    SendError { class, http_status: Some(status.as_u16()), message, retry_after: None }
}

/// What cannot be sent this way, found out before a byte was: `why` is ours, and repeats nothing of the message.
pub(super) fn unsendable(why: impl Into<String>) -> SendError {
    SendError { class: SendErrorClass::Refused, http_status: None, message: why.into(), retry_after: None }
}

/// What a request without an answer means.
pub(super) fn failure(error: &reqwest::Error) -> SendError {
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
pub(super) fn describe(error: &reqwest::Error) -> String {
    let stage = match (error.is_connect(), error.is_timeout()) {
        (true, true) => "no connection in time",
        (true, false) => "no connection",
        (false, true) => "no answer in time",
        (false, false) => "no answer",
    };
    let innermost = causes(error).last().map(ToString::to_string).unwrap_or_default();
    redact(&format!("{stage}: {innermost}"), &[])
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| (**cause).source())
}

/// `Retry-After` in seconds or as an HTTP date (RFC 9110, 10.2.3); anything else counts as absent.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
    Some(Timestamp::from_ms(at).since(now))
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

pub(super) fn client(config: &Config, tls: bool) -> Result<Client, ConfigError> {
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
    let words =
        |error: &reqwest::Error| causes(error).last().map_or_else(|| error.to_string(), ToString::to_string);
    builder.build().map_err(|error| ConfigError::Client(words(&error)))
}
