//! `make soak`: `serve` is killed with `kill -9` every 200 … 500 ms while it sends, and started again. In the end
//! every accepted id must be at an end and the sandbox must have seen none twice. `--rounds N` kills, `--count N`
//! notifications. `--redrive N` redrives N dead letters instead while it is killed every second.
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
#[path = "../tests/it/redriving.rs"]
mod redriving;

fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Dead letters are redriven, and the server is killed every second.
async fn redrive(count: usize) {
    process::http();
    println!("{count} dead letters are redriven, one kill a second");
    let report = redriving::redrive_and_kill(count, std::time::Duration::from_secs(1)).await;
    println!("{report:#?}");
    redriving::check(&report, count);
    let rate = |took: std::time::Duration| count as f64 / took.as_secs_f64();
    let (redriven, known) = (rate(report.took), rate(report.took_until_known));
    println!(
        "each was sent once; {redriven:.0} redriven a second, {known:.0} until the last outcome was known"
    );
}

#[tokio::main]
async fn main() {
    if !process::is_bench() {
        println!("long: `make soak` runs it");
        return;
    }
    let redriven = argument("--redrive", 0);
    if redriven > 0 {
        return redrive(redriven).await;
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
