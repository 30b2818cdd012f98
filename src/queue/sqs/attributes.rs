//! A queue's attributes, as SQS tells them: texts by name.

use std::collections::HashMap;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName as Name;
use serde::Deserialize;

use super::super::Depth;
use super::calls::Failure;

/// Every attribute of one queue.
#[derive(Debug)]
pub(super) struct Attributes(HashMap<Name, String>);

/// Where a queue's dead letters go, and after how many receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Redrive {
    pub(super) arn: String,
    pub(super) max_receive_count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    dead_letter_target_arn: String,
    /// A number, or a text with one: SQS gives back what it was given.
    max_receive_count: serde_json::Value,
}

impl Redrive {
    fn parse(text: &str) -> Option<Self> {
        let policy: Policy = serde_json::from_str(text).ok()?;
        let count = &policy.max_receive_count;
        let max_receive_count = count.as_u64().or_else(|| count.as_str()?.parse().ok())?;
        Some(Self { arn: policy.dead_letter_target_arn, max_receive_count })
    }

    pub(super) fn to_text(&self) -> String {
        let (arn, count) = (&self.arn, self.max_receive_count);
        serde_json::json!({ "deadLetterTargetArn": arn, "maxReceiveCount": count }).to_string()
    }
}

impl Attributes {
    pub(super) async fn read(sqs: &Client, url: &str) -> Result<Self, Failure> {
        let asked = sqs.get_queue_attributes().queue_url(url).attribute_names(Name::All);
        let answer = asked.send().await.map_err(|error| Failure::of(&error))?;
        Ok(Self(answer.attributes.unwrap_or_default()))
    }

    pub(super) fn text(&self, name: &Name) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    pub(super) fn number(&self, name: &Name) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    pub(super) fn arn(&self) -> &str {
        self.text(&Name::QueueArn).unwrap_or_default()
    }

    pub(super) fn redrive(&self) -> Option<Redrive> {
        Redrive::parse(self.text(&Name::RedrivePolicy)?)
    }

    /// Whether what lies on it is encrypted at rest, with SQS's key or one of KMS.
    pub(super) fn is_encrypted(&self) -> bool {
        let by_sqs = self.text(&Name::SqsManagedSseEnabled).is_some_and(|text| text == "true");
        by_sqs || self.text(&Name::KmsMasterKeyId).is_some()
    }

    /// How much lies there. `dead` is another queue's.
    pub(super) fn counts(&self) -> Depth {
        let count = |name| self.number(&name).unwrap_or(0);
        Depth {
            visible: count(Name::ApproximateNumberOfMessages),
            in_flight: count(Name::ApproximateNumberOfMessagesNotVisible),
            delayed: count(Name::ApproximateNumberOfMessagesDelayed),
            dead: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redrive_policy_is_read_with_its_count_as_number_and_as_text() {
        let redrive = Redrive { arn: "arn:aws:sqs:a:1:d".into(), max_receive_count: 100 };
        assert_eq!(Redrive::parse(&redrive.to_text()), Some(redrive.clone()));
        let as_text = r#"{"deadLetterTargetArn":"arn:aws:sqs:a:1:d","maxReceiveCount":"100"}"#;
        assert_eq!(Redrive::parse(as_text), Some(redrive));
        assert_eq!(Redrive::parse("{}"), None);
    }
}
