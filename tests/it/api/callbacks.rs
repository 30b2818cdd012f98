//! Callbacks over HTTP: added, shown without their secrets, paused, resumed, rotated, removed.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::Request;
use kakitome::callbacks::post::{HttpCourier, Resolver};
use serde_json::{Value, json};

use super::world::{ADMIN, HOTEL, READER, Reply, World, booking_with, world_with};

/// Knows two names.
struct Names;

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match host {
            "producer.example" => Ok(vec![[8, 8, 8, 8].into()]),
            "inside.example" => Ok(vec![[10, 0, 0, 1].into()]),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

async fn world() -> World {
    world_with(|state| state.telling.courier = Some(Arc::new(HttpCourier::new(false, Arc::new(Names))))).await
}

const URL: &str = "https://producer.example/hook";

async fn add(world: &World) -> Value {
    let reply = world.post(HOTEL, "/v1/callbacks", &json!({"url": URL})).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    reply.json
}

async fn delete(world: &World, key: &str, path: &str) -> Reply {
    let request = Request::delete(path).header("authorization", format!("Bearer {key}"));
    world.send(request.body(Body::empty()).unwrap()).await
}

async fn fail_one(world: &World, name: &str) {
    let id = world.hand_in(HOTEL, &booking_with(name, json!({"tenant": "hotel"}))).await;
    world.fail(&id, "refused_400").await;
}

#[tokio::test]
async fn a_callback_is_added_listed_without_its_secret_and_removed() {
    let world = world().await;
    let made = add(&world).await;
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"));
    assert_eq!(
        (&made["callback"]["tenant"], &made["callback"]["state"]),
        (&json!("hotel"), &json!("active"))
    );
    let listed = world.get(READER, "/v1/callbacks").await;
    assert_eq!(listed.json["items"], json!([made["callback"]]));
    assert!(!listed.text.contains("whsec_"), "{}", listed.text);
    let given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let body = json!({"url": URL, "secret": given, "statuses": ["failed", "bounced"]});
    let taken = world.post(HOTEL, "/v1/callbacks", &body).await;
    assert_eq!((taken.status, &taken.json["secret"]), (201, &Value::Null), "a given one is never said again");
    let path = format!("/v1/callbacks/{}", made["callback"]["id"].as_str().unwrap());
    assert_eq!(delete(&world, READER, &path).await.status, 403);
    assert_eq!(delete(&world, HOTEL, &path).await.status, 204);
    assert_eq!(delete(&world, HOTEL, &path).await.status, 404);
    assert_eq!(world.get(ADMIN, "/v1/callbacks").await.json["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn where_nothing_may_be_posted_and_what_is_no_secret_is_refused_with_its_place() {
    let world = world().await;
    for (body, pointer, words) in [
        (json!({"url": "http://producer.example/"}), "/url", "https://"),
        (json!({"url": "https://producer.example:25/"}), "/url", "443 or 8443"),
        (json!({"url": "https://inside.example/"}), "/url", "not public"),
        (json!({"url": "https://169.254.169.254/"}), "/url", "not public"),
        (json!({"url": "https://nowhere.example/"}), "/url", "cannot be found"),
        (json!({"url": URL, "secret": "hunter2-hunter2"}), "/secret", "whsec_"),
        (json!({"url": URL, "statuses": ["opened"]}), "", "unknown value"),
    ] {
        let reply = world.post(HOTEL, "/v1/callbacks", &body).await;
        assert_eq!((reply.status, reply.pointers()), (422, vec![pointer]), "{body}: {}", reply.text);
        assert!(reply.text.contains(words) && !reply.text.contains("hunter2"), "{}", reply.text);
    }
    let foreign = world.post(HOTEL, "/v1/callbacks", &json!({"url": URL, "tenant": "default"})).await;
    assert_eq!((foreign.status, foreign.pointers()), (403, vec!["/tenant"]));
    for _ in 0..5 {
        add(&world).await;
    }
    assert_eq!(world.post(HOTEL, "/v1/callbacks", &json!({"url": URL})).await.status, 409, "five a tenant");
}

#[tokio::test]
async fn what_is_paused_goes_on_where_it_ended_or_says_what_it_skips() {
    let world = world().await;
    let made = add(&world).await;
    let path = format!("/v1/callbacks/{}", made["callback"]["id"].as_str().unwrap());
    assert_eq!(world.post(ADMIN, &format!("{path}x/pause"), &json!({})).await.status, 404);
    let paused = world.post(HOTEL, &format!("{path}/pause"), &json!({})).await;
    assert_eq!((&paused.json["state"], &paused.json["note"]), (&json!("paused"), &json!("paused by hotel")));
    let status = world.get(HOTEL, "/v1/status").await;
    assert_eq!(status.json["callbacks"][0]["id"], made["callback"]["id"]);
    for name in ["a", "b", "c"] {
        fail_one(&world, name).await;
    }
    let resumed = world.post(HOTEL, &format!("{path}/resume"), &json!({})).await;
    assert_eq!((&resumed.json["callback"]["behind"], &resumed.json["skipped"]), (&json!(3), &json!(0)));
    let skipped = world.post(HOTEL, &format!("{path}/resume"), &json!({"from": "now"})).await;
    assert_eq!((&skipped.json["callback"]["behind"], &skipped.json["skipped"]), (&json!(0), &json!(3)));
    let again = world.post(HOTEL, &format!("{path}/resume"), &json!({"from": "oldest"})).await;
    assert_eq!(again.json["callback"]["behind"], 3);
    world.clock.advance(Duration::from_secs(3600));
    fail_one(&world, "d").await;
    world.feed.prune(world.clock.now(), 10).await.unwrap();
    let lost = world.post(HOTEL, &format!("{path}/resume"), &json!({})).await;
    assert_eq!(lost.status, 409, "{}", lost.text);
    assert_eq!(world.get(HOTEL, "/v1/status").await.json["callbacks"], json!([]));
}

#[tokio::test]
async fn a_secret_is_replaced_and_the_former_one_signs_for_as_long_as_was_said() {
    let world = world().await;
    let made = add(&world).await;
    let path = format!("/v1/callbacks/{}/rotate", made["callback"]["id"].as_str().unwrap());
    let rotated = world.post(HOTEL, &path, &json!({"keep_old": "48h"})).await;
    assert_eq!((rotated.status, &rotated.json["callback"]["secrets"]), (200, &json!(2)), "{}", rotated.text);
    assert_ne!(rotated.json["secret"], made["secret"]);
    let at_once = world.post(HOTEL, &path, &json!({"keep_old": "0s"})).await;
    assert_eq!(at_once.json["callback"]["secrets"], 1);
    for (body, pointer) in
        [(json!({"keep_old": "31d"}), "/keep_old"), (json!({"secret": "whsec_x"}), "/secret")]
    {
        let reply = world.post(HOTEL, &path, &body).await;
        assert_eq!((reply.status, reply.pointers()), (422, vec![pointer]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_that_are_added_at_once_five_are() {
    let world = world().await;
    let asked = json!({"url": URL});
    let replies = futures::future::join_all((0..8).map(|_| world.post(HOTEL, "/v1/callbacks", &asked))).await;
    let mut statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 201, 201, 201, 201, 409, 409, 409]);
    let listed = world.get(HOTEL, "/v1/callbacks").await.json;
    assert_eq!(listed["items"].as_array().unwrap().len(), 5);
    let id = listed["items"][0]["id"].as_str().unwrap();
    assert_eq!(delete(&world, HOTEL, &format!("/v1/callbacks/{id}")).await.status, 204);
    add(&world).await;
    assert_eq!(world.post(HOTEL, "/v1/callbacks", &asked).await.status, 409);
}
