//! The suppression list, asked right before the bytes of every attempt.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use kakitome::notification::Notification;
use kakitome::suppression::verdict::Policy;
use kakitome::suppression::{
    Added, Entry, Filter, ListError, Page, Place, Reason, Reasons, Removal, Source, SuppressionList, What,
};

use super::bench::{Bench, Scripted};
use super::*;
use crate::conformance::suppression::{address, at, operator};

/// A list that counts how often it is asked, and may be away.
struct Watched {
    inner: Arc<dyn SuppressionList>,
    looks: AtomicUsize,
    asked: AtomicUsize,
    is_away: Mutex<bool>,
}

impl Watched {
    fn before(bench: &mut Bench) -> Arc<Self> {
        let inner = Arc::clone(&bench.suppressions);
        let (looks, asked) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let watched = Arc::new(Self { inner, looks, asked, is_away: Mutex::new(false) });
        bench.suppressions = Arc::clone(&watched) as Arc<dyn SuppressionList>;
        watched
    }
}

#[async_trait]
impl SuppressionList for Watched {
    async fn look_up(&self, asked: &[Place]) -> Vec<Result<Reasons, ListError>> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.asked.fetch_add(asked.len(), Ordering::SeqCst);
        if *self.is_away.lock().unwrap() {
            return asked.iter().map(|_| Err(ListError::Unavailable("as the test says".into()))).collect();
        }
        self.inner.look_up(asked).await
    }
    async fn add(&self, entries: &[Entry]) -> Vec<Result<Added, ListError>> {
        self.inner.add(entries).await
    }
    async fn remove(&self, removals: &[Removal]) -> Vec<Result<u64, ListError>> {
        self.inner.remove(removals).await
    }
    async fn list(&self, filter: &Filter, cursor: Option<&str>, limit: usize) -> Result<Page, ListError> {
        self.inner.list(filter, cursor, limit).await
    }
    async fn count(&self, filter: &Filter) -> Result<u64, ListError> {
        self.inner.count(filter).await
    }
}

