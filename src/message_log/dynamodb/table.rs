//! The table: batched reads and writes that leave nothing unprocessed, and queries page by page.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, PutRequest, ReturnConsumedCapacity, Select, WriteRequest,
};
use futures::future::{join_all, try_join_all};
use rand::RngExt;

use super::keys::{Item, Key};
use crate::aws::{self, Kind, Watch};
use crate::message_log::LogError;

/// Keys in one BatchGetItem.
const GETS: usize = 100;

/// Items in one BatchWriteItem.
const PUTS: usize = 25;

/// How often what came back unprocessed is tried again, with growing waits: about 5 seconds in all.
pub(super) const TRIES: u32 = 8;

/// The table, and how its service does. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) client: Client,
    pub(super) name: Arc<str>,
    watch: Arc<Watch>,
    /// How often it was found missing. What is remembered of its contents from before counts no more.
    losses: Arc<AtomicU64>,
    counts_units: bool,
}

/// A query for one partition of the table or of an index.
#[derive(Clone, Debug)]
pub(super) struct Query {
    /// `None`: the table itself, read consistently.
    pub(super) index: Option<&'static str>,
    /// The name and the value of the partition key.
    pub(super) partition: (&'static str, String),
    /// The name of the sort key and the range it must lie in, ends included.
    pub(super) range: Option<(&'static str, Option<AttributeValue>, Option<AttributeValue>)>,
    /// In the order of the sort key, else against it.
    pub(super) is_forward: bool,
    /// How many on one page; DynamoDB ends a page at 1 MB in any case.
    pub(super) limit: Option<i32>,
    /// Count only.
    pub(super) is_count: bool,
}

/// A page of a query.
#[derive(Clone, Debug, Default)]
pub(super) struct QueryPage {
    /// What was found; empty where only counted.
    pub(super) items: Vec<Item>,
    /// How many were found.
    pub(super) count: u64,
    /// How many were read for it.
    pub(super) read: usize,
    /// Where the next page starts; `None` after the last.
    pub(super) next: Option<Item>,
}

impl Table {
    pub(super) fn new(client: Client, name: &str, counts_units: bool) -> Self {
        let watch = Arc::new(Watch::new("DynamoDB"));
        Self { client, name: Arc::from(name), watch, losses: Arc::default(), counts_units }
    }

    /// What a request asks to be told of its cost.
    pub(super) fn asks_units(&self) -> Option<ReturnConsumedCapacity> {
        self.counts_units.then_some(ReturnConsumedCapacity::Indexes)
    }

    /// How often the table was found missing so far.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    /// The service answered.
    pub(super) fn answered(&self) {
        self.watch.answered();
    }

    /// What a failed request means to the log's callers.
    pub(super) fn failed<E: ProvideErrorMetadata, R>(&self, error: &SdkError<E, R>) -> LogError {
        let mut words = aws::words(error);
        if aws::kind(error) == Kind::Absent {
            self.losses.fetch_add(1, Ordering::Relaxed);
            words = format!("{words} (table `{}`; `kakitome setup` creates it)", self.name);
        }
        self.watch.failed(&words);
        LogError::Unavailable(words)
    }

    /// What was throttled to the end means to the log's callers.
    pub(super) fn throttled(&self, words: &str) -> LogError {
        self.watch.failed(words);
        LogError::Unavailable(words.to_owned())
    }

    /// The items with these keys, read consistently, as many as there are. Keys may repeat.
    pub(super) async fn get(
        &self,
        keys: impl IntoIterator<Item = Key>,
    ) -> Result<HashMap<Key, Item>, LogError> {
        let distinct: HashSet<Key> = keys.into_iter().collect();
        let distinct: Vec<Key> = distinct.into_iter().collect();
        let reads = distinct.chunks(GETS).map(|chunk| self.get_some(chunk));
        let found = try_join_all(reads).await?;
        Ok(found.into_iter().flatten().filter_map(|item| Some((Key::of(&item)?, item))).collect())
    }

    async fn get_some(&self, keys: &[Key]) -> Result<Vec<Item>, LogError> {
        let wanted = keys.iter().map(Key::attributes).collect();
        let wanted = KeysAndAttributes::builder().set_keys(Some(wanted)).consistent_read(true).build();
        let mut wanted = Some(wanted.map_err(|error| LogError::Unavailable(error.to_string()))?);
        let mut found = Vec::with_capacity(keys.len());
        for round in 0..TRIES {
            let Some(asked) = wanted.take() else { break };
            if round > 0 {
                pause(round).await;
            }
            let call = self.client.batch_get_item().request_items(self.name.as_ref(), asked);
            let answer = call.send().await.map_err(|error| self.failed(&error))?;
            self.answered();
            let mut responses = answer.responses.unwrap_or_default();
            found.append(&mut responses.remove(self.name.as_ref()).unwrap_or_default());
            wanted = answer.unprocessed_keys.and_then(|mut left| left.remove(self.name.as_ref()));
            wanted = wanted.filter(|left| !left.keys.is_empty());
        }
        match wanted {
            None => Ok(found),
            Some(_) => Err(self.throttled("reads are throttled")),
        }
    }

    /// Writes each item, over what is there. Items with the same key: the first is written. A result per item.
    pub(super) async fn put(&self, items: Vec<Item>) -> Vec<Result<(), LogError>> {
        let mut seen = HashSet::new();
        let mut distinct = Vec::with_capacity(items.len());
        let mut places = Vec::with_capacity(items.len());
        for item in items {
            let key = Key::of(&item);
            places.push(key.clone());
            if seen.insert(key) {
                distinct.push(item);
            }
        }
        let mut chunks = Vec::new();
        while !distinct.is_empty() {
            let rest = distinct.split_off(distinct.len().min(PUTS));
            chunks.push(std::mem::replace(&mut distinct, rest));
        }
        let failed: HashMap<Option<Key>, LogError> =
            join_all(chunks.into_iter().map(|chunk| self.put_some(chunk)))
                .await
                .into_iter()
                .flatten()
                .collect();
        let result = |key| failed.get(&key).map_or(Ok(()), |error| Err(error.clone()));
        places.into_iter().map(result).collect()
    }

    /// The keys of those that were not written.
    async fn put_some(&self, items: Vec<Item>) -> Vec<(Option<Key>, LogError)> {
        let mut left: Vec<WriteRequest> = items
            .into_iter()
            .filter_map(|item| PutRequest::builder().set_item(Some(item)).build().ok())
            .map(|put| WriteRequest::builder().put_request(put).build())
            .collect();
        let lost = |left: &[WriteRequest], error: &LogError| {
            let key =
                |request: &WriteRequest| request.put_request.as_ref().and_then(|put| Key::of(&put.item));
            left.iter().map(|request| (key(request), error.clone())).collect()
        };
        for round in 0..TRIES {
            if left.is_empty() {
                return Vec::new();
            }
            if round > 0 {
                pause(round).await;
            }
            let call = self
                .client
                .batch_write_item()
                .request_items(self.name.as_ref(), left.clone())
                .set_return_consumed_capacity(self.asks_units());
            match call.send().await {
                Err(error) => return lost(&left, &self.failed(&error)),
                Ok(answer) => {
                    self.answered();
                    super::units::count("put", answer.consumed_capacity());
                    let unprocessed = answer.unprocessed_items.unwrap_or_default().remove(self.name.as_ref());
                    left = unprocessed.unwrap_or_default();
                }
            }
        }
        lost(&left, &self.throttled("writes are throttled"))
    }

    /// One page.
    pub(super) async fn query(&self, query: &Query, start: Option<Item>) -> Result<QueryPage, LogError> {
        let (name, value) = &query.partition;
        let mut condition = String::from("#p = :p");
        let mut call = self
            .client
            .query()
            .table_name(self.name.as_ref())
            .set_index_name(query.index.map(str::to_owned))
            .consistent_read(query.index.is_none())
            .scan_index_forward(query.is_forward)
            .set_limit(query.limit)
            .set_exclusive_start_key(start)
            .expression_attribute_names("#p", *name)
            .expression_attribute_values(":p", AttributeValue::S(value.clone()));
        if let Some((name, from, to)) = &query.range {
            condition.push_str(match (from, to) {
                (Some(_), Some(_)) => " AND #s BETWEEN :f AND :t",
                (Some(_), None) => " AND #s >= :f",
                (None, Some(_)) => " AND #s <= :t",
                (None, None) => "",
            });
            for (place, value) in [(":f", from), (":t", to)] {
                if let Some(value) = value {
                    call = call.expression_attribute_values(place, value.clone());
                }
            }
            if from.is_some() || to.is_some() {
                call = call.expression_attribute_names("#s", *name);
            }
        }
        if query.is_count {
            call = call.select(Select::Count);
        }
        let answer = call.key_condition_expression(condition).send().await;
        let answer = answer.map_err(|error| self.failed(&error))?;
        self.answered();
        Ok(QueryPage {
            count: u64::try_from(answer.count).unwrap_or(0),
            read: usize::try_from(answer.scanned_count).unwrap_or(0),
            items: answer.items.unwrap_or_default(),
            next: answer.last_evaluated_key.filter(|key| !key.is_empty()),
        })
    }
}

/// Waits before try number `round` (1 for the second): full jitter under 25 ms, doubling, up to 2 s.
pub(super) async fn pause(round: u32) {
    let ceiling = Duration::from_millis(25_u64 << round.min(6)).min(Duration::from_secs(2));
    let jitter = rand::rng().random_range(0.2..1.0);
    tokio::time::sleep(ceiling.mul_f64(jitter)).await;
}
