//! The same message at two workers at once.

use std::sync::Mutex;

use super::*;
use crate::proxy::Action;

/// Every message of an answer stands there twice, and once more in the next one to the other worker.
fn doubling(own: &Arc<Mutex<Vec<Value>>>, other: &Arc<Mutex<Vec<Value>>>) -> Action {
    let (own, other) = (own.clone(), other.clone());
    Action::rewrite(move |_, answer| {
        let new = answer["Messages"].as_array().cloned().unwrap_or_default();
        other.lock().unwrap().extend(new.clone());
        let theirs = std::mem::take(&mut *own.lock().unwrap());
        let all: Vec<Value> = new.iter().chain(&new).chain(&theirs).cloned().collect();
        *answer = if all.is_empty() { json!({}) } else { json!({ "Messages": all }) };
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_message_at_two_workers_at_once_is_one_mail() {
    let first = Bench::open(&[], "outage:for=1h:mode=refuse").await;
    let other_way = Proxy::before(&Emulator::ministack().url).await;
    let place =
        Place { sqs_url: other_way.url.clone(), dynamodb_url: other_way.url.clone(), ..first.place.clone() };
    let sandbox = first.world.sandbox().url();
    let settings: Vec<_> = PATIENT.into_iter().chain([("sandbox.url", sandbox.as_str())]).collect();
    let second = World::open_on_aws(place, &settings, "").await;
    let (at_first, at_second) = (Arc::default(), Arc::default());
    first.proxy.always("ReceiveMessage", doubling(&at_first, &at_second));
    other_way.always("ReceiveMessage", doubling(&at_second, &at_first));
    first.world.play("");
    first.accept("doubled", 100).await;
    first.wait_until_sent(100).await;
    let received = |proxy: &Proxy| {
        let seen = proxy.seen();
        seen.iter().filter_map(|seen| seen.answer["Messages"].as_array()).map(Vec::len).sum::<usize>()
    };
    assert!(received(&first.proxy) > 0 && received(&other_way) > 0, "both workers received");
    second.leave().await;
    first.all_sent_once(100).await;
}