async fn suppress(bench: &Bench, tenant: &str, email: &str, reason: Reason) {
    let source = Source::Event { provider: "sendgrid".into(), at: at(0), notification: None };
    let (tenant, address) = (tenant.into(), address(email));
    let entry = Entry { tenant, address, reason, group: None, source, created_at: at(0), removed: None };
    bench.suppressions().add(&[entry]).await.unwrap().pop().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nobody_was_ever_put_on_it_the_list_is_not_asked_and_then_once_for_many() {
    let mut bench = bench().await;
    let watched = Watched::before(&mut bench);
    let provider = Scripted::new("watching");
    let worker = bench.work(&[&provider], quick_with(50));
    let ids = bench.hand_in("inn", 50).await;
    for id in &ids {
        bench.record_when(*id, |record| status(record) == Status::Sent).await;
    }
    assert_eq!(watched.looks.load(Ordering::SeqCst), 0);
    worker.stop().await;

    suppress(&bench, "hotel", "somebody@example.com", Reason::Bounce).await;
    let worker = bench.work(&[&provider], quick_with(50));
    let ids = bench.hand_in_from("inn", 50, 200).await;
    for id in &ids {
        bench.record_when(*id, |record| status(record) == Status::Sent).await;
    }
    let (looks, asked) = (watched.looks.load(Ordering::SeqCst), watched.asked.load(Ordering::SeqCst));
    assert_eq!(asked, 200, "one recipient each");
    assert!(looks < 150, "{looks} look-ups for {asked} sends");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_cannot_be_reached_keeps_everything_back_until_it_can() {
    let mut bench = bench().await;
    suppress(&bench, "inn", "gone@example.com", Reason::Bounce).await;
    let watched = Watched::before(&mut bench);
    *watched.is_away.lock().unwrap() = true;
    let provider = Scripted::new("watching");
    let worker = bench.work(&[&provider], Config { trouble_wait: Duration::from_millis(20), ..quick() });
    let id = bench.hand_in("inn", 1).await[0];
    let looked = async {
        while watched.looks.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(bench::PATIENCE, looked).await.expect("it asks again");
    assert_eq!(provider.times_asked(id), 0, "nothing is sent blindly");
    *watched.is_away.lock().unwrap() = false;
    let record = bench.record_when(id, |record| status(record) == Status::Sent).await;
    assert_eq!(outcomes(&record), [AttemptOutcome::Accepted], "no attempt was counted for it");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactional_mail_passes_an_unsubscription_where_the_tenant_allows_it_and_never_a_bounce() {
    let mut bench = bench().await;
    bench.policy = Policy { through_unsubscribe_of: ["inn".to_owned()].into(), ..Policy::default() };
    for tenant in ["inn", "hotel", "villa"] {
        suppress(&bench, tenant, "guest@example.com", Reason::Unsubscribe).await;
    }
    let provider = Scripted::new("watching");
    let worker = bench.work(&[&provider], quick());
    let (allowed, not_allowed) = (bench.hand_in("inn", 1).await[0], bench.hand_in("hotel", 1).await[0]);
    bench.record_when(allowed, |record| status(record) == Status::Sent).await;
    let record = bench.record_when(not_allowed, |record| status(record) == Status::Suppressed).await;
    assert_eq!(record.life.reason.as_deref(), Some("suppressed_unsubscribe"));

    suppress(&bench, "inn", "guest@example.com", Reason::Bounce).await;
    let bounced = bench.hand_in_from("inn", 1, 1).await[0];
    let record = bench.record_when(bounced, |record| status(record) == Status::Suppressed).await;
    assert_eq!(record.life.reason.as_deref(), Some("suppressed_bounce"));
    assert_eq!((record.life.attempt, record.life.spent, record.life.attempts.len()), (0, 0, 0));
    assert_eq!(provider.asked(), [allowed]);
    bench.depth_when(|depth| depth.live() == 0).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_is_asked_for_those_alone_who_are_not_suppressed() {
    let bench = bench().await;
    suppress(&bench, "inn", "\"a..b\"@docomo.ne.jp", Reason::Complaint).await;
    suppress(&bench, "inn", "copy@example.com", Reason::Manual).await;
    let provider = Scripted::new("watching");
    let worker = bench.work(&[&provider], quick());
    let mailboxes = |emails: &[&str]| emails.iter().flat_map(|email| crate::conformance::to(email)).collect();
    let change = |n: &mut Notification| {
        n.tenant = "inn".into();
        n.to = mailboxes(&["a..b@docomo.ne.jp", "guest@example.com"]);
        (n.cc, n.bcc) = (mailboxes(&["copy@example.com"]), mailboxes(&["blind@example.com"]));
    };
    let id = bench.hand_in_one("inn", change).await;
    let record = bench.record_when(id, |record| status(record) == Status::Sent).await;
    assert_eq!(provider.recipients(id), ["guest@example.com", "blind@example.com"]);
    let statuses: Vec<_> = record.recipients.iter().map(|one| one.status.as_str()).collect();
    assert_eq!(statuses, ["dropped", "pending", "dropped", "pending"]);
    let mut told: Vec<_> =
        record.events.iter().map(|event| event.detail["reason"].as_str().unwrap()).collect();
    told.sort();
    assert_eq!(told, ["complaint", "manual"]);
    assert!(record.events.iter().all(|event| event.kind.as_str() == "suppressed"));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_removal_what_was_suppressed_can_be_sent_again_and_then_says_so() {
    let bench = bench().await;
    suppress(&bench, "inn", "guest@example.com", Reason::Bounce).await;
    let provider = Scripted::new("watching");
    let worker = bench.work(&[&provider], quick());
    let id = bench.hand_in("inn", 1).await[0];
    bench.record_when(id, |record| status(record) == Status::Suppressed).await;
    let removal = Removal {
        tenant: "inn".into(),
        address: address("guest@example.com"),
        what: What::All,
        source: operator(1),
    };
    assert_eq!(bench.suppressions().remove(&[removal]).await.pop().unwrap().unwrap(), 1);
    bench.redrive("inn", id).await;
    let record = bench.record_when(id, |record| status(record) == Status::Sent).await;
    assert_eq!(record.recipients[0].status.as_str(), "dropped", "nothing else was heard yet");
    bench.tell_delivered(id).await;
    assert_eq!(bench.record(id).await.recipients[0].status.as_str(), "delivered");
    worker.stop().await;
}
