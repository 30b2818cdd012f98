//! Text to plan and back. Both forms pass through [`Item`], so that they know the same names and bounds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{BounceType, Fault, Kind, OutageMode, Plan, PlanError, Rate};
use crate::named::named;

/// The longest duration that any setting takes.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

const KINDS: &str = "5xx, 4xx, 429, slow, reset-before, reset-after-accept, timeout-after-accept, outage, bounce, defer, \
                     webhook-duplicate, webhook-reorder, webhook-drop, webhook-delay";

/// One fault as it is written: its kind and its settings, not yet understood.
pub(super) struct Item<'a> {
    /// The words it was read from, for errors.
    pub(super) part: &'a str,
    pub(super) kind: &'a str,
    pub(super) settings: Vec<(String, String)>,
}

impl FromStr for Plan {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let text = text.trim();
        if text.starts_with('{') {
            return super::json::parse(text);
        }
        let mut plan = Plan::default();
        let parts = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default())
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .filter(|part| !part.is_empty() && *part != "none");
        for part in parts {
            if let Some(seed) = part.strip_prefix("seed=") {
                let seed = seed.trim().parse().map_err(|_| bad(part, "seed is a whole number"))?;
                plan.seed = Some(seed);
            } else {
                plan.faults.push(split(part)?.build()?);
            }
        }
        Ok(plan)
    }
}

fn bad(part: &str, why: impl fmt::Display) -> PlanError {
    PlanError(format!("in `{part}`: {why}"))
}

fn split(part: &str) -> Result<Item<'_>, PlanError> {
    let mut fields = part.split(':');
    let head = fields.next().unwrap_or_default();
    let (kind, value) = match head.split_once('=') {
        Some((kind, value)) => (kind.trim(), Some(value.trim())),
        None => (head.trim(), None),
    };
    let mut settings = Vec::new();
    if let Some(value) = value {
        // `slow=3s` and `slow=20%` both read well; a unit tells which is meant.
        let name = if value.ends_with(['s', 'm', 'h']) { "for" } else { "rate" };
        settings.push((name.to_owned(), value.to_owned()));
    }
    for field in fields {
        let (name, value) = field
            .split_once('=')
            .ok_or_else(|| bad(part, format!("`{field}` is not of the form SETTING=VALUE")))?;
        settings.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    Ok(Item { part, kind, settings })
}

impl Item<'_> {
    /// Understands it. Whatever is left over, twice there or out of range is an error.
    pub(super) fn build(mut self) -> Result<Fault, PlanError> {
        for (index, (name, _)) in self.settings.iter().enumerate() {
            if self.settings[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(bad(self.part, format!("`{name}` is given twice")));
            }
        }
        let kind = self.kind()?;
        let (mut rate, mut first) = (Rate::ALWAYS, None);
        if !matches!(kind, Kind::Outage { .. }) {
            rate = self
                .take("rate", "a percentage such as 10% or a fraction such as 0.1", parse_rate)?
                .unwrap_or(rate);
            first = self.take("first", "a whole number of requests", |text| text.parse().ok())?;
        }
        match self.settings.first() {
            None => Ok(Fault { kind, rate, first }),
            Some((name, _)) => Err(bad(self.part, format!("{} has no setting `{name}`", self.kind))),
        }
    }

    fn kind(&mut self) -> Result<Kind, PlanError> {
        Ok(match self.kind {
            "5xx" => {
                let status = |text: &str| text.parse().ok().filter(|status| (500..=599).contains(status));
                Kind::ServerError { status: self.take("status", "500 to 599", status)? }
            }
            "4xx" => {
                let status = |text: &str| {
                    text.parse().ok().filter(|status| (400..=499).contains(status) && *status != 429)
                };
                Kind::Refused { status: self.take("status", "400 to 499 but 429", status)?.unwrap_or(400) }
            }
            "429" => {
                let seconds = |text: &str| {
                    text.strip_suffix('s').unwrap_or(text).parse().ok().filter(|seconds| *seconds <= 86_400)
                };
                let retry_after_seconds =
                    self.take("retry-after", "whole seconds, at most 86400", seconds)?;
                Kind::TooManyRequests { retry_after_seconds }
            }
            "slow" => Kind::Slow { by: self.duration("for")?.unwrap_or(Duration::from_secs(3)) },
            "reset-before" => Kind::ResetBefore,
            "reset-after-accept" => Kind::ResetAfterAccept,
            "timeout-after-accept" => {
                Kind::TimeoutAfterAccept { hold: self.duration("for")?.unwrap_or(Duration::from_secs(60)) }
            }
            "outage" => Kind::Outage {
                after: self.duration("after")?.unwrap_or_default(),
                length: self.duration("for")?,
                mode: self
                    .take("mode", "503, refuse or timeout", OutageMode::named)?
                    .unwrap_or(OutageMode::Answers503),
            },
            "bounce" => Kind::Bounce {
                how: self
                    .take("type", "bounce, blocked or dropped", BounceType::named)?
                    .unwrap_or(BounceType::Bounce),
                status: self
                    .take("status", "an enhanced status code such as 5.1.1", enhanced_status)?
                    .unwrap_or_else(|| "5.1.1".to_owned()),
            },
            "defer" => Kind::Defer,
            "webhook-duplicate" => Kind::WebhookDuplicate,
            "webhook-reorder" => Kind::WebhookReorder,
            "webhook-drop" => Kind::WebhookDrop,
            "webhook-delay" => {
                Kind::WebhookDelay { by: self.duration("for")?.unwrap_or(Duration::from_secs(30)) }
            }
            unknown => {
                return Err(bad(self.part, format!("`{unknown}` is no fault; there are {KINDS}")));
            }
        })
    }

    fn duration(&mut self, name: &str) -> Result<Option<Duration>, PlanError> {
        self.take(name, "a duration such as 500ms, 3s or 2m, at most 24h", parse_duration)
    }

    fn take<T>(
        &mut self,
        name: &str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, PlanError> {
        let Some(at) = self.settings.iter().position(|(given, _)| given == name) else {
            return Ok(None);
        };
        let (_, value) = self.settings.remove(at);
        match parse(&value) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(bad(self.part, format!("`{name}={value}`: {name} is {wanted}"))),
        }
    }
}

