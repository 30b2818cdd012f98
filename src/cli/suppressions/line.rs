//! One line of a list, as NDJSON or CSV.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::notification::address::Address;
use crate::suppression::{Reason, Source};

/// The columns of a CSV file without names.
const COLUMNS: [&str; 3] = ["email", "reason", "note"];

/// Reads lines: the first one says in which form the others are.
#[derive(Debug, Default)]
pub(super) struct Reader {
    form: Option<Form>,
}

#[derive(Debug)]
enum Form {
    Ndjson,
    /// The columns' names.
    Csv(Vec<String>),
}

/// What a line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) email: String,
    pub(super) reason: Option<Reason>,
    pub(super) note: Option<String>,
    pub(super) group: Option<String>,
    pub(super) tenant: Option<String>,
}

/// A line of NDJSON, as `export` writes it or as people do.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    email: String,
    reason: Option<String>,
    note: Option<String>,
    group: Option<String>,
    tenant: Option<String>,
    source: Option<Source>,
    #[serde(rename = "created_at")]
    _created_at: Option<serde::de::IgnoredAny>,
}

impl Reader {
    /// What the line says; `None`: the names of the columns. Faults are told without the line's values.
    pub(super) fn read(&mut self, text: &[u8]) -> Result<Option<Line>, String> {
        let text = std::str::from_utf8(text).map_err(|_| "is not UTF-8".to_owned())?;
        let is_first = self.form.is_none();
        let form = self.form.get_or_insert_with(|| match text.starts_with('{') {
            true => Form::Ndjson,
            false => Form::Csv(names(text)),
        });
        match form {
            Form::Ndjson => object(text).map(Some),
            Form::Csv(_) if is_first && is_head(text) => Ok(None),
            Form::Csv(names) => row(names, text).map(Some),
        }
    }
}

impl Line {
    /// As the API takes it, completed by what stands where a line does not say.
    pub(super) fn json(&self, reason: Reason, note: Option<&str>, tenant: Option<&str>) -> Value {
        let mut entry = Map::from_iter([
            ("email".to_owned(), Value::from(self.email.as_str())),
            ("reason".to_owned(), Value::from(self.reason.unwrap_or(reason).as_str())),
        ]);
        let texts = [
            ("note", self.note.as_deref().or(note)),
            ("group", self.group.as_deref()),
            ("tenant", tenant.or(self.tenant.as_deref())),
        ];
        for (name, text) in texts {
            entry.extend(text.map(|text| (name.to_owned(), Value::from(text))));
        }
        Value::Object(entry)
    }
}

fn object(text: &str) -> Result<Line, String> {
    let object: Object = serde_json::from_str(text).map_err(|error| {
        let what = match error.to_string() {
            text if text.starts_with("unknown field") => "has a field that is not known",
            text if text.starts_with("missing field") => "has no email",
            _ => "is not a JSON object with texts",
        };
        format!("{what} (column {})", error.column())
    })?;
    let Object { email, reason, note, group, tenant, source, .. } = object;
    let said = match source {
        Some(Source::Operator { note, .. }) => note,
        Some(Source::Event { .. }) | None => None,
    };
    line(email, reason, note.or(said), group, tenant)
}

fn line(
    email: String,
    reason: Option<String>,
    note: Option<String>,
    group: Option<String>,
    tenant: Option<String>,
) -> Result<Line, String> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let email = email.trim().to_owned();
    Address::parse(&email).map_err(|wrong| format!("email {wrong}"))?;
    let reason = given(reason).map(|text| text.trim().parse::<Reason>());
    let reason = reason.transpose().map_err(|unknown| format!("reason {unknown}"))?;
    Ok(Line { email, reason, note: given(note), group: given(group), tenant: given(tenant) })
}

fn names(text: &str) -> Vec<String> {
    match is_head(text) {
        true => fields(text).unwrap_or_default().iter().map(|name| name.trim().to_lowercase()).collect(),
        false => COLUMNS.map(str::to_owned).into(),
    }
}

