//! Why a call has no successful answer, in words for the person at the command line.

use std::time::Duration;

use serde::Deserialize;

/// Why there is no successful answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection: the server saw nothing of the request.
    #[error("no server answers at {url}: {detail}; is it running, and is --url right?")]
    Unreachable {
        /// The server's address.
        url: String,
        /// What the network said.
        detail: String,
    },
    /// The request left and no answer came: nobody knows whether it was done.
    #[error("the answer of {url} was lost: {detail}")]
    Lost {
        /// The server's address.
        url: String,
        /// What the network said.
        detail: String,
    },
    /// The server refused.
    #[error("{0}")]
    Refused(Problem),
    /// An answer that this version does not understand.
    #[error("the server's answer is not understood: {0}")]
    Strange(String),
}

/// What a refusal says (RFC 9457).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The HTTP status code.
    pub status: u16,
    /// In short.
    pub title: String,
    /// In words.
    pub detail: Option<String>,
    /// What is wrong where.
    pub errors: Vec<Pointed>,
    /// How long the server asks to wait.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// One fault of a request.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Pointed {
    /// JSON pointer.
    pub pointer: String,
    /// In words.
    pub detail: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", if self.title.is_empty() { "refused" } else { &self.title })?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        for Pointed { pointer, detail } in &self.errors {
            write!(f, "; {pointer} {detail}")?;
        }
        match self.status {
            401 => f.write_str(" (set KAKITOME_API_KEY, KAKITOME_API_KEY_FILE or --api-key-file)"),
            status => write!(f, " ({status})"),
        }
    }
}
