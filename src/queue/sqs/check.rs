//! Is every queue there and right, and may we do what we need to? Changes nothing.

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName as Name;

use super::attributes::Attributes;
use super::calls::Failure;
use super::entries::seconds;
use super::setup::Queues;
use crate::aws::{Aws, Finding, Kind};

/// What a process does with the queue; each is an IAM action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Enqueue, and move what is dead.
    Send,
    /// Receive.
    Receive,
    /// Settle.
    Delete,
    /// Heartbeat, and give back.
    Hide,
}

impl Action {
    /// What a worker needs.
    pub const WORKER: &[Action] = &[Action::Send, Action::Receive, Action::Delete, Action::Hide];
    /// What an API or a sweeper needs.
    pub const PRODUCER: &[Action] = &[Action::Send];

    /// Its name in a policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Send => "sqs:SendMessage",
            Action::Receive => "sqs:ReceiveMessage",
            Action::Delete => "sqs:DeleteMessage",
            Action::Hide => "sqs:ChangeMessageVisibility",
        }
    }
}

/// Looks at every queue, and tries each action on the queue (on the dead-letter queue too, for who receives)
/// with a request that SQS refuses as senseless once it has seen that it is allowed.
pub async fn check(aws: &Aws, queues: &Queues, actions: &[Action]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (queue_name, dead_name) = ("queue", "dead-letter queue");
    let queue = reach(aws, queue_name, &queues.queue_url, &mut findings).await;
    let dead = reach(aws, dead_name, &queues.dead_letter_url, &mut findings).await;
    if let Some(events) = &queues.events_url {
        reach(aws, "events queue", events, &mut findings).await;
    }
    if let Some(queue) = &queue {
        findings.extend(attributes(queue_name, queue, dead.as_ref(), queues));
    }
    for action in actions {
        findings.extend(permission(aws, queue_name, &queues.queue_url, *action).await);
    }
    if actions.contains(&Action::Receive) {
        for action in Action::WORKER {
            findings.extend(permission(aws, dead_name, &queues.dead_letter_url, *action).await);
        }
        // Those of the webhook role: it takes events in, and folds them.
        for action in Action::WORKER {
            let Some(events) = &queues.events_url else { break };
            findings.extend(permission(aws, "events queue", events, *action).await);
        }
    }
    findings
}

async fn reach(aws: &Aws, what: &str, url: &str, findings: &mut Vec<Finding>) -> Option<Attributes> {
    match Attributes::read(&aws.sqs, url).await {
        Ok(read) => {
            findings.push(Finding::good(what, format!("{url} answers")));
            Some(read)
        }
        Err(failure) => {
            let (detail, remedy) = match failure.kind {
                Kind::Absent => (
                    format!("{url} does not exist"),
                    "correct the URL (account, region, name), or make it with `kakitome setup`".into(),
                ),
                Kind::Denied => (failure.words, format!("allow sqs:GetQueueAttributes on {url}")),
                _ => (failure.words, "is the region right, and does this machine reach it?".into()),
            };
            findings.push(Finding::bad(what, detail, remedy));
            None
        }
    }
}

/// What of the queue's attributes loses mail or attention.
fn attributes(what: &str, queue: &Attributes, dead: Option<&Attributes>, queues: &Queues) -> Vec<Finding> {
    const SETUP: &str = "`kakitome setup` puts it right";
    let mut findings = Vec::new();
    let mut bad = |detail: String, remedy: &str| findings.push(Finding::bad(what, detail, remedy));
    match (queue.redrive(), dead) {
        (None, _) => bad("has no dead-letter queue".into(), SETUP),
        (Some(redrive), Some(dead)) if redrive.arn != dead.arn() => {
            bad(format!("its dead letters go to {}, not to the configured queue", redrive.arn), SETUP);
        }
        (Some(redrive), _) if redrive.max_receive_count != u64::from(queues.max_receive_count) => {
            let (found, wanted) = (redrive.max_receive_count, queues.max_receive_count);
            bad(format!("messages are dead letters after {found} receives, not {wanted}"), SETUP);
        }
        _ => {}
    }
    let kept = |of: &Attributes| of.number(&Name::MessageRetentionPeriod).unwrap_or(0);
    if let Some(dead) = dead.filter(|dead| kept(dead) <= kept(queue)) {
        // A dead letter that SQS moved is as old as its message: it would vanish as soon as it was moved.
        let detail =
            format!("keeps messages for {} s, its dead-letter queue for {} s", kept(queue), kept(dead));
        bad(detail, "keep dead letters for longer than messages; `kakitome setup` sets 14 days");
    }
    let visibility = u64::try_from(seconds(queues.visibility_timeout, Duration::MAX)).unwrap_or(0);
    if let Some(found) = queue.number(&Name::VisibilityTimeout).filter(|found| *found < visibility) {
        bad(format!("its visibility time-out is {found} s, less than the configured {visibility} s"), SETUP);
    }
    if let Some(delay) = queue.number(&Name::DelaySeconds).filter(|delay| *delay > 0) {
        bad(format!("delays every message by {delay} s"), "set its DelaySeconds to 0");
    }
    for (what, of) in [("queue", Some(queue)), ("dead-letter queue", dead)] {
        if of.is_some_and(|of| !of.is_encrypted()) {
            let detail = "is not encrypted at rest";
            findings.push(Finding::bad(what, detail, SETUP));
        }
    }
    findings
}

/// A receipt that names nothing.
const BOGUS: &str = "kakitome-check";

/// Whether `action` on this queue is allowed. `None` where the queue is absent, which is told elsewhere.
async fn permission(aws: &Aws, what: &str, url: &str, action: Action) -> Option<Finding> {
    let name = format!("{} on the {what}", action.as_str());
    match probe(aws, url, action).await {
        // Some servers take what SQS refuses; allowed it is all the same.
        Ok(()) => Some(Finding::good(name, "allowed")),
        Err(failure) => match failure.kind {
            Kind::Refused => Some(Finding::good(name, "allowed")),
            Kind::Absent => None,
            Kind::Denied => {
                let remedy = format!("allow {} on {url}", action.as_str());
                Some(Finding::bad(name, failure.words, remedy))
            }
            Kind::Throttled | Kind::Unavailable => {
                let detail = format!("could not be tried: {}", failure.words);
                Some(Finding::bad(name, detail, "try again"))
            }
        },
    }
}

/// The action with a request that does nothing: two faults in one where a lenient server may not see the one.
async fn probe(aws: &Aws, url: &str, action: Action) -> Result<(), Failure> {
    let sqs = &aws.sqs;
    match action {
        Action::Send => {
            let call = sqs.send_message().queue_url(url).message_body("\u{1}").delay_seconds(9999);
            call.send().await.map(drop).map_err(|error| Failure::of(&error))
        }
        Action::Receive => {
            // Should anybody answer it, the messages are visible again at once.
            let call = sqs.receive_message().queue_url(url).max_number_of_messages(11).visibility_timeout(0);
            call.send().await.map(drop).map_err(|error| Failure::of(&error))
        }
        Action::Delete => {
            let call = sqs.delete_message().queue_url(url).receipt_handle(BOGUS);
            call.send().await.map(drop).map_err(|error| Failure::of(&error))
        }
        Action::Hide => {
            let call = sqs.change_message_visibility().queue_url(url).receipt_handle(BOGUS);
            let call = call.visibility_timeout(1);
            call.send().await.map(drop).map_err(|error| Failure::of(&error))
        }
    }
}
