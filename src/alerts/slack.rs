//! A message as Slack's incoming webhooks take it.

use serde_json::{Value, json};

use super::check::Severity;
use super::message::Message;
use super::state::Change;

/// The body of the post: `{"text": …}` in Slack's own markup.
pub fn body(message: &Message) -> Value {
    let sign = match (message.change, message.severity) {
        (Change::Resolved, _) => ":large_green_circle:",
        (Change::Test, _) => ":white_circle:",
        (_, Severity::Critical) => ":red_circle:",
        (_, Severity::Warning) => ":large_yellow_circle:",
    };
    let what = message.subject.as_ref().map_or(message.alert.clone(), |of| format!("{} {of}", message.alert));
    let mut text = format!("{sign} *{}* {}", escaped(&what), escaped(&message.headline()));
    if message.change != Change::Resolved {
        text.push_str(&format!("\nRunbook: {}\n```{}```", link(&message.runbook), escaped(&message.command)));
    }
    json!({ "text": text })
}

fn link(runbook: &str) -> String {
    if runbook.starts_with("http") { format!("<{}>", escaped(runbook)) } else { escaped(runbook) }
}

/// Three characters have a meaning there (Slack, "Formatting text": escaping).
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
