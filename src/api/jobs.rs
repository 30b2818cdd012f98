//! Acts on many notifications: counted, shown, then done as a job that the journal keeps.

mod preview;
mod request;
mod standing;
mod view;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::answer::Json;
use super::auth::Scope as KeyScope;
use super::guard::Caller;
use super::trouble;
use super::{Door, Shared, body};
use crate::clock::Timestamp;
use crate::jobs::{self, Job, JobState};
use crate::journal::{self, JournalError, Kind, Put};
use crate::server::problem::Problem;

pub use request::{JobFilter, JobRequest};
pub use view::{GroupView, JobView, JobsView, Preview, RefusedView, Sample, StopsView};

/// Jobs in a page that was asked for without a limit.
const DEFAULT_LIMIT: usize = 20;
/// The most in a page.
const MAX_LIMIT: usize = 100;
/// Jobs that are looked through for a page of one tenant's.
const LOOKED_THROUGH: usize = 1000;

/// Act on many notifications
///
/// With `dry_run` it only counts and shows a few. Else the act is recorded as a job and done in the background, page
/// by page: follow it with `GET /v1/jobs/{id}`. A hold, release or cancellation of everything, a tenant, a batch, a
/// provider or ids also sets or lifts a standing stop, which every worker knows within a second.
#[utoipa::path(
    post, path = "/v1/jobs", operation_id = "create_job", tag = "operations",
    request_body(content = JobRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "With dry_run: what it would meet", body = Preview),
        (status = 202, description = "The job, recorded durably; it is under way", body = JobView),
        (status = 409, description = "Too many stops stand already", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The request is not valid", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create_job(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let asked: Option<JobRequest> = body::read_json(&door, request).await?;
    let asked = asked.ok_or_else(|| trouble::invalid_at("", "a JSON body is needed"))?;
    let (now, is_dry) = (door.state.clock.now(), asked.dry_run);
    let mut new = asked.lower(&caller, door.state.bell.sees_outcomes(), now)?;
    if is_dry {
        let preview = preview::preview(&door, &new, now).await?;
        return Ok(Json(preview).into_response());
    }
    // First of all: from now on nothing that it concerns is set on its way.
    standing::set_or_lift(&door, &new, now).await?;
    let now = door.state.clock.now();
    new.planned = preview::matched(&door, &new, now).await?;
    let job = Job::new(new, now);
    let body = journal::write(&job);
    let put = door.state.journal.put(Kind::Job, &job.id, &body, 0, Some(job.keep_until()));
    put.await?;
    let (id, action, who, matched) = (&job.id, job.action.as_str(), &job.who, job.progress.planned);
    tracing::info!(job = id, action, who, matched, "a job was asked for");
    door.state.bell.ring(id);
    Ok((StatusCode::ACCEPTED, Json(JobView::from(job))).into_response())
}

/// Which page of jobs.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct JobsQuestion {
    /// 1 to 100; 20 when not given.
    limit: Option<usize>,
    /// A former page's `next_cursor`.
    cursor: Option<String>,
}

