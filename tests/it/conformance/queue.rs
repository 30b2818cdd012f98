//! What every queue does.

use std::collections::BTreeSet;
use std::time::Duration;

use kakitome::notification::{NotificationId, Priority};
use kakitome::queue::{
    DeadEnd, DeadHandle, DeadLetter, Delivery, Depth, Message, QueueError, RECEIVED_TOO_OFTEN, Settlement,
};

use super::QueueBench;

/// Every case, for one backend.
macro_rules! suite {
    ($(#[$note:meta])* $bench:path) => {
        crate::conformance::on_each! { $(#[$note])* crate::conformance::queue, $bench;
            a_message_is_received_once_until_its_visibility_timeout_is_over
            a_delayed_message_waits
            a_heartbeat_keeps_a_delivery_invisible
            a_stale_receipt_neither_settles_nor_extends
            a_message_that_is_done_is_gone
            a_message_given_back_comes_again_after_its_wait
            a_dead_letter_leaves_the_queue_until_it_is_sent_again
            a_message_received_too_often_becomes_a_dead_letter
            dead_letters_are_looked_at_shown_again_and_removed
            a_repeated_send_is_merged_or_doubled_but_never_lost
            a_send_during_a_delivery_outlives_it
            each_entry_has_its_own_result
            nothing_in_gives_nothing_out
            depth_says_how_much_lies_where
        }
    };
}
pub(crate) use suite;

/// Whose turn it is, for a backend that decides it in this program. SQS decides it in its own (fair queues, by message
/// group), no emulator does, and there is one lane: `sqs::*` shows what we ask of it.
macro_rules! order_suite {
    ($bench:path) => {
        crate::conformance::on_each! { crate::conformance::queue, $bench;
            a_tenants_flood_delays_nobody_elses_message
            many_tenants_share_a_receive
            bulk_yields_to_transactional_but_is_not_starved
        }
    };
}
pub(crate) use order_suite;

const NOW: Duration = Duration::ZERO;
const SECOND: Duration = Duration::from_secs(1);

fn message(tenant: &str, priority: Priority) -> Message {
    let id = NotificationId::fresh();
    Message { id, tenant: tenant.into(), priority, delay: NOW, content: None, fresh: None }
}

fn transactional() -> Message {
    message("default", Priority::Transactional)
}

async fn send(bench: &QueueBench, messages: &[Message]) {
    for chunk in messages.chunks(1000) {
        for sent in bench.queue.send_batch(chunk).await {
            sent.unwrap();
        }
    }
}

async fn receive(bench: &QueueBench, max: usize) -> Vec<Delivery> {
    let received = bench.queue.receive(max, NOW).await.unwrap();
    assert!(received.len() <= max);
    received
}

async fn receive_one(bench: &QueueBench) -> Delivery {
    let mut received = receive(bench, 1).await;
    received.pop().expect("a message is visible")
}

async fn settle(bench: &QueueBench, delivery: Delivery, end: Settlement) {
    for settled in bench.queue.settle(vec![(delivery, end)]).await {
        settled.unwrap();
    }
}

pub async fn a_message_is_received_once_until_its_visibility_timeout_is_over(bench: &QueueBench) {
    let sent = message("inn-7", Priority::Bulk);
    send(bench, std::slice::from_ref(&sent)).await;
    let first = receive_one(bench).await;
    assert_eq!((first.id, first.tenant.as_str(), first.receive_count), (sent.id, "inn-7", 1));
    assert!(receive(bench, 10).await.is_empty());
    (bench.pass)(bench.visibility_timeout + SECOND).await;
    let second = receive_one(bench).await;
    assert_eq!((second.id, second.receive_count), (sent.id, 2));
    assert_eq!(second.enqueued_at, first.enqueued_at);
    assert_ne!(second.receipt, first.receipt);
}

pub async fn a_delayed_message_waits(bench: &QueueBench) {
    let sent = Message { delay: bench.wait, ..transactional() };
    send(bench, std::slice::from_ref(&sent)).await;
    assert!(receive(bench, 10).await.is_empty());
    (bench.pass)(bench.wait + SECOND).await;
    assert_eq!(receive_one(bench).await.id, sent.id);
}

pub async fn a_heartbeat_keeps_a_delivery_invisible(bench: &QueueBench) {
    send(bench, &[transactional()]).await;
    let delivery = receive_one(bench).await;
    (bench.pass)(bench.visibility_timeout / 2).await;
    let extended =
        bench.queue.extend(std::slice::from_ref(&delivery.receipt), bench.visibility_timeout).await;
    assert!(matches!(extended[..], [Ok(())]));
    (bench.pass)(bench.visibility_timeout * 3 / 4).await;
    assert!(receive(bench, 10).await.is_empty());
    (bench.pass)(bench.visibility_timeout / 2).await;
    assert_eq!(receive_one(bench).await.id, delivery.id);
}

pub async fn a_stale_receipt_neither_settles_nor_extends(bench: &QueueBench) {
    send(bench, &[transactional()]).await;
    let first = receive_one(bench).await;
    (bench.pass)(bench.visibility_timeout + SECOND).await;
    let second = receive_one(bench).await;
    let extended = bench.queue.extend(std::slice::from_ref(&first.receipt), Duration::from_secs(600)).await;
    assert!(matches!(extended[..], [Err(QueueError::StaleReceipt)]));
    for end in [Settlement::Done, Settlement::Again { after: NOW }, Settlement::Dead { reason: "x".into() }] {
        let stale = Delivery {
            id: first.id,
            tenant: first.tenant.clone(),
            priority: first.priority,
            receipt: first.receipt.clone(),
            receive_count: first.receive_count,
            enqueued_at: first.enqueued_at,
            content: None,
            origin: first.origin.clone(),
        };
        let may_say_done = bench.may_say_done_of_what_is_stale && matches!(end, Settlement::Done);
        let settled = bench.queue.settle(vec![(stale, end)]).await;
        let is_told = matches!(settled[..], [Err(QueueError::StaleReceipt)]);
        assert!(is_told || may_say_done && matches!(settled[..], [Ok(())]), "{settled:?}");
    }
    assert!(receive(bench, 10).await.is_empty(), "the live delivery is untouched");
    assert_eq!(bench.queue.depth().await.unwrap(), Depth { in_flight: 1, ..Depth::default() });
    settle(bench, second, Settlement::Done).await;
}

pub async fn a_message_that_is_done_is_gone(bench: &QueueBench) {
    send(bench, &[transactional()]).await;
    settle(bench, receive_one(bench).await, Settlement::Done).await;
    (bench.pass)(bench.visibility_timeout * 2).await;
    assert!(receive(bench, 10).await.is_empty());
    assert_eq!(bench.queue.depth().await.unwrap(), Depth::default());
}

pub async fn a_message_given_back_comes_again_after_its_wait(bench: &QueueBench) {
    send(bench, &[transactional()]).await;
    settle(bench, receive_one(bench).await, Settlement::Again { after: NOW }).await;
    let second = receive_one(bench).await;
    assert_eq!(second.receive_count, 2);
    settle(bench, second, Settlement::Again { after: bench.wait }).await;
    assert!(receive(bench, 10).await.is_empty());
    (bench.pass)(bench.wait + SECOND).await;
    assert_eq!(receive_one(bench).await.receive_count, 3);
}

pub async fn a_dead_letter_leaves_the_queue_until_it_is_sent_again(bench: &QueueBench) {
    let sent = transactional();
    send(bench, std::slice::from_ref(&sent)).await;
    settle(bench, receive_one(bench).await, Settlement::Dead { reason: "poison".into() }).await;
    (bench.pass)(bench.visibility_timeout * 2).await;
    assert!(receive(bench, 10).await.is_empty());
    assert_eq!(bench.queue.depth().await.unwrap(), Depth { dead: 1, ..Depth::default() });
    send(bench, std::slice::from_ref(&sent)).await;
    let again = receive_one(bench).await;
    assert_eq!((again.id, again.receive_count), (sent.id, 1));
}

pub async fn a_message_received_too_often_becomes_a_dead_letter(bench: &QueueBench) {
    send(bench, &[transactional()]).await;
    for count in 1..=bench.max_receive_count {
        assert_eq!(receive_one(bench).await.receive_count, count);
        (bench.pass)(bench.visibility_timeout + SECOND).await;
    }
    assert!(receive(bench, 10).await.is_empty());
    assert_eq!(bench.queue.depth().await.unwrap(), Depth { dead: 1, ..Depth::default() });
    let letters = dead_letters(bench).await;
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, RECEIVED_TOO_OFTEN));
}

