//! Every runbook, followed to the letter: an incident is played by `kakitome drill`, and the page's own blocks of commands,
//! nothing else, bring it to its end. So no page rots, and no incident needs more than its page.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use kakitome::clock::Clock;
use kakitome::inbox::sqlite::SqliteInbox;
use kakitome::inbox::{Inbox, pack};
use kakitome::provider::{EventKind, ProviderEvent};
use kakitome::sandbox::{self, Sandbox};
use kakitome::shutdown::{self, ShutdownTrigger};
use kakitome::sqlite::{DATABASE_FILE, Engine};

use super::backend;
use super::callbacks::receiver::{Mood, Receiver};
use super::emulator::{self, Emulator, fresh_name};
use super::process::Kakitome;

/// Nothing that these drills wait for takes longer on any machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// The blocks of commands of a page, in its order.
fn blocks(page: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks").join(page);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines().map(str::trim_start) {
        match &mut block {
            None if line == "```sh" => block = Some(String::new()),
            Some(_) if line == "```" => blocks.extend(block.take()),
            Some(block) => {
                block.push_str(line);
                block.push('\n');
            }
            None => {}
        }
    }
    blocks
}

/// Every page.
fn pages() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks");
    let names = std::fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".md") && name != "README.md").collect()
}

