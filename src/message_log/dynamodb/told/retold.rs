//! Entries as they are read: in the order of their stamps, checked against what changed, with what the record adds.

use std::collections::{BTreeMap, HashMap};

use futures::future::try_join_all;

use super::{History, SHARDS, partition};
use crate::clock::Timestamp;
use crate::message_log::LogError;
use crate::message_log::dynamodb::DynamoLog;
use crate::message_log::dynamodb::entry::{Card, Entry};
use crate::message_log::dynamodb::keys::{self, Item, Key};
use crate::message_log::dynamodb::life;
use crate::message_log::dynamodb::page::{Ask, Span};
use crate::message_log::dynamodb::row::{Row, WriteId, number, text};
use crate::notification::NotificationId;
use crate::notification::address::Address;
use crate::notification::status::State;
use crate::notification::status::recipient::RecipientStatus;

/// Pages of a megabyte that are counted of one partition at the most: some five thousand entries each.
const COUNTED_PAGES: usize = 50;

/// A change that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Names the change, however often it was written down.
    pub name: String,
    /// The notification.
    pub id: NotificationId,
    /// When it changed.
    pub at: Timestamp,
    /// What changed, and to what.
    pub of: ToldOf,
    /// Why.
    pub reason: Option<String>,
    /// The broadcast it belongs to.
    pub batch: Option<String>,
    /// The producer's labels.
    pub metadata: BTreeMap<String, String>,
}

/// What changed, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToldOf {
    /// The notification.
    Notification(State),
    /// A recipient of it; without its address where the record's content is not there.
    Recipient(RecipientStatus, Option<Address>),
}

/// Some of a tenant's changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToldPage {
    /// Oldest first.
    pub told: Vec<Told>,
    /// Up to which place was read, whether anything was told or not; `None`: there was nothing.
    pub last: Option<String>,
    /// Whether there are more entries.
    pub more: bool,
}

/// An entry as it lies in the table.
struct Stored {
    sort: String,
    id: NotificationId,
    write_id: WriteId,
    recipient_key: Option<String>,
    item: Item,
}

impl Stored {
    fn read(item: Item) -> Option<Self> {
        let sort = text(&item, "sk")?.to_owned();
        let mut parts = sort.split('#').skip(1);
        let id = parts.next()?.parse().ok()?;
        let write_id = u64::from_str_radix(parts.next()?, 16).ok()?.to_be_bytes();
        let recipient_key = parts.next().map(str::to_owned);
        Some(Self { id, write_id, recipient_key, sort, item })
    }

    /// Where it is remembered if it happened.
    fn changed(&self) -> Key {
        match &self.recipient_key {
            None => keys::row_key(self.id),
            Some(key) => keys::events_key(self.id, Some(key)),
        }
    }
}

impl DynamoLog {
    /// A tenant's changes behind `after` and up to `until`, which are places: stamps of 16 digits, or what
    /// [`ToldPage::last`] was. At most `limit`, and fewer where they are not at hand.
    pub async fn told(
        &self,
        tenant: &str,
        after: &str,
        until: &str,
        limit: usize,
    ) -> Result<ToldPage, LogError> {
        // From each partition somewhat more than its share; what one has more of is read with the next page.
        let share = limit / usize::from(SHARDS) * 3 / 2 + 2;
        let asks: Vec<Ask> = (0..SHARDS).map(|shard| ask(tenant, shard, after, until)).collect();
        let pages = try_join_all(asks.iter().map(|ask| ask.page(&self.table, None, Some(share)))).await?;
        // Up to here every partition was read.
        let mut whole: Option<String> = None;
        let mut stored = Vec::new();
        for page in pages {
            if let Some(next) = page.next.as_ref().and_then(Key::of) {
                whole = Some(whole.map_or(next.sk.clone(), |whole: String| whole.min(next.sk)));
            }
            stored.extend(page.items.into_iter().filter_map(Stored::read));
        }
        stored.sort_unstable_by(|a, b| a.sort.cmp(&b.sort));
        stored.retain(|one| whole.as_ref().is_none_or(|whole| one.sort <= *whole));
        let more = whole.is_some() || stored.len() > limit;
        let is_cut = stored.len() > limit;
        stored.truncate(limit);
        let last = stored.last().map(|one| one.sort.clone());
        let last = if is_cut { last } else { whole.or(last) };
        Ok(ToldPage { told: self.judge(stored).await?, last, more })
    }

