//! CSV as RFC 4180 has it, safe to open in a spreadsheet.

use std::io::{self, Write};

use super::report::Affected;

const HEAD: [&str; 17] = [
    "id",
    "tenant",
    "metadata",
    "recipients",
    "status",
    "why",
    "reason",
    "accepted_at",
    "deadline",
    "time_left_seconds",
    "delay_seconds",
    "sent_at",
    "attempts",
    "last_error",
    "batch",
    "perhaps_twice",
    "certainly_twice",
];

/// A head, and a line for each.
pub fn write(rows: &[Affected], to: &mut dyn Write) -> io::Result<()> {
    line(HEAD, to)?;
    for row in rows {
        let is = |why: &str| if row.why.iter().any(|one| one == why) { "yes" } else { "no" };
        let text = |maybe: &Option<String>| maybe.clone().unwrap_or_default();
        let time =
            |maybe: Option<_>| maybe.map_or_else(String::new, |at: crate::clock::Timestamp| at.to_string());
        line(
            [
                row.id.as_str(),
                &row.tenant,
                // A map of texts: writing it as JSON cannot fail.
                &serde_json::to_string(&row.metadata).unwrap_or_default(),
                &row.recipients.join("; "),
                &row.status,
                &row.why.join(" "),
                &text(&row.reason),
                &row.accepted_at.to_string(),
                &time(row.deadline),
                &row.time_left_seconds.map_or_else(String::new, |seconds| seconds.to_string()),
                &row.delay_seconds.to_string(),
                &time(row.sent_at),
                &row.attempts.to_string(),
                &text(&row.last_error),
                &text(&row.batch),
                is("perhaps_twice"),
                is("sent_twice"),
            ],
            to,
        )?;
    }
    Ok(())
}

fn line(fields: [&str; HEAD.len()], to: &mut dyn Write) -> io::Result<()> {
    let fields = fields.map(field);
    write!(to, "{}\r\n", fields.join(","))
}

/// One field. What a spreadsheet would take for a formula gets a `'` in front (OWASP, "CSV Injection"): producers and
/// providers wrote these texts. Only texts of others can begin so, as no number here is negative.
pub fn field(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    let is_plain = !text.contains([',', '"', '\r', '\n']) && text.trim() == text;
    if is_plain { text } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_quoted_where_it_must_be_and_is_never_a_formula() {
        for (text, told) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            (" padded", "\" padded\""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("+81 3", "'+81 3"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("＝1", "'＝1"),
            ("a=b", "a=b"),
            ("予約, 済", "\"予約, 済\""),
        ] {
            assert_eq!(field(text), told, "{text:?}");
        }
    }

    /// Reads RFC 4180 back.
    fn read(text: &str) -> Vec<Vec<String>> {
        let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
                '"' => quoted = !quoted,
                ',' if !quoted => row.push(std::mem::take(&mut cell)),
                '\r' if !quoted => {}
                '\n' if !quoted => {
                    row.push(std::mem::take(&mut cell));
                    rows.push(std::mem::take(&mut row));
                }
                c => cell.push(c),
            }
        }
        rows
    }

    #[test]
    fn every_row_is_read_back_as_it_was_written() {
        let row = Affected {
            id: "7".into(),
            metadata: [("note".to_owned(), "a \"b\",\r\nc".to_owned())].into(),
            recipients: vec!["a@example.com".into(), "b@example.com".into()],
            why: vec!["failed".into(), "perhaps_twice".into()],
            last_error: Some("=cmd|' /C calc'!A0".into()),
            ..Affected::default()
        };
        let mut bytes = Vec::new();
        assert!(write(&[row], &mut bytes).is_ok());
        let rows = read(&String::from_utf8_lossy(&bytes));
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(|row| row.len() == HEAD.len()));
        let cell = |name: &str| HEAD.iter().position(|head| *head == name).map(|ix| rows[1][ix].as_str());
        assert_eq!(cell("metadata"), Some(r#"{"note":"a \"b\",\r\nc"}"#));
        assert_eq!(cell("recipients"), Some("a@example.com; b@example.com"));
        assert_eq!(cell("last_error"), Some("'=cmd|' /C calc'!A0"));
        assert_eq!((cell("perhaps_twice"), cell("certainly_twice")), (Some("yes"), Some("no")));
    }
}
