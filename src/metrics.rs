//! Names of every metric, and the recorder that renders them as Prometheus text.

use std::sync::{Mutex, PoisonError};

use metrics::{Recorder, Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

/// Notifications recorded, by the door in. Counter.
pub const ACCEPTED_TOTAL: &str = "kakitome_accepted_total";
/// Attempts that ended, by `provider` and `outcome`. Counter.
pub const ATTEMPTS_TOTAL: &str = "kakitome_attempts_total";
/// From acceptance to the provider's acceptance, in seconds. Histogram.
pub const ACCEPT_TO_SENT_SECONDS: &str = "kakitome_accept_to_sent_seconds";
/// Age of the longest-waiting notification that should be on its way, in seconds; 0 when none waits. Gauge.
pub const UNSENT_OLDEST_AGE_SECONDS: &str = "kakitome_unsent_oldest_age_seconds";
/// Unsent notifications, by `status`. Gauge.
pub const UNSENT: &str = "kakitome_unsent";
/// Queue messages, by `state`: `visible`, `in_flight`, `delayed`. Gauge.
pub const QUEUE_MESSAGES: &str = "kakitome_queue_messages";
/// Failed notifications that nobody has dealt with. Gauge.
pub const DEAD_LETTERS: &str = "kakitome_dead_letters";
/// Dead letters without a record that were copied into the journal. Counter.
pub const DEAD_LETTERS_KEPT_TOTAL: &str = "kakitome_dead_letters_kept_total";
/// Dead letters without a record that could not be copied at the last look: the queue will destroy them. Gauge.
pub const DEAD_LETTERS_UNKEPT: &str = "kakitome_dead_letters_unkept";
/// Sent, and not heard of in time, by what `lacks`: `processed`, `end`. Gauge.
pub const UNCONFIRMED: &str = "kakitome_unconfirmed";
/// Unknown outcomes, by `resolution`: `event`, `resent`, `parked`, `late_answer`. Counter.
pub const UNKNOWN_TOTAL: &str = "kakitome_unknown_total";
/// Held by the storm guard, by `reason`: `batch_size`, `repeat`, `rate`. Counter.
pub const GUARDED_TOTAL: &str = "kakitome_guarded_total";
/// Recipients that nothing was sent to, by the `reason` on the suppression list. Counter.
pub const SUPPRESSED_TOTAL: &str = "kakitome_suppressed_total";
/// 1 while the circuit to `provider` is closed, else 0. Gauge.
pub const PROVIDER_UP: &str = "kakitome_provider_up";
/// Provider events kept, by `provider` and `kind`. Counter.
pub const EVENTS_TOTAL: &str = "kakitome_events_total";
/// Provider events that cannot be folded, set aside in the journal. Counter.
pub const EVENTS_SET_ASIDE_TOTAL: &str = "kakitome_events_set_aside_total";
/// Events that are set aside, and that nobody has dealt with; at most 1,000 are counted. Gauge.
pub const EVENTS_ASIDE: &str = "kakitome_events_aside";
/// Events that match no notification, kept and looked at again. Gauge.
pub const EVENTS_UNMATCHED: &str = "kakitome_events_unmatched";
/// Events that were not kept, as their recipient has too many already. Counter.
pub const EVENTS_LEFT_OUT_TOTAL: &str = "kakitome_events_left_out_total";
/// From an event's own time to its being durable here, in seconds. Histogram.
pub const WEBHOOK_LAG_SECONDS: &str = "kakitome_webhook_lag_seconds";
/// Provider events that are durable and wait to be folded; on SQS nobody counts them, and it is not there. Gauge.
pub const INBOX_EVENTS: &str = "kakitome_inbox_events";
/// Parcels of such events; approximate on SQS. Gauge.
pub const INBOX_PARCELS: &str = "kakitome_inbox_parcels";
/// How long the oldest of them has waited, in seconds; 0 when none waits. Gauge.
pub const INBOX_OLDEST_AGE_SECONDS: &str = "kakitome_inbox_oldest_age_seconds";
/// Webhook posts by `provider` and `outcome`: `taken`, `refused` (not signed by the provider), `malformed`,
/// `turned_away` (to be posted again: a bound, a full inbox, storage that fails). Counter.
pub const WEBHOOK_POSTS_TOTAL: &str = "kakitome_webhook_posts_total";
/// Genuine webhook posts that were signed more than five minutes before they came: the provider's repeats, or
/// somebody's replay, which changes nothing. Counter.
pub const WEBHOOK_LATE_POSTS_TOTAL: &str = "kakitome_webhook_late_posts_total";
/// Seconds since the queue last answered a receive. Gauge.
pub const LAST_RECEIVE_AGE_SECONDS: &str = "kakitome_last_receive_age_seconds";

/// Alerts that fire, by `alert`. Gauge.
pub const ALERT_FIRING: &str = "kakitome_alert_firing";
/// Messages about alerts, by `channel` and `outcome`: `posted`, `failed`, `dropped`. Counter.
pub const ALERT_POSTS_TOTAL: &str = "kakitome_alert_posts_total";

/// Posts to callbacks, by `outcome`: `taken`, `failed`, `paused`, `gone`. Counter.
pub const CALLBACKS_TOTAL: &str = "kakitome_callbacks_total";
/// Age of the oldest change that an active callback has not taken, in seconds; 0 when all have all. Gauge.
pub const CALLBACK_LAG_SECONDS: &str = "kakitome_callback_lag_seconds";

/// Commits of the embedded storage, each one `fsync`. Counter.
pub const STORAGE_COMMITS_TOTAL: &str = "kakitome_storage_commits_total";

/// Write units that DynamoDB charged, by `operation`: `put`, `write`. Counter.
pub const DYNAMODB_UNITS_TOTAL: &str = "kakitome_dynamodb_units_total";

/// Buckets for waits, in seconds: from a quiet machine's milliseconds to a day's outage.
const WAIT_BUCKETS: [f64; 16] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0];

