//! The journal in the message log's table: partition `j#<kind>`, sort key the document's name.
//!
//! | attribute | is |
//! | --- | --- |
//! | `v` | the version |
//! | `w` | a random name of the latest write, by which it is recognised when its answer was lost |
//! | `b` | the body, JSON |
//! | `exp` | when it may be deleted, seconds since the epoch; absent: never |

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use rand::RngExt;

use super::{Document, Journal, JournalError, Kind, MAX_BODY_BYTES, Put};
use crate::aws::{self, Aws};
use crate::clock::{Clock, Timestamp};

/// [`Journal`] on DynamoDB. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DynamoJournal {
    client: Client,
    table: String,
    clock: Clock,
}

impl DynamoJournal {
    /// The journal in an existing table. Reaches nothing yet.
    pub fn open(aws: &Aws, table: &str, clock: Clock) -> Self {
        Self { client: aws.dynamodb.clone(), table: table.to_owned(), clock }
    }

    async fn item(
        &self,
        kind: Kind,
        key: &str,
    ) -> Result<Option<HashMap<String, AttributeValue>>, JournalError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", partition(kind))
            .key("sk", AttributeValue::S(key.to_owned()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(found.item.filter(|item| !self.is_over(item)))
    }

    fn is_over(&self, item: &HashMap<String, AttributeValue>) -> bool {
        number(item, "exp")
            .is_some_and(|at| at.saturating_mul(1000) <= self.clock.now().as_ms().unsigned_abs())
    }
}

#[async_trait]
impl Journal for DynamoJournal {
    async fn get(&self, kind: Kind, key: &str) -> Result<Option<Document>, JournalError> {
        self.item(kind, key).await?.as_ref().map(|item| document(item, key)).transpose()
    }

    async fn put(
        &self,
        kind: Kind,
        key: &str,
        body: &str,
        expected: u64,
        keep_until: Option<Timestamp>,
    ) -> Result<Put, JournalError> {
        if body.len() > MAX_BODY_BYTES {
            return Err(JournalError::TooLarge(body.len()));
        }
        let now = AttributeValue::N((self.clock.now().as_ms() / 1000).to_string());
        let name: [u8; 8] = rand::rng().random();
        let mut put = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("pk", partition(kind))
            .item("sk", AttributeValue::S(key.to_owned()))
            .item("v", AttributeValue::N((expected + 1).to_string()))
            .item("w", AttributeValue::B(Blob::new(name)))
            .item("b", AttributeValue::S(body.to_owned()))
            .expression_attribute_names("#exp", "exp")
            .expression_attribute_values(":now", now);
        if let Some(at) = keep_until {
            // Rounded up: the attribute counts seconds.
            let seconds = (at.as_ms() + 999).div_euclid(1000);
            put = put.item("exp", AttributeValue::N(seconds.to_string()));
        }
        // What is past its time is gone, although DynamoDB deletes it days later.
        let put = if expected == 0 {
            put.condition_expression("attribute_not_exists(v) OR #exp <= :now")
        } else {
            put.condition_expression("v = :v AND (attribute_not_exists(#exp) OR #exp > :now)")
                .expression_attribute_values(":v", AttributeValue::N(expected.to_string()))
        };
        match put.send().await {
            Ok(_) => Ok(Put::Done(expected + 1)),
            Err(error) if error.code() == Some("ConditionalCheckFailedException") => {
                // The SDK may have tried again what was written: then it is our own. Its text proves nothing, as two
                // who count write the same.
                let found = self.item(kind, key).await?;
                let is_own = found.is_some_and(|item| {
                    item.get("w").and_then(|w| w.as_b().ok()).is_some_and(|w| w.as_ref() == name)
                });
                Ok(if is_own { Put::Done(expected + 1) } else { Put::Conflict })
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    async fn delete(&self, kind: Kind, key: &str) -> Result<(), JournalError> {
        self.client
            .delete_item()
            .table_name(&self.table)
            .key("pk", partition(kind))
            .key("sk", AttributeValue::S(key.to_owned()))
            .send()
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(())
    }

    async fn list(
        &self,
        kind: Kind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, JournalError> {
        let mut found = Vec::new();
        let mut start = None;
        while found.len() < limit {
            let mut query = self
                .client
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .scan_index_forward(false)
                .limit(i32::try_from(limit - found.len()).unwrap_or(i32::MAX))
                .expression_attribute_values(":pk", partition(kind))
                .set_exclusive_start_key(start);
            query = match after {
                None => query.key_condition_expression("pk = :pk"),
                Some(after) => query
                    .key_condition_expression("pk = :pk AND sk < :after")
                    .expression_attribute_values(":after", AttributeValue::S(after.to_owned())),
            };
            let page = query.send().await.map_err(|error| unavailable(&error))?;
            let items = page.items.unwrap_or_default();
            for item in items.iter().filter(|item| !self.is_over(item)) {
                let key = item.get("sk").and_then(|key| key.as_s().ok());
                found.push(document(item, key.map_or("?", String::as_str))?);
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

fn partition(kind: Kind) -> AttributeValue {
    AttributeValue::S(format!("j#{}", kind.as_str()))
}

fn document(item: &HashMap<String, AttributeValue>, key: &str) -> Result<Document, JournalError> {
    let text = |name: &str| item.get(name)?.as_s().ok().cloned();
    let read = || Some(Document { key: text("sk")?, version: number(item, "v")?, body: text("b")? });
    read().ok_or_else(|| JournalError::Corrupt { key: key.to_owned(), column: 0 })
}

fn number(item: &HashMap<String, AttributeValue>, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

fn unavailable<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> JournalError {
    JournalError::Unavailable(aws::words(error))
}
