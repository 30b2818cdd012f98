//! From settings to the AWS adapters, and what `check` and `setup` say of them.

use super::check::{CheckLine, SetupLine};
use crate::aws::Aws;
use crate::message_log::dynamodb;
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

pub(super) fn log(from: &AwsSettings) -> dynamodb::Config {
    dynamodb::Config { table: from.table.clone(), retention: from.retention, ..dynamodb::Config::default() }
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
    use sqs::check::Action;
    let connected = connect(from).await?;
    let actions = [Action::Send, Action::Receive, Action::Delete, Action::Hide];
    let queues = queues(settings, from);
    let (of_queues, config) = (sqs::check::check(&connected, &queues, &actions), log(from));
    let (of_queues, of_table) = tokio::join!(of_queues, dynamodb::check(&connected, &config));
    let of_queues = of_queues.into_iter().map(|f| CheckLine {
        name: f.name,
        ok: f.ok,
        detail: f.detail,
        remedy: f.remedy,
    });
    let of_table = of_table.into_iter().map(|f| CheckLine {
        name: f.name,
        ok: f.ok,
        detail: f.detail,
        remedy: f.remedy,
    });
    Ok(of_queues.chain(of_table).collect())
}

pub(super) async fn setup(settings: &Settings, from: &AwsSettings) -> anyhow::Result<Vec<SetupLine>> {
    let connected = connect(from).await?;
    let queues = sqs::setup::setup(&connected, &queues(settings, from)).await?;
    let table = dynamodb::setup(&connected, &log(from)).await?;
    let queue = |step: sqs::setup::Step| {
        let unchanged = step.done == sqs::setup::Done::Unchanged;
        SetupLine { name: step.name, unchanged, detail: step.detail }
    };
    let table =
        table.into_iter().map(|s| SetupLine { name: s.name, unchanged: s.unchanged, detail: s.detail });
    Ok(queues.into_iter().map(queue).chain(table).collect())
}
