//! `events aside`.

use clap::Args;
use serde_json::{Value, json};

use super::super::client::Client;
use super::super::output::Output;
use super::super::when::relative;
use super::super::{Exit, Usage, table};
use crate::api::aside::deal::AsideAnswer;
use crate::api::aside::{AsidePageView, AsideView};
use crate::clock::Timestamp;

/// Rows of a table, unless `--limit` says otherwise.
const ROWS: usize = 50;
/// As many as the server tells in one answer, and as many ids as it takes in one question.
const PAGE: usize = 1000;

/// The provider events that could not be folded: list them, put them back, dismiss them
///
/// What a provider told and no record could take is set aside with the reason and kept for 90 days; its neighbours are
/// folded. Once the cause is mended, put it back: what was folded already is known for a repeat, and what still cannot be
/// folded is set aside again.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: see them, and have them folded again
  kakitome events aside
  kakitome events aside --retry-all --reason 'release 1.4.2 reads them'
  kakitome events aside --dismiss 0f3a…c1 \\
      --reason 'the record was deleted on purpose'

The runbook is runbooks/events-aside.md.")]
pub struct AsideArgs {
    /// At most this many [default: 50 in a table]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Also those that were put back or dismissed, and by whom
    #[arg(long)]
    all: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Put these back, to be folded again
    #[arg(long, value_name = "ID", num_args = 1.., group = "act", conflicts_with_all = ["limit", "all", "json"])]
    retry: Vec<String>,
    /// Put all of them back
    #[arg(long, group = "act", conflicts_with_all = ["limit", "all", "json"])]
    retry_all: bool,
    /// Take these off the list for good; needs a reason
    #[arg(long, value_name = "ID", num_args = 1.., group = "act", conflicts_with_all = ["limit", "all", "json"])]
    dismiss: Vec<String>,
    /// Take all of them off the list for good; needs a reason
    #[arg(long, group = "act", conflicts_with_all = ["limit", "all", "json"])]
    dismiss_all: bool,
    /// Why, kept with each
    #[arg(long, value_name = "TEXT", requires = "act")]
    reason: Option<String>,
    /// Only count
    #[arg(long, requires = "act")]
    dry_run: bool,
    /// Do not ask
    #[arg(long, requires = "act")]
    yes: bool,
}

/// Runs `events aside`.
pub(super) async fn run(args: &AsideArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let is_retry = args.retry_all || !args.retry.is_empty();
    if is_retry || args.dismiss_all || !args.dismiss.is_empty() {
        return act(args, is_retry, client, out).await;
    }
    let limit = args.limit.unwrap_or(if args.json { usize::MAX } else { ROWS });
    let (mut items, mut shown, mut cursor) = (Vec::new(), 0, None::<String>);
    let (counted, has_more) = loop {
        let mut query = vec![("limit", (limit - shown).clamp(1, PAGE).to_string())];
        query.extend(args.all.then(|| ("all", "true".to_owned())));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page: AsidePageView = client.get("/v1/events/aside", &query).await?;
        shown += page.items.len();
        if args.json {
            for item in &page.items {
                out.line(serde_json::to_string(item)?)?;
            }
        } else {
            items.extend(page.items);
        }
        cursor = page.next_cursor;
        if cursor.is_none() || shown >= limit {
            break (page.counted, cursor.is_some());
        }
    };
    if !args.json && !items.is_empty() {
        print(&items, args.all, out)?;
    }
    if has_more {
        out.note("there are more; --limit shows them")?;
    }
    let at_least = if counted.at_least { "at least " } else { "" };
    out.note(match counted.count {
        0 => "no event is set aside".to_owned(),
        count => format!("{at_least}{count} set aside"),
    })?;
    Ok(Exit::Done)
}

