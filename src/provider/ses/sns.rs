//! The envelope of SNS: what is signed in it, and what kind of message it is (SNS, "Verifying the signatures of Amazon
//! SNS messages").

use base64::Engine;
use serde::Deserialize;

use super::certificate::{SigningKey, Version};
use crate::clock::Timestamp;
use crate::provider::WebhookError;
use crate::provider::signed::BASE64;

/// One message of SNS.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Envelope {
    #[serde(rename = "Type")]
    pub kind: String,
    pub message_id: String,
    pub topic_arn: String,
    pub message: String,
    pub timestamp: String,
    pub signature_version: String,
    signature: String,
    #[serde(rename = "SigningCertURL", alias = "SigningCertUrl")]
    pub certificate_url: String,
    subject: Option<String>,
    token: Option<String>,
    #[serde(rename = "SubscribeURL", alias = "SubscribeUrl")]
    pub subscribe_url: Option<String>,
}

impl Envelope {
    /// Reads it; says where it breaks, since serde's own text could repeat a piece of it.
    pub fn read(body: &[u8]) -> Result<Self, WebhookError> {
        serde_json::from_slice(body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let hint = "is raw message delivery off?";
            WebhookError::Malformed(format!("not a message of SNS (line {line}, column {column}); {hint}"))
        })
    }

    /// Whether this key signed it.
    pub fn verify(&self, key: &SigningKey) -> Result<(), WebhookError> {
        let version = match self.signature_version.as_str() {
            "1" => Version::One,
            "2" => Version::Two,
            _ => return Err(WebhookError::Signature("its version is not known")),
        };
        let Ok(signature) = BASE64.decode(self.signature.trim()) else {
            return Err(WebhookError::Signature("it is not base64"));
        };
        if !key.verifies(version, self.signed().as_bytes(), &signature) {
            return Err(WebhookError::Signature("SNS did not make it"));
        }
        Ok(())
    }

    /// When it was signed.
    pub fn at(&self) -> Result<Timestamp, WebhookError> {
        Timestamp::parse(&self.timestamp).ok_or(WebhookError::Signature("the time stamp is not a time"))
    }

    /// Name and value on a line each, in the order of the names; which names depends on the kind.
    fn signed(&self) -> String {
        let mut lines = vec![("Message", Some(&self.message)), ("MessageId", Some(&self.message_id))];
        if self.kind == "Notification" {
            lines.push(("Subject", self.subject.as_ref()));
        } else {
            lines.push(("SubscribeURL", self.subscribe_url.as_ref()));
        }
        lines.push(("Timestamp", Some(&self.timestamp)));
        if self.kind != "Notification" {
            lines.push(("Token", self.token.as_ref()));
        }
        lines.extend([("TopicArn", Some(&self.topic_arn)), ("Type", Some(&self.kind))]);
        let present = lines.into_iter().filter_map(|(name, value)| Some((name, value?)));
        present.fold(String::new(), |text, (name, value)| text + name + "\n" + value + "\n")
    }
}
