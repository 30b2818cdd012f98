//! Going through lists: tenant by tenant, shard by shard, page by page.

use aws_sdk_dynamodb::types::AttributeValue;

use super::{DynamoSuppressions, Item, SHARDS, Stored, TENANTS, partition, place, shard, text, unavailable};
use crate::suppression::{Cursor, Entry, Filter, ListError};

impl DynamoSuppressions {
    /// Every tenant from this one on, in order.
    async fn tenants(&self, from: &str) -> Result<Vec<String>, ListError> {
        let (mut tenants, mut start) = (Vec::new(), None);
        loop {
            let page = self.client.query().table_name(&self.table).consistent_read(true);
            let page = page.key_condition_expression("pk = :p AND sk >= :f");
            let page = page.expression_attribute_values(":p", AttributeValue::S(TENANTS.into()));
            // A key is never empty.
            let from = if from.is_empty() { " " } else { from };
            let page = page.expression_attribute_values(":f", AttributeValue::S(from.to_owned()));
            let page =
                page.set_exclusive_start_key(start).send().await.map_err(|error| unavailable(&error))?;
            tenants.extend(page.items.unwrap_or_default().iter().filter_map(|item| text(item, "sk")));
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                return Ok(tenants);
            }
        }
    }

    /// Hands out each matching entry behind the cursor, in order, until `take` says that it is enough.
    pub(super) async fn each(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        mut take: impl FnMut(Entry) -> bool + Send,
    ) -> Result<(), ListError> {
        let tenants = match &filter.tenant {
            Some(tenant) => vec![tenant.clone()],
            None => self.tenants(after.as_ref().map_or("", |after| &after.tenant)).await?,
        };
        let wanted = filter.address.as_ref().map(|address| address.canonical());
        for tenant in tenants {
            let of_here = after.as_ref().filter(|after| after.tenant == tenant);
            let first = of_here.map_or(0, |after| shard(&after.canonical));
            for shard in (first..SHARDS).filter(|n| wanted.as_ref().is_none_or(|one| shard(one) == *n)) {
                let behind = of_here.filter(|_| shard == first);
                let mut walk =
                    Walk { list: self, tenant: &tenant, shard, removed: filter.removed, start: Start::First };
                while let Some(items) = walk.turn(behind, wanted.as_deref()).await? {
                    for item in items {
                        let place = place(&item).ok_or(ListError::Corrupt)?;
                        for entry in Stored::read(&item)?.sheet.entries(&tenant, filter.removed) {
                            let is_behind = behind.is_none_or(|after| after.is_before(&place, &entry));
                            if is_behind && filter.fits(&entry) && !take(entry) {
                                return Ok(());
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// The pages of one shard.
struct Walk<'a> {
    list: &'a DynamoSuppressions,
    tenant: &'a str,
    shard: u8,
    removed: bool,
    start: Start,
}

enum Start {
    First,
    At(Item),
    Over,
}

impl Walk<'_> {
    /// The next page's items; `None` after the last.
    async fn turn(
        &mut self,
        behind: Option<&Cursor>,
        wanted: Option<&str>,
    ) -> Result<Option<Vec<Item>>, ListError> {
        let start = match std::mem::replace(&mut self.start, Start::Over) {
            Start::First => None,
            Start::At(key) => Some(key),
            Start::Over => return Ok(None),
        };
        let value = |text: &str| AttributeValue::S(text.to_owned());
        let mut query = self
            .list
            .client
            .query()
            .table_name(&self.list.table)
            .consistent_read(true)
            .set_exclusive_start_key(start)
            .expression_attribute_values(":p", value(&partition(self.tenant, self.shard)));
        query = match (wanted, behind) {
            (Some(one), _) => query
                .key_condition_expression("pk = :p AND sk = :a")
                .expression_attribute_values(":a", value(one)),
            (None, Some(behind)) => query
                .key_condition_expression("pk = :p AND sk >= :a")
                .expression_attribute_values(":a", value(&behind.canonical)),
            (None, None) => query.key_condition_expression("pk = :p"),
        };
        if !self.removed {
            // What nothing stands against is not worth carrying over.
            let none = AttributeValue::N("0".into());
            query = query.filter_expression("m <> :none").expression_attribute_values(":none", none);
        }
        let page = query.send().await.map_err(|error| unavailable(&error))?;
        if let Some(key) = page.last_evaluated_key.filter(|key| !key.is_empty()) {
            self.start = Start::At(key);
        }
        Ok(Some(page.items.unwrap_or_default()))
    }
}
