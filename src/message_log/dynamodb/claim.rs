//! Claims: one write each where what the queue message said is true, and whatever reads it takes where it is not.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use super::change::{Known, claim_write, claimed, insert, write_id};
use super::entry::{Source, items_of};
use super::keys::{self, Item, Key};
use super::row::{Row, WriteId, new_row};
use super::won::Won;
use super::write::{Write, Written};
use super::{DynamoLog, ROUNDS};
use crate::clock::Timestamp;
use crate::message_log::{Claim, ClaimRequest, Claimed, Hint, LogError, NewNotification};
use crate::notification::status::{Life, Refusal};

type Result<T> = std::result::Result<T, LogError>;

/// One claim on its way.
pub(super) struct Asking<'a> {
    pub(super) request: &'a ClaimRequest,
    pub(super) stage: Stage,
    pub(super) content: Option<Bytes>,
    pub(super) tried: Option<Tried>,
    pub(super) result: Option<Result<Claim>>,
}

/// What is known of the record.
pub(super) enum Stage {
    /// Nothing: it must be read.
    Unread,
    /// It may not exist yet: it is created.
    New,
    /// So it stands; `is_guess`: nobody has read it. The key of its entry, where it was read.
    Known { known: Known, is_guess: bool, entry: Option<(Key, [u8; 32])> },
}

/// A write whose answer is not known yet, and what it leads to.
pub(super) struct Tried {
    w: WriteId,
    life: Life,
    /// It creates the record; the claim is refused all the same for this reason.
    pub(super) created: Option<Option<Refusal>>,
}

impl<'a> Asking<'a> {
    fn of(request: &'a ClaimRequest) -> Self {
        let content = match &request.hint {
            Hint::New(new) => Some(new.content.clone()),
            _ => request.content.clone(),
        };
        let stage = match &request.hint {
            Hint::New(_) => Stage::New,
            // Without its content, its row is read in any case.
            Hint::Fresh(life) if content.is_some() => {
                Stage::Known { known: Known::fresh(life), is_guess: true, entry: None }
            }
            Hint::Fresh(_) | Hint::None => Stage::Unread,
        };
        Self { request, stage, content, tried: None, result: None }
    }

    pub(super) fn unrecorded(&self) -> Option<&'a NewNotification> {
        match &self.request.hint {
            Hint::New(new) => Some(new),
            _ => None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.result.is_none()
    }

    pub(super) fn fail(&mut self, error: &LogError) {
        self.result = Some(Err(error.clone()));
    }
}

impl DynamoLog {
    pub(super) async fn claim_all(&self, requests: &[ClaimRequest], now: Timestamp) -> Vec<Result<Claim>> {
        let mut asking: Vec<Asking<'_>> = requests.iter().map(Asking::of).collect();
        // Only for what the outcomes will be told by: a claim itself is not told.
        let _unknown_yet = self.teller.tenants().await;
        self.register_new(&mut asking).await;
        for _round in 0..ROUNDS {
            if !asking.iter().any(Asking::is_open) {
                break;
            }
            self.read_rows(&mut asking).await;
            self.decide(&mut asking, now);
            self.read_contents(&mut asking).await;
            self.send(&mut asking).await;
        }
        self.save_refused(&mut asking).await;
        let contended = || Err(LogError::Unavailable("too many write one record at once".into()));
        asking.into_iter().map(|one| one.result.unwrap_or_else(contended)).collect()
    }

