//! `alerts`.

use clap::Args;
use serde_json::{Value, json};

use super::Exit;
use super::client::Client;
use super::output::Output;
use super::when::{human, relative};
use crate::api::alerts::{AlertView, AlertsView, ChannelTests};
use crate::clock::Timestamp;

/// What is wrong, since when, and what to do first; what ended within a week; or a test of the channels
#[derive(Debug, Args)]
#[command(after_help = "\
Example: is the way to Slack open?
  kakitome alerts --test")]
pub struct AlertsArgs {
    /// One JSON object a line: an alert each, or a channel each
    #[arg(long)]
    json: bool,
    /// Post a test message to every channel; exit 1 if one does not take it
    #[arg(long)]
    test: bool,
}

/// Runs `alerts`.
pub async fn run(args: &AlertsArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    if args.test {
        return test(args, client, out).await;
    }
    let AlertsView { items } = client.get("/v1/alerts", &[]).await?;
    if args.json {
        items.iter().try_for_each(|alert| out.line(serde_json::to_string(alert).unwrap_or_default()))?;
        return Ok(Exit::Done);
    }
    let (firing, over): (Vec<_>, Vec<_>) = items.iter().partition(|alert| alert.state == "firing");
    if firing.is_empty() {
        out.line("no alert fires")?;
    }
    let now = out.now();
    firing.into_iter().try_for_each(|alert| print(alert, now, out))?;
    for alert in over {
        let ended = alert.resolved_at.unwrap_or(alert.since);
        let lasted = human(ended.since(alert.since));
        out.line(format_args!("over      {}  {}, lasted {lasted}", alert.key, relative(ended, now)))?;
    }
    Ok(Exit::Done)
}

fn print(alert: &AlertView, now: Timestamp, out: &mut Output) -> anyhow::Result<()> {
    out.line(format_args!("{:<9} {}  since {}", alert.severity, alert.key, relative(alert.since, now)))?;
    out.line(format_args!("    {}", alert.summary))?;
    out.line(format_args!("    runbook  {}", alert.runbook))?;
    out.line(format_args!("    begin    {}", alert.command))?;
    if alert.unposted > 0 {
        out.line(format_args!("    {} messages wait for a channel", alert.unposted))?;
    }
    Ok(())
}

async fn test(args: &AlertsArgs, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let ChannelTests { channels } = client.post("/v1/alerts/test", &json!({})).await?;
    if channels.is_empty() {
        out.note("no channel is configured: KAKITOME_SLACK_WEBHOOK_URL or KAKITOME_ALERT_WEBHOOK_URL")?;
        return Ok(Exit::Failed);
    }
    for tested in &channels {
        if args.json {
            out.line(serde_json::to_value(tested).unwrap_or(Value::Null))?;
        } else {
            let said = tested.error.as_deref().unwrap_or("took the test message");
            out.line(format_args!("{:<9} {said}", tested.channel))?;
        }
    }
    Ok(if channels.iter().all(|tested| tested.ok) { Exit::Done } else { Exit::Failed })
}
