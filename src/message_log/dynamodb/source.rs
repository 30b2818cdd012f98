//! The candidates of a listing, in its order, from the cursor on.

use std::sync::Arc;

use super::cursor::{Cursor, Sorting};
use super::hours::HourWalk;
use super::keys::{self, BATCH_INDEX, BATCH_SHARDS, OPEN_INDEX};
use super::merge::{Candidate, Direction, Fetch, Fetched, Merge};
use super::page::{Ask, Span};
use super::plan::{Part, Seen, Walk, is_within};
use super::row::{number, text};
use super::table::Table;
use crate::clock::Timestamp;
use crate::message_log::{Filter, LogError};

/// Entries of a run's first page where few of them may fit: about 30 KB.
const SELECTIVE_PAGE: usize = 256;

/// Where a listing's candidates come from.
pub(super) enum Source {
    Index(Merge),
    Entries(Box<HourWalk>),
}

/// What every run of a listing needs.
struct Listing {
    table: Table,
    filter: Filter,
    sorting: Sorting,
    cursor: Option<Cursor>,
}

impl Source {
    /// `page`: how many records are wanted.
    pub(super) fn open(
        table: &Table,
        walk: Walk,
        filter: &Filter,
        cursor: Option<Cursor>,
        page: usize,
    ) -> Self {
        let sorting = walk.sorting(filter);
        let listing = Listing { table: table.clone(), filter: filter.clone(), sorting, cursor };
        let runs: Vec<Fetch> = match walk {
            Walk::Recipient(key) => {
                let walk = HourWalk::open(table, Some(key), filter, sorting.direction, cursor);
                return Source::Entries(Box::new(walk));
            }
            Walk::Time => {
                let walk = HourWalk::open(table, None, filter, sorting.direction, cursor);
                return Source::Entries(Box::new(walk));
            }
            Walk::Batch(batch) => {
                let listing = Arc::new(listing);
                (0..BATCH_SHARDS).map(|shard| listing.batch_run(&batch, shard)).collect()
            }
            Walk::Open(parts) => {
                let listing = Arc::new(listing);
                let shards =
                    parts.iter().flat_map(|part| (0..part.class.shards()).map(move |shard| (part, shard)));
                shards.map(|(part, shard)| listing.open_run(*part, shard)).collect()
            }
        };
        // An even spread gives each run its share; twice that seldom needs a second page.
        let share = (page * 2).div_ceil(runs.len().max(1)).max(4);
        // Where few of the entries may fit, small pages would only be many.
        let is_selective = filter.tenant.is_some() || filter.reason.is_some();
        let share = if is_selective { share.max(SELECTIVE_PAGE) } else { share };
        Source::Index(Merge::of(runs, sorting.direction, share))
    }

    /// The next candidates in order, at most `most`; none at the end.
    pub(super) async fn next(&mut self, most: usize) -> Result<Vec<Candidate>, LogError> {
        match self {
            Source::Index(merge) => merge.next(most).await,
            Source::Entries(walk) => walk.next(most).await,
        }
    }

    /// How many entries were read so far.
    pub(super) fn read(&self) -> usize {
        match self {
            Source::Index(merge) => merge.read(),
            Source::Entries(walk) => walk.read(),
        }
    }
}

impl Listing {
    /// The places between which everything lies that is listed from the cursor on.
    fn span(&self, least: Option<Timestamp>, most: Option<Timestamp>) -> Span {
        let at = self.cursor.map(|cursor| cursor.at);
        match self.sorting.direction {
            Direction::Up => Span::times(least.max(at), most),
            Direction::Down => Span::times(least, most.into_iter().chain(at).min()),
        }
    }

    fn is_listed(&self, candidate: &Candidate) -> bool {
        self.cursor.is_none_or(|cursor| cursor.is_before(candidate, self.sorting.direction))
    }

    fn open_run(self: &Arc<Self>, part: Part, shard: u8) -> Fetch {
        // No wait begins before its acceptance.
        let span = self.span(self.filter.since, part.until);
        let ask = Ask {
            index: Some(OPEN_INDEX),
            partition: ("os", keys::open_partition(part.class, shard)),
            sort: Some("oa"),
            span,
            projection: Some("pk, oa, sv, rn, te, ba, aa"),
            only: self.only(true),
            ..Ask::default()
        };
        self.run(ask, "oa", |filter, item| Seen::read(item).may_fit(filter))
    }

    fn batch_run(self: &Arc<Self>, batch: &str, shard: u8) -> Fetch {
        let last = self.filter.until.map(|until| Timestamp::from_ms(until.as_ms() - 1));
        let ask = Ask {
            index: Some(BATCH_INDEX),
            partition: ("bk", keys::batch_partition(batch, shard)),
            sort: Some("aa"),
            span: self.span(self.filter.since, last),
            projection: Some("pk, aa, te"),
            only: self.only(false),
            ..Ask::default()
        };
        self.run(ask, "aa", |filter, item| {
            let accepted_at = number(item, "aa").map(Timestamp::from_ms);
            filter.tenant.as_deref().is_none_or(|tenant| text(item, "te") == Some(tenant))
                && accepted_at.is_none_or(|at| is_within(filter, at))
        })
    }

    /// What the service itself can leave out.
    fn only(&self, has_reason: bool) -> Vec<(&'static str, String)> {
        let reason = self.filter.reason.as_ref().filter(|_| has_reason);
        let only = [("te", self.filter.tenant.as_ref()), ("rn", reason)];
        only.into_iter().filter_map(|(name, value)| Some((name, value?.clone()))).collect()
    }

    fn run(self: &Arc<Self>, ask: Ask, at: &'static str, fits: fn(&Filter, &keys::Item) -> bool) -> Fetch {
        let listing = self.clone();
        let ask = Arc::new(Ask { is_up: self.sorting.direction.is_up(), ..ask });
        Box::new(move |start, size| {
            let (listing, ask) = (listing.clone(), ask.clone());
            Box::pin(async move {
                let page = ask.page(&listing.table, start, Some(size)).await?;
                let candidate = |item: &keys::Item| {
                    let candidate = Candidate {
                        at: Timestamp::from_ms(number(item, at)?),
                        id: text(item, "pk").and_then(keys::notification_id)?,
                        accepted_at: number(item, "aa").map(Timestamp::from_ms),
                        content: None,
                    };
                    (fits(&listing.filter, item) && listing.is_listed(&candidate)).then_some(candidate)
                };
                let candidates = page.items.iter().filter_map(candidate).collect();
                let up_to = page.next.as_ref().and_then(|next| number(next, at)).map(Timestamp::from_ms);
                Ok(Fetched { candidates, read: page.read.max(1), next: page.next, up_to })
            })
        })
    }
}
