//! The scripted SendGrid-style provider: strict about what it takes, honest about what it took, ill on demand.
//!
//! A product of its own: staging environments run it with `kakitome sandbox`, `demo` and the tests inside their own
//! process. `POST /v3/mail/send` answers as SendGrid does (`sandbox/validate.rs`); [`faults`] says what can go wrong and how to
//! ask for it; what was accepted is kept in an outbox and, where a webhook URL is given, followed by signed events.
//! Everything is in memory: a restart forgets all but the key pair, if that has a file.
//!
//! | call | answer |
//! | --- | --- |
//! | `POST /v3/mail/send` | 202 and `X-Message-Id`; 200 in SendGrid's own sandbox mode; 4xx with SendGrid's error body |
//! | `GET /sandbox/outbox?limit=&kakitome_id=&to=` | the latest accepted mails, newest last |
//! | `DELETE /sandbox/outbox` | forgets mails, ids and counts |
//! | `GET /sandbox/stats` | [`Stats`] |
//! | `GET /sandbox/webhook-key` | the public key that verifies webhook posts, base64 SPKI, as text |
//! | `GET`, `POST /sandbox/faults` | the active plan; `POST` takes either form, restarts counting and clock |
//! | `GET /healthz` | 200 |

mod door;
mod events;
pub mod faults;
mod outbox;
mod signing;
mod validate;
mod webhooks;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::server;
use crate::shutdown::{self, Shutdown};
use door::Door;
use faults::Plan;
pub use outbox::Mail;
use outbox::Outbox;
pub use signing::KeyError;
use signing::Signer;
use webhooks::Webhooks;

/// How the sandbox behaves.
#[derive(Clone)]
pub struct Config {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where events go; without one there are none.
    pub webhook_url: Option<String>,
    /// How long events are collected before they are posted. SendGrid takes 30 s.
    pub webhook_flush_interval: Duration,
    /// Where the webhook key pair is kept; without one each start makes its own.
    pub webhook_key_file: Option<PathBuf>,
    /// How long every answer takes at least.
    pub latency: Duration,
    /// What goes wrong from the start.
    pub faults: Plan,
    /// The seed of plans that name none.
    pub seed: u64,
    /// The only accepted bearer token; without one any will do.
    pub api_key: Option<String>,
    /// How many mails are kept whole. Counts and duplicate detection cover all.
    pub outbox_capacity: usize,
    /// How many bytes of mails are kept.
    pub outbox_capacity_bytes: usize,
    /// The listener's bounds.
    pub server: server::Config,
    /// Whose time the mails and events carry.
    pub clock: Clock,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7626)),
            webhook_url: None,
            webhook_flush_interval: Duration::from_secs(1),
            webhook_key_file: None,
            latency: Duration::ZERO,
            faults: Plan::default(),
            seed: 1,
            api_key: None,
            outbox_capacity: 10_000,
            outbox_capacity_bytes: 256 * 1024 * 1024,
            server: server::Config { drain_timeout: Duration::from_secs(2), ..server::Config::default() },
            clock: Clock::system(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The webhook URL may hold a password, so it is masked like the key.
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("webhook_url", &self.webhook_url.as_ref().map(|_| "***"))
            .field("latency", &self.latency)
            .field("faults", &self.faults)
            .field("seed", &self.seed)
            .field("api_key", &self.api_key.as_ref().map(|_| "***"))
            .field("outbox_capacity", &self.outbox_capacity)
            .finish_non_exhaustive()
    }
}

/// What the sandbox has done since its start, or since its outbox was cleared. Webhook counts are since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Mails taken, answered or not.
    pub accepted: u64,
    /// Of these, different ones by `kakitome_id`; a mail without one is always different.
    pub distinct: u64,
    /// Of these, repeated ones.
    pub duplicates: u64,
    /// Requests that SendGrid would refuse: 4xx, the fault `429` not included.
    pub refused: u64,
    /// Requests that a fault kept from being taken.
    pub faulted: u64,
    /// Events in webhook posts that were answered 2xx.
    pub events_posted: u64,
    /// Webhook posts that were not; each is tried again.
    pub webhook_failures: u64,
    /// Events given up.
    pub events_lost: u64,
}

/// Why the sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The webhook URL is none.
    #[error("the webhook URL is not valid: {0}")]
    WebhookUrl(String),
    /// The HTTP client for webhook posts cannot be built.
    #[error("the webhook client cannot be built: {0}")]
    Client(String),
    /// The key pair cannot be had.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Base64 SPKI of a key pair that nobody has: events signed with another one do not fit it.
pub fn fresh_public_key() -> Result<String, KeyError> {
    Ok(Signer::generate()?.public_key().to_owned())
}

/// A running sandbox. It ends with its shutdown; dropping the handle does not stop it.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    door: Arc<Door>,
    task: JoinHandle<usize>,
}

impl Sandbox {
    /// Listens and serves until the shutdown is pulled. Must be called inside a tokio runtime.
    pub fn start(config: Config, shutdown: Shutdown) -> Result<Self, StartError> {
        let listen_error = |error| StartError::Listen { address: config.listen, error };
        let listener = server::bind(config.listen).map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let signer = Arc::new(match &config.webhook_key_file {
            Some(path) => Signer::from_file(path)?,
            None => Signer::generate()?,
        });
        let webhooks = match &config.webhook_url {
            Some(url) => {
                let interval = config.webhook_flush_interval;
                Some(Arc::new(Webhooks::new(url, interval, Arc::clone(&signer), config.clock.clone())?))
            }
            None => None,
        };
        let server_config = config.server.clone();
        let door = Arc::new(Door::new(config, signer, webhooks.clone(), shutdown.clone()));
        let router = door::router(Arc::clone(&door));
        let task = tokio::spawn(async move {
            let (stop_posting, stopping) = shutdown::channel();
            let posting = webhooks.map(|webhooks| tokio::spawn(async move { webhooks.run(stopping).await }));
            let left = server::serve(listener, router, server_config, shutdown).await;
            // Requests that ended in the drain have events too, so posting ends last.
            stop_posting.pull();
            if let Some(posting) = posting
                && let Err(error) = posting.await
            {
                tracing::error!(%error, "webhook posting ended badly");
            }
            left
        });
        Ok(Self { address, door, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for a SendGrid client.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Base64 SPKI of the public key that verifies its webhook posts.
    pub fn public_key(&self) -> &str {
        self.door.signer.public_key()
    }

    /// What it has done so far.
    pub fn stats(&self) -> Stats {
        self.door.stats()
    }

    /// The newest `limit` of the kept mails, newest last.
    pub fn mails(&self, limit: usize) -> Vec<Mail> {
        self.door.outbox.mails(limit, |_| true)
    }

    /// The active plan, its seed filled in.
    pub fn faults(&self) -> Plan {
        self.door.script().plan().clone()
    }

    /// Replaces the plan. Request numbers and an outage's clock start anew.
    pub fn set_faults(&self, plan: Plan) {
        self.door.set_plan(plan);
    }

    /// Takes this bearer token alone from now on; `None`: any.
    pub fn set_api_key(&self, key: Option<String>) {
        self.door.set_api_key(key);
    }

    /// Waits for the end after the shutdown; says how many requests were cut off by it.
    pub async fn stopped(self) -> usize {
        self.task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the sandbox ended badly");
            0
        })
    }
}
