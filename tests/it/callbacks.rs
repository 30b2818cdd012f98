//! Callbacks: posted in order, signed, at least once, to allowed addresses alone.

mod aws;
mod guard;
mod house;
pub mod receiver;
mod tls;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kakitome::callbacks::post::{HttpCourier, SystemResolver};
use kakitome::callbacks::{Config, Deliverer, Outcome};
use kakitome::clock::{Clock, Timestamp};
use kakitome::feed::callback::{self, Callback, CallbackState};
use kakitome::feed::courier::Courier;
use kakitome::feed::sqlite::SqliteFeed;
use kakitome::feed::{Cursor, Feed, Told};
use kakitome::journal::Journal;
use kakitome::journal::sqlite::SqliteJournal;
use kakitome::message_log::MessageLog;
use kakitome::message_log::sqlite::SqliteLog;
use kakitome::notification::NotificationId;
use kakitome::secret::Secret;
use kakitome::shutdown;
use kakitome::sqlite::Engine;

use crate::conformance::{accept, send, start};
use crate::vectors;
use receiver::{Mood, Receiver};

const HOUR: Duration = Duration::from_secs(3600);

/// Log, feed and journal in a directory, and somebody who tells.
struct Bench {
    engine: Engine,
    log: Arc<dyn MessageLog>,
    feed: Arc<dyn Feed>,
    journal: Arc<dyn Journal>,
    clock: Clock,
    deliverer: Deliverer,
}

fn courier() -> Arc<dyn Courier> {
    Arc::new(HttpCourier::new(true, Arc::new(SystemResolver)).within(Duration::from_millis(300)))
}

impl Bench {
    fn open(dir: &Path, clock: &Clock) -> Self {
        Self::open_with(dir, clock, courier(), Config { alone: true, ..Config::default() })
    }

    fn open_with(dir: &Path, clock: &Clock, courier: Arc<dyn Courier>, config: Config) -> Self {
        let engine = Engine::open(dir, kakitome::sqlite::Config::default()).unwrap();
        let log: Arc<dyn MessageLog> = Arc::new(SqliteLog::new(engine.clone()));
        let feed: Arc<dyn Feed> = Arc::new(SqliteFeed::new(engine.clone()));
        let journal: Arc<dyn Journal> = Arc::new(SqliteJournal::new(engine.clone(), clock.clone()));
        let deliverer = Deliverer::new(feed.clone(), journal.clone(), courier, clock.clone(), config);
        Self { engine, log, feed, journal, clock: clock.clone(), deliverer }
    }

    async fn add(&self, tenant: &str, url: &str, statuses: &[Told]) -> (String, Secret) {
        let secret = kakitome::sign::fresh_secret();
        let cursor = self.feed.end(tenant).await.unwrap();
        let mut callback = callback_of(tenant, url, cursor, self.clock.now());
        callback.statuses = statuses.to_vec();
        callback.secrets = vec![callback::Signing { secret: secret.clone(), until: None }];
        callback::add(&*self.journal, &callback).await.unwrap();
        (callback.id, secret)
    }

    async fn sent(&self, tenant: &str, count: usize) -> Vec<NotificationId> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let id = accept(&*self.log, self.clock.now(), |n| n.tenant = tenant.into()).await;
            send(&*self.log, id, "m1", self.clock.now()).await;
            ids.push(id);
        }
        ids
    }

    async fn step(&self, id: &str) -> Outcome {
        self.deliverer.step(id).await.unwrap()
    }

    /// Steps until there is nothing to do at once.
    async fn drain(&self, id: &str) -> Outcome {
        loop {
            let outcome = self.step(id).await;
            if !matches!(outcome, Outcome::Taken | Outcome::Passed) {
                return outcome;
            }
        }
    }

    async fn callback(&self, id: &str) -> Callback {
        callback::get(&*self.journal, id).await.unwrap().unwrap()
    }
}

/// An active callback of this tenant, which tells all that lies behind `cursor`.
pub fn callback_of(tenant: &str, url: &str, cursor: Cursor, now: Timestamp) -> Callback {
    Callback {
        id: uuid::Uuid::now_v7().to_string(),
        tenant: tenant.into(),
        url: url.into(),
        statuses: Vec::new(),
        secrets: vec![callback::Signing { secret: kakitome::sign::fresh_secret(), until: None }],
        who: "test".into(),
        created_at: now,
        state: CallbackState::Active,
        since: now,
        note: None,
        cursor,
        batch: None,
        taken: 0,
        taken_at: None,
    }
}

