//! Events that were set aside go back through the events queue.

use kakitome::journal::dynamodb::DynamoJournal;
use kakitome::provider::{EventKind, ProviderEvent};
use kakitome::tracking::aside::{self, Aside};

use super::*;
use crate::conformance::aside::event;
use crate::proxy::Action;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_set_aside_is_folded_once_however_often_it_is_put_back() {
    let bench = Bench::open(&[], "").await;
    bench.accept("aside", 1).await;
    bench.wait_until_sent(1).await;
    let page = bench.world.get("/v1/notifications").await;
    let id = page["items"][0]["id"].as_str().unwrap();
    let now = Clock::system().now();
    let opened = ProviderEvent {
        provider: "sandbox".into(),
        id: id.parse().ok(),
        kind: EventKind::Opened,
        at: now,
        ..event("opened-1")
    };
    let journal = DynamoJournal::open(&bench.direct, &bench.setting("dynamodb.table"), Clock::system());
    aside::keep(&journal, &Aside::new(opened, now, "not a life", now)).await.unwrap();
    // It is sent, and nobody learns of it; then again, and the document is not ended.
    let all = json!({"all": true, "reason": "mended"});
    bench.proxy.always("SendMessageBatch", Action::LoseAnswer);
    assert_eq!(bench.world.post("/v1/events/aside/retry", &all).await.0, 503);
    bench.proxy.pass_all();
    bench.proxy.always("PutItem", Action::Fail(400, "AccessDeniedException"));
    assert_eq!(bench.world.post("/v1/events/aside/retry", &all).await.0, 503);
    bench.proxy.pass_all();
    assert_eq!(bench.world.get("/v1/events/aside").await["count"], 1);
    let (status, told) = bench.world.post("/v1/events/aside/retry", &all).await;
    assert_eq!((status, &told["count"]), (200, &json!(1)), "{told}");
    assert_eq!(bench.world.get("/v1/events/aside").await["count"], 0);
    let begun = Instant::now();
    loop {
        let waiting = bench.world.get("/v1/status").await["inbox"]["parcels"].clone();
        if waiting == 0 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{waiting} wait");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let record = bench.world.get(&format!("/v1/notifications/{id}")).await;
    let events = record["events"].as_array().unwrap();
    assert_eq!(events.iter().filter(|event| event["kind"] == "opened").count(), 1, "{record:#}");
    bench.world.close().await;
}
