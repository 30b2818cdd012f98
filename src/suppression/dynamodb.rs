//! The list in the message log's table.
//!
//! | partition, sort key | is |
//! | --- | --- |
//! | `s#<shard>#<tenant>`, the canonical address | one mailbox |
//! | `s#tenants`, a tenant | that it has a list |
//!
//! A mailbox has `v`, the version; `m`, the reasons that stand, as bits; `l`, everything that is known of it, as JSON; and
//! `exp`, when it may be deleted, in seconds since the epoch (absent: never).

mod walk;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use futures::stream::{self, StreamExt};
use rand::RngExt;
use sha2::{Digest, Sha256};

use super::sheet::Sheet;
use super::{Added, Cursor, Entry, Filter, ListError, Page, Place, Reasons, Removal, SuppressionList};
use crate::aws::{self, Aws};

/// One item as the SDK has it.
type Item = HashMap<String, AttributeValue>;

/// Partitions of a tenant's list: each takes 1,000 writes a second, and a listing reads one after the other.
const SHARDS: u8 = 8;

/// The partition that names every tenant with a list.
const TENANTS: &str = "s#tenants";

/// Keys in one BatchGetItem.
const GETS: usize = 100;

/// Mailboxes that are written at once.
const WRITES_AT_ONCE: usize = 16;

/// How often one mailbox is tried against others, or throttled reads again, with growing waits: about 5 seconds.
const TRIES: u32 = 8;

/// [`SuppressionList`] on DynamoDB. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DynamoSuppressions {
    client: Client,
    table: String,
    /// Tenants that are known to be named in [`TENANTS`].
    named: Arc<Mutex<BTreeSet<String>>>,
}

/// A mailbox as it was read.
#[derive(Clone, Debug, Default)]
struct Stored {
    version: u64,
    sheet: Sheet,
}

impl DynamoSuppressions {
    /// The list in an existing table. Reaches nothing yet.
    pub fn open(aws: &Aws, table: &str) -> Self {
        Self { client: aws.dynamodb.clone(), table: table.to_owned(), named: Arc::default() }
    }

    /// The items of these, as many as there are. `fields`: only these attributes, beside the key.
    async fn get(
        &self,
        places: &[&Place],
        is_consistent: bool,
        fields: &str,
    ) -> Result<HashMap<Place, Item>, ListError> {
        let distinct: BTreeSet<&Place> = places.iter().copied().collect();
        let distinct: Vec<&Place> = distinct.into_iter().collect();
        let mut found = HashMap::new();
        for some in distinct.chunks(GETS) {
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(some.iter().map(|place| key(place)).collect()))
                .consistent_read(is_consistent)
                .projection_expression(format!("pk, sk, {fields}"))
                .build();
            let mut wanted = Some(wanted.map_err(|error| ListError::Unavailable(error.to_string()))?);
            for round in 0..TRIES {
                let Some(asked) = wanted.take() else { break };
                if round > 0 {
                    pause(round).await;
                }
                let call = self.client.batch_get_item().request_items(&self.table, asked);
                let answer = call.send().await.map_err(|error| unavailable(&error))?;
                let items = answer.responses.unwrap_or_default().remove(&self.table).unwrap_or_default();
                found.extend(items.into_iter().filter_map(|item| Some((place(&item)?, item))));
                wanted = answer.unprocessed_keys.and_then(|mut left| left.remove(&self.table));
                wanted = wanted.filter(|left| !left.keys.is_empty());
            }
            if wanted.is_some() {
                return Err(ListError::Unavailable("reads are throttled".into()));
            }
        }
        Ok(found)
    }

    /// Changes the sheet of each mailbox with its words, in their order; one result for each word.
    async fn change<T: Clone + Send + Sync, R: Clone + Send>(
        &self,
        words: Vec<(Place, T)>,
        change: impl Fn(&mut Sheet, &T) -> R + Copy + Send + Sync,
    ) -> Vec<Result<R, ListError>> {
        let mut by_place: BTreeMap<Place, Vec<(usize, T)>> = BTreeMap::new();
        let count = words.len();
        for (number, (place, word)) in words.into_iter().enumerate() {
            by_place.entry(place).or_default().push((number, word));
        }
        let tenants: BTreeSet<String> = by_place.keys().map(|place| place.tenant.clone()).collect();
        if let Err(error) = self.name(tenants).await {
            return (0..count).map(|_| Err(error.clone())).collect();
        }
        let places: Vec<&Place> = by_place.keys().collect();
        let known = match self.get(&places, true, "v, l").await {
            Ok(known) => known,
            Err(error) => return (0..count).map(|_| Err(error.clone())).collect(),
        };
        let changes = by_place.iter().map(|(place, words)| {
            let known = known.get(place).cloned();
            async move {
                let result = self.change_one(place, known, words, change).await;
                words.iter().enumerate().map(move |(nth, (number, _))| {
                    (*number, result.as_ref().map(|all| all[nth].clone()).map_err(Clone::clone))
                })
            }
        });
        let changed: Vec<_> =
            stream::iter(changes.collect::<Vec<_>>()).buffer_unordered(WRITES_AT_ONCE).collect().await;
        let mut results: Vec<_> = changed.into_iter().flatten().collect();
        results.sort_by_key(|(number, _)| *number);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// A result for each word, once the sheet that has them all is written, or says nothing new.
    async fn change_one<T: Sync, R>(
        &self,
        place: &Place,
        mut known: Option<Item>,
        words: &[(usize, T)],
        change: impl Fn(&mut Sheet, &T) -> R,
    ) -> Result<Vec<R>, ListError> {
        for round in 0..TRIES {
            if round > 0 {
                pause(round).await;
                known = self.get(&[place], true, "v, l").await?.remove(place);
            }
            let before = known.as_ref().map(Stored::read).transpose()?.unwrap_or_default();
            let mut sheet = before.sheet.clone();
            let answers = words.iter().map(|(_, word)| change(&mut sheet, word)).collect();
            // A write whose answer was lost meets itself here: it has nothing left to say.
            if sheet == before.sheet || self.put(place, &sheet, before.version).await? {
                return Ok(answers);
            }
        }
        Err(ListError::Unavailable("an entry is changed by others all the time".into()))
    }

    /// Whether it was written: nobody changed it since it had this version (0: since there was none).
    async fn put(&self, place: &Place, sheet: &Sheet, version: u64) -> Result<bool, ListError> {
        let number = |n: u64| AttributeValue::N(n.to_string());
        let mut put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(key(place)))
            .item("v", number(version + 1))
            .item("m", number(u64::from(sheet.standing().0)))
            .item("l", AttributeValue::S(sheet.write()));
        if let Some(at) = sheet.expires_at() {
            put = put.item("exp", AttributeValue::N((at.as_ms() / 1000).to_string()));
        }
        let put = match version {
            0 => put.condition_expression("attribute_not_exists(v)"),
            _ => put.condition_expression("v = :v").expression_attribute_values(":v", number(version)),
        };
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(false),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Sees to it that each of these is among the tenants that have a list.
    async fn name(&self, tenants: BTreeSet<String>) -> Result<(), ListError> {
        for tenant in tenants {
            if self.named.lock().unwrap_or_else(PoisonError::into_inner).contains(&tenant) {
                continue;
            }
            let put = self.client.put_item().table_name(&self.table);
            let put = put.item("pk", AttributeValue::S(TENANTS.into()));
            let put = put.item("sk", AttributeValue::S(tenant.clone()));
            put.send().await.map_err(|error| unavailable(&error))?;
            self.named.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant);
        }
        Ok(())
    }
}

