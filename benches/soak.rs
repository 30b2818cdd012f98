//! `make soak`: `serve` is killed with `kill -9` every 200 … 500 ms while it sends, and started again. In the end
//! every accepted id must be at an end and the sandbox must have seen none twice. `--rounds N` kills, `--count N`
//! notifications.
#![allow(clippy::print_stdout, reason = "it reports to whoever started it")]
#![allow(missing_docs, reason = "a program, not a library")]

#[path = "../tests/it/backend.rs"]
#[allow(dead_code, reason = "each of those who share it needs a part of it")]
mod backend;
#[path = "../tests/it/emulator.rs"]
#[allow(dead_code, reason = "each of those who share it needs a part of it")]
mod emulator;
#[path = "../tests/it/killing.rs"]
mod killing;
#[path = "../tests/it/process.rs"]
mod process;

fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[tokio::main]
async fn main() {
    if !process::is_bench() {
        println!("long: `make soak` runs it");
        return;
    }
    let (rounds, count) = (argument("--rounds", 20), argument("--count", 1000));
    let seed = argument("--seed", 1) as u64;
    println!("{count} notifications, {rounds} kills, seed {seed}");
    let report = killing::soak(count, rounds, seed).await;
    println!("{report:?}");
    assert_eq!(report.missing, 0, "accepted, but not at an end");
    assert_eq!(report.duplicates, 0, "taken twice by the provider");
    println!("every accepted id is at an end, none was sent twice");
}
