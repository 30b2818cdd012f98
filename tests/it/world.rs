//! The whole house in one process: every role on a free port, storage in a directory of its own, the sandbox provider
//! inside. [`World::close`] checks that nothing is left over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kakitome::app::{self, Running};
use kakitome::aws::{self, Access};
use kakitome::sandbox::{self, Sandbox};
use kakitome::settings::{Backend, FlagValue, Roles, Settings, Sources};
use kakitome::shutdown::{self, ShutdownTrigger};
use serde_json::{Value, json};

use super::process::{KEY, Kakitome};
use super::{backend, process};

/// Nothing that these tests wait for takes longer on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    house: Option<House>,
    http: reqwest::Client,
    url: String,
    key: String,
    home: Option<Home>,
}

/// Where the house runs.
enum House {
    Inside(Box<Running>),
    Process { server: Kakitome, sandbox: Sandbox, stop: ShutdownTrigger },
}

impl House {
    /// What it had logged, where it was a process.
    async fn stop(self) -> String {
        match self {
            Self::Inside(running) => {
                running.stop().await;
                String::new()
            }
            Self::Process { server, sandbox, stop } => {
                let (ended_well, log) = server.terminate();
                assert!(ended_well, "it did not drain: {log}");
                stop.pull();
                sandbox.stopped().await;
                log
            }
        }
    }
}

/// Where its storage is.
struct Home {
    directory: tempfile::TempDir,
    place: Option<Place>,
}

/// Queues and a table on AWS, and the way to them.
#[derive(Clone)]
pub struct Place {
    /// Of the queues and the table.
    pub name: String,
    /// Where SQS is.
    pub sqs_url: String,
    /// Where DynamoDB is.
    pub dynamodb_url: String,
    /// How long its calls may take.
    pub calls: aws::Config,
    /// What runs.
    pub roles: Roles,
    /// As a process of its own, whose log is told at its end; the sandbox then posts no events.
    pub is_process: bool,
}

impl Place {
    /// As `app` sees it.
    fn apply(&self, settings: &mut Settings) {
        if let Backend::Aws(aws) = &mut settings.backend {
            (aws.access, aws.calls) = (self.access(), self.calls);
        }
    }

    pub fn access(&self) -> Access {
        super::emulator::access(&self.sqs_url, &self.dynamodb_url)
    }
}

/// Waits short enough for tests; the relations between them are those of the defaults.
pub const SHORT: [(&str, &str); 11] = [
    ("worker.provider_timeout", "1s"),
    ("worker.connect_timeout", "1s"),
    ("worker.lease", "1800ms"),
    ("worker.hold", "1s"),
    ("worker.witness_margin", "100ms"),
    ("worker.witness_cap", "4s"),
    ("worker.witness_poll", "200ms"),
    ("worker.backoff_base", "100ms"),
    ("worker.backoff_cap", "300ms"),
    ("worker.breaker_open", "100ms"),
    ("worker.breaker_open_max", "200ms"),
];

