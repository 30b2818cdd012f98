//! Batched calls: ten entries and a megabyte a request, many requests at once, and an answer for every entry.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::BatchResultErrorEntry;
use futures::future::{BoxFuture, join_all};
use rand::RngExt;

use super::super::QueueError;
use super::envelope::MOST_BYTES;
use crate::aws::{Aws, Kind, Watch, kind, words};

/// Entries in one request, at most (SQS quota).
pub(super) const MOST_ENTRIES: usize = 10;

/// How often an entry is sent that the service failed to take through no fault of the entry's own.
const TRIES: u32 = 3;
/// The wait before the second try, on average; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Why a call failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// What it calls for.
    pub(super) kind: Kind,
    /// The service's code, without its namespace.
    pub(super) code: String,
    /// For people.
    pub(super) words: String,
}

impl Failure {
    pub(super) fn of<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Self
    where
        SdkError<E, R>: ProvideErrorMetadata,
    {
        let code = error.code().unwrap_or_default();
        let code = code.rsplit(['#', '.']).next().unwrap_or(code).to_owned();
        Self { kind: kind(error), code, words: words(error) }
    }

    /// No answer within our own time-out.
    pub(super) fn late() -> Self {
        Self { kind: Kind::Unavailable, code: String::new(), words: "no answer in time".into() }
    }

    /// As the port tells it.
    pub(super) fn tell(&self, url: &str) -> QueueError {
        match (self.kind, self.code.as_str()) {
            (Kind::Absent, _) => QueueError::Unavailable(format!(
                "the queue {url} does not exist: is the URL right? `kakitome setup` creates it"
            )),
            (_, "OverLimit") => QueueError::Unavailable(
                "too many messages are in flight (120,000 received and not settled): none is handed out until some are"
                    .into(),
            ),
            (Kind::Refused, _) if is_stale(&self.code, &self.words) => QueueError::StaleReceipt,
            _ => QueueError::Unavailable(self.words.clone()),
        }
    }
}

/// Whether a refusal says that a receipt counts no more.
fn is_stale(code: &str, words: &str) -> bool {
    match code {
        "ReceiptHandleIsInvalid" | "MessageNotInflight" => true,
        // "Value … for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for
        // visibility timeout change."
        "InvalidParameterValue" => words.to_ascii_lowercase().replace(' ', "").contains("receipthandle"),
        _ => false,
    }
}

/// What one request said of its entries, each named by its place in it.
#[derive(Debug, Default)]
pub(super) struct Answer {
    done: Vec<usize>,
    failed: HashMap<usize, (Failure, bool)>,
}

impl Answer {
    pub(super) fn new<'a>(done: impl Iterator<Item = &'a str>, failed: &[BatchResultErrorEntry]) -> Self {
        let place = |id: &str| id.parse().ok();
        let failure = |entry: &BatchResultErrorEntry| {
            let code = entry.code().rsplit('.').next().unwrap_or_default().to_owned();
            let words = format!("{code}: {}", entry.message().unwrap_or("no reason given"));
            let kind = if entry.sender_fault() { Kind::Refused } else { Kind::Unavailable };
            Some((place(entry.id())?, (Failure { kind, code, words }, entry.sender_fault())))
        };
        Self { done: done.filter_map(place).collect(), failed: failed.iter().filter_map(failure).collect() }
    }

    /// What became of the entry at `place`. One that the answer does not name was not done, as far as we can tell.
    fn of(&self, place: usize) -> Result<(), (Failure, bool)> {
        match self.failed.get(&place) {
            Some(failed) => Err(failed.clone()),
            None if self.done.contains(&place) => Ok(()),
            None => {
                let words = "the answer does not name this entry".to_owned();
                Err((Failure { kind: Kind::Unavailable, code: String::new(), words }, false))
            }
        }
    }
}

/// An entry of one of the batched calls.
pub(super) trait Entry: Send + Sync + Sized {
    /// What it adds to its request's size, as SQS counts it.
    fn bytes(&self) -> usize {
        0
    }

    /// One request with these entries, their places as their ids.
    fn request<'a>(
        sqs: &'a Client,
        url: &'a str,
        entries: &'a [&'a Self],
    ) -> BoxFuture<'a, Result<Answer, Failure>>;
}

/// The way to SQS.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) sqs: Client,
    watch: Arc<Watch>,
}

impl Wire {
    pub(super) fn new(aws: &Aws) -> Self {
        Self { sqs: aws.sqs.clone(), watch: aws.sqs_watch.clone() }
    }

