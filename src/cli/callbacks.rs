//! `callbacks`: list, add, remove, pause, resume, rotate, test.

use std::path::{Path, PathBuf};

use anyhow::Context;
use axum::http::Method;
use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::client::Client;
use super::output::Output;
use super::when::relative;
use super::{Exit, table};
use crate::api::callbacks::change::{Resumed, Trial};
use crate::api::callbacks::{CallbackView, Made};
use crate::feed::Told;

/// Where a tenant's changes are posted to, signed the way of Standard Webhooks
#[derive(Debug, Args)]
pub struct CallbacksArgs {
    #[command(subcommand)]
    command: CallbacksCommand,
}

#[derive(Debug, Subcommand)]
enum CallbacksCommand {
    List(ListArgs),
    Add(AddArgs),
    /// Remove a callback: nothing more is posted there
    #[command(after_help = "\
Example:
  kakitome callbacks remove 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")]
    Remove(OneArgs),
    /// Pause a callback: nothing is posted until it is resumed, and nothing is lost that is still kept
    #[command(after_help = "\
Example:
  kakitome callbacks pause 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")]
    Pause(OneArgs),
    Resume(ResumeArgs),
    Rotate(RotateArgs),
    /// Post a trial message, once: exit 0 if the endpoint took it
    #[command(after_help = "\
Example:
  kakitome callbacks test 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")]
    Test(OneArgs),
}

