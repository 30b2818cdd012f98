//! What lies on the queue: envelopes, bare notifications, and what is neither.

use std::time::Duration;

use bytes::Bytes;
use kakitome::clock::Timestamp;
use kakitome::notification::content::{self, Limits};
use kakitome::notification::status::Life;
use kakitome::notification::{NotificationId, OnUnknown, Priority};
use kakitome::queue::sqs::{Config, SqsQueue};
use kakitome::queue::{Depth, Message, Origin, Queue, Settlement};
use serde_json::{Value, json};

use super::{Bench, NOW, attribute, config, message};

fn bare() -> Value {
    json!({
        "from": {"email": "reserve@example.jp", "name": "予約センター"},
        "to": [{"email": "guest@example.com", "name": "山田 太郎"}],
        "subject": "ご予約が確定しました",
        "text": "予約番号 8123\n\"桜\" 🌸",
        "metadata": {"booking": "8123"},
    })
}

fn stored(body: &Value) -> Bytes {
    let limits = Limits { body_bytes: 1 << 20 };
    content::encode(&content::parse(body.to_string().as_bytes(), "default", &limits).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_content_comes_back_as_the_very_bytes_with_the_life_that_began() {
    let bench = Bench::fresh().await;
    let until = Some(Timestamp::from_ms(1_900_000_000_000));
    let life = Life::accepted(Timestamp::from_ms(1_800_000_000_001), None, until, OnUnknown::Hold);
    let sent = Message {
        content: Some(stored(&bare())),
        fresh: Some(Box::new(life.clone())),
        ..message("inn-7", Priority::Transactional)
    };
    bench.send(std::slice::from_ref(&sent)).await;
    let received = bench.receive().await.pop().unwrap();
    assert_eq!((received.id, received.tenant.as_str()), (sent.id, "inn-7"));
    assert_eq!(received.content, sent.content);
    assert!(matches!(received.origin, Origin::Fresh(found) if *found == life));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_above_the_limit_and_what_sqs_refuses_is_left_to_the_log() {
    let bench = Bench::fresh().await;
    let of = |text: String| {
        let content = Some(Bytes::from(json!({ "text": text }).to_string()));
        Message { content, ..message("default", Priority::Transactional) }
    };
    let kept = of("x".repeat(60_000));
    let left = [of("x".repeat(70_000)), of("a\u{fffe}b".into()), of("a\u{ffff}b".into())];
    bench.send(std::slice::from_ref(&kept)).await;
    bench.send(&left).await;
    let received = bench.receive().await;
    assert_eq!(received.len(), 4);
    for delivery in received {
        let expected = if delivery.id == kept.id { kept.content.clone() } else { None };
        assert_eq!(delivery.content, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_of_the_largest_messages_do_not_fit_one_request_and_arrive_all_the_same() {
    let bench = Bench::fresh().await;
    let queue = SqsQueue::open(&bench.aws, Config { inline_max: usize::MAX, ..config(&bench.queues) });
    let content = Some(Bytes::from(json!({ "text": "x".repeat(400_000) }).to_string()));
    let of = |_| Message { content: content.clone(), ..message("default", Priority::Transactional) };
    let messages: Vec<_> = (0..10).map(of).collect();
    assert!(queue.send_batch(&messages).await.iter().all(Result::is_ok));
    let received = queue.receive(10, NOW).await.unwrap();
    assert!(received.iter().all(|delivery| delivery.content == content));
    assert!(!received.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bare_notification_is_delivered_with_its_content_and_keeps_its_id() {
    let bench = Bench::fresh().await;
    let mut keyed = bare();
    keyed["idempotency_key"] = "booking-8123".into();
    keyed["tenant"] = "inn-7".into();
    bench.put(&[&bare().to_string(), &keyed.to_string()]).await;
    let mut received = bench.receive().await;
    received.sort_by_key(|delivery| delivery.tenant.clone());
    let ids: Vec<_> = received.iter().map(|delivery| delivery.id).collect();
    assert_eq!(ids[1], NotificationId::derived("inn-7", "booking-8123"));
    for (delivery, body) in received.iter().zip([bare(), keyed]) {
        let Origin::Direct(notification) = &delivery.origin else { panic!("not direct") };
        assert_eq!(delivery.content, Some(stored(&body)));
        assert_eq!(content::encode(notification), stored(&body));
    }
    let again = |delivery| (delivery, Settlement::Again { after: NOW });
    bench.queue.settle(received.into_iter().map(again).collect()).await;
    let mut received = bench.receive().await;
    received.sort_by_key(|delivery| delivery.tenant.clone());
    assert_eq!(received.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), ids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_becomes_a_dead_letter_with_its_reason_and_its_neighbours_arrive() {
    let bench = Bench::fresh().await;
    let mut unknown_field = bare();
    unknown_field["recipient"] = "guest@example.com".into();
    let foul = ["not JSON: taro@example.com", &unknown_field.to_string(), r#"{"kakitome":9}"#];
    let good = bare().to_string();
    let ids = bench.put(&[foul[0], &good, foul[1], &good, foul[2]]).await;
    let received = bench.receive().await;
    assert_eq!(received.len(), 2);
    assert!(received.iter().all(|delivery| matches!(delivery.origin, Origin::Direct(_))));
    let depth = bench.queue.depth().await.unwrap();
    assert_eq!(depth, Depth { visible: 0, in_flight: 2, delayed: 0, dead: 3 });

    let mut letters = bench.look(&bench.queues.dead_letter_url).await;
    let place =
        |letter: &aws_sdk_sqs::types::Message| foul.iter().position(|body| letter.body() == Some(body));
    letters.sort_by_key(place);
    let told: Vec<_> = letters.iter().map(|letter| attribute(letter, "kakitome_reason")).collect();
    assert!(told[0].starts_with("not_json: "), "{}", told[0]);
    assert!(told[1].starts_with("invalid: /recipient: "), "{}", told[1]);
    assert!(told[2].starts_with("envelope_version: "), "{}", told[2]);
    assert!(!told.iter().any(|reason| reason.contains('@')));
    let sources: Vec<_> =
        letters.iter().map(|letter| attribute(letter, "kakitome_source_message_id")).collect();
    assert_eq!(sources, [&ids[0], &ids[2], &ids[4]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_broadcast_is_a_group_of_its_own() {
    let bench = Bench::fresh().await;
    let odd = "旅館 桜".to_owned();
    let of = [("inn-7", Priority::Transactional), ("inn-7", Priority::Bulk), (&odd, Priority::Bulk)];
    for (tenant, priority) in of {
        bench.send(&[message(tenant, priority)]).await;
    }
    let lying = bench.look(&bench.queues.queue_url).await;
    let group = |message: &aws_sdk_sqs::types::Message| {
        message.attributes.as_ref().unwrap()[&"MessageGroupId".into()].clone()
    };
    let groups: Vec<_> = lying.iter().map(group).collect();
    assert_eq!(groups[..2], ["inn-7", "inn-7/bulk"]);
    assert_eq!(groups[2].len(), 64, "a name that SQS does not take as a group is hashed: {}", groups[2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_a_receive_transactional_mail_comes_first_and_more_than_ten_can_be_asked_for() {
    let bench = Bench::fresh().await;
    let lane = |at| if at % 2 == 0 { Priority::Bulk } else { Priority::Transactional };
    let messages: Vec<_> = (0..34).map(|at| message("default", lane(at))).collect();
    bench.send(&messages).await;
    let received = bench.queue.receive(32, Duration::from_secs(1)).await.unwrap();
    assert_eq!(received.len(), 30, "in full requests: the rest comes with the next receive");
    let first_bulk = received.iter().position(|delivery| delivery.priority == Priority::Bulk).unwrap();
    assert!(received[first_bulk..].iter().all(|delivery| delivery.priority == Priority::Bulk));
}
