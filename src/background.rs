//! Work that may wait while somebody else is served: on threads that the system serves after all others.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use rustix::process::{getpriority_process, setpriority_process};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Their nice value: a tenth of a core that others want as well, and all of an idle one.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Posts and reads at once; further ones wait.
const BLOCKING_THREADS: usize = 8;

/// How long it goes on without looking whether somebody waits for the processor.
const MOMENT: Duration = Duration::from_micros(100);

/// Where such work runs. Cheap to clone; it ends with the last clone.
#[derive(Clone, Debug, Default)]
pub struct Background(Option<Arc<Own>>);

#[derive(Debug)]
struct Own(Option<Runtime>);

impl Background {
    /// Threads of its own.
    pub fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("background")
            .on_thread_start(step_back)
            .enable_all()
            .build()?;
        Ok(Self(Some(Arc::new(Own(Some(runtime))))))
    }

    /// Runs it here; without threads of its own, where it is called.
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        match self.0.as_ref().and_then(|own| own.0.as_ref()) {
            Some(runtime) => runtime.spawn(work),
            None => tokio::spawn(work),
        }
    }
}

/// The same items; every 100 µs or so, between two of them, whoever waits for this processor has it first.
///
/// The nice value alone does not do that: a thread that wakes up waits until the time slice of the one that runs is
/// over, some milliseconds, however little that one's share is.
pub fn patiently<I: IntoIterator>(items: I) -> impl Iterator<Item = I::Item> {
    giving_way(items, MOMENT, std::thread::yield_now)
}

fn giving_way<I: IntoIterator>(
    items: I,
    moment: Duration,
    give_way: impl Fn(),
) -> impl Iterator<Item = I::Item> {
    let mut since = Instant::now();
    items.into_iter().inspect(move |_| {
        if since.elapsed() >= moment {
            give_way();
            since = Instant::now();
        }
    })
}

impl Drop for Own {
    fn drop(&mut self) {
        // The last clone may go on a thread that must not wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(target_os = "linux")]
fn step_back() {
    // Elsewhere it would be the whole process that steps back.
    let stepped = getpriority_process(None).and_then(|own| setpriority_process(None, own.max(NICE)));
    if let Err(error) = stepped {
        tracing::debug!(%error, "background work keeps its priority");
    }
}

#[cfg(not(target_os = "linux"))]
fn step_back() {}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failing step fails the test")]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn its_threads_step_back_and_no_others_do() {
        let own = || getpriority_process(None).unwrap();
        let before = own();
        let background = Background::start().unwrap();
        let work = async move { (own(), tokio::task::spawn_blocking(own).await.unwrap()) };
        let there = background.spawn(work).await.unwrap();
        assert_eq!(there, (before.max(NICE), before.max(NICE)));
        assert_eq!(own(), before);
    }

    #[test]
    fn who_waits_goes_first_between_two_items_and_none_is_left_out() {
        for (moment, ways) in [(Duration::ZERO, 20), (Duration::MAX, 0)] {
            let given = std::cell::Cell::new(0);
            let done: Vec<u32> = giving_way(0..20, moment, || given.set(given.get() + 1)).collect();
            assert_eq!((done, given.get()), ((0..20).collect(), ways));
        }
    }

    #[tokio::test]
    async fn without_threads_of_its_own_it_runs_where_it_is_called() {
        let here = std::thread::current().id();
        let there = Background::default().spawn(async { std::thread::current().id() }).await.unwrap();
        assert_eq!(there, here);
    }
}