/// List callbacks, how each stands and how far behind it is
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kakitome callbacks list --tenant hotel")]
struct ListArgs {
    /// Only this tenant's
    #[arg(long)]
    tenant: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Have what changes posted to an address: https, port 443 or 8443, public
///
/// A secret that was made is shown this once.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: tell the hotel's system what was not delivered
  kakitome callbacks add https://bookings.example.jp/kakitome \\
      --tenant hotel --status failed,bounced,blocked")]
struct AddArgs {
    /// Where to
    // Not `url`: that is the server, everywhere.
    #[arg(value_name = "URL")]
    address: String,
    /// Whose changes [default: the key's own tenant]
    #[arg(long)]
    tenant: Option<String>,
    /// Only these [default: all]
    #[arg(long = "status", value_delimiter = ',', value_name = "STATUS")]
    statuses: Vec<Told>,
    /// A file that holds the secret, whsec_… [default: one is made]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Where it begins
    #[arg(long, value_enum, default_value_t = From::Now)]
    from: From,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum From {
    /// What happens from now on
    Now,
    /// The oldest change that is kept
    Oldest,
}

impl From {
    fn as_str(self) -> &'static str {
        match self {
            From::Now => "now",
            From::Oldest => "oldest",
        }
    }
}

#[derive(Debug, Args)]
struct OneArgs {
    /// Its id, as `callbacks list` shows it
    id: String,
}

/// Let a paused callback go on where it ended; nothing is lost that is still kept
#[derive(Debug, Args)]
#[command(after_help = "\
Example: go on, and leave out what happened meanwhile
  kakitome callbacks resume 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --from now")]
struct ResumeArgs {
    /// Its id
    id: String,
    /// Where it goes on [default: where it ended]
    #[arg(long, value_enum)]
    from: Option<From>,
}

/// Replace its secret; the former one signs as well for a while
#[derive(Debug, Args)]
#[command(after_help = "\
Example: a new secret, and two days to bring it to the receiver
  kakitome callbacks rotate 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --keep-old 48h")]
struct RotateArgs {
    /// Its id
    id: String,
    /// A file that holds the new secret, whsec_… [default: one is made]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// For how long the former one signs as well
    #[arg(long, value_name = "SPAN", default_value = "24h")]
    keep_old: String,
}

#[derive(Deserialize)]
struct Listed {
    items: Vec<Box<RawValue>>,
}

/// Runs `callbacks`.
pub async fn run(args: &CallbacksArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    match &args.command {
        CallbacksCommand::List(args) => list(args, client, out).await?,
        CallbacksCommand::Add(args) => add(args, client, out).await?,
        CallbacksCommand::Remove(args) => {
            client.call(Method::DELETE, &path(&args.id, ""), &[], None).await?;
            out.line(format_args!("callback {} is removed", args.id))?;
        }
        CallbacksCommand::Pause(args) => {
            let one: CallbackView = client.post(&path(&args.id, "/pause"), &json!({})).await?;
            out.line(format_args!("callback {} is paused; `kakitome callbacks resume {0}` goes on", one.id))?;
        }
        CallbacksCommand::Resume(args) => resume(args, client, out).await?,
        CallbacksCommand::Rotate(args) => rotate(args, client, out).await?,
        CallbacksCommand::Test(args) => return test(args, client, out).await,
    }
    Ok(Exit::Done)
}

/// The server says whether it is an id; here it only must not leave its place in the path.
fn path(id: &str, act: &str) -> String {
    let plain: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    format!("/v1/callbacks/{plain}{act}")
}

fn secret(file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let read = |file: &Path| {
        let text = std::fs::read_to_string(file);
        let text = text.with_context(|| format!("the secret cannot be read from {}", file.display()))?;
        anyhow::Ok(text.trim().to_owned())
    };
    file.map(read).transpose()
}

async fn list(args: &ListArgs, client: &Client, out: &mut Output) -> anyhow::Result<()> {
    let query: Vec<_> = args.tenant.iter().map(|tenant| ("tenant", tenant.clone())).collect();
    let found: Listed = client.get("/v1/callbacks", &query).await?;
    if args.json {
        return Ok(found.items.iter().try_for_each(|item| out.line(item.get()))?);
    }
    if found.items.is_empty() {
        return Ok(out.note("there is no callback; `kakitome callbacks add URL` makes one")?);
    }
    let now = out.now();
    let heads = ["callback", "tenant", "url", "state", "taken", "behind"];
    let mut table = table::table(&heads, out.is_out_terminal());
    let mut troubles = Vec::new();
    for item in found.items {
        let one: CallbackView = serde_json::from_str(item.get())?;
        let failing = one.failing.map(|failing| {
            let error = failing.error.unwrap_or_default();
            format!("{error}, {} times since {}", failing.tries, relative(failing.since, now))
        });
        // Below, not beside: a sentence has no room there.
        troubles.extend(one.note.or(failing).map(|trouble| format!("{}: {trouble}", one.id)));
        table.add_row([
            one.id,
            one.tenant,
            one.url,
            serde_json::to_value(one.state)?.as_str().unwrap_or_default().to_owned(),
            one.taken.to_string(),
            one.behind.map_or_else(|| "?".into(), |behind| behind.to_string()),
        ]);
    }
    out.line(table::render(&table))?;
    Ok(troubles.iter().try_for_each(|trouble| out.line(trouble))?)
}

async fn add(args: &AddArgs, client: &Client, out: &mut Output) -> anyhow::Result<()> {
    let mut body = json!({"url": args.address, "from": args.from.as_str()});
    if let Some(tenant) = &args.tenant {
        body["tenant"] = tenant.as_str().into();
    }
    if !args.statuses.is_empty() {
        body["statuses"] = args.statuses.iter().map(|status| status.as_str()).collect();
    }
    if let Some(secret) = secret(args.secret_file.as_deref())? {
        body["secret"] = secret.into();
    }
    let made: Made = client.post("/v1/callbacks", &body).await?;
    out.line(format_args!("callback {} of tenant {}", made.callback.id, made.callback.tenant))?;
    show_secret(made.secret.as_deref(), out)
}

fn show_secret(secret: Option<&str>, out: &mut Output) -> anyhow::Result<()> {
    if let Some(secret) = secret {
        out.line(format_args!("secret   {secret}"))?;
        out.note("the secret is shown this once; the receiver verifies webhook-signature with it")?;
    }
    Ok(())
}

async fn resume(args: &ResumeArgs, client: &Client, out: &mut Output) -> anyhow::Result<()> {
    let body = args.from.map_or_else(|| json!({}), |from| json!({"from": from.as_str()}));
    let resumed: Resumed = client.post(&path(&args.id, "/resume"), &body).await?;
    let behind = resumed.callback.behind.unwrap_or_default();
    let skipped = match resumed.skipped {
        0 => String::new(),
        skipped => format!("; {skipped} changes are skipped"),
    };
    out.line(format_args!("callback {} goes on, {behind} changes behind{skipped}", resumed.callback.id))?;
    Ok(())
}

async fn rotate(args: &RotateArgs, client: &Client, out: &mut Output) -> anyhow::Result<()> {
    let mut body = json!({"keep_old": args.keep_old});
    if let Some(secret) = secret(args.secret_file.as_deref())? {
        body["secret"] = Value::from(secret);
    }
    let made: Made = client.post(&path(&args.id, "/rotate"), &body).await?;
    let CallbackView { id, secrets, .. } = &made.callback;
    out.line(format_args!("callback {id} has a new secret; {secrets} sign for now"))?;
    show_secret(made.secret.as_deref(), out)
}

async fn test(args: &OneArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let Trial { ok, error } = client.post(&path(&args.id, "/test"), &json!({})).await?;
    match error {
        Some(error) => {
            out.line(format_args!("not taken: {error}; runbooks/callback-paused.md says what to do"))?
        }
        None => out.line("it took the trial message")?,
    }
    Ok(if ok { Exit::Done } else { Exit::Failed })
}