    /// Notes what a call came to, for the log.
    pub(super) fn note<T>(&self, url: &str, result: &Result<T, Failure>) {
        match result {
            Err(failure) if failure.kind != Kind::Refused => {
                self.watch.failed(&failure.tell(url).to_string())
            }
            _ => self.watch.answered(),
        }
    }

    /// Every entry's result, in order; requests run at once.
    pub(super) async fn all<E: Entry>(&self, url: &str, entries: &[E]) -> Vec<Result<(), QueueError>> {
        let requests = split(entries).into_iter().map(|range| self.batch(url, &entries[range]));
        join_all(requests).await.concat()
    }

    /// One request's worth. What fails through no fault of its own is tried again, without its neighbours.
    async fn batch<E: Entry>(&self, url: &str, entries: &[E]) -> Vec<Result<(), QueueError>> {
        let mut results = vec![Ok(()); entries.len()];
        let mut open: Vec<usize> = (0..entries.len()).collect();
        for attempt in 1..=TRIES {
            let asked: Vec<&E> = open.iter().map(|at| &entries[*at]).collect();
            let answer = E::request(&self.sqs, url, &asked).await;
            self.note(url, &answer);
            let answer = match answer {
                Ok(answer) => answer,
                // One entry can spoil the whole request (too long for this queue, say): its neighbours go without it.
                Err(failure) if failure.kind == Kind::Refused && open.len() > 1 => {
                    let alone = open.iter().map(|at| self.batch(url, &entries[*at..=*at]));
                    let alone = Box::pin(join_all(alone)).await;
                    for (at, result) in open.into_iter().zip(alone.concat()) {
                        results[at] = result;
                    }
                    return results;
                }
                Err(failure) => {
                    for at in open {
                        results[at] = Err(failure.tell(url));
                    }
                    return results;
                }
            };
            let mut left = Vec::new();
            for (place, at) in open.into_iter().enumerate() {
                results[at] = answer.of(place).map_err(|(failure, is_its_own)| {
                    if !is_its_own {
                        left.push(at);
                    }
                    failure.tell(url)
                });
            }
            open = left;
            if let Some(Err(error)) = open.first().map(|at| &results[*at])
                && attempt == TRIES
            {
                self.watch.failed(&error.to_string());
            }
            if open.is_empty() || attempt == TRIES {
                break;
            }
            let jitter = rand::rng().random_range(0.5..1.5);
            tokio::time::sleep((FIRST_WAIT * (1 << (attempt - 1))).mul_f64(jitter)).await;
        }
        results
    }
}

/// Cuts entries into requests that fit.
fn split<E: Entry>(entries: &[E]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, entry) in entries.iter().enumerate() {
        if at > start && (at - start == MOST_ENTRIES || bytes + entry.bytes() > MOST_BYTES) {
            ranges.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes += entry.bytes();
    }
    if start < entries.len() {
        ranges.push(start..entries.len());
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sized(usize);

    impl Entry for Sized {
        fn bytes(&self) -> usize {
            self.0
        }

        fn request<'a>(
            _: &'a Client,
            _: &'a str,
            _: &'a [&'a Self],
        ) -> BoxFuture<'a, Result<Answer, Failure>> {
            Box::pin(async { Ok(Answer::default()) })
        }
    }

    #[test]
    fn a_request_has_at_most_ten_entries_and_a_megabyte() {
        let sizes = |sizes: &[usize]| {
            split(&sizes.iter().copied().map(Sized).collect::<Vec<_>>())
                .into_iter()
                .map(|range| range.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[1; 23]), [10, 10, 3]);
        assert_eq!(sizes(&[MOST_BYTES, 1, MOST_BYTES - 1, 1]), [1, 2, 1]);
        assert_eq!(sizes(&[MOST_BYTES + 1, 1]), [1, 1], "what never fits spoils only its own request");
        assert!(sizes(&[]).is_empty());
    }

    #[test]
    fn a_receipt_is_stale_in_every_way_that_sqs_says_so() {
        let words = "Value AQEB for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not \
                     available for visibility timeout change.";
        assert!(is_stale("InvalidParameterValue", words));
        assert!(!is_stale(
            "InvalidParameterValue",
            "Value 43201 for parameter VisibilityTimeout is invalid."
        ));
        for code in ["ReceiptHandleIsInvalid", "MessageNotInflight"] {
            assert!(is_stale(code, ""));
        }
        assert!(!is_stale("InternalError", "receipt handle"));
    }
}
