//! The suppression list over HTTP: who may see and change it, and what is refused.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::world::{ADMIN, HOTEL, READER, Reply, SENDER, World, api_world};

const PATH: &str = "/v1/suppressions";

async fn listed(world: &World, key: &str, query: &str) -> Vec<(String, String, String)> {
    let reply = world.get(key, &format!("{PATH}{query}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let items = reply.json["items"].as_array().unwrap();
    items.iter().map(|one| (text(&one["tenant"]), text(&one["email"]), text(&one["reason"]))).collect()
}

async fn delete(world: &World, key: &str, query: &str) -> Reply {
    let request = Request::delete(format!("{PATH}{query}")).header("authorization", format!("Bearer {key}"));
    world.send(request.body(Body::empty()).unwrap()).await
}

fn is(tenant: &str, email: &str, reason: &str) -> (String, String, String) {
    (tenant.into(), email.into(), reason.into())
}

#[tokio::test]
async fn one_entry_is_added_listed_and_taken_off() {
    let world = api_world().await;
    let entry = json!({"email": "Guest@Example.com", "note": "asked by telephone"});
    let reply = world.post(HOTEL, PATH, &entry).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json, json!({"email": "Guest@Example.com", "reason": "manual", "added": true}));
    assert_eq!(world.post(HOTEL, PATH, &entry).await.json["added"], false);
    let reply = world.get(HOTEL, &format!("{PATH}?address=guest@example.com")).await;
    assert_eq!(
        reply.json["items"],
        json!([{"email": "Guest@Example.com", "tenant": "hotel", "reason": "manual",
            "source": {"kind": "operator", "who": "hotel", "at": "2026-11-21T09:00:00.000Z",
                "note": "asked by telephone"},
            "created_at": "2026-11-21T09:00:00.000Z"}])
    );
    let reply = delete(&world, HOTEL, "?address=guest@example.com&note=works+again").await;
    assert_eq!((reply.status, &reply.json), (200, &json!({"removed": 1})), "{}", reply.text);
    assert_eq!(listed(&world, HOTEL, "").await, []);
    let reply = world.get(HOTEL, &format!("{PATH}?removed=true")).await;
    assert_eq!(reply.json["items"][0]["removed"]["note"], "works again");
    assert_eq!(reply.json["items"][0]["removed"]["who"], "hotel");
    assert_eq!(delete(&world, HOTEL, "?address=guest@example.com").await.json, json!({"removed": 0}));
}

#[tokio::test]
async fn a_key_never_sees_or_changes_another_tenants_list() {
    let world = api_world().await;
    world.post(HOTEL, PATH, &json!({"email": "a@example.com"})).await;
    world.post(ADMIN, PATH, &json!({"email": "a@example.com", "tenant": "inn"})).await;
    assert_eq!(listed(&world, HOTEL, "").await, [is("hotel", "a@example.com", "manual")]);
    assert_eq!(listed(&world, READER, "").await.len(), 1);
    assert_eq!(listed(&world, ADMIN, "").await.len(), 2);
    assert_eq!(listed(&world, ADMIN, "?tenant=inn").await, [is("inn", "a@example.com", "manual")]);
    for reply in [
        world.get(HOTEL, &format!("{PATH}?tenant=inn")).await,
        world.post(HOTEL, PATH, &json!({"email": "b@example.com", "tenant": "inn"})).await,
        delete(&world, HOTEL, "?address=a@example.com&tenant=inn").await,
        world
            .post(HOTEL, &format!("{PATH}/remove"), &json!({"addresses": ["a@example.com"], "tenant": "inn"}))
            .await,
    ] {
        assert_eq!((reply.status, reply.pointers()), (403, vec!["/tenant"]), "{}", reply.text);
    }
    let mixed = json!([{"email": "c@example.com", "tenant": "inn"}, {"email": "c@example.com"}]);
    let reply = world.post(HOTEL, PATH, &mixed).await;
    assert_eq!(reply.json["results"][0]["error"]["status"], 403);
    assert_eq!(reply.json["results"][1]["added"], true);
    assert_eq!(delete(&world, HOTEL, "?address=a@example.com").await.json["removed"], 1);
    assert_eq!(listed(&world, ADMIN, "?address=a@example.com").await, [is("inn", "a@example.com", "manual")]);
    for key in [READER, SENDER] {
        assert_eq!(world.post(key, PATH, &json!({"email": "d@example.com"})).await.status, 403);
        assert_eq!(delete(&world, key, "?address=c@example.com").await.status, 403);
    }
    assert_eq!(world.get(SENDER, PATH).await.status, 403);
}

#[tokio::test]
async fn one_bad_entry_never_spoils_its_neighbours_and_every_fault_has_its_place() {
    let world = api_world().await;
    let lines = [
        json!({"email": "a@example.com", "reason": "bounce"}),
        json!({"email": "nobody", "note": "x".repeat(201), "group": "7"}),
        json!({"email": "b@example.com", "reason": "vip"}),
        json!({"email": "c@example.com", "colour": "red"}),
        json!({"reason": "bounce"}),
        json!({"email": "d@example.com", "reason": "unsubscribe", "group": "7"}),
    ];
    let ndjson = lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let headers = [("content-type", "application/x-ndjson")];
    let reply = world.post_raw(HOTEL, PATH, &headers, ndjson).await;
    assert_eq!(reply.status, 207, "{}", reply.text);
    let results = reply.json["results"].as_array().unwrap();
    let status = |n: usize| results[n]["error"]["status"].as_u64();
    assert_eq!(
        (0..6).map(status).collect::<Vec<_>>(),
        [None, Some(422), Some(422), Some(422), Some(422), None]
    );
    let pointers: Vec<_> =
        results[1]["error"]["errors"].as_array().unwrap().iter().map(|one| one["pointer"].clone()).collect();
    assert_eq!(pointers, ["/note", "/group", "/email"]);
    assert!(!reply.text.contains("vip") && !reply.text.contains("nobody"), "{}", reply.text);
    assert_eq!(listed(&world, HOTEL, "").await.len(), 2);
    // One alone is answered like one alone.
    let reply = world.post(HOTEL, PATH, &json!({"email": "nobody"})).await;
    assert_eq!((reply.status, reply.pointers()), (422, vec!["/email"]));
    let many: Vec<_> = (0..1001).map(|i| json!({"email": format!("g{i}@example.com")})).collect();
    assert_eq!(world.post(HOTEL, PATH, &json!(many)).await.status, 413);
    let reply = world.post(HOTEL, PATH, &json!(many[..1000])).await;
    assert_eq!(reply.json["results"].as_array().unwrap().len(), 1000);
}

#[tokio::test]
async fn a_listing_refuses_what_it_does_not_know_and_pages_through_the_rest() {
    let world = api_world().await;
    let many: Vec<_> =
        (0..25).map(|i| json!({"email": format!("g{i}@example.com"), "reason": "bounce"})).collect();
    world.post(HOTEL, PATH, &json!(many)).await;
    for (query, pointer) in [
        ("?reason=vip", "/reason"),
        ("?address=nobody", "/address"),
        ("?since=yesterday", "/since"),
        ("?limit=0", "/limit"),
        ("?limit=1001", "/limit"),
        ("?removed=maybe", "/removed"),
        ("?cursor=x", "/cursor"),
        ("?colour=red", ""),
    ] {
        let reply = world.get(HOTEL, &format!("{PATH}{query}")).await;
        assert_eq!((reply.status, reply.pointers()), (422, vec![pointer]), "{query}");
    }
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let reply = world.get(HOTEL, &format!("{PATH}?limit=10&reason=bounce&cursor={cursor}")).await;
        found.extend(reply.json["items"].as_array().unwrap().iter().map(|one| one["email"].to_string()));
        let Some(next) = reply.json["next_cursor"].as_str() else { break };
        cursor = next.to_owned();
    }
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 25);
    assert_eq!(listed(&world, HOTEL, "?since=1h").await.len(), 25);
    assert_eq!(listed(&world, HOTEL, "?since=2027-01-01T00:00:00Z").await.len(), 0);
}

