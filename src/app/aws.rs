//! From settings to the AWS adapters, and what `check` and `setup` say of them.

use super::check::{CheckLine, SetupLine};
use crate::aws::{Aws, Done, Finding, Step};
use crate::feed::dynamodb::{self as feed, Named};
use crate::inbox::sqs::{self as inbox_sqs, lag};
use crate::message_log::dynamodb::{self, told};
use crate::notification::content::Limits;
use crate::queue::sqs;
use crate::settings::{AwsSettings, Settings};

pub(super) async fn connect(from: &AwsSettings) -> anyhow::Result<Aws> {
    Ok(Aws::connect(&from.access, from.calls).await?)
}

pub(super) fn queue(settings: &Settings, from: &AwsSettings) -> sqs::Config {
    sqs::Config {
        visibility_timeout: settings.queue.visibility,
        limits: Limits { body_bytes: settings.limits.notification_bytes },
        ..sqs::Config::new(&from.queue_url, &from.dead_letter_url)
    }
}

pub(super) fn inbox(settings: &Settings, from: &AwsSettings) -> Option<inbox_sqs::Config> {
    let url = from.events_url.clone()?;
    Some(inbox_sqs::Config { url, visibility_timeout: settings.queue.visibility })
}

/// SQS counts within a minute; where unknown outcomes rest for less than ten, in proportion.
pub(super) fn lag(settings: &Settings) -> lag::Config {
    let settles = lag::Config::default().settles.min(settings.worker.hold / 10);
    lag::Config { settles, rests: lag::Config::default().rests.min(settles), ..lag::Config::default() }
}

pub(super) fn log(from: &AwsSettings) -> dynamodb::Config {
    dynamodb::Config { table: from.table.clone(), retention: from.retention, ..dynamodb::Config::default() }
}

/// How the feed is read, and whose it is without a callback.
pub(super) fn feed(settings: &Settings, from: &AwsSettings) -> (feed::Config, Named) {
    let (callback, settled) = (&settings.callback, told::settled(&from.calls));
    let named = if callback.tenants.iter().any(|tenant| tenant == "*") {
        Named::All
    } else {
        Named::These(callback.tenants.clone())
    };
    (feed::Config { retention: callback.retention, settled }, named)
}

fn queues(settings: &Settings, from: &AwsSettings) -> sqs::setup::Queues {
    sqs::setup::Queues {
        queue_url: from.queue_url.clone(),
        dead_letter_url: from.dead_letter_url.clone(),
        events_url: from.events_url.clone(),
        visibility_timeout: settings.queue.visibility,
        max_receive_count: settings.queue.max_receive_count,
    }
}

pub(super) async fn check(settings: &Settings, from: &AwsSettings) -> anyhow::Result<Vec<CheckLine>> {
    let connected = connect(from).await?;
    let (queues, table) = (queues(settings, from), log(from));
    let of_queues = sqs::check::check(&connected, &queues, sqs::check::Action::WORKER);
    let (of_queues, of_table) = tokio::join!(of_queues, dynamodb::check(&connected, &table));
    let line = |found: Finding| CheckLine {
        name: found.name,
        ok: found.ok,
        detail: found.detail,
        remedy: found.remedy,
    };
    Ok(of_queues.into_iter().chain(of_table).map(line).collect())
}

pub(super) async fn setup(settings: &Settings, from: &AwsSettings) -> anyhow::Result<Vec<SetupLine>> {
    let connected = connect(from).await?;
    let mut steps = sqs::setup::setup(&connected, &queues(settings, from)).await?;
    steps.extend(dynamodb::setup(&connected, &log(from)).await?);
    let line = |step: Step| SetupLine {
        name: step.name,
        unchanged: step.done == Done::Unchanged,
        detail: step.detail,
    };
    Ok(steps.into_iter().map(line).collect())
}
