//! How deliveries end: deleted, hidden for a while, or replaced by another message and then deleted.

use std::collections::HashMap;
use std::time::Duration;

use super::super::{Delivery, QueueError, Receipt, Settlement};
use super::calls::Entry;
use super::dead::{REASON, SOURCE, attribute};
use super::entries::{Deleted, Hidden, Sent, group};
use super::envelope::{self, MOST_BYTES};
use super::{Foul, SqsQueue, unanswered};

/// Longer waits get a delayed copy. A message that is hidden counts among those in flight, of which a queue has at
/// most 120,000, and its receives go on counting.
const LONGEST_HIDING: Duration = Duration::from_secs(60);

/// Another message in the place of a delivery's.
struct Replaced {
    receipt: String,
    by: Sent,
    is_dead: bool,
}

/// What to do with one delivery.
enum End {
    Delete(Deleted),
    Hide(Hidden),
    Replace(Box<Replaced>),
}

fn end_of(delivery: Delivery, settlement: Settlement) -> End {
    let receipt = delivery.receipt.0.clone();
    let copy = |delivery: &Delivery| {
        Sent::new(envelope::of_delivery(delivery), group(&delivery.tenant, delivery.priority))
    };
    match settlement {
        Settlement::Done => End::Delete(Deleted(receipt)),
        Settlement::Again { after } if after <= LONGEST_HIDING => End::Hide(Hidden::new(receipt, after)),
        Settlement::Again { after } => {
            let by = copy(&delivery).delayed(after);
            // A producer's own message may be just below the limit, without room for what an envelope adds.
            if by.bytes() > MOST_BYTES {
                return End::Hide(Hidden::new(receipt, after));
            }
            End::Replace(Box::new(Replaced { receipt, by, is_dead: false }))
        }
        Settlement::Dead { reason } => {
            let by = copy(&delivery).with(REASON, attribute(&reason));
            End::Replace(Box::new(Replaced { receipt, by, is_dead: true }))
        }
    }
}

/// For each receipt the place of the first that is the same: a request must not name one twice.
fn first_places<'a>(receipts: impl Iterator<Item = &'a Receipt>) -> Vec<usize> {
    let mut seen = HashMap::new();
    receipts.enumerate().map(|(at, receipt)| *seen.entry(receipt).or_insert(at)).collect()
}

impl SqsQueue {
    pub(super) async fn hide(&self, receipts: &[Receipt], for_: Duration) -> Vec<Result<(), QueueError>> {
        let firsts = first_places(receipts.iter());
        let (mut places, mut entries) = (HashMap::new(), Vec::new());
        for (at, receipt) in receipts.iter().enumerate().filter(|(at, _)| firsts[*at] == *at) {
            places.insert(at, entries.len());
            entries.push(Hidden::new(receipt.0.clone(), for_));
        }
        let hidden = self.wire.all(&self.config.queue_url, &entries).await;
        firsts.iter().map(|first| hidden[places[first]].clone()).collect()
    }

    pub(super) async fn end(&self, settled: Vec<(Delivery, Settlement)>) -> Vec<Result<(), QueueError>> {
        let firsts = first_places(settled.iter().map(|(delivery, _)| &delivery.receipt));
        let mut results = vec![Ok(()); settled.len()];
        let (mut delete, mut hide, mut replace) = (Vec::new(), Vec::new(), Vec::new());
        let (mut deletes, mut hides, mut replaces) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (delivery, settlement)) in settled.into_iter().enumerate() {
            if firsts[at] != at {
                continue;
            }
            match end_of(delivery, settlement) {
                End::Delete(entry) => {
                    delete.push(at);
                    deletes.push(entry);
                }
                End::Hide(entry) => {
                    hide.push(at);
                    hides.push(entry);
                }
                End::Replace(entry) => {
                    replace.push(at);
                    replaces.push(*entry);
                }
            }
        }
        let url = &self.config.queue_url;
        let (deleted, hidden, replaced) =
            tokio::join!(self.deletes.submit(deletes), self.wire.all(url, &hides), self.replace(replaces));
        let deleted = deleted.into_iter().map(|result| result.unwrap_or_else(unanswered));
        let each = delete.into_iter().zip(deleted).chain(hide.into_iter().zip(hidden));
        for (at, result) in each.chain(replace.into_iter().zip(replaced)) {
            results[at] = result;
        }
        firsts.into_iter().map(|first| results[first].clone()).collect()
    }

    /// Makes sure that the delivery is still ours, which also keeps others off meanwhile; sends what replaces it; and
    /// deletes it once that was taken. If we die in between there are two messages, which is harmless.
    async fn replace(&self, replaced: Vec<Replaced>) -> Vec<Result<(), QueueError>> {
        let url = &self.config.queue_url;
        let held: Vec<Hidden> = replaced
            .iter()
            .map(|one| Hidden::new(one.receipt.clone(), self.config.visibility_timeout))
            .collect();
        let mut results = self.wire.all(url, &held).await;
        let (mut dead, mut copies) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        let mut receipts = HashMap::new();
        for (at, one) in replaced.into_iter().enumerate().filter(|(at, _)| results[*at].is_ok()) {
            let (places, entries) = if one.is_dead { &mut dead } else { &mut copies };
            places.push(at);
            entries.push(one.by);
            receipts.insert(at, one.receipt);
        }
        let (buried, copied) =
            tokio::join!(self.wire.all(&self.config.dead_letter_url, &dead.1), self.wire.all(url, &copies.1));
        let (mut places, mut deletes) = (Vec::new(), Vec::new());
        for (at, sent) in dead.0.into_iter().zip(buried).chain(copies.0.into_iter().zip(copied)) {
            match (&sent, receipts.remove(&at)) {
                (Ok(()), Some(receipt)) => {
                    places.push(at);
                    deletes.push(Deleted(receipt));
                }
                _ => results[at] = sent,
            }
        }
        for (at, deleted) in places.into_iter().zip(self.wire.all(url, &deletes).await) {
            results[at] = deleted;
        }
        results
    }

    /// Moves what cannot be read to the dead letters, with the reason. What cannot be moved stays and comes again; at
    /// the last SQS moves it by itself, as it was received too often.
    pub(super) async fn bury_unread(&self, foul: Vec<Foul>) {
        if foul.is_empty() {
            return;
        }
        let letter = |one: &Foul| {
            let body = String::from_utf8_lossy(&one.body).into_owned();
            Sent::new(body, group(&self.config.default_tenant, Default::default()))
                .with(REASON, attribute(&one.why.reason()))
                .with(SOURCE, attribute(&one.message_id))
        };
        let letters: Vec<Sent> = foul.iter().map(letter).collect();
        let buried = self.wire.all(&self.config.dead_letter_url, &letters).await;
        let mut deletes = Vec::new();
        for (one, buried) in foul.into_iter().zip(buried) {
            let (message_id, reason) = (&one.message_id, attribute(&one.why.reason()));
            match buried {
                Ok(()) => {
                    tracing::warn!(message_id, reason, "a message that cannot be read is a dead letter");
                    deletes.push(Deleted(one.receipt));
                }
                Err(error) => {
                    tracing::warn!(message_id, reason, %error, "a message that cannot be read comes again");
                }
            }
        }
        for deleted in self.wire.all(&self.config.queue_url, &deletes).await {
            if let Err(error) = deleted {
                tracing::debug!(%error, "a message that cannot be read was not deleted; it comes again");
            }
        }
    }
}
