//! `drill`: an incident on the sandbox, for people who want to have handled it before it happens.

mod house;
pub mod incident;
mod monitor;
mod play;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use tokio::sync::mpsc;

use super::client::{Client, ClientError};
use super::output::Output;
use super::when::human;
use super::{Exit, Usage, table};
use crate::settings::Settings;
use crate::shutdown;
use house::House;
use incident::{INCIDENTS, Incident};
use monitor::Alert;
use verdict::{HandedIn, Standing};

/// Play an incident on the sandbox provider, to be handled with its runbook
///
/// Starts a server of its own with the sandbox provider, lets the incident happen, tells the alerts as they come, and
/// judges the end: everything sent that should be, nothing twice. No mail leaves this machine.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: choose one, play it, and follow its runbook in a second terminal
  kakitome drill
  kakitome drill provider-outage")]
pub struct DrillArgs {
    /// Which incident; without a name they are listed
    name: Option<String>,
    /// With so many notifications [default: the incident's own number]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=100_000))]
    size: Option<u32>,
    /// Where the drill's server lives; removed at the end [default: drill-NAME in the data directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Give up after this long
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = parse_span)]
    patience: Duration,
}

/// How often the drill looks how the server stands, and how long the server may take to start.
const LOOKS: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an answer may take: one that hangs gives none.
const ANSWER: Duration = Duration::from_secs(2);

fn parse_span(text: &str) -> Result<Duration, String> {
    crate::settings::parse_span(text).ok_or_else(|| "allowed: a span such as 90s, 30m or 2h".into())
}

/// Runs `drill`.
pub async fn run(args: &DrillArgs, settings: &Settings, out: &mut Output) -> anyhow::Result<ExitCode> {
    let Some(name) = &args.name else {
        list(out)?;
        return Ok(ExitCode::SUCCESS);
    };
    let names = || INCIDENTS.map(|incident| incident.name).join(", ");
    let incident = incident::find(name)
        .ok_or_else(|| Usage(format!("there is no incident {name}; there are {}", names())))?;
    let dir = args.dir.clone().unwrap_or_else(|| settings.data_dir.join(format!("drill-{name}")));
    if dir.exists() {
        return Err(Usage(format!(
            "{} exists already: is another drill running? If not, remove it or choose another --dir",
            dir.display()
        ))
        .into());
    }
    let size = args.size.map_or(incident.size, |size| size as usize);
    let played = play(incident, size, &dir, args.patience, out).await;
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    Ok(played?.into())
}

fn list(out: &mut Output) -> anyhow::Result<()> {
    let mut incidents = table::table(&["incident", "runbook", "what happens"], out.is_out_terminal());
    for incident in &INCIDENTS {
        incidents.add_row([incident.name, incident.runbook, incident.story]);
    }
    Ok(out.line(table::render(&incidents))?)
}

/// Plays it in a house of its own, and ends that house, however it goes.
async fn play(
    incident: &Incident,
    size: usize,
    dir: &Path,
    patience: Duration,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let (stop, stopped) = shutdown::channel();
    let (alerts_url, told, alerts) = monitor::listen(stopped.clone())?;
    let house = House::open(dir, &alerts_url)?;
    out.line(format_args!("{} — {}", incident.name, incident.story))?;
    out.flush()?;
    // The first client of a process gives it its TLS.
    let client = Client::http(&house.url, Some(house.key.clone()))?;
    let mut drill = Drill { house, client, alerts, begun: Instant::now() };
    let mut watching = None;
    let begun = tokio::select! {
        begun = async {
            play::answers(&drill.client).await?;
            let url = drill.house.url.clone();
            watching = Some(tokio::spawn(monitor::watch(url, told, stopped)));
            drill.begin(incident, size, out).await
        } => begun.map(Some),
        _ = tokio::signal::ctrl_c() => Ok(None),
    };
    let ended = match begun {
        Ok(Some(handed_in)) => drill.attend(incident, handed_in, patience, out).await,
        Ok(None) => Ok(Exit::Failed),
        Err(error) => Err(error),
    };
    stop.pull();
    drill.house.close().await;
    if let Some(watching) = watching {
        watching.await??;
    }
    ended
}

/// A drill under way.
struct Drill {
    house: House,
    client: Client,
    alerts: mpsc::UnboundedReceiver<Alert>,
    begun: Instant,
}

impl Drill {
    /// Plays the script.
    async fn begin(
        &mut self,
        incident: &Incident,
        size: usize,
        out: &mut Output,
    ) -> anyhow::Result<HandedIn> {
        let mut handed_in = HandedIn::default();
        for step in incident.script {
            play::step(*step, size, &self.house, &self.client, &mut handed_in).await?;
            self.tell_alerts(out)?;
        }
        out.line(format_args!(
            "\nThe incident is on. Its page is runbooks/{}; follow it in another terminal, after\n  . {}\n",
            incident.runbook,
            self.house.dir.join("operator.env").display()
        ))?;
        out.flush()?;
        Ok(handed_in)
    }

    /// Tells what happens and judges the end, until it is interrupted.
    async fn attend(
        &mut self,
        incident: &Incident,
        handed_in: HandedIn,
        patience: Duration,
        out: &mut Output,
    ) -> anyhow::Result<Exit> {
        let mut ended = None;
        while self.begun.elapsed() < patience {
            self.tell_alerts(out)?;
            // While it hangs or is restarted it says nothing.
            if ended.is_none()
                && let Ok(Ok(standing)) = tokio::time::timeout(ANSWER, self.standing()).await
                && standing.is_over(incident.goal, handed_in.all, self.house.sandbox.stats())
            {
                ended = Some(self.judge(incident, handed_in, &standing, out)?);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOKS) => {}
                _ = tokio::signal::ctrl_c() => return Ok(ended.unwrap_or(Exit::Failed)),
            }
        }
        if ended.is_none() {
            out.line(format_args!("Not over after {}: the drill gives up.", human(patience)))?;
        }
        Ok(ended.unwrap_or(Exit::Failed))
    }

    async fn standing(&self) -> Result<Standing, ClientError> {
        self.client.get("/v1/status", &[]).await
    }

    fn tell_alerts(&mut self, out: &mut Output) -> anyhow::Result<()> {
        while let Ok(alert) = self.alerts.try_recv() {
            let at = self.begun.elapsed().as_secs();
            out.line(format_args!("{at:>5}s  {}: {} — {}", alert.change, alert.alert, alert.summary))?;
            if alert.change == "firing" {
                out.line(format_args!("        {}; begin with: {}", alert.runbook, alert.command))?;
            }
        }
        Ok(out.flush()?)
    }

    fn judge(
        &self,
        incident: &Incident,
        handed_in: HandedIn,
        standing: &Standing,
        out: &mut Output,
    ) -> anyhow::Result<Exit> {
        let mails = self.house.sandbox.mails(usize::MAX);
        let stats = self.house.sandbox.stats();
        let faults = verdict::faults(incident.goal, handed_in, standing, stats, &mails);
        out.line(format_args!(
            "\nOver after {}: {} handed in, {} sent, {} cancelled, {} sent twice.",
            human(self.begun.elapsed()),
            handed_in.all,
            standing.count(&["sent"]),
            standing.count(&["cancelled"]),
            stats.duplicates,
        ))?;
        if faults.is_empty() {
            out.line("Handled well. Follow the page to its end; Ctrl-C ends the drill.")?;
            out.flush()?;
            return Ok(Exit::Done);
        }
        out.line(format_args!("Not handled well: {}. Ctrl-C ends the drill.", faults.join("; ")))?;
        out.flush()?;
        Ok(Exit::Failed)
    }
}
