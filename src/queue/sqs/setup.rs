//! Makes the queues, or puts those that are there right.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName as Name;

use super::super::QueueError;
use super::attributes::{Attributes, Redrive};
use super::calls::Failure;
use super::entries::seconds;
use super::envelope::MOST_BYTES;
use crate::aws::{Aws, Done, Kind, Step};

/// How long the queue keeps what nobody settles: what is lost to it is enqueued again from the log. Events as well; they
/// may have dead letters of their own, which must be kept for longer.
pub(super) const KEPT_S: u64 = 7 * 24 * 3600;
/// How long dead letters are kept: the longest that SQS allows. On a standard queue a dead letter that SQS itself moved is
/// as old as its message.
pub(super) const DEAD_KEPT_S: u64 = 14 * 24 * 3600;

/// Which queues there are to be, and what they are like.
#[derive(Clone, Debug)]
pub struct Queues {
    /// The queue. The last segment of a URL's path is the queue's name.
    pub queue_url: String,
    /// Its dead-letter queue.
    pub dead_letter_url: String,
    /// The queue of provider events, if there is one.
    pub events_url: Option<String>,
    /// For how long a received message is invisible to others; rounded up to a second.
    pub visibility_timeout: Duration,
    /// After so many receives SQS moves a message to the dead-letter queue, 1 to 1000.
    pub max_receive_count: u32,
}

/// Makes what is missing and changes what is not right; what is right is left alone. Retention and the largest message
/// are never lowered. Fails at the first queue that cannot be made or read, with its name.
pub async fn setup(aws: &Aws, queues: &Queues) -> Result<Vec<Step>, QueueError> {
    let sqs = &aws.sqs;
    let mut steps = Vec::new();
    let dead = Wanted::kept(DEAD_KEPT_S);
    let (step, arn) = put_right(sqs, &queues.dead_letter_url, &dead).await?;
    steps.push(step);
    let redrive = Redrive { arn, max_receive_count: queues.max_receive_count.into() };
    let visibility_s = seconds(queues.visibility_timeout, Duration::MAX);
    let queue = Wanted { visibility_s: Some(visibility_s), redrive: Some(redrive), ..Wanted::kept(KEPT_S) };
    steps.push(put_right(sqs, &queues.queue_url, &queue).await?.0);
    if let Some(events) = &queues.events_url {
        steps.push(put_right(sqs, events, &Wanted::kept(KEPT_S)).await?.0);
    }
    Ok(steps)
}

/// What a queue is to be like.
struct Wanted {
    kept_s: u64,
    visibility_s: Option<i32>,
    redrive: Option<Redrive>,
}

impl Wanted {
    fn kept(kept_s: u64) -> Self {
        Self { kept_s, visibility_s: None, redrive: None }
    }

    /// For a queue that is to be made.
    fn all(&self) -> HashMap<Name, String> {
        let mut all = HashMap::from([
            (Name::MessageRetentionPeriod, self.kept_s.to_string()),
            (Name::MaximumMessageSize, MOST_BYTES.to_string()),
            (Name::ReceiveMessageWaitTimeSeconds, "20".to_owned()),
            (Name::SqsManagedSseEnabled, "true".to_owned()),
        ]);
        all.extend(self.visibility_s.map(|seconds| (Name::VisibilityTimeout, seconds.to_string())));
        all.extend(self.redrive.as_ref().map(|redrive| (Name::RedrivePolicy, redrive.to_text())));
        all
    }

    /// Those that differ on a queue that is there.
    fn differing(&self, found: &Attributes) -> HashMap<Name, String> {
        let mut all = self.all();
        all.retain(|name, value| match name {
            Name::MessageRetentionPeriod | Name::MaximumMessageSize => {
                found.number(name).is_none_or(|number| value.parse().is_ok_and(|least: u64| number < least))
            }
            // A key of KMS's encrypts as well.
            Name::SqsManagedSseEnabled => !found.is_encrypted(),
            Name::RedrivePolicy => found.redrive() != self.redrive,
            _ => found.text(name) != Some(value),
        });
        all
    }
}

