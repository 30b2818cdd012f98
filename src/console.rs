//! The operators' page: a static page that asks the public HTTP API with the key that its reader types in. Has no door
//! of its own to the storage, no session and no state; what it may do is what the key may do.

use std::time::Duration;

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;

use crate::server::problem::Problem;

/// Where the page is.
pub const PATH: &str = "/console";

const PAGE: &str = include_str!("console/page.html");
const SCRIPT: &str = include_str!("console/console.js");
const STYLE: &str = include_str!("console/console.css");
const ICON: &str = include_str!("console/icon.svg");

/// On every answer. The page shows what providers and producers wrote, with a key at hand that can do everything: so
/// nothing but its own files may run, be embedded, embed it, or be reached from it.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    // An old script must not meet a new API.
    (CACHE_CONTROL, "no-cache"),
];

/// What the page is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// An unsent notification that waits longer is not all right.
    pub alert_delay: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { alert_delay: Duration::from_secs(600) }
    }
}

/// The page and its files under [`PATH`]. Leaves paths that it does not know to the router it is merged into.
pub fn router(config: &Config) -> Router {
    let page = PAGE.replace("{alert_seconds}", &config.alert_delay.as_secs().to_string());
    let files = [
        (PATH, "text/html; charset=utf-8", Bytes::from(page)),
        ("/console/app.js", "text/javascript; charset=utf-8", Bytes::from_static(SCRIPT.as_bytes())),
        ("/console/app.css", "text/css; charset=utf-8", Bytes::from_static(STYLE.as_bytes())),
        ("/console/icon.svg", "image/svg+xml", Bytes::from_static(ICON.as_bytes())),
    ];
    let slash = get(async || Redirect::permanent(PATH)).fallback(only_get);
    files
        .into_iter()
        .fold(Router::new().route("/console/", slash), |router, (path, media, content)| {
            let media = HeaderValue::from_static(media);
            let answer = async move || ([(CONTENT_TYPE, media)], content).into_response();
            router.route(path, get(answer).fallback(only_get))
        })
        .layer(map_response(harden))
}

async fn only_get() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED).with_detail("this path does not answer to this method")
}

async fn harden(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
