//! The commands. Every operator command speaks the HTTP API, over a socket or in process: one code path.

mod alerts;
mod batch;
mod callbacks;
mod change;
mod check;
pub mod client;
mod dead_letters;
mod demo;
mod drill;
mod engagement;
pub mod enqueue;
mod events;
mod filter;
mod hold;
mod incident;
mod jobs;
mod keys;
mod list;
mod logging;
pub mod output;
mod progress;
mod record;
mod redrive;
mod sandbox;
mod serve;
mod setup;
mod show;
mod status;
mod table;
mod unconfirmed;
mod when;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::settings::{Faults, FlagValue, Settings, Sources};
use client::Client;
use output::Output;

/// Transactional notifications: recorded before acknowledged, sent as often as they should be, never lost from sight.
#[derive(Debug, Parser)]
#[command(name = "kakitome", version, propagate_version = true, max_term_width = 110, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Example:
  kakitome demo                        see it work, an outage included
  kakitome serve                       run it on ./data
  kakitome enqueue bookings.ndjson     hand notifications in
  kakitome unsent                      what was not sent, and why
  kakitome incident --since 2h         who is affected, and what to do next
  kakitome redrive --since 2h          send again what failed

Exit codes: 0 done, 1 it ran and something was refused or failed, 2 wrong usage or configuration.
Every setting can be a flag, an environment variable (KAKITOME_…) or a line in kakitome.toml, in this order.";

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Everywhere")]
struct Global {
    /// Configuration file [default: kakitome.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Embedded storage [default: ./data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Use this running server instead of the storage directly
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// A file that holds the API key
    #[arg(long, global = true, value_name = "FILE")]
    api_key_file: Option<String>,
    /// What to log on stderr, such as debug or info,kakitome::worker=trace
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Demo(demo::DemoArgs),
    Drill(drill::DrillArgs),
    Sandbox(sandbox::SandboxArgs),
    Enqueue(enqueue::EnqueueArgs),
    Batch(batch::BatchArgs),
    Engagement(engagement::EngagementArgs),
    Show(show::ShowArgs),
    List(list::ListArgs),
    Unsent(list::UnsentArgs),
    Events(events::EventsArgs),
    Redrive(redrive::RedriveArgs),
    Hold(hold::HoldArgs),
    Release(hold::ReleaseArgs),
    Cancel(hold::CancelArgs),
    Jobs(jobs::JobsArgs),
    DeadLetters(dead_letters::DeadLettersArgs),
    Status(status::StatusArgs),
    Unconfirmed(unconfirmed::UnconfirmedArgs),
    Incident(incident::IncidentArgs),
    Alerts(alerts::AlertsArgs),
    Callbacks(callbacks::CallbacksArgs),
    Check(check::CheckArgs),
    Setup(setup::SetupArgs),
    Keys(keys::KeysArgs),
}

/// How a command that ran ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done.
    Done,
    /// Something was refused or failed.
    Failed,
}

/// Wrong usage, noticed after the command line was parsed. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The process: reads the command line, runs the command, answers with its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and usage errors: nowhere to report that their print failed.
            let _printed = answer.print();
            return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2));
        }
    };
    let mut out = Output::of_process();
    if let Command::Keys(args) = &cli.command {
        let ended = keys::run(args, &mut out);
        return ended.map_or_else(|error| report(&mut out, &error), ExitCode::from);
    }
    let settings = match Settings::load(&Sources::from_process(cli.flags(), cli.global.config.clone())) {
        Ok(settings) => settings,
        Err(faults) => return report(&mut out, &faults.into()),
    };
    let runtime = match runtime(settings.threads) {
        Ok(runtime) => runtime,
        Err(error) => return report(&mut out, &error.into()),
    };
    let ended = runtime.block_on(run(cli, settings, &mut out));
    // A read of standard input cannot be cancelled; waiting for it would keep the process.
    runtime.shutdown_background();
    match (ended, out.flush()) {
        (Ok(code), Ok(())) => code,
        // Whoever read our output has seen enough; how the command ended stands.
        (Ok(code), Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => code,
        (Ok(_), Err(error)) => report(&mut out, &error.into()),
        (Err(error), _) => report(&mut out, &error),
    }
}

