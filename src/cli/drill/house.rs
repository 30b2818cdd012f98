//! The house of a drill: a provider that can be made ill, and a server of its own process that can hang, be killed and
//! be restarted like the one at home. A supervisor starts it again whenever it ends, unless the file `stopped` is there.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::api::auth::ApiKey;
use crate::app;
use crate::sandbox::{self, Sandbox};
use crate::secret::Secret;
use crate::settings::{ConfigFile, Settings, Sources};
use crate::shutdown::{self, Shutdown, ShutdownTrigger};

/// The supervisor looks this often.
const LOOKS: Duration = Duration::from_millis(100);
/// Mails of the largest incident, so that each can be counted.
const OUTBOX: usize = 300_000;

/// The provider and the supervised server.
pub struct House {
    /// Where everything lies.
    pub dir: PathBuf,
    /// Where the server listens.
    pub url: String,
    /// A key of the server with every scope.
    pub key: Secret,
    /// The provider.
    pub sandbox: Sandbox,
    child: Arc<Mutex<Option<Child>>>,
    stop: ShutdownTrigger,
    supervisor: tokio::task::JoinHandle<()>,
}

/// Waits short enough to watch; the relations between them are those of the defaults.
const SHORT_WAITS: &str = r#"
[worker]
provider_timeout = "1s"
connect_timeout = "1s"
lease = "3s"
hold = "6s"
witness_margin = "1s"
witness_cap = "30s"
witness_poll = "1s"
backoff_base = "200ms"
backoff_cap = "2s"
breaker_open = "1s"
breaker_open_max = "3s"

[queue]
visibility = "4s"
"#;

impl House {
    /// Starts the provider and the server in `dir`, which is made. Alerts go to `alerts_url`.
    pub fn open(dir: &Path, alerts_url: &str) -> anyhow::Result<Self> {
        let dir = std::path::absolute(dir)?;
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let listen = free_address()?;
        let url = format!("http://{listen}");
        let (stop, stopped) = shutdown::channel();
        let sandbox = Sandbox::start(
            sandbox::Config {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                webhook_url: Some(format!("{url}/webhooks/sendgrid")),
                webhook_flush_interval: Duration::from_millis(300),
                api_key: Some(OLD_KEY.into()),
                outbox_capacity: OUTBOX,
                ..sandbox::Config::default()
            },
            stopped.clone(),
        )?;
        fs::write(dir.join("provider.key"), OLD_KEY)?;
        fs::write(dir.join("webhook.key"), sandbox.public_key())?;
        let key = Secret::new(ApiKey::generate("drill", "default", &[]).0);
        let config = configuration(&dir, listen, &key, &sandbox, alerts_url);
        fs::write(dir.join("kakitome.toml"), &config)?;
        fs::write(dir.join("operator.env"), operator_environment(&dir, &url))?;
        let child = Arc::default();
        let supervisor = tokio::spawn(supervise(dir.clone(), Arc::clone(&child), stopped));
        Ok(Self { dir, url, key, sandbox, child, stop, supervisor })
    }

    /// The server's settings as its file says now.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let file = ConfigFile { path: self.dir.join("kakitome.toml"), must_exist: true };
        Ok(Settings::load(&Sources { file: Some(file), ..Sources::default() })?)
    }

    /// The provider takes a new key alone.
    pub fn revoke_key(&self) -> anyhow::Result<()> {
        self.sandbox.set_api_key(Some(NEW_KEY.into()));
        Ok(fs::write(self.dir.join("new-provider.key"), NEW_KEY)?)
    }

    /// The server knows another key than that which the provider signs with.
    pub async fn rotate_webhook_key(&self) -> anyhow::Result<()> {
        fs::write(self.dir.join("new-webhook.key"), self.sandbox.public_key())?;
        fs::write(self.dir.join("webhook.key"), sandbox::fresh_public_key()?)?;
        self.restart().await
    }

    /// Rolls a wrong provider address out, and keeps the former file beside it.
    pub async fn deploy_badly(&self) -> anyhow::Result<()> {
        let path = self.dir.join("kakitome.toml");
        let good = fs::read_to_string(&path)?;
        fs::write(self.dir.join("kakitome.toml.previous"), &good)?;
        // A port at which nothing listens.
        let nowhere = format!("http://{}", free_address()?);
        fs::write(&path, good.replace(&self.sandbox.url(), &nowhere))?;
        self.restart().await
    }

    /// Makes the server stand still.
    pub fn hang(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Stops the server and keeps it stopped, for what nothing else may look at meanwhile.
    async fn pause(&self, signal: Signal) -> anyhow::Result<()> {
        fs::write(self.dir.join("stopped"), "")?;
        self.signal(signal)?;
        while self.child.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            tokio::time::sleep(LOOKS).await;
        }
        Ok(())
    }

    async fn restart(&self) -> anyhow::Result<()> {
        self.pause(Signal::TERM).await?;
        self.go_on()
    }

    /// Lets the supervisor start the server again.
    fn go_on(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.dir.join("stopped"))?)
    }

    /// Takes every message off the queue, as a purge does.
    pub async fn purge_queue(&self) -> anyhow::Result<()> {
        self.pause(Signal::TERM).await?;
        app::purge_queue(&self.settings()?).await?;
        self.go_on()
    }

    /// Copies the data directory, with the server stopped meanwhile.
    pub async fn back_up(&self) -> anyhow::Result<()> {
        self.pause(Signal::TERM).await?;
        let (from, to) = (self.dir.join("data"), self.dir.join("backup"));
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        self.go_on()
    }

    /// Kills the server and removes its storage. It stays down.
    pub async fn lose_disk(&self) -> anyhow::Result<()> {
        self.pause(Signal::KILL).await?;
        Ok(fs::remove_dir_all(self.dir.join("data"))?)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = child.as_ref().and_then(|child| i32::try_from(child.id()).ok()).and_then(Pid::from_raw);
        let pid = pid.context("the drill's server does not run")?;
        kill_process(pid, signal).context("the drill's server cannot be signalled")
    }

    /// Ends the server and the provider.
    pub async fn close(self) {
        self.stop.pull();
        if let Err(error) = self.supervisor.await {
            tracing::error!(%error, "the drill's supervisor ended badly");
        }
        self.sandbox.stopped().await;
    }
}

