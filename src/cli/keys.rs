//! `keys new`.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use rand::RngExt;
use sha2::{Digest, Sha256};

use super::Exit;
use super::output::Output;
use crate::settings::Scope;

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
    let mut rng = rand::rng();
    let secret = format!("kk_{}", URL_SAFE_NO_PAD.encode(rng.random::<[u8; 32]>()));
    let id = args
        .id
        .clone()
        .unwrap_or_else(|| format!("key-{:08x}", rng.random::<u32>()));
    let mut hash = String::new();
    for byte in Sha256::digest(secret.as_bytes()) {
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

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