#[async_trait]
impl SuppressionList for DynamoSuppressions {
    async fn look_up(&self, asked: &[Place]) -> Vec<Result<Reasons, ListError>> {
        let places: Vec<&Place> = asked.iter().collect();
        // A write is seen a moment later at half the price: the event came later than the mail it is about anyway.
        match self.get(&places, false, "m").await {
            Ok(found) => {
                let standing = |item: &Item| number(item, "m").and_then(|bits| u8::try_from(bits).ok());
                let read = |place: &Place| match found.get(place) {
                    None => Ok(Reasons::default()),
                    Some(item) => standing(item).map(Reasons).ok_or(ListError::Corrupt),
                };
                asked.iter().map(read).collect()
            }
            Err(error) => asked.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn add(&self, entries: &[Entry]) -> Vec<Result<Added, ListError>> {
        let words = entries.iter().map(|one| (Place::of(&one.tenant, &one.address), one.clone()));
        self.change(words.collect(), Sheet::add).await
    }

    async fn remove(&self, removals: &[Removal]) -> Vec<Result<u64, ListError>> {
        let words = removals.iter().map(|one| (Place::of(&one.tenant, &one.address), one.clone()));
        self.change(words.collect(), Sheet::remove).await
    }

    async fn list(&self, filter: &Filter, cursor: Option<&str>, limit: usize) -> Result<Page, ListError> {
        let cursor = cursor.map(Cursor::parse).transpose()?;
        let mut page = Page::default();
        self.each(filter, cursor, |entry| {
            if page.items.len() == limit {
                page.next_cursor = page.items.last().map(|last| Cursor::at(last).write());
                return false;
            }
            page.items.push(entry);
            true
        })
        .await?;
        Ok(page)
    }

    async fn count(&self, filter: &Filter) -> Result<u64, ListError> {
        let mut count = 0;
        self.each(filter, None, |_| {
            count += 1;
            true
        })
        .await?;
        Ok(count)
    }
}

impl Stored {
    fn read(item: &Item) -> Result<Self, ListError> {
        let lines = text(item, "l").ok_or(ListError::Corrupt)?;
        let version = number(item, "v").ok_or(ListError::Corrupt)?;
        Ok(Self { version, sheet: Sheet::parse(&lines)? })
    }
}

fn shard(canonical: &str) -> u8 {
    Sha256::digest(canonical)[0] % SHARDS
}

fn partition(tenant: &str, shard: u8) -> String {
    format!("s#{shard:x}#{tenant}")
}

fn key(place: &Place) -> Item {
    let partition = partition(&place.tenant, shard(&place.canonical));
    HashMap::from([
        ("pk".to_owned(), AttributeValue::S(partition)),
        ("sk".to_owned(), AttributeValue::S(place.canonical.clone())),
    ])
}

fn place(item: &Item) -> Option<Place> {
    let partition = text(item, "pk")?;
    let tenant = partition.strip_prefix("s#")?.split_once('#')?.1.to_owned();
    Some(Place { tenant, canonical: text(item, "sk")? })
}

fn text(item: &Item, name: &str) -> Option<String> {
    item.get(name)?.as_s().ok().cloned()
}

fn number(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

async fn pause(round: u32) {
    let most_ms = 25_u64 << round.min(6);
    let wait_ms = rand::rng().random_range(most_ms / 5..=most_ms);
    tokio::time::sleep(std::time::Duration::from_millis(wait_ms)).await;
}

fn unavailable<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> ListError {
    ListError::Unavailable(aws::words(error))
}
