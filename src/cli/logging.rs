//! What the process logs, on standard error.

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::{LogFormat, Settings};

/// Begins logging; `level` where nobody said what to log. A second call changes nothing.
///
/// Below `info` only our own events are logged, whatever the filter asks for: the details of HTTP and AWS libraries are
/// requests and answers, with the addresses and keys in them.
pub fn init(settings: &Settings, level: &str, terminal: bool) {
    let filter = EnvFilter::new(settings.log.as_deref().unwrap_or(level));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let ours = filter_fn(|event| *event.level() <= Level::INFO || event.target().starts_with("kakitome"));
    let format = settings.log_format.unwrap_or(if terminal { LogFormat::Pretty } else { LogFormat::Json });
    // The error says that this process logs already.
    let _begun = match format {
        LogFormat::Json => lines.json().flatten_event(true).finish().with(ours).try_init(),
        LogFormat::Pretty => lines.with_ansi(terminal).with_target(false).finish().with(ours).try_init(),
    };
}