fn is_head(text: &str) -> bool {
    let is_email = |field: &String| field.trim().eq_ignore_ascii_case("email");
    fields(text).is_ok_and(|fields| fields.iter().any(is_email))
}

fn row(names: &[String], text: &str) -> Result<Line, String> {
    let fields = fields(text)?;
    let column = |name: &str| {
        let place = names.iter().position(|one| one == name)?;
        fields.get(place).map(|text| plain(text).to_owned())
    };
    line(
        column("email").unwrap_or_default(),
        column("reason"),
        column("note"),
        column("group"),
        column("tenant"),
    )
}

/// What `export` put before a text that a spreadsheet would take for a formula.
fn plain(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(rest) if rest.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']) => rest,
        _ => text,
    }
}

/// The fields of one line (RFC 4180); none of ours has a line end in it.
fn fields(text: &str) -> Result<Vec<String>, String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' if quoted => quoted = false,
            // An address may itself begin with a quote: `"a..b"@docomo.ne.jp` is then no quoted field.
            '"' if field.is_empty() && !is_quoted_local(chars.clone()) => quoted = true,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    if quoted { Err("has a quote that is not closed".into()) } else { Ok(fields) }
}

/// Whether an unescaped quote is followed by an `@`, as in a quoted local part that nobody quoted once more.
fn is_quoted_local(rest: impl Iterator<Item = char>) -> bool {
    let rest: String = rest.collect();
    rest.find('"').is_some_and(|end| rest[end + 1..].starts_with('@'))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Vec<Result<Line, String>> {
        let mut reader = Reader::default();
        lines.iter().filter_map(|line| reader.read(line.as_bytes()).transpose()).collect()
    }

    fn of(email: &str, reason: Option<Reason>, note: Option<&str>) -> Line {
        Line { email: email.into(), reason, note: note.map(str::to_owned), ..Line::default() }
    }

    #[test]
    fn csv_is_read_with_and_without_names_of_columns() {
        let rows =
            read(&["a@example.com", "b@example.com,bounce", "c@example.com, complaint ,\"no, thanks\""]);
        let rows: Vec<Line> = rows.into_iter().map(Result::unwrap).collect();
        assert_eq!(rows[0], of("a@example.com", None, None));
        assert_eq!(rows[1], of("b@example.com", Some(Reason::Bounce), None));
        assert_eq!(rows[2], of("c@example.com", Some(Reason::Complaint), Some("no, thanks")));
        let rows = read(&["Reason,x,EMAIL,group", "unsubscribe,?,'+a@example.com,7"]);
        let line = rows.into_iter().next().unwrap().unwrap();
        assert_eq!((line.email.as_str(), line.group.as_deref()), ("+a@example.com", Some("7")));
    }

    #[test]
    fn carriers_quotes_survive_csv() {
        for text in ["\"a..b\"@docomo.ne.jp,bounce", "\"\"\"a..b\"\"@docomo.ne.jp\",bounce"] {
            let line = read(&[text]).pop().unwrap().unwrap();
            assert_eq!(line, of("\"a..b\"@docomo.ne.jp", Some(Reason::Bounce), None), "{text}");
        }
    }

    #[test]
    fn a_line_that_is_wrong_says_so_without_its_values() {
        let told = |line: &str| read(&[line]).pop().unwrap().unwrap_err();
        for (line, expected) in [
            ("secret", "email has no @"),
            ("a@example.com,vip", "reason must be of"),
            ("\"a@example.com", "not closed"),
            ("{\"email\":\"secret\"}", "email has no @"),
            ("{\"email\":7}", "is not a JSON object"),
            ("{\"secret\":\"x\"}", "a field that is not known"),
            ("{\"reason\":\"bounce\"}", "has no email"),
        ] {
            let fault = told(line);
            assert!(fault.contains(expected) && !fault.contains("secret"), "{line}: {fault}");
        }
    }
}
