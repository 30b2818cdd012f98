//! Servers of AWS's protocols on this machine, each started once per test run. They end with the test process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is the failed test")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kakitome::aws::{Access, Aws, Config};
use kakitome::secret::Secret;

/// What a server of the protocol is known to do otherwise than AWS.
pub struct Fault {
    /// Which, as [`Emulator::name`] has it.
    pub emulator: &'static str,
    /// The case of the conformance suite that shows it.
    pub case: &'static str,
    /// What the case says of it: a part of the failed assertion.
    pub says: &'static str,
    /// What it does, and what AWS does.
    pub why: &'static str,
}

/// Every known fault that a case of the conformance suite meets. Such a case must fail with these words: a server that
/// was mended, or is wrong in another way, turns its test red, and no case is weakened for the others' sake.
pub const FAULTS: &[Fault] = &[
    Fault {
        emulator: "fauxqs",
        case: "each_entry_has_its_own_result",
        says: "matches!(bench.queue.settle(settled).await[..], [Ok(()), Err(_), Ok(())])",
        why: "it says of any text that it was deleted as a receipt; AWS answers ReceiptHandleIsInvalid for that entry",
    },
    Fault {
        emulator: "fauxqs",
        case: "depth_says_how_much_lies_where",
        says: "left: Depth { visible: 2, in_flight: 1, delayed: 1, dead: 0 }",
        why: "it counts what has become visible among the hidden ones until somebody receives; AWS follows by itself",
    },
    Fault {
        emulator: "localstack",
        case: "a_stale_receipt_neither_settles_nor_extends",
        says: "matches!(extended[..], [Err(QueueError::StaleReceipt)])",
        why: "an old receipt extends, gives back and deletes another's delivery; AWS refuses it",
    },
];

/// A running emulator.
pub struct Emulator {
    /// As [`FAULTS`] has it.
    pub name: &'static str,
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
            start("ministack", port, "ministack/bin/ministack", &[], &env)
        })
    }

    /// DynamoDB alone, an implementation of its own.
    pub fn dynoxide() -> &'static Self {
        static STARTED: OnceLock<Emulator> = OnceLock::new();
        STARTED.get_or_init(|| {
            let port = free_port();
            let port_text = port.to_string();
            let args = ["serve", "--host", "127.0.0.1", "--port", &port_text, "--log", "quiet"];
            start("dynoxide", port, "dynoxide/bin/dynoxide", &args, &[])
        })
    }

    /// SQS alone, an implementation of its own.
    pub fn fauxqs() -> &'static Self {
        static STARTED: OnceLock<Emulator> = OnceLock::new();
        STARTED.get_or_init(|| start_on_port("fauxqs"))
    }

    /// LocalStack with SQS, which `make aws-second` installs.
    pub fn localstack() -> &'static Self {
        static STARTED: OnceLock<Emulator> = OnceLock::new();
        STARTED.get_or_init(|| {
            let emulator = start_on_port("localstack");
            emulator.ask_once("/?Action=ListQueues", "sqs");
            emulator
        })
    }

    /// Amazon's DynamoDB Local, which `make aws-second` installs.
    pub fn dynamodb_local() -> &'static Self {
        static STARTED: OnceLock<Emulator> = OnceLock::new();
        STARTED.get_or_init(|| {
            let emulator = start_on_port("dynamodb-local");
            emulator.ask_once("/", "dynamodb");
            emulator
        })
    }

    /// Waits for the answer to one request, whatever it is: a service that is loaded with its first request outlasts the
    /// SDK's patience.
    fn ask_once(&self, path: &str, service: &str) {
        let host = self.url.trim_start_matches("http://");
        let key = format!("test/20260101/us-east-1/{service}/aws4_request");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential={key}, SignedHeaders=host, Signature=0\r\n\r\n"
        );
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 "), "{}: {}", self.name, String::from_utf8_lossy(&answer));
    }
}

/// Starts `NAME/run`, which takes its port from `PORT`.
fn start_on_port(name: &'static str) -> Emulator {
    let port = free_port();
    start(name, port, &format!("{name}/run"), &[], &[("PORT", &port.to_string())])
}

/// Judges one case of the conformance suite that was played on a bench: it passes, or fails as [`FAULTS`] says of the
/// bench's server.
pub fn judge(server: &str, case: &str, played: std::thread::Result<()>) {
    let known = FAULTS.iter().find(|fault| fault.emulator == server && fault.case == case);
    match (known, played) {
        (None, Ok(())) => {}
        (None, Err(panic)) => std::panic::resume_unwind(panic),
        (Some(fault), Ok(())) => panic!("{server} passes {case} now: take it out of FAULTS ({})", fault.why),
        (Some(fault), Err(panic)) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            assert!(text.contains(fault.says), "{server} fails {case} otherwise than known: {text}");
        }
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
fn start(name: &'static str, port: u16, program: &str, args: &[&str], env: &[(&str, &str)]) -> Emulator {
    let path = home().join(program);
    let target = if matches!(name, "localstack" | "dynamodb-local") { "aws-second" } else { "aws-install" };
    assert!(path.is_file(), "{program} is not installed: run `make {target}`");
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
        if begun.elapsed() > Duration::from_secs(120) {
            drop(lifeline);
            panic!("{program} does not answer: {}", said.join().unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Emulator { name, url: format!("http://127.0.0.1:{port}"), _lifeline: lifeline }
}
