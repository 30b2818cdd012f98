//! Everything that is known of one mailbox on one list. Pure: both backends keep such sheets and change them with these
//! functions alone.

use serde::{Deserialize, Serialize};

use super::{Added, Entry, ListError, REMOVAL_KEPT, Reason, Reasons, Removal, Source, What};
use crate::clock::Timestamp;
use crate::notification::address::Address;

/// Groups that are told apart for one mailbox; further ones count as everything.
const MOST_LINES: usize = 64;

/// The lines about one mailbox, in the order of reason and group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Sheet(Vec<Line>);

/// One reason, of one group. It keeps the latest word for it and the latest against it, so that words may come in any
/// order and any number of times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    #[serde(rename = "r")]
    reason: Reason,
    /// Empty: not of a group.
    #[serde(rename = "g", default, skip_serializing_if = "String::is_empty")]
    group: String,
    #[serde(rename = "e")]
    address: Address,
    #[serde(rename = "c")]
    created_at: Timestamp,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    said: Option<Source>,
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    removed: Option<Source>,
}

impl Line {
    /// A word for it must be later than the last against it.
    fn stands(&self) -> bool {
        let removed_at = self.removed.as_ref().map(Source::at);
        self.said.as_ref().is_some_and(|said| removed_at.is_none_or(|removed| said.at() > removed))
    }
}

/// The later of two words; of two at the same time the first heard.
fn latest(known: &mut Option<Source>, said: Source) {
    if known.as_ref().is_none_or(|known| said.at() > known.at()) {
        *known = Some(said);
    }
}

impl Sheet {
    pub(super) fn parse(text: &str) -> Result<Self, ListError> {
        serde_json::from_str(text).map_err(|_| ListError::Corrupt)
    }

    pub(super) fn write(&self) -> String {
        // Texts and numbers: writing them as JSON cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The reasons that stand.
    pub(super) fn standing(&self) -> Reasons {
        self.0.iter().filter(|line| line.stands()).map(|line| line.reason).collect()
    }

    /// The entries that stand, or those that were taken off, in the order of reason and group.
    pub(super) fn entries(&self, tenant: &str, removed: bool) -> impl Iterator<Item = Entry> {
        self.0.iter().filter_map(move |line| {
            let source = line.said.clone().filter(|_| line.stands() != removed)?;
            Some(Entry {
                tenant: tenant.to_owned(),
                address: line.address.clone(),
                reason: line.reason,
                group: Some(line.group.clone()).filter(|group| !group.is_empty()),
                source,
                created_at: line.created_at,
                removed: line.removed.clone().filter(|_| removed),
            })
        })
    }

    /// From when on nothing of it matters any more; `None` while something stands.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        if !self.standing().is_empty() {
            return None;
        }
        let removed = self.0.iter().filter_map(|line| line.removed.as_ref()).map(Source::at).max();
        Some(removed.unwrap_or_default().plus(REMOVAL_KEPT))
    }

    pub(super) fn add(&mut self, entry: &Entry) -> Added {
        let line = self.line(entry.reason, entry.group.as_deref(), &entry.address, entry.created_at);
        let stood = line.stands();
        let mut source = entry.source.clone();
        if stood && matches!(source, Source::Operator { .. }) {
            // The evidence that is there says more than that somebody handed it in again.
            return Added::Known;
        }
        if let (Source::Operator { at, .. }, Some(removed)) = (&mut source, &line.removed) {
            // What somebody asks for now is later than whatever was asked for before, whatever the clocks say.
            *at = (*at).max(removed.at().plus(std::time::Duration::from_millis(1)));
        }
        latest(&mut line.said, source);
        match (stood, line.stands()) {
            (true, _) => Added::Known,
            (false, true) => {
                line.created_at = entry.created_at;
                line.address = entry.address.clone();
                Added::New
            }
            (false, false) => Added::RemovedSince,
        }
    }

    /// How many entries it took off.
    pub(super) fn remove(&mut self, removal: &Removal) -> u64 {
        if let What::Group(group) = &removal.what {
            // Remembered also where nothing stands yet: the unsubscription that it ends may come later.
            let at = removal.source.at();
            self.line(Reason::Unsubscribe, Some(group), &removal.address, at);
        }
        let mut count = 0;
        for line in &mut self.0 {
            let is_meant = match &removal.what {
                What::All => true,
                What::Reason(reason) => line.reason == *reason,
                What::Group(group) => line.reason == Reason::Unsubscribe && line.group == *group,
            };
            if !is_meant {
                continue;
            }
            let (stood, mut source) = (line.stands(), removal.source.clone());
            if let Source::Operator { at, .. } = &mut source {
                if !stood {
                    continue;
                }
                *at = line.said.as_ref().map_or(*at, |said| said.at().max(*at));
            }
            latest(&mut line.removed, source);
            count += u64::from(stood && !line.stands());
        }
        count
    }

    /// The line of this reason and group, made if there is none.
    fn line(
        &mut self,
        reason: Reason,
        group: Option<&str>,
        address: &Address,
        created_at: Timestamp,
    ) -> &mut Line {
        let key = |line: &Line| (line.reason, line.group.clone());
        let mut wanted = (reason, group.unwrap_or_default().to_owned());
        let found = match self.0.binary_search_by_key(&wanted, key) {
            Err(_) if self.0.len() >= MOST_LINES => {
                wanted.1.clear();
                self.0.binary_search_by_key(&wanted, key)
            }
            found => found,
        };
        let place = found.unwrap_or_else(|place| {
            let (reason, group) = wanted;
            let address = address.clone();
            self.0.insert(place, Line { reason, group, address, created_at, said: None, removed: None });
            place
        });
        &mut self.0[place]
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]
#[path = "sheet_tests.rs"]
mod tests;
