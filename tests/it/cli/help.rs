//! `--help` of every command, as people see it.

use std::process::Command;

fn help(command: &[&str]) -> String {
    help_within(100, command)
}

fn help_within(columns: usize, command: &[&str]) -> String {
    let said = Command::new(env!("CARGO_BIN_EXE_kakitome"))
        .args(command)
        .arg("--help")
        .env("COLUMNS", columns.to_string())
        .output()
        .unwrap();
    assert!(said.status.success());
    String::from_utf8(said.stdout).unwrap()
}

#[test]
fn every_command_explains_itself_with_an_example() {
    const COMMANDS: [&str; 40] = [
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
        "unconfirmed",
        "engagement",
        "incident",
        "alerts",
        "events",
        "events aside",
        "callbacks list",
        "callbacks add",
        "callbacks remove",
        "callbacks pause",
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
        // What is broken at a terminal's edge is no command any more once it is pasted.
        let wide = help_within(110, &words);
        let (_, examples) = wide.split_once("\nExample").unwrap();
        let long = examples.lines().find(|line| line.starts_with("  ") && line.chars().count() > 80);
        assert_eq!(long, None, "an example of `{command}`");
    }
}
