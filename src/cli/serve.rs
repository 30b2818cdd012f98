//! `serve`.

use std::process::ExitCode;

use clap::Args;

use crate::app;
use crate::settings::{Roles, Settings};

/// Run the server: take notifications in, send them, take the provider's events
///
/// Runs until SIGTERM or SIGINT, then stops receiving, ends what is under way and gives back the rest.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: everything; or take in and keep, but send nothing for now
  kakitome serve --data-dir /var/lib/kakitome
  kakitome serve --data-dir /var/lib/kakitome --role api,webhook")]
pub struct ServeArgs {
    /// What to run: api, worker, webhook, console; several with commas [default: all]
    #[arg(long = "role", value_delimiter = ',', value_name = "ROLE", value_parser = parse_role)]
    roles: Vec<Role>,
    /// Address of all HTTP roles [default: 127.0.0.1:7625]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Api,
    Worker,
    Webhook,
    Console,
}

fn parse_role(text: &str) -> Result<Role, String> {
    match text {
        "api" => Ok(Role::Api),
        "worker" => Ok(Role::Worker),
        "webhook" => Ok(Role::Webhook),
        "console" => Ok(Role::Console),
        _ => Err("allowed: api, worker, webhook, console".into()),
    }
}

/// Runs `serve`.
pub async fn run(args: &ServeArgs, settings: &Settings) -> anyhow::Result<ExitCode> {
    let has = |role| args.roles.is_empty() || args.roles.contains(&role);
    let roles = Roles {
        api: has(Role::Api),
        worker: has(Role::Worker),
        webhook: has(Role::Webhook),
        console: has(Role::Console),
    };
    settings.check_roles(roles)?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    app::serve(settings, roles).await
}
