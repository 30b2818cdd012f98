//! The one table of routes: the router and the description both come from it.

use axum::Router;
use axum::handler::Handler;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodFilter, MethodRouter, on};
use utoipa::openapi::HttpMethod;
use utoipa::openapi::path::Operation;

use super::aside::deal;
use super::auth::Scope;
use super::callbacks::change;
use super::dead_letters::resend;
use super::{
    Shared, act, alerts, aside, batch, batches, callbacks, dead_letters, engagement, enqueue, events, guard,
    incident, jobs, probe, read, status, suppressions, unconfirmed, unmatched,
};

/// One method on one path.
pub(super) struct Route {
    pub(super) path: String,
    pub(super) method: HttpMethod,
    pub(super) operation: Operation,
    /// The scope that a key needs; `None`: no key is needed.
    pub(super) scope: Option<Scope>,
    handler: MethodRouter<Shared>,
}

/// `P` is what `#[utoipa::path]` made of the handler's attribute, where path and method stand.
fn route<P: utoipa::Path, H, T>(scope: impl Into<Option<Scope>>, handler: H) -> Route
where
    H: Handler<T, Shared>,
    T: 'static,
{
    let (method, filter) = match P::methods().first() {
        Some(HttpMethod::Post) => (HttpMethod::Post, MethodFilter::POST),
        Some(HttpMethod::Delete) => (HttpMethod::Delete, MethodFilter::DELETE),
        _ => (HttpMethod::Get, MethodFilter::GET),
    };
    Route {
        path: P::path(),
        method,
        operation: P::operation(),
        scope: scope.into(),
        handler: on(filter, handler),
    }
}

/// Every route.
pub(super) fn table() -> Vec<Route> {
    vec![
        route::<enqueue::__path_enqueue, _, _>(Scope::Send, enqueue::enqueue),
        route::<batch::__path_enqueue_batch, _, _>(Scope::Send, batch::enqueue_batch),
        route::<batches::__path_declare, _, _>(Scope::Send, batches::declare),
        route::<batches::__path_list, _, _>(Scope::Read, batches::list),
        route::<read::__path_list, _, _>(Scope::Read, read::list),
        route::<read::__path_show, _, _>(Scope::Read, read::show),
        route::<events::__path_events, _, _>(Scope::Read, events::events),
        route::<unmatched::__path_unmatched, _, _>(Scope::Operate, unmatched::unmatched),
        route::<aside::__path_aside, _, _>(Scope::Operate, aside::aside),
        route::<deal::__path_retry, _, _>(Scope::Operate, deal::retry),
        route::<deal::__path_dismiss, _, _>(Scope::Operate, deal::dismiss),
        route::<engagement::__path_engagement, _, _>(Scope::Read, engagement::engagement),
        route::<callbacks::__path_list, _, _>(Scope::Read, callbacks::list),
        route::<callbacks::__path_add, _, _>(Scope::Operate, callbacks::add),
        route::<callbacks::__path_remove, _, _>(Scope::Operate, callbacks::remove),
        route::<change::__path_pause, _, _>(Scope::Operate, change::pause),
        route::<change::__path_resume, _, _>(Scope::Operate, change::resume),
        route::<change::__path_rotate, _, _>(Scope::Operate, change::rotate),
        route::<change::__path_test, _, _>(Scope::Operate, change::test),
        route::<act::__path_cancel, _, _>(Scope::Operate, act::cancel),
        route::<act::__path_hold, _, _>(Scope::Operate, act::hold),
        route::<act::__path_release, _, _>(Scope::Operate, act::release),
        route::<act::__path_redrive, _, _>(Scope::Operate, act::redrive),
        route::<jobs::__path_create_job, _, _>(Scope::Operate, jobs::create_job),
        route::<jobs::__path_list_jobs, _, _>(Scope::Operate, jobs::list_jobs),
        route::<jobs::__path_show_job, _, _>(Scope::Operate, jobs::show_job),
        route::<jobs::__path_resume_job, _, _>(Scope::Operate, jobs::resume_job),
        route::<jobs::__path_stop_job, _, _>(Scope::Operate, jobs::stop_job),
        route::<jobs::__path_list_stops, _, _>(Scope::Operate, jobs::list_stops),
        route::<dead_letters::__path_dead_letters, _, _>(Scope::Operate, dead_letters::dead_letters),
        route::<dead_letters::__path_dead_letter, _, _>(Scope::Operate, dead_letters::dead_letter),
        route::<resend::__path_resend, _, _>(Scope::Operate, resend::resend),
        route::<suppressions::__path_list, _, _>(Scope::Read, suppressions::list),
        route::<suppressions::__path_add, _, _>(Scope::Operate, suppressions::add),
        route::<suppressions::__path_remove, _, _>(Scope::Operate, suppressions::remove),
        route::<suppressions::__path_remove_many, _, _>(Scope::Operate, suppressions::remove_many),
        route::<status::__path_status, _, _>(Scope::Operate, status::status),
        route::<unconfirmed::__path_unconfirmed, _, _>(Scope::Operate, unconfirmed::unconfirmed),
        route::<unconfirmed::__path_dismiss, _, _>(Scope::Operate, unconfirmed::dismiss),
        route::<incident::__path_incident, _, _>(Scope::Operate, incident::incident),
        route::<alerts::__path_alerts, _, _>(Scope::Operate, alerts::alerts),
        route::<alerts::__path_test, _, _>(Scope::Operate, alerts::test),
        route::<probe::__path_healthz, _, _>(None, probe::healthz),
        route::<probe::__path_readyz, _, _>(None, probe::readyz),
        route::<probe::__path_metrics, _, _>(None, probe::metrics),
        route::<probe::__path_openapi, _, _>(None, probe::openapi),
    ]
}

/// The router of these routes.
pub(super) fn router(door: Shared, routes: Vec<Route>) -> Router {
    let mut router = Router::new();
    for route in routes {
        let handler = match route.scope {
            // A route layer does not touch the answer to a wrong method, which needs no key.
            Some(scope) => {
                route.handler.route_layer(from_fn_with_state((Shared::clone(&door), scope), guard::admit))
            }
            None => route.handler,
        };
        router = router.route(&route.path, handler);
    }
    router
        .method_not_allowed_fallback(guard::unknown_method)
        .fallback(guard::unknown_path)
        .layer(from_fn(guard::watch))
        .with_state(door)
}
