//! `events`.

use clap::Args;

use super::client::Client;
use super::output::Output;
use super::when::relative;
use super::{Exit, table};
use crate::api::unmatched::UnmatchedPageView;

/// Rows of a table, unless `--limit` says otherwise.
const ROWS: usize = 50;
/// As many as the server tells in one answer.
const PAGE: usize = 1000;

/// Events of the providers that match no notification; they are kept for 30 days and looked at again
#[derive(Debug, Args)]
#[command(after_help = "\
Example: whose mail does the account tell of that is not ours?
  kakitome events --unmatched --json | jq -r .recipient | sort | uniq -c | sort -n")]
pub struct EventsArgs {
    /// Those that match no notification
    #[arg(long, required = true)]
    unmatched: bool,
    /// One JSON object a line, all of them unless --limit says otherwise
    #[arg(long)]
    json: bool,
    /// At most this many [default: 50 in a table]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// Runs `events`.
pub async fn run(args: &EventsArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let limit = args.limit.unwrap_or(if args.json { usize::MAX } else { ROWS });
    let (mut items, mut cursor, mut count) = (Vec::new(), None::<String>, 0);
    while items.len() < limit {
        let mut query = vec![("limit", (limit - items.len()).clamp(1, PAGE).to_string())];
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page: UnmatchedPageView = client.get("/v1/events/unmatched", &query).await?;
        (count, cursor) = (page.count, page.next_cursor);
        if args.json {
            for item in &page.items {
                out.line(serde_json::to_string(item)?)?;
            }
        }
        items.extend(page.items);
        if cursor.is_none() {
            break;
        }
    }
    if args.json {
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
