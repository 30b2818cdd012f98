//! Whose turn it is at the writer: those that somebody waits for, together; and between them, for moments, work that may
//! wait. Neither starves.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Patient work has at least so long, also while others wait: a busy house folds its events as well.
const LEAST: Duration = Duration::from_micros(250);
/// And no longer than this alone: the more it wrote, the longer the commit takes for which the next one waits.
const MOST: Duration = Duration::from_millis(1);

/// A read that can do without one snapshot holds none for longer: meanwhile the log only grows, and then all of it is copied
/// at once, for which commits wait.
const SNAPSHOT: Duration = Duration::from_millis(10);

/// How long a piece of work may go on.
#[derive(Debug)]
pub struct Pace {
    begun: Instant,
    most: Duration,
    prompt: Arc<AtomicUsize>,
}

impl Pace {
    /// Of writing that nobody else waits for.
    pub(super) fn start() -> Self {
        Self { begun: Instant::now(), most: MOST, prompt: Arc::default() }
    }

    /// Of a read that is asked again.
    pub(super) fn of_snapshot() -> Self {
        Self { most: SNAPSHOT, ..Self::start() }
    }

    /// Whether to come to an end and ask for another turn. A piece that asks has done something before.
    pub fn is_over(&self) -> bool {
        self.is_over_after(self.begun.elapsed())
    }

    fn is_over_after(&self, elapsed: Duration) -> bool {
        elapsed >= if self.is_waited_for() { LEAST } else { self.most }
    }

    fn is_waited_for(&self) -> bool {
        self.prompt.load(Ordering::Relaxed) > 0
    }
}

/// What the writer does next.
pub(super) enum Turn<C> {
    /// These share a commit.
    Prompt(Vec<C>),
    /// This, what of the others there is time for, and the prompt ones that came meanwhile.
    Patient(C, Pace),
}

pub(super) struct Turns<C> {
    waiting: Mutex<Waiting<C>>,
    changed: Condvar,
    /// How many prompt ones wait.
    prompt: Arc<AtomicUsize>,
}

struct Waiting<C> {
    prompt: VecDeque<C>,
    patient: VecDeque<C>,
    is_patients_turn: bool,
    is_paused: bool,
    is_closed: bool,
}

