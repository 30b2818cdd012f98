//! Some lines, handed in by one request, again where the server asks to wait, and smaller where it is too much.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::io::AsyncBufRead;

use super::lines::{Line, Lines};
use super::{CHUNK_BYTES, CHUNK_LINES, LINE_BYTES, PATIENCE};
use crate::cli::client::{Client, ClientError};

/// Tries of one line that the server puts off.
const TRIES: u32 = 8;
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Some lines of the input.
#[derive(Default)]
pub struct Chunk {
    open: Vec<(u64, Vec<u8>)>,
    settled: BTreeMap<u64, Told>,
}

/// What became of a chunk.
pub struct Fate {
    /// A result per line, in order; when stopped, of those that have one.
    pub results: Vec<Told>,
    /// Why nothing more can be handed in.
    pub stopped: Option<ClientError>,
}

/// A result line.
pub struct Told {
    /// As JSON.
    pub text: String,
    /// Whether the server has it.
    pub accepted: bool,
}

#[derive(Deserialize)]
struct BatchAnswer {
    results: Vec<EntryAnswer>,
}

/// Either `error` or the rest. Not an untagged enum: those cannot hold raw JSON.
#[derive(Deserialize)]
struct EntryAnswer {
    error: Option<Box<RawValue>>,
    #[serde(default)]
    id: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    duplicate: bool,
}

#[derive(Serialize)]
struct Accepted<'a> {
    line: u64,
    id: &'a str,
    status: &'a str,
    duplicate: bool,
}

#[derive(Serialize)]
struct Refused<'a> {
    line: u64,
    error: &'a RawValue,
}

impl Chunk {
    /// Lines until it is full, the input ends, or a slow producer pauses. `None` at the end.
    pub async fn read<R: AsyncBufRead + Unpin>(lines: &mut Lines<R>) -> io::Result<Option<Self>> {
        let mut chunk = Self::default();
        let mut bytes = 0;
        while chunk.open.len() + chunk.settled.len() < CHUNK_LINES && bytes < CHUNK_BYTES {
            let empty = chunk.open.is_empty() && chunk.settled.is_empty();
            let line = if empty {
                lines.next().await?
            } else {
                match tokio::time::timeout(PATIENCE, lines.next()).await {
                    Ok(line) => line?,
                    Err(_pause) => break,
                }
            };
            let Some(Line { number, text }) = line else { break };
            match text {
                None => chunk.refuse(
                    number,
                    413,
                    "Payload Too Large",
                    &format!("the line is longer than {LINE_BYTES} bytes"),
                ),
                // Anything else would not end where its line ends.
                Some(text) if !text.starts_with(b"{") => {
                    chunk.refuse(number, 422, "Unprocessable Entity", "must be a JSON object, {…}");
                }
                Some(text) => {
                    bytes += text.len();
                    chunk.open.push((number, text));
                }
            }
        }
        Ok((!chunk.open.is_empty() || !chunk.settled.is_empty()).then_some(chunk))
    }

    /// Hands it in.
    pub async fn send(mut self, client: &Client) -> Fate {
        let mut stopped = None;
        let mut tries = 0;
        while !self.open.is_empty() && stopped.is_none() {
            tries += 1;
            let wait = match self.send_open(client).await {
                Ok(wait) => wait,
                Err(error) => {
                    stopped = self.stop(error);
                    continue;
                }
            };
            if !self.open.is_empty() {
                if tries >= TRIES {
                    self.give_up();
                    break;
                }
                tokio::time::sleep(wait.unwrap_or(Duration::from_secs(1 << tries.min(5))).min(LONGEST_WAIT))
                    .await;
            }
        }
        Fate { results: self.settled.into_values().collect(), stopped }
    }

