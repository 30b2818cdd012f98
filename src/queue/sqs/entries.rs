//! The three batched calls' entries: a message to send, a receipt to delete, a receipt to hide for a while.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageAttributeValue,
    SendMessageBatchRequestEntry,
};
use futures::future::BoxFuture;
use sha2::Digest;

use super::calls::{Answer, Entry, Failure};
use crate::notification::Priority;
use crate::notification::status::Life;

/// The longest visibility time-out, 12 hours.
const LONGEST_HIDING: Duration = Duration::from_secs(12 * 3600);

/// Whole seconds, rounded up: what is waited for must be over when the message comes.
pub(super) fn seconds(span: Duration, longest: Duration) -> i32 {
    let span = span.min(longest);
    let whole = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    i32::try_from(whole).unwrap_or(i32::MAX)
}

/// The fairness group: SQS takes turns among groups, so a tenant's broadcast must not be its receipts' group.
pub(super) fn group(tenant: &str, priority: Priority) -> String {
    let group = match priority {
        Priority::Transactional => tenant.to_owned(),
        Priority::Bulk => format!("{tenant}/bulk"),
    };
    // What SQS allows in a `MessageGroupId`: 1 to 128 ASCII letters, digits and marks.
    if (1..=128).contains(&group.len()) && group.bytes().all(|b| b.is_ascii_graphic()) {
        return group;
    }
    sha2::Sha256::digest(group.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A message to send.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    body: String,
    delay_s: i32,
    group: String,
    attributes: Vec<(&'static str, String)>,
}

impl Sent {
    pub(super) fn new(body: String, group: String) -> Self {
        Self { body, delay_s: 0, group, attributes: Vec::new() }
    }

    pub(super) fn delayed(self, delay: Duration) -> Self {
        Self { delay_s: seconds(delay, Life::LONGEST_QUEUE_WAIT), ..self }
    }

    /// With a message attribute; the value must be what SQS takes as one.
    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.attributes.push((name, value));
        self
    }
}

impl Entry for Sent {
    fn bytes(&self) -> usize {
        let attribute = |(name, value): &(&str, String)| name.len() + "String".len() + value.len();
        self.body.len() + self.attributes.iter().map(attribute).sum::<usize>()
    }

    fn request<'a>(
        sqs: &'a Client,
        url: &'a str,
        entries: &'a [&'a Self],
    ) -> BoxFuture<'a, Result<Answer, Failure>> {
        Box::pin(async move {
            let mut call = sqs.send_message_batch().queue_url(url);
            for (place, entry) in entries.iter().enumerate() {
                let mut one = SendMessageBatchRequestEntry::builder()
                    .id(place.to_string())
                    .message_body(&entry.body)
                    .message_group_id(&entry.group);
                if entry.delay_s > 0 {
                    one = one.delay_seconds(entry.delay_s);
                }
                for (name, value) in &entry.attributes {
                    let value = MessageAttributeValue::builder().data_type("String").string_value(value);
                    one = one.message_attributes(*name, value.build().map_err(|error| unbuilt(&error))?);
                }
                call = call.entries(one.build().map_err(|error| unbuilt(&error))?);
            }
            let answer = call.send().await.map_err(|error| Failure::of(&error))?;
            Ok(Answer::new(answer.successful().iter().map(|one| one.id()), answer.failed()))
        })
    }
}

/// A receipt whose message is done.
#[derive(Clone, Debug)]
pub(super) struct Deleted(pub(super) String);

impl Entry for Deleted {
    fn request<'a>(
        sqs: &'a Client,
        url: &'a str,
        entries: &'a [&'a Self],
    ) -> BoxFuture<'a, Result<Answer, Failure>> {
        Box::pin(async move {
            let mut call = sqs.delete_message_batch().queue_url(url);
            for (place, entry) in entries.iter().enumerate() {
                let one = DeleteMessageBatchRequestEntry::builder()
                    .id(place.to_string())
                    .receipt_handle(&entry.0)
                    .build();
                call = call.entries(one.map_err(|error| unbuilt(&error))?);
            }
            let answer = call.send().await.map_err(|error| Failure::of(&error))?;
            Ok(Answer::new(answer.successful().iter().map(|one| one.id()), answer.failed()))
        })
    }
}

/// A receipt whose message stays invisible for so long from now.
#[derive(Clone, Debug)]
pub(super) struct Hidden {
    receipt: String,
    timeout_s: i32,
}

impl Hidden {
    pub(super) fn new(receipt: String, for_: Duration) -> Self {
        Self { receipt, timeout_s: seconds(for_, LONGEST_HIDING) }
    }
}

impl Entry for Hidden {
    fn request<'a>(
        sqs: &'a Client,
        url: &'a str,
        entries: &'a [&'a Self],
    ) -> BoxFuture<'a, Result<Answer, Failure>> {
        Box::pin(async move {
            let mut call = sqs.change_message_visibility_batch().queue_url(url);
            for (place, entry) in entries.iter().enumerate() {
                let one = ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(place.to_string())
                    .receipt_handle(&entry.receipt)
                    .visibility_timeout(entry.timeout_s)
                    .build();
                call = call.entries(one.map_err(|error| unbuilt(&error))?);
            }
            let answer = call.send().await.map_err(|error| Failure::of(&error))?;
            Ok(Answer::new(answer.successful().iter().map(|one| one.id()), answer.failed()))
        })
    }
}

fn unbuilt(error: &aws_sdk_sqs::error::BuildError) -> Failure {
    Failure { kind: crate::aws::Kind::Refused, code: String::new(), words: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_broadcast_is_a_group_of_its_own_and_every_group_is_one_that_sqs_takes() {
        assert_eq!(group("inn-7", Priority::Transactional), "inn-7");
        assert_eq!(group("inn-7", Priority::Bulk), "inn-7/bulk");
        for tenant in ["", "旅館", "a b", "a\n", &"x".repeat(129)] {
            let group = group(tenant, Priority::Transactional);
            assert_eq!(group.len(), 64);
            assert!(group.bytes().all(|b| b.is_ascii_hexdigit()), "{group}");
        }
        assert_eq!(group(&"x".repeat(124), Priority::Bulk).len(), 64);
    }

    #[test]
    fn waits_are_rounded_up_to_whole_seconds_and_never_over_the_limit() {
        let seconds = |ms| seconds(Duration::from_millis(ms), Duration::from_secs(900));
        assert_eq!([0, 1, 1000, 1001, 899_999, 901_000].map(seconds), [0, 1, 1, 2, 900, 900]);
    }
}
