//! `dead-letters list`, `export` and `resend`.

mod resend;

use std::path::PathBuf;

use axum::http::Method;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::client::Client;
use super::output::Output;
use super::when::relative;
use super::{Exit, table};
use crate::clock::Timestamp;
use resend::ResendArgs;

/// As many as the server tells in one answer.
const MOST: usize = 5_000;
/// Rows of a table, unless `--limit` says otherwise.
const ROWS: usize = 50;

/// What lies in the dead-letter queue and belongs to no notification: look, export, mend, send again
///
/// Messages that could not be read, or whose record is missing or another's. A copy of each is kept beyond the
/// queue's own retention. What has a record is sent again by `kakitome redrive`.
#[derive(Debug, Args)]
pub struct DeadLettersArgs {
    #[command(subcommand)]
    command: DeadLettersCommand,
}

#[derive(Debug, Subcommand)]
enum DeadLettersCommand {
    List(ListArgs),
    Export(ExportArgs),
    Resend(ResendArgs),
}

/// List them, those first that the queue destroys first
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kakitome dead-letters list
  kakitome dead-letters list --json | jq -r .reason | sort | uniq -c")]
struct ListArgs {
    /// One JSON object a line, all of them unless --limit says otherwise
    #[arg(long)]
    json: bool,
    /// Also those that have a record, and those that were resent
    #[arg(long)]
    all: bool,
    /// At most this many [default: 50 in a table]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// Write what is in them, one JSON object a line: key, reason, times, and the message as body or body_base64
#[derive(Debug, Args)]
#[command(after_help = "\
Example: mend a field that does not exist, and send again
  kakitome dead-letters export > dead.ndjson
  jq -c '{key, notification: (.body | fromjson | del(.recipient))}' \\
      dead.ndjson > mended.ndjson
  kakitome dead-letters resend mended.ndjson

Repeat it where there are more than 5,000.")]
struct ExportArgs {
    /// Only this one; several with commas
    #[arg(long, value_delimiter = ',', value_name = "KEY")]
    key: Vec<String>,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    items: Vec<Box<RawValue>>,
    more: bool,
    recorded: usize,
}

/// As a client reads it.
#[derive(Debug, Deserialize)]
struct Letter {
    key: String,
    reason: String,
    tenant: Option<String>,
    bytes: Option<usize>,
    enqueued_at: Timestamp,
    destroyed_at: Timestamp,
    recorded: bool,
    kept_until: Option<Timestamp>,
    #[serde(default)]
    resent: Option<Value>,
}

/// Runs `dead-letters`.
pub async fn run(args: &DeadLettersArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    match &args.command {
        DeadLettersCommand::List(args) => list(args, client, out).await,
        DeadLettersCommand::Export(args) => export(args, client, out).await,
        DeadLettersCommand::Resend(args) => resend::run(args, client, out).await,
    }
}

async fn listed(limit: usize, all: bool, client: &Client) -> anyhow::Result<Listed> {
    let mut query = vec![("limit", limit.clamp(1, MOST).to_string())];
    if all {
        query.push(("all", "true".to_owned()));
    }
    Ok(client.get("/v1/dead-letters", &query).await?)
}

async fn list(args: &ListArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let limit = args.limit.unwrap_or(if args.json { MOST } else { ROWS });
    let found = listed(limit, args.all, client).await?;
    if args.json {
        for item in &found.items {
            out.line(item.get())?;
        }
        if found.more {
            out.note("there are more")?;
        }
        return Ok(Exit::Done);
    }
    if found.items.is_empty() {
        out.note("no dead letter without a record")?;
    } else {
        let now = out.now();
        let heads = ["key", "reason", "tenant", "size", "enqueued", "destroyed", "copy"];
        let mut table = table::table(&heads, out.is_out_terminal());
        for item in &found.items {
            let letter: Letter = serde_json::from_str(item.get())?;
            table.add_row([
                letter.key.clone(),
                short(&letter.reason),
                letter.tenant.clone().unwrap_or_default(),
                letter.bytes.map_or_else(String::new, |bytes| bytes.to_string()),
                relative(letter.enqueued_at, now),
                relative(letter.destroyed_at, now),
                copy(&letter).to_owned(),
            ]);
        }
        out.line(table::render(&table))?;
        if found.more {
            out.line("… and more: --limit N or --json")?;
        }
    }
    if found.recorded > 0 && !args.all {
        let recorded = found.recorded;
        out.note(format_args!("{recorded} more have a record: `kakitome redrive` sends them again"))?;
    }
    Ok(Exit::Done)
}

/// Whether it is safe from the queue's retention.
fn copy(letter: &Letter) -> &'static str {
    match letter {
        Letter { resent: Some(_), .. } => "resent",
        Letter { recorded: true, .. } => "in the log",
        Letter { kept_until: Some(_), .. } => "yes",
        Letter { .. } => "not yet",
    }
}

fn short(reason: &str) -> String {
    if reason.chars().count() <= 60 {
        reason.to_owned()
    } else {
        reason.chars().take(59).chain(['…']).collect()
    }
}

async fn export(args: &ExportArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let found = listed(MOST, !args.key.is_empty(), client).await?;
    let mut file = match &args.output {
        Some(path) => Some(std::io::BufWriter::new(
            std::fs::File::create(path)
                .map_err(|error| super::Usage(format!("{}: {error}", path.display())))?,
        )),
        None => None,
    };
    let (mut written, mut wanted) = (0, args.key.clone());
    for item in &found.items {
        let letter: Letter = serde_json::from_str(item.get())?;
        if !args.key.is_empty() && !args.key.contains(&letter.key) {
            continue;
        }
        wanted.retain(|key| *key != letter.key);
        let line = line(item.get(), &letter, client).await?;
        match &mut file {
            Some(file) => std::io::Write::write_all(file, format!("{line}\n").as_bytes())?,
            None => out.line(line)?,
        }
        written += 1;
    }
    if let Some(mut file) = file {
        std::io::Write::flush(&mut file)?;
    }
    for key in &wanted {
        out.note(format_args!("no dead letter {key}"))?;
    }
    if found.more && args.key.is_empty() {
        out.note(format_args!("{written} exported; there are more: resend these, then export again"))?;
    }
    Ok(if wanted.is_empty() { Exit::Done } else { Exit::Failed })
}

/// What the listing says of it, and what is in it.
async fn line(item: &str, letter: &Letter, client: &Client) -> anyhow::Result<String> {
    let mut told: Map<String, Value> = serde_json::from_str(item)?;
    told.retain(|name, value| {
        let is_told = ["key", "id", "tenant", "reason", "bytes", "enqueued_at", "destroyed_at"]
            .contains(&name.as_str());
        is_told && !value.is_null()
    });
    if letter.bytes.is_some() && letter.resent.is_none() {
        let path = format!("/v1/dead-letters/{}", letter.key);
        let body = client.call(Method::GET, &path, &[], None).await?.body;
        match std::str::from_utf8(&body) {
            Ok(text) => told.insert("body".into(), text.into()),
            Err(_) => told.insert("body_base64".into(), BASE64_STANDARD.encode(&body).into()),
        };
    }
    Ok(Value::Object(told).to_string())
}
