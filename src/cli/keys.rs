//! `keys new`.

use std::fmt::Write;

use clap::{Args, Subcommand};
use rand::RngExt;

use super::Exit;
use super::output::Output;
use crate::api::auth::{ApiKey, Scope};

/// Make API keys
#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    New(NewArgs),
}

/// Make a key: the secret on the first line, then the TOML table that lets it in
///
/// The secret is shown this once; kakitome keeps its hash alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: a key with which the booking system may hand in and read
  kakitome keys new --tenant hotel --scopes send,read > key
  head -1 key                            goes to the booking system
  tail -n +2 key >> kakitome.toml        goes to the server")]
struct NewArgs {
    /// Whose notifications it may hand in and see
    #[arg(long, default_value = "default")]
    tenant: String,
    /// What it may do
    #[arg(long, value_delimiter = ',', default_values_t = [Scope::Send])]
    scopes: Vec<Scope>,
    /// Its name in logs [default: random]
    #[arg(long)]
    id: Option<String>,
}

/// Runs `keys`.
pub fn run(args: &KeysArgs, out: &mut Output) -> anyhow::Result<Exit> {
    let KeysCommand::New(args) = &args.command;
    let id = args.id.clone().unwrap_or_else(|| format!("key-{:08x}", rand::rng().random::<u32>()));
    let (secret, key) = ApiKey::generate(&id, &args.tenant, &args.scopes);
    let mut hash = String::new();
    for byte in key.sha256 {
        write!(hash, "{byte:02x}")?;
    }
    let scopes: Vec<toml::Value> = args.scopes.iter().map(|scope| scope.as_str().into()).collect();
    out.line(&secret)?;
    out.line("\n[[api_key]]")?;
    let fields = [
        ("id", id.into()),
        ("sha256", hash.into()),
        ("tenant", args.tenant.clone().into()),
        ("scopes", scopes.into()),
    ];
    for (name, value) in fields {
        let value: toml::Value = value;
        out.line(format_args!("{name} = {value}"))?;
    }
    Ok(Exit::Done)
}
