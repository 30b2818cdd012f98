//! `incident`.

pub(super) mod csv;
mod page;
mod report;

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::value::RawValue;

use super::client::Client;
use super::output::Output;
use super::when::parse_moment;
use super::{Exit, progress};
use crate::clock::Timestamp;
use report::Report;

/// Rows of the table, unless `--limit` says otherwise.
const ROWS: usize = 20;

/// As many as the server tells.
const MOST_ROWS: usize = 50_000;

/// See what an incident did: who is affected and can still be saved, what was late or sent twice, what to do next
#[derive(Debug, Args)]
#[command(after_help = "\
Example: during an outage, and afterwards for the support desk
  kakitome incident --since 2h
  kakitome incident --since 2026-11-21T18:00:00+09:00 \\
      --until 2026-11-21T18:45:00+09:00 --csv affected.csv

Affected is what is not sent yet and should be, dead letters, expired, unknown and held ones, and what was sent later \
than the alert delay or perhaps twice. It looks at 200,000 records at most, what is not sent first, and says if there \
were more. Addresses are only in the CSV and the JSON, in full for a key with the scope read.")]
pub struct IncidentArgs {
    /// From when on: 2h, 2026-11-21T09:00:00Z or 2026-11-21T18:00:00+09:00
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Timestamp,
    /// Accepted before, in the same forms; what was open before that is part of it too
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<Timestamp>,
    /// Of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Tell at most this many one by one [default: 20 in the table, else 50000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=50_000))]
    limit: Option<u32>,
    /// Write those affected to this file, or with - to standard output: CSV for a support desk
    #[arg(long, value_name = "FILE|-", conflicts_with = "json")]
    csv: Option<PathBuf>,
    /// Everything as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Runs `incident`.
pub async fn run(args: &IncidentArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let default = if args.json || args.csv.is_some() { MOST_ROWS } else { ROWS };
    let limit = args.limit.map_or(default, |limit| usize::try_from(limit).unwrap_or(MOST_ROWS));
    let mut query = vec![("since", args.since.to_string()), ("limit", limit.to_string())];
    query.extend(args.until.map(|until| ("until", until.to_string())));
    query.extend(args.tenant.clone().map(|tenant| ("tenant", tenant)));
    let bar = progress::bar(out.is_err_terminal(), None, false);
    bar.set_message("reading the log");
    bar.enable_steady_tick(Duration::from_millis(100));
    let answer = client.get::<Box<RawValue>>("/v1/incident", &query).await;
    bar.finish_and_clear();
    let raw = answer?;
    if args.json {
        out.line(raw.get())?;
        return Ok(Exit::Done);
    }
    let report: Report = serde_json::from_str(raw.get())?;
    match args.csv.as_deref() {
        Some(path) if path == Path::new("-") => {
            out.raw(|to| csv::write(&report.items, to))?;
        }
        Some(path) => {
            write_file(path, &report)?;
            out.note(format_args!("{} rows in {}", report.items.len(), path.display()))?;
        }
        None => page::print(&report, out)?,
    }
    if report.cut && args.csv.is_some() {
        out.note(format_args!("only {} records were looked at: there are more", report.looked_at))?;
    }
    if report.more && args.csv.is_some() {
        out.note(format_args!("{} are affected: narrow --since and --until to get all", report.affected))?;
    }
    Ok(Exit::Done)
}

/// The file holds people's addresses: nobody else may read it.
fn write_file(path: &Path, report: &Report) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut to = BufWriter::new(file);
    csv::write(&report.items, &mut to)
        .and_then(|()| to.flush())
        .with_context(|| format!("cannot write {}", path.display()))
}
