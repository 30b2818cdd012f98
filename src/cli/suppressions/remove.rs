//! `suppressions remove`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::line::Reader;
use super::{PAGE, RemoveArgs, import};
use crate::cli::client::{Client, Problem};
use crate::cli::enqueue::Lines;
use crate::cli::output::Output;
use crate::cli::{Exit, Usage};

#[derive(Debug, Deserialize)]
struct Answer {
    results: Vec<Told>,
}

#[derive(Debug, Deserialize)]
struct Told {
    #[serde(default)]
    error: Option<Problem>,
    #[serde(default)]
    removed: u64,
}

pub(super) async fn run(args: &RemoveArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let addresses = addresses(args).await?;
    let count: u64 = ask(args, &addresses, true, client).await?.iter().map(|told| told.removed).sum();
    let reason = args.reason.map(|reason| format!(" for {reason}")).unwrap_or_default();
    let (entries, of) =
        (plural(count, "entry", "entries"), plural(addresses.len() as u64, "address", "addresses"));
    if !args.json {
        out.line(format_args!("{entries}{reason} of {of}"))?;
    }
    if args.dry_run {
        return Ok(Exit::Done);
    }
    // One address alone was named to the letter.
    if count > 0 && addresses.len() > 1 && !args.yes {
        let question = format!("take {entries}{reason} off the suppression list");
        let agreed = out.ask(format_args!("{question}?"))?;
        let needed = || Usage(format!("nothing was changed: to {question} without a terminal, add --yes"));
        if !agreed.ok_or_else(needed)? {
            out.note("nothing was changed")?;
            return Ok(Exit::Done);
        }
    }
    let mut ended = Exit::Done;
    for (address, told) in addresses.iter().zip(ask(args, &addresses, false, client).await?) {
        if told.error.is_some() {
            ended = Exit::Failed;
        }
        let text = match (&told.error, args.json) {
            (Some(problem), true) => json!({"address": address, "error": problem.to_string()}).to_string(),
            (Some(problem), false) => format!("{address}: {problem}"),
            (None, true) => json!({"address": address, "removed": told.removed}).to_string(),
            (None, false) if told.removed == 0 => format!("{address}: was not on the list"),
            (None, false) => format!("{address}: {} taken off", plural(told.removed, "entry", "entries")),
        };
        out.line(text)?;
    }
    Ok(ended)
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

async fn addresses(args: &RemoveArgs) -> anyhow::Result<Vec<String>> {
    let mut addresses = args.addresses.clone();
    let Some(file) = &args.file else { return Ok(addresses) };
    let (input, _) = import::open(Some(file)).await?;
    let (mut lines, mut reader) = (Lines::new(input, import::LINE_BYTES), Reader::default());
    while let Some(line) = lines.next().await? {
        let text = line.text.ok_or_else(|| Usage(format!("line {} is too long", line.number)))?;
        let read = reader.read(&text).map_err(|fault| Usage(format!("line {} {fault}", line.number)))?;
        addresses.extend(read.map(|line| line.email));
    }
    Ok(addresses)
}

/// One result for each address.
async fn ask(
    args: &RemoveArgs,
    addresses: &[String],
    dry_run: bool,
    client: &Client,
) -> anyhow::Result<Vec<Told>> {
    let mut told = Vec::with_capacity(addresses.len());
    for some in addresses.chunks(PAGE) {
        let mut body = json!({"addresses": some, "dry_run": dry_run});
        let texts = [("note", args.note.as_deref()), ("tenant", args.tenant.as_deref())];
        let reason = args.reason.map(|reason| ("reason", reason.as_str()));
        for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text?))).chain(reason) {
            body[name] = Value::from(text);
        }
        let answer: Answer = client.post("/v1/suppressions/remove", &body).await?;
        told.extend(answer.results);
    }
    Ok(told)
}
