//! `suppressions import`.

use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, BufReader};

use super::line::Reader;
use super::{ImportArgs, PAGE};
use crate::cli::client::{Client, ClientError, Problem};
use crate::cli::enqueue::Lines;
use crate::cli::output::Output;
use crate::cli::{Exit, Usage, progress};

/// The longest line: an address, a note and some words.
pub(super) const LINE_BYTES: usize = 8 * 1024;
/// Tries of one request that the server puts off.
const TRIES: u32 = 8;
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) results: Vec<Told>,
}

/// What became of one entry.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    #[serde(default)]
    pub(super) error: Option<Problem>,
    #[serde(default)]
    pub(super) added: bool,
    #[serde(default)]
    reason: String,
}

impl Told {
    /// As a result line.
    pub(super) fn json(&self, line: Option<u64>, email: &str) -> Value {
        let mut told = match &self.error {
            None => json!({"email": email, "reason": self.reason, "added": self.added}),
            Some(problem) => {
                let faults = problem.errors.iter();
                let faults = faults.map(|one| json!({"pointer": one.pointer, "detail": one.detail}));
                let errors: Vec<_> = faults.collect();
                json!({"error": {"status": problem.status, "title": problem.title, "errors": errors}})
            }
        };
        if let Some(line) = line {
            told["line"] = line.into();
        }
        told
    }
}

/// Standard input or a file, with its size where that is known.
pub(super) async fn open(
    file: Option<&std::path::Path>,
) -> anyhow::Result<(Box<dyn AsyncBufRead + Unpin>, Option<u64>)> {
    let Some(path) = file.filter(|path| path.as_os_str() != "-") else {
        return Ok((Box::new(BufReader::new(tokio::io::stdin())), None));
    };
    let opened = tokio::fs::File::open(path).await;
    let file = opened.map_err(|error| Usage(format!("{}: {error}", path.display())))?;
    let size = file.metadata().await?.len();
    Ok((Box::new(BufReader::with_capacity(1 << 16, file)), Some(size)))
}

#[derive(Default)]
struct Tally {
    added: u64,
    known: u64,
    refused: u64,
}

/// A line that was read.
type Read = (u64, Result<Value, String>);

pub(super) async fn run(args: &ImportArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let (input, size) = open(args.file.as_deref()).await?;
    let bar = progress::bar(out.is_err_terminal(), size, true);
    let mut lines = Lines::new(input, LINE_BYTES);
    let (mut reader, mut tally, mut read) = (Reader::default(), Tally::default(), Vec::<Read>::new());
    loop {
        let line = lines.next().await?;
        let is_last = line.is_none();
        if let Some(line) = line {
            let parsed = match &line.text {
                None => Err(format!("is longer than {LINE_BYTES} bytes")),
                Some(text) => reader.read(text),
            };
            let entry = parsed.map(|entry| {
                entry.map(|entry| entry.json(args.reason, args.note.as_deref(), args.tenant.as_deref()))
            });
            read.extend(entry.transpose().map(|entry| (line.number, entry)));
        }
        if read.len() >= PAGE || (is_last && !read.is_empty()) {
            let part = std::mem::take(&mut read);
            let told = hand_in(part, args.dry_run, client).await?;
            let ended = bar.suspend(|| tell(told, args.dry_run, &mut tally, out));
            // A reader that went away wants no more: what was not handed in stays so, and that is a failure.
            if ended.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
                return Ok(Exit::Failed);
            }
            ended?;
            bar.set_message(format!(
                "{} added, {} known, {} refused",
                tally.added, tally.known, tally.refused
            ));
            bar.set_position(lines.bytes_read());
        }
        if is_last {
            break;
        }
    }
    bar.finish_and_clear();
    let Tally { added, known, refused } = tally;
    let said = if args.dry_run { "would be put on the list" } else { "added" };
    out.note(format_args!("{added} {said}, {known} stood there already, {refused} refused"))?;
    Ok(if refused == 0 { Exit::Done } else { Exit::Failed })
}

/// A result for each line, in order.
async fn hand_in(
    read: Vec<Read>,
    dry_run: bool,
    client: &Client,
) -> anyhow::Result<Vec<(u64, String, Told)>> {
    let entries: Vec<&Value> = read.iter().filter_map(|(_, entry)| entry.as_ref().ok()).collect();
    let answers = match dry_run || entries.is_empty() {
        true => Vec::new(),
        false => post(&entries, client).await?,
    };
    let mut answers = answers.into_iter();
    let told = read.into_iter().map(|(line, entry)| match entry {
        Ok(entry) => {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            let unheard = || Told { error: None, added: dry_run, reason: text("reason") };
            (line, text("email"), answers.next().unwrap_or_else(unheard))
        }
        Err(fault) => {
            let errors = vec![crate::cli::client::Pointed { pointer: String::new(), detail: fault }];
            let title = "Unprocessable Entity".to_owned();
            let problem = Problem { status: 422, title, errors, ..Problem::default() };
            (line, String::new(), Told { error: Some(problem), added: false, reason: String::new() })
        }
    });
    Ok(told.collect())
}

/// Hands entries in, again where the server asks to wait: what stands already stands.
async fn post(entries: &[&Value], client: &Client) -> anyhow::Result<Vec<Told>> {
    let body = Bytes::from(entries.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    for tries in 1.. {
        let media = "application/x-ndjson";
        let answer = client.call(Method::POST, "/v1/suppressions", &[], Some((media, body.clone()))).await;
        let wait = match answer.and_then(|answer| answer.json::<Answer>()) {
            Ok(answer) if answer.results.len() == entries.len() => return Ok(answer.results),
            Ok(answer) => {
                let told = format!("{} results for {} lines", answer.results.len(), entries.len());
                return Err(ClientError::Strange(told).into());
            }
            Err(ClientError::Refused(problem)) if matches!(problem.status, 429 | 503) && tries < TRIES => {
                problem.retry_after
            }
            Err(error) => return Err(error.into()),
        };
        tokio::time::sleep(wait.unwrap_or(Duration::from_secs(1 << tries.min(5))).min(LONGEST_WAIT)).await;
    }
    Ok(Vec::new())
}

fn tell(
    told: Vec<(u64, String, Told)>,
    dry_run: bool,
    tally: &mut Tally,
    out: &mut Output,
) -> std::io::Result<()> {
    for (line, email, told) in told {
        *match (&told.error, told.added) {
            (Some(_), _) => &mut tally.refused,
            (None, true) => &mut tally.added,
            (None, false) => &mut tally.known,
        } += 1;
        if !dry_run || told.error.is_some() {
            out.line(told.json(Some(line), &email))?;
        }
    }
    out.flush()
}
