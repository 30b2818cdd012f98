//! The alerts, from settings.

use std::sync::Arc;
use std::time::Duration;

use super::{Storage, rooms};
use crate::alerts::check::{self, Limits};
use crate::alerts::post::{Channel, Target};
use crate::alerts::{Alerts, Config, Ports, Tester, UnusualTenants};
use crate::api;
use crate::clock::Clock;
use crate::provider::health::HealthBoard;
use crate::sandbox::Sandbox;
use crate::settings::{Roles, Settings};
use crate::storm::meter::Meter;

/// Where the runbooks are as long as nobody says: in the repository.
const RUNBOOKS: &str = "runbooks";

/// Every configured channel.
fn channels(settings: &Settings, clock: &Clock) -> anyhow::Result<Vec<Channel>> {
    rooms::install_tls();
    let from = &settings.alert;
    let slack = from.slack_webhook_url.clone().map(Target::Slack);
    let secret = from.webhook_secret.clone();
    let webhook = from.webhook_url.clone().map(|url| Target::Webhook { url, secret });
    let targets = slack.into_iter().chain(webhook);
    Ok(targets.map(|target| Channel::new(target, clock.clone())).collect::<Result<_, _>>()?)
}

fn runbooks(settings: &Settings) -> String {
    settings.alert.runbook_url.clone().unwrap_or_else(|| RUNBOOKS.to_owned())
}

/// For trying the channels.
pub(super) fn tester(settings: &Settings) -> anyhow::Result<Option<Arc<dyn api::alerts::Channels>>> {
    let clock = Clock::system();
    let channels = channels(settings, &clock)?;
    Ok(Some(Arc::new(Tester { channels, runbooks: runbooks(settings), clock })))
}

/// Whom the storm guard's meter finds unusual.
fn unusual(meter: Meter, clock: Clock) -> UnusualTenants {
    Arc::new(move || {
        let found = meter.unusual(clock.now()).into_iter();
        found
            .map(|one| check::Unusual {
                tenant: one.tenant,
                per_minute: one.per_minute as f64,
                usual: one.usual_per_minute as f64,
            })
            .collect()
    })
}

/// The watch of this process.
pub(super) fn watch(
    settings: &Settings,
    roles: Roles,
    sandbox: Option<&Sandbox>,
    storage: &Storage,
    (clock, health, meter): (&Clock, &HealthBoard, &Meter),
) -> anyhow::Result<Alerts> {
    let from = &settings.alert;
    let (sendgrid, resend) = (&settings.sendgrid, &settings.resend);
    let hears_sendgrid = !sendgrid.webhook_keys.is_empty() || sendgrid.webhook_insecure;
    let hears_resend = !resend.webhook_secrets.is_empty() || resend.webhook_insecure;
    let hears_ses = settings.ses.topic_arn.is_some();
    let limits = Limits {
        delay: settings.alert_delay,
        // The same as the liveness probe's.
        poll_silence: api::Config::default().worker_silence,
        webhook_silence: from.webhook_silence,
        webhook_expected: sandbox.is_some() || hears_sendgrid || hears_resend || hears_ses,
        providers: settings.providers.iter().map(|name| name.as_str().to_owned()).collect(),
    };
    let config = Config {
        limits,
        interval: from.interval.max(Duration::from_millis(1)),
        calm: from.calm,
        reminder: from.reminder,
        runbooks: runbooks(settings),
        worker: roles.worker,
        webhook: roles.webhook,
        unusual: Some(unusual(meter.clone(), clock.clone())),
    };
    let ports = Ports {
        log: storage.log.clone(),
        queue: storage.queue.clone(),
        journal: storage.journal.clone(),
        health: health.clone(),
        clock: clock.clone(),
    };
    Ok(Alerts::new(ports, &channels(settings, clock)?, config))
}
