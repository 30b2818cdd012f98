//! Posting events: collected, signed, several posts at once, tried again for a day. It never holds up a send.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Client, Url};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::StartError;
use super::events::Event;
use super::signing::Signer;
use crate::clock::Clock;
use crate::shutdown::Shutdown;

/// SendGrid posts at 768 KB at the latest (sendgrid/docs, "Getting started with the Event Webhook").
const LARGEST_POST_BYTES: usize = 768 * 1024;
const POSTS_AT_ONCE: usize = 8;
const POST_TIMEOUT: Duration = Duration::from_secs(10);
/// Beyond this, new events are lost and counted.
const MOST_WAITING_BYTES: usize = 256 * 1024 * 1024;
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// SendGrid waits longer and longer; staging and tests should not.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// As long as SendGrid tries.
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// What a stopping sandbox still gives its last posts.
const LAST_POSTS: Duration = Duration::from_secs(3);

/// Collects events and posts them.
pub(super) struct Webhooks {
    poster: Arc<Poster>,
    flush_interval: Duration,
    waiting: Mutex<Waiting>,
    full: Notify,
}

#[derive(Default)]
struct Waiting {
    ready: VecDeque<Bytes>,
    ready_bytes: usize,
    /// Keyed by time and a number that keeps equal times in order.
    later: BTreeMap<(Instant, u64), Bytes>,
    next: u64,
}

/// What posting needs; shared by the posts under way.
struct Poster {
    client: Client,
    url: Url,
    signer: Arc<Signer>,
    clock: Clock,
    permits: Semaphore,
    waiting_bytes: AtomicUsize,
    posted: AtomicU64,
    failures: AtomicU64,
    lost: AtomicU64,
}

/// How posting goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Events in posts that were answered 2xx.
    pub(super) events_posted: u64,
    /// Posts that were not; each is tried again.
    pub(super) webhook_failures: u64,
    /// Events given up: too many waiting, or nobody took them for a day.
    pub(super) events_lost: u64,
}

/// One post's body and how many events are in it.
struct Post {
    body: Bytes,
    events: u64,
    bytes: usize,
}

impl Webhooks {
    pub(super) fn new(
        url: &str,
        flush_interval: Duration,
        signer: Arc<Signer>,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let url = Url::parse(url).map_err(|error| StartError::WebhookUrl(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(StartError::WebhookUrl("neither http nor https".to_owned()));
        }
        // Reqwest is built without a TLS provider of its own. An error says that somebody else chose one already.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(POST_TIMEOUT)
            .connect_timeout(Duration::from_secs(2))
            .build()
            .map_err(|error| StartError::Client(error.to_string()))?;
        let poster = Arc::new(Poster {
            client,
            url,
            signer,
            clock,
            permits: Semaphore::new(POSTS_AT_ONCE),
            waiting_bytes: AtomicUsize::new(0),
            posted: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        Ok(Self { poster, flush_interval, waiting: Mutex::default(), full: Notify::new() })
    }

    /// Takes the events of one mail.
    pub(super) fn push(&self, events: Vec<Event>) {
        let now = Instant::now();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            if event.again {
                // One flush later than the first, so that it comes in another post.
                let at = now + event.delay + self.flush_interval.mul_f32(1.5);
                self.poster.hold(&mut waiting, Some(at), event.json.clone());
            }
            self.poster.hold(&mut waiting, (!event.delay.is_zero()).then(|| now + event.delay), event.json);
        }
        if waiting.ready_bytes >= LARGEST_POST_BYTES {
            self.full.notify_one();
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            events_posted: self.poster.posted.load(Ordering::Relaxed),
            webhook_failures: self.poster.failures.load(Ordering::Relaxed),
            events_lost: self.poster.lost.load(Ordering::Relaxed),
        }
    }

    /// Posts until the shutdown, then makes one last try of what is due.
    pub(super) async fn run(&self, shutdown: Shutdown) {
        let mut posts = JoinSet::new();
        while !shutdown.is_pulled() {
            tokio::select! {
                () = tokio::time::sleep(self.flush_interval) => {}
                () = self.full.notified() => {}
                () = shutdown.pulled() => {}
            }
            for post in self.due() {
                posts.spawn(Arc::clone(&self.poster).deliver(post, shutdown.clone()));
            }
            while posts.try_join_next().is_some() {}
        }
        let all = async { while posts.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_POSTS, all).await.is_err() {
            tracing::warn!(left = posts.len(), "webhook posts were still under way at the end");
        }
        let held_back = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).later.len();
        if held_back > 0 {
            tracing::warn!(held_back, "events that were not due yet were forgotten at the end");
        }
    }

    /// What is due, cut into posts.
    fn due(&self) -> Vec<Post> {
        let ready = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let still_later = waiting.later.split_off(&(Instant::now(), u64::MAX));
            let due = std::mem::replace(&mut waiting.later, still_later);
            waiting.ready.extend(due.into_values());
            waiting.ready_bytes = 0;
            std::mem::take(&mut waiting.ready)
        };
        posts(ready)
    }
}