const OLD_KEY: &str = "SG.before-the-incident";
const NEW_KEY: &str = "SG.after-the-incident";

/// A port that is free now. The server must come back on the same one, since events are posted there.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn configuration(
    dir: &Path,
    listen: SocketAddr,
    key: &Secret,
    sandbox: &Sandbox,
    alerts_url: &str,
) -> String {
    let data = dir.join("data").display().to_string();
    let provider_key = dir.join("provider.key").display().to_string();
    let webhook_key = dir.join("webhook.key").display().to_string();
    let key = key.reveal();
    format!(
        "data_dir = {data:?}\nlisten = \"{listen}\"\napi_key = \"{key}\"\nprovider = \"sendgrid\"\n\n\
         [sendgrid]\nbase_url = \"{}\"\napi_key_file = {provider_key:?}\nwebhook_key_file = {webhook_key:?}\n\n\
         [alert]\ndelay = \"5s\"\ninterval = \"1s\"\ncalm = \"2s\"\nwebhook_silence = \"6s\"\nwebhook_url = \"{alerts_url}\"\n{SHORT_WAITS}",
        sandbox.url(),
    )
}

/// What an operator's terminal needs: the directory with the configuration, and how this house's server is restarted.
fn operator_environment(dir: &Path, url: &str) -> String {
    let dir = format!("'{}'", dir.display().to_string().replace('\'', r"'\''"));
    format!(
        "cd {dir}\n\
         export START='rm -f stopped'\n\
         export STOP='touch stopped; kill -TERM \"$(cat server.pid)\"'\n\
         export RESTART='kill -TERM \"$(cat server.pid)\"'\n\
         export KILL='kill -KILL \"$(cat server.pid)\"'\n\
         export ROLLBACK='cp kakitome.toml.previous kakitome.toml'\n\
         export KEY_FILE=provider.key NEW_KEY_FILE=new-provider.key\n\
         export WEBHOOK_KEY_FILE=webhook.key NEW_WEBHOOK_KEY_FILE=new-webhook.key\n\
         export SERVER_URL={url} DATA_DIR=data BACKUP=backup OUTBOX=outbox.ndjson\n\
         export BATCH={} TENANT={}\n",
        super::incident::BATCH,
        super::incident::FLOODING_TENANT,
    )
}

/// Keeps a server running until the shutdown is pulled.
async fn supervise(dir: PathBuf, child: Arc<Mutex<Option<Child>>>, stopped: Shutdown) {
    while !stopped.is_pulled() {
        look(&dir, &child);
        tokio::select! {
            () = tokio::time::sleep(LOOKS) => {}
            () = stopped.pulled() => {}
        }
    }
    let last = child.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(mut last) = last {
        // It may stand still, or have ended by itself.
        let _gone = last.kill();
        let _reaped = last.wait();
    }
}

fn look(dir: &Path, child: &Mutex<Option<Child>>) {
    let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
    let has_ended = match child.as_mut().map(Child::try_wait) {
        Some(Ok(status)) => status.is_some(),
        Some(Err(_)) => true,
        None => false,
    };
    if has_ended {
        *child = None;
    }
    if child.is_none() && !dir.join("stopped").exists() {
        match serve(dir) {
            Ok(started) => *child = Some(started),
            Err(error) => tracing::error!(%error, "the drill's server does not start"),
        }
    }
}

fn serve(dir: &Path) -> anyhow::Result<Child> {
    let log = fs::File::options().create(true).append(true).open(dir.join("server.log"))?;
    let mut command = Command::new(std::env::current_exe()?);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KAKITOME_")) {
        command.env_remove(name);
    }
    let child = command
        .arg("serve")
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    fs::write(dir.join("server.pid"), child.id().to_string())?;
    Ok(child)
}