/// All of them, hidden from others where the backend does that.
async fn dead_letters(bench: &QueueBench) -> Vec<DeadLetter> {
    let mut letters: Vec<DeadLetter> = Vec::new();
    loop {
        let after = letters.last().map(|letter| letter.key.clone());
        let page = bench.queue.dead_letters(after.as_deref(), 2).await.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            return letters;
        }
        letters.extend(page);
    }
}

async fn end(bench: &QueueBench, ends: Vec<(DeadHandle, DeadEnd)>) {
    for ended in bench.queue.end_dead_letters(ends).await {
        ended.unwrap();
    }
}

pub async fn dead_letters_are_looked_at_shown_again_and_removed(bench: &QueueBench) {
    assert!(dead_letters(bench).await.is_empty());
    let sent: Vec<_> = (0..5).map(|i| message(&format!("inn-{i}"), Priority::Bulk)).collect();
    send(bench, &sent).await;
    for delivery in receive(bench, 10).await {
        let reason = format!("because of {}", delivery.tenant);
        settle(bench, delivery, Settlement::Dead { reason }).await;
    }
    let found = dead_letters(bench).await;
    assert_eq!(found.len(), 5);
    for message in &sent {
        let letter = found.iter().find(|letter| letter.id == Some(message.id)).unwrap();
        assert_eq!(letter.tenant.as_deref(), Some(message.tenant.as_str()));
        assert_eq!(letter.reason, format!("because of {}", message.tenant));
        let days = letter.destroyed_at.since(letter.enqueued_at).as_secs() / 86_400;
        assert_eq!(days, 14);
    }
    let shown = |letter: &DeadLetter| (letter.handle.clone(), DeadEnd::Show);
    end(bench, found.iter().map(shown).collect()).await;
    let found = dead_letters(bench).await;
    assert_eq!(found.len(), 5, "others see them again");
    let removed = found[0].key.clone();
    let mut ends: Vec<_> = found.iter().map(shown).collect();
    ends[0].1 = DeadEnd::Remove;
    end(bench, ends).await;
    let left = dead_letters(bench).await;
    assert!(left.len() == 4 && left.iter().all(|letter| letter.key != removed));
    end(bench, left.iter().map(shown).collect()).await;
    assert_eq!(bench.queue.depth().await.unwrap(), Depth { dead: 4, ..Depth::default() });
}

