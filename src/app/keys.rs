//! The keys that open the API: configured ones, or one that is made for a server on loopback.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::api::auth::{ApiKey, KeyRing, Scope};
use crate::secret::Secret;
use crate::settings::Settings;

/// The file that holds the made key.
const MADE_KEY: &str = "api-key";

/// Every key, that of this start's operator included; and the file of the made key, where none is configured.
pub(super) fn ring(settings: &Settings, operator: &Secret) -> anyhow::Result<(KeyRing, Option<PathBuf>)> {
    let mut keys = settings.api_keys.clone();
    keys.push(ApiKey::of_secret("operator", operator.reveal(), "default", &Scope::ALL));
    let mut file = None;
    match &settings.api_key {
        Some(key) => keys.push(ApiKey::of_secret("default", key.reveal(), "default", &Scope::ALL)),
        None if settings.api_keys.is_empty() => {
            let path = settings.data_dir.join(MADE_KEY);
            let made = made_key(&path)?;
            keys.push(ApiKey::of_secret("default", made.reveal(), "default", &Scope::ALL));
            file = Some(path);
        }
        None => {}
    }
    Ok((KeyRing::new(keys), file))
}

/// The key that was made at the first start, or a fresh one.
fn made_key(path: &Path) -> anyhow::Result<Secret> {
    let key = match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(_) => make(path)?,
        Err(error) if error.kind() == ErrorKind::NotFound => make(path)?,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    Ok(Secret::new(key))
}

fn make(path: &Path) -> anyhow::Result<String> {
    let (key, _) = ApiKey::generate("default", "default", &Scope::ALL);
    write_private(path, &format!("{key}\n"))?;
    Ok(key)
}

/// Writes a file that only its owner may read.
pub(super) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
