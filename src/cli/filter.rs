//! Which notifications: the same flags for every command that selects.

use clap::Args;
use serde_json::{Map, Value, json};

use super::when::parse_moment;
use crate::clock::Timestamp;
use crate::notification::status::Status;

/// Every given flag must match.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which")]
pub struct FilterArgs {
    /// In this status; several with commas
    #[arg(long, value_delimiter = ',', value_name = "STATUS", hide_possible_values = false)]
    pub status: Vec<Status>,
    /// Of this tenant
    #[arg(long)]
    pub tenant: Option<String>,
    /// Of this broadcast
    #[arg(long)]
    pub batch: Option<String>,
    /// To this address
    #[arg(long, value_name = "ADDRESS")]
    pub recipient: Option<String>,
    /// Whose latest attempt was with this provider
    #[arg(long)]
    pub provider: Option<String>,
    /// With this reason, to the letter
    #[arg(long)]
    pub reason: Option<String>,
    /// Accepted since: 2h, 2026-11-21T09:00:00Z or 2026-11-21T18:00:00+09:00
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub since: Option<Timestamp>,
    /// Accepted before, in the same forms
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub until: Option<Timestamp>,
}

impl FilterArgs {
    /// As the query of a listing.
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        if !self.status.is_empty() {
            query.push(("status", self.statuses().join(",")));
        }
        let texts = [("tenant", &self.tenant), ("batch", &self.batch), ("recipient", &self.recipient)];
        for (name, value) in texts.into_iter().chain([("provider", &self.provider), ("reason", &self.reason)])
        {
            query.extend(value.clone().map(|value| (name, value)));
        }
        for (name, at) in [("since", self.since), ("until", self.until)] {
            query.extend(at.map(|at| (name, at.to_string())));
        }
        query
    }

    /// As the filter of a change.
    pub fn json(&self) -> Map<String, Value> {
        let mut filter: Map<String, Value> =
            self.query().into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect();
        if !self.status.is_empty() {
            filter.insert("status".into(), json!(self.statuses()));
        }
        filter
    }

    fn statuses(&self) -> Vec<&'static str> {
        self.status.iter().map(|status| status.as_str()).collect()
    }
}
