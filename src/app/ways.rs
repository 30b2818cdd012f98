//! The ways out and back, from settings: providers, and who reads their events.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::aws::sign::Identity;
use crate::provider::resend::{Resend, ResendEvents};
use crate::provider::sendgrid::{SendGrid, SendGridEvents};
use crate::provider::ses::{self, Ses, SesEvents, Web};
use crate::provider::{EventSource, Provider, http};
use crate::sandbox::Sandbox;
use crate::secret::Secret;
use crate::settings::{ProviderName, Settings};

/// Where SendGrid posts its events.
const SENDGRID_EVENTS: &str = "/webhooks/sendgrid";
/// Where Resend posts its events.
const RESEND_EVENTS: &str = "/webhooks/resend";
/// Where the SNS topic of Amazon SES posts its events.
const SES_EVENTS: &str = "/webhooks/ses";
/// Where the sandbox provider inside posts its events.
pub(super) const SANDBOX_EVENTS: &str = "/webhooks/sandbox";
/// The key that we show the sandbox where it demands none.
const SANDBOX_KEY: &str = "SG.sandbox";

/// The configured providers, in order of preference.
pub(super) fn providers(
    settings: &Settings,
    sandbox: Option<&Sandbox>,
) -> anyhow::Result<Vec<Arc<dyn Provider>>> {
    settings.providers.iter().map(|name| provider(settings, *name, sandbox)).collect()
}

/// One configured provider; `inside` is the sandbox of this process, where it runs one.
pub(super) fn provider(
    settings: &Settings,
    name: ProviderName,
    inside: Option<&Sandbox>,
) -> anyhow::Result<Arc<dyn Provider>> {
    let worker = &settings.worker;
    let config = |base_url: String, api_key: Option<Secret>| http::Config {
        base_url,
        api_key: api_key.unwrap_or_else(|| Secret::new("")),
        connect_timeout: worker.connect_timeout,
        attempt_timeout: worker.provider_timeout,
        ..http::Config::default()
    };
    let label = name.as_str();
    Ok(match name {
        ProviderName::Sandbox => {
            let url = inside.map(Sandbox::url).or_else(|| settings.sandbox.url.clone()).unwrap_or_default();
            let key = settings.sandbox.api_key.clone().unwrap_or_else(|| Secret::new(SANDBOX_KEY));
            Arc::new(SendGrid::new(label, config(url, Some(key)))?)
        }
        ProviderName::Sendgrid => {
            let from = &settings.sendgrid;
            Arc::new(SendGrid::new(label, config(from.base_url.clone(), from.api_key.clone()))?)
        }
        ProviderName::Resend => {
            let from = &settings.resend;
            Arc::new(Resend::new(label, config(from.base_url.clone(), from.api_key.clone()))?)
        }
        ProviderName::Ses => {
            let from = &settings.ses;
            let region = from.region.clone().unwrap_or_default();
            let url = from.base_url.clone().unwrap_or_else(|| ses::regional_url(&region));
            let account = ses::Account {
                region,
                configuration_set: from.configuration_set.clone(),
                identity: Identity::Environment,
            };
            Arc::new(Ses::new(label, config(url, None), account)?)
        }
    })
}

/// Who reads the events that are posted to which path.
pub(super) fn event_sources(
    settings: &Settings,
    inside: Option<&Sandbox>,
) -> anyhow::Result<BTreeMap<String, Arc<dyn EventSource>>> {
    let mut sources: BTreeMap<String, Arc<dyn EventSource>> = BTreeMap::new();
    let from = &settings.sendgrid;
    if !from.webhook_keys.is_empty() || from.webhook_insecure {
        // A sandbox at a URL of its own is told to post here, with its own key in this place.
        let name = if settings.providers.contains(&ProviderName::Sendgrid) { "sendgrid" } else { "sandbox" };
        let source = SendGridEvents::new(name, &from.webhook_keys, from.webhook_insecure)?;
        sources.insert(SENDGRID_EVENTS.into(), Arc::new(source));
    }
    let from = &settings.resend;
    if !from.webhook_secrets.is_empty() || from.webhook_insecure {
        let secrets: Vec<_> = from.webhook_secrets.iter().map(|one| one.reveal().to_owned()).collect();
        let source = ResendEvents::new("resend", &secrets, from.webhook_insecure)?;
        sources.insert(RESEND_EVENTS.into(), Arc::new(source));
    }
    if let Some(topic) = &settings.ses.topic_arn {
        let source = SesEvents::new("ses", topic, Arc::new(Web::new()?));
        sources.insert(SES_EVENTS.into(), Arc::new(source));
    }
    if let Some(sandbox) = inside {
        let keys = [sandbox.public_key().to_owned()];
        let source: Arc<dyn EventSource> = Arc::new(SendGridEvents::new("sandbox", &keys, false)?);
        sources.insert(SANDBOX_EVENTS.into(), source.clone());
        // What speaks to a real account's door finds it here too.
        sources.entry(SENDGRID_EVENTS.into()).or_insert(source);
    }
    Ok(sources)
}
