//! Plays an incident's script: hands notifications in, and makes the provider or the server ill.

use std::path::Path;

use axum::http::Method;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::house::House;
use super::incident::{BATCH, FLOODING_TENANT, Step};
use super::verdict::HandedIn;
use crate::cli::client::{Client, ClientError};

/// Notifications in one request.
const AT_ONCE: usize = 1000;
/// A broadcast is enqueued so often.
const TIMES: usize = 5;
/// Bookings of the tenant that has nothing to do with a flood, in percent of it.
const OTHERS_PERCENT: usize = 1;

/// Plays one step. `size` is what the incident is played with.
pub async fn step(
    step: Step,
    size: usize,
    house: &House,
    client: &Client,
    handed_in: &mut HandedIn,
) -> anyhow::Result<()> {
    match step {
        Step::Bookings(percent) => {
            let first = handed_in.all as usize;
            let count = (size * percent / 100).max(1);
            let lines: Vec<String> = (first..first + count).map(booking).collect();
            hand_in(client, &lines, handed_in).await?;
            append(&house.dir.join("outbox.ndjson"), &lines)?;
        }
        Step::BroadcastFiveTimes => {
            for time in 1..=TIMES {
                let lines: Vec<String> = (0..size / TIMES).map(|reader| broadcast(time, reader)).collect();
                hand_in(client, &lines, handed_in).await?;
            }
        }
        Step::DummyAddresses => {
            let others = (size * OTHERS_PERCENT / 100).max(1);
            let flood: Vec<String> = (0..size).map(dummy).collect();
            hand_in(client, &flood, handed_in).await?;
            let bookings: Vec<String> = (0..others).map(booking).collect();
            hand_in(client, &bookings, handed_in).await?;
            handed_in.of_others = others as u64;
        }
        Step::Provider(faults) => house.sandbox.set_faults(faults.parse()?),
        Step::RevokeKey => house.revoke_key()?,
        Step::RotateWebhookKey => house.rotate_webhook_key().await?,
        Step::Hang => house.hang()?,
        Step::PurgeQueue => house.purge_queue().await?,
        Step::Backup => house.back_up().await?,
        Step::LoseDisk => house.lose_disk().await?,
        Step::DeployBadly => house.deploy_badly().await?,
        Step::Wait(span) => tokio::time::sleep(span).await,
    }
    // Some steps restart the server.
    if !matches!(step, Step::Hang | Step::LoseDisk) {
        answers(client).await?;
    }
    Ok(())
}

/// Waits until the server answers.
pub async fn answers(client: &Client) -> anyhow::Result<()> {
    let patience = std::time::Instant::now() + super::PATIENCE;
    loop {
        match client.get::<Value>("/v1/status", &[]).await {
            Ok(_) => return Ok(()),
            Err(error) if std::time::Instant::now() > patience => return Err(error.into()),
            Err(_) => tokio::time::sleep(super::LOOKS).await,
        }
    }
}

async fn hand_in(client: &Client, lines: &[String], handed_in: &mut HandedIn) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Results {
        results: Vec<Value>,
    }
    for handful in lines.chunks(AT_ONCE) {
        let body = ("application/x-ndjson", Bytes::from(handful.join("\n")));
        let answer = client.call(Method::POST, "/v1/notifications/batch", &[], Some(body)).await;
        let answer: Results =
            answer.and_then(|answer| answer.json::<Results>()).map_err(|error: ClientError| {
                anyhow::Error::from(error).context("the incident could not be handed in")
            })?;
        if let Some(refused) = answer.results.iter().find(|result| result.get("id").is_none()) {
            anyhow::bail!("a notification of the incident was refused: {refused}");
        }
        handed_in.all += handful.len() as u64;
    }
    Ok(())
}

fn append(path: &Path, lines: &[String]) -> std::io::Result<()> {
    let mut text = lines.join("\n");
    text.push('\n');
    let mut file = std::fs::File::options().create(true).append(true).open(path)?;
    std::io::Write::write_all(&mut file, text.as_bytes())
}

fn booking(number: usize) -> String {
    json!({
        "idempotency_key": format!("booking-{number}:confirmed"),
        "from": {"email": "reserve@example.jp", "name": "予約センター"},
        "to": [{"email": format!("guest{number}@example.com")}],
        "subject": "ご予約が確定しました",
        "text": format!("予約番号 {number}"),
        "metadata": {"booking": number.to_string()},
    })
    .to_string()
}

fn broadcast(time: usize, reader: usize) -> String {
    json!({
        "idempotency_key": format!("{BATCH}:{time}:{reader}"),
        "from": {"email": "news@example.jp"},
        "to": [{"email": format!("reader{reader}@example.com")}],
        "subject": "利用規約の改定について",
        "text": "規約が変わります。",
        "batch": BATCH,
        "priority": "bulk",
    })
    .to_string()
}

fn dummy(number: usize) -> String {
    json!({
        "idempotency_key": format!("{FLOODING_TENANT}:{number}"),
        "tenant": FLOODING_TENANT,
        "from": {"email": "test@example.jp"},
        "to": [{"email": format!("dummy{number}@{FLOODING_TENANT}.example.com")}],
        "subject": "test",
        "text": format!("test {number}"),
    })
    .to_string()
}