impl World {
    /// Opens the house with these settings over the short ones, and these faults.
    pub async fn open(settings: &[(&'static str, &str)], faults: &str) -> Self {
        let home = Home { directory: tempfile::tempdir().unwrap(), place: None };
        Self::open_in(home, settings, faults).await
    }

    /// The same on SQS and DynamoDB, whatever the backend of these tests is.
    pub async fn open_on_aws(place: Place, settings: &[(&'static str, &str)], faults: &str) -> Self {
        let home = Home { directory: tempfile::tempdir().unwrap(), place: Some(place) };
        Self::open_in(home, settings, faults).await
    }

    async fn open_in(home: Home, settings: &[(&'static str, &str)], faults: &str) -> Self {
        let data_dir = home.directory.path().join("data").to_string_lossy().into_owned();
        let fixed = [("data_dir", data_dir.as_str()), ("listen", "127.0.0.1:0"), ("queue.visibility", "2s")];
        let place = home.place.clone();
        let of_backend = place.as_ref().map_or_else(
            || backend::settings(home.directory.path()),
            |place| backend::aws_settings(&place.name),
        );
        let mut values: BTreeMap<&'static str, String> = of_backend.into_iter().collect();
        for (path, value) in fixed.into_iter().chain(SHORT).chain(settings.iter().copied()) {
            values.insert(path, value.to_owned());
        }
        let flag = |(path, value): (&&'static str, &String)| FlagValue {
            flag: "--test",
            path,
            value: value.clone(),
        };
        let flags = values.iter().map(flag).collect();
        let mut settings = Settings::load(&Sources { flags, ..Sources::default() }).unwrap();
        match (&place, &mut settings.backend) {
            (Some(place), _) => place.apply(&mut settings),
            (None, Backend::Aws(aws)) => aws.access = backend::access(),
            (None, Backend::Embedded) => {}
        }
        if matches!(settings.backend, Backend::Aws(_)) {
            app::setup(&settings).await.unwrap();
        }
        let http = process::http();
        if let Some(place) = place.as_ref().filter(|place| place.is_process) {
            let house = serve(place, &home, values, faults);
            let House::Process { server, .. } = &house else { unreachable!("as it was asked for") };
            let (url, key) = (server.url.clone(), KEY.to_owned());
            return Self { house: Some(house), http, url, key, home: Some(home) };
        }
        let roles = place.map_or(Roles::ALL, |place| place.roles);
        let running = app::start(&settings, roles, faults.parse().unwrap()).await.unwrap();
        let (url, key) = (running.url.clone(), running.operator_key.reveal().to_owned());
        Self { house: Some(House::Inside(Box::new(running))), http, url, key, home: Some(home) }
    }

    pub fn sandbox(&self) -> &Sandbox {
        match self.house.as_ref().unwrap() {
            House::Inside(running) => running.sandbox.as_ref().unwrap(),
            House::Process { sandbox, .. } => sandbox,
        }
    }

    /// `http://…`, where every role answers.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A key with every scope.
    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn play(&self, faults: &str) {
        self.sandbox().set_faults(faults.parse().unwrap());
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.key);
        let answer = request.body(body.to_string()).send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer =
            self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.key).send().await.unwrap();
        let bytes = answer.bytes().await.unwrap();
        serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into()))
    }

    /// Hands in one notification, changed by `change`; its id.
    pub async fn accept(&self, key: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut notification = booking(key);
        change(&mut notification);
        let (status, answer) = self.post("/v1/notifications", &notification).await;
        assert!(matches!(status, 200 | 202), "{status} {answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    pub async fn accept_many(&self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for i in 0..count {
            ids.push(self.accept(&format!("many-{i}"), |_| {}).await);
        }
        ids
    }

    pub async fn record(&self, id: &str) -> Value {
        self.get(&format!("/v1/notifications/{id}")).await
    }

    /// The record, once `wanted` holds of it.
    pub async fn record_when(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let record = self.record(id).await;
            if wanted(&record) {
                return record;
            }
            assert!(begun.elapsed() < PATIENCE, "it did not come to that: {record:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn record_with_status(&self, id: &str, status: &str) -> Value {
        self.record_when(id, |record| record["status"] == status).await
    }

    /// The job, once `wanted` holds of it.
    pub async fn job_when(&self, id: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let job = self.get(&format!("/v1/jobs/{}", id.as_str().unwrap())).await;
            if wanted(&job) {
                return job;
            }
            assert!(begun.elapsed() < PATIENCE, "it did not come to that: {job:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many stand at `status`.
    pub async fn count(&self, status: &str) -> u64 {
        self.get("/v1/status").await["by_status"][status].as_u64().unwrap_or(0)
    }

    pub async fn wait_for_count(&self, status: &str, count: u64) {
        let begun = Instant::now();
        while self.count(status).await != count {
            let stand = self.get("/v1/status").await;
            assert!(begun.elapsed() < PATIENCE, "not {count} {status}: {stand:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the house and opens it again on the same storage.
    pub async fn reopen(mut self, settings: &[(&'static str, &str)], faults: &str) -> Self {
        self.house.take().unwrap().stop().await;
        Self::open_in(self.home.take().unwrap(), settings, faults).await
    }

    /// The same with other roles, on AWS.
    pub async fn reopen_as(mut self, roles: Roles, settings: &[(&'static str, &str)], faults: &str) -> Self {
        let home = self.home.as_mut().unwrap();
        home.place = home.place.take().map(|place| Place { roles, ..place });
        self.reopen(settings, faults).await
    }

    /// Ends the house without a look at what is left over; what it had logged, where it was a process.
    pub async fn leave(mut self) -> String {
        self.house.take().unwrap().stop().await
    }

    /// Ends the house. Conservation: whatever was accepted is at an end or held, and the queue holds nothing for it.
    pub async fn close(self) -> String {
        let begun = Instant::now();
        loop {
            let stand = self.get("/v1/status").await;
            let (by_status, queue) = (&stand["by_status"], &stand["queue"]);
            let sum = |place: &Value, names: &[&str]| -> u64 {
                names.iter().filter_map(|n| place[n].as_u64()).sum()
            };
            let open = sum(by_status, &["accepted", "scheduled", "attempting", "retrying", "unknown"]);
            let messages = sum(queue, &["visible", "in_flight", "delayed"]);
            if open == 0 && messages == 0 {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "something is left over: {stand:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.leave().await
    }
}

/// As a process of its own, with the sandbox in this one.
fn serve(place: &Place, home: &Home, mut values: BTreeMap<&'static str, String>, faults: &str) -> House {
    let (stop, stopped) = shutdown::channel();
    let config = sandbox::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        faults: faults.parse().unwrap(),
        ..sandbox::Config::default()
    };
    let sandbox = Sandbox::start(config, stopped).unwrap();
    values.insert("sandbox.url", sandbox.url());
    let values: Vec<_> = values.into_iter().collect();
    let directory = home.directory.path();
    let command = backend::command_with(directory, &values, Some((&place.sqs_url, &place.dynamodb_url)));
    let roles = [
        ("api", place.roles.api),
        ("worker", place.roles.worker),
        ("webhook", place.roles.webhook),
        ("console", place.roles.console),
    ];
    let roles: Vec<_> = roles.iter().filter(|(_, runs)| *runs).map(|(role, _)| *role).collect();
    let asked = ["serve", "--role", &roles.join(",")];
    House::Process { server: Kakitome::run(command, directory, &asked, &[]), sandbox, stop }
}

pub fn booking(key: &str) -> Value {
    json!({
        "idempotency_key": key,
        "from": {"email": "reserve@example.jp", "name": "予約センター"},
        "to": [{"email": format!("guest.{key}@example.com"), "name": "山田 太郎"}],
        "subject": "ご予約が確定しました",
        "text": "お待ちしております。",
        "metadata": {"booking": key},
    })
}