impl<C> Turns<C> {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                prompt: VecDeque::new(),
                patient: VecDeque::new(),
                is_patients_turn: false,
                is_paused: false,
                is_closed: false,
            }),
            changed: Condvar::new(),
            prompt: Arc::default(),
        }
    }

    /// Whether it will have its turn: not after the end.
    pub(super) fn push(&self, command: C, is_patient: bool) -> bool {
        let mut waiting = self.waiting();
        if waiting.is_closed {
            return false;
        }
        if is_patient {
            waiting.patient.push_back(command);
        } else {
            waiting.prompt.push_back(command);
            self.prompt.store(waiting.prompt.len(), Ordering::Relaxed);
        }
        drop(waiting);
        self.changed.notify_all();
        true
    }

    /// Patient work that was begun goes on before what came later; also after the end, so that it comes to its own.
    pub(super) fn push_again(&self, command: C) {
        self.waiting().patient.push_front(command);
    }

    /// Waits for it. A prompt group has up to `most`; it is waited `linger` for more where that is given and nothing
    /// else is to be done. `None`: closed, and nothing waits any more.
    pub(super) fn next(&self, most: usize, linger: Option<Duration>) -> Option<Turn<C>> {
        let mut waiting = self.waiting();
        loop {
            let is_patient_ready = waiting.is_patient_ready();
            let is_patients = waiting.is_patients_turn && is_patient_ready;
            if !waiting.prompt.is_empty() && !is_patients {
                waiting.is_patients_turn = true;
                return Some(Turn::Prompt(self.group(waiting, most, linger)));
            }
            if is_patient_ready && let Some(command) = waiting.patient.pop_front() {
                waiting.is_patients_turn = false;
                return Some(Turn::Patient(command, Pace { prompt: self.prompt.clone(), ..Pace::start() }));
            }
            if waiting.is_closed && waiting.prompt.is_empty() && waiting.patient.is_empty() {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn group(
        &self,
        mut waiting: MutexGuard<'_, Waiting<C>>,
        most: usize,
        linger: Option<Duration>,
    ) -> Vec<C> {
        if let Some(linger) = linger {
            let is_short = |waiting: &mut Waiting<C>| {
                waiting.prompt.len() < most && !waiting.is_patient_ready() && !waiting.is_closed
            };
            let lingered = self.changed.wait_timeout_while(waiting, linger, is_short);
            waiting = lingered.unwrap_or_else(PoisonError::into_inner).0;
        }
        let count = waiting.prompt.len().min(most.max(1));
        let group = waiting.prompt.drain(..count).collect();
        self.prompt.store(waiting.prompt.len(), Ordering::Relaxed);
        group
    }

    /// The prompt ones that wait, up to `most`, for the commit of a patient turn.
    pub(super) fn joining(&self, most: usize) -> Vec<C> {
        self.group(self.waiting(), most, None)
    }

    /// Another patient one for the same turn.
    pub(super) fn another(&self) -> Option<C> {
        let mut waiting = self.waiting();
        if waiting.is_patient_ready() { waiting.patient.pop_front() } else { None }
    }

    /// Patient work waits until this is undone, or the end.
    pub(super) fn pause(&self, is_paused: bool) {
        self.waiting().is_paused = is_paused;
        self.changed.notify_all();
    }

    /// Takes nothing more; what waits has its turn still.
    pub(super) fn close(&self) {
        self.waiting().is_closed = true;
        self.changed.notify_all();
    }

    /// Nothing has its turn any more.
    pub(super) fn end(&self) {
        let mut waiting = self.waiting();
        waiting.is_closed = true;
        let left = (std::mem::take(&mut waiting.prompt), std::mem::take(&mut waiting.patient));
        drop(waiting);
        // Whoever waits for one of these is told by its end.
        drop(left);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<C>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Waiting<C> {
    fn is_patient_ready(&self) -> bool {
        !self.patient.is_empty() && (self.is_closed || !self.is_paused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(turns: &Turns<u32>) -> Option<(bool, Vec<u32>)> {
        Some(match turns.next(10, None)? {
            Turn::Prompt(group) => (false, group),
            Turn::Patient(command, _) => (true, vec![command]),
        })
    }

    #[test]
    fn prompt_ones_go_together_and_first_and_then_it_goes_by_turns() {
        let turns = Turns::new();
        for (command, is_patient) in [(1, true), (2, true), (3, false), (4, false)] {
            assert!(turns.push(command, is_patient));
        }
        assert_eq!(next(&turns), Some((false, vec![3, 4])));
        turns.push(5, false);
        assert_eq!(next(&turns), Some((true, vec![1])), "however many prompt ones come");
        assert_eq!(next(&turns), Some((false, vec![5])));
        assert_eq!(next(&turns), Some((true, vec![2])));
    }

    #[test]
    fn what_is_paused_waits_until_it_goes_on_or_the_end() {
        let turns = Turns::new();
        turns.pause(true);
        for (command, is_patient) in [(1, true), (2, false), (3, false)] {
            turns.push(command, is_patient);
        }
        assert_eq!(next(&turns), Some((false, vec![2, 3])));
        assert_eq!(turns.another(), None);
        turns.pause(false);
        assert_eq!(next(&turns), Some((true, vec![1])));
        turns.pause(true);
        turns.push(4, true);
        turns.close();
        assert!(!turns.push(5, true), "closed");
        assert_eq!(next(&turns), Some((true, vec![4])));
        assert_eq!(next(&turns), None);
    }

    #[test]
    fn prompt_ones_that_come_meanwhile_join_a_patient_turn() {
        let turns = Turns::new();
        turns.push(1, true);
        assert_eq!(next(&turns), Some((true, vec![1])));
        assert!(turns.joining(10).is_empty());
        for command in 2..5 {
            turns.push(command, false);
        }
        assert_eq!(turns.joining(2), [2, 3], "bounded as any other group");
        assert_eq!(next(&turns), Some((false, vec![4])));
    }

    #[test]
    fn patient_work_ends_early_where_somebody_waits_and_never_at_once() {
        let turns = Turns::new();
        turns.push(1, true);
        let Some(Turn::Patient(_, pace)) = turns.next(10, None) else { panic!("it is the only one") };
        assert!(!pace.is_waited_for());
        turns.push(2, false);
        assert!(pace.is_waited_for());
        assert!(!pace.is_over_after(Duration::ZERO));
        assert!(pace.is_over_after(LEAST));
        let alone = Pace::start();
        assert!(!alone.is_over_after(LEAST));
        assert!(alone.is_over_after(MOST));
        let reading = Pace::of_snapshot();
        assert!(!reading.is_over_after(MOST));
        assert!(reading.is_over_after(SNAPSHOT));
    }

    #[test]
    fn at_the_end_whatever_waits_is_dropped() {
        let turns = Turns::new();
        let command = Arc::new(());
        turns.push(command.clone(), true);
        turns.push(command.clone(), false);
        turns.end();
        assert_eq!(Arc::strong_count(&command), 1);
        assert!(!turns.push(command, false));
    }
}
