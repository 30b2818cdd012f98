//! Gathers what flags, environment and file say, before anything is interpreted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::fault::{Fault, Origin, nearest};
use super::keys::{KEYS, Key, Kind};

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

/// What one source says, by TOML path.
pub(super) type Layer = BTreeMap<String, Given>;

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
    let named = Key { path: key.path, kind: Kind::Path, default: None, doc: "" };
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

/// The paths of all keys and of their `_file` forms.
pub(super) fn known_paths() -> impl Iterator<Item = String> {
    KEYS.iter().flat_map(|key| {
        let file = key.kind.has_file().then(|| format!("{}_file", key.path));
        std::iter::once(key.path.to_owned()).chain(file)
    })
}

fn env_name(path: &str) -> String {
    format!("KAKITOME_{}", path.replace('.', "_").to_uppercase())
}

/// Says that a name is not known, and which was probably meant.
pub(super) fn unknown(what: &str, meant: Option<String>) -> String {
    match meant {
        Some(meant) => format!("there is no such {what}; did you mean {meant}?"),
        None => format!("there is no such {what}"),
    }
}
