//! `DATA_DIR/server.json`: where the running server listens and how its operator's commands come in, for commands
//! that find the directory taken. Whoever can read the directory could read the storage itself.

use std::path::{Path, PathBuf};

use super::keys::write_private;
use crate::secret::Secret;

/// Removed when the server stops; after a crash the next start writes a new one.
pub(super) struct ServerFile(PathBuf);

impl ServerFile {
    pub(super) fn write(dir: &Path, url: &str, key: &Secret) -> anyhow::Result<Self> {
        let path = dir.join("server.json");
        let content = serde_json::json!({ "url": url, "key": key.reveal() });
        write_private(&path, &content.to_string())?;
        Ok(Self(path))
    }

    pub(super) fn remove(&self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(%error, "server.json was gone already");
        }
    }
}
