//! Interprets what was given, key by key, and collects every fault on the way.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;

use super::fault::{Fault, Faults, Origin};
use super::keys::{Key, Kind, find};
use super::sources::{ApiKeyTable, Gathered};
use super::value::{parse_bytes, parse_span};
use crate::callbacks::post::Authorities;
use crate::notification::content::is_tenant_name;
use crate::secret::Secret;

/// Reads typed values. A faulty one is noted and replaced by something harmless: with a fault noted,
/// [`Reader::finish`] lets no settings out.
pub struct Reader {
    gathered: Gathered,
    refused: BTreeSet<String>,
}

impl Reader {
    pub fn new(gathered: Gathered) -> Self {
        Self { gathered, refused: BTreeSet::new() }
    }

    pub fn finish(self) -> Result<(), Faults> {
        if self.gathered.faults.is_empty() { Ok(()) } else { Err(Faults(self.gathered.faults)) }
    }

    pub fn take_api_keys(&mut self) -> Vec<ApiKeyTable> {
        std::mem::take(&mut self.gathered.api_keys)
    }

    pub fn note(&mut self, fault: Fault) {
        self.gathered.faults.push(fault);
    }

    /// Whether anybody gave this key a value.
    pub fn is_given(&self, path: &str) -> bool {
        self.gathered.given.contains_key(path)
    }

    /// Whether the value of this key was not refused so far, so that comparing it makes sense.
    pub fn is_sound(&self, path: &str) -> bool {
        !self.refused.contains(path)
    }

    /// Notes that the value of `path` is refused. Once per key: what follows from a bad value is not worth telling.
    pub fn refuse(&mut self, path: &str, detail: impl Into<String>) {
        if !self.refused.insert(path.to_owned()) {
            return;
        }
        let Some(key) = find(path) else { return };
        let fault = match self.gathered.given.get(path) {
            Some(given) => Fault::of(key, Some(&given.text), &given.origin, detail),
            None => Fault::of(key, key.default, &Origin::Default, detail),
        };
        self.note(fault);
    }

    pub fn text(&mut self, path: &str) -> String {
        self.optional(path).unwrap_or_default()
    }

    /// A path that may be left out.
    pub fn path(&mut self, path: &str) -> Option<PathBuf> {
        self.optional(path).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    pub fn secret(&mut self, path: &str) -> Option<Secret> {
        let text = self.optional(path)?;
        // Whatever else is in it could not be sent in a header.
        if !text.chars().all(|c| c.is_ascii_graphic()) {
            self.refuse(path, "a secret is one word of printable ASCII characters");
            return None;
        }
        Some(Secret::new(text))
    }

    /// Signing secrets of a webhook: `whsec_` and base64, several while one replaces another.
    pub fn webhook_secrets(&mut self, path: &str) -> Vec<Secret> {
        let Some(given) = self.secret(path) else { return Vec::new() };
        let is_usable = |text: &&str| {
            let text = text.strip_prefix("whsec_").unwrap_or(text);
            base64::engine::general_purpose::STANDARD.decode(text).is_ok_and(|bytes| bytes.len() >= 16)
        };
        let secrets: Vec<&str> = given.reveal().split(',').filter(|text| !text.is_empty()).collect();
        if secrets.is_empty() || !secrets.iter().all(is_usable) {
            self.refuse(path, "allowed: whsec_ and base64 of at least 16 bytes, several separated by commas");
            return Vec::new();
        }
        secrets.into_iter().map(Secret::new).collect()
    }

    /// A text of this form, which `allowed` tells.
    pub fn word(&mut self, path: &str, allowed: &str, is_allowed: impl Fn(&str) -> bool) -> Option<String> {
        let text = self.optional(path)?.trim().to_owned();
        if text.is_empty() || !is_allowed(&text) {
            self.refuse(path, format!("allowed: {allowed}"));
            return None;
        }
        Some(text)
    }

    /// The address of a webhook: whoever knows it may post there.
    pub fn secret_url(&mut self, path: &str) -> Option<Secret> {
        let secret = self.secret(path)?;
        let url = reqwest::Url::parse(secret.reveal()).ok();
        if !url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            self.refuse(path, "allowed: an address that begins with https:// or http://");
            return None;
        }
        Some(secret)
    }

