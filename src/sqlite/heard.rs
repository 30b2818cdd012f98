//! What was heard of a recipient, as it lies in `recipient.heard`: where each event stands in the table `event`, and by
//! what a repeat of it is recognised. Short, because events come in no order: each dirties a page of its own, and the
//! shorter the rows, the fewer pages there are. The events themselves are only ever appended.

use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};

/// The bytes of one entry: its place, the key of its id, the key of what it says.
const ENTRY_BYTES: usize = 24;

/// The events of one recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeardList(Vec<u8>);

/// By what an event is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventKeys {
    /// Of the provider's name and its number for the event; zero where it gave none.
    pub number: u64,
    /// Of kind, time, recipient and link: providers number one event twice.
    pub saying: u64,
}

impl EventKeys {
    /// Of the provider's name with its number for the event, and of what the event says.
    pub fn of(number: Option<(&str, &str)>, said: &Said<'_>) -> Self {
        let number = number
            .map_or(0, |(provider, id)| first_eight(&[provider.as_bytes(), &[0], id.as_bytes()]).max(1));
        let (at, address) = (said.at_ms.to_be_bytes(), said.address_key.to_be_bytes());
        let saying = first_eight(&[said.kind.as_bytes(), &[0], &at, &address, said.link.as_bytes()]);
        Self { number, saying }
    }
}

/// What an event says.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// What happened.
    pub kind: &'a str,
    /// When, in milliseconds since the epoch.
    pub at_ms: i64,
    /// To whom; zero where nobody is named.
    pub address_key: i64,
    /// The link that was followed; empty where none was.
    pub link: &'a str,
}

/// Of a SHA-256. It is compared with the few others of one recipient only.
fn first_eight(parts: &[&[u8]]) -> u64 {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize()[..8]);
    u64::from_be_bytes(first)
}

impl HeardList {
    /// As it is stored. What is no whole entry at the end is left out.
    pub fn from_bytes(bytes: Option<&[u8]>) -> Self {
        Self(bytes.unwrap_or_default().to_vec())
    }

    /// To be stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many events.
    pub fn count(&self) -> usize {
        self.0.len() / ENTRY_BYTES
    }

    /// Whether such an event is among them.
    pub fn has(&self, keys: EventKeys) -> bool {
        self.0.chunks_exact(ENTRY_BYTES).any(|entry| {
            word(entry, 16) == keys.saying || (keys.number != 0 && word(entry, 8) == keys.number)
        })
    }

    /// Adds the event that stands at `seq`.
    pub fn push(&mut self, seq: i64, keys: EventKeys) {
        self.0.extend_from_slice(&seq.to_be_bytes());
        self.0.extend_from_slice(&keys.number.to_be_bytes());
        self.0.extend_from_slice(&keys.saying.to_be_bytes());
    }

    /// Where its events stand.
    pub fn places(bytes: &[u8]) -> impl Iterator<Item = i64> {
        bytes.chunks_exact(ENTRY_BYTES).map(|entry| word(entry, 0).cast_signed())
    }
}

fn word(entry: &[u8], from: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&entry[from..from + 8]);
    u64::from_be_bytes(bytes)
}

/// The kind of event that has a link.
const CLICKED: &str = "clicked";

fn link_in(detail: &str) -> String {
    let detail: serde_json::Value = serde_json::from_str(detail).unwrap_or_default();
    detail["url"].as_str().unwrap_or_default().to_owned()
}

/// Moves the events of a former schema over, and with them what repeats are recognised by. Their numbers were kept
/// apart from them, so what they say must do.
pub(super) fn carry_over(tx: &Connection) -> rusqlite::Result<()> {
    let mut former = tx.prepare(
        "SELECT n, at, kind, address_key, recipient, machine, detail FROM event_former ORDER BY n, at, kind",
    )?;
    let mut home_of = tx
        .prepare("SELECT ix, heard FROM recipient WHERE n = ?1 ORDER BY address_key = ?2 DESC, ix LIMIT 1")?;
    let mut add = tx.prepare(
        "INSERT INTO event (n, at, kind, recipient, machine, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let mut note = tx.prepare("UPDATE recipient SET heard = ?3 WHERE n = ?1 AND ix = ?2")?;
    let mut rows = former.query([])?;
    while let Some(row) = rows.next()? {
        let (n, at, address_key): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(3)?);
        let kind: String = row.get(2)?;
        let (recipient, machine): (Option<String>, i64) = (row.get(4)?, row.get(5)?);
        let detail: String = row.get(6)?;
        add.execute(params![n, at, kind, recipient, machine, detail])?;
        let seq = tx.last_insert_rowid();
        let home = home_of.query_row(params![n, address_key], |row| {
            Ok((row.get::<_, i64>(0)?, HeardList::from_bytes(row.get_ref(1)?.as_blob_or_null()?)))
        });
        let (ix, mut heard) = match home {
            Ok(home) => home,
            Err(rusqlite::Error::QueryReturnedNoRows) => continue,
            Err(error) => return Err(error),
        };
        let link = if kind == CLICKED { link_in(&detail) } else { String::new() };
        let said = Said { kind: &kind, at_ms: at, address_key, link: &link };
        heard.push(seq, EventKeys::of(None, &said));
        note.execute(params![n, ix, heard.as_bytes()])?;
    }
    Ok(())
}
