//! The rules as a file says them, read again when it changes.

use std::fmt;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::rules::{Networks, Rules};
use crate::clock::Timestamp;

/// How large the file may be.
pub const MAX_BYTES: u64 = 1 << 20;
/// How many entries each of its lists may have: AWS alone publishes some ten thousand networks.
pub const MAX_ENTRIES: usize = 20_000;
/// A shorter piece would fit every program.
const AGENT_CHARS: std::ops::RangeInclusive<usize> = 3..=200;
/// A longer one would make a machine of everybody.
const LONGEST_BURST: Duration = Duration::from_secs(60);
const LONGEST_AFTER: Duration = Duration::from_secs(3600);
/// Between two looks at the file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// In which line; 0: with the file as a whole.
    pub line: usize,
    /// Which field, where it is one.
    pub field: String,
    /// What, in words.
    pub detail: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}, ", self.line)?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.detail)
    }
}

/// The rules of the moment. Cheap to clone; all clones share them.
#[derive(Clone, Debug)]
pub struct Rulebook {
    path: Option<Arc<Path>>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    rules: Arc<Rules>,
    fault: Option<Fault>,
    looked_at: Option<Timestamp>,
    seen: Option<Result<Stamp, std::io::ErrorKind>>,
}

/// What tells one version of a file from another: also where it was replaced within its clock's tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Rulebook {
    /// The rules in this file beside the built-in ones; these alone without one.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path: path.map(Arc::from), state: Arc::default() }
    }

    /// The rules as the file has them at `now`. Looks at it once a second at most; where it cannot be read as rules,
    /// the former ones stay.
    pub fn rules(&self, now: Timestamp) -> Arc<Rules> {
        let Some(path) = &self.path else { return self.lock().rules.clone() };
        let mut state = self.lock();
        let is_fresh = |at: Timestamp| at <= now && now.since(at) < LOOK_EVERY;
        if !state.looked_at.is_some_and(is_fresh) {
            state.looked_at = Some(now);
            state.look(path);
        }
        state.rules.clone()
    }

    /// What is wrong with the file, as of the latest look.
    pub fn fault(&self) -> Option<Fault> {
        self.lock().fault.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // What it holds is whole after every line that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn look(&mut self, path: &Path) {
        let stamp = std::fs::metadata(path).map_err(|error| error.kind()).map(|file| Stamp {
            inode: file.ino(),
            bytes: file.len(),
            seconds: file.mtime(),
            nanoseconds: file.mtime_nsec(),
        });
        if self.seen == Some(stamp) {
            return;
        }
        let is_first = self.seen.is_none();
        self.seen = Some(stamp);
        match read(path) {
            Ok(rules) => {
                if !is_first {
                    tracing::info!(file = %path.display(), "read the rules that tell machines from people again");
                }
                self.rules = Arc::new(rules);
                self.fault = None;
            }
            Err(fault) => {
                tracing::error!(
                    file = %path.display(), line = fault.line, field = fault.field, fault = fault.detail,
                    "the rules that tell machines from people cannot be read; the former ones stay"
                );
                self.fault = Some(fault);
            }
        }
    }
}

fn read(path: &Path) -> Result<Rules, Fault> {
    let whole = |detail: String| Fault { line: 0, field: String::new(), detail };
    let file = std::fs::File::open(path).map_err(|error| whole(format!("cannot be opened: {error}")))?;
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| whole(format!("cannot be read as text: {error}")))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(whole(format!("is larger than {MAX_BYTES} bytes")));
    }
    parse(&text)
}

