//! Posts to the producers' endpoints: to the very addresses that were judged, and nowhere else.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Certificate;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, RootCertStore};

use super::address::{self, PRIVATE};
use crate::feed::courier::{Courier, Message, PostError};

/// One post with its answer, name and connection included.
const TIMEOUT: Duration = Duration::from_secs(5);
/// So much of an answer is read; nothing of it is kept.
const ANSWER_BYTES: usize = 16 * 1024;

/// Finds the addresses of a name.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// Every address of `host`.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Who may have issued an endpoint's certificate, beside those whom the machine trusts.
#[derive(Clone, Debug, Default)]
pub struct Authorities(Vec<Certificate>);

impl Authorities {
    /// Those in a PEM text. `None`: there is none, or something that is no certificate.
    pub fn parse(pem: &str) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        let mut found = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.ok()?;
            found.push(Certificate::from_der(&certificate).ok()?);
            roots.add(certificate).ok()?;
        }
        (!found.is_empty()).then_some(Self(found))
    }
}

/// Carries messages over HTTP.
pub struct HttpCourier {
    guard: Guard,
    timeout: Duration,
    authorities: Authorities,
    // Made when first needed: without the machine's root certificates the one for TLS cannot be, and need not.
    secure: OnceLock<reqwest::Client>,
    plain: OnceLock<reqwest::Client>,
}

impl HttpCourier {
    /// `is_open`: also http, and any port and address. For tests and development.
    pub fn new(is_open: bool, resolver: Arc<dyn Resolver>) -> Self {
        let guard = Guard { is_open, resolver };
        let authorities = Authorities::default();
        Self { guard, timeout: TIMEOUT, authorities, secure: OnceLock::new(), plain: OnceLock::new() }
    }

    /// That also trusts certificates by these.
    pub fn trusting(self, authorities: Authorities) -> Self {
        Self { authorities, ..self }
    }

    /// With another limit for one post.
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    fn client(&self, is_secure: bool) -> Result<&reqwest::Client, PostError> {
        let place = if is_secure { &self.secure } else { &self.plain };
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let mut builder = reqwest::Client::builder()
            .timeout(self.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            // Each post resolves and judges anew: a connection that is kept would go on to what was judged long ago.
            .pool_max_idle_per_host(0)
            .dns_resolver(self.guard.clone())
            .user_agent(concat!("kakitome/", env!("CARGO_PKG_VERSION")));
        builder = if is_secure {
            builder.tls_certs_merge(self.authorities.0.iter().cloned())
        } else {
            builder.tls_certs_only([])
        };
        let client = builder.build().map_err(|error| {
            tracing::error!(%error, "there is no client for callbacks");
            PostError::Unreachable
        })?;
        Ok(place.get_or_init(|| client))
    }
}

#[async_trait]
impl Courier for HttpCourier {
    async fn check(&self, url: &str) -> Result<(), PostError> {
        let url = address::parse(url, self.guard.is_open).map_err(PostError::Forbidden)?;
        let host = url.host_str().unwrap_or_default();
        if self.guard.is_open || address::literal(&url).is_some() {
            return Ok(());
        }
        let judged = tokio::time::timeout(self.timeout, self.guard.addresses(host)).await;
        let judged = judged.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()));
        judged.map(drop).map_err(|error| {
            if is_denial(&error) {
                PostError::Forbidden(PRIVATE)
            } else {
                PostError::Forbidden("its host cannot be found")
            }
        })
    }

    async fn post(&self, url: &str, message: &Message) -> Result<(), PostError> {
        let url = address::parse(url, self.guard.is_open).map_err(PostError::Forbidden)?;
        let request = self
            .client(url.scheme() == "https")?
            .post(url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header("webhook-id", message.id.as_str())
            .header("webhook-timestamp", message.seconds)
            .header("webhook-signature", message.signature.as_str())
            .body(message.body.clone());
        let mut answer = request.send().await.map_err(|error| {
            if is_denial(&error) {
                PostError::Forbidden(PRIVATE)
            } else if error.is_timeout() {
                PostError::Timeout
            } else {
                certificate_fault(&error).map_or(PostError::Unreachable, PostError::Certificate)
            }
        })?;
        let status = answer.status();
        let retry_after =
            answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut read = 0;
        // Politeness alone: an endpoint may take it ill to be left in the middle of its answer.
        while let Ok(Some(piece)) = answer.chunk().await {
            read += piece.len();
            if read >= ANSWER_BYTES {
                break;
            }
        }
        if status.is_success() {
            return Ok(());
        }
        let retry_after = retry_after.map(Duration::from_secs);
        Err(PostError::Answer { status: status.as_u16(), retry_after })
    }
}

/// Resolves, and lets none through unless all are public: a name that leads here and there is no honest one.
#[derive(Clone)]
struct Guard {
    is_open: bool,
    resolver: Arc<dyn Resolver>,
}

/// A name that leads to where nothing is posted.
#[derive(Debug, thiserror::Error)]
#[error("{PRIVATE}")]
struct Denied;

impl Guard {
    async fn addresses(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        let found = self.resolver.resolve(host).await?;
        if found.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !self.is_open && !found.iter().all(|address| address::is_public(*address)) {
            return Err(io::Error::other(Denied));
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address, 0)).collect())
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let addresses = guard.addresses(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn is_denial(error: &(dyn Error + 'static)) -> bool {
    cause::<Denied>(error).is_some()
}

/// What is wrong with the certificate that the endpoint showed, where that was it.
fn certificate_fault(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let rustls::Error::InvalidCertificate(fault) = cause(error)? else { return None };
    Some(match fault {
        CertificateError::UnknownIssuer => "nobody who is trusted issued its certificate",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is another name's"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        _ => "its certificate is not valid",
    })
}

/// What led to an error. An I/O error does not name what it wraps as its source, but that one's.
fn behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// The error of this type that led to `error`, or that is it.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |error| behind(*error)).find_map(|error| error.downcast_ref())
}
