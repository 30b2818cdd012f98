//! The operators' page: what is served, and that it asks nothing that the API does not answer.

use kakitome::console;
use reqwest::{Client, Method, Response};

use super::world::World;

async fn ask(world: &World, method: Method, path: &str) -> Response {
    let http = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    http.request(method, format!("{}{path}", world.url())).send().await.unwrap()
}

async fn text(world: &World, path: &str) -> String {
    ask(world, Method::GET, path).await.text().await.unwrap()
}

fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn the_page_and_its_files_need_no_key_and_have_strict_headers() {
    let world = World::open(&[], "").await;
    for (path, media) in [
        (console::PATH, "text/html; charset=utf-8"),
        ("/console/app.js", "text/javascript; charset=utf-8"),
        ("/console/app.css", "text/css; charset=utf-8"),
        ("/console/icon.svg", "image/svg+xml"),
    ] {
        let response = ask(&world, Method::GET, path).await;
        assert_eq!((response.status().as_u16(), header(&response, "content-type")), (200, media.into()));
        let policy = header(&response, "content-security-policy");
        assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        assert_eq!(header(&response, "x-frame-options"), "DENY");
        assert_eq!(header(&response, "referrer-policy"), "no-referrer");
        assert_eq!(header(&response, "cache-control"), "no-cache");
        assert!(!response.text().await.unwrap().is_empty());
        let head = ask(&world, Method::HEAD, path).await;
        assert_eq!((head.status().as_u16(), header(&head, "content-type")), (200, media.into()));
    }
    world.close().await;
}

#[tokio::test]
async fn other_paths_and_methods_under_the_console_are_refused_as_everywhere() {
    let world = World::open(&[], "").await;
    for path in [console::PATH, "/console/", "/console/app.js"] {
        let response = ask(&world, Method::POST, path).await;
        assert_eq!(response.status(), 405, "{path}");
        assert_eq!(header(&response, "allow"), "GET,HEAD");
        assert_eq!(header(&response, "content-type"), "application/problem+json");
    }
    for path in ["/console/console.js", "/console/app.js/x", "/console/%2e%2e/api-key", "/consol"] {
        let response = ask(&world, Method::GET, path).await;
        assert_eq!((response.status().as_u16(), path), (404, path));
        assert_eq!(header(&response, "content-type"), "application/problem+json");
    }
    let slash = ask(&world, Method::GET, "/console/").await;
    assert_eq!((slash.status().as_u16(), header(&slash, "location")), (308, console::PATH.into()));
    world.close().await;
}

/// The values of an attribute in the page, or the string literals of the script.
fn between<'a>(text: &'a str, open: &str, close: char) -> Vec<&'a str> {
    text.split(open).skip(1).filter_map(|rest| rest.split(close).next()).collect()
}

#[tokio::test]
async fn the_page_has_nothing_inline_and_nothing_from_elsewhere() {
    let world = World::open(&[], "").await;
    let page = text(&world, console::PATH).await;
    assert!(!page.contains("style=") && !page.contains("<style") && !page.contains("javascript:"));
    assert!(!page.split_whitespace().any(|word| word.starts_with("on") && word.contains("=\"")), "a handler");
    for script in between(&page, "<script", '<') {
        assert!(script.contains(" src=\"/console/") && script.trim_end().ends_with('>'), "{script}");
    }
    for link in between(&page, "href=\"", '"').into_iter().chain(between(&page, "src=\"", '"')) {
        assert!(link.starts_with('#') || link.starts_with("/console/"), "{link}");
    }
    let script = text(&world, "/console/app.js").await;
    let style = text(&world, "/console/app.css").await;
    for hole in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "localStorage"] {
        assert!(!script.contains(hole), "{hole}");
    }
    for elsewhere in ["http://", "https://", "@import", "url("] {
        assert!(!script.contains(elsewhere) && !style.contains(elsewhere), "{elsewhere}");
    }
    world.close().await;
}

#[tokio::test]
async fn whatever_the_script_asks_the_api_answers() {
    let world = World::open(&[], "").await;
    let script = text(&world, "/console/app.js").await;
    let asked: Vec<_> =
        between(&script, "\"/v1/", '"').into_iter().map(|path| format!("/v1/{path}")).collect();
    assert!(asked.len() >= 7, "{asked:?}");
    let described = world.get("/openapi.json").await;
    for path in &asked {
        let is_act = path.contains("{id}/");
        let operation = &described["paths"][path][if is_act { "post" } else { "get" }];
        assert!(operation.is_object(), "{path} is not in the description");
    }
    assert_eq!(script.matches("/v1/").count(), asked.len(), "a path that is put together cannot be checked");
    world.close().await;
}

#[tokio::test]
async fn the_script_knows_every_status() {
    let world = World::open(&[], "").await;
    let script = text(&world, "/console/app.js").await;
    let stand = world.get("/v1/status").await;
    for status in stand["by_status"].as_object().unwrap().keys() {
        assert!(script.contains(&format!("\"{status}\"")), "{status}");
    }
    world.close().await;
}

/// The page and `status` are to come to the same verdict.
#[tokio::test]
async fn the_script_looks_at_everything_that_may_be_wrong() {
    let world = World::open(&[], "").await;
    let script = text(&world, "/console/app.js").await;
    let stand = world.get("/v1/status").await;
    for field in ["providers", "jobs", "queue", "oldest_unsent_seconds", "inbox", "unconfirmed", "callbacks"]
    {
        assert!(stand.get(field).is_some() && script.contains(&format!("stand.{field}")), "{field}");
    }
    world.close().await;
}

#[tokio::test]
async fn the_page_is_told_from_when_on_a_wait_is_an_alert() {
    let world = World::open(&[("alert.delay", "90s")], "").await;
    let page = text(&world, console::PATH).await;
    assert!(page.contains("data-alert-seconds=\"90\""));
    world.close().await;
}
