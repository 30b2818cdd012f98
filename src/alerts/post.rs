//! The channels: one task each with a queue of limited length, so that one that hangs holds up nobody, neither the
//! other channels nor the mail.

use std::time::Duration;

use metrics::counter;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use tokio::sync::mpsc;

use super::message::Message;
use super::slack;
use crate::clock::{Clock, Timestamp};
use crate::metrics::ALERT_POSTS_TOTAL;
use crate::secret::Secret;
use crate::sign;

/// One post, connect included.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Between the posts of one try.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// How long one message may take with all its tries.
pub const LONGEST: Duration = Duration::from_secs(19);
/// Messages that wait for one channel.
const WAITING: usize = 16;

/// The header that holds a message's id.
pub const ID_HEADER: &str = "kakitome-alert-id";
/// The header that signs it: `t=SECONDS,v1=HEX`, HMAC-SHA-256 over `SECONDS.BODY`.
pub const SIGNATURE_HEADER: &str = "kakitome-signature";

/// Where messages go.
#[derive(Clone, Debug)]
pub enum Target {
    /// Slack's incoming webhook.
    Slack(Secret),
    /// Any webhook.
    Webhook {
        /// Where.
        url: Secret,
        /// Signs what is posted.
        secret: Option<Secret>,
    },
}

impl Target {
    /// The name in metrics and answers.
    pub fn name(&self) -> &'static str {
        match self {
            Target::Slack(_) => "slack",
            Target::Webhook { .. } => "webhook",
        }
    }

    fn url(&self) -> &Secret {
        match self {
            Target::Slack(url) | Target::Webhook { url, .. } => url,
        }
    }
}

/// Why a post failed, without the address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The channel answered, and not with 2xx.
    #[error("it answered {0}")]
    Answer(u16),
    /// It did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// It cannot be reached.
    #[error("it cannot be reached")]
    Unreachable,
}

impl PostError {
    /// Whether trying again at once makes sense.
    fn is_passing(&self) -> bool {
        !matches!(self, PostError::Answer(status) if (300..500).contains(status) && ![408, 429].contains(status))
    }
}

/// One place to post to.
#[derive(Clone, Debug)]
pub struct Channel {
    target: Target,
    http: reqwest::Client,
    clock: Clock,
}

impl Channel {
    /// A channel to this target.
    pub fn new(target: Target, clock: Clock) -> Result<Self, reqwest::Error> {
        let mut http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .user_agent(concat!("kakitome/", env!("CARGO_PKG_VERSION")));
        if !target.url().reveal().starts_with("https:") {
            // Without TLS the machine's root certificates need not be there; a proxy has another loopback than we.
            http = http.tls_certs_only([]).no_proxy();
        }
        Ok(Self { target, http: http.build()?, clock })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.target.name()
    }

    /// Posts once.
    pub async fn post(&self, message: &Message) -> Result<(), PostError> {
        let body = match &self.target {
            Target::Slack(_) => slack::body(message).to_string(),
            Target::Webhook { .. } => serde_json::json!(message).to_string(),
        };
        let mut request = self.http.post(self.target.url().reveal());
        request = request
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(ID_HEADER, message.id.as_str());
        if let Target::Webhook { secret: Some(secret), .. } = &self.target {
            let seconds = self.clock.now().as_ms() / 1000;
            let signed =
                sign::hmac_sha256(secret.reveal().as_bytes(), format!("{seconds}.{body}").as_bytes());
            request = request.header(SIGNATURE_HEADER, format!("t={seconds},v1={}", sign::hex(&signed)));
        }
        let answer =
            request.body(body).send().await.map_err(|error| {
                if error.is_timeout() { PostError::Timeout } else { PostError::Unreachable }
            })?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(PostError::Answer(status.as_u16())) }
    }

    /// Posts, and again after a pause where that may help.
    async fn post_patiently(&self, message: &Message) -> Result<(), PostError> {
        let mut pauses = PAUSES.iter();
        loop {
            let Err(error) = self.post(message).await else { return Ok(()) };
            let Some(pause) = pauses.next().filter(|_| error.is_passing()) else { return Err(error) };
            tokio::time::sleep(*pause).await;
        }
    }
}

/// A message on its way to one channel.
#[derive(Debug)]
pub struct Job {
    /// The alert's key.
    pub key: String,
    /// What is posted.
    pub message: Message,
    /// Nobody else posts it until then.
    pub lease_until: Timestamp,
}

/// What became of a [`Job`].
#[derive(Debug)]
pub struct Done {
    /// The alert's key.
    pub key: String,
    /// The message's.
    pub id: String,
    /// Where to.
    pub channel: &'static str,
    /// Whether it was taken.
    pub is_taken: bool,
}

/// Every channel's task.
#[derive(Debug)]
pub struct Post {
    queues: Vec<(&'static str, mpsc::Sender<Job>)>,
}

impl Post {
    /// Starts a task a channel; they end when this is dropped. What became of each message is said to `done`.
    pub fn start(channels: &[Channel], done: &mpsc::Sender<Done>) -> Self {
        let start = |channel: &Channel| {
            let (queue, jobs) = mpsc::channel(WAITING);
            for outcome in ["posted", "failed", "dropped"] {
                counter!(ALERT_POSTS_TOTAL, "channel" => channel.name(), "outcome" => outcome).increment(0);
            }
            tokio::spawn(run(channel.clone(), jobs, done.clone()));
            (channel.name(), queue)
        };
        Self { queues: channels.iter().map(start).collect() }
    }

    /// Hands a message to a channel. One whose queue is full loses it for now: it is still in the journal.
    pub fn hand(&self, channel: &str, job: Job) {
        let Some((name, queue)) = self.queues.iter().find(|(name, _)| *name == channel) else { return };
        if queue.try_send(job).is_err() {
            counter!(ALERT_POSTS_TOTAL, "channel" => *name, "outcome" => "dropped").increment(1);
        }
    }
}

async fn run(channel: Channel, mut jobs: mpsc::Receiver<Job>, done: mpsc::Sender<Done>) {
    let name = channel.name();
    let mut is_well = true;
    while let Some(Job { key, message, lease_until }) = jobs.recv().await {
        // It waited too long: by now another process may be at it.
        if channel.clock.now().plus(LONGEST) > lease_until {
            counter!(ALERT_POSTS_TOTAL, "channel" => name, "outcome" => "dropped").increment(1);
            continue;
        }
        let ended = channel.post_patiently(&message).await;
        let outcome = if ended.is_ok() { "posted" } else { "failed" };
        counter!(ALERT_POSTS_TOTAL, "channel" => name, "outcome" => outcome).increment(1);
        match &ended {
            Ok(()) if !is_well => tracing::info!(channel = name, "alerts reach the channel again"),
            Err(error) if is_well => {
                tracing::warn!(channel = name, %error, "alerts do not reach the channel; they are kept and tried again");
            }
            _ => {}
        }
        is_well = ended.is_ok();
        if done.send(Done { key, id: message.id, channel: name, is_taken: is_well }).await.is_err() {
            return;
        }
    }
}