fn parse_rate(text: &str) -> Option<Rate> {
    let (number, scale) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text, 1.0),
    };
    Rate::from_fraction(number.trim().parse::<f64>().ok()? / scale)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let ms = match &text[digits..] {
        "ms" => number,
        "s" | "" => number.checked_mul(1000)?,
        "m" => number.checked_mul(60_000)?,
        "h" => number.checked_mul(3_600_000)?,
        _ => return None,
    };
    Some(Duration::from_millis(ms)).filter(|duration| *duration <= LONGEST)
}

fn write_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

/// RFC 3463: class, subject, detail.
fn enhanced_status(text: &str) -> Option<String> {
    let fine = text.split('.').count() == 3
        && text.split('.').all(|n| (1..=3).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()));
    fine.then(|| text.to_owned())
}

named! {
    /// How a provider may be out of order.
    OutageMode { Answers503: "503", Refuse: "refuse", Timeout: "timeout" }
}

named! {
    /// By their names in a plan, and for the first two the event's `type`.
    BounceType { Bounce: "bounce", Blocked: "blocked", Dropped: "dropped" }
}

impl Fault {
    /// Its settings but the rate, as they are written.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        if let Some(first) = self.first {
            settings.push(("first", first.to_string()));
        }
        match &self.kind {
            Kind::ServerError { status } => {
                settings.extend(status.map(|status| ("status", status.to_string())))
            }
            Kind::Refused { status } => settings.push(("status", status.to_string())),
            Kind::TooManyRequests { retry_after_seconds } => {
                settings.extend(retry_after_seconds.map(|seconds| ("retry-after", seconds.to_string())));
            }
            Kind::Slow { by } | Kind::WebhookDelay { by } => settings.push(("for", write_duration(*by))),
            Kind::TimeoutAfterAccept { hold } => settings.push(("for", write_duration(*hold))),
            Kind::Outage { after, length, mode } => {
                settings.push(("after", write_duration(*after)));
                settings.extend(length.map(|length| ("for", write_duration(length))));
                settings.push(("mode", mode.as_str().to_owned()));
            }
            Kind::Bounce { how, status } => {
                settings.push(("type", how.as_str().to_owned()));
                settings.push(("status", status.clone()));
            }
            Kind::ResetBefore
            | Kind::ResetAfterAccept
            | Kind::Defer
            | Kind::WebhookDuplicate
            | Kind::WebhookReorder
            | Kind::WebhookDrop => {}
        }
        settings
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if self.rate != Rate::ALWAYS {
            write!(f, "={}", self.rate)?;
        }
        self.settings().iter().try_for_each(|(name, value)| write!(f, ":{name}={value}"))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = self.seed.map(|seed| format!("seed={seed}"));
        let parts: Vec<_> = seed.into_iter().chain(self.faults.iter().map(Fault::to_string)).collect();
        f.write_str(if parts.is_empty() { "none" } else { "" })?;
        f.write_str(&parts.join(","))
    }
}