/// List jobs
///
/// Everything that was done to many, by whom and why, the latest first.
#[utoipa::path(
    get, path = "/v1/jobs", operation_id = "list_jobs", tag = "operations",
    params(JobsQuestion),
    responses(
        (status = 200, description = "A page of jobs", body = JobsView),
        (status = 422, description = "A parameter is not valid", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_jobs(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    question: Result<Query<JobsQuestion>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<JobsView>, Problem> {
    let Ok(Query(asked)) = question else {
        return Err(trouble::invalid_at("", "the parameters are limit (a whole number) and cursor"));
    };
    let limit = asked.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(trouble::invalid_at("/limit", "must be a whole number from 1 to 100"));
    }
    let (mut items, mut after) = (Vec::new(), asked.cursor);
    let mut looked_through = 0;
    while looked_through < LOOKED_THROUGH {
        let found = jobs::list(door.state.journal.as_ref(), after.as_deref(), MAX_LIMIT).await;
        let found = found?;
        let is_last = found.len() < MAX_LIMIT;
        looked_through += found.len();
        for job in found {
            if items.len() == limit {
                return Ok(Json(JobsView { items, next_cursor: after }));
            }
            after = Some(job.id.clone());
            if may_see(&caller, &job) {
                items.push(JobView::from(job));
            }
        }
        if is_last {
            return Ok(Json(JobsView { items, next_cursor: None }));
        }
    }
    Ok(Json(JobsView { items, next_cursor: after }))
}

/// Look one job up
#[utoipa::path(
    get, path = "/v1/jobs/{id}", operation_id = "show_job", tag = "operations",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The job", body = JobView),
        (status = 404, description = "No such job, or another tenant's", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show_job(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<JobView>, Problem> {
    find(&door, &caller, id).await.map(|job| Json(JobView::from(job)))
}

/// Finish a job that was stopped or interrupted
///
/// It goes on where it was; nothing is done twice. A job that is under way or done is left as it is.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/resume", operation_id = "resume_job", tag = "operations",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The job", body = JobView),
        (status = 404, description = "No such job, or another tenant's", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It judges outcomes, and without a running server there are none", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn resume_job(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<JobView>, Problem> {
    let job = find(&door, &caller, id).await?;
    let judges = job.pace.canary.is_some() || job.pace.stop_above_percent.is_some();
    if judges && !door.state.bell.sees_outcomes() {
        return Err(trouble::forbidden_now(
            "it has a canary or a share at which it stops, and needs a running server: without one nothing is sent",
        ));
    }
    let now = door.state.clock.now();
    let job = change(&door, &job.id, |job| {
        if job.is_resumable() {
            job.resume(now);
            return true;
        }
        false
    });
    let job = job.await?.ok_or_else(no_such_job)?;
    tracing::info!(job = job.id, who = caller.0.id, "a job is to go on");
    door.state.bell.ring(&job.id);
    Ok(Json(JobView::from(job)))
}

/// Stop a job
///
/// What it has set on its way goes on; hold that if it must not.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/stop", operation_id = "stop_job", tag = "operations",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The job", body = JobView),
        (status = 404, description = "No such job, or another tenant's", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is not under way", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn stop_job(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<JobView>, Problem> {
    let job = find(&door, &caller, id).await?;
    let (now, note) = (door.state.clock.now(), format!("stopped by {}", caller.0.id));
    let job = change(&door, &job.id, |job| {
        let is_active = job.state.is_active();
        if is_active {
            // The lease stays: by it the process that does the job knows its own, and writes down its last counts.
            (job.state, job.note, job.ended_at) = (JobState::Stopped, Some(note.clone()), Some(now));
        }
        is_active
    });
    let job = job.await?.ok_or_else(no_such_job)?;
    match job.state {
        JobState::Stopped => Ok(Json(JobView::from(job))),
        _ => Err(trouble::forbidden_now("it is not under way")),
    }
}

/// List standing stops
///
/// What is held or cancelled until somebody releases it, also for what arrives later.
#[utoipa::path(
    get, path = "/v1/stops", operation_id = "list_stops", tag = "operations",
    responses((status = 200, description = "The stops", body = StopsView))
)]
pub(super) async fn list_stops(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<StopsView>, Problem> {
    door.state.stops.refresh().await?;
    let known = door.state.stops.known().unwrap_or_default();
    let is_theirs = |tenant: Option<&str>| tenant.is_some_and(|tenant| caller.0.may_act_for(tenant));
    let may_see = |tenant: Option<&str>| caller.0.allows(KeyScope::Admin) || is_theirs(tenant);
    let items = known.iter().filter(|stop| may_see(stop.scope.tenant.as_deref())).cloned().collect();
    Ok(Json(StopsView { items }))
}

/// Reads, changes and writes one job until nobody else came in between; the job as it is then. `change` says whether
/// it changed anything.
async fn change(
    door: &Door,
    id: &str,
    change: impl Fn(&mut Job) -> bool + Send,
) -> Result<Option<Job>, JournalError> {
    const TRIES: u32 = 20;
    let journal = &door.state.journal;
    for _ in 0..TRIES {
        let Some(document) = journal.get(Kind::Job, id).await? else { return Ok(None) };
        let mut job: Job = document.read()?;
        if !change(&mut job) {
            return Ok(Some(job));
        }
        let (body, keep_until) = (journal::write(&job), Some(job.keep_until()));
        let put = journal.put(Kind::Job, id, &body, document.version, keep_until);
        if let Put::Done(_) = put.await? {
            return Ok(Some(job));
        }
    }
    Err(JournalError::Contended(id.to_owned()))
}

/// The job that a path names, if the caller may see it.
async fn find(door: &Door, caller: &Caller, id: Result<Path<String>, PathRejection>) -> Result<Job, Problem> {
    let Path(id) = id.map_err(|_| no_such_job())?;
    let job = jobs::get(door.state.journal.as_ref(), &id).await;
    let job = job?;
    job.filter(|job| may_see(caller, job)).ok_or_else(no_such_job)
}

fn may_see(caller: &Caller, job: &Job) -> bool {
    caller.0.allows(KeyScope::Admin)
        || job.selection.tenant.as_deref().is_some_and(|tenant| caller.0.may_act_for(tenant))
}

fn no_such_job() -> Problem {
    Problem::new(StatusCode::NOT_FOUND).with_detail("there is no such job")
}

/// How long what a cancellation says also concerns what was accepted before it and is met only later.
const CANCELLED_FOR: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// Until when a stop of single notifications stands: each of them is marked, so it only serves those on the wire.
fn keep_until(now: Timestamp) -> Timestamp {
    now.plus(CANCELLED_FOR)
}
