//! Spans of time and sizes as people write them.

use std::time::Duration;

const SPANS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads `500ms`, `30s`, `10m`, `6h`, `2d` or a row of them such as `1h30m`.
pub fn parse_span(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = 0_u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, tail) = split_number(rest)?;
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let (_, factor) = SPANS.iter().find(|(name, _)| *name == unit.trim())?;
        total = total.checked_add(number.checked_mul(*factor)?)?;
        rest = tail;
    }
    Some(Duration::from_millis(total))
}

/// Reads `10MiB`, `64KiB`, `5MB` or plain bytes such as `4096`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text.trim())?;
    let unit = unit.trim();
    if unit.is_empty() {
        return Some(number);
    }
    let (_, factor) = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.checked_mul(*factor)
}

/// Writes a span so that [`parse_span`] reads it back: `90s` as `1m30s`.
pub fn show_span(span: Duration) -> String {
    let mut ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (unit, factor) in SPANS.iter().rev() {
        if ms >= *factor {
            text.push_str(&format!("{}{unit}", ms / factor));
            ms %= factor;
        }
    }
    text
}

/// Writes a size so that [`parse_bytes`] reads it back.
pub fn show_bytes(bytes: u64) -> String {
    let exact = SIZES.iter().take(3).find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    exact.map_or_else(|| format!("{bytes}B"), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_as_people_write_them() {
        assert_eq!(parse_span("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_span("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_span("0s"), Some(Duration::ZERO));
        for bad in ["", "30", "s", "-1s", "1.5s", "10 years", "99999999999999999999d"] {
            assert_eq!(parse_span(bad), None, "{bad}");
        }
        assert_eq!(show_span(Duration::from_millis(5_400_500)), "1h30m500ms");
        assert_eq!(
            parse_span(&show_span(Duration::from_millis(5_400_500))),
            Some(Duration::from_millis(5_400_500))
        );
    }

    #[test]
    fn sizes_are_read_and_written_as_people_write_them() {
        assert_eq!(parse_bytes("10MiB"), Some(10 << 20));
        assert_eq!(parse_bytes("5 MB"), Some(5_000_000));
        assert_eq!(parse_bytes("4096"), Some(4096));
        for bad in ["", "MiB", "-1", "1.5MiB", "10 apples"] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
        assert_eq!((show_bytes(10 << 20), show_bytes(1000)), ("10MiB".into(), "1000B".into()));
    }
}
