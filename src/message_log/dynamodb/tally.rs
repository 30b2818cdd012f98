//! How many were sent since the start: kept in memory, added to the table now and then, as no item takes a write for
//! each of a thousand a second.

use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use rand::RngExt;

use super::keys::Key;
use super::row::number;
use super::table::Table;
use crate::message_log::LogError;

/// Items that the count is spread over.
const SHARDS: u8 = 8;

/// How often it is written.
const FLUSH_EVERY: Duration = Duration::from_secs(10);

/// The count that is not written yet.
#[derive(Debug, Default)]
pub(super) struct Tally {
    unflushed: AtomicU64,
}

impl Tally {
    /// So many more were sent.
    pub(super) fn sent(&self, more: u64) {
        self.unflushed.fetch_add(more, Ordering::Relaxed);
    }

    /// How many were sent since the start, this process's latest included.
    pub(super) async fn total(&self, table: &Table) -> Result<u64, LogError> {
        let keys = (0..SHARDS).map(|shard| Key::new("tally", format!("{shard:02}")));
        let stored: u64 =
            table.get(keys).await?.values().filter_map(|item| number::<u64>(item, "sent")).sum();
        Ok(stored + self.unflushed.load(Ordering::Relaxed))
    }

    /// Writes what is not written yet. What fails is kept for the next time; a lost answer may count twice.
    pub(super) async fn flush(&self, table: &Table) {
        let more = self.unflushed.swap(0, Ordering::Relaxed);
        if more == 0 {
            return;
        }
        let shard: u8 = rand::rng().random_range(0..SHARDS);
        let done = table
            .client
            .update_item()
            .table_name(table.name.as_ref())
            .set_key(Some(Key::new("tally", format!("{shard:02}")).attributes()))
            .update_expression("ADD sent :more")
            .expression_attribute_values(":more", AttributeValue::N(more.to_string()))
            .send()
            .await;
        match done {
            Ok(_) => table.answered(),
            Err(error) => {
                self.unflushed.fetch_add(more, Ordering::Relaxed);
                let _logged_by_the_watch = table.failed(&error);
            }
        }
    }
}

/// Ends when the log is gone.
pub(super) async fn flush_regularly(tally: Weak<Tally>, table: Table) {
    loop {
        tokio::time::sleep(FLUSH_EVERY).await;
        let Some(tally) = tally.upgrade() else { return };
        tally.flush(&table).await;
    }
}
