//! `demo`: the main job, played on one machine, and the proof at its end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::http::Method;
use bytes::Bytes;
use clap::Args;
use serde::Deserialize;

use super::Exit;
use super::client::Client;
use super::output::Output;
use super::when::human;
use crate::app::{self, Running};
use crate::sandbox::Stats;
use crate::settings::{Backend, ProviderName, Roles, Settings};

/// See it work: a server, the sandbox provider, a stream of sample bookings and a provider outage
///
/// Takes about a minute. Needs nothing else: storage in a directory of its own, and no mail leaves the machine.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: play the scenes, then keep serving to look around
  kakitome demo --stay")]
pub struct DemoArgs {
    /// Keep serving after the last scene, until Ctrl-C
    #[arg(long)]
    stay: bool,
}

/// A thousand bookings of made-up houses and guests.
const BOOKINGS: &str = include_str!("../../examples/bookings.ndjson");
/// Handed in at a time, and how often: the stream lasts about 25 seconds.
const HANDFUL: usize = 20;
const BETWEEN_HANDFULS: Duration = Duration::from_millis(500);
/// What the provider suffers.
const SCRIPT: &str = "outage:after=6s:for=30s,bounce=2%,defer=3%";
/// If it takes longer, something is wrong, and the demo says so.
const PATIENCE: Duration = Duration::from_secs(180);
/// A line of the summary as often.
const BETWEEN_LINES: Duration = Duration::from_secs(2);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Standing {
    by_status: BTreeMap<String, u64>,
    oldest_unsent_seconds: Option<f64>,
    providers: Vec<Circuit>,
}

#[derive(Debug, Deserialize)]
struct Circuit {
    circuit: String,
}

/// Runs `demo`.
pub async fn run(args: &DemoArgs, settings: &Settings, out: &mut Output) -> anyhow::Result<ExitCode> {
    let dir = settings.data_dir.join(format!("demo-{}", std::process::id()));
    let settings = staged(settings, dir.clone());
    let running = app::start(&settings, Roles::ALL, SCRIPT.parse()?).await?;
    let played = tokio::select! {
        played = play(&running, out) => played,
        // What it has on disk goes, however it ends.
        _ = tokio::signal::ctrl_c() => Ok(Exit::Failed),
    };
    if args.stay && matches!(played, Ok(Exit::Done)) {
        out.line("")?;
        out.line(format_args!(
            "Still serving at {} until Ctrl-C. Look around in another terminal:",
            running.url
        ))?;
        out.line(format_args!("  kakitome list --data-dir {}", dir.display()))?;
        if let (Some(console), Some(key_file)) = (&running.console_url, &running.key_file) {
            out.line(format_args!("or in a browser, with the API key in {}:", key_file.display()))?;
            out.line(format_args!("  {console}"))?;
        }
        out.flush()?;
        tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
    }
    running.stop().await;
    std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    Ok(played?.into())
}

/// The user's settings, on embedded storage, with the sandbox for a provider and waits short enough to watch.
fn staged(settings: &Settings, data_dir: std::path::PathBuf) -> Settings {
    let mut staged = settings.clone();
    staged.backend = Backend::Embedded;
    staged.data_dir = data_dir;
    staged.providers = vec![ProviderName::Sandbox];
    staged.sandbox.url = None;
    staged.api_key = None;
    staged.api_keys.clear();
    if std::net::TcpListener::bind(staged.listen).is_err() {
        staged.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    }
    let worker = &mut staged.worker;
    worker.provider_timeout = Duration::from_secs(1);
    worker.connect_timeout = Duration::from_secs(1);
    worker.lease = Duration::from_secs(3);
    worker.hold = Duration::from_secs(6);
    worker.witness_margin = Duration::from_secs(1);
    worker.witness_poll = Duration::from_secs(1);
    worker.breaker_open = Duration::from_secs(2);
    worker.breaker_open_max = Duration::from_secs(4);
    staged.queue.visibility = Duration::from_secs(4);
    staged
}

async fn play(running: &Running, out: &mut Output) -> anyhow::Result<Exit> {
    let client = Client::http(&running.url, Some(running.operator_key.clone()))?;
    let sandbox = running.sandbox.as_ref().context("the demo's sandbox provider did not start")?;
    out.line(format_args!("kakitome listens on {}; the sandbox provider on {}", running.url, sandbox.url()))?;
    if let (Some(console), Some(key_file)) = (&running.console_url, &running.key_file) {
        out.line(format_args!("console: {console}"))?;
        out.line(format_args!("  opens with the API key in {}", key_file.display()))?;
    }
    out.line(
        "1,000 bookings come in over 25 s. After 6 s the provider fails for 30 s. 2 % of the mails bounce.\n",
    )?;
    out.line("   time   accepted     sent  waiting  unknown   oldest  provider")?;
    out.flush()?;
    let begun = Instant::now();
    let lines: Vec<&str> = BOOKINGS.lines().collect();
    let mut handfuls = lines.chunks(HANDFUL);
    let mut stream = tokio::time::interval(BETWEEN_HANDFULS);
    let mut summary = tokio::time::interval(BETWEEN_LINES);
    let mut is_streaming = true;
    while begun.elapsed() < PATIENCE {
        tokio::select! {
            _ = stream.tick(), if is_streaming => match handfuls.next() {
                Some(handful) => hand_in(&client, handful).await?,
                None => is_streaming = false,
            },
            _ = summary.tick() => {
                let standing: Standing = client.get("/v1/status", &[]).await?;
                out.line(standing.line(begun.elapsed()))?;
                out.flush()?;
                if !is_streaming && standing.waits_only_for_an_operator() {
                    release(&client, &standing, sandbox.stats().accepted, out).await?;
                }
                if !is_streaming && standing.is_over(lines.len()) {
                    return verdict(&standing, sandbox.stats(), lines.len(), begun.elapsed(), out);
                }
            }
        }
    }
    let standing: Standing = client.get("/v1/status", &[]).await?;
    verdict(&standing, sandbox.stats(), lines.len(), begun.elapsed(), out)
}

