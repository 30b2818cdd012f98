//! `events --unmatched`.

use super::super::client::Client;
use super::super::output::Output;
use super::super::when::relative;
use super::super::{Exit, table};
use crate::api::unmatched::UnmatchedPageView;

/// Rows of a table, unless `--limit` says otherwise.
const ROWS: usize = 50;
/// As many as the server tells in one answer.
const PAGE: usize = 1000;

/// Lists them.
pub(super) async fn run(
    limit: Option<usize>,
    json: bool,
    client: &Client,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let limit = limit.unwrap_or(if json { usize::MAX } else { ROWS });
    let (mut items, mut cursor, mut count) = (Vec::new(), None::<String>, 0);
    while items.len() < limit {
        let mut query = vec![("limit", (limit - items.len()).clamp(1, PAGE).to_string())];
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page: UnmatchedPageView = client.get("/v1/events/unmatched", &query).await?;
        (count, cursor) = (page.count, page.next_cursor);
        if json {
            for item in &page.items {
                out.line(serde_json::to_string(item)?)?;
            }
        }
        items.extend(page.items);
        if cursor.is_none() {
            break;
        }
    }
    if json {
        return Ok(Exit::Done);
    }
    if items.is_empty() {
        out.note("every event matches a notification")?;
        return Ok(Exit::Done);
    }
    let now = out.now();
    let rows = items.iter().map(|event| {
        let named = event.id.as_ref().or(event.provider_message_id.as_ref());
        [
            relative(event.at, now),
            event.kind.clone(),
            event.provider.clone(),
            event.recipient.clone().unwrap_or_default(),
            named.cloned().unwrap_or_default(),
        ]
    });
    let heads = ["at", "kind", "provider", "recipient", "names"];
    let mut table = table::table(&heads, out.is_out_terminal());
    table.add_rows(rows);
    out.line(table::render(&table))?;
    out.line(format_args!("{} of {count}", items.len()))?;
    Ok(Exit::Done)
}
