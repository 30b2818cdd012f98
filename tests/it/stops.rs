//! Holding and cancelling a running house: what the provider took, and when, is the witness.

use std::time::{Duration, Instant};

use kakitome::clock::{Clock, Timestamp};
use kakitome::sandbox::{self, Sandbox};
use kakitome::shutdown::{self, ShutdownTrigger};
use serde_json::{Value, json};

use super::process::{self, KEY, Kakitome};

const PATIENCE: Duration = Duration::from_secs(120);
/// How soon a stop must hold everywhere.
const WITHIN: Duration = Duration::from_secs(2);

/// A house that can be killed, and its providers.
struct House {
    server: Option<Kakitome>,
    dir: tempfile::TempDir,
    env: Vec<(&'static str, String)>,
    http: reqwest::Client,
    first: Sandbox,
    second: Sandbox,
    _stop: [ShutdownTrigger; 2],
}

fn provider(latency: Duration) -> (Sandbox, ShutdownTrigger) {
    let (stop, stopped) = shutdown::channel();
    let config = sandbox::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        latency,
        outbox_capacity: 100_000,
        ..sandbox::Config::default()
    };
    (Sandbox::start(config, stopped).unwrap(), stop)
}

impl House {
    fn open(providers: &str) -> Self {
        let (first, stop_first) = provider(Duration::from_millis(20));
        let (second, stop_second) = provider(Duration::from_millis(20));
        let env = [
            ("KAKITOME_PROVIDER", providers),
            ("KAKITOME_SENDGRID_BASE_URL", &first.url()),
            ("KAKITOME_SENDGRID_API_KEY", "SG.stops"),
            ("KAKITOME_SANDBOX_URL", &second.url()),
            ("KAKITOME_SENDGRID_WEBHOOK_INSECURE", "true"),
            ("KAKITOME_WORKER_LEASE", "3s"),
            ("KAKITOME_WORKER_PROVIDER_TIMEOUT", "1s"),
            ("KAKITOME_WORKER_CONNECT_TIMEOUT", "1s"),
            ("KAKITOME_WORKER_HOLD", "2s"),
            ("KAKITOME_WORKER_WITNESS_CAP", "3s"),
            ("KAKITOME_WORKER_WITNESS_POLL", "500ms"),
            ("KAKITOME_WORKER_BREAKER_OPEN", "200ms"),
            ("KAKITOME_WORKER_BREAKER_OPEN_MAX", "400ms"),
            ("KAKITOME_WORKER_BACKOFF_CAP", "2s"),
            ("KAKITOME_QUEUE_VISIBILITY", "3s"),
        ];
        let env = env.map(|(name, value)| (name, value.to_owned())).into();
        let (dir, http) = (tempfile::tempdir().unwrap(), process::http());
        let _stop = [stop_first, stop_second];
        let mut house = Self { server: None, dir, env, http, first, second, _stop };
        house.start();
        house
    }

    fn start(&mut self) {
        self.server = Some(Kakitome::start(self.dir.path(), &["serve"], &self.env));
    }

    fn kill(&mut self) {
        self.server.take().unwrap().kill();
    }

