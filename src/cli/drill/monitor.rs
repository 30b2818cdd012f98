//! What tells the operator: the server's alerts, and a watch on `/healthz`, since who hangs cannot say so.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::server;
use crate::shutdown::Shutdown;

/// An alert that begins or ends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Alert {
    /// Its name.
    pub alert: String,
    /// `firing`, `worse`, `reminder` or `resolved`.
    pub change: String,
    /// One sentence.
    pub summary: String,
    /// The page to follow.
    #[serde(default)]
    pub runbook: String,
    /// The command to begin with.
    #[serde(default)]
    pub command: String,
}

/// How often `/healthz` is asked, how long it may take, and how often it may fail before that is told.
const WATCH: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(1);
const FAILURES: u32 = 3;

/// Listens for alerts; where, and what came.
pub fn listen(
    shutdown: Shutdown,
) -> anyhow::Result<(String, mpsc::UnboundedSender<Alert>, mpsc::UnboundedReceiver<Alert>)> {
    let listener = server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let url = format!("http://{}/alerts", listener.local_addr()?);
    let (sender, alerts) = mpsc::unbounded_channel();
    let router = Router::new().route("/alerts", post(take)).with_state(sender.clone());
    let config = server::Config { drain_timeout: Duration::from_secs(1), ..server::Config::default() };
    tokio::spawn(server::serve(listener, router, config, shutdown));
    Ok((url, sender, alerts))
}

async fn take(State(alerts): State<mpsc::UnboundedSender<Alert>>, body: String) -> StatusCode {
    match serde_json::from_str::<Alert>(&body) {
        Ok(alert) => {
            // After the drill's end nobody listens any more.
            let _ended = alerts.send(alert);
            StatusCode::NO_CONTENT
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

/// Watches a server that was well from outside until the shutdown is pulled.
pub async fn watch(
    url: String,
    alerts: mpsc::UnboundedSender<Alert>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
    let mut failures = 0;
    while !shutdown.is_pulled() {
        let answer = http.get(format!("{url}/healthz")).send().await;
        let is_well = answer.is_ok_and(|answer| answer.status().is_success());
        let before = failures;
        failures = if is_well { 0 } else { failures + 1 };
        let told = if is_well && before >= FAILURES {
            Some(("resolved", "the server answers again"))
        } else if failures == FAILURES {
            Some(("firing", "the server does not answer at /healthz"))
        } else {
            None
        };
        if let Some((change, summary)) = told {
            let _ended = alerts.send(Alert {
                alert: "server_silent".into(),
                change: change.into(),
                summary: summary.into(),
                runbook: "runbooks/worker-not-polling.md".into(),
                command: format!("curl --max-time 3 {url}/healthz"),
            });
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH) => {}
            () = shutdown.pulled() => {}
        }
    }
    Ok(())
}