    async fn register_new(&self, asking: &mut [Asking<'_>]) {
        let times: Vec<_> =
            asking.iter().filter_map(|one| one.unrecorded().map(|new| new.life.accepted_at)).collect();
        if times.is_empty() {
            return;
        }
        if let Err(error) = self.hours.register(&self.table, times.into_iter(), self.retention).await {
            asking.iter_mut().filter(|one| one.unrecorded().is_some()).for_each(|one| one.fail(&error));
        }
    }

    async fn read_rows(&self, asking: &mut [Asking<'_>]) {
        let is_unread = |one: &Asking<'_>| one.is_open() && matches!(one.stage, Stage::Unread);
        let wanted: Vec<Key> =
            asking.iter().filter(|one| is_unread(one)).map(|one| keys::row_key(one.request.id)).collect();
        if wanted.is_empty() {
            return;
        }
        let read = self.table.get(wanted).await;
        for one in asking.iter_mut().filter(|one| is_unread(one)) {
            match &read {
                Ok(rows) => self.take_in(one, rows.get(&keys::row_key(one.request.id))),
                Err(error) => one.fail(error),
            }
        }
    }

    /// Takes the row as it is for true. If its latest write is ours, only the answer was lost.
    fn take_in(&self, one: &mut Asking<'_>, item: Option<&Item>) {
        let Some(item) = item else {
            match one.unrecorded() {
                Some(_) => one.stage = Stage::New,
                None => one.result = Some(Ok(Claim::Absent)),
            }
            return;
        };
        let row = match Row::read(item) {
            Ok(row) => row,
            Err(error) => return one.fail(&error),
        };
        if one.tried.as_ref().is_some_and(|tried| tried.w == row.write_id) {
            one.stage = Stage::Known { known: Known::of(row), is_guess: false, entry: None };
            return self.win(one);
        }
        if one.unrecorded().is_some_and(|new| new.content_hash != row.content_hash) {
            one.result = Some(Ok(Claim::Conflict));
            return;
        }
        one.tried = None;
        let entry = Some((row.entry_key(), row.content_hash));
        one.stage = Stage::Known { known: Known::of(row), is_guess: false, entry };
    }

    /// Tells the claim to what is known: refused, or a life to be written.
    fn decide(&self, asking: &mut [Asking<'_>], now: Timestamp) {
        for one in asking.iter_mut().filter(|one| one.is_open()) {
            let fact = &one.request.fact;
            match &one.stage {
                Stage::Unread => {}
                Stage::New => {
                    let Some(new) = one.unrecorded() else { continue };
                    let (life, refusal) = match new.life.after(fact, now) {
                        Ok(life) => (life, None),
                        Err(refusal) => (new.life.clone(), Some(refusal)),
                    };
                    one.tried = Some(Tried { w: write_id(), life, created: Some(refusal) });
                }
                Stage::Known { known, is_guess, .. } => match known.life.after(fact, now) {
                    Ok(life) => one.tried = Some(Tried { w: write_id(), life, created: None }),
                    Err(_) if *is_guess => one.stage = Stage::Unread,
                    Err(refusal) => {
                        let life = Box::new(Life::clone(&known.life));
                        one.result = Some(Ok(Claim::Refused { refusal, life, created: false }));
                    }
                },
            }
        }
    }

    async fn send(&self, asking: &mut [Asking<'_>]) {
        self.write_new_contents(asking).await;
        let mut places = Vec::new();
        let mut writes: Vec<Write> = Vec::new();
        let mut cards = Vec::new();
        for (place, one) in asking.iter_mut().enumerate().filter(|(_, one)| one.is_open()) {
            let Some(tried) = &one.tried else { continue };
            match &one.stage {
                Stage::Unread => {}
                Stage::New => {
                    let Some(new) = one.unrecorded() else { continue };
                    let is_won = matches!(tried.created, Some(None));
                    let version = if is_won { 2 } else { 1 };
                    writes.push(insert(&self.table, new_row(new, &tried.life, version, tried.w, is_won)));
                    places.push(place);
                    if is_won {
                        cards.extend(items_of(Source::of(new), false, self.retention));
                    }
                }
                Stage::Known { known, .. } if *known.life == tried.life => self.win(one),
                Stage::Known { known, .. } => {
                    writes.push(claim_write(&self.table, one.request.id, known, &tried.life, tried.w));
                    places.push(place);
                }
            }
        }
        // A card goes in the same request as its row, and never over an entry that is there: that one may have the
        // content. Should it fail, the record is not listed by recipient or hour until its outcome is written.
        let cards = cards.into_iter().map(|item| insert(&self.table, attributes(item)));
        writes.extend(cards);
        let mut written = self.writer.write(writes).await.into_iter();
        for (place, written) in places.into_iter().zip(written.by_ref()) {
            let one = &mut asking[place];
            match written {
                Ok(Written::Done) => self.win(one),
                Ok(Written::Refused(Some(item))) => self.take_in(one, Some(&item)),
                Ok(Written::Refused(None) | Written::TooLate) => one.stage = Stage::Unread,
                Err(error) => one.fail(&error),
            }
        }
        for error in written.filter_map(Result::err) {
            tracing::warn!(%error, "a record's entry could not be written; it is not listed by its recipient");
        }
    }

    /// Its write is done, or was done before.
    fn win(&self, one: &mut Asking<'_>) {
        let Some(Tried { life, created, .. }) = one.tried.take() else { return };
        if let Some(Some(refusal)) = created {
            one.result = Some(Ok(Claim::Refused { refusal, life: Box::new(life), created: true }));
            return;
        }
        let Some(content) = one.content.clone() else {
            return one.fail(&LogError::Corrupt("its content".into()));
        };
        let after = Arc::new(life.clone());
        let mut known = match (&one.stage, one.unrecorded()) {
            (Stage::Known { known, .. }, _) if known.life.token == life.token => {
                // Nothing was written: it is the same claim.
                Known { life: after, ..known.clone() }
            }
            (Stage::Known { known, .. }, _) => claimed(known, after),
            (_, Some(new)) => {
                let fresh = Known { content_is_with_queue: true, ..Known::fresh(&new.life) };
                claimed(&fresh, after)
            }
            (_, None) => return,
        };
        if known.tenant.is_none() && self.teller.has_tenants() {
            // Its outcome is told in the tenant's name, and must not need a read for it.
            known.tenant = tenant_of(&content);
        }
        let kept = known.content_is_with_queue.then(|| content.clone());
        self.won.keep(one.request.id, Won { known, content: kept });
        let claimed = Claimed { life, content, created: created.is_some() };
        one.result = Some(Ok(Claim::Won(Box::new(claimed))));
    }
}

/// Whose notification has this stored content.
fn tenant_of(content: &[u8]) -> Option<Arc<str>> {
    #[derive(Deserialize)]
    struct Whose<'a> {
        #[serde(borrow)]
        tenant: Cow<'a, str>,
    }
    Some(serde_json::from_slice::<Whose<'_>>(content).ok()?.tenant.into())
}

fn attributes(item: Item) -> Vec<(&'static str, aws_sdk_dynamodb::types::AttributeValue)> {
    let mut item = item;
    let names = ["pk", "sk", "k", "f", "exp"];
    names.into_iter().filter_map(|name| Some((name, item.remove(name)?))).collect()
}
