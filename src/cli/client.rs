//! The way to the API: over HTTP to a running server, or in process to the storage itself.

mod error;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::body::Body;
use axum::http::{Method, Request, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt;

pub use error::{ClientError, Pointed, Problem};

use super::Usage;
use crate::app;
use crate::secret::Secret;
use crate::settings::{Backend, Settings};

/// Speaks the HTTP API.
pub struct Client {
    transport: Transport,
    key: Option<Secret>,
}

enum Transport {
    Http { http: reqwest::Client, base: String },
    InProcess { router: axum::Router, _session: Option<app::OperatorSession> },
}

/// A server that starts has the data directory before it says where it listens, and one that stops for a while after: so
/// long it is waited for, looking so often.
const STARTING: Duration = Duration::from_secs(5);
const STARTING_LOOK: Duration = Duration::from_millis(50);

/// A successful answer.
#[derive(Debug)]
pub struct Answer {
    /// The whole body.
    pub body: Bytes,
}

/// What a running server writes into its data directory.
#[derive(Deserialize)]
struct ServerFile {
    url: String,
    key: String,
}

impl Client {
    /// The client that the settings ask for: the named server; else the storage itself; else, where a server holds
    /// the storage, that server.
    pub async fn connect(settings: &Settings, may_create: bool) -> anyhow::Result<Self> {
        if let Some(url) = &settings.url {
            if settings.api_key.is_none() {
                let own = read_server_file(&settings.data_dir).ok().filter(|server| server.url == *url);
                let key = own.map(|server| Secret::new(server.key)).ok_or_else(|| {
                    Usage(format!(
                        "using {url} needs a key: KAKITOME_API_KEY, KAKITOME_API_KEY_FILE or --api-key-file"
                    ))
                })?;
                return Self::http(url, Some(key));
            }
            return Self::http(url, settings.api_key.clone());
        }
        let dir = &settings.data_dir;
        if matches!(settings.backend, Backend::Embedded) && !may_create && !dir.is_dir() {
            anyhow::bail!(
                "there is no data directory {}: nothing was ever recorded here; is --data-dir right, or is --url \
                 missing? `kakitome setup` makes a new one",
                dir.display()
            );
        }
        let begun = Instant::now();
        loop {
            match app::operator_router(settings).await {
                Ok((router, session)) => {
                    let key = Some(session.key.clone());
                    return Ok(Self {
                        transport: Transport::InProcess { router, _session: Some(session) },
                        key,
                    });
                }
                Err(error) if error.is::<app::Locked>() => {}
                Err(error) => return Err(error),
            }
            match read_server_file(dir) {
                Ok(server) => return Self::http(&server.url, Some(Secret::new(server.key))),
                Err(_) if begun.elapsed() < STARTING => tokio::time::sleep(STARTING_LOOK).await,
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!(
                            "a process holds the data directory {} and does not say where it listens",
                            dir.display()
                        )
                    });
                }
            }
        }
    }

    /// A client of the server at `base`.
    pub fn http(base: &str, key: Option<Secret>) -> anyhow::Result<Self> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Lost only to another thread that installs the same one.
            let _installed = rustls::crypto::ring::default_provider().install_default();
        }
        let mut http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(120))
            .user_agent(concat!("kakitome/", env!("CARGO_PKG_VERSION")));
        let host = reqwest::Url::parse(base)?.host_str().unwrap_or_default().to_owned();
        if host == "localhost" || host.starts_with("127.") || host == "[::1]" {
            // A proxy has another loopback than we.
            http = http.no_proxy();
        }
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self { transport: Transport::Http { http: http.build()?, base }, key })
    }

    /// A client of a router in this process.
    pub fn in_process(router: axum::Router, key: Option<Secret>) -> Self {
        Self { transport: Transport::InProcess { router, _session: None }, key }
    }

    /// One GET, its body as `T`.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, ClientError> {
        self.call(Method::GET, path, query, None).await?.json()
    }

    /// One POST of JSON, the answer's body as `T`.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<T, ClientError> {
        let body = ("application/json", Bytes::from(body.to_string()));
        self.call(Method::POST, path, &[], Some(body)).await?.json()
    }

    /// One request, no retry. `body` comes with its media type.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<(&str, Bytes)>,
    ) -> Result<Answer, ClientError> {
        let target = path_and_query(path, query)?;
        let (status, retry_after, body) = match &self.transport {
            Transport::Http { http, base } => self.over_http(http, base, method, &target, body).await?,
            Transport::InProcess { router, .. } => {
                self.in_this_process(router, method, &target, body).await?
            }
        };
        if (200..300).contains(&status) {
            return Ok(Answer { body });
        }
        let mut problem = serde_json::from_slice::<Problem>(&body).unwrap_or_default();
        problem.status = status;
        problem.retry_after = retry_after;
        Err(ClientError::Refused(problem))
    }

    async fn over_http(
        &self,
        http: &reqwest::Client,
        base: &str,
        method: Method,
        target: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<(u16, Option<Duration>, Bytes), ClientError> {
        let mut request = http.request(method, format!("{base}{target}"));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.reveal());
        }
        if let Some((media_type, bytes)) = body {
            request = request.header(header::CONTENT_TYPE, media_type).body(bytes);
        }
        let url = base.to_owned();
        let failed = |error: reqwest::Error| {
            let detail = innermost(&error);
            let never_sent = error.is_connect() || error.is_builder();
            if never_sent {
                ClientError::Unreachable { url, detail }
            } else {
                ClientError::Lost { url, detail }
            }
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Err(failed(error)),
        };
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        match response.bytes().await {
            Ok(body) => Ok((status, retry_after, body)),
            Err(error) => Err(failed(error)),
        }
    }

    async fn in_this_process(
        &self,
        router: &axum::Router,
        method: Method,
        target: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<(u16, Option<Duration>, Bytes), ClientError> {
        let strange = |error: &dyn std::fmt::Display| ClientError::Strange(error.to_string());
        let mut request = Request::builder().method(method).uri(target);
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", key.reveal()));
        }
        let body = match body {
            Some((media_type, bytes)) => {
                request = request
                    .header(header::CONTENT_TYPE, media_type)
                    .header(header::CONTENT_LENGTH, bytes.len());
                Body::from(bytes)
            }
            None => Body::empty(),
        };
        let request = request.body(body).map_err(|error| strange(&error))?;
        let Ok(response) = router.clone().oneshot(request).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| strange(&error))?.to_bytes();
        Ok((parts.status.as_u16(), retry_after(&parts.headers), body))
    }
}

impl Answer {
    /// The body as `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| ClientError::Strange(error.to_string()))
    }
}

fn path_and_query(path: &str, query: &[(&str, String)]) -> Result<String, ClientError> {
    let url = reqwest::Url::parse_with_params(&format!("http://localhost{path}"), query);
    let url = url.map_err(|error| ClientError::Strange(error.to_string()))?;
    Ok(match url.query().filter(|query| !query.is_empty()) {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    })
}

fn retry_after(headers: &axum::http::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The cause at the bottom: reqwest's own words only repeat the address.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn read_server_file(dir: &Path) -> io::Result<ServerFile> {
    let bytes = std::fs::read(dir.join("server.json"))?;
    serde_json::from_slice(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
