//! What SQS may answer and no emulator does.

use std::time::{Duration, Instant};

use futures::future::join_all;
use kakitome::notification::Priority;
use kakitome::queue::sqs::SqsQueue;
use kakitome::queue::{Message, Queue, QueueError, Settlement};
use kakitome::shutdown;
use serde_json::{Value, json};

use super::scripted::{self, all_done, refusal};
use super::{Bench, NOW, aws, config, fresh_queues, message};

fn messages(count: usize) -> Vec<Message> {
    (0..count).map(|_| message("default", Priority::Transactional)).collect()
}

fn failed(id: &str, code: &str, is_its_own: bool) -> Value {
    json!({ "Id": id, "Code": code, "SenderFault": is_its_own, "Message": "as scripted" })
}

fn unavailable(result: &Result<(), QueueError>) -> String {
    let Err(QueueError::Unavailable(words)) = result else { panic!("{result:?}") };
    words.clone()
}

fn received(count: usize, body: &str) -> Value {
    let one = |at| {
        json!({
            "MessageId": format!("m-{at}"), "ReceiptHandle": format!("r-{at}"), "Body": body,
            "Attributes": { "ApproximateReceiveCount": "1", "SentTimestamp": "1800000000000" },
        })
    };
    json!({ "Messages": (0..count).map(one).collect::<Vec<_>>() })
}

