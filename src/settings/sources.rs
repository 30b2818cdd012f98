//! Gathers what flags, environment and file say, before anything is interpreted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Origin, nearest};
use super::keys::{KEYS, Key, find};

/// Everything that configuration is read from. Plain values, so that tests need no process environment.
#[derive(Debug, Default, Clone)]
pub struct Sources {
    /// What the command line says, strongest.
    pub flags: Vec<FlagValue>,
    /// Environment variables; those that do not start with `KAKITOME_` are ignored.
    pub env: Vec<(String, String)>,
    /// The TOML file.
    pub file: Option<ConfigFile>,
}

/// A key given on the command line.
#[derive(Debug, Clone)]
pub struct FlagValue {
    /// As it was typed, such as `--data-dir`.
    pub flag: &'static str,
    /// The key's TOML path; ends in `_file` when the value is the path of a file that holds it.
    pub path: &'static str,
    /// The value.
    pub value: String,
}

/// A configuration file.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// Its path, as it is shown.
    pub path: PathBuf,
    /// Whether it was asked for: then it must be there.
    pub must_exist: bool,
}

/// One text that was given for a key.
#[derive(Debug, Clone)]
pub struct Given {
    /// The text; lists are joined with commas.
    pub text: String,
    /// From where.
    pub origin: Origin,
}

/// An `[[api_key]]` table, not yet interpreted.
#[derive(Debug, Clone)]
pub struct ApiKeyTable {
    /// Its first line.
    pub line: usize,
    /// Where it stands.
    pub file: PathBuf,
    /// Its fields as text; lists are joined with commas.
    pub fields: BTreeMap<String, String>,
}

/// All that was given, strongest source first per key.
#[derive(Debug, Default)]
pub struct Gathered {
    /// By TOML path.
    pub given: BTreeMap<&'static str, Given>,
    /// In the order of the file.
    pub api_keys: Vec<ApiKeyTable>,
    /// What was wrong on the way.
    pub faults: Vec<Fault>,
}

type Layer = BTreeMap<String, Given>;

impl Sources {
    /// The process environment and the file `config`, or `kakitome.toml` where it is there.
    pub fn from_process(flags: Vec<FlagValue>, config: Option<PathBuf>) -> Self {
        let env = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .filter(|(name, _)| name.starts_with("KAKITOME_"))
            .collect();
        let must_exist = config.is_some();
        let path = config.unwrap_or_else(|| PathBuf::from("kakitome.toml"));
        Self { flags, env, file: Some(ConfigFile { path, must_exist }) }
    }

    /// Reads the file and the files that `…_file` keys name, and settles who is stronger.
    pub fn gather(&self) -> Gathered {
        let mut gathered = Gathered::default();
        let flags: Layer = self
            .flags
            .iter()
            .map(|f| (f.path.to_owned(), Given { text: f.value.clone(), origin: Origin::Flag(f.flag) }))
            .collect();
        let env = self.env_layer(&mut gathered.faults);
        let file = self.file.as_ref().map(|file| file.layer(&mut gathered)).unwrap_or_default();
        for key in &KEYS {
            let found =
                [&flags, &env, &file].into_iter().find_map(|layer| pick(key, layer, &mut gathered.faults));
            if let Some(given) = found {
                gathered.given.insert(key.path, given);
            }
        }
        gathered
    }

    fn env_layer(&self, faults: &mut Vec<Fault>) -> Layer {
        let known: BTreeMap<String, String> = known_paths().map(|path| (env_name(&path), path)).collect();
        let mut layer = Layer::new();
        for (name, value) in self.env.iter().filter(|(name, _)| name.starts_with("KAKITOME_")) {
            match known.get(name) {
                // Compose files and shells write "unset" as an empty variable.
                Some(_) if value.is_empty() => {}
                Some(path) => {
                    layer.insert(
                        path.clone(),
                        Given { text: value.clone(), origin: Origin::Env(name.clone()) },
                    );
                }
                None => faults.push(Fault {
                    subject: name.clone(),
                    detail: unknown("environment variable", nearest(name, known.keys().map(String::as_str))),
                }),
            }
        }
        layer
    }
}

/// What one layer says of a key: its value, or the content of the file that holds it.
fn pick(key: &Key, layer: &Layer, faults: &mut Vec<Fault>) -> Option<Given> {
    let plain = layer.get(key.path);
    let file = layer.get(&format!("{}_file", key.path));
    let Some(file) = file else { return plain.cloned() };
    let named = Key { path: key.path, kind: super::keys::Kind::Path, default: None, doc: "" };
    let mut refuse = |detail: String| faults.push(Fault::of(&named, Some(&file.text), &file.origin, detail));
    if plain.is_some() {
        refuse(format!("{} is given twice, as a value and as a file; give one", key.path));
        return None;
    }
    match std::fs::read_to_string(&file.text) {
        Ok(text) if text.trim().is_empty() => refuse("the file is empty".into()),
        Ok(text) => {
            return Some(Given { text: text.trim().to_owned(), origin: file.origin.clone() });
        }
        Err(error) => refuse(format!("the file cannot be read: {error}")),
    }
    None
}

fn known_paths() -> impl Iterator<Item = String> {
    KEYS.iter().flat_map(|key| {
        let file = key.kind.has_file().then(|| format!("{}_file", key.path));
        std::iter::once(key.path.to_owned()).chain(file)
    })
}

fn env_name(path: &str) -> String {
    format!("KAKITOME_{}", path.replace('.', "_").to_uppercase())
}

fn unknown(what: &str, meant: Option<String>) -> String {
    match meant {
        Some(meant) => format!("there is no such {what}; did you mean {meant}?"),
        None => format!("there is no such {what}"),
    }
}

impl ConfigFile {
    fn layer(&self, gathered: &mut Gathered) -> Layer {
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
