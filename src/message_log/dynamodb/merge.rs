//! Many sorted runs as one: each index is spread over shards, and a listing goes through all of them in one order.
//! A run's pages are fetched only when they are needed.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::{BoxFuture, try_join_all};

use super::keys;
use super::row::Row;
use crate::clock::Timestamp;
use crate::message_log::LogError;
use crate::notification::NotificationId;

/// A record that a listing may hold, as far as its source knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// What the listing is sorted by; the id settles ties.
    pub(super) at: Timestamp,
    pub(super) id: NotificationId,
    /// When it was accepted, where the source tells: a row with another time is not what was meant.
    pub(super) accepted_at: Option<Timestamp>,
    /// The beginning of its content's hash, where the source tells: likewise.
    pub(super) content: Option<String>,
}

impl Candidate {
    /// Whether this is the row that was meant: who loses a race for an id leaves entries behind that belong to none.
    pub(super) fn means(&self, row: &Row) -> bool {
        let hash = || keys::hex(&row.content_hash[..8]);
        self.id == row.id
            && self.accepted_at.is_none_or(|at| at == row.life.accepted_at)
            && self.content.as_ref().is_none_or(|content| *content == hash())
    }

    /// Where it stands in its listing.
    pub(super) fn place(&self) -> (Timestamp, NotificationId) {
        (self.at, self.id)
    }
}

/// Which end of the listing comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

impl Direction {
    /// How these two places follow one another.
    pub(super) fn compare<T: Ord>(self, a: &T, b: &T) -> Ordering {
        match self {
            Direction::Up => a.cmp(b),
            Direction::Down => b.cmp(a),
        }
    }

    pub(super) fn is_up(self) -> bool {
        self == Direction::Up
    }
}

/// Where a run's next page starts, as the service told it.
pub(super) type Start = HashMap<String, AttributeValue>;

/// One page of a run, sorted by time; those of the same time in any order.
pub(super) struct Fetched {
    pub(super) candidates: Vec<Candidate>,
    /// How many entries were read for it, those that did not fit included.
    pub(super) read: usize,
    pub(super) next: Option<Start>,
    /// The time of the last entry that was read, whether it fitted or not, where the run goes on.
    pub(super) up_to: Option<Timestamp>,
}

/// Reads a run's page from `Start` on, of about so many entries.
pub(super) type Fetch =
    Box<dyn Fn(Option<Start>, usize) -> BoxFuture<'static, Result<Fetched, LogError>> + Send + Sync>;

/// A page grows to this many entries: about 1 MB of an index, DynamoDB's own limit.
const LARGEST_PAGE: usize = 8000;

struct Run {
    fetch: Fetch,
    /// In order and complete: no further page has anything that belongs before or among them.
    ready: VecDeque<Candidate>,
    /// Those of the last time that was read: the next page may have more of it.
    tied: Vec<Candidate>,
    next: Next,
    page: usize,
    read: usize,
}

enum Next {
    Begin,
    From(Start),
    End,
}

impl Run {
    /// Fetches until something is ready or the run is at its end.
    async fn fill(&mut self, direction: Direction) -> Result<(), LogError> {
        while self.ready.is_empty() {
            let start = match std::mem::replace(&mut self.next, Next::End) {
                Next::Begin => None,
                Next::From(start) => Some(start),
                Next::End => return Ok(()),
            };
            let fetched = (self.fetch)(start, self.page).await?;
            self.page = (self.page * 4).min(LARGEST_PAGE);
            self.read += fetched.read;
            for candidate in fetched.candidates {
                if self.tied.last().is_some_and(|tied| tied.at != candidate.at) {
                    self.settle(direction);
                }
                self.tied.push(candidate);
            }
            if fetched.up_to.is_some_and(|up_to| self.tied.last().is_some_and(|tied| tied.at != up_to)) {
                self.settle(direction);
            }
            match fetched.next {
                Some(start) => self.next = Next::From(start),
                None => self.settle(direction),
            }
        }
        Ok(())
    }

