//! Events that could not be folded: seen, put back and dismissed, over the door and by the command.

use std::sync::Arc;
use std::time::Duration;

use kakitome::cli::Exit;
use kakitome::cli::client::Client;
use kakitome::inbox::{Inbox, pack};
use kakitome::notification::address::Address;
use kakitome::provider::ProviderEvent;
use kakitome::provider::health::HealthBoard;
use kakitome::secret::Secret;
use kakitome::shutdown;
use kakitome::tracking::Tracker;
use kakitome::tracking::aside::{self, Aside};
use kakitome::tracking::folder::{Config, Folder, Outcome};
use serde_json::{Value, json};

use super::world::{ADMIN, HOTEL, READER, World, world_with};
use crate::cli::run_at;
use crate::conformance::aside::event;
use crate::webhook::{EventLog, Step, TestInbox};

/// A door, an inbox behind it, and a folder over a log that may find an event's record unreadable.
struct Bench {
    world: World,
    inbox: Arc<TestInbox>,
    log: Arc<EventLog>,
    folder: Folder,
}

impl Bench {
    async fn open() -> Self {
        let inbox = Arc::new(TestInbox::open().await);
        let world = world_with(|state| state.inbox = Some(inbox.clone())).await;
        let log = Arc::new(EventLog::default());
        let clock = world.clock.clone();
        let tracker = Tracker::new(log.clone(), HealthBoard::default(), clock.clone(), Vec::new());
        let journal = world.journal.clone();
        let folder = Folder::new(inbox.clone(), Arc::new(tracker), journal, clock, Config::default());
        Self { world, inbox, log, folder }
    }

    /// These come in, and cannot be folded.
    async fn set_aside(&self, event_ids: &[&str]) {
        self.log.corrupt.lock().unwrap().extend(event_ids.iter().map(|id| (*id).to_owned()));
        let address = Address::parse("guest@example.com").ok();
        let events: Vec<ProviderEvent> =
            event_ids.iter().map(|id| ProviderEvent { recipient: address.clone(), ..event(id) }).collect();
        self.inbox.append(pack(&events, self.world.clock.now())).await.unwrap();
        self.fold().await;
    }

    fn mend(&self) {
        self.log.corrupt.lock().unwrap().clear();
    }

    async fn fold(&self) {
        let (_trigger, stopped) = shutdown::channel();
        while self.folder.step(Duration::ZERO, &stopped).await != Outcome::Idle {}
    }

    async fn waiting(&self) -> u64 {
        self.inbox.depth().await.unwrap().events.unwrap()
    }

    async fn listed(&self) -> Value {
        let reply = self.world.get(ADMIN, "/v1/events/aside").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json
    }