/// A shell that follows a page: each command is shown, and the first that fails ends it.
fn follow(environment: &str, page: &str, dir: &Path) {
    let binary = Path::new(env!("CARGO_BIN_EXE_kakitome")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let blocks = blocks(page);
    assert!(!blocks.is_empty(), "{page} has no block of commands");
    let script = format!("set -eu\n{environment}\nset -x\n{}", blocks.concat());
    let mut shell = Command::new("bash")
        .current_dir(dir)
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let (done, ended) = mpsc::channel();
    let pid = shell.id().to_string();
    let following = std::thread::spawn(move || {
        let output = shell.wait_with_output().unwrap();
        // Whoever waited may have given up.
        let _told = done.send(());
        output
    });
    if ended.recv_timeout(PATIENCE).is_err() {
        Command::new("kill").arg(&pid).status().unwrap();
    }
    let output = following.join().unwrap();
    let told =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{page} could not be followed to its end:\n{told}");
    assert!(told.contains("converged"), "{page} proves nothing:\n{told}");
}

/// A drill under way.
struct Drill {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    told: Vec<String>,
    dir: PathBuf,
    _home: tempfile::TempDir,
}

impl Drill {
    /// Begins it, and reads on until the incident is on.
    fn begin(name: &str, size: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("drill");
        let mut child = Command::new(env!("CARGO_BIN_EXE_kakitome"))
            .args(["drill", name, "--patience", "5m", "--size", &size.to_string(), "--dir"])
            .arg(&dir)
            .current_dir(home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut drill = Self { child, lines, told: Vec::new(), dir, _home: home };
        drill.read_until("The incident is on");
        drill
    }

    /// Reads on until a line has these words.
    fn read_until(&mut self, words: &str) {
        while !self.told.last().is_some_and(|line| line.contains(words)) {
            match self.lines.next() {
                Some(line) => self.told.push(line.unwrap()),
                None => panic!("it ended without `{words}`:\n{}", self.told.join("\n")),
            }
        }
    }

    fn has_told(&self, words: &str) -> bool {
        self.told.iter().any(|line| line.contains(words))
    }

    /// Reads on until this alert is told.
    fn wait_for_alert(&mut self, alert: &str) {
        let firing = format!("firing: {alert}");
        if !self.has_told(&firing) {
            self.read_until(&firing);
        }
    }

    /// Waits for its end, and what it says of it.
    fn end(mut self) -> String {
        if !self.has_told("Over after") {
            self.read_until("Over after");
        }
        Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        self.told.extend(self.lines.by_ref().map_while(Result::ok));
        let status = self.child.wait().unwrap();
        let told = self.told.join("\n");
        assert!(status.success(), "it was not handled well:\n{told}");
        assert!(told.contains("Handled well."), "{told}");
        told
    }
}

impl Drop for Drill {
    fn drop(&mut self) {
        // Interrupted, it ends its server; mostly it has ended by itself.
        let _gone = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let _reaped = self.child.wait();
    }
}

/// From the alert to the proof, by the page alone.
fn drill(name: &str, alert: Option<&str>, page: &str, size: usize) {
    let mut drill = Drill::begin(name, size);
    assert!(drill.has_told(&format!("runbooks/{page}")), "{}", drill.told.join("\n"));
    if let Some(alert) = alert {
        drill.wait_for_alert(alert);
    }
    follow(". ./operator.env", page, &drill.dir.clone());
    drill.end();
}

#[test]
fn a_45_minute_outage_with_10_000_waiting_is_handled_by_its_page_alone() {
    drill("provider-outage", Some("breaker_open"), "provider-outage.md", 10_000);
}

#[test]
fn a_slow_provider_is_handled_by_its_page_alone() {
    drill("delay", Some("oldest_unsent"), "delay.md", 300);
}

#[test]
fn a_revoked_key_is_handled_by_its_page_alone() {
    drill("key-revoked", Some("provider_refused"), "provider-refuses-us.md", 200);
}

#[test]
fn a_provider_that_takes_and_times_out_is_handled_by_its_page_alone() {
    drill("accepts-and-times-out", Some("breaker_open"), "unknown-outcomes.md", 100);
}

#[test]
fn dead_letters_are_handled_by_their_page_alone() {
    drill("dead-letters", Some("dead_letters"), "dead-letters.md", 300);
}

#[test]
fn a_broadcast_enqueued_five_times_is_handled_by_its_page_alone() {
    drill("duplicate-broadcast", Some("guard_held"), "duplicate-broadcast.md", 5_000);
}

#[test]
fn a_flood_to_100_000_dummy_addresses_is_handled_by_its_page_alone() {
    drill("tenant-flood", Some("bounce_rate"), "tenant-floods-or-bounces.md", 100_000);
}

#[test]
fn a_purged_queue_is_handled_by_its_page_alone() {
    drill("queue-purged", None, "queue-or-table-deleted.md", 300);
}

#[test]
fn a_rotated_webhook_key_is_handled_by_its_page_alone() {
    drill("webhook-key", Some("webhook_refused"), "webhook-silent.md", 200);
}

#[test]
fn a_server_that_hangs_is_handled_by_its_page_alone() {
    drill("worker-hung", Some("server_silent"), "worker-not-polling.md", 300);
}

#[test]
fn a_bad_deploy_is_handled_by_its_page_alone() {
    drill("bad-deploy", Some("breaker_open"), "bad-deploy.md", 200);
}

#[test]
fn a_lost_disk_is_handled_by_its_page_alone() {
    drill("restore", Some("server_silent"), "restore.md", 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_callback_is_handled_by_its_page_alone() {
    if backend::is_aws() {
        return;
    }
    let (home, receiver) = (tempfile::tempdir().unwrap(), Receiver::open().await);
    let env = [("KAKITOME_CALLBACK_ALLOW_INSECURE", "true".to_owned())];
    let server = Kakitome::start(home.path(), &["serve"], &env);
    let run = |arguments: &[&str]| {
        let output = backend::command(home.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let added = run(&["callbacks", "add", &receiver.url]);
    let id = added.split_whitespace().nth(1).unwrap();
    receiver.is(Mood::Answering(410));
    std::fs::write(home.path().join("one.ndjson"), super::world::booking("told").to_string()).unwrap();
    run(&["enqueue", "one.ndjson"]);
    super::callbacks::until("it is gone", || run(&["status"]).contains("it answered 410")).await;
    // Its owner mends it; the rest is the page's.
    receiver.is(Mood::Well);
    tokio::task::block_in_place(|| {
        follow(&format!("export CALLBACK={id}"), "callback-paused.md", home.path())
    });
    assert!(receiver.events().iter().any(|event| event["status"] == "delivered"));
    assert!(!run(&["status"]).contains("callback"));
    drop(server);
}

/// An embedded house whose alerts come soon, and the storage under it.
struct Small {
    home: tempfile::TempDir,
    server: Option<Kakitome>,
}

impl Small {
    fn open() -> Self {
        let mut small = Self { home: tempfile::tempdir().unwrap(), server: None };
        small.serve();
        small
    }

    fn serve(&mut self) {
        let env = [
            ("KAKITOME_ALERT_DELAY", "1s".to_owned()),
            ("KAKITOME_ALERT_INTERVAL", "200ms".to_owned()),
            ("KAKITOME_ALERT_CALM", "200ms".to_owned()),
        ];
        self.server = Some(Kakitome::start(self.home.path(), &["serve"], &env));
    }

    fn stop(&mut self) {
        let (ended_well, log) = self.server.take().unwrap().terminate();
        assert!(ended_well, "{log}");
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = backend::command(self.home.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn wait_until(&self, arguments: &[&str], says: &str) -> String {
        let begun = std::time::Instant::now();
        loop {
            let said = self.run(arguments);
            if said.contains(says) {
                return said;
            }
            assert!(begun.elapsed() < PATIENCE, "{arguments:?} never says {says}: {said}");
        }
    }

    /// One that was sent and delivered: its id.
    fn delivered(&self, key: &str) -> String {
        std::fs::write(self.home.path().join("one.ndjson"), super::world::booking(key).to_string()).unwrap();
        self.run(&["enqueue", "one.ndjson"]);
        let listed = self.wait_until(&["list", "--json"], r#""status":"delivered""#);
        let record: serde_json::Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
        record["id"].as_str().unwrap().to_owned()
    }

    /// The database, as somebody else changes it.
    fn database(&self) -> rusqlite::Connection {
        let database = rusqlite::Connection::open(self.home.path().join("data").join(DATABASE_FILE)).unwrap();
        database.busy_timeout(PATIENCE).unwrap();
        database
    }

    /// An event that came in before the server ended: somebody opened it. `version` is that of its parcel.
    async fn leave_in_inbox(&self, id: &str, version: u8) {
        let opened = ProviderEvent {
            provider: "sandbox".into(),
            id: id.parse().ok(),
            kind: EventKind::Opened,
            ..super::conformance::aside::event("opened-1")
        };
        let mut parcels = pack(&[opened], Clock::system().now());
        parcels[0].body = [&[version], &parcels[0].body[1..]].concat().into();
        let data = self.home.path().join("data");
        let engine = Engine::open(&data, kakitome::sqlite::Config::default()).unwrap();
        let inbox = SqliteInbox::open(engine.clone(), kakitome::inbox::sqlite::Config::default()).await;
        inbox.unwrap().append(parcels).await.unwrap();
        engine.close().await;
    }

    /// Follows a page; what it has others mend is mended when it asks for that.
    fn follow(&mut self, page: &'static str, mend: impl FnOnce(&mut Self)) {
        let home = self.home.path().to_owned();
        let asking = "export MEND='touch mend; until test -e mended; do sleep 0.1; done'";
        let following = std::thread::spawn(move || follow(asking, page, &home));
        while !self.home.path().join("mend").exists() && !following.is_finished() {
            tokio::runtime::Handle::current().block_on(tokio::time::sleep(Duration::from_millis(20)));
        }
        mend(self);
        std::fs::write(self.home.path().join("mended"), "").unwrap();
        following.join().unwrap();
    }
}

/// A newer release took them in, and was rolled back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_wait_are_handled_by_their_page_alone() {
    if backend::is_aws() {
        return;
    }
    let mut small = Small::open();
    let id = small.delivered("rolled-back");
    small.stop();
    small.leave_in_inbox(&id, 2).await;
    tokio::task::block_in_place(|| {
        small.serve();
        small.wait_until(&["alerts"], "events_waiting");
        small.follow("events-waiting.md", |small| {
            small.stop();
            // The release that reads it is back.
            let database = small.database();
            let body = database.query_row("SELECT body FROM inbox", [], |row| row.get::<_, Vec<u8>>(0));
            let mut body = body.unwrap();
            body[0] = 1;
            database.execute("UPDATE inbox SET body = ?1", [body]).unwrap();
            drop(database);
            small.serve();
        });
        let shown = small.run(&["show", &id]);
        assert!(shown.contains("opened"), "{shown}");
    });
}

/// A record lost what it says of its recipients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_are_set_aside_are_handled_by_their_page_alone() {
    if backend::is_aws() {
        return;
    }
    let mut small = Small::open();
    let id = small.delivered("damaged");
    small.stop();
    let damage = "CREATE TABLE lost AS SELECT * FROM recipient; DELETE FROM recipient";
    small.database().execute_batch(damage).unwrap();
    small.leave_in_inbox(&id, 1).await;
    tokio::task::block_in_place(|| {
        small.serve();
        small.wait_until(&["events", "aside"], "opened");
        small.wait_until(&["status"], "1 events are set aside");
        // The first look of a process finds it.
        small.stop();
        small.serve();
        small.wait_until(&["alerts"], "events_aside");
        small.follow("events-aside.md", |small| {
            let restored = "INSERT INTO recipient SELECT * FROM lost; DROP TABLE lost";
            small.database().execute_batch(restored).unwrap();
        });
        let shown = small.run(&["show", &id]);
        assert!(shown.contains("opened"), "{shown}");
    });
}

#[test]
fn a_guest_who_gets_no_mail_is_handled_by_its_page_alone() {
    let home = tempfile::tempdir().unwrap();
    let server = Kakitome::start(home.path(), &["serve"], &[]);
    let run = |arguments: &[&str]| {
        let output = super::backend::command(home.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let booking = super::world::booking("suppressed").to_string();
    std::fs::write(home.path().join("booking.ndjson"), booking).unwrap();
    run(&["suppressions", "add", "guest.suppressed@example.com", "--reason", "bounce"]);
    run(&["enqueue", "booking.ndjson"]);
    let begun = std::time::Instant::now();
    while run(&["list", "--status", "suppressed", "--json"]).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "it was not suppressed");
    }
    follow("export GUEST=guest.suppressed@example.com", "suppressed.md", home.path());
    assert!(!run(&["list", "--status", "sent", "--json"]).is_empty(), "it was not sent");
    assert!(server.terminate().0);
}

#[test]
fn every_page_with_commands_is_followed_by_some_test() {
    let tests = include_str!("drill.rs");
    for page in pages() {
        assert!(!blocks(&page).is_empty(), "{page} has no block of commands");
        assert!(tests.contains(&format!("\"{page}\"")), "no test follows {page}");
    }
}

/// A house on SQS and DynamoDB: a server of its own process, and what an operator's terminal needs to reach the same.
struct AwsHouse {
    dir: tempfile::TempDir,
    environment: String,
    sandbox: Sandbox,
    stop: ShutdownTrigger,
    settings: Vec<(&'static str, String)>,
    server: Option<Kakitome>,
}

impl AwsHouse {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (stop, stopped) = shutdown::channel();
        let config = sandbox::Config { listen: ([127, 0, 0, 1], 0).into(), ..sandbox::Config::default() };
        let sandbox = Sandbox::start(config, stopped).unwrap();
        let mut settings = backend::aws_settings(&fresh_name("pages"));
        settings.push(("sandbox.url", sandbox.url()));
        settings.push(("data_dir", dir.path().join("data").to_string_lossy().into_owned()));
        let command = Self::command(dir.path(), &settings);
        let exported: Vec<String> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)))
            .map(|(name, value)| format!("export {name}='{value}'"))
            .collect();
        let mut house = Self { dir, environment: exported.join("\n"), sandbox, stop, settings, server: None };
        house.run(&["setup"], "");
        house.serve();
        house
    }

    fn command(dir: &Path, settings: &[(&'static str, String)]) -> Command {
        let url = &Emulator::ministack().url;
        backend::command_with(dir, settings, Some((url, url)))
    }

    fn serve(&mut self) {
        let command = Self::command(self.dir.path(), &self.settings);
        self.server = Some(Kakitome::run(command, self.dir.path(), &["serve", "--role", "api,worker"], &[]));
    }

    /// Runs a command with this on its standard input.
    fn run(&self, arguments: &[&str], input: &str) {
        let mut command = Self::command(self.dir.path(), &self.settings);
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{arguments:?}");
    }

    /// Hands in so many, under keys that begin like this.
    fn hand_in(&self, keys: &str, count: usize) {
        let lines: Vec<String> =
            (0..count).map(|i| super::world::booking(&format!("{keys}-{i}")).to_string()).collect();
        self.run(&["enqueue"], &lines.join("\n"));
    }

    /// Follows a page as an operator of this house.
    fn follow(&self, page: &str) {
        follow(&self.environment, page, self.dir.path());
    }

    async fn close(mut self, handed_in: u64) {
        let (ended_well, log) = self.server.take().unwrap().terminate();
        assert!(ended_well, "it did not drain: {log}");
        let stats = self.sandbox.stats();
        assert_eq!((stats.accepted, stats.duplicates), (handed_in, 0));
        self.stop.pull();
        self.sandbox.stopped().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_for_aws_can_be_followed() {
    let house = AwsHouse::open();
    house.hand_in("first", 20);
    tokio::task::block_in_place(|| {
        house.follow("queue-throttled-or-unreachable.md");
        house.follow("table-throttled.md");
        house.follow("unconfirmed.md");
    });
    house.close(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_is_handled_by_its_page_alone() {
    let mut house = AwsHouse::open();
    // Nothing is sent before the queue is gone.
    house.server.take().unwrap().terminate();
    house.hand_in("waiting", 20);
    let url = &Emulator::ministack().url;
    let queue = house.settings.iter().find(|(name, _)| *name == "sqs.queue_url").unwrap().1.clone();
    emulator::connect(url, url).await.sqs.delete_queue().queue_url(queue).send().await.unwrap();
    house.serve();
    tokio::task::block_in_place(|| house.follow("queue-or-table-deleted.md"));
    house.close(20).await;
}
