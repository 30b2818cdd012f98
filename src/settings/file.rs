//! Reads the TOML file, with the line of every key, so that a fault can be found.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Origin, nearest};
use super::keys::{KEYS, find};
use super::sources::{ApiKeyTable, ConfigFile, Gathered, Given, Layer, known_paths, unknown};

impl ConfigFile {
    /// What it says; faults and `[[api_key]]` tables go to `gathered`.
    pub(super) fn layer(&self, gathered: &mut Gathered) -> Layer {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.must_exist => {
                return Layer::new();
            }
            Err(error) => {
                gathered.faults.push(Fault {
                    subject: format!("--config {:?}", self.path),
                    detail: format!("the file cannot be read: {error}"),
                });
                return Layer::new();
            }
        };
        let mut reader = FileReader { file: &self.path, text: &text, layer: Layer::new(), gathered };
        match DeTable::parse(&text) {
            Ok(table) => reader.table("", table.get_ref()),
            // The message alone: the snippet that TOML errors come with could show a secret.
            Err(error) => {
                let line = reader.line(error.span().map_or(0, |span| span.start));
                reader.refuse("not TOML", line, error.message().to_owned());
            }
        }
        reader.layer
    }
}

struct FileReader<'a> {
    file: &'a Path,
    text: &'a str,
    layer: Layer,
    gathered: &'a mut Gathered,
}

impl FileReader<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self.text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
    }

    fn refuse(&mut self, subject: &str, line: usize, detail: String) {
        let subject = format!("{subject} ({}, line {line})", self.file.display());
        self.gathered.faults.push(Fault { subject, detail });
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let path = format!("{prefix}{}", name.get_ref());
            let line = self.line(name.span().start);
            match value.get_ref() {
                DeValue::Array(tables) if path == "api_key" => {
                    for table in tables {
                        let line = self.line(table.span().start);
                        self.api_key(table.get_ref(), line);
                    }
                }
                // Unknown sections too: their keys are then refused one by one, each with what was probably meant.
                DeValue::Table(inner) if find(&path).is_none() && !inner.is_empty() => {
                    self.table(&format!("{path}."), inner);
                }
                DeValue::Table(_) if is_section(&path) => {}
                value => self.value(path, value, line),
            }
        }
    }

    fn value(&mut self, path: String, value: &DeValue<'_>, line: usize) {
        if !known_paths().any(|known| known == path) {
            let paths: Vec<String> = known_paths().collect();
            let meant = nearest(&path, paths.iter().map(String::as_str));
            return self.refuse(&path, line, unknown("key", meant));
        }
        match text_of(value) {
            Some(text) => {
                let origin = Origin::File(self.file.to_owned(), line);
                self.layer.insert(path, Given { text, origin });
            }
            None => {
                let allowed = find(&path).map_or_else(|| "a path".into(), |key| key.kind.allowed());
                self.refuse(&path, line, format!("a {} does not fit; allowed: {allowed}", value.type_str()));
            }
        }
    }

    fn api_key(&mut self, value: &DeValue<'_>, line: usize) {
        let DeValue::Table(table) = value else {
            return self.refuse("api_key", line, "wants tables, written [[api_key]]".into());
        };
        let mut fields = BTreeMap::new();
        for (name, value) in table {
            match text_of(value.get_ref()) {
                Some(text) => {
                    fields.insert(name.get_ref().to_string(), text);
                }
                None => {
                    self.refuse(&format!("api_key.{}", name.get_ref()), line, "wants a text or a list".into())
                }
            }
        }
        self.gathered.api_keys.push(ApiKeyTable { line, file: self.file.to_owned(), fields });
    }
}

fn is_section(path: &str) -> bool {
    let prefix = format!("{path}.");
    KEYS.iter().any(|key| key.path.starts_with(&prefix))
}

/// The text of a scalar, or of a list of texts joined with commas.
fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string())
        }
        DeValue::Boolean(yes) => Some(yes.to_string()),
        DeValue::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            Some(texts?.join(","))
        }
        _ => None,
    }
}
