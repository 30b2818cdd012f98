//! On which backend the whole house is tested: the embedded one, or with `TEST_BACKEND=aws` SQS and DynamoDB
//! as an emulator plays them. `make aws-test` runs the flow tests that way.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is the failed test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use kakitome::aws::Access;
use sha2::{Digest, Sha256};

use super::emulator::{self, Emulator};

/// Whether these tests run on SQS and DynamoDB.
pub fn is_aws() -> bool {
    std::env::var("TEST_BACKEND").is_ok_and(|backend| backend == "aws")
}

/// The emulator as an in-process house reaches it.
pub fn access() -> Access {
    let url = &Emulator::ministack().url;
    emulator::access(url, url)
}

/// The settings that give a directory its own queues and table.
pub fn settings(dir: &Path) -> Vec<(&'static str, String)> {
    if !is_aws() {
        return Vec::new();
    }
    let digest = Sha256::digest(dir.to_string_lossy().as_bytes());
    let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    aws_settings(&name)
}

/// The settings for queues and a table of this name.
pub fn aws_settings(name: &str) -> Vec<(&'static str, String)> {
    let queue = |name: &str| format!("{}/000000000000/{name}", Emulator::ministack().url);
    vec![
        ("backend", "aws".into()),
        ("sqs.queue_url", queue(&format!("q{name}"))),
        ("sqs.dead_letter_url", queue(&format!("d{name}"))),
        ("sqs.events_url", queue(&format!("e{name}"))),
        ("dynamodb.table", format!("t{name}")),
        ("queue.long_poll", "1s".into()),
    ]
}

/// The program with the environment that it needs, and nothing of the caller's KAKITOME_ variables; in `dir`, with
/// queues and a table of its own where that is the backend.
pub fn command(dir: &Path) -> Command {
    static MADE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let is_new = is_aws() && MADE.lock().unwrap().insert(dir.to_owned());
    if is_new {
        let made = bare_command(dir).arg("setup").output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    bare_command(dir)
}

fn bare_command(dir: &Path) -> Command {
    let url = is_aws().then(|| Emulator::ministack().url.as_str());
    command_with(dir, &settings(dir), url.map(|url| (url, url)))
}

/// The program with these settings, which finds SQS and DynamoDB at these URLs.
pub fn command_with(
    dir: &Path,
    settings: &[(&'static str, String)],
    aws_urls: Option<(&str, &str)>,
) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kakitome"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KAKITOME_")) {
        command.env_remove(name);
    }
    for (path, value) in settings {
        command.env(format!("KAKITOME_{}", path.replace('.', "_").to_uppercase()), value);
    }
    if let Some((sqs, dynamodb)) = aws_urls {
        command.envs([("AWS_ENDPOINT_URL_SQS", sqs), ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb)]);
        command.envs([("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "test")]);
        command.envs([("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")]);
    }
    command.current_dir(dir).stdin(Stdio::null());
    command
}
