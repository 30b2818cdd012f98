//! Producers that put bare notifications straight on the queue.

use super::*;

impl Bench {
    async fn put(&self, body: &str) {
        self.direct.sqs.send_message().queue_url(self.queue_url()).message_body(body).send().await.unwrap();
    }

    /// The records of this recipient, once there is one with this status.
    async fn found(&self, key: &str, status: &str) -> Value {
        let path = format!("/v1/notifications?recipient=guest.{key}@example.com");
        let begun = Instant::now();
        loop {
            let page = self.world.get(&path).await;
            let items = page["items"].as_array().cloned().unwrap_or_default();
            if items.len() == 1 && items[0]["status"] == status {
                return items[0].clone();
            }
            assert!(begun.elapsed() < PATIENCE, "{page:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn ahead(span: Duration) -> Value {
    json!(Clock::system().now().plus(span).to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bare_notification_is_sent_and_shown_with_its_tenant_and_once_for_its_key() {
    let bench = Bench::open(&[], "").await;
    let mut of_inn = booking("inn");
    of_inn["tenant"] = "inn-7".into();
    let mut no_key = booking("nokey");
    no_key.as_object_mut().unwrap().remove("idempotency_key");
    for body in [&of_inn, &of_inn, &no_key] {
        bench.put(&body.to_string()).await;
    }
    assert_eq!(bench.found("inn", "sent").await["tenant"], "inn-7");
    assert_eq!(bench.found("nokey", "sent").await["tenant"], "default");
    // The API's acceptance first, then the queue; and the other way round.
    bench.world.accept("both", |_| {}).await;
    bench.put(&booking("both").to_string()).await;
    bench.found("both", "sent").await;
    let (status, answer) = bench.world.post("/v1/notifications", &of_inn).await;
    assert_eq!((status, &answer["duplicate"]), (200, &json!(true)), "{answer}");
    let mut other = booking("both");
    other["subject"] = "another".into();
    bench.put(&other.to_string()).await;
    let begun = Instant::now();
    while bench.world.get("/v1/status").await["queue"]["dead"] != 1 {
        assert!(begun.elapsed() < PATIENCE, "what contradicts a key is a dead letter");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bench.all_sent_once(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_a_dead_letter_with_its_reason_and_its_neighbours_are_sent() {
    let bench = Bench::open(&[], "").await;
    let mut wrong = booking("wrong");
    wrong["recipient"] = "x".into();
    let bodies =
        ["no JSON".to_owned(), booking("a").to_string(), wrong.to_string(), booking("b").to_string()];
    for body in &bodies {
        bench.put(body).await;
    }
    bench.found("a", "sent").await;
    bench.found("b", "sent").await;
    let mut reasons = Vec::new();
    let begun = Instant::now();
    while reasons.len() < 2 {
        let call = bench.direct.sqs.receive_message().queue_url(bench.dead_letter_url());
        let call = call.max_number_of_messages(10).message_attribute_names("All").send().await.unwrap();
        for letter in call.messages.unwrap_or_default() {
            let attributes = letter.message_attributes.unwrap();
            reasons.push(attributes["kakitome_reason"].string_value.clone().unwrap());
        }
        assert!(begun.elapsed() < PATIENCE, "{reasons:?}");
    }
    reasons.sort();
    assert!(reasons[0].starts_with("invalid: /recipient"), "{reasons:?}");
    assert!(reasons[1].starts_with("not_json: "), "{reasons:?}");
    bench.all_sent_once(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bare_notification_keeps_its_time_and_its_deadline() {
    let bench = Bench::open(&[], "").await;
    let mut soon = booking("soon");
    let due = Clock::system().now().plus(Duration::from_secs(3));
    soon["deliver_at"] = json!(due.to_string());
    let mut far = booking("far");
    far["deliver_at"] = ahead(Duration::from_secs(30 * 3600));
    let mut late = booking("late");
    late["useful_until"] = "2026-01-01T00:00:00Z".into();
    for body in [&soon, &far, &late] {
        bench.put(&body.to_string()).await;
    }
    bench.found("far", "scheduled").await;
    bench.found("late", "expired").await;
    let sent = bench.found("soon", "sent").await;
    let sent_at = sent["sent_at"].as_str().and_then(kakitome::clock::Timestamp::parse).unwrap();
    assert!(sent_at >= due, "{sent:#}");
    // The one far ahead waits in the log alone.
    let begun = Instant::now();
    loop {
        let queue = bench.world.get("/v1/status").await["queue"].clone();
        if ["visible", "in_flight", "delayed"].iter().all(|place| queue[place] == 0) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{queue:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let id = bench.found("far", "scheduled").await["id"].as_str().unwrap().to_owned();
    let (status, _) = bench.world.post(&format!("/v1/notifications/{id}/cancel"), &json!({})).await;
    assert_eq!(status, 200);
    bench.all_sent_once(1).await;
}