/// The queue's name: the last segment of its URL.
fn name_of(url: &str) -> Result<&str, QueueError> {
    let name = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if name.is_empty() || name.contains(':') {
        return Err(QueueError::Unavailable(format!("{url} is not the URL of a queue: it ends in no name")));
    }
    if name.ends_with(".fifo") {
        return Err(QueueError::Unavailable(format!(
            "{name} is a FIFO queue: it delays no single message; a standard queue is needed"
        )));
    }
    Ok(name)
}

/// The account and the name, by which URLs are compared: one queue has several hosts.
fn path_of(url: &str) -> &str {
    let end = url.trim_end_matches('/');
    let start = end.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at);
    &end[start..]
}

async fn put_right(sqs: &Client, url: &str, wanted: &Wanted) -> Result<(Step, String), QueueError> {
    let name = name_of(url)?;
    let told = |failure: Failure| QueueError::Unavailable(format!("{name}: {}", failure.words));
    let found = match Attributes::read(sqs, url).await {
        Ok(found) => found,
        Err(failure) if failure.kind == Kind::Absent => return create(sqs, url, name, wanted).await,
        Err(failure) => return Err(told(failure)),
    };
    let differing = wanted.differing(&found);
    let kept_longer = found.number(&Name::MessageRetentionPeriod).filter(|kept| *kept > wanted.kept_s);
    let kept_longer = kept_longer.map(|kept| format!("keeps messages longer than asked, {kept} s: left so"));
    let step = |done, detail: String| Step::new(name, done, detail);
    if differing.is_empty() {
        let detail = kept_longer.unwrap_or_else(|| "is there and right".into());
        return Ok((step(Done::Unchanged, detail), found.arn().to_owned()));
    }
    let mut names: Vec<_> = differing.keys().map(Name::as_str).map(str::to_owned).collect();
    names.sort();
    let change = sqs.set_queue_attributes().queue_url(url).set_attributes(Some(differing));
    change.send().await.map_err(|error| told(Failure::of(&error)))?;
    let changed = format!("changed {}", names.join(", "));
    let detail = [Some(changed), kept_longer].into_iter().flatten().collect::<Vec<_>>().join("; ");
    Ok((step(Done::Changed, detail), found.arn().to_owned()))
}

async fn create(sqs: &Client, url: &str, name: &str, wanted: &Wanted) -> Result<(Step, String), QueueError> {
    let told = |failure: Failure| QueueError::Unavailable(format!("{name}: {}", failure.words));
    let asked = sqs.create_queue().queue_name(name).set_attributes(Some(wanted.all()));
    let made = asked.send().await.map_err(|error| told(Failure::of(&error)))?;
    let made = made.queue_url.unwrap_or_default();
    if path_of(&made) != path_of(url) {
        return Err(QueueError::Unavailable(format!(
            "{name} was made at {made}, which is not the configured {url}: are account and region right?"
        )));
    }
    let arn = Attributes::read(sqs, &made).await.map_err(told)?.arn().to_owned();
    Ok((Step::new(name, Done::Created, format!("made at {made}")), arn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queues_name_is_the_end_of_its_url() {
        let name = |url| name_of(url).map_err(|error| error.to_string());
        assert_eq!(name("https://sqs.ap-northeast-1.amazonaws.com/123/mail"), Ok("mail"));
        assert_eq!(name("http://127.0.0.1:4566/000000000000/mail/"), Ok("mail"));
        for url in ["", "http://127.0.0.1:4566", "https://x/1/mail.fifo"] {
            assert!(name(url).is_err(), "{url}");
        }
    }

    #[test]
    fn one_queue_may_have_several_hosts() {
        assert_eq!(path_of("https://sqs.us-east-1.amazonaws.com/1/q"), path_of("http://localhost:4566/1/q/"));
        assert_ne!(path_of("https://a/1/q"), path_of("https://a/2/q"));
    }
}