async fn hand_in(client: &Client, handful: &[&str]) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Results {
        results: Vec<serde_json::Value>,
    }
    let body = ("application/x-ndjson", Bytes::from(handful.join("\n")));
    let answer: Results =
        client.call(Method::POST, "/v1/notifications/batch", &[], Some(body)).await?.json()?;
    match answer.results.iter().find(|result| result.get("id").is_none()) {
        Some(refused) => anyhow::bail!("a sample booking was refused: {refused}"),
        None => Ok(()),
    }
}

/// What an operator would do about mails whose outcome is unknown and whose producer forbade a resend by itself: ask
/// the provider, and let those go that it never took.
async fn release(client: &Client, standing: &Standing, taken: u64, out: &mut Output) -> anyhow::Result<()> {
    let (held, sent) = (standing.count(&["held"]), standing.count(&["sent"]));
    out.line(format_args!("         {held} held: outcome unknown, and the producer said on_unknown: hold."))?;
    if taken != sent {
        return Ok(());
    }
    out.line(format_args!(
        "         The provider counts {taken} mails, kakitome {sent} sent: it never took them,"
    ))?;
    out.line("         so an operator lets them go, as `kakitome release --tenant default` would.")?;
    let order = serde_json::json!({ "action": "release", "filter": { "tenant": "default" } });
    let _job: serde_json::Value = client.post("/v1/jobs", &order).await?;
    Ok(())
}

impl Standing {
    fn waits_only_for_an_operator(&self) -> bool {
        self.count(&["held"]) > 0
            && self.count(&["accepted", "scheduled", "attempting", "retrying", "unknown"]) == 0
    }

    fn count(&self, statuses: &[&str]) -> u64 {
        statuses.iter().filter_map(|status| self.by_status.get(*status)).sum()
    }

    fn is_over(&self, handed_in: usize) -> bool {
        self.count(&["sent", "failed", "expired", "cancelled", "suppressed"]) >= handed_in as u64
    }

    fn line(&self, elapsed: Duration) -> String {
        let accepted: u64 = self.by_status.values().sum();
        let waiting = self.count(&["accepted", "scheduled", "held", "attempting", "retrying"]);
        let oldest =
            self.oldest_unsent_seconds.map_or("-".into(), |s| human(Duration::from_secs_f64(s.max(0.0))));
        let circuit = self.providers.first().map_or("", |provider| match provider.circuit.as_str() {
            "closed" => "well",
            "half_open" => "being probed",
            _ => "ILL: nothing is sent to it",
        });
        format!(
            "{:>5} s {accepted:>10} {:>8} {waiting:>8} {:>8} {oldest:>8}  {circuit}",
            elapsed.as_secs(),
            self.count(&["sent"]),
            self.count(&["unknown"]),
        )
    }
}

fn verdict(
    standing: &Standing,
    stats: Stats,
    handed_in: usize,
    elapsed: Duration,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let sent = standing.count(&["sent"]);
    let lost = (handed_in as u64).saturating_sub(sent);
    out.line("")?;
    out.line(format_args!("After {}:", human(elapsed)))?;
    out.line(format_args!("  kakitome   {handed_in} accepted, {sent} sent, {lost} not"))?;
    out.line(format_args!(
        "  provider   {} accepted, {} distinct, {} duplicates, {} turned away during the outage",
        stats.accepted, stats.distinct, stats.duplicates, stats.faulted
    ))?;
    if lost == 0 && stats.duplicates == 0 && stats.distinct == sent {
        out.line("Nothing lost, nothing doubled: the provider's own statistics say so.")?;
        return Ok(Exit::Done);
    }
    out.line("NOT as it should be: the two do not agree, or something was not sent.")?;
    Ok(Exit::Failed)
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a failed expectation is the failed test")]
mod tests {
    use super::*;
    use crate::settings::Sources;

    #[test]
    fn the_demo_touches_no_queue_and_sends_no_mail_whatever_is_configured() {
        let env = [
            ("KAKITOME_BACKEND", "aws"),
            ("KAKITOME_SQS_QUEUE_URL", "https://sqs.example/1/q"),
            ("KAKITOME_SQS_DEAD_LETTER_URL", "https://sqs.example/1/d"),
            ("KAKITOME_DYNAMODB_TABLE", "kakitome"),
            ("KAKITOME_PROVIDER", "sendgrid"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let configured = Settings::load(&Sources { env, ..Sources::default() }).expect("it is valid");
        let staged = staged(&configured, "demo".into());
        assert!(matches!(staged.backend, Backend::Embedded));
        assert_eq!(staged.providers, [ProviderName::Sandbox]);
    }
}
