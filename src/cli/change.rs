//! What `redrive`, `hold`, `release` and `cancel` share: count, show, ask, have it done as a job, follow it, tell.

mod follow;
mod tell;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::filter::FilterArgs;
use super::output::Output;
use super::{Exit, Usage};
use crate::clock::Timestamp;
use crate::notification::NotificationId;

pub use follow::{Job, follow};
pub use tell::scope_words;

/// A change to many notifications.
#[derive(Debug, Default)]
pub struct Change<'a> {
    /// As the API calls it.
    pub action: &'a str,
    /// These; when there are none, all that match the filter.
    pub ids: &'a [NotificationId],
    /// Which; beside ids it narrows them.
    pub filter: FilterArgs,
    /// The provider itself, or that of the latest attempt.
    pub provider: Option<&'a str>,
    /// Everything.
    pub all: bool,
    /// The operator's words.
    pub reason: Option<&'a str>,
    /// How, as the API reads it.
    pub pace: Map<String, Value>,
    /// Do not ask.
    pub yes: bool,
    /// Only count.
    pub dry_run: bool,
}

/// What it would meet.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Preview {
    matched: u64,
    groups: Vec<Group>,
    samples: Vec<Sample>,
    refused: Vec<Refused>,
    standing: bool,
}

#[derive(Debug, Deserialize)]
struct Group {
    status: String,
    reason: Option<String>,
    #[serde(default)]
    tenant: String,
    template: Option<String>,
    #[serde(default)]
    deadline: String,
    count: u64,
}

#[derive(Debug, Deserialize)]
struct Sample {
    id: String,
    status: String,
    to: Option<String>,
    useful_until: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
struct Refused {
    id: String,
    detail: String,
}

/// Counts, asks where it must, has it done, and tells the final counts. Exit 1 if some were refused or failed again.
pub async fn run(change: &Change<'_>, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let preview: Preview = client.post("/v1/jobs", &change.request(true)).await?;
    tell::preview(change, &preview, out)?;
    let refused = if preview.refused.is_empty() { Exit::Done } else { Exit::Failed };
    if change.dry_run || !change.is_to_do(&preview) {
        return Ok(refused);
    }
    if !change.agreed(&preview, out)? {
        out.note("nothing was changed")?;
        return Ok(Exit::Done);
    }
    let job: Job = client.post("/v1/jobs", &change.request(false)).await?;
    out.line(format_args!("job {}", job.id))?;
    // Whoever reads this can resume it, also if this process ends at once.
    out.flush()?;
    let ended = follow(&job.id, client, out).await?;
    Ok(if refused == Exit::Failed { refused } else { ended })
}

impl Change<'_> {
    /// What stands also concerns what arrives later; but nobody sets that by the way.
    fn is_to_do(&self, preview: &Preview) -> bool {
        preview.matched > 0
            || (preview.standing && (self.yes || self.is_of_provider() || self.action == "release"))
    }

    /// Whether it concerns a provider, and no notification.
    fn is_of_provider(&self) -> bool {
        self.provider.is_some() && self.action != "redrive"
    }

    /// Whether the person at the terminal agrees, where one is to be asked.
    fn agreed(&self, preview: &Preview, out: &mut Output) -> anyhow::Result<bool> {
        let is_one = preview.matched <= 1 && !self.is_of_provider() && !self.all;
        if is_one || self.yes {
            return Ok(true);
        }
        let question = tell::question(self, preview);
        out.ask(format_args!("{question}?"))?.ok_or_else(|| {
            Usage(format!("nothing was changed: to {question} without a terminal, add --yes")).into()
        })
    }

    fn request(&self, dry_run: bool) -> Value {
        let mut filter = self.filter.json();
        if !self.ids.is_empty() {
            filter.insert("ids".into(), json!(self.ids));
        }
        if let Some(provider) = self.provider {
            filter.insert("provider".into(), provider.into());
        }
        let mut request = json!({"action": self.action, "filter": filter, "dry_run": dry_run});
        if self.all {
            request["all"] = true.into();
        }
        if let Some(reason) = self.reason {
            request["reason"] = reason.into();
        }
        if !self.pace.is_empty() {
            request["pace"] = Value::Object(self.pace.clone());
        }
        request
    }
}
