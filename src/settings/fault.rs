//! What is wrong with a configuration: every fault at once, each naming the key, where it came from, the value
//! (never a secret's) and what is allowed.

use std::fmt;
use std::path::PathBuf;

use super::keys::{Key, Kind};

/// Everything that is wrong. `Display` prints one line per fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key, the value and where it came from, such as `KAKITOME_WORKER_LEASE="5x"`.
    pub subject: String,
    /// What is wrong with it and what is allowed.
    pub detail: String,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A command-line flag, by its name.
    Flag(&'static str),
    /// An environment variable, by its name.
    Env(String),
    /// The configuration file, at this line.
    File(PathBuf, usize),
    /// Nobody gave one.
    Default,
}

impl Fault {
    /// A fault of `key`, whose value `text` came from `origin`.
    pub fn of(key: &Key, text: Option<&str>, origin: &Origin, detail: impl Into<String>) -> Self {
        let shown = match (&key.kind, text) {
            (Kind::Secret, Some(_)) => "a secret".to_owned(),
            // It is long, and may be a private key by mistake.
            (Kind::Certificates, Some(text)) => format!("{} bytes", text.len()),
            (_, Some(text)) => format!("{text:?}"),
            (_, None) => "nothing".to_owned(),
        };
        let subject = match origin {
            Origin::Flag(flag) => format!("{flag} {shown}"),
            Origin::Env(name) => format!("{name}={shown}"),
            Origin::File(path, line) => format!("{} = {shown} ({}, line {line})", key.path, path.display()),
            Origin::Default if text.is_none() => format!("{} ({})", key.path, key.env()),
            Origin::Default => format!("{} = {shown} (the default)", key.path),
        };
        Self { subject, detail: detail.into() }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not valid:")?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for Faults {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.detail)
    }
}

/// The known name nearest to `name`, if it is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 5)
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

/// Levenshtein's distance, with a swap of neighbours as one edit.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_another_word_is_not() {
        let known = ["worker.lease", "worker.hold", "queue.visibility"];
        assert_eq!(nearest("wroker.lease", known.into_iter()).as_deref(), Some("worker.lease"));
        assert_eq!(nearest("visibility", known.into_iter()), None);
    }
}