/// One thread needs no scheduler that hands work from thread to thread.
fn runtime(threads: Option<usize>) -> io::Result<tokio::runtime::Runtime> {
    let mut builder = match threads {
        Some(1) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if let Some(threads) = threads.filter(|threads| *threads > 1) {
        builder.worker_threads(threads);
    }
    builder.enable_all().build()
}

/// Runs one parsed command other than `keys`, which needs no settings.
async fn run(cli: Cli, settings: Settings, out: &mut Output) -> anyhow::Result<ExitCode> {
    let level = match cli.command {
        Command::Serve(_) | Command::Sandbox(_) => "info",
        // Its table tells the story; the failures in it are on purpose.
        Command::Demo(_) | Command::Drill(_) => "error",
        _ => "warn",
    };
    logging::init(&settings, level, out.is_err_terminal());
    match &cli.command {
        Command::Serve(args) => serve::run(args, &settings).await,
        Command::Demo(args) => demo::run(args, &settings, out).await,
        Command::Drill(args) => drill::run(args, &settings, out).await,
        Command::Sandbox(args) => sandbox::run(args).await,
        Command::Check(args) => Ok(check::run(args, &settings, out).await?.into()),
        Command::Setup(args) => Ok(setup::run(args, &settings, out).await?.into()),
        command => {
            // Handing in may begin a new storage; looking at one that is not there would only hide a wrong path.
            let client = Client::connect(&settings, matches!(command, Command::Enqueue(_))).await?;
            Ok(cli.run_on(&client, settings.alert_delay, out).await?.into())
        }
    }
}

impl Cli {
    /// Runs a command that speaks to a server, on this client. `alert_delay`: what waits longer is not all right.
    pub async fn run_on(
        &self,
        client: &Client,
        alert_delay: Duration,
        out: &mut Output,
    ) -> anyhow::Result<Exit> {
        match &self.command {
            Command::Enqueue(args) => enqueue::run(args, client, out).await,
            Command::Batch(args) => batch::run(args, client, out).await,
            Command::Engagement(args) => engagement::run(args, client, out).await,
            Command::Show(args) => show::run(args, client, out).await,
            Command::List(args) => list::run(args, client, out).await,
            Command::Unsent(args) => list::run_unsent(args, client, out).await,
            Command::Events(args) => events::run(args, client, out).await,
            Command::Callbacks(args) => callbacks::run(args, client, out).await,
            Command::Redrive(args) => redrive::run(args, client, out).await,
            Command::Hold(args) => hold::run_hold(args, client, out).await,
            Command::Release(args) => hold::run_release(args, client, out).await,
            Command::Cancel(args) => hold::run_cancel(args, client, out).await,
            Command::DeadLetters(args) => dead_letters::run(args, client, out).await,
            Command::Incident(args) => incident::run(args, client, out).await,
            Command::Unconfirmed(args) => unconfirmed::run(args, client, out).await,
            Command::Jobs(args) => jobs::run(args, client, out).await,
            Command::Status(args) => status::run(args, alert_delay, client, out).await,
            Command::Alerts(args) => alerts::run(args, client, out).await,
            _ => Err(Usage("this command talks to no server".into()).into()),
        }
    }

    fn flags(&self) -> Vec<FlagValue> {
        let mut flags = Vec::new();
        let mut add = |flag, path, value: Option<&String>| {
            flags.extend(value.map(|value| FlagValue { flag, path, value: value.clone() }));
        };
        add("--data-dir", "data_dir", self.global.data_dir.as_ref());
        add("--url", "url", self.global.url.as_ref());
        add("--api-key-file", "api_key_file", self.global.api_key_file.as_ref());
        add("--log", "log", self.global.log.as_ref());
        if let Command::Serve(args) = &self.command {
            add("--listen", "listen", args.listen.as_ref());
        }
        flags
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => ExitCode::SUCCESS,
            Exit::Failed => ExitCode::FAILURE,
        }
    }
}

/// Says what went wrong, on stderr, and with which exit code that ends.
fn report(out: &mut Output, error: &anyhow::Error) -> ExitCode {
    // Whoever read our output has seen enough.
    if error.chain().any(is_broken_pipe) {
        return ExitCode::SUCCESS;
    }
    // With stderr gone, the exit code is all that is left to say.
    let _said = out.note(format_args!("kakitome: {error:#}"));
    let usage = error.is::<Usage>() || error.is::<Faults>();
    ExitCode::from(if usage { 2 } else { 1 })
}

fn is_broken_pipe(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
