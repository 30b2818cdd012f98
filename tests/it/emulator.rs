//! Servers of AWS's protocols on this machine, each started once per test run. They end with the test process.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kakitome::aws::{Access, Aws, Config};
use kakitome::secret::Secret;

/// A running emulator.
pub struct Emulator {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    /// Closed with this process, which ends the emulator.
    _lifeline: ChildStdin,
}

impl Emulator {
    /// SQS, DynamoDB and CloudFormation on one port.
    pub fn ministack() -> &'static Self {
        static STARTED: OnceLock<Emulator> = OnceLock::new();
        STARTED.get_or_init(|| {
            let port = free_port();
            let port_text = port.to_string();
            let env = [
                ("GATEWAY_PORT", port_text.as_str()),
                ("BIND_HOST", "127.0.0.1"),
                ("IOT_MTLS_ENABLED", "0"),
                ("SFTP_ENABLED", "0"),
                ("LOG_LEVEL", "ERROR"),
            ];
            start(port, "ministack/bin/ministack", &[], &env)
        })
    }

    /// DynamoDB alone, an implementation of its own.
    pub fn dynoxide() -> &'static Self {
        static STARTED: OnceLock<Emulator> = OnceLock::new();
        STARTED.get_or_init(|| {
            let port = free_port();
            let port_text = port.to_string();
            let args = ["serve", "--host", "127.0.0.1", "--port", &port_text, "--log", "quiet"];
            start(port, "dynoxide/bin/dynoxide", &args, &[])
        })
    }
}

/// Clients of these two servers, which may be the same.
pub async fn connect(sqs: &str, dynamodb: &str) -> Aws {
    Aws::connect(&access(sqs, dynamodb), Config::default()).await.unwrap()
}

/// How to reach these two servers, which check no key.
pub fn access(sqs: &str, dynamodb: &str) -> Access {
    Access::Fixed {
        region: "us-east-1".into(),
        sqs_url: sqs.into(),
        dynamodb_url: dynamodb.into(),
        key_id: "test".into(),
        key_secret: Secret::new("test"),
    }
}

/// A name that no other test of this run uses for its table or queue.
pub fn fresh_name(kind: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("kakitome-{kind}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Where `make aws-install` puts the emulators.
fn home() -> PathBuf {
    std::env::var_os("TEST_EMULATORS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/emulators"), PathBuf::from)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Runs a program of `home()` under a watch that ends it when this process has ended, or after an hour.
#[expect(clippy::zombie_processes, reason = "it ends when this process does: nobody is left to wait for it")]
#[expect(clippy::disallowed_methods, reason = "the server's port gives no signal to wait for")]
fn start(port: u16, program: &str, args: &[&str], env: &[(&str, &str)]) -> Emulator {
    let path = home().join(program);
    assert!(path.is_file(), "{program} is not installed: run `make aws-install`");
    let watch = "timeout 3600 \"$0\" \"$@\" </dev/null & server=$!; cat >/dev/null; kill $server";
    let mut child = Command::new("sh")
        .args(["-c", watch])
        .arg(&path)
        .args(args)
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lifeline = child.stdin.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let said = std::thread::spawn(move || {
        let mut text = String::new();
        let _ended = stderr.read_to_string(&mut text);
        text
    });
    let begun = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if begun.elapsed() > Duration::from_secs(60) {
            drop(lifeline);
            panic!("{program} does not answer: {}", said.join().unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Emulator { url: format!("http://127.0.0.1:{port}"), _lifeline: lifeline }
}
