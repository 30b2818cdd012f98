//! The embedded engine that both SQLite adapters share: one writer with group commit, readers on their own
//! connections, one process per directory.
//!
//! An answer is given only once what it says is on disk. Storage that fails to write is not tried again: after a failed
//! `fsync` nobody can say what the disk holds, so the group is rolled back, everybody in it is told, and the engine is
//! broken for good. Whoever runs the process waits on [`Engine::broken`] and exits.

mod checkpoint;
pub mod heard;
mod reader;
mod schema;
mod turns;
mod writer;

use std::fs::{self, File, TryLockError};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use reader::Readers;
pub use turns::Pace;
use writer::Writer;

/// How the engine works. The defaults suit both a laptop and a busy server.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a busy writer collects commands before it commits. A lone command never waits.
    pub linger: Duration,
    /// At most so many commands share one commit.
    pub group_max: usize,
    /// At most so many commands wait for the writer; further ones wait for room.
    pub queued_max: usize,
    /// Connections for reading, opened when first needed.
    pub readers: usize,
    /// A read that takes longer is cut off: an old snapshot keeps the write-ahead log from being reused.
    pub read_timeout: Duration,
    /// Frames (pages) in the write-ahead log above which it is copied into the database, and each time that so many more
    /// are there; at ten times that it is made to start anew.
    pub checkpoint_frames: u32,
    /// The write-ahead log is worth a warning above this size, in bytes.
    pub wal_warn_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(4),
            group_max: 256,
            queued_max: 1024,
            readers: 3,
            read_timeout: Duration::from_secs(30),
            // 800 KiB. Four times that wrote a seventh fewer bytes, as hot pages are written less often; but while so many
            // are made durable at once, the log's own commits wait for the disk: in a deluge of events an accept's p99 was
            // 7 ms instead of 5 to 6.
            checkpoint_frames: 100,
            wal_warn_bytes: 256 << 20,
        }
    }
}

/// The database's name in the data directory.
pub const DATABASE_FILE: &str = "kakitome.db";

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error("the data directory {} is in use by another kakitome process", .0.display())]
    Locked(PathBuf),
    /// The directory cannot be made, or its lock not taken.
    #[error("the data directory {} cannot be used", .dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Linked to a SQLite that may lose committed transactions.
    #[error("SQLite {0} is too old: releases before 3.51.3 can lose committed transactions")]
    TooOld(String),
    /// Written by a later kakitome.
    #[error(
        "the database has schema {found}, this program knows up to {known}: it was written by a later kakitome"
    )]
    NewerSchema {
        /// In the file.
        found: u32,
        /// Known here.
        known: u32,
    },
    /// The database cannot be opened.
    #[error("the database cannot be opened")]
    Sqlite(#[from] rusqlite::Error),
}

/// Why a command or a read got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// A write failed, now or before: nothing of its group was kept, and nothing is written any more.
    #[error("the storage is broken: {0}")]
    Broken(String),
    /// The read failed or took too long.
    #[error("the read failed: {0}")]
    Read(String),
    /// The engine was closed.
    #[error("the storage is closed")]
    Closed,
}

/// The engine. Cheap to clone; every clone is the same engine.
#[derive(Clone, Debug)]
pub struct Engine {
    // Readers before the writer: fields drop in this order, and the last connection to close tidies up.
    readers: Arc<Readers>,
    writer: Arc<Writer>,
}

/// Committed data can vanish in SQLite before this release: the "WAL-reset" race, <https://sqlite.org/wal.html>.
const OLDEST_SQLITE: i32 = 3_051_003;

/// Contents are around 2 KB: 8 KB pages keep several rows together, and took 15 to 20 % less CPU than 4 KB.
const PAGE_BYTES: u32 = 8192;

/// Negative: in KiB. The log's hot pages are few; 200,000 waiting notifications must not show in memory.
const WRITER_CACHE_KIB: i64 = -24_576;

/// What the write-ahead log is cut back to when it starts anew: more than it usually grows to, as a file that grows again
/// takes longer to be made durable.
const WAL_KEPT_BYTES: u32 = 32 << 20;

impl Engine {
    /// Opens the database in `dir`, which is made if it is missing, and takes the directory for this process alone.
    pub fn open(dir: &Path, config: Config) -> Result<Self, OpenError> {
        check_version(rusqlite::version_number())?;
        let lock = lock(dir)?;
        let file = dir.join(DATABASE_FILE);
        make_private(&file).map_err(|source| OpenError::Io { dir: dir.to_owned(), source })?;
        let connection = open_for_writing(&file)?;
        let writer = Writer::start(connection, lock, &file, &config)?;
        Ok(Self { readers: Arc::new(Readers::new(file, &config)), writer: Arc::new(writer) })
    }