    /// Hands the open lines in, by halves where they are too much at once. What stays open was put off, by so long.
    async fn send_open(&mut self, client: &Client) -> Result<Option<Duration>, ClientError> {
        let mut parts = vec![std::mem::take(&mut self.open)];
        let mut wait = None;
        while let Some(part) = parts.pop() {
            let body =
                Bytes::from(part.iter().map(|(_, text)| text.as_slice()).collect::<Vec<_>>().join(&b'\n'));
            let answer = client
                .call(Method::POST, "/v1/notifications/batch", &[], Some(("application/x-ndjson", body)))
                .await
                .and_then(|answer| answer.json::<BatchAnswer>());
            match answer {
                Ok(answer) if answer.results.len() == part.len() => self.settle(part, answer.results),
                Ok(answer) => {
                    let count = answer.results.len();
                    self.open.extend(part);
                    self.open.extend(parts.into_iter().flatten());
                    return Err(ClientError::Strange(format!(
                        "{count} results for {} lines",
                        self.open.len()
                    )));
                }
                Err(ClientError::Refused(problem)) if problem.status == 413 && part.len() > 1 => {
                    let mut first = part;
                    let second = first.split_off(first.len() / 2);
                    parts.extend([second, first]);
                }
                Err(ClientError::Refused(problem)) if problem.status == 413 => {
                    let detail = problem.detail.unwrap_or_default();
                    part.iter().for_each(|(number, _)| self.refuse(*number, 413, "Too large", &detail));
                }
                Err(ClientError::Refused(problem)) if matches!(problem.status, 429 | 503) => {
                    wait = wait.max(problem.retry_after);
                    self.open.extend(part);
                }
                Err(error) => {
                    self.open.extend(part);
                    self.open.extend(parts.into_iter().flatten());
                    return Err(error);
                }
            }
        }
        Ok(wait)
    }

    fn settle(&mut self, part: Vec<(u64, Vec<u8>)>, results: Vec<EntryAnswer>) {
        for ((line, text), result) in part.into_iter().zip(results) {
            let EntryAnswer { error, id, status, duplicate } = result;
            let Some(error) = error else {
                let told = serde_json::to_string(&Accepted { line, id: &id, status: &status, duplicate });
                self.tell(line, told, true);
                continue;
            };
            self.tell(line, serde_json::to_string(&Refused { line, error: &error }), false);
            // Put off, not refused: it stays open, and what was said stands if it is given up.
            if matches!(status_of(&error), 429 | 503) {
                self.open.push((line, text));
            }
        }
    }

    /// Nothing more can be handed in. Open lines may have arrived if the answer was lost: then that is their result.
    fn stop(&mut self, error: ClientError) -> Option<ClientError> {
        if matches!(error, ClientError::Lost { .. } | ClientError::Strange(_)) {
            let detail = "the answer was lost, so it may have been accepted; handing it in again is safe if it has an \
                          idempotency_key";
            for (number, _) in std::mem::take(&mut self.open) {
                self.refuse(number, 0, "Unknown", detail);
            }
        }
        Some(error)
    }

    fn give_up(&mut self) {
        for (number, _) in std::mem::take(&mut self.open) {
            if !self.settled.contains_key(&number) {
                self.refuse(number, 503, "Put off", "the server asked to wait, too often");
            }
        }
    }

    fn refuse(&mut self, line: u64, status: u16, title: &str, detail: &str) {
        let error = serde_json::json!({"status": status, "title": title, "detail": "the line is not valid",
            "errors": [{"pointer": "", "detail": detail}]});
        let error = RawValue::from_string(error.to_string());
        let told = error.and_then(|error| serde_json::to_string(&Refused { line, error: &error }));
        self.tell(line, told, false);
    }

    fn tell(&mut self, line: u64, told: serde_json::Result<String>, accepted: bool) {
        // Texts and numbers always have a JSON form.
        let text = told.unwrap_or_else(|error| error.to_string());
        self.settled.insert(line, Told { text, accepted });
    }
}

fn status_of(error: &RawValue) -> u16 {
    #[derive(Deserialize)]
    struct Status {
        status: u16,
    }
    serde_json::from_str::<Status>(error.get()).map_or(0, |error| error.status)
}
