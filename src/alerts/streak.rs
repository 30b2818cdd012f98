//! What one process makes of its readings of one alert: bad twice, or well for a while, before it says so. Pure.

use std::time::Duration;

use super::check::Finding;
use crate::clock::Timestamp;

/// Readings in a row before a finding that is not conclusive counts.
const BAD_READINGS: u32 = 2;
/// Readings in a row before all is well.
const WELL_READINGS: u32 = 3;

/// One alert's readings, as one process had them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Streak {
    verdict: Verdict,
    bad: u32,
    well: u32,
    well_since: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq)]
enum Verdict {
    #[default]
    None,
    Bad(Finding),
    Well,
}

/// What a process says of an alert.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight {
    /// It is there.
    Bad(Finding),
    /// It is not, for this long.
    Well(Duration),
}

/// What a reading says.
#[derive(Clone, Copy, Debug)]
pub enum Look<'a> {
    /// It is there.
    Bad(&'a Finding),
    /// It is not.
    Well,
    /// Nothing.
    Nothing,
}

impl Streak {
    /// After one more reading. `calm`: how long it must be well before it is over.
    pub fn after(mut self, look: Look<'_>, now: Timestamp, calm: Duration) -> Self {
        match look {
            Look::Nothing => {}
            Look::Bad(finding) => {
                (self.bad, self.well, self.well_since) = (self.bad.saturating_add(1), 0, None);
                let is_known = matches!(self.verdict, Verdict::Bad(_));
                if is_known || finding.is_conclusive || self.bad >= BAD_READINGS {
                    self.verdict = Verdict::Bad(finding.clone());
                }
            }
            Look::Well => {
                (self.bad, self.well) = (0, self.well.saturating_add(1));
                let since = *self.well_since.get_or_insert(now);
                if self.well >= WELL_READINGS && now.since(since) >= calm {
                    self.verdict = Verdict::Well;
                }
            }
        }
        self
    }

    /// What it comes to; `None`: nothing can be said yet.
    pub fn sight(&self, now: Timestamp) -> Option<Sight> {
        match &self.verdict {
            Verdict::None => None,
            Verdict::Bad(finding) => Some(Sight::Bad(finding.clone())),
            Verdict::Well => {
                Some(Sight::Well(self.well_since.map_or(Duration::ZERO, |since| now.since(since))))
            }
        }
    }
}
