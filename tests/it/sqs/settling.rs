//! How deliveries end on SQS.

use std::time::Duration;

use kakitome::notification::Priority;
use kakitome::queue::{Delivery, Depth, Message, Origin, Queue, QueueError, Settlement};
use serde_json::json;

use super::{Bench, NOW, attribute, message};

const LONG: Duration = Duration::from_secs(61);

fn twin(of: &Delivery) -> Delivery {
    Delivery {
        id: of.id,
        tenant: of.tenant.clone(),
        priority: of.priority,
        receipt: of.receipt.clone(),
        receive_count: of.receive_count,
        enqueued_at: of.enqueued_at,
        content: of.content.clone(),
        origin: Origin::Recorded,
    }
}

async fn one(bench: &Bench, sent: Message) -> Delivery {
    bench.send(&[sent]).await;
    bench.receive().await.pop().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_wait_is_a_delayed_copy_which_keeps_id_lane_and_content() {
    let bench = Bench::fresh().await;
    let bare = json!({
        "from": {"email": "a@example.jp"}, "to": [{"email": "b@example.jp"}],
        "subject": "s", "text": "t", "priority": "bulk", "tenant": "inn-7",
    });
    bench.put(&[&bare.to_string()]).await;
    let delivery = bench.receive().await.pop().unwrap();
    let (id, content) = (delivery.id, delivery.content.clone());
    for settled in bench.queue.settle(vec![(delivery, Settlement::Again { after: LONG })]).await {
        settled.unwrap();
    }
    assert_eq!(bench.queue.depth().await.unwrap(), Depth { delayed: 1, ..Depth::default() });
    // A delay cannot be waited for here; what the copy says is seen in the message that a dead letter leaves, which is
    // made the same way.
    let delivery = one(&bench, Message { id, content, ..message("inn-7", Priority::Bulk) }).await;
    let content = delivery.content.clone();
    let dead = Settlement::Dead { reason: "poison".into() };
    bench.queue.settle(vec![(delivery, dead)]).await.pop().unwrap().unwrap();
    let letter = bench.look(&bench.queues.dead_letter_url).await.pop().unwrap();
    assert_eq!(attribute(&letter, "kakitome_reason"), "poison");
    bench.put(&[letter.body().unwrap()]).await;
    let back = bench.receive().await.pop().unwrap();
    assert_eq!((back.id, back.tenant.as_str(), back.priority), (id, "inn-7", Priority::Bulk));
    assert_eq!(back.content, content);
    assert!(matches!(back.origin, Origin::Recorded));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_of_a_minute_hides_the_message_itself() {
    let bench = Bench::fresh().await;
    let delivery = one(&bench, message("default", Priority::Transactional)).await;
    let after = Duration::from_secs(60);
    bench.queue.settle(vec![(delivery, Settlement::Again { after })]).await.pop().unwrap().unwrap();
    assert_eq!(bench.queue.depth().await.unwrap(), Depth { in_flight: 1, ..Depth::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_delivery_leaves_neither_a_copy_nor_a_dead_letter() {
    let bench = Bench::fresh().await;
    let delivery = one(&bench, message("default", Priority::Transactional)).await;
    let (second, third) = (twin(&delivery), twin(&delivery));
    bench.queue.settle(vec![(delivery, Settlement::Done)]).await.pop().unwrap().unwrap();
    for (stale, end) in
        [(second, Settlement::Again { after: LONG }), (third, Settlement::Dead { reason: "x".into() })]
    {
        let settled = bench.queue.settle(vec![(stale, end)]).await;
        assert!(matches!(settled[..], [Err(QueueError::StaleReceipt)]), "{settled:?}");
    }
    assert_eq!(bench.queue.depth().await.unwrap(), Depth::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_delivery_named_twice_in_a_batch_is_settled_once_and_both_are_told() {
    let bench = Bench::fresh().await;
    let sent: Vec<_> = (0..3).map(|_| message("default", Priority::Transactional)).collect();
    bench.send(&sent).await;
    let received = bench.receive().await;
    let receipts: Vec<_> =
        received.iter().chain(&received).map(|delivery| delivery.receipt.clone()).collect();
    let extended = bench.queue.extend(&receipts, Duration::from_secs(30)).await;
    assert!(extended.iter().all(Result::is_ok), "{extended:?}");
    let twins: Vec<_> = received.iter().map(twin).collect();
    let both = received.into_iter().chain(twins).map(|delivery| (delivery, Settlement::Done)).collect();
    let settled = bench.queue.settle(both).await;
    assert_eq!(settled.len(), 6);
    assert!(settled.iter().all(Result::is_ok), "{settled:?}");
    assert_eq!(bench.queue.depth().await.unwrap(), Depth::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_deliveries_with_all_kinds_of_ends_each_get_their_own() {
    let bench = Bench::fresh().await;
    let sent: Vec<_> = (0..40).map(|_| message("default", Priority::Transactional)).collect();
    bench.send(&sent).await;
    let mut received = bench.queue.receive(40, NOW).await.unwrap();
    assert_eq!(received.len(), 40);
    received[5].receipt.0 = "not a receipt".into();
    let ends = [
        Settlement::Done,
        Settlement::Again { after: NOW },
        Settlement::Again { after: LONG },
        Settlement::Dead { reason: "x".into() },
    ];
    let settled = received.into_iter().enumerate().map(|(at, delivery)| (delivery, ends[at % 4].clone()));
    let results = bench.queue.settle(settled.collect()).await;
    let failed: Vec<_> = (0..40).filter(|at| results[*at].is_err()).collect();
    assert_eq!(failed, [5]);
    let depth = bench.queue.depth().await.unwrap();
    assert_eq!(depth, Depth { visible: 9, in_flight: 1, delayed: 10, dead: 10 });
}