fn print(items: &[AsideView], all: bool, out: &mut Output) -> anyhow::Result<()> {
    let now = out.now();
    let mut heads = vec!["id", "set aside", "kind", "provider", "recipient", "names", "why"];
    heads.extend(all.then_some("dealt with"));
    let mut rows = table::table(&heads, out.is_out_terminal());
    for event in items {
        let named = event.notification.as_ref().or(event.provider_message_id.as_ref());
        let times = if event.times > 1 { format!(", {} times", event.times) } else { String::new() };
        let mut row = vec![
            event.id.clone(),
            format!("{}{times}", relative(event.set_aside_at, now)),
            event.kind.clone(),
            event.provider.clone(),
            event.recipient.clone().unwrap_or_default(),
            named.cloned().unwrap_or_default(),
            event.why.clone(),
        ];
        row.extend(all.then(|| dealt_with(event)));
        rows.add_row(row);
    }
    out.line(table::render(&rows))?;
    Ok(())
}

fn dealt_with(event: &AsideView) -> String {
    use crate::tracking::aside::End;
    let Some(ended) = &event.ended else { return String::new() };
    let how = match ended.how {
        End::PutBack => "put back",
        End::Dismissed => "dismissed",
    };
    let why = ended.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    format!("{how} by {} at {}{why}", ended.who, ended.at)
}

/// What came of all the calls of one act.
#[derive(Default)]
struct Told {
    count: u64,
    missing: Vec<String>,
    /// When the first call began.
    at: Option<Timestamp>,
}

/// Counts, asks where it must, and then acts on no more than was counted.
async fn act(args: &AsideArgs, is_retry: bool, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let (path, doing, done) = match is_retry {
        true => ("/v1/events/aside/retry", "put back", "put back, to be folded again"),
        false => ("/v1/events/aside/dismiss", "dismiss", "dismissed"),
    };
    let has_reason = args.reason.as_ref().is_some_and(|reason| !reason.trim().is_empty());
    if !is_retry && !args.dry_run && !has_reason {
        return Err(Usage("to dismiss events say why: --reason".into()).into());
    }
    let ids = if is_retry { &args.retry } else { &args.dismiss };
    let preview = call(path, ids, None, (None, true), client).await?;
    let count = preview.count;
    let noun = if count == 1 { "event" } else { "events" };
    for id in &preview.missing {
        out.line(format_args!("  {id}: is not set aside"))?;
    }
    let refused = if preview.missing.is_empty() { Exit::Done } else { Exit::Failed };
    if count == 0 {
        out.note("nothing matches")?;
        return Ok(refused);
    }
    if args.dry_run {
        out.line(format_args!("{doing}: {count} {noun}"))?;
        return Ok(refused);
    }
    if count > 1 && !args.yes {
        match out.ask(format_args!("{doing} {count} {noun}?"))? {
            Some(true) => {}
            Some(false) => {
                out.note("nothing was changed")?;
                return Ok(Exit::Done);
            }
            None => {
                let words =
                    format!("nothing was changed: to {doing} {count} {noun} without a terminal, add --yes");
                return Err(Usage(words).into());
            }
        }
    }
    let told = call(path, ids, preview.at, (args.reason.as_deref(), false), client).await?;
    out.line(format_args!("{} {done}", told.count))?;
    if told.count < count {
        let others = count - told.count;
        out.note(format_args!("{others} of those counted were changed by others meanwhile"))?;
    }
    Ok(refused)
}

/// As many calls as it takes. With `until`, what was set aside later is left alone.
async fn call(
    path: &str,
    ids: &[String],
    until: Option<Timestamp>,
    (reason, dry_run): (Option<&str>, bool),
    client: &Client,
) -> anyhow::Result<Told> {
    let mut body = json!({"dry_run": dry_run});
    if let Some(reason) = reason {
        body["reason"] = reason.into();
    }
    let mut told = Told::default();
    for ids in ids.chunks(PAGE) {
        body["ids"] = json!(ids);
        let answer: AsideAnswer = client.post(path, &body).await?;
        told.count += answer.count;
        told.missing.extend(answer.missing);
    }
    if !ids.is_empty() {
        return Ok(told);
    }
    body["all"] = true.into();
    let mut cursor = None;
    loop {
        // What is set aside while it is being counted is not counted, and so not acted upon.
        if let Some(until) = until.or(told.at) {
            body["until"] = Value::String(until.to_string());
        }
        body["cursor"] = json!(cursor);
        let answer: AsideAnswer = client.post(path, &body).await?;
        told.count += answer.count;
        told.at.get_or_insert(answer.at);
        cursor = answer.next_cursor;
        if cursor.is_none() {
            return Ok(told);
        }
    }
}
