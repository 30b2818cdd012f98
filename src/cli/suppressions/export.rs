//! `suppressions export`.

use serde_json::value::RawValue;

use super::{Entry, ExportArgs, Form, by, each};
use crate::cli::Exit;
use crate::cli::client::Client;
use crate::cli::incident::csv::field;
use crate::cli::output::Output;
use crate::suppression::Source;

const HEAD: &str = "email,reason,note,group,tenant,created_at,source,by";

pub(super) async fn run(args: &ExportArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let query = args.which.query();
    if args.format == Form::Csv {
        out.raw(|to| write!(to, "{HEAD}\r\n"))?;
    }
    each(&query, usize::MAX, client, |item| match args.format {
        Form::Ndjson => Ok(out.line(item.get())?),
        Form::Csv => row(item, out),
    })
    .await?;
    Ok(Exit::Done)
}

fn row(item: &RawValue, out: &mut Output) -> anyhow::Result<()> {
    let entry: Entry = serde_json::from_str(item.get())?;
    let (who, note) = by(&entry.source);
    let (kind, note, who) = match &entry.source {
        Source::Operator { .. } => ("operator", note, who),
        Source::Event { provider, .. } => ("event", String::new(), provider.clone()),
    };
    let cells = [
        entry.email.as_str(),
        entry.reason.as_str(),
        &note,
        entry.group.as_deref().unwrap_or_default(),
        &entry.tenant,
        &entry.created_at.to_string(),
        kind,
        &who,
    ];
    let cells = cells.map(field).join(",");
    out.raw(|to| write!(to, "{cells}\r\n"))?;
    Ok(())
}
