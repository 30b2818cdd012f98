//! Questions to one partition of the table or an index, page by page.

use aws_sdk_dynamodb::types::{AttributeValue, Select};

use super::keys::Item;
use super::row::n;
use super::table::{self, QueryPage, Table};
use crate::aws::{self, Kind};
use crate::clock::Timestamp;
use crate::message_log::LogError;

/// How often a page that is throttled is asked for again, after the SDK's own tries.
const TRIES: u32 = 5;

/// A question to one partition. Eventually consistent, at half the price: listings are of yesterday's mails mostly, and
/// every row of theirs is read consistently before it is shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    /// `None`: the table itself.
    pub(super) index: Option<&'static str>,
    /// The name and the value of the partition key.
    pub(super) partition: (&'static str, String),
    /// The name of the sort key, and the range that it lies in, ends included.
    pub(super) sort: Option<&'static str>,
    pub(super) span: Span,
    /// In the order of the sort key, else against it.
    pub(super) is_up: bool,
    /// The attributes to be told, none of which is a reserved word; `None`: all.
    pub(super) projection: Option<&'static str>,
    /// Attributes that must have these values. The service reads what does not fit all the same, and keeps it to itself.
    pub(super) only: Vec<(&'static str, String)>,
    /// Count only.
    pub(super) is_count: bool,
    /// As of now.
    pub(super) is_consistent: bool,
}

/// A range of a sort key, both ends included.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Span {
    from: Option<AttributeValue>,
    to: Option<AttributeValue>,
    is_empty: bool,
}

impl Span {
    /// Of moments.
    pub(super) fn times(from: Option<Timestamp>, to: Option<Timestamp>) -> Self {
        let is_empty = from.zip(to).is_some_and(|(from, to)| from > to);
        let number = |at: Timestamp| n(at.as_ms());
        Self { from: from.map(number), to: to.map(number), is_empty }
    }

    /// Of texts.
    pub(super) fn texts(from: Option<String>, to: Option<String>) -> Self {
        let is_empty = matches!((&from, &to), (Some(from), Some(to)) if from > to);
        Self { from: from.map(AttributeValue::S), to: to.map(AttributeValue::S), is_empty }
    }

    /// Of what begins with `prefix` and a `#`.
    pub(super) fn below(prefix: &str) -> Self {
        // `$` follows `#`.
        Self::texts(Some(format!("{prefix}#")), Some(format!("{prefix}$")))
    }
}

impl Ask {
    /// One page, of at most `limit` entries.
    pub(super) async fn page(
        &self,
        table: &Table,
        start: Option<Item>,
        limit: Option<usize>,
    ) -> Result<QueryPage, LogError> {
        if self.span.is_empty {
            return Ok(QueryPage::default());
        }
        let mut round = 0;
        loop {
            let call = self.call(table, start.clone(), limit);
            match call.send().await {
                Ok(answer) => {
                    table.answered();
                    return Ok(QueryPage {
                        count: u64::try_from(answer.count).unwrap_or(0),
                        read: usize::try_from(answer.scanned_count).unwrap_or(0),
                        items: answer.items.unwrap_or_default(),
                        next: answer.last_evaluated_key.filter(|key| !key.is_empty()),
                    });
                }
                Err(error) if aws::kind(&error) == Kind::Throttled && round < TRIES => {
                    round += 1;
                    table::pause(round).await;
                }
                Err(error) => return Err(table.failed(&error)),
            }
        }
    }

    fn call(
        &self,
        table: &Table,
        start: Option<Item>,
        limit: Option<usize>,
    ) -> aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder {
        let (name, value) = &self.partition;
        let mut condition = String::from("#p = :p");
        let mut call = table
            .client
            .query()
            .table_name(table.name.as_ref())
            .set_index_name(self.index.map(str::to_owned))
            .set_consistent_read(self.is_consistent.then_some(true))
            .scan_index_forward(self.is_up)
            .set_limit(limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)))
            .set_exclusive_start_key(start)
            .set_select(self.is_count.then_some(Select::Count))
            .set_projection_expression(self.projection.filter(|_| !self.is_count).map(str::to_owned))
            .expression_attribute_names("#p", *name)
            .expression_attribute_values(":p", AttributeValue::S(value.clone()));
        let Span { from, to, .. } = &self.span;
        if let Some(sort) = self.sort.filter(|_| from.is_some() || to.is_some()) {
            call = call.expression_attribute_names("#s", sort);
            condition.push_str(match (from, to) {
                (Some(_), Some(_)) => " AND #s BETWEEN :f AND :t",
                (Some(_), None) => " AND #s >= :f",
                _ => " AND #s <= :t",
            });
        }
        for (place, value) in [(":f", from), (":t", to)] {
            if let Some(value) = value {
                call = call.expression_attribute_values(place, value.clone());
            }
        }
        if !self.only.is_empty() {
            let mut filters = Vec::with_capacity(self.only.len());
            for (at, (name, value)) in self.only.iter().enumerate() {
                filters.push(format!("#o{at} = :o{at}"));
                call = call
                    .expression_attribute_names(format!("#o{at}"), *name)
                    .expression_attribute_values(format!(":o{at}"), AttributeValue::S(value.clone()));
            }
            call = call.filter_expression(filters.join(" AND "));
        }
        call.key_condition_expression(condition)
    }

    /// Everything.
    pub(super) async fn all(&self, table: &Table) -> Result<Vec<Item>, LogError> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let mut page = self.page(table, start, None).await?;
            items.append(&mut page.items);
            match page.next {
                Some(next) => start = Some(next),
                None => return Ok(items),
            }
        }
    }

    /// How many there are.
    pub(super) async fn count(&self, table: &Table) -> Result<u64, LogError> {
        let ask = Self { is_count: true, ..self.clone() };
        let (mut count, mut start) = (0, None);
        loop {
            let page = ask.page(table, start, None).await?;
            count += page.count;
            match page.next {
                Some(next) => start = Some(next),
                None => return Ok(count),
            }
        }
    }
}
