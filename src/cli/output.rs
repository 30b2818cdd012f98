//! Where a command writes: standard output for what was asked, standard error for everything else. Tests capture both.

use std::fmt::Display;
use std::io::{self, BufRead, BufWriter, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::{Clock, Timestamp};

/// The two streams, and who sits at them.
pub struct Output {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    out_terminal: bool,
    err_terminal: bool,
    answers: Option<Box<dyn BufRead + Send>>,
    clock: Clock,
}

/// What a captured [`Output`] was given.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Output {
    /// The process's own streams. Questions are asked only if both standard input and error are terminals.
    pub fn of_process() -> Self {
        let err_terminal = io::stderr().is_terminal();
        let asks = io::stdin().is_terminal() && err_terminal;
        Self {
            out: Box::new(BufWriter::new(io::stdout())),
            err: Box::new(io::stderr()),
            out_terminal: io::stdout().is_terminal(),
            err_terminal,
            answers: asks.then(|| Box::new(io::BufReader::new(io::stdin())) as Box<dyn BufRead + Send>),
            clock: Clock::system(),
        }
    }

    /// Streams that remember. With `answers`, questions are asked and find them; without, there is no terminal.
    pub fn captured(clock: Clock, answers: Option<&'static str>) -> (Self, Captured, Captured) {
        let (out, err) = (Captured::default(), Captured::default());
        let output = Self {
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
            out_terminal: false,
            err_terminal: false,
            answers: answers.map(|text| Box::new(text.as_bytes()) as Box<dyn BufRead + Send>),
            clock,
        };
        (output, out, err)
    }

    /// What "ago" and "in" are told against.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A line on standard output.
    pub fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// Bytes as they are on standard output.
    pub fn raw(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        write(&mut *self.out)
    }

    /// A line on standard error.
    pub fn note(&mut self, text: impl Display) -> io::Result<()> {
        self.out.flush()?;
        writeln!(self.err, "{text}")
    }

    /// Hands on what was written so far.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Whether a person reads standard output.
    pub fn is_out_terminal(&self) -> bool {
        self.out_terminal
    }

    /// Whether a person reads standard error.
    pub fn is_err_terminal(&self) -> bool {
        self.err_terminal
    }

    /// Asks a yes-or-no question; `None` without a terminal.
    pub fn ask(&mut self, question: impl Display) -> io::Result<Option<bool>> {
        self.out.flush()?;
        let Some(answers) = self.answers.as_mut() else {
            return Ok(None);
        };
        write!(self.err, "{question} [y/N] ")?;
        self.err.flush()?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        Ok(Some(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")))
    }
}

impl Captured {
    /// Everything written so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
