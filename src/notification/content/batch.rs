//! Many notifications in one body, cut apart before any is read, so that a broken one spoils only itself.

use super::json::without_bom;

/// One entry of a batch, not parsed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The line (NDJSON) or the place in the list (JSON), from 1.
    pub number: usize,
    /// For [`super::parse`].
    pub body: &'a [u8],
}

/// How a body holds its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One entry a line.
    Ndjson,
    /// One JSON list.
    List,
}

impl Form {
    /// The form of a body: a list starts with `[`, which no line of NDJSON here does.
    pub fn of(body: &[u8]) -> Self {
        match without_bom(body).trim_ascii_start().first() {
            Some(b'[') => Form::List,
            _ => Form::Ndjson,
        }
    }
}

/// Why a body cannot be cut into entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchFault {
    /// It holds more than this many.
    #[error("holds more than {0} notifications")]
    TooMany(usize),
    /// A list that does not end, or goes on after its end.
    #[error("is not one JSON list: its brackets or quotes do not match up")]
    NotOneList,
}

/// The entries of a body, at most `most`, in their order.
///
/// Blank lines are left out. A list is cut at the commas between its entries without looking at what is inside, so
/// `[{"a":},{}]` has two entries, of which the first is broken.
pub fn split(body: &[u8], form: Form, most: usize) -> Result<Vec<Entry<'_>>, BatchFault> {
    let body = without_bom(body);
    match form {
        Form::Ndjson => split_lines(body, most),
        Form::List => split_list(body, most),
    }
}

fn split_lines(body: &[u8], most: usize) -> Result<Vec<Entry<'_>>, BatchFault> {
    let lines =
        body.split(|b| *b == b'\n').zip(1..).map(|(line, number)| Entry { number, body: line.trim_ascii() });
    let mut entries = Vec::new();
    for entry in lines.filter(|entry| !entry.body.is_empty()) {
        if entries.len() == most {
            return Err(BatchFault::TooMany(most));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn split_list(body: &[u8], most: usize) -> Result<Vec<Entry<'_>>, BatchFault> {
    let rest = body.trim_ascii().strip_prefix(b"[").ok_or(BatchFault::NotOneList)?;
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let (mut start, mut depth, mut in_text, mut escaped) = (0, 0_usize, false, false);
    for (i, byte) in rest.iter().enumerate() {
        if in_text {
            in_text = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth > 0 => depth -= 1,
            b']' if depth == 0 => {
                let last = rest[start..i].trim_ascii();
                match (last.is_empty(), entries.is_empty()) {
                    (true, true) => {}
                    (true, false) => return Err(BatchFault::NotOneList),
                    (false, _) => push(&mut entries, last, most)?,
                }
                return if i + 1 == rest.len() { Ok(entries) } else { Err(BatchFault::NotOneList) };
            }
            b',' if depth == 0 => {
                push(&mut entries, rest[start..i].trim_ascii(), most)?;
                start = i + 1;
            }
            b'}' => return Err(BatchFault::NotOneList),
            _ => {}
        }
    }
    Err(BatchFault::NotOneList)
}

/// Bounded while they are found: a body of millions of tiny entries must not become a list of millions.
fn push<'a>(entries: &mut Vec<Entry<'a>>, body: &'a [u8], most: usize) -> Result<(), BatchFault> {
    if entries.len() == most {
        return Err(BatchFault::TooMany(most));
    }
    entries.push(Entry { number: entries.len() + 1, body });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(body: &str) -> Result<Vec<(usize, &str)>, BatchFault> {
        let entries = split(body.as_bytes(), Form::of(body.as_bytes()), 3)?;
        Ok(entries.into_iter().map(|e| (e.number, std::str::from_utf8(e.body).unwrap_or_default())).collect())
    }

    #[test]
    fn a_list_is_cut_between_its_entries_and_nowhere_else() {
        assert_eq!(
            bodies(" [ {\"a\":[1,{}]} , \"x,]\\\"\\\\\" ,{}] "),
            Ok(vec![(1, "{\"a\":[1,{}]}"), (2, "\"x,]\\\"\\\\\""), (3, "{}")])
        );
        assert_eq!(bodies("[]"), Ok(vec![]));
        assert_eq!(bodies("[ ]"), Ok(vec![]));
    }

    #[test]
    fn a_broken_entry_spoils_only_itself() {
        assert_eq!(bodies("[{\"a\":},{}]"), Ok(vec![(1, "{\"a\":}"), (2, "{}")]));
        assert_eq!(bodies("[{},,{}]"), Ok(vec![(1, "{}"), (2, ""), (3, "{}")]));
        assert_eq!(bodies("{]\n\n  \r\n{}\r\n"), Ok(vec![(1, "{]"), (4, "{}")]));
    }

    #[test]
    fn what_does_not_match_up_is_refused_as_a_whole() {
        for body in ["[", "[{}", "[{]", "[}]", "[\"]", "[{}]]", "[{}] {}", "[{}],", "[{},]"] {
            assert_eq!(bodies(body), Err(BatchFault::NotOneList), "{body}");
        }
    }

    #[test]
    fn more_entries_than_allowed_are_refused() {
        assert_eq!(bodies("[1,2,3,4]"), Err(BatchFault::TooMany(3)));
        assert_eq!(bodies("1\n2\n3\n4"), Err(BatchFault::TooMany(3)));
        assert_eq!(bodies("1\n2\n3\n\n"), Ok(vec![(1, "1"), (2, "2"), (3, "3")]));
    }
}
