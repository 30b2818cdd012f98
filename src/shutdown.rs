//! Shutdown is an argument: whoever loops takes a [`Shutdown`] and ends when it is pulled.

use tokio::sync::watch;

/// Pulls the shutdown. Dropping it pulls too, so that a panicking owner never leaves loops running.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

/// Tells that it is time to stop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// A connected pair.
pub fn channel() -> (ShutdownTrigger, Shutdown) {
    let (trigger, signal) = watch::channel(false);
    (ShutdownTrigger(trigger), Shutdown(signal))
}

impl ShutdownTrigger {
    /// Tells every holder of the [`Shutdown`] to stop.
    pub fn pull(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Whether it was pulled.
    pub fn is_pulled(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits until it is pulled.
    pub async fn pulled(&self) {
        let mut signal = self.0.clone();
        // An error says that the trigger is gone, which pulls as well.
        let _gone = signal.wait_for(|pulled| *pulled).await;
    }
}
