//! Which notification an event is about.

use std::collections::HashMap;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{self, StreamExt};
use serde_json::Value;

use super::event::Heard;
use super::hours::HourWalk;
use super::keys;
use super::merge::{Candidate, Direction};
use super::row::{self, Row};
use super::table::Table;
use crate::clock::Timestamp;
use crate::message_log::matched::{self, Send};
use crate::message_log::{Filter, LogError};

/// An event without our id is looked for among what was accepted this long before it: a look costs half a read unit an
/// hour. What was accepted earlier to be sent later is found by its id only.
const LOOKS_BACK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Of a recipient's notifications, so many are looked at for an event without our id, newest first: bounded, as a shop's
/// own mailbox may get every one of them.
const RECIPIENT_LOOKS: usize = 500;

/// Of those, so many at once: most recipients have fewer.
const LOOKS_AT_ONCE: usize = 50;

/// Recipients that are looked for at once.
const RECIPIENTS_AT_ONCE: usize = 8;

/// The provider's clock may be ahead of ours by so much.
pub(super) const FUTURE_ALLOWED: Duration = matched::FUTURE_ALLOWED;

/// What was found for an event.
pub(super) type Found = Result<Option<Match>, LogError>;

/// What an event is about.
pub(super) struct Match {
    pub(super) row: Row,
    /// What the event is to say of it, see [`matched::choose`].
    pub(super) mark: Option<Value>,
}

impl From<Row> for Match {
    fn from(row: Row) -> Self {
        Self { row, mark: None }
    }
}

/// For each event the row that it is about, in order.
pub(super) async fn find(table: &Table, heard: &[Heard], now: Timestamp) -> Vec<Found> {
    let mut found = by_id(table, heard, now).await;
    let mut lost: HashMap<&str, Vec<usize>> = HashMap::new();
    for (ix, (heard, found)) in heard.iter().zip(&found).enumerate() {
        if let (Ok(None), Some(key)) = (found, &heard.recipient_key)
            && Clue::of(heard).is_some()
        {
            lost.entry(key).or_default().push(ix);
        }
    }
    let mut looks = Vec::with_capacity(lost.len());
    for (key, places) in lost {
        let events: Vec<&Heard> = places.iter().filter_map(|ix| heard.get(*ix)).collect();
        let look = async move { (places, by_recipient(table, key, events, now).await) };
        looks.push(look.boxed());
    }
    let looked: Vec<_> = stream::iter(looks).buffer_unordered(RECIPIENTS_AT_ONCE).collect().await;
    for (places, rows) in looked {
        match rows {
            Ok(rows) => places.into_iter().zip(rows).for_each(|(ix, row)| found[ix] = Ok(row)),
            Err(error) => places.into_iter().for_each(|ix| found[ix] = Err(error.clone())),
        }
    }
    found
}

async fn by_id(table: &Table, heard: &[Heard], now: Timestamp) -> Vec<Found> {
    let ids: Vec<_> = heard.iter().filter_map(|heard| heard.event.id).map(keys::row_key).collect();
    let rows = match table.get(ids).await {
        Ok(rows) => rows,
        Err(error) => return heard.iter().map(|_| Err(error.clone())).collect(),
    };
    let find = |heard: &Heard| {
        let item = heard.event.id.and_then(|id| rows.get(&keys::row_key(id)));
        let row = item.filter(|item| !row::is_expired(item, now)).map(Row::read).transpose()?;
        Ok(row.map(Match::from))
    };
    heard.iter().map(find).collect()
}

/// By what an event without our id may be recognised, its recipient beside.
enum Clue<'a> {
    MessageId(&'a str),
    /// Of a bounce that carries no id at all.
    Address,
}

impl<'a> Clue<'a> {
    fn of(heard: &'a Heard) -> Option<Self> {
        let event = &heard.event;
        if let Some(message_id) = &event.provider_message_id {
            return Some(Clue::MessageId(message_id));
        }
        matched::is_by_address(event).then_some(Clue::Address)
    }
}

/// Among what was recorded for their recipient lately.
async fn by_recipient(
    table: &Table,
    recipient_key: &str,
    events: Vec<&Heard>,
    now: Timestamp,
) -> Result<Vec<Option<Match>>, LogError> {
    let earliest = events.iter().map(|heard| heard.event.at).min().unwrap_or_default();
    let filter = Filter { since: Some(earliest.minus(LOOKS_BACK)), ..Filter::default() };
    let key = Some(recipient_key.to_owned());
    let mut walk = HourWalk::open(table, key, &filter, Direction::Down, None);
    // By its message id at most one; by its address, all that it may be about.
    let mut fits: Vec<Vec<Row>> = events.iter().map(|_| Vec::new()).collect();
    let mut looks = 0;
    while looks < RECIPIENT_LOOKS {
        let candidates = walk.next(LOOKS_AT_ONCE.min(RECIPIENT_LOOKS - looks)).await?;
        if candidates.is_empty() {
            break;
        }
        looks += candidates.len();
        let rows = rows(table, &candidates, now).await?;
        for (heard, fits) in events.iter().zip(&mut fits) {
            fits.extend(rows.iter().filter(|row| may_be_about(heard, row)).cloned());
        }
        let is_settled = |(heard, fits): (&&Heard, &Vec<Row>)| {
            !fits.is_empty() && matches!(Clue::of(heard), Some(Clue::MessageId(_)))
        };
        if events.iter().zip(&fits).all(is_settled) {
            break;
        }
    }
    Ok(events.into_iter().zip(fits).map(|(heard, fits)| choose(heard, fits)).collect())
}

/// Whether this row may be what the event is about.
fn may_be_about(heard: &Heard, row: &Row) -> bool {
    let (event, life) = (&heard.event, &row.life);
    let is_accounts = life.provider.as_ref() == Some(&event.provider);
    is_accounts
        && match Clue::of(heard) {
            Some(Clue::MessageId(id)) => life.provider_message_id.as_deref() == Some(id),
            Some(Clue::Address) => {
                let (from, until) = matched::window(event.at);
                life.sent_at.is_some_and(|sent_at| (from..=until).contains(&sent_at))
            }
            None => false,
        }
}

/// Of what an event may be about, the latest accepted first.
fn choose(heard: &Heard, mut fits: Vec<Row>) -> Option<Match> {
    if !matches!(Clue::of(heard), Some(Clue::Address)) {
        return fits.into_iter().next().map(Match::from);
    }
    fits.reverse();
    let send = |row: &'_ Row| row.life.sent_at.unwrap_or_default();
    let sends: Vec<Send<'_>> = fits.iter().map(|row| Send { at: send(row), tenant: &row.tenant }).collect();
    let (best, mark) = matched::choose(&sends, heard.event.at)?;
    Some(Match { row: fits.swap_remove(best), mark: Some(mark) })
}

/// The rows of these candidates, latest accepted first. One that cannot be read must not keep events from the others.
async fn rows(table: &Table, candidates: &[Candidate], now: Timestamp) -> Result<Vec<Row>, LogError> {
    let wanted: Vec<_> = candidates.iter().map(|candidate| keys::row_key(candidate.id)).collect();
    let items = table.get(wanted).await?;
    let row = |candidate: &Candidate| {
        let item = items.get(&keys::row_key(candidate.id)).filter(|item| !row::is_expired(item, now))?;
        let row = Row::read(item).ok()?;
        candidate.means(&row).then_some(row)
    };
    Ok(candidates.iter().filter_map(row).collect())
}
