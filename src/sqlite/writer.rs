//! Writing: one thread, one connection, and a commit for as many commands as are waiting.

use std::fs;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::{Config, DirLock, EngineError};
use crate::metrics::STORAGE_COMMITS_TOTAL;

/// The writer lingers only after a group of at least this many commands: below that, waiting costs more than it saves.
const BUSY_GROUP: usize = 4;

/// How often, in groups, the size of the write-ahead log is looked at.
const WAL_LOOK_GROUPS: u64 = 64;

#[derive(Debug)]
pub(super) struct Writer {
    commands: Mutex<Option<Sender<Box<dyn Command>>>>,
    room: Arc<Semaphore>,
    broken: watch::Receiver<Option<EngineError>>,
    commits: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        lock: DirLock,
        wal: PathBuf,
        config: &Config,
    ) -> std::io::Result<Self> {
        let (sender, commands) = channel();
        let (tell_broken, broken) = watch::channel(None);
        let commits = Arc::new(AtomicU64::new(0));
        let desk = Desk {
            connection,
            commands,
            config: config.clone(),
            tell_broken,
            commits: Arc::clone(&commits),
            groups: 0,
            wal,
            wal_warned: false,
            _lock: lock,
        };
        let thread = std::thread::Builder::new().name("sqlite-writer".into()).spawn(move || desk.run())?;
        Ok(Self {
            commands: Mutex::new(Some(sender)),
            room: Arc::new(Semaphore::new(config.queued_max.max(1))),
            broken,
            commits,
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else {
            return Err(self.gone());
        };
        let (reply, answer) = oneshot::channel();
        let command = Box::new(Typed { work: Some(work), done: None, reply, _permit: permit });
        let sent = locked(&self.commands).as_ref().is_some_and(|commands| commands.send(command).is_ok());
        if !sent {
            return Err(self.gone());
        }
        answer.await.unwrap_or_else(|_unanswered| Err(self.gone()))
    }

    /// Why nobody answers.
    fn gone(&self) -> EngineError {
        self.broken.borrow().clone().unwrap_or(EngineError::Closed)
    }

    pub(super) fn broken(&self) -> impl Future<Output = EngineError> + Send + 'static {
        let mut broken = self.broken.clone();
        async move {
            let told = broken.wait_for(Option::is_some).await.ok().and_then(|error| error.clone());
            match told {
                Some(error) => error,
                // The writer ended well: it can no longer break.
                None => std::future::pending().await,
            }
        }
    }

    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(super) async fn close(&self) {
        let thread = self.stop();
        let joined = tokio::task::spawn_blocking(move || thread.map(JoinHandle::join)).await;
        if !matches!(joined, Ok(None | Some(Ok(())))) {
            tracing::error!("the storage writer ended badly");
        }
    }

    /// Hangs up, which makes the writer finish what is waiting and end.
    fn stop(&self) -> Option<JoinHandle<()>> {
        drop(locked(&self.commands).take());
        locked(&self.thread).take()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let Some(thread) = self.stop() else { return };
        // The last clone may die inside a command, on the writer's own thread.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the storage writer ended badly");
        }
    }
}

/// What the writer's thread owns.
struct Desk {
    connection: Connection,
    commands: Receiver<Box<dyn Command>>,
    config: Config,
    tell_broken: watch::Sender<Option<EngineError>>,
    commits: Arc<AtomicU64>,
    groups: u64,
    wal: PathBuf,
    wal_warned: bool,
    // Last: the directory is given free after the connection is closed.
    _lock: DirLock,
}

impl Desk {
    fn run(mut self) {
        let mut last = 0;
        while let Ok(first) = self.commands.recv() {
            let group = self.collect(first, last >= BUSY_GROUP);
            last = group.len();
            if !self.settle(group) {
                return;
            }
            self.look_at_wal();
        }
        let closed = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = closed {
            tracing::warn!(%error, "the write-ahead log stays for the next start");
        }
    }

    /// The commands that share the next commit.
    fn collect(&self, first: Box<dyn Command>, busy: bool) -> Vec<Box<dyn Command>> {
        let mut group = vec![first];
        let until = busy.then(|| Instant::now() + self.config.linger);
        while group.len() < self.config.group_max.max(1) {
            let next = match until {
                None => self.commands.try_recv().map_err(|_| RecvTimeoutError::Timeout),
                Some(until) => self.commands.recv_timeout(until.saturating_duration_since(Instant::now())),
            };
            match next {
                Ok(command) => group.push(command),
                Err(_) => break,
            }
        }
        group
    }

    /// Runs a group in one transaction and answers everybody. Whether the engine is still well.
    fn settle(&mut self, mut group: Vec<Box<dyn Command>>) -> bool {
        let committed = self.commit(&mut group).map_err(EngineError::Broken);
        if let Err(error) = &committed {
            tracing::error!(%error, "nothing is written any more");
            if !self.connection.is_autocommit()
                && let Err(error) = self.connection.execute_batch("ROLLBACK")
            {
                tracing::error!(%error, "the rollback failed too");
            }
            // Told before anybody is answered: a later write must find it.
            self.tell_broken.send_replace(Some(error.clone()));
        }
        for command in group {
            command.answer(committed.clone());
        }
        committed.is_ok()
    }

    fn commit(&mut self, group: &mut [Box<dyn Command>]) -> Result<(), String> {
        let sql = |error: rusqlite::Error| error.to_string();
        let connection = &self.connection;
        let before = connection.total_changes();
        connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([])).map_err(sql)?;
        for command in group.iter_mut() {
            match catch_unwind(AssertUnwindSafe(|| command.run(connection))) {
                Ok(done) => done.map_err(sql)?,
                Err(_) => return Err("a command panicked".into()),
            }
        }
        connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])).map_err(sql)?;
        if connection.total_changes() != before {
            self.commits.fetch_add(1, Ordering::Relaxed);
            metrics::counter!(STORAGE_COMMITS_TOTAL).increment(1);
        }
        Ok(())
    }

    /// A reader that holds an old snapshot keeps the log from being reused: say so once, before the disk is full.
    fn look_at_wal(&mut self) {
        self.groups += 1;
        if self.wal_warned || !self.groups.is_multiple_of(WAL_LOOK_GROUPS) {
            return;
        }
        let bytes = fs::metadata(&self.wal).map(|file| file.len()).unwrap_or(0);
        if bytes > self.config.wal_warn_bytes {
            self.wal_warned = true;
            tracing::warn!(
                bytes,
                "the write-ahead log has grown large: a long read keeps it from being reused"
            );
        }
    }
}

/// One waiting piece of work.
trait Command: Send {
    /// Does the work inside the group's transaction.
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    /// Tells the waiter, after the commit.
    fn answer(self: Box<Self>, committed: Result<(), EngineError>);
}

struct Typed<F, T> {
    work: Option<F>,
    done: Option<T>,
    reply: oneshot::Sender<Result<T, EngineError>>,
    _permit: OwnedSemaphorePermit,
}

impl<F, T> Command for Typed<F, T>
where
    T: Send,
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if let Some(work) = self.work.take() {
            self.done = Some(work(connection)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), EngineError>) {
        let Typed { done, reply, .. } = *self;
        let _nobody_waits_any_more = reply.send(committed.and_then(|()| done.ok_or(EngineError::Closed)));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
