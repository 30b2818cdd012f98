//! `dead-letters resend`.

use std::path::{Path, PathBuf};

use axum::http::Method;
use bytes::Bytes;
use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, BufReader};

use super::super::client::Client;
use super::super::enqueue::Lines;
use super::super::output::Output;
use super::super::{Exit, Usage};

/// Lines in one request.
const CHUNK_LINES: usize = 100;
/// Bytes in one request, as far as it has more than one line.
const CHUNK_BYTES: usize = 4 << 20;
/// The longest line.
const LINE_BYTES: usize = 30 << 20;

/// Send them again: {"key":…,"notification":{…}} a line, or {"key":…} alone for what was in it
///
/// Each is checked like anything that is handed in, and recorded under the id that a producer's own message has:
/// however often this runs, each is sent once. What is sent again leaves the queue; what is refused stays. An export
/// is taken as it is. Exit 1 if any line was refused.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: send two of them as they are, and what was mended
  echo '{\"key\":\"0f1e8a54-6f0c-4a4c-9f40-3f3c7c2b5a11\"}' \\
      | kakitome dead-letters resend - --yes
  kakitome dead-letters resend mended.ndjson

Results:
  {\"line\":1,\"key\":\"…\",\"id\":\"…\",\"status\":\"accepted\",\"duplicate\":false}
  {\"line\":2,\"key\":\"…\",\"error\":{\"status\":422,\"errors\":[{\"pointer\":\"/to\",…}]}}")]
pub(super) struct ResendArgs {
    /// NDJSON; -: standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

struct Line {
    number: u64,
    text: Vec<u8>,
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<Map<String, Value>>,
}

pub(super) async fn run(args: &ResendArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let lines = read(&args.file).await?;
    let count = lines.len();
    out.note(format_args!("resend: {count} dead letters"))?;
    if count == 0 {
        return Ok(Exit::Done);
    }
    if count > 1 && !args.yes {
        match out.ask(format_args!("send {count} dead letters again?"))? {
            Some(true) => {}
            Some(false) => {
                out.note("nothing was changed")?;
                return Ok(Exit::Done);
            }
            None => {
                let words = format!("nothing was changed: to resend {count} without a terminal, add --yes");
                return Err(Usage(words).into());
            }
        }
    }
    let (mut lines, mut refused) = (lines.into_iter().peekable(), 0);
    while lines.peek().is_some() {
        let (mut numbers, mut body) = (Vec::new(), Vec::new());
        while let Some(line) = lines.next_if(|line| {
            let fits = body.len() + line.text.len() < CHUNK_BYTES && numbers.len() < CHUNK_LINES;
            numbers.is_empty() || fits
        }) {
            numbers.push(line.number);
            body.extend_from_slice(&line.text);
            body.push(b'\n');
        }
        let body = ("application/x-ndjson", Bytes::from(body));
        let answer = client.call(Method::POST, "/v1/dead-letters/resend", &[], Some(body)).await?;
        for (number, result) in numbers.into_iter().zip(answer.json::<Answer>()?.results) {
            refused += usize::from(result.contains_key("error"));
            let mut told = Map::from_iter([("line".to_owned(), Value::from(number))]);
            told.extend(result);
            out.line(Value::Object(told))?;
        }
        out.flush()?;
    }
    out.note(format_args!("resend: {} done, {refused} refused", count - refused))?;
    Ok(if refused == 0 { Exit::Done } else { Exit::Failed })
}

async fn read(path: &Path) -> anyhow::Result<Vec<Line>> {
    let input: Box<dyn AsyncRead + Unpin + Send> = if path.as_os_str() == "-" {
        Box::new(tokio::io::stdin())
    } else {
        let file = tokio::fs::File::open(path).await;
        Box::new(file.map_err(|error| Usage(format!("{}: {error}", path.display())))?)
    };
    let mut lines = Lines::new(BufReader::new(input), LINE_BYTES);
    let mut read = Vec::new();
    while let Some(line) = lines.next().await? {
        let Some(text) = line.text else {
            return Err(Usage(format!("line {} is longer than {LINE_BYTES} bytes", line.number)).into());
        };
        read.push(Line { number: line.number, text });
    }
    Ok(read)
}