/// Why there is no recorder.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// There is one, and it is not ours.
    #[error("somebody else's recorder is installed already")]
    Taken,
    /// It cannot be built.
    #[error(transparent)]
    Built(#[from] BuildError),
}

/// The process-wide recorder's handle, which renders `/metrics`; installed by the first call. Fails if somebody else's
/// recorder is installed already.
pub fn install() -> Result<PrometheusHandle, InstallError> {
    install_behind(|recorder| recorder)
}

/// The same behind what `front` makes of the recorder: it hears of every update.
pub fn install_behind<R>(
    front: impl FnOnce(PrometheusRecorder) -> R,
) -> Result<PrometheusHandle, InstallError>
where
    R: Recorder + Sync + 'static,
{
    static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = installed.as_ref() {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &WAIT_BUCKETS)?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(front(recorder)).map_err(|_| InstallError::Taken)?;
    describe();
    begin();
    *installed = Some(handle.clone());
    Ok(handle)
}

/// Series that do not depend on the configuration begin at zero: an alert on a series that is not there is silent.
fn begin() {
    for door in ["http", "batch", "queue", "dead_letter"] {
        metrics::counter!(ACCEPTED_TOTAL, "door" => door).increment(0);
    }
    metrics::counter!(STORAGE_COMMITS_TOTAL).increment(0);
    metrics::counter!(DEAD_LETTERS_KEPT_TOTAL).increment(0);
    for name in [EVENTS_SET_ASIDE_TOTAL, WEBHOOK_LATE_POSTS_TOTAL] {
        metrics::counter!(name).increment(0);
    }
    metrics::counter!(EVENTS_LEFT_OUT_TOTAL).increment(0);
    metrics::gauge!(DEAD_LETTERS_UNKEPT).set(0.0);
    metrics::gauge!(EVENTS_ASIDE).set(0.0);
    for resolution in ["event", "resent", "parked", "late_answer"] {
        metrics::counter!(UNKNOWN_TOTAL, "resolution" => resolution).increment(0);
    }
    for reason in ["batch_size", "repeat", "rate"] {
        metrics::counter!(GUARDED_TOTAL, "reason" => reason).increment(0);
    }
    for reason in ["complaint", "bounce", "drop", "manual", "unsubscribe"] {
        metrics::counter!(SUPPRESSED_TOTAL, "reason" => reason).increment(0);
    }
    for outcome in ["taken", "failed", "paused", "gone"] {
        metrics::counter!(CALLBACKS_TOTAL, "outcome" => outcome).increment(0);
    }
    metrics::gauge!(CALLBACK_LAG_SECONDS).set(0.0);
    for name in [ACCEPT_TO_SENT_SECONDS, WEBHOOK_LAG_SECONDS] {
        let _registered = metrics::histogram!(name);
    }
}

