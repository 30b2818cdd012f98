//! What is asked to be put on the list.

use serde::Deserialize;
use utoipa::ToSchema;

use super::super::body::in_words;
use super::super::guard::Caller;
use super::super::trouble::{self, check};
use crate::api::act::MAX_REASON_CHARS;
use crate::clock::Timestamp;
use crate::notification::address::Address;
use crate::notification::content::is_tenant_name;
use crate::server::problem::Problem;
use crate::suppression::{Entry, Reason, Source};

/// The longest name of a group of unsubscriptions.
const MAX_GROUP_CHARS: usize = 64;

/// Somebody to whom nothing more is to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"email": "guest@example.com", "reason": "manual", "note": "asked by telephone"}))]
pub(in crate::api) struct EntryRequest {
    /// The address; quoted and unquoted carrier forms are the same.
    email: String,
    /// Why; `manual` when left out.
    #[serde(default)]
    reason: Option<Reason>,
    /// In the operator's words, at most 200 characters.
    #[serde(default)]
    #[schema(max_length = 200)]
    note: Option<String>,
    /// Of an unsubscription from one group: which.
    #[serde(default)]
    #[schema(max_length = 64)]
    group: Option<String>,
    /// Whose list; the key's own tenant when left out. Another's needs the scope admin.
    #[serde(default)]
    tenant: Option<String>,
}

/// The entry, or everything that is wrong with it.
pub(super) fn parse(text: &[u8], caller: &Caller, now: Timestamp) -> Result<Entry, Problem> {
    let asked: EntryRequest =
        serde_json::from_slice(text).map_err(|error| trouble::invalid_at("", in_words(&error)))?;
    let EntryRequest { email, reason, note, group, tenant } = asked;
    let reason = reason.unwrap_or(Reason::Manual);
    let tenant = tenant.unwrap_or_else(|| caller.0.tenant.clone());
    let mut faults = Vec::new();
    check_note(note.as_deref(), &mut faults);
    check(is_tenant_name(&tenant), "/tenant", "is not a tenant's name", &mut faults);
    let is_group = |group: &String| is_line(group, MAX_GROUP_CHARS) && reason == Reason::Unsubscribe;
    let of_group = "must be at most 64 characters, and is for unsubscriptions only";
    check(group.as_ref().is_none_or(is_group), "/group", of_group, &mut faults);
    let address = match Address::parse(email.trim()) {
        Ok(address) => Some(address),
        Err(wrong) => {
            faults.push(trouble::fault("/email", wrong.0));
            None
        }
    };
    let (Some(address), true) = (address, faults.is_empty()) else { return Err(trouble::invalid(faults)) };
    if !caller.0.may_act_for(&tenant) {
        return Err(trouble::foreign_tenant("/tenant"));
    }
    let group = group.filter(|group| !group.is_empty());
    let source = Source::Operator { who: caller.0.id.clone(), at: now, note };
    Ok(Entry { tenant, address, reason, group, source, created_at: now, removed: None })
}

/// A note is shown in tables and logs, so it is short and has no control characters.
pub(super) fn check_note(note: Option<&str>, faults: &mut Vec<crate::notification::content::Fault>) {
    let is_fine = note.is_none_or(|text| is_line(text, MAX_REASON_CHARS));
    check(is_fine, "/note", "must be at most 200 characters without control characters", faults);
}

fn is_line(text: &str, most: usize) -> bool {
    text.chars().count() <= most && !text.chars().any(char::is_control)
}