    /// Runs `work` on the writer and answers once it is committed, together with whatever else was waiting.
    ///
    /// Any error or panic in `work` breaks the engine: an expected refusal is a value in `T`. `work` may run even if
    /// the returned future is dropped.
    pub async fn write<T, F>(&self, work: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let mut work = Some(work);
        let once = move |tx: &Connection, _: &Pace| work.take().map(|work| work(tx)).transpose();
        self.writer.write(once, false).await
    }

    /// As [`Engine::write`], for work that may wait: it has its turns between what others wait for. It is to end a turn
    /// when its pace is over, with `None` if something is left to do: then it is asked again, and each turn is a commit
    /// of its own.
    pub async fn write_between<T, F>(&self, work: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: FnMut(&Connection, &Pace) -> rusqlite::Result<Option<T>> + Send + 'static,
    {
        self.writer.write(work, true).await
    }

    /// Runs `work` on a reader, in one snapshot of what is committed, also while the writer commits.
    pub async fn read<T, F>(&self, work: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.readers.read(work).await
    }

    /// As [`Engine::read`], for work that takes long and needs no one snapshot for all of it: it is to end when its pace is
    /// over, with `None` if something is left to do; then it is asked again, on another snapshot.
    pub async fn read_on<T, F>(&self, mut work: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: FnMut(&Connection, &Pace) -> rusqlite::Result<Option<T>> + Send + 'static,
    {
        loop {
            let (done, rest) = self
                .read(move |tx| {
                    let done = work(tx, &Pace::of_snapshot())?;
                    Ok((done, work))
                })
                .await?;
            match done {
                Some(done) => return Ok(done),
                None => work = rest,
            }
        }
    }

    /// Resolves with the reason when the engine breaks; never while it is well or when it was closed.
    pub fn broken(&self) -> impl Future<Output = EngineError> + Send + 'static {
        self.writer.broken()
    }

    /// How many commits wrote something since the start: each is one `fsync`.
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }

    /// Runs what is waiting, moves the write-ahead log into the database and gives the directory free. Later calls
    /// on any clone fail with [`EngineError::Closed`].
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn check_version(number: i32) -> Result<(), OpenError> {
    if number >= OLDEST_SQLITE {
        return Ok(());
    }
    Err(OpenError::TooOld(format!("{}.{}.{}", number / 1_000_000, number / 1000 % 1000, number % 1000)))
}

/// The directory's lock, given free when dropped. By name, not by closing the file alone: a child process that is being
/// started meanwhile has a copy of the open file for a moment, and would keep the lock with it.
#[derive(Debug)]
struct DirLock(File);

impl Drop for DirLock {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the data directory's lock goes with the process");
        }
    }
}

fn lock(dir: &Path) -> Result<DirLock, OpenError> {
    let io = |source| OpenError::Io { dir: dir.to_owned(), source };
    make_dir(dir).map_err(io)?;
    let lock = File::options().create(true).truncate(false).write(true).open(dir.join("lock")).map_err(io)?;
    match lock.try_lock() {
        Ok(()) => Ok(DirLock(lock)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Guests' addresses lie here: a directory that we make is its owner's alone.
fn make_dir(dir: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// The database is its owner's alone also in a directory that others may read; SQLite gives its log the same mode.
fn make_private(file: &Path) -> std::io::Result<()> {
    let mut options = File::options();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop)
}

fn open_for_writing(file: &Path) -> Result<Connection, OpenError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(file, flags)?;
    // The page size counts only before the first table and before WAL mode.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES)?;
    connection.pragma_update(None, "cache_size", WRITER_CACHE_KIB)?;
    connection.set_prepared_statement_cache_capacity(128);
    schema::migrate(&mut connection)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_that_can_lose_commits_is_refused() {
        let refused = check_version(3_051_002).map_err(|e| e.to_string());
        assert_eq!(
            refused,
            Err("SQLite 3.51.2 is too old: releases before 3.51.3 can lose committed transactions".into())
        );
        assert!(check_version(3_051_003).is_ok());
        assert!(check_version(rusqlite::version_number()).is_ok());
    }
}
