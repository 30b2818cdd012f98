//! How whoever asks for a job wakes the one who does it, within one process.

use tokio::sync::mpsc;

/// Rings for a job that was just asked for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bell {
    rings: mpsc::UnboundedSender<String>,
    sees_outcomes: bool,
}

/// Where the rings arrive: the ids of the jobs.
pub type Rings = mpsc::UnboundedReceiver<String>;

impl Bell {
    /// A bell and its other end. `sees_outcomes`: what becomes of what is redriven will be learnt, since workers run.
    pub fn new(sees_outcomes: bool) -> (Self, Rings) {
        let (rings, arrive) = mpsc::unbounded_channel();
        (Self { rings, sees_outcomes }, arrive)
    }

    /// Tells of a job. Where nobody in this process does jobs, another one finds it in the journal.
    pub fn ring(&self, id: &str) {
        let _nobody_here = self.rings.send(id.to_owned());
    }

    /// Whether a job can judge what became of what it redrove.
    pub fn sees_outcomes(&self) -> bool {
        self.sees_outcomes
    }
}