    async fn post(&self, path: &str, body: String) -> Value {
        let url = format!("{}{path}", self.server.as_ref().unwrap().url);
        let answer = self.http.post(url).bearer_auth(KEY).body(body).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.server.as_ref().unwrap().url);
        let answer = self.http.get(url).bearer_auth(KEY).send().await.unwrap();
        let text = answer.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    }

    async fn hand_in(&self, notifications: &[Value]) {
        for part in notifications.chunks(1000) {
            let answer = self.post("/v1/notifications/batch", json!(part).to_string()).await;
            assert!(
                answer["results"].as_array().unwrap().iter().all(|one| one["id"].is_string()),
                "{answer}"
            );
        }
    }

    async fn act(&self, action: &str, filter: Value) -> String {
        let asked = json!({"action": action, "filter": filter, "reason": "wrong price"});
        self.post("/v1/jobs", asked.to_string()).await["id"].as_str().unwrap().to_owned()
    }

    /// How many of a tenant stand there.
    async fn count(&self, tenant: &str, status: &str) -> usize {
        let (mut count, mut cursor) = (0, String::new());
        loop {
            let path = format!("/v1/notifications?tenant={tenant}&status={status}&limit=1000{cursor}");
            let page = self.get(&path).await;
            count += page["items"].as_array().unwrap().len();
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return count,
            }
        }
    }

    async fn wait_for(&self, tenant: &str, status: &str, count: usize) {
        let begun = Instant::now();
        loop {
            let found = self.count(tenant, status).await;
            if found == count {
                return;
            }
            let stand = self.get("/v1/status").await;
            assert!(begun.elapsed() < PATIENCE, "{found} of {tenant} {status}, not {count}: {stand:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn job_ended(&self, id: &str) -> Value {
        let begun = Instant::now();
        loop {
            let job = self.get(&format!("/v1/jobs/{id}")).await;
            if job["state"] == "done" {
                return job;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {job:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// When the provider took mails of this tenant.
    fn taken(&self, tenant: &str) -> Vec<Timestamp> {
        let to = format!("@{tenant}.example.com");
        let is_its = |mail: &kakitome::sandbox::Mail| String::from_utf8_lossy(&mail.request).contains(&to);
        self.first.mails(100_000).iter().filter(|mail| is_its(mail)).map(|mail| mail.accepted_at).collect()
    }
}

impl Drop for House {
    #[expect(clippy::print_stdout, reason = "what a failed house had logged")]
    fn drop(&mut self) {
        if let Some(server) = self.server.take().filter(|_| std::thread::panicking()) {
            println!("{}", server.kill());
        }
    }
}

fn mail(tenant: &str, i: usize, more: Value) -> Value {
    let mut mail = json!({
        "idempotency_key": format!("{tenant}-{i}"), "tenant": tenant,
        "from": {"email": "reserve@example.jp"}, "to": [{"email": format!("guest{i}@{tenant}.example.com")}],
    });
    let text = json!({"subject": "ご予約", "text": format!("{i} 番")});
    let more = if more.is_null() { text } else { more };
    mail.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    mail
}

fn mails(tenant: &str, keys: std::ops::Range<usize>, more: &Value) -> Vec<Value> {
    keys.map(|i| mail(tenant, i, more.clone())).collect()
}

/// What the strict provider refuses for good.
fn refused() -> Value {
    json!({"template": {"id": "legacy", "data": {"room": "桜"}}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_reaches_what_is_queued_retrying_scheduled_and_redriven_within_two_seconds_and_survives_kill_9()
 {
    let clock = Clock::system();
    let mut house = House::open("sendgrid");
    house.hand_in(&mails("inn", 90_000..90_300, &refused())).await;
    house.wait_for("inn", "failed", 300).await;
    let (failed, refusals) = (300, house.first.stats().refused);
    assert_eq!(refusals, 300);
    let redrive = json!({"action": "redrive", "filter": {"tenant": "inn"}, "pace": {"per_second": 50}});
    house.post("/v1/jobs", redrive.to_string()).await;
    while house.first.stats().refused < refusals + 20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Some are put off, and wait for a retry.
    house.first.set_faults("429=10%:retry-after=1,slow=100%:for=200ms".parse().unwrap());
    let due = clock.now().plus(Duration::from_secs(4));
    let scheduled = json!({"subject": "s", "text": "t", "deliver_at": due.to_string()});
    house.hand_in(&mails("inn", 80_000..80_050, &scheduled)).await;
    house.hand_in(&mails("hotel", 0..500, &Value::Null)).await;
    house.hand_in(&mails("inn", 0..5000, &Value::Null)).await;
    while house.taken("inn").is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before = house.taken("inn").len();
    assert!(before > 0 && before < 4000, "{before} are sent already");

    let asked_at = clock.now();
    let hold = house.act("hold", json!({"tenant": "inn"})).await;
    // The time itself is what is tested here.
    tokio::time::sleep(WITHIN).await;
    let refused_then = house.first.stats().refused;
    house.wait_for("hotel", "sent", 500).await;
    house.job_ended(&hold).await;
    while clock.now() < due.plus(WITHIN) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let latest = house.taken("inn").into_iter().max().unwrap();
    assert!(latest < asked_at.plus(WITHIN), "asked at {asked_at}, the provider took one at {latest}");
    assert_eq!(house.first.stats().refused, refused_then, "a redrive went on");
    let sent = house.taken("inn").len();
    house.wait_for("inn", "sent", sent).await;
    for status in ["accepted", "scheduled", "retrying", "attempting"] {
        house.wait_for("inn", status, 0).await;
    }
    house.kill();
    house.start();
    // What is handed in later is held too.
    house.hand_in(&mails("inn", 70_000..70_010, &Value::Null)).await;
    house.hand_in(&mails("hotel", 70_000..70_010, &Value::Null)).await;
    house.wait_for("hotel", "sent", 510).await;
    house.wait_for("inn", "accepted", 0).await;
    tokio::time::sleep(WITHIN).await;
    assert_eq!((house.taken("inn").len(), house.first.stats().refused), (sent, refused_then));

    house.first.set_faults("".parse().unwrap());
    let release = house.act("release", json!({"tenant": "inn"})).await;
    house.job_ended(&release).await;
    house.wait_for("inn", "sent", 5000 + 50 + 10).await;
    house.wait_for("inn", "failed", failed).await;
    let stats = house.first.stats();
    assert_eq!((stats.distinct, stats.duplicates), (5000 + 50 + 10 + 510, 0), "each went once: {stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cancelled_while_it_waits_ends_and_what_comes_later_is_sent() {
    let house = House::open("sendgrid");
    house.first.set_faults("429=100%".parse().unwrap());
    house.hand_in(&mails("inn", 0..1000, &Value::Null)).await;
    while house.first.stats().faulted < 5 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let cancel = house.act("cancel", json!({"tenant": "inn"})).await;
    house.first.set_faults("".parse().unwrap());
    house.job_ended(&cancel).await;
    house.hand_in(&mails("inn", 1000..1010, &Value::Null)).await;
    for status in ["accepted", "attempting", "retrying"] {
        house.wait_for("inn", status, 0).await;
    }
    let sent = house.taken("inn").len();
    assert!((10..100).contains(&sent), "{sent}");
    house.wait_for("inn", "sent", sent).await;
    house.wait_for("inn", "cancelled", 1010 - sent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_provider_gets_nothing_after_two_seconds_and_the_other_one_takes_over() {
    let clock = Clock::system();
    let house = House::open("sendgrid,sandbox");
    house.hand_in(&mails("inn", 0..2000, &Value::Null)).await;
    while house.first.stats().accepted < 50 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let asked_at = clock.now();
    house.act("hold", json!({"provider": "sendgrid"})).await;
    house.wait_for("inn", "sent", 2000).await;
    tokio::time::sleep(WITHIN).await;
    let (first, second) = (house.first.stats(), house.second.stats());
    assert_eq!((first.distinct + second.distinct, first.duplicates + second.duplicates), (2000, 0));
    let latest = house.taken("inn").into_iter().max().unwrap();
    assert!(latest < asked_at.plus(WITHIN), "asked at {asked_at}, the provider took one at {latest}");
    let stand = house.get("/v1/status").await;
    let of = |name: &str| {
        stand["providers"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()["circuit"]
            .clone()
    };
    assert_eq!((of("sendgrid"), of("sandbox")), (json!("held"), json!("closed")), "{stand:#}");
    let metrics = house.get("/metrics").await;
    assert!(metrics.as_str().unwrap().contains("kakitome_provider_up{provider=\"sendgrid\"} 0"));
    let released_at = clock.now();
    house.act("release", json!({"provider": "sendgrid"})).await;
    house.hand_in(&mails("inn", 2000..2100, &Value::Null)).await;
    house.wait_for("inn", "sent", 2100).await;
    tokio::time::sleep(WITHIN).await;
    house.hand_in(&mails("inn", 2100..2110, &Value::Null)).await;
    house.wait_for("inn", "sent", 2110).await;
    assert!(house.taken("inn").into_iter().max().unwrap() > released_at, "it is sent to again");
}
