//! The composition root: the one place that names concrete backends, and hands every room its own configuration.

mod alerts;
mod aws;
mod check;
mod gauges;
mod keys;
mod loops;
mod rooms;
mod server_file;
mod storage;
mod ways;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::api::{self, ApiState, auth::KeyRing};
use crate::background::Background;
use crate::clock::Clock;
use crate::console;
use crate::jobs::Bell;
use crate::metrics;
use crate::notification::NotificationId;
use crate::provider::health::HealthBoard;
use crate::sandbox::faults::Plan;
use crate::sandbox::{self, Sandbox};
use crate::secret::Secret;
use crate::server;
use crate::settings::{ProviderName, Roles, Settings};
use crate::shutdown::{self, Shutdown, ShutdownTrigger};
use crate::webhook::{self, WebhookState};

pub use check::{CheckLine, SetupLine, check, setup};
use server_file::ServerFile;
use storage::Storage;
pub use storage::{Locked, OperatorSession, operator_router, purge_queue};

/// What `sandbox` was asked for.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it posts event webhooks.
    pub webhook_url: Option<String>,
    /// Before every answer.
    pub latency: Duration,
    /// The faults it plays.
    pub faults: Plan,
    /// Seeds every chance.
    pub seed: Option<u64>,
    /// The key that it demands; any if absent.
    pub api_key: Option<Secret>,
    /// Where its webhook key pair is kept across restarts.
    pub webhook_key_file: Option<PathBuf>,
}

