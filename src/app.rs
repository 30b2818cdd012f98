//! The composition root: names the concrete backends and hands every room its own configuration.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::secret::Secret;
use crate::settings::{Roles, Settings};

/// A server holds the data directory; `DATA_DIR/server.json` says where it listens.
#[derive(Debug, thiserror::Error)]
#[error("a running server holds the data directory")]
pub struct Locked;

/// The opened storage behind an in-process router; closes when dropped.
#[derive(Debug)]
pub struct OperatorSession {
    /// A key with every scope, for this session alone.
    pub key: Secret,
}

/// What `demo` does beside serving.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Keep serving after the scripted scenes.
    pub stay: bool,
}

/// What `sandbox` was asked for.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// Where it listens.
    pub listen: std::net::SocketAddr,
    /// Where it posts event webhooks.
    pub webhook_url: Option<String>,
    /// Before every answer.
    pub latency: Duration,
    /// The faults it plays: a path or a specification.
    pub faults: Option<String>,
    /// Seeds every chance.
    pub seed: Option<u64>,
    /// The key that it demands; any if absent.
    pub api_key: Option<Secret>,
    /// Where its webhook key pair is kept across restarts.
    pub webhook_key_file: Option<PathBuf>,
}

/// One finding of [`check`].
#[derive(Debug, Clone)]
pub struct CheckLine {
    /// What was looked at.
    pub name: String,
    /// Whether it is right.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// How to mend it, where it is not right.
    pub remedy: Option<String>,
}

/// One step of [`setup`].
#[derive(Debug, Clone)]
pub struct SetupLine {
    /// What was set up.
    pub name: String,
    /// Whether it was already right.
    pub unchanged: bool,
    /// What was done or found.
    pub detail: String,
}

/// Runs the roles until SIGTERM or SIGINT, then drains.
pub async fn serve(_settings: &Settings, _roles: Roles) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not composed")
}

/// Runs the demo.
pub async fn demo(_settings: &Settings, _options: DemoOptions) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not composed")
}

/// Runs the sandbox provider until SIGTERM or SIGINT.
pub async fn sandbox(_options: SandboxOptions) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not composed")
}

/// Opens the storage directly, for a client command. Fails with [`Locked`] while a server holds it.
pub async fn operator_router(_settings: &Settings) -> anyhow::Result<(axum::Router, OperatorSession)> {
    anyhow::bail!("not composed")
}

/// Reaches everything that the configuration names.
pub async fn check(_settings: &Settings) -> anyhow::Result<Vec<CheckLine>> {
    anyhow::bail!("not composed")
}

/// Creates or verifies the storage.
pub async fn setup(_settings: &Settings) -> anyhow::Result<Vec<SetupLine>> {
    anyhow::bail!("not composed")
}
