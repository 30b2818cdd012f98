//! What the process logs, on standard error.

use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, Settings};

/// Begins logging; `level` where nobody said what to log. A second call changes nothing.
pub fn init(settings: &Settings, level: &str, terminal: bool) {
    let filter = EnvFilter::new(settings.log.as_deref().unwrap_or(level));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let format = settings.log_format.unwrap_or(if terminal { LogFormat::Pretty } else { LogFormat::Json });
    // The error says that this process logs already.
    let _begun = match format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Pretty => lines.with_ansi(terminal).with_target(false).try_init(),
    };
}