#[tokio::test]
async fn many_are_counted_first_and_then_taken_off() {
    let world = api_world().await;
    let quoted = "\"a..b\"@docomo.ne.jp";
    let entries = json!([{"email": quoted, "reason": "bounce"}, {"email": quoted, "reason": "unsubscribe"},
        {"email": "b@example.com", "reason": "bounce"}]);
    world.post(HOTEL, PATH, &entries).await;
    let path = format!("{PATH}/remove");
    let addresses = json!(["a..b@docomo.ne.jp", quoted, "nobody", "c@example.com"]);
    let count = world.post(HOTEL, &path, &json!({"addresses": addresses, "dry_run": true})).await;
    assert_eq!(count.status, 207, "{}", count.text);
    let removed = |reply: &Reply| {
        let results = reply.json["results"].as_array().unwrap().iter();
        results.map(|one| one["removed"].as_u64()).collect::<Vec<_>>()
    };
    assert_eq!(removed(&count), [Some(2), Some(0), None, Some(0)]);
    assert_eq!(listed(&world, HOTEL, "").await.len(), 3, "only counted");
    let of_bounce = json!({"addresses": addresses, "reason": "bounce", "note": "mailbox is back"});
    assert_eq!(removed(&world.post(HOTEL, &path, &of_bounce).await), [Some(1), Some(0), None, Some(0)]);
    assert_eq!(
        listed(&world, HOTEL, "").await,
        [is("hotel", quoted, "unsubscribe"), is("hotel", "b@example.com", "bounce")]
    );
    for (body, pointer) in [
        (json!({"addresses": []}), "/addresses"),
        (json!({"addresses": ["a@example.com"], "note": "x".repeat(201)}), "/note"),
        (json!({"addresses": ["a@example.com"], "tenant": ""}), "/tenant"),
        (json!({"addresses": ["a@example.com"], "reason": "vip"}), ""),
    ] {
        let reply = world.post(HOTEL, &path, &body).await;
        assert_eq!((reply.status, reply.pointers()), (422, vec![pointer]), "{body}");
    }
}