    fn settle(&mut self, direction: Direction) {
        self.tied.sort_unstable_by(|a, b| direction.compare(&a.place(), &b.place()));
        self.ready.extend(self.tied.drain(..));
    }
}

/// The runs of one listing.
pub(super) struct Merge {
    runs: Vec<Run>,
    direction: Direction,
}

impl Merge {
    /// `page`: about how many entries are wanted of each run at first.
    pub(super) fn of(runs: Vec<Fetch>, direction: Direction, page: usize) -> Self {
        let run = |fetch| Run {
            fetch,
            ready: VecDeque::new(),
            tied: Vec::new(),
            next: Next::Begin,
            page: page.clamp(1, LARGEST_PAGE),
            read: 0,
        };
        Self { runs: runs.into_iter().map(run).collect(), direction }
    }

    /// The next candidates in order, at most `most`; none at the end.
    pub(super) async fn next(&mut self, most: usize) -> Result<Vec<Candidate>, LogError> {
        let direction = self.direction;
        let mut merged = Vec::new();
        while merged.len() < most {
            let empty = self.runs.iter_mut().filter(|run| run.ready.is_empty());
            try_join_all(empty.map(|run| run.fill(direction))).await?;
            let first = self
                .runs
                .iter_mut()
                .filter(|run| !run.ready.is_empty())
                .min_by(|a, b| compare_heads(direction, a, b));
            match first.and_then(|run| run.ready.pop_front()) {
                Some(candidate) => merged.push(candidate),
                None => break,
            }
        }
        Ok(merged)
    }

    /// How many entries were read so far.
    pub(super) fn read(&self) -> usize {
        self.runs.iter().map(|run| run.read).sum()
    }
}

fn compare_heads(direction: Direction, a: &Run, b: &Run) -> Ordering {
    match (a.ready.front(), b.ready.front()) {
        (Some(a), Some(b)) => direction.compare(&a.place(), &b.place()),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(at: u8, id: u8) -> Candidate {
        Candidate {
            at: Timestamp::from_ms(at.into()),
            id: NotificationId::from_bytes([id; 16]),
            accepted_at: None,
            content: None,
        }
    }

    /// A run over these, sorted by time alone, in pages of `size`.
    fn run(mut all: Vec<Candidate>, direction: Direction, size: usize) -> Fetch {
        all.sort_by(|a, b| direction.compare(&a.at, &b.at));
        Box::new(move |start, _| {
            let from: usize = start
                .and_then(|start| start.get("from").and_then(|n| n.as_n().ok()?.parse().ok()))
                .unwrap_or(0);
            let candidates: Vec<_> = all.iter().skip(from).take(size).cloned().collect();
            let next = from + candidates.len();
            let more = next < all.len();
            let start = Start::from([("from".to_owned(), AttributeValue::N(next.to_string()))]);
            Box::pin(async move {
                Ok(Fetched { read: candidates.len(), candidates, next: more.then_some(start), up_to: None })
            })
        })
    }

    proptest! {
        #[test]
        fn runs_come_out_as_one_in_order(
            runs in prop::collection::vec(prop::collection::vec((0_u8..6, any::<u8>()), 0..20), 0..5),
            (size, chunk) in (1_usize..5, 1_usize..9),
            up in any::<bool>(),
        ) {
            let direction = if up { Direction::Up } else { Direction::Down };
            let runs: Vec<Vec<_>> =
                runs.into_iter().map(|run| run.into_iter().map(|(at, id)| candidate(at, id)).collect()).collect();
            let mut expected: Vec<_> = runs.iter().flatten().cloned().collect();
            expected.sort_by(|a, b| direction.compare(&a.place(), &b.place()));
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let merged = runtime.block_on(async {
                let runs = runs.into_iter().map(|all| run(all, direction, size)).collect();
                let mut merge = Merge::of(runs, direction, 10);
                let mut merged = Vec::new();
                loop {
                    let more = merge.next(chunk).await.unwrap();
                    if more.is_empty() {
                        return merged;
                    }
                    merged.extend(more);
                }
            });
            prop_assert_eq!(merged, expected);
        }
    }
}