fn told_ids(receiver: &Receiver) -> Vec<String> {
    receiver.events().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

fn texts(ids: &[NotificationId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn what_is_posted_is_the_feed_in_its_order_in_messages_of_a_hundred_signed() {
    let (home, clock, receiver) =
        (tempfile::tempdir().unwrap(), Clock::manual(start()), Receiver::open().await);
    let bench = Bench::open(home.path(), &clock);
    let (id, secret) = bench.add("default", &receiver.url, &[]).await;
    assert_eq!(bench.step(&id).await, Outcome::Idle);
    bench.sent("default", 230).await;
    bench.sent("another", 3).await;
    assert_eq!(bench.drain(&id).await, Outcome::Idle);
    let posts = receiver.posts();
    let sizes: Vec<_> =
        posts.iter().map(|post| post.body["data"]["events"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [100, 100, 30]);
    for post in &posts {
        assert!(post.is_signed_with(secret.reveal()));
        assert!(!post.is_signed_with(kakitome::sign::fresh_secret().reveal()));
        assert_eq!(post.header("content-type"), "application/json");
        assert_eq!(
            (post.body["type"].as_str(), post.body["data"]["tenant"].as_str()),
            (Some("notification.events"), Some("default"))
        );
    }
    let feed = bench.feed.read("default", None, 1000).await.unwrap().entries;
    assert_eq!(serde_json::to_value(&feed).unwrap(), serde_json::Value::from(receiver.events()));
    assert_eq!(bench.callback(&id).await.taken, 230);
}

#[tokio::test]
async fn a_message_that_is_not_taken_is_posted_again_the_same_under_the_same_id() {
    let (home, clock, receiver) =
        (tempfile::tempdir().unwrap(), Clock::manual(start()), Receiver::open().await);
    let bench = Bench::open(home.path(), &clock);
    let (id, _) = bench.add("default", &receiver.url, &[]).await;
    let mut ids = bench.sent("default", 3).await;
    receiver.is(Mood::Answering(500));
    let Outcome::Wait(wait) = bench.step(&id).await else { panic!("it waits") };
    assert!(wait <= Duration::from_secs(1), "{wait:?}");
    // What comes meanwhile goes into the next message, never into one whose id is out.
    ids.extend(bench.sent("default", 2).await);
    receiver.is(Mood::Hanging);
    clock.advance(Duration::from_secs(1));
    assert!(matches!(bench.step(&id).await, Outcome::Wait(_)));
    assert_eq!(bench.callback(&id).await.batch.unwrap().error.as_deref(), Some("no answer in time"));
    receiver.is(Mood::Well);
    clock.advance(Duration::from_secs(2));
    assert_eq!(bench.drain(&id).await, Outcome::Idle);
    let (posts, message_ids) = (receiver.posts(), receiver.ids());
    assert_eq!(message_ids.len(), 4);
    assert!(message_ids[..3].iter().all(|one| *one == message_ids[0]) && message_ids[3] != message_ids[0]);
    assert!(posts[..3].iter().all(|post| post.raw == posts[0].raw));
    assert_ne!(posts[0].header("webhook-timestamp"), posts[2].header("webhook-timestamp"));
    assert_eq!(told_ids(&receiver), texts(&ids));
}

#[tokio::test]
async fn an_endpoint_that_takes_nothing_for_a_day_is_paused_and_goes_on_without_loss() {
    let (home, clock, receiver) =
        (tempfile::tempdir().unwrap(), Clock::manual(start()), Receiver::open().await);
    let bench = Bench::open(home.path(), &clock);
    let (id, _) = bench.add("default", &receiver.url, &[]).await;
    let mut ids = bench.sent("default", 2).await;
    receiver.is(Mood::Answering(503));
    let (mut steps, began) = (0, clock.now());
    while let Outcome::Wait(wait) = bench.step(&id).await {
        assert!(clock.now().since(began) <= 24 * HOUR, "paused too late");
        clock.advance(wait.max(Duration::from_millis(1)));
        steps += 1;
    }
    assert!(clock.now().since(began) >= 24 * HOUR, "paused after {:?}", clock.now().since(began));
    assert!(steps > 80, "{steps} posts in a day");
    let paused = bench.callback(&id).await;
    assert_eq!(paused.state, CallbackState::Failed);
    assert!(paused.note.as_deref().unwrap().contains("it answered 503"), "{paused:?}");
    ids.extend(bench.sent("default", 2).await);
    receiver.is(Mood::Well);
    clock.advance(HOUR);
    assert_eq!(bench.step(&id).await, Outcome::Ended, "nothing is posted while it is paused");
    callback::change(&*bench.journal, &id, |callback| (true, callback.resume(None, clock.now())))
        .await
        .unwrap();
    assert_eq!(bench.drain(&id).await, Outcome::Idle);
    assert_eq!(told_ids(&receiver), texts(&ids));
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_left_alone_at_once() {
    let (home, clock, receiver) =
        (tempfile::tempdir().unwrap(), Clock::manual(start()), Receiver::open().await);
    let bench = Bench::open(home.path(), &clock);
    let (id, _) = bench.add("default", &receiver.url, &[]).await;
    bench.sent("default", 1).await;
    receiver.is(Mood::Answering(410));
    assert_eq!((bench.step(&id).await, bench.step(&id).await), (Outcome::Ended, Outcome::Ended));
    assert_eq!((bench.callback(&id).await.state, receiver.posts().len()), (CallbackState::Gone, 1));
}

#[tokio::test]
async fn a_retry_after_is_honoured() {
    let schedule = kakitome::jitter::Schedule::default();
    let patience = callback::Patience { schedule, ..callback::Patience::default() };
    let (home, clock) = (tempfile::tempdir().unwrap(), Clock::manual(start()));
    let bench = Bench::open(home.path(), &clock);
    let (id, _) = bench.add("default", "http://127.0.0.1:1/", &[]).await;
    let mut callback = bench.callback(&id).await;
    callback.begin(Cursor::new("1"), 1, "me", clock.now(), &patience);
    let message = callback.batch.as_ref().unwrap().id.clone();
    let posted = callback::Posted::Failed {
        error: "it answered 429".into(),
        retry_after: Some(Duration::from_secs(120)),
    };
    assert!(callback.after(&message, &posted, clock.now(), &patience, 0.5));
    assert_eq!(callback.batch.unwrap().due_at, clock.now().plus(Duration::from_secs(120)));
}

#[tokio::test]
async fn after_a_crash_in_the_middle_of_a_post_the_same_message_comes_again() {
    let (home, clock, receiver) =
        (tempfile::tempdir().unwrap(), Clock::manual(start()), Receiver::open().await);
    let bench = Bench::open(home.path(), &clock);
    let (id, _) = bench.add("default", &receiver.url, &[]).await;
    let mut ids = bench.sent("default", 2).await;
    // It has the post, and nobody lives to hear that it took it.
    receiver.is(Mood::Hanging);
    let crashed = tokio::time::timeout(Duration::from_millis(100), bench.deliverer.step(&id)).await;
    assert!(crashed.is_err() && receiver.posts().len() == 1);
    bench.engine.close().await;
    receiver.is(Mood::Well);
    let bench = Bench::open(home.path(), &clock);
    ids.extend(bench.sent("default", 1).await);
    assert_eq!(
        bench.drain(&id).await,
        Outcome::Idle,
        "its own directory: what another holds was left behind"
    );
    let message_ids = receiver.ids();
    assert_eq!((message_ids.len(), &message_ids[0]), (3, &message_ids[1]));
    assert_eq!(told_ids(&receiver), texts(&ids));
}

#[tokio::test]
async fn of_two_processes_one_posts_until_its_time_is_over() {
    let (home, clock, receiver) =
        (tempfile::tempdir().unwrap(), Clock::manual(start()), Receiver::open().await);
    let bench = Bench::open_with(home.path(), &clock, courier(), Config::default());
    let other = Deliverer::new(
        bench.feed.clone(),
        bench.journal.clone(),
        courier(),
        clock.clone(),
        Config::default(),
    );
    let (id, _) = bench.add("default", &receiver.url, &[]).await;
    bench.sent("default", 1).await;
    receiver.is(Mood::Hanging);
    let crashed = tokio::time::timeout(Duration::from_millis(100), bench.deliverer.step(&id)).await;
    assert!(crashed.is_err());
    assert!(matches!(other.step(&id).await.unwrap(), Outcome::Wait(_)));
    assert_eq!(receiver.posts().len(), 1, "it is in the first one's hands");
    clock.advance(Duration::from_secs(31));
    receiver.is(Mood::Well);
    assert_eq!(other.step(&id).await.unwrap(), Outcome::Taken);
    assert_eq!(receiver.ids()[0], receiver.ids()[1]);
}

#[tokio::test]
async fn only_what_was_asked_for_is_told_and_the_rest_passed_over_once() {
    let (home, clock, receiver) =
        (tempfile::tempdir().unwrap(), Clock::manual(start()), Receiver::open().await);
    let bench = Bench::open(home.path(), &clock);
    let (id, _) = bench.add("default", &receiver.url, &[Told::Failed]).await;
    bench.sent("default", 250).await;
    assert_eq!(bench.drain(&id).await, Outcome::Idle);
    assert_eq!(
        (bench.callback(&id).await.cursor, receiver.posts().len()),
        (bench.feed.end("default").await.unwrap(), 0)
    );
}

#[tokio::test]
async fn what_was_forgotten_before_it_was_told_pauses_the_callback() {
    let (home, clock, receiver) =
        (tempfile::tempdir().unwrap(), Clock::manual(start()), Receiver::open().await);
    let bench = Bench::open(home.path(), &clock);
    let (id, _) = bench.add("default", &receiver.url, &[]).await;
    bench.sent("default", 3).await;
    clock.advance(HOUR);
    bench.feed.prune(clock.now(), 10).await.unwrap();
    assert_eq!((bench.step(&id).await, receiver.posts().len()), (Outcome::Ended, 0));
    assert_eq!(bench.callback(&id).await.state, CallbackState::Failed);
}

#[tokio::test]
async fn both_secrets_sign_while_one_takes_the_others_place() {
    let (home, clock, receiver) =
        (tempfile::tempdir().unwrap(), Clock::manual(start()), Receiver::open().await);
    let bench = Bench::open(home.path(), &clock);
    let (id, old) = bench.add("default", &receiver.url, &[]).await;
    let new = kakitome::sign::fresh_secret();
    let rotate = |callback: &mut Callback| (true, callback.rotate(new.clone(), 24 * HOUR, clock.now()));
    callback::change(&*bench.journal, &id, rotate).await.unwrap();
    bench.sent("default", 1).await;
    bench.step(&id).await;
    clock.advance(25 * HOUR);
    bench.sent("default", 1).await;
    bench.step(&id).await;
    let signed: Vec<_> = receiver
        .posts()
        .iter()
        .map(|post| (post.is_signed_with(old.reveal()), post.is_signed_with(new.reveal())))
        .collect();
    assert_eq!(signed, [(true, true), (false, true)]);
}

#[tokio::test]
async fn an_endpoint_that_hangs_delays_no_other_tenants() {
    let (home, clock) = (tempfile::tempdir().unwrap(), Clock::system());
    let (slow, well) = (Receiver::open().await, Receiver::open().await);
    let hour = Arc::new(HttpCourier::new(true, Arc::new(SystemResolver)).within(HOUR));
    let config = Config { look_every: Duration::from_millis(10), alone: true, ..Config::default() };
    let bench = Bench::open_with(home.path(), &clock, hour, config);
    slow.is(Mood::Hanging);
    bench.add("slow", &slow.url, &[]).await;
    bench.add("well", &well.url, &[]).await;
    bench.sent("slow", 1).await;
    let (stop, stopped) = shutdown::channel();
    let running = tokio::spawn(bench.deliverer.clone().run(stopped));
    until("the slow one hangs", || slow.posts().len() == 1).await;
    let ids = bench.sent("well", 300).await;
    until("the other has everything", || told_ids(&well).len() == 300).await;
    assert_eq!((told_ids(&well), slow.posts().len()), (texts(&ids), 1));
    running.abort();
    stop.pull();
}

/// Polls until it is so; nothing that is waited for takes that long, not even on AWS what waits for a killed process's
/// leases, and then until it is settled.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(90);
    while !is_so() {
        assert!(std::time::Instant::now() < end, "it never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn the_published_vector_is_signed_as_published() {
    let Some(vector) = vectors::read("standard_webhooks_svix_vector.json") else { return };
    let header = |name: &str| vector["headers"][name].as_str().unwrap();
    let id = header("svix-id or webhook-id");
    let seconds = header("svix-timestamp or webhook-timestamp");
    let expected = header("svix-signature or webhook-signature");
    let (secret, body) = (vector["secret"].as_str().unwrap(), vector["body"].as_str().unwrap());
    let signed = kakitome::sign::webhook_signature(
        &[Secret::new(secret)],
        id,
        seconds.parse().unwrap(),
        body.as_bytes(),
    );
    assert_eq!(signed, expected);
    assert!(
        receiver::is_signed(secret, id, seconds, body.as_bytes(), expected),
        "the tests' own verifier, too"
    );
}
