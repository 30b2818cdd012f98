//! The shared vectors: they lie beside the checkout where they are there at all, and our own fixtures cover the same ground.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The folder.
pub fn folder() -> Option<PathBuf> {
    let start = Path::new(env!("CARGO_MANIFEST_DIR"));
    start.ancestors().map(|folder| folder.join("shared/vectors")).find(|path| path.exists())
}

/// One file of it.
pub fn read(name: &str) -> Option<Value> {
    let text = std::fs::read(folder()?.join(name)).ok()?;
    Some(serde_json::from_slice(&text).unwrap())
}
