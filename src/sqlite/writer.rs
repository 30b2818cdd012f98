//! Writing: one thread, one connection, and a commit for as many commands as are waiting. What may wait has its turns
//! between those that somebody waits for.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::{fmt, fs};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::checkpoint::Checkpointer;
use super::turns::{Pace, Turn, Turns};
use super::{Config, DirLock, EngineError, OpenError};
use crate::metrics::STORAGE_COMMITS_TOTAL;

/// The writer lingers only after a group of at least this many commands: below that, waiting costs more than it saves.
const BUSY_GROUP: usize = 4;

/// How often, in groups, the size of the write-ahead log is looked at.
const WAL_LOOK_GROUPS: u64 = 64;

type Commands = Turns<Box<dyn Command>>;

pub(super) struct Writer {
    turns: Arc<Commands>,
    /// For prompt ones, and for patient ones.
    rooms: [Arc<Semaphore>; 2],
    broken: watch::Receiver<Option<EngineError>>,
    commits: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn start(
        mut connection: Connection,
        lock: DirLock,
        file: &Path,
        config: &Config,
    ) -> Result<Self, OpenError> {
        let turns: Arc<Commands> = Arc::new(Turns::new());
        let pausing = turns.clone();
        let checkpointer = Checkpointer::start(file, &mut connection, config.checkpoint_frames, move |is| {
            pausing.pause(is)
        })?;
        let (tell_broken, broken) = watch::channel(None);
        let commits = Arc::new(AtomicU64::new(0));
        let desk = Desk {
            turns: turns.clone(),
            checkpointer: Some(checkpointer),
            connection,
            config: config.clone(),
            tell_broken,
            commits: commits.clone(),
            groups: 0,
            wal: file.with_file_name(format!("{}-wal", super::DATABASE_FILE)),
            wal_warned: false,
            _lock: lock,
        };
        let thread = std::thread::Builder::new().name("sqlite-writer".into()).spawn(move || desk.run());
        let thread = thread.map_err(|source| OpenError::Io { dir: file.to_owned(), source })?;
        let room = || Arc::new(Semaphore::new(config.queued_max.max(1)));
        Ok(Self { turns, rooms: [room(), room()], broken, commits, thread: Mutex::new(Some(thread)) })
    }

    pub(super) async fn write<T, F>(&self, work: F, is_patient: bool) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: FnMut(&Connection, &Pace) -> rusqlite::Result<Option<T>> + Send + 'static,
    {
        let room = self.rooms[usize::from(is_patient)].clone();
        let Ok(permit) = room.acquire_owned().await else { return Err(self.gone()) };
        let (reply, answer) = oneshot::channel();
        let command = Box::new(Typed { work, done: None, reply, _permit: permit });
        if !self.turns.push(command, is_patient) {
            return Err(self.gone());
        }
        match answer.await {
            Ok((answer, _work)) => answer,
            Err(_unanswered) => Err(self.gone()),
        }
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
        self.turns.close();
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
    turns: Arc<Commands>,
    /// Gone before the last checkpoint, and before the connection.
    checkpointer: Option<Checkpointer>,
    connection: Connection,
    config: Config,
    tell_broken: watch::Sender<Option<EngineError>>,
    commits: Arc<AtomicU64>,
    groups: u64,
    wal: PathBuf,
    wal_warned: bool,
    // Last: the directory is given free after the connection is closed.
    _lock: DirLock,
}

/// Commands of one commit.
type Group = Vec<Box<dyn Command>>;

impl Desk {
    fn run(mut self) {
        let mut last = 0;
        loop {
            let linger = (last >= BUSY_GROUP).then_some(self.config.linger);
            let is_well = match self.turns.next(self.config.group_max, linger) {
                Some(Turn::Prompt(group)) => {
                    last = group.len();
                    self.settle(group, &Pace::start(), None)
                }
                Some(Turn::Patient(first, pace)) => {
                    let turns = self.turns.clone();
                    self.settle(vec![first], &pace, Some(&turns))
                }
                None => break,
            };
            if !is_well {
                return;
            }
            if let Some(checkpointer) = &self.checkpointer {
                checkpointer.copy_rest(&self.connection);
            }
            self.look_at_wal();
        }
        self.checkpointer = None;
        let closed = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = closed {
            tracing::warn!(%error, "the write-ahead log stays for the next start");
        }
    }

    /// Runs a group in one transaction and answers everybody; a `patient` one with what else of its kind there is time
    /// for, and with the prompt ones that came meanwhile. Whether the engine is still well.
    fn settle(&mut self, mut group: Group, pace: &Pace, patient: Option<&Commands>) -> bool {
        let committed = self.commit(&mut group, pace, patient).map_err(EngineError::Broken);
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
            if committed.is_ok() && !command.is_done() {
                self.turns.push_again(command);
            } else {
                command.answer(committed.clone());
            }
        }
        committed.is_ok()
    }

    fn commit(&mut self, group: &mut Group, pace: &Pace, patient: Option<&Commands>) -> Result<(), String> {
        let sql = |error: rusqlite::Error| error.to_string();
        let connection = &self.connection;
        let before = connection.total_changes();
        connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([])).map_err(sql)?;
        run(connection, group, 0, pace)?;
        if let Some(turns) = patient {
            while group.last().is_some_and(|last| last.is_done())
                && !pace.is_over()
                && let Some(another) = turns.another()
            {
                group.push(another);
                run(connection, group, group.len() - 1, pace)?;
            }
            let first = group.len();
            group.extend(turns.joining(self.config.group_max));
            run(connection, group, first, pace)?;
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

impl Drop for Desk {
    fn drop(&mut self) {
        // Nobody waits for what is not written any more.
        self.turns.end();
    }
}

/// Runs what the group has from place `first` on, inside its transaction.
fn run(connection: &Connection, group: &mut Group, first: usize, pace: &Pace) -> Result<(), String> {
    for command in group.iter_mut().skip(first) {
        match catch_unwind(AssertUnwindSafe(|| command.run(connection, pace))) {
            Ok(ran) => ran.map_err(|error| error.to_string())?,
            Err(_) => return Err("a command panicked".into()),
        }
    }
    Ok(())
}

/// One waiting piece of work.
trait Command: Send {
    /// Does the work inside the group's transaction, or a piece of it.
    fn run(&mut self, connection: &Connection, pace: &Pace) -> rusqlite::Result<()>;
    /// Whether it needs no further turn.
    fn is_done(&self) -> bool;
    /// Tells the waiter, after the commit.
    fn answer(self: Box<Self>, committed: Result<(), EngineError>);
}

struct Typed<F, T> {
    work: F,
    done: Option<T>,
    /// The work goes back with it: what it holds may take longer to be freed than it took to be written.
    reply: oneshot::Sender<(Result<T, EngineError>, F)>,
    _permit: OwnedSemaphorePermit,
}

impl<F, T> Command for Typed<F, T>
where
    T: Send,
    F: FnMut(&Connection, &Pace) -> rusqlite::Result<Option<T>> + Send,
{
    fn run(&mut self, connection: &Connection, pace: &Pace) -> rusqlite::Result<()> {
        self.done = (self.work)(connection, pace)?;
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done.is_some()
    }

    fn answer(self: Box<Self>, committed: Result<(), EngineError>) {
        let Typed { work, done, reply, .. } = *self;
        let answer = committed.and_then(|()| done.ok_or(EngineError::Closed));
        let _nobody_waits_any_more = reply.send((answer, work));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
