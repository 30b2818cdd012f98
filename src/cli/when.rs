//! Moments as people say them on a command line, and spans as they read them.

pub use crate::clock::human;
use crate::clock::{Clock, Timestamp};
use crate::settings::parse_span;

/// Reads `2h` (that long ago) or RFC 3339 with any offset.
pub fn parse_moment(text: &str) -> Result<Timestamp, String> {
    let ago = parse_span(text).map(|span| Clock::system().now().minus(span));
    ago.or_else(|| Timestamp::parse(text))
        .ok_or_else(|| "neither a span such as 2h or 30m nor a time such as 2026-11-21T18:00:00+09:00".into())
}

/// How far `at` is from `now`: `in 5m` or `2h ago`.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    if at > now { format!("in {}", human(at.since(now))) } else { format!("{} ago", human(now.since(at))) }
}

/// The time of day, as in `14:32:05 UTC`; of a moment that is kept whole elsewhere.
pub fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(11..19).map_or(text.clone(), |time| format!("{time} UTC"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn spans_are_told_in_their_two_largest_units() {
        let told: Vec<String> = [0, 59, 125, 3600, 90_061].map(|s| human(Duration::from_secs(s))).into();
        assert_eq!(told, ["0s", "59s", "2m 5s", "1h", "1d 1h"]);
    }

    #[test]
    fn a_moment_may_be_a_span_ago_or_rfc_3339_with_any_offset() {
        let utc = parse_moment("2026-11-21T09:00:00Z");
        assert_eq!(parse_moment("2026-11-21T18:00:00+09:00"), utc);
        assert!(parse_moment("2h").is_ok_and(|at| at < Clock::system().now()));
        assert!(parse_moment("yesterday").is_err());
    }
}