pub async fn a_repeated_send_is_merged_or_doubled_but_never_lost(bench: &QueueBench) {
    let sent = transactional();
    let late = Message { delay: bench.wait, ..sent.clone() };
    send(bench, &[late.clone(), sent.clone(), late]).await;
    settle(bench, receive_one(bench).await, Settlement::Done).await;
    (bench.pass)(bench.wait + SECOND).await;
    for delivery in receive(bench, 10).await {
        assert_eq!(delivery.id, sent.id);
        settle(bench, delivery, Settlement::Done).await;
    }
    assert_eq!(bench.queue.depth().await.unwrap(), Depth::default());
}

pub async fn a_send_during_a_delivery_outlives_it(bench: &QueueBench) {
    for end in [Settlement::Done, Settlement::Dead { reason: "x".into() }] {
        let sent = transactional();
        send(bench, std::slice::from_ref(&sent)).await;
        let delivery = receive_one(bench).await;
        send(bench, std::slice::from_ref(&sent)).await;
        settle(bench, delivery, end).await;
        let again = receive_one(bench).await;
        assert_eq!(again.id, sent.id);
        settle(bench, again, Settlement::Done).await;
    }
}

pub async fn a_tenants_flood_delays_nobody_elses_message(bench: &QueueBench) {
    let flood: Vec<_> = (0..5000).map(|_| message("loud", Priority::Transactional)).collect();
    send(bench, &flood).await;
    let quiet = message("quiet", Priority::Transactional);
    send(bench, std::slice::from_ref(&quiet)).await;
    let mut first = Vec::new();
    for _ in 0..3 {
        first.extend(receive(bench, 10).await);
    }
    assert!(first.iter().any(|delivery| delivery.id == quiet.id));
    assert_eq!(first.len(), 30, "the flood fills what the others leave");
}

