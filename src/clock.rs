//! Time as a value: wall-clock timestamps for records, boot time for guards, and one handle that tests can turn.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment in UTC, in whole milliseconds since the Unix epoch. Written as RFC 3339 in JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// 9999-12-31T00:00:00Z, the last day that RFC 3339's four-digit year can write.
const LATEST_MS: i64 = 253_402_214_400_000;

impl Timestamp {
    /// The moment `ms` milliseconds after the epoch, clamped to the years 1970 to 9999.
    pub fn from_ms(ms: i64) -> Self {
        Self(ms.clamp(0, LATEST_MS))
    }

    /// Milliseconds since the epoch.
    pub fn as_ms(self) -> i64 {
        self.0
    }

    /// This moment plus `span`, saturating at the latest representable moment.
    pub fn plus(self, span: Duration) -> Self {
        Self::from_ms(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment minus `span`, saturating at the epoch.
    pub fn minus(self, span: Duration) -> Self {
        Self::from_ms(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this moment is; zero when it is not after it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Parses RFC 3339 with any offset. `None` for anything else, years before 1970 and after 9999 included.
    pub fn parse(text: &str) -> Option<Self> {
        let ms = text.parse::<jiff::Timestamp>().ok()?.as_millisecond();
        (0..=LATEST_MS).contains(&ms).then_some(Self(ms))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
    }
}

/// A span in its two largest units: `3d 4h`, `2m 5s`, `0s`.
pub fn human(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let Some(first) = units.iter().position(|(_, size)| seconds >= *size) else {
        return "0s".into();
    };
    let mut rest = seconds;
    let parts: Vec<String> = units[first..]
        .iter()
        .take(2)
        .filter_map(|(unit, size)| {
            let count = rest / size;
            rest %= size;
            (count > 0).then(|| format!("{count}{unit}"))
        })
        .collect();
    parts.join(" ")
}

/// Where the time comes from. Cheap to clone; every clone of a manual clock shows the same time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still at `start` until [`Clock::advance`] turns it.
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(start.as_ms()))))
    }

    /// The wall-clock time.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::from_ms(jiff::Timestamp::now().as_millisecond()),
            Source::Manual(ms) => Timestamp::from_ms(ms.load(Ordering::SeqCst)),
        }
    }

    /// Time since boot. It never jumps and does not stop in suspend, as a guard against sending late must not
    /// (`std::time::Instant` stops there on Linux).
    pub fn boot_time(&self) -> Duration {
        match &self.0 {
            Source::System => boot_time(),
            Source::Manual(ms) => Duration::from_millis(ms.load(Ordering::SeqCst).unsigned_abs()),
        }
    }

    /// Whether it moves only when a test turns it. Who waits for a moment of such a clock would wait for ever.
    pub fn is_manual(&self) -> bool {
        matches!(self.0, Source::Manual(_))
    }

    /// Turns a manual clock forward by `span`. A system clock is left alone.
    pub fn advance(&self, span: Duration) {
        if let Source::Manual(ms) = &self.0 {
            ms.fetch_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}

#[cfg(target_os = "linux")]
fn boot_time() -> Duration {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(at.tv_sec.unsigned_abs(), u32::try_from(at.tv_nsec).unwrap_or(0))
}

#[cfg(not(target_os = "linux"))]
fn boot_time() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_offset_is_read_and_utc_is_written() {
        let at = Timestamp::parse("2026-11-21T18:00:00+09:00").map(|t| t.to_string());
        assert_eq!(at.as_deref(), Some("2026-11-21T09:00:00.000Z"));
        assert_eq!(Timestamp::parse("2026-11-21"), None);
        assert_eq!(Timestamp::parse("1969-12-31T23:59:59Z"), None);
    }
}
