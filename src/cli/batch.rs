//! `batch declare` and `batch list`.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::client::Client;
use super::output::Output;
use super::when::relative;
use super::{Exit, table};
use crate::clock::Timestamp;

/// Declare how large a broadcast is: what exceeds it is held, not sent
#[derive(Debug, Args)]
pub struct BatchArgs {
    #[command(subcommand)]
    command: BatchCommand,
}

#[derive(Debug, Subcommand)]
enum BatchCommand {
    Declare(DeclareArgs),
    List(ListArgs),
}

/// Declare how many notifications a broadcast has, before it is handed in
///
/// Answers once every worker goes by it. What exceeds it is held with the reason batch_size; a larger size, declared
/// later, lets later ones through, and `kakitome release` those that are held.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: a broadcast to 1,200 guests, and what was held because there were more
  kakitome batch declare tos-2026-11 --expect 1200
  kakitome enqueue tos.ndjson
  kakitome list --status held --reason batch_size --batch tos-2026-11")]
struct DeclareArgs {
    /// Its name, as its notifications have it in `batch`
    name: String,
    /// How many notifications it has
    #[arg(long, value_name = "N")]
    expect: u64,
    /// Whose it is [default: the key's own tenant]
    #[arg(long)]
    tenant: Option<String>,
}

/// List broadcasts of declared size, latest first
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kakitome batch list --tenant default")]
struct ListArgs {
    /// Only this tenant's
    #[arg(long)]
    tenant: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Deserialize)]
struct Batch {
    tenant: String,
    batch: String,
    expected: u64,
    taken: u64,
    who: String,
    declared_at: Timestamp,
}

#[derive(Debug, Deserialize)]
struct Batches {
    items: Vec<Box<RawValue>>,
}

/// Runs `batch`.
pub async fn run(args: &BatchArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    match &args.command {
        BatchCommand::Declare(args) => declare(args, client, out).await?,
        BatchCommand::List(args) => list(args, client, out).await?,
    }
    Ok(Exit::Done)
}

async fn declare(args: &DeclareArgs, client: &Client, out: &mut Output) -> anyhow::Result<()> {
    let mut body = json!({"expected": args.expect});
    if let Some(tenant) = &args.tenant {
        body["tenant"] = tenant.as_str().into();
    }
    let path = format!("/v1/batches/{}", in_path(&args.name));
    let Batch { batch, tenant, expected, taken, .. } = client.post(&path, &body).await?;
    out.line(format_args!(
        "batch {batch} of tenant {tenant}: {expected} expected, {taken} let through so far"
    ))?;
    Ok(())
}

/// A name between two slashes of a path; the server says whether it is one.
fn in_path(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}

async fn list(args: &ListArgs, client: &Client, out: &mut Output) -> anyhow::Result<()> {
    let query: Vec<_> = args.tenant.iter().map(|tenant| ("tenant", tenant.clone())).collect();
    let found: Batches = client.get("/v1/batches", &query).await?;
    if args.json {
        for item in found.items {
            out.line(item.get())?;
        }
        return Ok(());
    }
    if found.items.is_empty() {
        return Ok(out.note("no batch was declared")?);
    }
    let now = out.now();
    let heads = ["batch", "tenant", "expected", "let through", "declared", "by"];
    let mut table = table::table(&heads, out.is_out_terminal());
    for item in found.items {
        let one: Batch = serde_json::from_str(item.get())?;
        table.add_row([
            one.batch,
            one.tenant,
            one.expected.to_string(),
            one.taken.to_string(),
            relative(one.declared_at, now),
            one.who,
        ]);
    }
    out.line(table::render(&table))?;
    Ok(())
}
