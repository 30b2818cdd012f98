//! Checkpoints, on a thread and a connection of their own: within a commit they would let everybody wait, for some
//! 100 ms in a flood. <https://sqlite.org/wal.html#ckpt>

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rusqlite::{Connection, OpenFlags};

use super::OpenError;

/// Each copies what was written during the one before.
const PASSES: u32 = 8;

/// Copied in parts beside everybody, it is made to start anew when it is so many parts long: patient work pauses for that.
const ANEW: u32 = 10;

/// Lets the log be copied whenever it has grown.
pub(super) struct Checkpointer {
    log: Arc<Log>,
    thread: Option<JoinHandle<()>>,
}

/// The write-ahead log, as far as its commits tell.
struct Log {
    size: Mutex<Size>,
    changed: Condvar,
    /// All but what came last is copied.
    has_rest: AtomicBool,
    /// Frames above which it is copied; where that did not come to its end, so many further ones are waited for.
    due: u32,
}

#[derive(Default)]
struct Size {
    frames: u32,
    /// Frames above which it is tried again.
    again_at: u32,
    is_over: bool,
}

impl Checkpointer {
    /// Listens to the writer's commits. `pause` is asked to keep from writing whoever can wait, while what was written
    /// during a first copy is copied: the log starts anew only when nothing is left.
    pub(super) fn start(
        file: &Path,
        writer: &mut Connection,
        due: u32,
        pause: impl Fn(bool) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let (size, changed, has_rest) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        let log = Arc::new(Log { size, changed, has_rest, due });
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
            .map_err(|source| OpenError::Io { dir: file.to_owned(), source })?;
        Ok(Self { log, thread: Some(thread) })
    }

    /// Copies what is left of the log, where that is little: while others go on writing, only the writer itself meets a
    /// moment in which nothing is.
    pub(super) fn copy_rest(&self, writer: &Connection) {
        if self.log.has_rest.swap(false, Ordering::Relaxed)
            && let Err(error) = checkpoint(writer)
        {
            tracing::warn!(%error, "the rest of the write-ahead log is left for later");
        }
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

    fn is_due(&self, size: &Size) -> bool {
        size.frames >= self.due.max(size.again_at)
    }

    /// A commit left it with so many frames.
    fn has(&self, frames: u32) {
        let mut size = self.size();
        if frames < size.frames {
            // It started anew.
            size.again_at = 0;
        }
        size.frames = frames;
        if self.is_due(&size) {
            self.changed.notify_all();
        }
    }
}

fn run(log: &Log, connection: &Connection, pause: &dyn Fn(bool)) {
    let mut is_ill = false;
    loop {
        let is_waiting = |size: &mut Size| !log.is_due(size) && !size.is_over;
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
        size.again_at = size.frames + log.due;
    }
}

/// Copies the log; a long one, and then what was written meanwhile, until that is nothing. Where others write without a
/// pause, it is left to the writer once the log is twice as long as it should be.
fn copy(log: &Log, connection: &Connection, pause: &dyn Fn(bool)) -> rusqlite::Result<()> {
    for pass in 0..PASSES {
        pause(pass > 0);
        let (frames, copied) = checkpoint(connection)?;
        let is_held_by_a_reader = copied < frames;
        let length = log.size().frames;
        let is_short = length < log.due.saturating_mul(ANEW);
        if is_held_by_a_reader || is_short || i64::from(length) <= frames {
            return Ok(());
        }
    }
    let is_long = log.size().frames >= log.due.saturating_mul(2 * ANEW);
    log.has_rest.store(is_long, Ordering::Relaxed);
    Ok(())
}

/// Copies what no reader's snapshot holds; the frames that were there, and those that are copied now. Waits for nobody.
fn checkpoint(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let begun = Instant::now();
    let told =
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)));
    let (frames, copied) = told?;
    let took = begun.elapsed();
    tracing::debug!(frames, copied, ?took, "copied the write-ahead log into the database");
    Ok((frames, copied))
}
