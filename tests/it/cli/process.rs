//! The program itself: exit codes, and what it says where there is nothing to work on.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use kakitome::settings::{ConfigFile, Settings, Sources};
use tempfile::TempDir;

fn kakitome(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kakitome"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KAKITOME_")) {
        command.env_remove(name);
    }
    command.args(args).envs(env.iter().copied()).current_dir(dir).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn wrong_usage_is_exit_2() {
    let dir = TempDir::new().unwrap();
    for args in [
        &["fly"][..],
        &["hold"],
        &["hold", "--batch", "b", "--id", "x"],
        &["redrive", "--rate", "0"],
        &["show"],
        &["list", "--since", "yesterday"],
        &["serve", "--role", "cook"],
        &["enqueue", "no-such-file", "--url", "http://127.0.0.1:1"],
    ] {
        let (code, text) = said(&kakitome(dir.path(), args, &[("KAKITOME_API_KEY", "k")]));
        assert_eq!(code, 2, "{args:?}: {text}");
    }
}

#[test]
fn a_bad_configuration_is_exit_2_for_every_command() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("kakitome.toml"), "[worker]\nlease = '1s'\n").unwrap();
    for command in ["serve", "list", "status", "check", "setup"] {
        let (code, text) = said(&kakitome(dir.path(), &[command], &[("KAKITOME_BACKEND", "aws")]));
        assert_eq!(code, 2, "{text}");
        assert!(text.contains("worker.lease = \"1s\" (kakitome.toml, line 2)"), "{text}");
        assert!(text.contains("KAKITOME_BACKEND=\"aws\""), "{text}");
    }
}

#[test]
fn looking_at_a_data_directory_that_is_not_there_says_so_and_makes_none() {
    let dir = TempDir::new().unwrap();
    for command in ["list", "unsent", "status", "redrive"] {
        let (code, text) = said(&kakitome(dir.path(), &[command, "--data-dir", "nowhere"], &[]));
        assert_eq!(code, 1);
        assert!(text.contains("there is no data directory nowhere"), "{text}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let dir = TempDir::new().unwrap();
    let url = "http://127.0.0.1:1";
    let (code, text) = said(&kakitome(dir.path(), &["list", "--url", url], &[("KAKITOME_API_KEY", "k")]));
    assert_eq!(code, 1);
    assert!(text.contains(&format!("no server answers at {url}")), "{text}");
    let (code, text) = said(&kakitome(dir.path(), &["list", "--url", url], &[]));
    assert_eq!(code, 2);
    assert!(text.contains("KAKITOME_API_KEY"), "{text}");
}

#[test]
fn a_new_key_is_one_that_the_configuration_takes() {
    let dir = TempDir::new().unwrap();
    let made =
        kakitome(dir.path(), &["keys", "new", "--tenant", "hotel \"桜\"", "--scopes", "send,read"], &[]);
    let text = String::from_utf8(made.stdout).unwrap();
    let (secret, toml) = text.split_once('\n').unwrap();
    assert!(secret.starts_with("kk_") && secret.len() > 40, "{secret}");
    assert!(!toml.contains(secret));
    let path = dir.path().join("kakitome.toml");
    std::fs::write(&path, toml).unwrap();
    let sources = Sources { file: Some(ConfigFile { path, must_exist: true }), ..Sources::default() };
    let settings = Settings::load(&sources).unwrap();
    let hash: [u8; 32] =
        sha2::Digest::finalize(sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), secret))
            .into();
    assert_eq!((settings.api_keys[0].tenant.as_str(), settings.api_keys[0].sha256), ("hotel \"桜\"", hash));
}
