//! Checkpoints, on a thread and a connection of their own: within a commit they would let everybody wait, for some
//! 100 ms in a flood. <https://sqlite.org/wal.html#ckpt>

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rusqlite::{Connection, OpenFlags};

/// Frames in the write-ahead log above which it is copied into the database: 64 MiB. Half of that wrote a third more
/// bytes at 150,000 records, as it writes pages that are still hot; more than that gained nothing.
const DUE_FRAMES: u32 = 8000;
/// Where a reader's snapshot kept a checkpoint from its end, the next is tried after so many further frames.
const AGAIN_FRAMES: u32 = 1000;
/// Each copies what was written during the one before, until nothing was.
const PASSES: usize = 8;

/// Lets the log be copied whenever it has grown.
pub(super) struct Checkpointer {
    log: Arc<Log>,
    thread: Option<JoinHandle<()>>,
}

/// The write-ahead log, as far as its commits tell.
#[derive(Default)]
struct Log {
    size: Mutex<Size>,
    changed: Condvar,
}

#[derive(Default)]
struct Size {
    frames: u32,
    /// Frames above which a checkpoint is due, where that is more than usual.
    tried_at: u32,
    is_over: bool,
}

impl Size {
    fn is_due(&self) -> bool {
        self.frames >= DUE_FRAMES.max(self.tried_at)
    }
}

impl Checkpointer {
    /// Listens to the writer's commits. `pause` is asked to keep from writing whoever can wait, while the rest of the
    /// log is copied: it starts anew only when nothing is left.
    pub(super) fn start(
        file: &Path,
        writer: &mut Connection,
        pause: impl Fn(bool) + Send + 'static,
    ) -> rusqlite::Result<Self> {
        let log = Arc::new(Log::default());
        let told = log.clone();
        writer.wal_hook(Some(move |_: &mut _, frames| {
            told.has(u32::try_from(frames).unwrap_or(0));
            Ok(())
        }))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags)?;
        connection.pragma_update(None, "synchronous", "full")?;
        let own = log.clone();
        let thread = std::thread::Builder::new().name("sqlite-checkpoint".into());
        let thread = thread
            .spawn(move || run(&own, &connection, &pause))
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        Ok(Self { log, thread: Some(thread) })
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.log.size().is_over = true;
        self.log.changed.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the checkpoints ended badly");
        }
    }
}

impl Log {
    fn size(&self) -> MutexGuard<'_, Size> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A commit left it with so many frames.
    fn has(&self, frames: u32) {
        let mut size = self.size();
        if frames < size.frames {
            // It started anew.
            size.tried_at = 0;
        }
        size.frames = frames;
        if size.is_due() {
            self.changed.notify_all();
        }
    }
}

fn run(log: &Log, connection: &Connection, pause: &dyn Fn(bool)) {
    let mut is_ill = false;
    loop {
        let is_waiting = |size: &mut Size| !size.is_due() && !size.is_over;
        let size = log.changed.wait_while(log.size(), is_waiting).unwrap_or_else(PoisonError::into_inner);
        if size.is_over {
            return;
        }
        drop(size);
        let copied = copy(log, connection, pause);
        pause(false);
        if let Err(error) = &copied
            && !is_ill
        {
            tracing::warn!(%error, "the write-ahead log grows: it cannot be copied into the database");
        }
        is_ill = copied.is_err();
        let mut size = log.size();
        size.tried_at = size.frames + AGAIN_FRAMES;
    }
}

/// Copies until nothing is left, or a reader's snapshot is in the way.
fn copy(log: &Log, connection: &Connection, pause: &dyn Fn(bool)) -> rusqlite::Result<()> {
    for pass in 0..PASSES {
        pause(pass > 0);
        let begun = Instant::now();
        let told =
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)));
        let (frames, copied): (i64, i64) = told?;
        let took = begun.elapsed();
        tracing::debug!(pass, frames, copied, ?took, "copied the write-ahead log into the database");
        if copied < frames || i64::from(log.size().frames) <= frames {
            break;
        }
    }
    Ok(())
}
