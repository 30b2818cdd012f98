//! Configuration: flags over environment over a TOML file over defaults, read by one table of keys, cross-checked,
//! and refused with every fault at once. At the top of the layers: no room imports it, `app` hands the rooms their
//! own `Config`s.

mod alert;
mod api_keys;
mod callback;
mod checks;
mod fault;
mod file;
pub mod keys;
mod providers;
mod reader;
mod sources;
mod value;
mod watchdog;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::api::auth::ApiKey;
use crate::aws::{self, Access};
pub use alert::AlertSettings;
pub use callback::CallbackSettings;
pub use fault::{Fault, Faults, Origin};
pub use providers::{ProviderName, ResendSettings, SandboxSettings, SendgridSettings, SesSettings};
pub use sources::{ConfigFile, FlagValue, Sources};
pub use value::{parse_span, show_span};
pub use watchdog::WatchdogSettings;

use crate::secret::Secret;
use crate::storm;
use reader::Reader;

/// Everything that can be configured, typed and checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where notifications are kept and queued.
    pub backend: Backend,
    /// The embedded backend's directory.
    pub data_dir: PathBuf,
    /// Address of all HTTP roles.
    pub listen: SocketAddr,
    /// For client commands: the running server to use.
    pub url: Option<String>,
    /// One key with every scope, tenant `default`; client commands present it.
    pub api_key: Option<Secret>,
    /// Further keys, by the hash of their secret.
    pub api_keys: Vec<ApiKey>,
    /// In order of preference; never empty.
    pub providers: Vec<ProviderName>,
    /// The sandbox provider.
    pub sandbox: SandboxSettings,
    /// SendGrid.
    pub sendgrid: SendgridSettings,
    /// Resend.
    pub resend: ResendSettings,
    /// Amazon SES.
    pub ses: SesSettings,
    /// An unsent notification that waits longer than this is an alert.
    pub alert_delay: Duration,
    /// How alerts are watched for and posted.
    pub alert: AlertSettings,
    /// How the producers are told what changed.
    pub callback: CallbackSettings,
    /// Threads that do the work; `None`: one a processor core.
    pub threads: Option<usize>,
    /// What is logged, if anybody said.
    pub log: Option<String>,
    /// How it is logged, if anybody said.
    pub log_format: Option<LogFormat>,
    /// The worker's numbers.
    pub worker: WorkerSettings,
    /// The queue's numbers.
    pub queue: QueueSettings,
    /// Bounds of what is taken in.
    pub limits: LimitSettings,
    /// The storm guard's numbers.
    pub guard: storm::Config,
    /// When what was sent should have been heard of.
    pub watchdog: WatchdogSettings,
    /// What tells machines from people, beside what is built in.
    pub machines_file: Option<PathBuf>,
    /// What is allowed but not wise, for the log and for `check`.
    pub warnings: Vec<String>,
}

/// Where notifications are kept and queued.
#[derive(Debug, Clone)]
pub enum Backend {
    /// SQLite in the data directory.
    Embedded,
    /// SQS and DynamoDB.
    Aws(Box<AwsSettings>),
}

/// The AWS backend.
#[derive(Debug, Clone)]
pub struct AwsSettings {
    /// The queue.
    pub queue_url: String,
    /// The dead-letter queue.
    pub dead_letter_url: String,
    /// The queue of provider events.
    pub events_url: Option<String>,
    /// The table.
    pub table: String,
    /// How long a record is kept after its end.
    pub retention: Duration,
    /// Where AWS is: as the environment says.
    pub access: Access,
    /// How long its calls may take: as the rest of the program expects it.
    pub calls: aws::Config,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// The worker's numbers.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// How long a claim is the worker's alone.
    pub lease: Duration,
    /// One request to the provider, whole.
    pub provider_timeout: Duration,
    /// Connecting to the provider.
    pub connect_timeout: Duration,
    /// How long an unknown outcome waits for an event, from the end of its lease.
    pub hold: Duration,
    /// How far beyond an attempt's end events must be known to arrive before their silence counts.
    pub witness_margin: Duration,
    /// After this long an unknown is resent without a witness.
    pub witness_cap: Duration,
    /// How often an unknown is looked at again while there is no witness.
    pub witness_poll: Duration,
    /// How long the circuit of an ill provider stays open the first time.
    pub breaker_open: Duration,
    /// How long it stays open at the longest.
    pub breaker_open_max: Duration,
    /// Attempts before a dead letter.
    pub max_attempts: u32,
    /// Resends of unknown outcomes.
    pub unknown_resends: u32,
    /// Sends at once, at the least.
    pub concurrency_min: u32,
    /// Sends at once, at the most.
    pub concurrency_max: u32,
    /// The first retry's longest wait.
    pub backoff_base: Duration,
    /// Any retry's longest wait.
    pub backoff_cap: Duration,
    /// How long a shutdown waits for sends under way.
    pub drain: Duration,
}

/// The queue's numbers.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// How long a received message is hidden.
    pub visibility: Duration,
    /// How long one receive waits for a message.
    pub long_poll: Duration,
    /// Receives before the dead-letter queue.
    pub max_receive_count: u32,
}