/// An array per post, CRLF between events and at the end, as captured posts have it.
fn posts(events: impl IntoIterator<Item = Bytes>) -> Vec<Post> {
    let mut posts = Vec::new();
    let mut body = BytesMut::new();
    let (mut count, mut bytes) = (0, 0);
    let mut finish = |body: &mut BytesMut, count: &mut u64, bytes: &mut usize| {
        if *count > 0 {
            body.extend_from_slice(b"]\r\n");
            let body = std::mem::take(body).freeze();
            posts.push(Post { body, events: std::mem::take(count), bytes: std::mem::take(bytes) });
        }
    };
    for event in events {
        if body.len() + event.len() + 5 > LARGEST_POST_BYTES {
            finish(&mut body, &mut count, &mut bytes);
        }
        body.extend_from_slice(if count == 0 { b"[" } else { b",\r\n" });
        body.extend_from_slice(&event);
        count += 1;
        bytes += event.len();
    }
    finish(&mut body, &mut count, &mut bytes);
    posts
}

impl Poster {
    fn hold(&self, waiting: &mut Waiting, at: Option<Instant>, event: Bytes) {
        let bytes = event.len();
        if self.waiting_bytes.load(Ordering::Relaxed) + bytes > MOST_WAITING_BYTES {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        match at {
            None => {
                waiting.ready_bytes += bytes;
                waiting.ready.push_back(event);
            }
            Some(at) => {
                waiting.next += 1;
                waiting.later.insert((at, waiting.next), event);
            }
        }
    }

    /// Posts until somebody takes it, a day is over or the sandbox stops.
    async fn deliver(self: Arc<Self>, post: Post, shutdown: Shutdown) {
        let began = Instant::now();
        let mut pause = FIRST_RETRY;
        let taken = loop {
            if self.try_once(&post.body).await {
                break true;
            }
            self.failures.fetch_add(1, Ordering::Relaxed);
            if began.elapsed() > GIVE_UP_AFTER || shutdown.is_pulled() {
                break false;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.pulled() => {}
            }
            pause = (pause * 2).min(LONGEST_RETRY);
        };
        let count = if taken { &self.posted } else { &self.lost };
        count.fetch_add(post.events, Ordering::Relaxed);
        self.waiting_bytes.fetch_sub(post.bytes, Ordering::Relaxed);
    }

    /// Signed anew at each try, so that the timestamp tells when it was posted.
    async fn try_once(&self, body: &Bytes) -> bool {
        let Ok(_permit) = self.permits.acquire().await else {
            return false;
        };
        let timestamp = (self.clock.now().as_ms() / 1000).to_string();
        let signature = self.signer.sign(&timestamp, body);
        let answer = self
            .client
            .post(self.url.clone())
            .header("Content-Type", "application/json;charset=utf-8")
            .header("User-Agent", "SendGrid Event API")
            .header("X-Twilio-Email-Event-Webhook-Signature", signature)
            .header("X-Twilio-Email-Event-Webhook-Timestamp", timestamp)
            .body(body.clone())
            .send()
            .await;
        match answer {
            Ok(answer) if answer.status().is_success() => true,
            Ok(answer) => {
                tracing::debug!(status = answer.status().as_u16(), "a webhook post was refused");
                false
            }
            Err(error) => {
                // The URL may hold a password.
                tracing::debug!(error = %error.without_url(), "a webhook post failed");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn posts_are_framed_as_captured_ones_and_stay_under_the_limit() {
        let framed = posts([Bytes::from_static(b"{\"a\":1}"), Bytes::from_static(b"{\"b\":2}")]);
        assert_eq!(&framed[0].body[..], b"[{\"a\":1},\r\n{\"b\":2}]\r\n");
        let event = Bytes::from(vec![b' '; 1000]);
        let many = posts(std::iter::repeat_n(event, 2000));
        assert_eq!(many.iter().map(|post| post.events).sum::<u64>(), 2000);
        assert!(many.iter().all(|post| post.body.len() <= LARGEST_POST_BYTES));
        assert_eq!(many.len(), 3);
        assert!(posts([]).is_empty());
    }
}