    /// How many entries lie behind `after`, up to `until`; those are counted too whose change never happened. `None`: more
    /// than can be counted.
    pub async fn count_told(&self, tenant: &str, after: &str, until: &str) -> Result<Option<u64>, LogError> {
        let counts = (0..SHARDS).map(|shard| self.count_shard(tenant, shard, after, until));
        Ok(try_join_all(counts).await?.into_iter().sum())
    }

    async fn count_shard(
        &self,
        tenant: &str,
        shard: u8,
        after: &str,
        until: &str,
    ) -> Result<Option<u64>, LogError> {
        let ask = Ask { is_count: true, ..ask(tenant, shard, after, until) };
        let (mut count, mut start) = (0, None);
        for _ in 0..COUNTED_PAGES {
            let page = ask.page(&self.table, start, None).await?;
            count += page.count;
            match page.next {
                Some(next) => start = Some(next),
                None => return Ok(Some(count)),
            }
        }
        Ok(None)
    }

    /// Those that happened, with what their records say.
    async fn judge(&self, stored: Vec<Stored>) -> Result<Vec<Told>, LogError> {
        if stored.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = stored.iter().flat_map(|one| [keys::row_key(one.id), one.changed()]);
        let items = self.table.get(wanted).await?;
        let happened = |one: &Stored| {
            let changed = items.get(&one.changed());
            changed.is_some_and(|item| History::read(item).has(one.write_id))
        };
        let stored: Vec<Stored> = stored.into_iter().filter(happened).collect();
        let mut contents: HashMap<NotificationId, Key> = HashMap::new();
        for one in &stored {
            if let Some(Ok(row)) = items.get(&keys::row_key(one.id)).map(Row::read) {
                contents.insert(one.id, row.entry_key());
            }
        }
        let entries = self.table.get(contents.values().cloned()).await?;
        let card = |id: NotificationId| {
            entries.get(contents.get(&id)?).and_then(|item| Entry::read(item).ok()?.card().ok()?)
        };
        let told = |one: Stored| {
            let row = items.get(&keys::row_key(one.id))?;
            told(one.item.get("st")?.as_n().ok()?.parse().ok()?, &one, row, card(one.id))
        };
        Ok(stored.into_iter().filter_map(told).collect())
    }
}

fn ask(tenant: &str, shard: u8, after: &str, until: &str) -> Ask {
    Ask {
        partition: ("pk", partition(tenant, shard)),
        sort: Some("sk"),
        // `!` comes before `#`: what begins with `after` lies behind it, and it does not itself.
        span: Span::texts(Some(format!("{after}!")), Some(until.to_owned())),
        is_up: true,
        is_consistent: true,
        ..Ask::default()
    }
}

/// `None` where it tells nothing of use.
fn told(code: usize, one: &Stored, row: &Item, card: Option<Card>) -> Option<Told> {
    let of = match &one.recipient_key {
        None => ToldOf::Notification(life::state(u8::try_from(code).ok()?)?),
        Some(key) => {
            let status = RecipientStatus::ALL.get(code).copied()?;
            let is_theirs = |address: &&Address| keys::recipient_key(address) == *key;
            let address = match &card {
                // An event about somebody to whom it was never addressed.
                Some(card) => Some(card.recipients().map(|(_, address)| address).find(is_theirs)?.clone()),
                None => None,
            };
            ToldOf::Recipient(status, address)
        }
    };
    Some(Told {
        name: one.sort.split_once('#')?.1.to_owned(),
        id: one.id,
        at: Timestamp::from_ms(number(&one.item, "at")?),
        of,
        reason: text(&one.item, "rn").map(str::to_owned),
        batch: text(row, "ba").map(str::to_owned),
        metadata: card.map(|card| card.metadata).unwrap_or_default(),
    })
}
