//! A real `kakitome` process on loopback: started, read, asked and killed. Shared by the flow tests and the benches.
#![allow(clippy::expect_used, reason = "a failed expectation is the failed test")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::backend;

/// A running server or sandbox. Killed when dropped.
pub struct Kakitome {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub url: String,
    /// What it has printed to stderr, once it has ended.
    #[allow(dead_code, reason = "the flow tests read it, one bench does not")]
    log: Option<std::thread::JoinHandle<String>>,
    /// What it prints to stdout after its address.
    #[allow(dead_code, reason = "the flow tests read it, the benches do not")]
    lines: std::sync::mpsc::Receiver<String>,
}

/// The key of every server that these helpers start.
pub const KEY: &str = "kk_test_of_the_whole_house";

#[allow(dead_code, reason = "each of those who share it needs a part of it")]
impl Kakitome {
    /// Runs the binary with these arguments and environment and waits for the line on stdout that names its address.
    pub fn start(dir: &Path, args: &[&str], env: &[(&str, String)]) -> Self {
        Self::run(backend::command(dir), dir, args, env)
    }

    /// The same with a command of the caller's making.
    pub fn run(mut command: Command, dir: &Path, args: &[&str], env: &[(&str, String)]) -> Self {
        command
            .args(args)
            .env("KAKITOME_DATA_DIR", dir.join("data"))
            .env("KAKITOME_LISTEN", "127.0.0.1:0")
            .env("KAKITOME_API_KEY", KEY)
            .envs(env.iter().map(|(name, value)| (*name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let mut stderr = child.stderr.take().expect("piped");
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            // Invalid UTF-8 or a kill mid-line: what was read stays.
            let _ended = stderr.read_to_string(&mut text);
            text
        });
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let url = lines.by_ref().map_while(Result::ok).find_map(|line| {
            line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned)
        });
        let Some(url) = url else {
            panic!("it ended without naming its address: {}", log.join().unwrap_or_default());
        };
        let (sender, rest) = std::sync::mpsc::channel();
        // Read on also when nobody listens, or the process would stand still at a full pipe.
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        Self { child, url, log: Some(log), lines: rest }
    }

    /// The next line on stdout after those that were read.
    pub fn next_line(&self) -> String {
        self.lines.recv_timeout(std::time::Duration::from_secs(10)).expect("it prints another line")
    }

    /// `kill -9`. What it had logged.
    pub fn kill(mut self) -> String {
        self.child.kill().expect("it was running");
        self.end().1
    }

    /// SIGTERM, then waits: whether it ended well, and what it had logged.
    pub fn terminate(mut self) -> (bool, String) {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(told.success());
        self.end()
    }

    fn end(&mut self) -> (bool, String) {
        let status = self.child.wait().expect("it can be waited for");
        (status.success(), self.log.take().map(|log| log.join().unwrap_or_default()).unwrap_or_default())
    }

    /// User plus system CPU time so far, in microseconds; and resident memory in KiB.
    pub fn cost(&self) -> (u64, u64) {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = rss.and_then(|rss| rss.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        ((ticks(11) + ticks(12)) * 10_000, kib)
    }
}

/// Whether `cargo bench` runs this; `cargo test --all-targets` starts the benches too, and without this argument.
#[allow(dead_code, reason = "for the benches")]
pub fn is_bench() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// A client that asks no proxy. Whoever builds the process' first one installs its TLS, as reqwest has none of its own.
#[allow(dead_code, reason = "each of those who share it needs a part of it")]
pub fn http() -> reqwest::Client {
    let _already = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(std::time::Duration::from_secs(60))
        .build()
        .expect("a client")
}

impl Drop for Kakitome {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
