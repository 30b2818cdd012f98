//! `--help` of every command, as people see it.

use std::process::Command;

fn help(command: &[&str]) -> String {
    let said = Command::new(env!("CARGO_BIN_EXE_kakitome"))
        .args(command)
        .arg("--help")
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    assert!(said.status.success());
    String::from_utf8(said.stdout).unwrap()
}

#[test]
fn every_command_explains_itself_with_an_example() {
    const COMMANDS: [&str; 36] = [
        "serve",
        "demo",
        "drill",
        "sandbox",
        "enqueue",
        "show",
        "list",
        "unsent",
        "redrive",
        "hold",
        "release",
        "cancel",
        "jobs",
        "dead-letters list",
        "dead-letters export",
        "dead-letters resend",
        "status",
        "incident",
        "alerts",
        "events",
        "events aside",
        "callbacks list",
        "callbacks add",
        "callbacks resume",
        "callbacks rotate",
        "callbacks test",
        "batch declare",
        "batch list",
        "suppressions list",
        "suppressions add",
        "suppressions remove",
        "suppressions import",
        "suppressions export",
        "check",
        "setup",
        "keys new",
    ];
    insta::assert_snapshot!("help", help(&[]));
    for command in COMMANDS {
        let words: Vec<&str> = command.split(' ').collect();
        let text = help(&words);
        assert!(text.contains("Example") && text.contains(&format!("kakitome {command}")), "{text}");
        insta::assert_snapshot!(format!("help_{}", command.replace(' ', "_")), text);
    }
}
