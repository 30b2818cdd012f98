//! `check` and `setup`: is everything that the configuration names there, and does it work?

use std::path::PathBuf;

use super::{Locked, Storage, aws, nobody, rooms, ways};
use crate::clock::Clock;
use crate::engagement::Rulebook;
use crate::settings::{Backend, ProviderName, Settings};
use crate::sqlite::DATABASE_FILE;

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

impl CheckLine {
    fn ok(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.into(), ok: true, detail: detail.into(), remedy: None }
    }

    fn bad(name: &str, detail: impl Into<String>, remedy: &str) -> Self {
        Self { name: name.into(), ok: false, detail: detail.into(), remedy: Some(remedy.into()) }
    }
}

/// Reaches everything that the configuration names.
pub async fn check(settings: &Settings) -> anyhow::Result<Vec<CheckLine>> {
    rooms::install_tls();
    let mut lines = match &settings.backend {
        Backend::Embedded => vec![storage(settings).await],
        Backend::Aws(from) => aws::check(settings, from).await?,
    };
    for name in &settings.providers {
        lines.push(provider(settings, *name).await);
    }
    if let Err(error) = ways::event_sources(settings, None) {
        lines.push(CheckLine::bad(
            "webhook",
            error.to_string(),
            "copy the public key from the provider again",
        ));
    }
    lines.extend(settings.machines_file.clone().map(machines));
    Ok(lines)
}

/// The rules that tell machines from people.
fn machines(file: PathBuf) -> CheckLine {
    let name = "machines.file";
    let path = file.display().to_string();
    let rulebook = Rulebook::new(Some(file));
    rulebook.rules(Clock::system().now());
    match rulebook.fault() {
        None => CheckLine::ok(name, format!("{path} can be read")),
        Some(fault) => CheckLine::bad(
            name,
            format!("{path}, {fault}"),
            "correct it; until then the rules that it last had tell machines from people, or the built-in ones",
        ),
    }
}

async fn provider(settings: &Settings, name: ProviderName) -> CheckLine {
    if name == ProviderName::Sandbox && settings.sandbox.url.is_none() {
        return CheckLine::ok("provider sandbox", "runs inside the server; no mail leaves this machine");
    }
    let provider = match ways::provider(settings, name, None) {
        Ok(provider) => provider,
        Err(error) => return CheckLine::bad("provider", error.to_string(), "correct the key that it names"),
    };
    let line = format!("provider {}", provider.name());
    match provider.reach().await {
        Ok(()) => CheckLine::ok(&line, "answers"),
        Err(error) => CheckLine::bad(
            &line,
            error,
            "is the base URL right, and does this machine reach it (DNS, proxy, firewall)?",
        ),
    }
}

async fn storage(settings: &Settings) -> CheckLine {
    let name = "embedded storage";
    let dir = settings.data_dir.display();
    if !settings.data_dir.is_dir() {
        return match settings.data_dir.ancestors().skip(1).find(|above| above.exists()) {
            Some(above) if !above.is_dir() => CheckLine::bad(
                name,
                format!("{dir} cannot be made: {} is no directory", above.display()),
                "choose another with KAKITOME_DATA_DIR",
            ),
            _ if settings.data_dir.exists() => CheckLine::bad(
                name,
                format!("{dir} is no directory"),
                "choose another with KAKITOME_DATA_DIR",
            ),
            _ => CheckLine::ok(name, format!("{dir} is not there yet; `kakitome setup` or `serve` makes it")),
        };
    }
    match Storage::open(settings, &Clock::system(), None).await {
        Ok(storage) => {
            let read = storage.log.get(nobody()).await;
            storage.close().await;
            match read {
                Ok(_) => CheckLine::ok(name, format!("{dir} can be opened and read")),
                Err(error) => CheckLine::bad(name, error.to_string(), "restore it from a backup"),
            }
        }
        Err(error) if error.is::<Locked>() => {
            CheckLine::ok(name, format!("{dir} is in use by a running kakitome"))
        }
        Err(error) => {
            CheckLine::bad(name, format!("{error:#}"), "is the directory writable, and the disk not full?")
        }
    }
}

/// Creates or verifies the storage.
pub async fn setup(settings: &Settings) -> anyhow::Result<Vec<SetupLine>> {
    if let Backend::Aws(from) = &settings.backend {
        rooms::install_tls();
        return aws::setup(settings, from).await;
    }
    let file = settings.data_dir.join(DATABASE_FILE);
    let unchanged = file.is_file();
    let line = |unchanged, detail| SetupLine { name: "embedded storage".into(), unchanged, detail };
    match Storage::open(settings, &Clock::system(), None).await {
        Ok(storage) => storage.close().await,
        // It made or verified the very same when it started.
        Err(error) if error.is::<Locked>() => {
            return Ok(vec![line(true, format!("{} is in use by a running kakitome", file.display()))]);
        }
        Err(error) => return Err(error),
    }
    let detail = format!("{} {}", file.display(), if unchanged { "has the present schema" } else { "made" });
    Ok(vec![line(unchanged, detail)])
}
