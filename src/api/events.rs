//! The feed: what changed, to be pulled.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::Uri;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::{IntoParams, ToSchema};

use super::answer::Json;
use super::guard::Caller;
use super::{Shared, trouble};
use crate::feed::courier::Courier;
use crate::feed::{Cursor, Entry, Feed, FeedError, MAX_LIMIT, Page};
use crate::server::problem::Problem;
use crate::shutdown::Shutdown;

/// What changed, and who is told of it.
#[derive(Clone)]
pub struct Telling {
    /// What changed.
    pub feed: Arc<dyn Feed>,
    /// Who posts it to callbacks; `None`: nobody.
    pub courier: Option<Arc<dyn Courier>>,
    /// Ends every wait.
    stopped: Option<Shutdown>,
    waiting: Arc<Semaphore>,
    /// Between two looks while somebody waits.
    look: Duration,
}

impl Telling {
    /// From this feed.
    pub fn new(feed: Arc<dyn Feed>, courier: Option<Arc<dyn Courier>>) -> Self {
        Self { feed, courier, stopped: None, waiting: Arc::new(Semaphore::new(MOST_WAITING)), look: LOOK }
    }

    /// Looks so often while somebody waits.
    pub fn looking_every(self, look: Duration) -> Self {
        Self { look, ..self }
    }

    /// Nobody waits for news once this is pulled.
    pub fn until(self, stopped: Shutdown) -> Self {
        Self { stopped: Some(stopped), ..self }
    }
}

/// So many may wait for news at once; whoever comes later is answered at once.
const MOST_WAITING: usize = 256;
/// The longest wait.
const LONGEST_WAIT_SECONDS: u64 = 30;
/// Between two looks while somebody waits, unless looking is dear.
const LOOK: Duration = Duration::from_millis(250);
const DEFAULT_LIMIT: usize = 100;
/// The cursor that stands for the present end.
const LATEST: &str = "latest";

/// What is asked of the feed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// A former page's `next_cursor`; `latest`: only what happens from now on. Without one: from the oldest entry that
    /// is kept.
    cursor: Option<String>,
    /// 1 to 1000; 100 when not given.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<String>,
    /// Whose; the key's own tenant when left out. Other tenants' need the scope admin.
    tenant: Option<String>,
    /// So many seconds are waited for news while there is none, at most 30; 0 when not given.
    #[param(value_type = Option<u64>, minimum = 0, maximum = 30, default = 0)]
    wait: Option<String>,
}

/// A page of the feed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = FeedPage)]
pub struct EventsView {
    /// What changed, oldest first. Each is told at least once; `event_id` tells repeats.
    pub items: Vec<Entry>,
    /// Give it as `cursor` to read on; always there, also when there was nothing.
    #[schema(value_type = String)]
    pub next_cursor: Cursor,
}

/// Pull what changed
///
/// A tenant's changes in the order in which they were recorded: notifications that came to an end, are held or came
/// back from there, and recipients from `deferred` on. Keep `next_cursor` and poll again with it; entries are kept for
/// `feed.retention`.
#[utoipa::path(
    get, path = "/v1/events", operation_id = "events", tag = "events",
    params(Asked),
    responses(
        (status = 200, description = "What changed", body = EventsView),
        (status = 400, description = "The cursor is none of this tenant's feed", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "On AWS: nobody asked for this tenant's feed, by the setting feed.tenants or a callback", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "The cursor is older than what is kept; the detail says from when on there is something", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is not valid or not known", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn events(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<EventsView>, Problem> {
    let Ok(Query(asked)) = Query::<Asked>::try_from_uri(&uri) else {
        return Err(trouble::invalid_at("", "the parameters are cursor, limit, tenant and wait, each once"));
    };
    let mut faults = Vec::new();
    let mut number = |name: &str, text: Option<String>, default: u64, from: u64, to: u64| {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return default };
        let number = text.parse().ok().filter(|number| (from..=to).contains(number));
        let detail = format!("must be a whole number from {from} to {to}");
        trouble::check(number.is_some(), name, &detail, &mut faults);
        number.unwrap_or(default)
    };
    let limit = number("/limit", asked.limit, DEFAULT_LIMIT as u64, 1, MAX_LIMIT as u64);
    let wait = number("/wait", asked.wait, 0, 0, LONGEST_WAIT_SECONDS);
    if !faults.is_empty() {
        return Err(trouble::invalid(faults));
    }
    let tenant = asked.tenant.filter(|tenant| !tenant.is_empty()).unwrap_or_else(|| caller.0.tenant.clone());
    if !caller.0.may_act_for(&tenant) {
        return Err(trouble::foreign_tenant("/tenant"));
    }
    let telling = &door.state.telling;
    let cursor = match asked.cursor.filter(|cursor| !cursor.is_empty()) {
        Some(latest) if latest == LATEST => {
            Some(telling.feed.end(&tenant).await.map_err(|error| trouble::feed(&error))?)
        }
        given => given.map(Cursor::new),
    };
    let limit = usize::try_from(limit).unwrap_or(DEFAULT_LIMIT);
    let page = telling.read(&tenant, cursor, limit, Duration::from_secs(wait)).await;
    let page = page.map_err(|error| trouble::feed(&error))?;
    Ok(Json(EventsView { items: page.entries, next_cursor: page.next }))
}

impl Telling {
    /// A page, if need be after a wait for it.
    async fn read(
        &self,
        tenant: &str,
        mut cursor: Option<Cursor>,
        limit: usize,
        wait: Duration,
    ) -> Result<Page, FeedError> {
        let place = self.waiting.try_acquire();
        let until = tokio::time::Instant::now() + if place.is_ok() { wait } else { Duration::ZERO };
        loop {
            let page = self.feed.read(tenant, cursor.as_ref(), limit).await?;
            let is_over = self.stopped.as_ref().is_some_and(Shutdown::is_pulled);
            if !page.entries.is_empty() || is_over || tokio::time::Instant::now() >= until {
                return Ok(page);
            }
            cursor = Some(page.next);
            let look = (tokio::time::Instant::now() + self.look).min(until);
            match &self.stopped {
                Some(stopped) => tokio::select! {
                    () = tokio::time::sleep_until(look) => {}
                    () = stopped.pulled() => {}
                },
                None => tokio::time::sleep_until(look).await,
            }
        }
    }
}
