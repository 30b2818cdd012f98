//! The description against the router: the same routes, and answers that fit their schemas.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::world::{ADMIN, World, api_world, booking};

async fn description(world: &World) -> Value {
    let reply = world.send(Request::get("/openapi.json").body(Body::empty()).unwrap()).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"));
    reply.json
}

/// Every `$ref` anywhere in a value.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref") {
                found.push(reference.clone());
            }
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_router_serves_what_is_described_and_nothing_else() {
    let world = api_world().await;
    let api = description(&world).await;
    assert_eq!(api["openapi"], "3.1.0");
    let paths = api["paths"].as_object().unwrap();
    for (path, item) in paths {
        let allowed: Vec<String> =
            item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        let real = path.replace("{id}", "00000000-0000-0000-0000-000000000000").replace("{batch}", "news");
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let request = Request::builder().method(method).uri(&real).body(Body::empty()).unwrap();
            let reply = world.send(request).await;
            if allowed.iter().any(|allowed| allowed == method) {
                assert_ne!(reply.status, 405, "{method} {path}");
            } else {
                assert_eq!((reply.status, reply.pointers().len()), (405, 0), "{method} {path}");
                assert!(allowed.iter().all(|name| reply.header("allow").contains(name.as_str())), "{path}");
            }
        }
        let needs_key = item.as_object().unwrap().values().all(|operation| operation["security"].is_array());
        assert_eq!(needs_key, path.starts_with("/v1/"), "{path}");
    }
    assert_eq!(paths.len(), 41);
    for path in ["/", "/v1", "/v2/notifications", "/v1/notifications/", "/v1/notifications/x/explode"] {
        let reply = world.get(ADMIN, path).await;
        assert_eq!((reply.status, reply.pointers().len()), (404, 0), "{path}");
    }
}

#[tokio::test]
async fn every_reference_resolves_and_every_operation_has_its_problems() {
    let world = api_world().await;
    let api = description(&world).await;
    let mut found = Vec::new();
    references(&api, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        assert!(api.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    let mut ids = Vec::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            ids.push(operation["operationId"].as_str().unwrap().to_owned());
            assert!(operation["summary"].is_string(), "{method} {path}");
            if path.starts_with("/v1/") {
                for status in ["401", "403", "429", "503"] {
                    let schema =
                        &operation["responses"][status]["content"]["application/problem+json"]["schema"];
                    assert_eq!(schema["$ref"], "#/components/schemas/Problem", "{method} {path} {status}");
                }
            }
        }
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "operation ids are unique");
}

/// Checks required fields, unknown fields and types of a value against a schema of the description.
fn fits(api: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        return fits(api, api.pointer(reference.trim_start_matches('#')).unwrap(), value, place);
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[choice].as_array() {
            let null_is_allowed = choices.iter().any(|one| one["type"] == "null");
            if value.is_null() {
                assert!(null_is_allowed, "{place} may not be null");
                return;
            }
            if let Some(one) = choices.iter().find(|one| one["$ref"].is_string()) {
                return fits(api, one, value, place);
            }
        }
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => vec![kind],
    };
    let is_number = kind == "integer" && types.contains(&"number");
    assert!(types.contains(&kind) || is_number, "{place} is {kind}, documented as {types:?}");
    if let (Some(names), Value::String(text)) = (schema["enum"].as_array(), value) {
        assert!(names.iter().any(|name| name == text), "{place}: {text} is not documented");
    }
    if let Some(items) = value.as_array() {
        items.iter().for_each(|item| fits(api, &schema["items"], item, &format!("{place}/-")));
    }
    let (Some(fields), Some(known)) = (value.as_object(), schema["properties"].as_object()) else {
        return;
    };
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(fields.contains_key(required), "{place}/{required} is missing");
    }
    for (name, field) in fields {
        assert!(known.contains_key(name), "{place}/{name} is not documented");
        fits(api, &known[name], field, &format!("{place}/{name}"));
    }
}

#[tokio::test]
async fn real_answers_fit_their_schemas() {
    let world = api_world().await;
    let api = description(&world).await;
    let schema = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let check = |name: &str, value: &Value| fits(&api, &schema(name), value, name);

    check("Notification", &booking("b-1"));
    let enqueued = world.post(ADMIN, "/v1/notifications", &booking("b-1")).await;
    check("Enqueued", &enqueued.json);
    world.fail(&enqueued.id(), "bad_request").await;
    let record = world.record(&enqueued.id()).await;
    check("Record", &record);
    let required = api["components"]["schemas"]["Record"]["required"].as_array().map(Vec::len);
    assert_eq!(required, record.as_object().map(serde_json::Map::len), "every field is always there");
    check("RecordPage", &world.get(ADMIN, "/v1/notifications").await.json);
    check("InstanceStatus", &world.get(ADMIN, "/v1/status").await.json);
    check("JobRequest", &json!({"action": "redrive", "filter": {"batch": "tos"}, "pace": {"canary": 1}}));
    let preview = json!({"action": "redrive", "dry_run": true});
    check("JobPreview", &world.post(ADMIN, "/v1/jobs", &preview).await.json);
    check("Job", &world.post(ADMIN, "/v1/jobs", &json!({"action": "hold", "all": true})).await.json);
    check("JobPage", &world.get(ADMIN, "/v1/jobs").await.json);
    check("Stops", &world.get(ADMIN, "/v1/stops").await.json);
    check("InstanceStatus", &world.get(ADMIN, "/v1/status?prove=true").await.json);
    check("Incident", &world.get(ADMIN, "/v1/incident?since=1h").await.json);
    let batch = world.post_raw(ADMIN, "/v1/notifications/batch", &[], format!("{}\nx", booking("b-2"))).await;
    check("Enqueued", &batch.json["results"][0]);
    check("Problem", &batch.json["results"][1]["error"]);
    check("Problem", &world.post(ADMIN, "/v1/notifications", &json!({"to": 1})).await.json);
    check("Problem", &world.get("wrong", "/v1/notifications").await.json);
    assert_eq!(api["components"]["schemas"]["Notification"]["additionalProperties"], false);
}
