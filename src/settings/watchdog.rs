//! When what was sent should have been heard of.

use std::time::Duration;

use super::reader::Reader;

/// The watchdog's deadlines.
#[derive(Debug, Clone)]
pub struct WatchdogSettings {
    /// Something should be heard of what was sent within this.
    pub processed_within: Duration,
    /// And its end within this.
    pub end_within: Duration,
}

impl WatchdogSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            processed_within: reader.span("watchdog.processed_within"),
            end_within: reader.span("watchdog.end_within"),
        }
    }
}