fn describe() {
    describe_gauge!(ALERT_FIRING, "Alerts that fire, by alert");
    describe_counter!(ALERT_POSTS_TOTAL, "Messages about alerts, by channel and outcome");
    describe_counter!(CALLBACKS_TOTAL, "Posts to callbacks, by outcome");
    describe_gauge!(
        CALLBACK_LAG_SECONDS,
        Unit::Seconds,
        "Age of the oldest change that an active callback has not taken"
    );
    describe_counter!(STORAGE_COMMITS_TOTAL, "Commits of the embedded storage, each one fsync");
    describe_counter!(DYNAMODB_UNITS_TOTAL, "Write units that DynamoDB charged, by operation");
    describe_counter!(ACCEPTED_TOTAL, "Notifications recorded");
    describe_counter!(ATTEMPTS_TOTAL, "Attempts that ended, by provider and outcome");
    describe_histogram!(
        ACCEPT_TO_SENT_SECONDS,
        Unit::Seconds,
        "From acceptance to the provider's acceptance"
    );
    describe_gauge!(
        UNSENT_OLDEST_AGE_SECONDS,
        Unit::Seconds,
        "Age of the longest-waiting unsent notification"
    );
    describe_gauge!(UNCONFIRMED, "Sent, and not heard of in time, by what it lacks");
    describe_gauge!(UNSENT, "Unsent notifications by status");
    describe_gauge!(QUEUE_MESSAGES, "Queue messages by state");
    describe_gauge!(DEAD_LETTERS, "Failed notifications that nobody has dealt with");
    describe_counter!(
        DEAD_LETTERS_KEPT_TOTAL,
        "Dead letters without a record that were copied into the journal"
    );
    describe_gauge!(DEAD_LETTERS_UNKEPT, "Dead letters without a record that could not be copied");
    describe_counter!(UNKNOWN_TOTAL, "Unknown outcomes by how they were resolved");
    describe_counter!(GUARDED_TOTAL, "Notifications held by the storm guard, by reason");
    describe_counter!(
        SUPPRESSED_TOTAL,
        "Recipients on the suppression list that nothing was sent to, by reason"
    );
    describe_gauge!(PROVIDER_UP, "1 while the circuit to the provider is closed");
    describe_gauge!(EVENTS_UNMATCHED, "Events that match no notification, kept and looked at again");
    describe_counter!(EVENTS_LEFT_OUT_TOTAL, "Events not kept, as their recipient has too many already");
    describe_counter!(EVENTS_TOTAL, "Provider events kept, by provider and kind");
    describe_counter!(EVENTS_SET_ASIDE_TOTAL, "Provider events that cannot be folded, set aside");
    describe_gauge!(EVENTS_ASIDE, "Provider events that are set aside, and that nobody has dealt with");
    describe_histogram!(WEBHOOK_LAG_SECONDS, Unit::Seconds, "From an event's own time to its being folded");
    describe_gauge!(INBOX_EVENTS, "Provider events that wait to be folded");
    describe_gauge!(INBOX_PARCELS, "Parcels of provider events that wait to be folded");
    describe_gauge!(
        INBOX_OLDEST_AGE_SECONDS,
        Unit::Seconds,
        "How long the oldest event that waits to be folded has waited"
    );
    describe_counter!(WEBHOOK_POSTS_TOTAL, "Webhook posts by provider and outcome");
    describe_counter!(WEBHOOK_LATE_POSTS_TOTAL, "Webhook posts that were signed minutes before they came");
    describe_gauge!(
        LAST_RECEIVE_AGE_SECONDS,
        Unit::Seconds,
        "Seconds since the queue last answered a receive"
    );
}
