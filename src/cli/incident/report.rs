//! The report as a client reads it: words, since the server may be newer than this program.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::clock::Timestamp;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Report {
    pub since: Timestamp,
    pub until: Option<Timestamp>,
    pub now: Timestamp,
    pub tenant: Option<String>,
    pub late_after_seconds: u64,
    pub looked_at: u64,
    pub cut: bool,
    pub affected: u64,
    pub by_why: BTreeMap<String, u64>,
    pub by_reason: Vec<Counted>,
    pub by_batch: Vec<Counted>,
    pub by_tenant: Vec<TenantCount>,
    pub sent_delay: Option<Spread>,
    pub waiting: Option<Spread>,
    pub answers: Vec<ProviderAnswer>,
    pub timeline: Timeline,
    pub commands: Vec<Command>,
    pub items: Vec<Affected>,
    pub more: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Counted {
    pub name: Option<String>,
    pub count: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TenantCount {
    pub tenant: Option<String>,
    pub affected: u64,
    pub not_sent: u64,
    pub with_time_left: u64,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub struct Spread {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ProviderAnswer {
    pub provider: String,
    pub http_status: Option<u16>,
    pub outcome: String,
    pub error: Option<String>,
    pub count: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Timeline {
    pub step_seconds: u64,
    pub points: Vec<Point>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Point {
    pub at: Timestamp,
    pub accepted: u64,
    pub sent: u64,
    pub failed: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Command {
    pub why: String,
    pub command: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Affected {
    pub id: String,
    pub tenant: String,
    pub batch: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub recipients: Vec<String>,
    pub why: Vec<String>,
    pub status: String,
    pub reason: Option<String>,
    pub accepted_at: Timestamp,
    pub deadline: Option<Timestamp>,
    pub time_left_seconds: Option<u64>,
    pub delay_seconds: u64,
    pub sent_at: Option<Timestamp>,
    pub attempts: u32,
    pub last_error: Option<String>,
}