/// A started server.
pub struct Running {
    /// `http://…`, where every role answers.
    pub url: String,
    /// A key with every scope, for this start alone.
    pub operator_key: Secret,
    /// `http://…/console`, where that role runs.
    pub console_url: Option<String>,
    /// The file that holds the made API key, where none is configured.
    pub key_file: Option<PathBuf>,
    /// The sandbox provider, where it runs inside.
    pub sandbox: Option<Sandbox>,
    storage: Storage,
    loops: Vec<(&'static str, JoinHandle<()>)>,
    doors: JoinHandle<usize>,
    /// Ends with this: the folder may still have something to do when the doors are closed.
    _background: Background,
    stop: ShutdownTrigger,
    stop_sandbox: ShutdownTrigger,
    server_file: ServerFile,
}

/// Runs the roles until SIGTERM or SIGINT, then drains.
pub async fn serve(settings: &Settings, roles: Roles) -> anyhow::Result<ExitCode> {
    // First of all: a signal that comes while it starts, or right after it said so, must not just end the process.
    let signalled = signalled()?;
    let running = start(settings, roles, Plan::default()).await?;
    announce(&format!("kakitome listens on {}", running.url));
    if let Some(url) = &running.console_url {
        announce(&format!("console: {url}"));
    }
    if let Some(path) = running.key_file.as_ref().filter(|_| roles.api) {
        announce(&format!("API key: the one in {}, made because none is configured", path.display()));
    }
    let broken = running.storage.broken();
    let is_broken = tokio::select! {
        name = signalled => {
            tracing::info!(signal = name, "stopping: what is under way ends, the rest is given back");
            false
        }
        error = broken => {
            tracing::error!(%error, "stopping: nothing more can be recorded");
            true
        }
    };
    running.stop().await;
    Ok(if is_broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs the sandbox provider until SIGTERM or SIGINT.
pub async fn sandbox(options: SandboxOptions) -> anyhow::Result<ExitCode> {
    let defaults = sandbox::Config::default();
    let config = sandbox::Config {
        listen: options.listen,
        webhook_url: options.webhook_url,
        latency: options.latency,
        faults: options.faults,
        seed: options.seed.unwrap_or(defaults.seed),
        api_key: options.api_key.map(|key| key.reveal().to_owned()),
        webhook_key_file: options.webhook_key_file,
        ..defaults
    };
    rooms::install_tls();
    let (trigger, stop) = shutdown::channel();
    let signalled = signalled()?;
    let sandbox = Sandbox::start(config, stop)?;
    announce(&format!("the sandbox provider listens on {}", sandbox.url()));
    signalled.await;
    trigger.pull();
    sandbox.stopped().await;
    Ok(ExitCode::SUCCESS)
}

/// Starts the roles. `faults` are played by the sandbox provider, where it runs inside.
pub async fn start(settings: &Settings, roles: Roles, faults: Plan) -> anyhow::Result<Running> {
    rooms::install_tls();
    let prometheus = metrics::install().context("metrics cannot be installed")?;
    let clock = Clock::system();
    let health = HealthBoard::default();
    let (stop, stopped) = shutdown::channel();
    let storage = Storage::open(settings, &clock, Some(stopped.clone())).await?;
    let guards = rooms::guards(settings, &storage, &clock);
    let taken = "choose another with --listen or KAKITOME_LISTEN";
    let listener = server::bind(settings.listen);
    let listener = listener.with_context(|| format!("cannot listen on {} ({taken})", settings.listen))?;
    let url = format!("http://{}", listener.local_addr()?);
    let (stop_sandbox, sandbox_stopped) = shutdown::channel();
    let sandbox = start_sandbox(settings, roles, &url, faults, sandbox_stopped)?;

    let operator_key = Secret::new(api::auth::ApiKey::generate("operator", "default", &[]).0);
    let (ring, key_file) = keys::ring(settings, &operator_key)?;
    let (bell, rings) = Bell::new(true);
    let state = ApiState {
        keys: Arc::new(ring),
        health: health.clone(),
        worker_expected: roles.worker,
        channels: alerts::tester(settings)?,
        telling: rooms::telling(settings, &storage).until(stopped.clone()),
        metrics: Some(prometheus),
        ..rooms::api_state(settings, &storage, &guards, (clock.clone(), bell))
    };
    let background = rooms::background(settings)?;
    let mut router = if roles.api { api::router(state) } else { api::probes(state) };
    if roles.webhook {
        router = router.merge(webhook::router(WebhookState {
            inbox: storage.inbox()?,
            sources: ways::event_sources(settings, sandbox.as_ref())?,
            clock: clock.clone(),
            health: health.clone(),
            background: background.clone(),
            config: webhook::Config::default(),
        }));
    }
    if roles.console {
        router = router.merge(console::router(&rooms::console(settings)));
    }
    let house = loops::House {
        settings,
        roles,
        storage: &storage,
        clock: &clock,
        health: &health,
        guards: &guards,
        background: &background,
        sandbox: sandbox.as_ref(),
        stopped: &stopped,
    };
    let loops = house.start(rings).await?;
    let doors = tokio::spawn(server::serve(listener, router, rooms::server(settings), stopped));
    let server_file = ServerFile::write(&settings.data_dir, &url, &operator_key)?;
    Ok(Running {
        console_url: roles.console.then(|| format!("{url}{}", console::PATH)),
        url,
        operator_key,
        key_file,
        sandbox,
        storage,
        loops,
        doors,
        _background: background,
        stop,
        stop_sandbox,
        server_file,
    })
}

impl Running {
    /// Drains every loop, then the doors, then the storage.
    pub async fn stop(self) {
        self.server_file.remove();
        self.stop.pull();
        for (name, running) in self.loops {
            if let Err(error) = running.await {
                tracing::error!(name, %error, "ended badly");
            }
        }
        match self.doors.await {
            Ok(0) => {}
            Ok(left) => tracing::warn!(left, "connections were cut"),
            Err(error) => tracing::error!(%error, "the doors ended badly"),
        }
        self.stop_sandbox.pull();
        if let Some(sandbox) = self.sandbox {
            sandbox.stopped().await;
        }
        self.storage.close().await;
        tracing::info!("stopped");
    }
}

/// The sandbox provider inside this process, where it is configured and none is named by URL.
fn start_sandbox(
    settings: &Settings,
    roles: Roles,
    url: &str,
    faults: Plan,
    stopped: Shutdown,
) -> anyhow::Result<Option<Sandbox>> {
    let is_used = roles.worker || roles.webhook;
    let is_inside = settings.providers.contains(&ProviderName::Sandbox) && settings.sandbox.url.is_none();
    if !is_used || !is_inside {
        return Ok(None);
    }
    let config = sandbox::Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        webhook_url: Some(format!("{url}{}", ways::SANDBOX_EVENTS)),
        webhook_key_file: Some(settings.data_dir.join("sandbox-webhook-key.pem")),
        faults,
        api_key: settings.sandbox.api_key.as_ref().map(|key| key.reveal().to_owned()),
        ..sandbox::Config::default()
    };
    let sandbox = Sandbox::start(config, stopped)?;
    tracing::info!(url = sandbox.url(), "the sandbox provider runs inside: no mail leaves this machine");
    Ok(Some(sandbox))
}

/// Says it on stdout, for people and for whoever waits for the server to be up.
fn announce(line: &str) {
    let mut stdout = std::io::stdout().lock();
    // Nobody may be reading: that is no reason not to serve.
    let _read = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Waits for SIGTERM or SIGINT; its name. Installed at once, waited for later.
fn signalled() -> anyhow::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// A fresh id, for a check that asks for something that is not there.
fn nobody() -> NotificationId {
    NotificationId::fresh()
}

/// The router of the API over this storage, for a client inside this process.
fn in_process(storage: &Storage, settings: &Settings, key: &Secret, bell: Bell) -> Router {
    let guards = rooms::guards(settings, storage, &Clock::system());
    let state = rooms::api_state(settings, storage, &guards, (Clock::system(), bell));
    let channels = alerts::tester(settings).ok().flatten();
    api::router(ApiState { channels, keys: Arc::new(KeyRing::single(key.reveal())), ..state })
}
