//! `enqueue`.

mod chunk;
mod lines;

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures::StreamExt;
use indicatif::ProgressBar;
use tokio::io::{AsyncBufRead, BufReader};

use super::client::Client;
use super::output::Output;
use super::{Exit, progress};
use chunk::{Chunk, Fate};
pub(super) use lines::Lines;

/// Lines in one request.
const CHUNK_LINES: usize = 500;
/// Bytes in one request, as far as it has more than one line: with the ones in flight this bounds the memory.
const CHUNK_BYTES: usize = 4 << 20;
/// Requests under way at once; more only makes them wait for the same commit.
const IN_FLIGHT: usize = 4;
/// The largest notification that any server can be configured to take.
const LINE_BYTES: usize = 30 << 20;
/// How long a chunk waits for a slow producer's next line.
const PATIENCE: Duration = Duration::from_millis(100);

/// Hand in notifications: one JSON object a line in, one result a line out, in the same order
///
/// Safe to repeat where the lines have an idempotency_key: what was accepted before answers with its first id. Exit
/// 1 if any line was refused.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kakitome enqueue bookings.ndjson > results.ndjson
  echo '{\"idempotency_key\":\"booking-8123:confirmed:1\",
    \"from\":{\"email\":\"reserve@example.jp\"},\"to\":[{\"email\":\"guest@example.com\"}],
    \"subject\":\"ご予約が確定しました\",\"text\":\"…\"}' \\
    | tr -d '\\n' | kakitome enqueue -

Results:
  {\"line\":1,\"id\":\"…\",\"status\":\"accepted\",\"duplicate\":false}
  {\"line\":2,\"error\":{\"status\":422,\"title\":\"…\",\"errors\":[{\"pointer\":\"/to\",…}]}}")]
pub struct EnqueueArgs {
    /// NDJSON; - or nothing: standard input
    #[arg(value_name = "FILE|-")]
    file: Option<PathBuf>,
}

/// Runs `enqueue`.
pub async fn run(args: &EnqueueArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    match args.file.as_ref().filter(|path| path.as_os_str() != "-") {
        None => hand_in(BufReader::new(tokio::io::stdin()), None, client, out).await,
        Some(path) => {
            let file = tokio::fs::File::open(path).await;
            let file = file.map_err(|error| super::Usage(format!("{}: {error}", path.display())))?;
            let about = file.metadata().await?;
            if about.is_dir() {
                return Err(super::Usage(format!("{}: it is a directory", path.display())).into());
            }
            let size = about.len();
            hand_in(BufReader::with_capacity(1 << 16, file), Some(size), client, out).await
        }
    }
}

/// Hands in every line of `input`, `size` bytes long if that is known.
pub async fn hand_in(
    input: impl AsyncBufRead + Unpin,
    size: Option<u64>,
    client: &Client,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let bar = progress::bar(out.is_err_terminal(), size, true);
    let stopped = Cell::new(false);
    let stopped = &stopped;
    let chunks = futures::stream::unfold(Some(Lines::new(input, LINE_BYTES)), |lines| async move {
        let mut lines = lines.filter(|_| !stopped.get())?;
        match Chunk::read(&mut lines).await {
            Ok(Some(chunk)) => Some((Ok((chunk, lines.bytes_read())), Some(lines))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    let mut results = std::pin::pin!(
        chunks
            .map(|chunk| async move {
                let (chunk, bytes) = chunk?;
                anyhow::Ok((chunk.send(client).await, bytes))
            })
            .buffered(IN_FLIGHT)
    );
    let mut tally = Tally::default();
    let mut cause = None;
    while let Some(result) = results.next().await {
        let (fate, bytes) = result?;
        let ended = tell(&fate, &mut tally, &bar, out);
        // A reader that went away wants no more: what was not handed in stays so, and that is a failure.
        if let Err(error) = &ended
            && error.kind() == std::io::ErrorKind::BrokenPipe
        {
            return Ok(Exit::Failed);
        }
        ended?;
        bar.set_position(bytes);
        if let Some(error) = fate.stopped {
            // What is under way still gets its result lines.
            stopped.set(true);
            cause.get_or_insert(error);
        }
    }
    bar.finish_and_clear();
    if let Some(error) = cause {
        return Err(anyhow::Error::new(error)
            .context(format!("stopped after {} accepted, {} refused", tally.accepted, tally.refused)));
    }
    Ok(if tally.refused == 0 { Exit::Done } else { Exit::Failed })
}

#[derive(Default)]
struct Tally {
    accepted: u64,
    refused: u64,
}

fn tell(fate: &Fate, tally: &mut Tally, bar: &ProgressBar, out: &mut Output) -> std::io::Result<()> {
    let write = || {
        for line in &fate.results {
            out.line(&line.text)?;
            *(if line.accepted { &mut tally.accepted } else { &mut tally.refused }) += 1;
        }
        out.flush()
    };
    bar.suspend(write)?;
    bar.set_message(format!("{} accepted, {} refused", tally.accepted, tally.refused));
    Ok(())
}
