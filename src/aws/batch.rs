//! One call for many: what callers ask for at about the same time shares a batched request.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// How large a batch grows, and how long it waits to.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Entries in one request.
    pub max: usize,
    /// How long a batch that is not full waits for company while other requests are under way. A lone entry never
    /// waits, unless it `waits_alone`.
    pub linger: Duration,
    /// It waits for company also while no other request is under way: for what nobody is in a hurry about.
    pub waits_alone: bool,
    /// Requests at once.
    pub at_once: usize,
}

/// Collects entries and hands them to one function in batches.
#[derive(Debug)]
pub struct Batcher<T, R> {
    entries: mpsc::UnboundedSender<Vec<(T, oneshot::Sender<R>)>>,
}

impl<T: Send + 'static, R: Send + 'static> Batcher<T, R> {
    /// Starts the collecting task, which ends when this is dropped. `run` answers each entry, in order. Must be called
    /// inside a runtime.
    pub fn start(
        config: Config,
        run: impl Fn(Vec<T>) -> BoxFuture<'static, Vec<R>> + Send + Sync + 'static,
    ) -> Self {
        let (entries, waiting) = mpsc::unbounded_channel();
        tokio::spawn(collect(config, waiting, Arc::new(run)));
        Self { entries }
    }

    /// Every entry's answer, in order; `None` where its batch came to no answer.
    pub async fn submit(&self, entries: impl IntoIterator<Item = T>) -> Vec<Option<R>> {
        let asked = entries.into_iter().map(|entry| {
            let (answer, answered) = oneshot::channel();
            ((entry, answer), answered)
        });
        let (asked, answers): (Vec<_>, Vec<_>) = asked.unzip();
        // All at once, or the first would leave before the last has come. A collector that is gone drops them, which
        // the receivers below notice.
        let _gone = self.entries.send(asked);
        let mut heard = Vec::with_capacity(answers.len());
        for answer in answers {
            heard.push(answer.await.ok());
        }
        heard
    }
}

type Run<T, R> = Arc<dyn Fn(Vec<T>) -> BoxFuture<'static, Vec<R>> + Send + Sync>;

async fn collect<T: Send + 'static, R: Send + 'static>(
    config: Config,
    mut waiting: mpsc::UnboundedReceiver<Vec<(T, oneshot::Sender<R>)>>,
    run: Run<T, R>,
) {
    let calls = Arc::new(Semaphore::new(config.at_once));
    let mut ready = VecDeque::new();
    loop {
        if ready.is_empty() {
            let Some(more) = waiting.recv().await else { return };
            ready.extend(more);
            continue;
        }
        let is_busy = calls.available_permits() < config.at_once;
        fill(&mut ready, &mut waiting, config, is_busy || config.waits_alone).await;
        let Ok(permit) = calls.clone().acquire_owned().await else { return };
        // While it waited for its turn, more may have come.
        while ready.len() < config.max
            && let Ok(more) = waiting.try_recv()
        {
            ready.extend(more);
        }
        let batch: Vec<_> = ready.drain(..ready.len().min(config.max)).collect();
        let run = run.clone();
        tokio::spawn(async move {
            let (entries, answers): (Vec<T>, Vec<_>) = batch.into_iter().unzip();
            for (answer, result) in answers.into_iter().zip(run(entries).await) {
                // Whoever asked may have given up.
                let _gone = answer.send(result);
            }
            drop(permit);
        });
    }
}

async fn fill<E>(
    ready: &mut VecDeque<E>,
    waiting: &mut mpsc::UnboundedReceiver<Vec<E>>,
    config: Config,
    lingers: bool,
) {
    let full = tokio::time::sleep(if lingers { config.linger } else { Duration::ZERO });
    tokio::pin!(full);
    while ready.len() < config.max {
        tokio::select! {
            biased;
            more = waiting.recv() => match more {
                Some(more) => ready.extend(more),
                None => return,
            },
            () = &mut full => return,
        }
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a failed expectation is the failed test")]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn sizes(config: Config) -> (Batcher<u32, u32>, Arc<Mutex<Vec<usize>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sizes = seen.clone();
        let batcher = Batcher::start(config, move |entries: Vec<u32>| {
            sizes.lock().expect("not poisoned").push(entries.len());
            Box::pin(async move { entries.into_iter().map(|n| n * 2).collect() })
        });
        (batcher, seen)
    }

    const CONFIG: Config =
        Config { max: 10, linger: Duration::from_millis(5), waits_alone: false, at_once: 2 };

    #[tokio::test]
    async fn every_entry_gets_its_own_answer_and_no_batch_is_too_large() {
        let (batcher, seen) = sizes(CONFIG);
        let answers = batcher.submit(0..95).await;
        assert_eq!(answers, (0..95).map(|n| Some(n * 2)).collect::<Vec<_>>());
        let seen = seen.lock().expect("not poisoned");
        assert!(seen.iter().all(|size| *size <= 10), "{seen:?}");
        assert_eq!(seen.len(), 10, "{seen:?}");
    }

    #[tokio::test]
    async fn what_is_in_no_hurry_shares_a_request_with_what_comes_later() {
        // It goes out because it is full, not because its time is over.
        let config = Config { waits_alone: true, linger: Duration::from_secs(3600), ..CONFIG };
        let (batcher, seen) = sizes(config);
        tokio::join!(batcher.submit(0..3), async {
            tokio::task::yield_now().await;
            batcher.submit(0..7).await
        });
        assert_eq!(*seen.lock().expect("not poisoned"), [10]);
    }

    #[tokio::test]
    async fn entries_of_a_batch_that_panics_have_no_answer_and_others_do() {
        let batcher: Batcher<u32, u32> = Batcher::start(Config { max: 1, ..CONFIG }, |entries| {
            Box::pin(async move {
                assert_ne!(entries, [1], "as the test wants it");
                entries
            })
        });
        assert_eq!(batcher.submit([0, 1, 2]).await, [Some(0), None, Some(2)]);
    }
}
