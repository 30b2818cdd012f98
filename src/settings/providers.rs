//! The providers that can be configured, and what each needs in which role.

use super::reader::Reader;
use super::{Roles, Settings};
use crate::named::named;
use crate::secret::Secret;

/// A provider that can be configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderName {
    /// `kakitome sandbox`.
    Sandbox,
    /// SendGrid.
    Sendgrid,
    /// Resend.
    Resend,
    /// Amazon SES.
    Ses,
}

named! {
    /// Every one.
    ProviderName {
        Sandbox: "sandbox",
        Sendgrid: "sendgrid",
        Resend: "resend",
        Ses: "ses",
    }
}

impl ProviderName {
    pub(super) fn read(reader: &mut Reader) -> Vec<Self> {
        let given = reader.choices("provider");
        given.iter().filter_map(|name| Self::named(name)).collect()
    }
}

/// The sandbox provider.
#[derive(Debug, Clone)]
pub struct SandboxSettings {
    /// Where it listens; without one it runs inside the server.
    pub url: Option<String>,
    /// The key it expects, if it was given one.
    pub api_key: Option<Secret>,
}

/// SendGrid.
#[derive(Debug, Clone)]
pub struct SendgridSettings {
    /// Its API key.
    pub api_key: Option<Secret>,
    /// Its API.
    pub base_url: String,
    /// Base64 SPKI public keys of its signed event webhook.
    pub webhook_keys: Vec<String>,
    /// Accept event posts without a signature.
    pub webhook_insecure: bool,
}

/// Resend.
#[derive(Debug, Clone)]
pub struct ResendSettings {
    /// Its API key.
    pub api_key: Option<Secret>,
    /// Its API.
    pub base_url: String,
    /// Signing secrets of its webhook.
    pub webhook_secrets: Vec<Secret>,
    /// Accept event posts without a signature.
    pub webhook_insecure: bool,
}

/// Amazon SES. Credentials come from the usual AWS variables.
#[derive(Debug, Clone)]
pub struct SesSettings {
    /// Where its API is, if not at the region's own address.
    pub base_url: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// The configuration set that publishes its events.
    pub configuration_set: Option<String>,
    /// The SNS topic that its events come by.
    pub topic_arn: Option<String>,
}

impl SandboxSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self { url: reader.url("sandbox.url"), api_key: reader.secret("sandbox.api_key") }
    }
}

impl SendgridSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            api_key: reader.secret("sendgrid.api_key"),
            base_url: reader.url("sendgrid.base_url").unwrap_or_default(),
            webhook_keys: reader.public_keys("sendgrid.webhook_key"),
            webhook_insecure: reader.switch("sendgrid.webhook_insecure"),
        }
    }
}

impl ResendSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            api_key: reader.secret("resend.api_key"),
            base_url: reader.url("resend.base_url").unwrap_or_default(),
            webhook_secrets: reader.webhook_secrets("resend.webhook_secret"),
            webhook_insecure: reader.switch("resend.webhook_insecure"),
        }
    }
}

impl SesSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let is_name = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        let is_topic = |text: &str| {
            let parts: Vec<&str> = text.split(':').collect();
            parts.len() == 6 && parts[0] == "arn" && parts[2] == "sns" && !parts[5].is_empty()
        };
        Self {
            base_url: reader.url("ses.base_url"),
            region: reader.word("ses.region", "a region such as ap-northeast-1", is_name),
            configuration_set: reader.word("ses.configuration_set", "letters, digits, `-` and `_`", is_name),
            topic_arn: reader.word(
                "ses.topic_arn",
                "a topic's ARN such as arn:aws:sns:ap-northeast-1:123456789012:ses-events",
                is_topic,
            ),
        }
    }
}

/// What is missing for these roles: the key's names, and why it is needed.
pub(super) fn missing(settings: &Settings, roles: Roles) -> Vec<(&'static str, &'static str)> {
    let has = |name| settings.providers.contains(&name);
    let (sendgrid, resend, ses) = (&settings.sendgrid, &settings.resend, &settings.ses);
    let is_deaf = |keys: bool, insecure: bool| roles.webhook && !keys && !insecure;
    let needs = [
        (
            roles.worker && has(ProviderName::Sendgrid) && sendgrid.api_key.is_none(),
            "KAKITOME_SENDGRID_API_KEY (sendgrid.api_key)",
            "the worker needs it for provider `sendgrid`",
        ),
        (
            has(ProviderName::Sendgrid)
                && is_deaf(!sendgrid.webhook_keys.is_empty(), sendgrid.webhook_insecure),
            "KAKITOME_SENDGRID_WEBHOOK_KEY (sendgrid.webhook_key)",
            "the webhook role needs SendGrid's public key, or KAKITOME_SENDGRID_WEBHOOK_INSECURE=true to accept \
             events from anybody",
        ),
        (
            roles.worker && has(ProviderName::Resend) && resend.api_key.is_none(),
            "KAKITOME_RESEND_API_KEY (resend.api_key)",
            "the worker needs it for provider `resend`",
        ),
        (
            has(ProviderName::Resend) && is_deaf(!resend.webhook_secrets.is_empty(), resend.webhook_insecure),
            "KAKITOME_RESEND_WEBHOOK_SECRET (resend.webhook_secret)",
            "the webhook role needs the signing secret of Resend's webhook, or KAKITOME_RESEND_WEBHOOK_INSECURE=true \
             to accept events from anybody",
        ),
        (
            roles.worker && has(ProviderName::Ses) && ses.region.is_none(),
            "KAKITOME_SES_REGION (ses.region)",
            "the worker needs it for provider `ses`",
        ),
        (
            has(ProviderName::Ses) && is_deaf(ses.topic_arn.is_some(), false),
            "KAKITOME_SES_TOPIC_ARN (ses.topic_arn)",
            "the webhook role takes the events of provider `ses` from this SNS topic alone",
        ),
    ];
    needs.into_iter().filter(|(is_missing, ..)| *is_missing).map(|(_, key, why)| (key, why)).collect()
}
