//! How the producers are told what changed.

use std::time::Duration;

use super::reader::Reader;
use crate::callbacks::post::Authorities;

/// The feed and the callbacks.
#[derive(Debug, Clone)]
pub struct CallbackSettings {
    /// How long changes are kept.
    pub retention: Duration,
    /// Tenants with a feed though they have no callback; `*`: all. On AWS alone: elsewhere all have.
    pub tenants: Vec<String>,
    /// Callbacks may be posted over http, and to any port and address.
    pub allow_insecure: bool,
    /// Who may have issued an endpoint's certificate, beside those that the machine trusts.
    pub authorities: Authorities,
}

impl CallbackSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            retention: reader.span("feed.retention"),
            tenants: reader.tenants("feed.tenants"),
            allow_insecure: reader.switch("callback.allow_insecure"),
            authorities: reader.authorities("callback.ca"),
        }
    }
}