    async fn ids(&self) -> Vec<String> {
        let items = self.listed().await["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    }

    async fn post(&self, what: &str, body: Value) -> Value {
        let reply = self.world.post(ADMIN, &format!("/v1/events/aside/{what}"), &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json
    }

    fn client(&self) -> Client {
        Client::in_process(self.world.router.clone(), Some(Secret::new(ADMIN.to_owned())))
    }
}

#[tokio::test]
async fn what_was_set_aside_is_listed_and_once_it_is_put_back_folded() {
    let bench = Bench::open().await;
    bench.set_aside(&["e-1", "e-2"]).await;
    let listed = bench.listed().await;
    assert_eq!(
        (&listed["count"], &listed["at_least"], &listed["next_cursor"]),
        (&json!(2), &json!(false), &Value::Null)
    );
    let one = &listed["items"][0];
    assert_eq!(
        (&one["recipient"], &one["kind"], &one["times"]),
        (&json!("guest@example.com"), &json!("delivered"), &json!(1))
    );
    assert!(one["why"].as_str().unwrap().contains("not a life"));
    let status = bench.world.get(ADMIN, "/v1/status").await.json;
    assert_eq!(status["events_aside"], json!({"count": 2, "at_least": false}));
    // Not mended yet: tried again, it is set aside again.
    let id = one["id"].as_str().unwrap();
    assert_eq!(bench.post("retry", json!({"ids": [id]})).await["count"], 1);
    bench.fold().await;
    let again = bench.listed().await;
    let times: Vec<_> = again["items"].as_array().unwrap().iter().map(|item| &item["times"]).collect();
    assert_eq!(times.iter().filter(|times| ***times == json!(2)).count(), 1, "{again:#}");
    bench.mend();
    let counted = bench.post("retry", json!({"all": true, "dry_run": true})).await;
    assert_eq!((&counted["count"], bench.waiting().await, bench.ids().await.len()), (&json!(2), 0, 2));
    let done = bench.post("retry", json!({"all": true, "until": counted["at"], "reason": "mended"})).await;
    assert_eq!((&done["count"], bench.ids().await.len(), bench.waiting().await), (&json!(2), 0, 2));
    bench.fold().await;
    assert_eq!((bench.log.seen(), bench.log.folded(), bench.ids().await.len()), (2, 2, 0));
    let all = bench.world.get(ADMIN, "/v1/events/aside?all=true&limit=1").await.json;
    assert_eq!((all["items"].as_array().unwrap().len(), &all["count"]), (1, &json!(0)));
    let ended = &all["items"][0]["ended"];
    assert_eq!(
        (&ended["how"], &ended["who"], &ended["why"]),
        (&json!("put_back"), &json!("admin"), &json!("mended"))
    );
}

#[tokio::test]
async fn whatever_step_fails_nothing_is_lost_and_a_repeat_folds_as_a_repeat() {
    let bench = Bench::open().await;
    bench.set_aside(&["e-1"]).await;
    bench.mend();
    // It never came in, and then it did and nobody learned of it.
    for (step, waiting) in [(Step::Append, 0), (Step::Appended, 1)] {
        bench.inbox.fail(step, 1);
        let reply = bench.world.post(ADMIN, "/v1/events/aside/retry", &json!({"all": true})).await;
        assert_eq!(
            (reply.status, bench.waiting().await, bench.ids().await.len()),
            (503, waiting, 1),
            "{}",
            reply.text
        );
    }
    assert_eq!(bench.post("retry", json!({"all": true})).await["count"], 1);
    bench.fold().await;
    assert_eq!((bench.log.folded(), bench.waiting().await, bench.ids().await.len()), (1, 0, 0));
}

#[tokio::test]
async fn an_unknown_waits_for_what_was_put_back_as_it_came_in_time() {
    let bench = Bench::open().await;
    let came_at = bench.world.clock.now();
    bench.set_aside(&["e-1"]).await;
    bench.world.clock.advance(Duration::from_secs(3600));
    bench.post("retry", json!({"all": true})).await;
    assert_eq!(bench.inbox.depth().await.unwrap().oldest, Some(came_at));
}

#[tokio::test]
async fn what_was_set_aside_after_the_preview_is_left_alone() {
    let bench = Bench::open().await;
    bench.set_aside(&["e-1"]).await;
    let counted = bench.post("dismiss", json!({"all": true, "dry_run": true})).await;
    bench.world.clock.advance(Duration::from_secs(1));
    bench.set_aside(&["e-2"]).await;
    let asked = json!({"all": true, "until": counted["at"], "reason": "the record is gone for good"});
    assert_eq!(bench.post("dismiss", asked).await["count"], 1);
    assert_eq!(bench.ids().await.len(), 1);
    // What was dismissed does not come back by itself.
    bench.set_aside(&["e-1"]).await;
    assert_eq!((bench.ids().await.len(), bench.log.seen()), (1, 0));
}

#[tokio::test]
async fn only_who_may_see_every_tenant_sees_them_and_what_is_asked_wrongly_is_named() {
    let bench = Bench::open().await;
    bench.set_aside(&["e-1"]).await;
    let id = bench.ids().await.remove(0);
    for key in [HOTEL, READER] {
        let reply = bench.world.get(key, "/v1/events/aside").await;
        assert_eq!(reply.status, 403, "{}", reply.text);
        assert!(!reply.text.contains("guest@example.com"));
        for act in ["retry", "dismiss"] {
            let reply =
                bench.world.post(key, &format!("/v1/events/aside/{act}"), &json!({"all": true})).await;
            assert_eq!(reply.status, 403, "{}", reply.text);
        }
    }
    for (query, pointer) in [
        ("limit=0", "/limit"),
        ("limit=1001", "/limit"),
        ("cursor=x", "/cursor"),
        ("all=2", "/all"),
        ("x=1", ""),
    ] {
        let reply = bench.world.get(ADMIN, &format!("/v1/events/aside?{query}")).await;
        assert_eq!((reply.status, reply.pointers()), (422, vec![pointer]), "{query}");
    }
    for (what, body, pointer) in [
        ("retry", json!({}), ""),
        ("retry", json!({"ids": [id], "all": true}), ""),
        ("retry", json!({"ids": ["x"]}), "/ids/0"),
        ("retry", json!({"ids": [id], "until": "2026-11-21T09:00:00Z"}), ""),
        ("retry", json!({"all": true, "cursor": "x"}), "/cursor"),
        ("retry", json!({"all": true, "reason": "x".repeat(201)}), "/reason"),
        ("dismiss", json!({"all": true}), "/reason"),
        ("dismiss", json!({"all": true, "reason": " "}), "/reason"),
    ] {
        let reply = bench.world.post(ADMIN, &format!("/v1/events/aside/{what}"), &body).await;
        assert_eq!((reply.status, reply.pointers()), (422, vec![pointer]), "{body}");
    }
    assert_eq!((bench.ids().await, bench.waiting().await), (vec![id.clone()], 0));
    let unknown = "0".repeat(32);
    let told = bench.post("retry", json!({"ids": [id, unknown]})).await;
    assert_eq!((&told["count"], &told["missing"]), (&json!(1), &json!([unknown])));
}

#[tokio::test]
async fn the_command_lists_counts_asks_and_acts() {
    let bench = Bench::open().await;
    let client = bench.client();
    let none = run_at(&client, &["events", "aside"], None).await;
    assert_eq!((none.out.as_str(), none.err.as_str()), ("", "no event is set aside\n"));
    bench.set_aside(&["e-1", "e-2", "e-3"]).await;
    let table = run_at(&client, &["events", "aside", "--limit", "2"], None).await;
    assert!(table.out.contains("guest@example.com") && table.out.contains("not a life"), "{}", table.out);
    assert_eq!(table.err, "there are more; --limit shows them\n3 set aside\n");
    let json = run_at(&client, &["events", "aside", "--json"], None).await;
    assert_eq!(json.out.lines().count(), 3);
    let first: Value = serde_json::from_str(json.out.lines().next().unwrap()).unwrap();
    let id = first["id"].as_str().unwrap();
    // Neither a dry run, nor a no, nor nobody to ask changes anything.
    let dry = run_at(&client, &["events", "aside", "--retry-all", "--dry-run"], None).await;
    assert_eq!((dry.ended, dry.out.as_str()), (Ok(Exit::Done), "put back: 3 events\n"));
    let unasked = run_at(&client, &["events", "aside", "--retry-all"], None).await;
    assert_eq!(
        unasked.ended.unwrap_err(),
        "nothing was changed: to put back 3 events without a terminal, add --yes"
    );
    let no = run_at(&client, &["events", "aside", "--retry-all"], Some("n\n")).await;
    assert_eq!(
        (no.ended, no.err.as_str()),
        (Ok(Exit::Done), "put back 3 events? [y/N] nothing was changed\n")
    );
    let bare = run_at(&client, &["events", "aside", "--dismiss", id], None).await;
    assert_eq!(bare.ended.unwrap_err(), "to dismiss events say why: --reason");
    assert_eq!((bench.ids().await.len(), bench.waiting().await), (3, 0));
    let dismissed =
        run_at(&client, &["events", "aside", "--dismiss", id, "--reason", "gone for good"], None).await;
    assert_eq!((dismissed.ended, dismissed.out.as_str()), (Ok(Exit::Done), "1 dismissed\n"));
    let again = run_at(&client, &["events", "aside", "--retry", id], None).await;
    assert_eq!((again.ended, again.err.as_str()), (Ok(Exit::Failed), "nothing matches\n"));
    bench.mend();
    let yes = run_at(&client, &["events", "aside", "--retry-all"], Some("y\n")).await;
    assert_eq!((yes.ended, yes.out.as_str()), (Ok(Exit::Done), "2 put back, to be folded again\n"));
    bench.fold().await;
    assert_eq!((bench.log.folded(), bench.ids().await.len()), (2, 0));
    let all = run_at(&client, &["events", "aside", "--all"], None).await;
    assert!(all.out.contains("dismissed by admin") && all.out.contains("gone for good"), "{}", all.out);
    let status = run_at(&client, &["status"], None).await;
    assert!(!status.out.contains("aside"), "{}", status.out);
}

#[tokio::test]
async fn more_than_a_call_takes_are_all_put_back() {
    let bench = Bench::open().await;
    let now = bench.world.clock.now();
    for number in 0..1_203 {
        let one = Aside::new(event(&format!("e-{number}")), now, "not a life", now);
        aside::keep(&*bench.world.journal, &one).await.unwrap();
    }
    let status = run_at(&bench.client(), &["status"], None).await;
    assert!(status.out.contains("at least 1000 events are set aside"), "{}", status.out);
    let ran = run_at(&bench.client(), &["events", "aside", "--retry-all", "--yes"], None).await;
    assert_eq!((ran.ended, ran.out.as_str()), (Ok(Exit::Done), "1203 put back, to be folded again\n"));
    bench.fold().await;
    assert_eq!((bench.log.folded(), bench.ids().await.len()), (1_203, 0));
}