/// Bounds of what is taken in.
#[derive(Debug, Clone)]
pub struct LimitSettings {
    /// One notification, in bytes.
    pub notification_bytes: usize,
    /// One batch body, in bytes.
    pub batch_bytes: usize,
    /// Notifications in one batch.
    pub batch_entries: usize,
    /// HTTP connections at once.
    pub connections: usize,
    /// Requests a second of one API key; `None`: any.
    pub requests_per_second: Option<u32>,
    /// Unsent notifications before new ones are put off with 429; `None`: any.
    pub backlog: Option<u64>,
}

/// Which roles a server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// The door in, and what operators ask.
    pub api: bool,
    /// Sends.
    pub worker: bool,
    /// The door back.
    pub webhook: bool,
    /// The operators' page; asks the door in of the same process.
    pub console: bool,
}

impl Roles {
    /// Every role.
    pub const ALL: Roles = Roles { api: true, worker: true, webhook: true, console: true };
}

impl Settings {
    /// Reads, interprets and cross-checks; on failure every fault at once.
    pub fn load(sources: &Sources) -> Result<Self, Faults> {
        let mut reader = Reader::new(sources.gather());
        let mut settings = Self::read(&mut reader);
        checks::check(&mut settings, &mut reader);
        reader.finish()?;
        Ok(settings)
    }

    /// What must hold before these roles can run.
    pub fn check_roles(&self, roles: Roles) -> Result<(), Faults> {
        checks::check_roles(self, roles)
    }

    fn read(reader: &mut Reader) -> Self {
        Self {
            backend: Backend::read(reader),
            data_dir: reader.text("data_dir").into(),
            listen: reader.listen("listen"),
            url: reader.url("url"),
            api_key: reader.secret("api_key"),
            api_keys: api_keys::read(reader),
            providers: ProviderName::read(reader),
            sandbox: SandboxSettings::read(reader),
            sendgrid: SendgridSettings::read(reader),
            resend: ResendSettings::read(reader),
            ses: SesSettings::read(reader),
            alert_delay: reader.span("alert.delay"),
            alert: AlertSettings::read(reader),
            callback: CallbackSettings::read(reader),
            threads: reader.maybe_count("threads"),
            log: reader.log_filter("log"),
            log_format: reader
                .choice("log_format")
                .map(|word| if word == "json" { LogFormat::Json } else { LogFormat::Pretty }),
            worker: WorkerSettings::read(reader),
            queue: QueueSettings {
                visibility: reader.span("queue.visibility"),
                long_poll: reader.span("queue.long_poll"),
                max_receive_count: reader.count("queue.max_receive_count"),
            },
            limits: LimitSettings {
                notification_bytes: reader.bytes("limits.notification_size"),
                batch_bytes: reader.bytes("limits.batch_size"),
                batch_entries: reader.count("limits.batch_entries"),
                connections: reader.count("limits.connections"),
                requests_per_second: Some(reader.count("limits.requests_per_second"))
                    .filter(|rate| *rate > 0),
                backlog: Some(reader.count("limits.backlog")).filter(|cap| *cap > 0),
            },
            guard: storm::Config {
                repeat_limit: reader.count("guard.repeat_limit"),
                repeat_window: reader.span("guard.repeat_window"),
                rate_factor: reader.count("guard.rate_factor"),
                rate_floor: reader.count("guard.rate_floor"),
                rate_hold: reader.switch("guard.rate_hold"),
            },
            watchdog: WatchdogSettings::read(reader),
            machines_file: reader.path("machines.file"),
            warnings: Vec::new(),
        }
    }
}

impl Backend {
    fn read(reader: &mut Reader) -> Self {
        if reader.choice("backend").as_deref() != Some("aws") {
            return Self::Embedded;
        }
        Self::Aws(Box::new(AwsSettings {
            queue_url: reader.required_url("sqs.queue_url"),
            dead_letter_url: reader.required_url("sqs.dead_letter_url"),
            events_url: reader.url("sqs.events_url"),
            table: reader.table("dynamodb.table"),
            retention: reader.span("dynamodb.retention"),
            access: Access::Environment,
            calls: aws::Config::default(),
        }))
    }
}

impl WorkerSettings {
    fn read(reader: &mut Reader) -> Self {
        Self {
            lease: reader.span("worker.lease"),
            provider_timeout: reader.span("worker.provider_timeout"),
            connect_timeout: reader.span("worker.connect_timeout"),
            hold: reader.span("worker.hold"),
            witness_margin: reader.span("worker.witness_margin"),
            witness_cap: reader.span("worker.witness_cap"),
            witness_poll: reader.span("worker.witness_poll"),
            breaker_open: reader.span("worker.breaker_open"),
            breaker_open_max: reader.span("worker.breaker_open_max"),
            max_attempts: reader.count("worker.max_attempts"),
            unknown_resends: reader.count("worker.unknown_resends"),
            concurrency_min: reader.count("worker.concurrency_min"),
            concurrency_max: reader.count("worker.concurrency_max"),
            backoff_base: reader.span("worker.backoff_base"),
            backoff_cap: reader.span("worker.backoff_cap"),
            drain: reader.span("worker.drain"),
        }
    }
}