    pub fn listen(&mut self, path: &str) -> SocketAddr {
        self.read(path, |_, text| text.parse().ok()).unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into())
    }

    /// A base address, without a trailing slash.
    pub fn url(&mut self, path: &str) -> Option<String> {
        self.read(path, |_, text| {
            let url = reqwest::Url::parse(text).ok()?;
            let plain =
                matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
            plain.then(|| text.trim_end_matches('/').to_owned())
        })
    }

    /// An address without which the backend cannot run.
    pub fn required_url(&mut self, path: &str) -> String {
        if self.optional(path).is_none() {
            self.refuse(path, "backend `aws` needs it; infra/ makes it and prints it");
        }
        self.url(path).unwrap_or_default()
    }

    /// A DynamoDB table's name, without which the backend cannot run.
    pub fn table(&mut self, path: &str) -> String {
        let name = self.optional(path).unwrap_or_default();
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if !(3..=255).contains(&name.len()) || !name.chars().all(is_allowed) {
            self.refuse(path, "backend `aws` needs it: 3 to 255 letters, digits, `_`, `-` and `.`");
        }
        name
    }

    pub fn span(&mut self, path: &str) -> Duration {
        self.read(path, |kind, text| {
            let span = parse_span(text)?;
            matches!(kind, Kind::Span(from, to) if (*from..=*to).contains(&span)).then_some(span)
        })
        .unwrap_or_default()
    }

    pub fn count<T: TryFrom<u64> + Default>(&mut self, path: &str) -> T {
        self.read(path, |kind, text| {
            let count = text.parse::<u64>().ok()?;
            if !matches!(kind, Kind::Count(from, to) if (*from..=*to).contains(&count)) {
                return None;
            }
            T::try_from(count).ok()
        })
        .unwrap_or_default()
    }

    /// A number that may be left out.
    pub fn maybe_count<T: TryFrom<u64> + Default>(&mut self, path: &str) -> Option<T> {
        self.optional(path).map(|_| self.count(path))
    }

    pub fn bytes(&mut self, path: &str) -> usize {
        self.read(path, |kind, text| {
            let bytes = parse_bytes(text)?;
            if !matches!(kind, Kind::Bytes(from, to) if (*from..=*to).contains(&bytes)) {
                return None;
            }
            usize::try_from(bytes).ok()
        })
        .unwrap_or_default()
    }

    pub fn switch(&mut self, path: &str) -> bool {
        self.read(path, |_, text| match text {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        })
        .unwrap_or_default()
    }

    pub fn choice(&mut self, path: &str) -> Option<String> {
        self.read(path, |kind, text| {
            matches!(kind, Kind::Choice(words) if words.contains(&text)).then(|| text.to_owned())
        })
    }

    pub fn choices(&mut self, path: &str) -> Vec<String> {
        self.read(path, |kind, text| {
            let Kind::Choices(words) = kind else { return None };
            let picked: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
            let known = picked.iter().all(|word| words.contains(&word.as_str()));
            let once = picked.iter().enumerate().all(|(i, word)| !picked[..i].contains(word));
            (known && once).then_some(picked)
        })
        .unwrap_or_default()
    }

    pub fn public_keys(&mut self, path: &str) -> Vec<String> {
        self.read(path, |_, text| {
            // As a file they may come one a line, or as PEM.
            let keys: Vec<String> = pem_bodies(text)
                .unwrap_or_else(|| text.split([',', '\n']).map(|key| key.trim().to_owned()).collect())
                .into_iter()
                .filter(|key| !key.is_empty())
                .collect();
            let readable = |key: &String| base64::engine::general_purpose::STANDARD.decode(key).is_ok();
            (!keys.is_empty() && keys.iter().all(readable)).then_some(keys)
        })
        .unwrap_or_default()
    }

    pub fn authorities(&mut self, path: &str) -> Authorities {
        self.read(path, |_, text| Authorities::parse(text)).unwrap_or_default()
    }

    /// Tenants, each once; `*` is one as well.
    pub fn tenants(&mut self, path: &str) -> Vec<String> {
        self.read(path, |_, text| {
            let names: BTreeSet<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
            let is_all = names.iter().eq(["*"]);
            (is_all || names.iter().all(|name| is_tenant_name(name))).then(|| names.into_iter().collect())
        })
        .unwrap_or_default()
    }

    pub fn log_filter(&mut self, path: &str) -> Option<String> {
        self.read(path, |_, text| {
            let filter = tracing_subscriber::EnvFilter::builder().parse(text);
            filter.is_ok().then(|| text.to_owned())
        })
    }

    fn optional(&self, path: &str) -> Option<String> {
        let given = self.gathered.given.get(path).map(|given| given.text.clone());
        given.or_else(|| find(path)?.default.map(str::to_owned))
    }

    fn read<T>(&mut self, path: &str, parse: impl Fn(&Kind, &str) -> Option<T>) -> Option<T> {
        let key: &Key = find(path)?;
        let text = self.optional(path)?;
        let value = parse(&key.kind, text.trim());
        if value.is_none() {
            self.refuse(path, format!("allowed: {}", key.kind.allowed()));
        }
        value
    }
}

/// The base64 bodies of PEM blocks; `None` when the text has none.
fn pem_bodies(text: &str) -> Option<Vec<String>> {
    let mut bodies = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN PUBLIC KEY-----") {
        let (body, tail) = after.split_once("-----END PUBLIC KEY-----")?;
        bodies.push(body.split_whitespace().collect());
        rest = tail;
    }
    (!bodies.is_empty()).then_some(bodies)
}