/// Reads the text of a file.
pub(super) fn parse(text: &str) -> Result<Rules, Fault> {
    let line = |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
    let table = DeTable::parse(text).map_err(|error| Fault {
        line: line(error.span().map_or(0, |span| span.start)),
        field: String::new(),
        detail: format!("is not TOML: {}", error.message()),
    })?;
    let table = table.get_ref();
    let builtin = match table.iter().find(|(name, _)| name.get_ref() == "defaults") {
        None => true,
        Some((name, value)) => value.get_ref().as_bool().ok_or_else(|| Fault {
            line: line(name.span().start),
            field: "defaults".into(),
            detail: "must be true or false".into(),
        })?,
    };
    let mut rules = if builtin { Rules::default() } else { Rules::bare() };
    for (name, value) in table {
        let at = line(name.span().start);
        let field: &str = name.get_ref();
        let fault = |line: usize, detail: String| Fault { line, field: field.to_owned(), detail };
        let list = || entries(value).map_err(|detail| fault(at, detail));
        let each = |offset: usize, detail: String| fault(line(offset), detail);
        match field {
            "defaults" => {}
            "networks" => rules.networks = networks(&rules.networks, &list()?, each)?,
            "data_centers" => rules.data_centers = networks(&rules.data_centers, &list()?, each)?,
            "user_agents" => {
                for (offset, piece) in list()? {
                    if !AGENT_CHARS.contains(&piece.chars().count()) {
                        let (least, most) = (AGENT_CHARS.start(), AGENT_CHARS.end());
                        return Err(each(offset, format!("an entry must have {least} to {most} characters")));
                    }
                    rules.user_agents.push(piece.to_lowercase());
                }
            }
            "burst" => rules.burst = duration(value, LONGEST_BURST).map_err(|detail| fault(at, detail))?,
            "after_delivery" => {
                rules.after_delivery = duration(value, LONGEST_AFTER).map_err(|detail| fault(at, detail))?;
            }
            _ => {
                let known = "networks, data_centers, user_agents, burst, after_delivery, defaults";
                return Err(fault(at, format!("is not a known field; known are {known}")));
            }
        }
    }
    Ok(rules)
}

/// A list's texts, each with where it stands.
fn entries<'a>(value: &'a Spanned<DeValue<'_>>) -> Result<Vec<(usize, &'a str)>, String> {
    let list = value.get_ref().as_array().ok_or("must be a list of texts")?;
    if list.len() > MAX_ENTRIES {
        return Err(format!("has {} entries; at most {MAX_ENTRIES} are allowed", list.len()));
    }
    let texts = list.iter().map(|entry| Some((entry.span().start, entry.get_ref().as_str()?)));
    texts.collect::<Option<_>>().ok_or_else(|| "must be a list of texts".to_owned())
}

fn networks(
    known: &Networks,
    entries: &[(usize, &str)],
    fault: impl Fn(usize, String) -> Fault,
) -> Result<Networks, Fault> {
    let mut nets = known.nets.clone();
    for (offset, text) in entries {
        nets.push(network(text.trim()).map_err(|detail| fault(*offset, detail))?);
    }
    Ok(nets.into_iter().collect())
}

fn network(text: &str) -> Result<IpNet, String> {
    let net = match text.parse::<IpNet>() {
        Ok(net) => net,
        Err(_) => {
            let alone = text.parse::<std::net::IpAddr>().map(IpNet::from);
            alone.map_err(|_| format!("{text:?} is no network such as 192.0.2.0/24 or 2001:db8::/32"))?
        }
    };
    if net != net.trunc() {
        return Err(format!("{text:?} has bits behind its prefix; the network is {}", net.trunc()));
    }
    if net.prefix_len() == 0 {
        return Err(format!("{text:?} is every address there is"));
    }
    Ok(net)
}

fn duration(value: &Spanned<DeValue<'_>>, most: Duration) -> Result<Duration, String> {
    let read = value.get_ref().as_str().and_then(|text| text.trim().parse::<jiff::SignedDuration>().ok());
    let read = read.and_then(|read| Duration::try_from(read).ok());
    let allowed = || format!("must be a span from 0s to {}s, such as \"1s\" or \"500ms\"", most.as_secs());
    read.filter(|read| *read <= most).ok_or_else(allowed)
}
