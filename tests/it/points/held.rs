//! A server that stops at a step. It is the whole server as `kakitome serve` runs it, in this test binary, so that its
//! metrics go through a recorder of ours: whatever the program counts is a step, and is told on stdout by its name.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kakitome::app;
use kakitome::metrics::{STORAGE_COMMITS_TOTAL, install_behind};
use kakitome::settings::{Roles, Settings, Sources};
use kakitome::sqlite::DATABASE_FILE;
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::PrometheusRecorder;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::watch;

use crate::process::KEY;
use crate::tracking;

/// What a commit may change, and how much of it there is.
const TABLES: [(&str, &str); 9] = [
    ("inbox", "SELECT count(*) FROM inbox"),
    ("tries", "SELECT coalesce(sum(tries), 0) FROM inbox"),
    ("event", "SELECT count(*) FROM event"),
    ("unmatched", "SELECT count(*) FROM unmatched_event"),
    ("suppression", "SELECT count(*) FROM suppression"),
    ("aside", "SELECT count(*) FROM journal WHERE kind = 'event_aside'"),
    ("mark", "SELECT count(*) FROM journal WHERE key = 'suppressions'"),
    (
        "journal",
        "SELECT coalesce(sum(version), 0) FROM journal WHERE kind <> 'event_aside' AND key <> 'suppressions'",
    ),
    ("witness", "SELECT coalesce(sum(at), 0) FROM witness"),
];

/// Where a server is to stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    /// At this step: the name of what is counted there, or what a commit changes, as `inbox+`.
    pub step: String,
    /// The so many-th time that it comes there.
    pub time: usize,
    /// `false`: there, before anybody is told of it. `true`, for a commit: whoever waits for it is told and goes on, and
    /// the next commit is what does not come.
    pub is_told: bool,
}

impl Hold {
    /// Further on than anything goes.
    pub fn nowhere() -> Self {
        Self { step: "-".into(), time: 0, is_told: false }
    }

    fn to_text(&self) -> String {
        format!("{} {} {}", self.step, self.time, self.is_told)
    }

    fn parse(text: &str) -> Option<Self> {
        let [step, time, is_told] = text.split(' ').collect::<Vec<_>>().try_into().ok()?;
        Some(Self { step: step.into(), time: time.parse().ok()?, is_told: is_told == "true" })
    }
}

/// Names the hold in a server's environment.
const HOLD: &str = "POINTS_HOLD";

/// The steps of this process.
struct Steps {
    hold: Hold,
    database: PathBuf,
    taken: Mutex<Taken>,
}

/// Where it is.
struct Taken {
    /// How often it came to the step at which it is to be held.
    times: usize,
    /// The latest step, for what is counted several times over.
    latest: String,
    /// How much there was of each of [`TABLES`] after the last commit.
    known: [i64; TABLES.len()],
}

impl Steps {
    fn reach(&self, name: &str) {
        let is_commit = name == STORAGE_COMMITS_TOTAL;
        let mut taken = self.taken.lock().unwrap();
        let step = if is_commit { taken.commit(&self.database) } else { name.to_owned() };
        if !is_commit && taken.latest == step {
            return;
        }
        let is_hold = step.split(' ').any(|word| word == self.hold.step);
        taken.times += usize::from(is_hold);
        taken.latest.clone_from(&step);
        if !is_hold || taken.times != self.hold.time {
            return say(&format!("passed {step}"));
        }
        drop(taken);
        if self.hold.is_told {
            // For good: who wants to write waits from here on.
            let lock = Connection::open(&self.database).unwrap();
            lock.execute_batch("BEGIN IMMEDIATE").unwrap();
            std::mem::forget(lock);
            return say(&format!("held {step}"));
        }
        say(&format!("held {step}"));
        loop {
            std::thread::park();
        }
    }
}

impl Taken {
    /// What the commit that was just made changed.
    fn commit(&mut self, database: &Path) -> String {
        let found = read(database);
        let counts = TABLES.iter().zip(found.iter().zip(self.known));
        let changed = counts.filter(|(_, (now, before))| *now != before);
        let changes: String = changed
            .map(|((table, _), (now, before))| format!(" {table}{}", if *now > before { '+' } else { '-' }))
            .collect();
        self.known = found;
        format!("commit{changes}")
    }
}

fn read(database: &Path) -> [i64; TABLES.len()] {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    TABLES.map(|(_, sql)| connection.query_row(sql, [], |row| row.get(0)).unwrap())
}

fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).unwrap();
}

/// The real recorder, and the steps before it.
struct Front {
    inner: PrometheusRecorder,
    steps: Arc<Steps>,
}

struct Counted {
    inner: Counter,
    name: String,
    steps: Arc<Steps>,
}

impl CounterFn for Counted {
    fn increment(&self, value: u64) {
        self.inner.increment(value);
        // Series begin with nothing.
        if value > 0 {
            self.steps.reach(&self.name);
        }
    }
    fn absolute(&self, value: u64) {
        self.inner.absolute(value);
    }
}

impl Recorder for Front {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_counter(key, unit, description);
    }
    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_gauge(key, unit, description);
    }
    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_histogram(key, unit, description);
    }
    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        let inner = self.inner.register_counter(key, metadata);
        Counter::from_arc(Arc::new(Counted { inner, name: key.name().to_owned(), steps: self.steps.clone() }))
    }
    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.inner.register_gauge(key, metadata)
    }
    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.inner.register_histogram(key, metadata)
    }
}

#[test]
#[ignore = "a server for the tests beside it, which run it as a process of its own"]
fn server() {
    let Some(hold) = std::env::var(HOLD).ok().and_then(|text| Hold::parse(&text)) else { return };
    let settings = Settings::load(&Sources::from_process(Vec::new(), None)).unwrap();
    let database = settings.data_dir.join(DATABASE_FILE);
    let taken = Mutex::new(Taken { times: 0, latest: String::new(), known: read(&database) });
    let steps = Arc::new(Steps { hold, database, taken });
    // Ends the line that the test harness has begun.
    say("");
    install_behind(|inner| Front { inner, steps }).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let roles = Roles { api: true, worker: false, webhook: true, console: false };
    runtime.block_on(app::serve(&settings, roles)).unwrap();
}

/// What a server has said so far.
#[derive(Clone, Debug, Default)]
struct Said {
    url: Option<String>,
    life: Life,
    is_over: bool,
}

/// What a server came through.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// Its steps, that at which it was held included.
    pub steps: Vec<String>,
    /// That one.
    pub held: Option<String>,
}

/// Such a server as a process of its own. Killed when dropped.
pub struct Server {
    child: Child,
    said: watch::Receiver<Said>,
    log: PathBuf,
}

impl Server {
    /// On the storage in `dir`.
    pub fn start(dir: &Path, hold: &Hold) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KAKITOME_")) {
            command.env_remove(name);
        }
        let log = dir.join("log");
        let mut child = command
            .args(["--exact", "points::held::server", "--ignored", "--nocapture", "--test-threads=1"])
            .env(HOLD, hold.to_text())
            .env("KAKITOME_DATA_DIR", dir.join("data"))
            .env("KAKITOME_LISTEN", "127.0.0.1:0")
            .env("KAKITOME_API_KEY", KEY)
            .envs(tracking::environment())
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (teller, said) = watch::channel(Said::default());
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| teller.send_modify(|said| said.hear(&line)));
            teller.send_modify(|said| said.is_over = true);
        });
        Self { child, said, log }
    }

    /// Where it listens; `None` where it is held before.
    pub async fn url(&self) -> Option<String> {
        let mut said = self.said.clone();
        let said = said
            .wait_for(|said| said.url.is_some() || said.life.held.is_some() || said.is_over)
            .await
            .unwrap();
        assert!(!said.is_over, "{}", self.log());
        said.url.clone()
    }

    /// Waits until it is held.
    pub async fn held(&self) {
        let mut said = self.said.clone();
        let is_over = said.wait_for(|said| said.life.held.is_some() || said.is_over).await.unwrap().is_over;
        assert!(!is_over, "{}", self.log());
    }

    /// `kill -9`.
    pub async fn kill(mut self) -> Life {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let over =
            tokio::time::timeout(Duration::from_secs(10), self.said.wait_for(|said| said.is_over)).await;
        over.unwrap().unwrap().life.clone()
    }

    /// What it and those before it on the same storage had to say.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Said {
    fn hear(&mut self, line: &str) {
        if let Some(step) = line.strip_prefix("passed ") {
            self.life.steps.push(step.to_owned());
        } else if let Some(step) = line.strip_prefix("held ") {
            self.life.steps.push(step.to_owned());
            self.life.held = Some(step.to_owned());
        } else if self.url.is_none() {
            self.url = line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned);
        }
    }
}
