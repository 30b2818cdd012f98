//! Reading: a few connections, each used by one read at a time on a blocking thread.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle, OpenFlags};
use tokio::sync::Semaphore;

use super::{Config, EngineError};

/// Negative: in KiB, per connection.
const READER_CACHE_KIB: i64 = -4096;

#[derive(Debug)]
pub(super) struct Readers {
    file: PathBuf,
    timeout: Duration,
    room: Arc<Semaphore>,
    count: u32,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(file: PathBuf, config: &Config) -> Self {
        let count = u32::try_from(config.readers.max(1)).unwrap_or(1);
        let room = Arc::new(Semaphore::new(count as usize));
        Self { file, timeout: config.read_timeout, room, count, idle: Arc::default() }
    }

    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else {
            return Err(EngineError::Closed);
        };
        let connection = locked(&self.idle).pop();
        let (file, idle) = (self.file.clone(), Arc::clone(&self.idle));
        let running: Arc<Mutex<Option<InterruptHandle>>> = Arc::default();
        let handle = Arc::clone(&running);
        let mut read = tokio::task::spawn_blocking(move || {
            // The permit goes with the work: a caller that stops waiting does not free the connection.
            let _permit = permit;
            let mut connection = match connection {
                Some(connection) => connection,
                None => open(&file)?,
            };
            *locked(&handle) = Some(connection.get_interrupt_handle());
            let snapshot = connection.transaction()?;
            let outcome = work(&snapshot);
            // Reading only: there is nothing to commit, and a failed end would show in the next read.
            snapshot.finish()?;
            // Taken before the connection is given back, so that a late interrupt never meets the next read.
            *locked(&handle) = None;
            locked(&idle).push(connection);
            outcome
        });
        let done = match tokio::time::timeout(self.timeout, &mut read).await {
            Ok(done) => done,
            Err(_late) => {
                if let Some(running) = locked(&running).as_ref() {
                    running.interrupt();
                }
                read.await
            }
        };
        match done {
            Ok(outcome) => outcome.map_err(|e| EngineError::Read(e.to_string())),
            Err(panicked) => Err(EngineError::Read(panicked.to_string())),
        }
    }

    /// Waits for the reads under way, then closes every connection.
    pub(super) async fn close(&self) {
        let all = self.room.acquire_many(self.count).await;
        self.room.close();
        drop(all);
        locked(&self.idle).clear();
    }
}

fn open(file: &PathBuf) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.pragma_update(None, "cache_size", READER_CACHE_KIB)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
