//! Follows a job until there is nothing more to see.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::tell;
use crate::cli::client::{Client, ClientError};
use crate::cli::output::Output;
use crate::cli::{Exit, progress};
use crate::clock::Timestamp;

/// Between two looks, at first and at the most.
const LOOKS: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(500)];
/// For how long what becomes of the last ones is awaited without any news.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often in a row the server may be away.
const AWAY: u32 = 3;

/// A job as the API tells it: words, not closed vocabularies, since the server may be newer than this program.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Job {
    pub id: String,
    pub action: String,
    pub filter: Value,
    pub all: bool,
    pub state: String,
    pub note: Option<String>,
    pub who: String,
    pub reason: Option<String>,
    pub created_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub progress: Progress,
    pub awaited: u64,
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Progress {
    pub planned: u64,
    pub done: u64,
    pub refused: BTreeMap<String, u64>,
    pub sent: u64,
    pub failed: u64,
    pub stopped: u64,
    pub on_the_wire: u64,
    pub went_out: u64,
}

/// Follows it with a bar on a terminal, and tells what came of it.
pub async fn follow(id: &str, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let bar = progress::bar(out.is_err_terminal(), Some(0), false);
    let (mut pause, mut away) = (LOOKS[0], 0);
    let (mut last, mut news_at) = (Job::default(), Instant::now());
    let job = loop {
        let job: Job = match client.get(&format!("/v1/jobs/{id}"), &[]).await {
            Ok(job) => job,
            Err(error) if is_passing(&error) && away < AWAY => {
                away += 1;
                tokio::time::sleep(LOOKS[1]).await;
                continue;
            }
            Err(error) => {
                bar.finish_and_clear();
                let hint =
                    format!("the job stands in the journal; finish it with: kakitome redrive --resume {id}");
                return Err(anyhow::Error::from(error).context(hint));
            }
        };
        away = 0;
        let refused: u64 = job.progress.refused.values().sum();
        bar.set_length(job.progress.planned);
        bar.set_position(job.progress.done + refused);
        bar.set_message(format!("{} sent, {} failed again", job.progress.sent, job.progress.failed));
        if matches!(job.state.as_str(), "done" | "stopped" | "interrupted") {
            break job;
        }
        if (&job.progress, job.awaited) != (&last.progress, last.awaited) {
            news_at = Instant::now();
        } else if job.state == "watching" && job.action == "redrive" && news_at.elapsed() >= PATIENCE {
            break job;
        }
        last = job;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOKS[1]);
    };
    bar.finish_and_clear();
    tell_end(&job, out)?;
    // What ended by itself meanwhile needs nobody any more.
    let is_well = matches!(job.state.as_str(), "done" | "watching")
        && job.progress.refused.keys().all(|code| code == "changed")
        && job.progress.failed == 0;
    Ok(if is_well { Exit::Done } else { Exit::Failed })
}

/// Whether it may be over in a moment.
fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } | ClientError::Lost { .. } => true,
        ClientError::Refused(problem) => matches!(problem.status, 429 | 503),
        ClientError::Strange(_) => false,
    }
}

fn tell_end(job: &Job, out: &mut Output) -> std::io::Result<()> {
    tell::result(job, out)?;
    let (id, note) = (&job.id, job.note.as_deref().unwrap_or_default());
    match job.state.as_str() {
        "stopped" | "interrupted" => {
            out.line(format_args!("{}: {note}; finish it with: kakitome redrive --resume {id}", job.state))
        }
        "watching" => out.line(format_args!("see what becomes of them with: kakitome jobs {id}")),
        _ if note.is_empty() => Ok(()),
        _ => out.line(note),
    }
}