pub async fn many_tenants_share_a_receive(bench: &QueueBench) {
    let tenants: Vec<_> = (0..20).map(|i| format!("inn-{i}")).collect();
    let messages: Vec<_> =
        tenants.iter().flat_map(|t| (0..5).map(|_| message(t, Priority::Transactional))).collect();
    send(bench, &messages).await;
    let mut served = BTreeSet::new();
    for _ in 0..4 {
        served.extend(receive(bench, 10).await.into_iter().map(|delivery| delivery.tenant));
    }
    assert_eq!(served.len(), tenants.len(), "each has had its turn within two rounds");
}

pub async fn bulk_yields_to_transactional_but_is_not_starved(bench: &QueueBench) {
    let bulk: Vec<_> = (0..20).map(|_| message("default", Priority::Bulk)).collect();
    let urgent: Vec<_> = (0..400).map(|_| transactional()).collect();
    send(bench, &bulk).await;
    send(bench, &urgent).await;
    let is_bulk = |delivery: &Delivery| bulk.iter().any(|message| message.id == delivery.id);
    assert!(!receive(bench, 10).await.iter().any(is_bulk));
    let mut bulk_seen = 0;
    for _ in 0..20 {
        bulk_seen += receive(bench, 10).await.iter().filter(|delivery| is_bulk(delivery)).count();
    }
    assert!((1..=20).contains(&bulk_seen), "{bulk_seen} of 200 were bulk");
}

pub async fn each_entry_has_its_own_result(bench: &QueueBench) {
    send(bench, &[transactional(), transactional(), transactional()]).await;
    let mut received = receive(bench, 10).await;
    assert_eq!(received.len(), 3);
    received[1].receipt.0 = "not a receipt".into();
    let receipts: Vec<_> = received.iter().map(|delivery| delivery.receipt.clone()).collect();
    let extended = bench.queue.extend(&receipts, bench.visibility_timeout).await;
    assert!(matches!(extended[..], [Ok(()), Err(_), Ok(())]));
    let settled = received.into_iter().map(|delivery| (delivery, Settlement::Done)).collect();
    assert!(matches!(bench.queue.settle(settled).await[..], [Ok(()), Err(_), Ok(())]));
}

pub async fn nothing_in_gives_nothing_out(bench: &QueueBench) {
    assert!(bench.queue.send_batch(&[]).await.is_empty());
    assert!(bench.queue.extend(&[], NOW).await.is_empty());
    assert!(bench.queue.settle(Vec::new()).await.is_empty());
    assert!(receive(bench, 10).await.is_empty());
}

pub async fn depth_says_how_much_lies_where(bench: &QueueBench) {
    let later = Message { delay: bench.wait, ..transactional() };
    send(bench, &[later, transactional(), transactional(), transactional()]).await;
    let delivery = receive_one(bench).await;
    assert_eq!(bench.queue.depth().await.unwrap(), Depth { visible: 2, in_flight: 1, delayed: 1, dead: 0 });
    settle(bench, delivery, Settlement::Again { after: bench.wait }).await;
    let (in_flight, delayed) = if bench.hides_what_is_given_back { (1, 1) } else { (0, 2) };
    assert_eq!(bench.queue.depth().await.unwrap(), Depth { visible: 2, in_flight, delayed, dead: 0 });
    (bench.pass)(bench.wait + SECOND).await;
    assert_eq!(bench.queue.depth().await.unwrap(), Depth { visible: 4, in_flight: 0, delayed: 0, dead: 0 });
}