fn envelope() -> String {
    let id = message("t", Priority::Bulk).id;
    json!({ "kakitome": 1, "id": id, "tenant": "t" }).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_fails_in_part_fails_for_those_entries_and_what_was_no_fault_of_theirs_is_tried_alone() {
    let (bench, asked) = scripted::start(|_, body, before| {
        if before > 0 {
            return all_done(body);
        }
        let done = json!([{ "Id": "0", "MessageId": "m", "MD5OfMessageBody": "x" }]);
        // Entry 3 is named nowhere.
        let failed =
            json!([failed("1", "InternalError", false), failed("2", "InvalidMessageContents", true)]);
        (200, json!({ "Successful": done, "Failed": failed }))
    })
    .await;
    let sent = bench.queue.send_batch(&messages(4)).await;
    assert!(sent[0].is_ok() && sent[1].is_ok() && sent[3].is_ok(), "{sent:?}");
    assert_eq!(unavailable(&sent[2]), "InvalidMessageContents: as scripted");
    let asked = asked.of("SendMessageBatch");
    assert_eq!(asked.len(), 2);
    let bodies = |call: &Value| -> Vec<Value> {
        call["Entries"].as_array().unwrap().iter().map(|entry| entry["MessageBody"].clone()).collect()
    };
    let first = bodies(&asked[0]);
    assert_eq!(bodies(&asked[1]), [first[1].clone(), first[3].clone()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_is_never_taken_is_an_error_after_three_tries_in_all_three_batched_calls() {
    let (bench, asked) = scripted::start(|action, body, _| {
        if action == "ReceiveMessage" {
            return (200, received(2, &envelope()));
        }
        let entries = body["Entries"].as_array().unwrap();
        let (kept, done): (Vec<_>, Vec<_>) =
            entries.iter().partition(|entry| entry["Id"] == "1" || entries.len() == 1);
        let ids = |entries: Vec<&Value>| -> Vec<String> {
            entries.iter().map(|entry| entry["Id"].as_str().unwrap().to_owned()).collect()
        };
        let done: Vec<_> = ids(done)
            .iter()
            .map(|id| json!({ "Id": id, "MessageId": "m", "MD5OfMessageBody": "x" }))
            .collect();
        let kept: Vec<_> = ids(kept).iter().map(|id| failed(id, "InternalError", false)).collect();
        (200, json!({ "Successful": done, "Failed": kept }))
    })
    .await;
    let sent = bench.queue.send_batch(&messages(2)).await;
    assert!(sent[0].is_ok());
    assert!(unavailable(&sent[1]).starts_with("InternalError"));
    assert_eq!(asked.of("SendMessageBatch").len(), 3);
    let deliveries = bench.queue.receive(10, NOW).await.unwrap();
    let receipts: Vec<_> = deliveries.iter().map(|delivery| delivery.receipt.clone()).collect();
    let extended = bench.queue.extend(&receipts, Duration::from_secs(5)).await;
    assert!(extended[0].is_ok() && extended[1].is_err(), "{extended:?}");
    assert_eq!(asked.of("ChangeMessageVisibilityBatch").len(), 3);
    let done = deliveries.into_iter().map(|delivery| (delivery, Settlement::Done)).collect();
    let settled = bench.queue.settle(done).await;
    assert!(settled[0].is_ok() && settled[1].is_err(), "{settled:?}");
    assert_eq!(asked.of("DeleteMessageBatch").len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_spoils_its_whole_request_is_the_only_one_to_fail() {
    let (bench, _) = scripted::start(|_, body, _| {
        let is_large = |entry: &Value| entry["MessageGroupId"] == "large";
        let spoilt = body["Entries"].as_array().unwrap().iter().any(is_large);
        if spoilt { refusal("BatchRequestTooLong") } else { all_done(body) }
    })
    .await;
    let mut sent = messages(3);
    sent[1].tenant = "large".into();
    let sent = bench.queue.send_batch(&sent).await;
    assert!(sent[0].is_ok() && sent[2].is_ok(), "{sent:?}");
    assert_eq!(unavailable(&sent[1]), "BatchRequestTooLong: BatchRequestTooLong, as scripted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_at_the_same_time_share_requests() {
    let (bench, asked) = scripted::start(|_, body, _| all_done(body)).await;
    let messages = messages(200);
    let sent = join_all(messages.iter().map(|one| bench.queue.send_batch(std::slice::from_ref(one)))).await;
    assert!(sent.iter().flatten().all(Result::is_ok));
    let requests = asked.of("SendMessageBatch").len();
    assert!((20..50).contains(&requests), "{requests} requests for 200 messages");
}

/// Three requests for ten notifications: the budget of the way through the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notifications_way_costs_three_tenths_of_a_request() {
    const COUNT: usize = 400;
    let (bench, asked) = scripted::start(|action, body, _| match action {
        "ReceiveMessage" => (200, received(10, &envelope())),
        _ => all_done(body),
    })
    .await;
    assert!(bench.queue.send_batch(&messages(COUNT)).await.iter().all(Result::is_ok));
    for _ in 0..COUNT / 40 {
        let deliveries = bench.queue.receive(40, Duration::from_secs(20)).await.unwrap();
        assert_eq!(deliveries.len(), 40);
        // The scripted receipts are the same in each answer.
        let ends = deliveries.into_iter().enumerate().map(|(at, mut delivery)| {
            delivery.receipt.0 = at.to_string();
            (delivery, Settlement::Done)
        });
        assert!(bench.queue.settle(ends.collect()).await.iter().all(Result::is_ok));
    }
    let of = |action| asked.of(action).len();
    let requests = [of("SendMessageBatch"), of("ReceiveMessage"), of("DeleteMessageBatch")];
    // The first request of a burst may go out before the burst is all there.
    assert!(requests.iter().sum::<usize>() * 100 <= COUNT * 31, "{requests:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_of_twenty_seconds_that_brings_nothing_is_no_error() {
    let bench = Bench::fresh().await;
    let begun = Instant::now();
    assert!(bench.queue.receive(10, Duration::from_secs(60)).await.unwrap().is_empty());
    assert!((19..25).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_in_flight_and_missing_permission_are_told_in_words() {
    let (bench, _) = scripted::start(|_, _, before| {
        refusal(if before == 0 { "OverLimit" } else { "AccessDeniedException" })
    })
    .await;
    let mut words = Vec::new();
    for _ in 0..2 {
        words.push(bench.queue.receive(10, NOW).await.unwrap_err().to_string());
    }
    assert!(words[0].contains("120,000"), "{}", words[0]);
    assert!(words[1].contains("AccessDeniedException"), "{}", words[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_ends_a_receive_in_its_own_time() {
    // It takes connections and never reads.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let aws = super::emulator::connect(&url, &url).await;
    let queue = SqsQueue::open(&aws, config(&fresh_queues()));
    let begun = Instant::now();
    let answer = queue.receive(10, Duration::from_secs(1)).await;
    assert!(matches!(answer, Err(QueueError::Unavailable(_))), "{answer:?}");
    assert!((5..10).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_moved_to_the_dead_letters_stays_and_its_neighbours_arrive() {
    let (bench, asked) = scripted::start(|action, body, _| match action {
        "ReceiveMessage" => {
            let mut both = received(2, &envelope());
            both["Messages"][0]["Body"] = "not JSON".into();
            (200, both)
        }
        "SendMessageBatch" => refusal("AccessDeniedException"),
        _ => all_done(body),
    })
    .await;
    let deliveries = bench.queue.receive(10, NOW).await.unwrap();
    assert_eq!(deliveries.iter().map(|delivery| delivery.receipt.0.as_str()).collect::<Vec<_>>(), ["r-1"]);
    assert_eq!(asked.of("DeleteMessageBatch").len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_received_twice_at_once_is_named_once_in_a_request() {
    let (bench, asked) = scripted::start(|action, body, _| match action {
        "ReceiveMessage" => {
            let mut both = received(2, &envelope());
            both["Messages"][1] = both["Messages"][0].clone();
            (200, both)
        }
        _ => all_done(body),
    })
    .await;
    let deliveries = bench.queue.receive(10, NOW).await.unwrap();
    assert_eq!(deliveries.len(), 2);
    let done = deliveries.into_iter().map(|delivery| (delivery, Settlement::Done)).collect();
    assert!(bench.queue.settle(done).await.iter().all(Result::is_ok));
    assert_eq!(asked.of("DeleteMessageBatch")[0]["Entries"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_not_taken_leaves_the_message_where_it_is() {
    let (bench, asked) = scripted::start(|action, body, _| match action {
        "ReceiveMessage" => (200, received(2, &envelope())),
        "SendMessageBatch" => (500, json!({ "__type": "InternalError" })),
        _ => all_done(body),
    })
    .await;
    let deliveries = bench.queue.receive(10, NOW).await.unwrap();
    let ends =
        [Settlement::Again { after: Duration::from_secs(90) }, Settlement::Dead { reason: "x".into() }];
    let settled = bench.queue.settle(deliveries.into_iter().zip(ends).collect()).await;
    assert!(matches!(settled[..], [Err(QueueError::Unavailable(_)), Err(QueueError::Unavailable(_))]));
    assert_eq!(asked.of("DeleteMessageBatch").len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_does_not_exist_is_an_error_and_is_not_made() {
    let aws = aws().await;
    let queues = fresh_queues();
    let queue = SqsQueue::open(&aws, config(&queues));
    let mut told = vec![queue.receive(10, NOW).await.unwrap_err(), queue.depth().await.unwrap_err()];
    told.extend(queue.send_batch(&messages(1)).await.into_iter().filter_map(Result::err));
    assert_eq!(told.len(), 3);
    for error in told {
        let words = error.to_string();
        assert!(words.contains(&queues.queue_url) && words.contains("kakitome setup"), "{words}");
    }
    let name = queues.queue_url.rsplit('/').next().unwrap();
    let there = aws.sqs.list_queues().queue_name_prefix(name).send().await.unwrap();
    assert_eq!(there.queue_urls(), [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_pull_nothing_is_received_and_what_an_open_poll_brings_is_handed_over() {
    let bench = Bench::fresh().await;
    let (trigger, signal) = shutdown::channel();
    let queue = std::sync::Arc::new(SqsQueue::open(&bench.aws, config(&bench.queues)).waiting_until(signal));
    let (polling, polled) = tokio::sync::oneshot::channel();
    let open = tokio::spawn({
        let queue = queue.clone();
        async move {
            polling.send(()).unwrap();
            queue.receive(10, Duration::from_secs(20)).await
        }
    });
    polled.await.unwrap();
    trigger.pull();
    bench.send(&messages(1)).await;
    let brought = open.await.unwrap().unwrap();
    if brought.is_empty() {
        // The pull was seen before the poll began.
        assert_eq!(bench.receive().await.len(), 1);
    }
    bench.send(&messages(1)).await;
    assert!(queue.receive(10, NOW).await.unwrap().is_empty());
    assert_eq!(bench.receive().await.len(), 1);
}
