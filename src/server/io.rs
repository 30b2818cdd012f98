//! What a connection's socket needs beyond TCP: bounded silence in both directions, and an end that does not eat the
//! answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How long a closing connection waits for more to throw away, how long it does so at most, and for how much: a client
/// that writes the whole of a body that is far too large still reads its 413.
const LINGER_IDLE: Duration = Duration::from_secs(1);
const LINGER_TOTAL: Duration = Duration::from_secs(10);
const LINGER_BYTES: usize = 256 * 1024 * 1024;

/// Whether bytes came since the connection began to wait for a request.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<AtomicBool>);

/// A socket whose writes may not stall for ever, and which lingers when it is closed.
#[derive(Debug)]
pub(super) struct Io {
    stream: TcpStream,
    progress: Progress,
    write_timeout: Duration,
    stalled: Option<Pin<Box<tokio::time::Sleep>>>,
    linger: Option<Linger>,
}

#[derive(Debug)]
struct Linger {
    idle: Pin<Box<tokio::time::Sleep>>,
    end: tokio::time::Instant,
    bytes_left: usize,
}

impl Io {
    pub(super) fn new(stream: TcpStream, progress: Progress, write_timeout: Duration) -> Self {
        Self { stream, progress, write_timeout, stalled: None, linger: None }
    }

    /// Closes with a TCP reset instead of an orderly end.
    pub(super) fn cut(self) {
        if let Err(error) = self.stream.set_zero_linger() {
            tracing::debug!(%error, "the connection was gone before it could be reset");
        }
    }

    /// Lets a write that is ready pass and ends one that has been pending for too long.
    fn bound_stall<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timeout = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        if into.filled().len() > before {
            self.progress.0.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bound_stall(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bound_stall(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Ends our side, then reads on for a moment: a socket closed over unread bytes sends a reset, and that can take
    /// a 413 or 408 away from a client that is still busy writing its body.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let linger = this.linger.get_or_insert_with(|| Linger {
            idle: Box::pin(tokio::time::sleep(LINGER_IDLE)),
            end: tokio::time::Instant::now() + LINGER_TOTAL,
            bytes_left: LINGER_BYTES,
        });
        let mut scratch = [0; 32 * 1024];
        while linger.bytes_left > 0 {
            let mut into = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(cx, &mut into) {
                Poll::Ready(Ok(())) if into.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {
                    linger.bytes_left = linger.bytes_left.saturating_sub(into.filled().len());
                    let quiet = tokio::time::Instant::now() + LINGER_IDLE;
                    linger.idle.as_mut().reset(quiet.min(linger.end));
                    if quiet > linger.end + LINGER_IDLE {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Err(_gone)) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(linger.idle.as_mut().poll(cx));
                    return Poll::Ready(Ok(()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Tells hyper when a head took too long. Hyper knows one time-out, from the end of a request to the last byte of
/// the next head; this splits it into a long one for the rest between requests, and a short one that starts with the
/// first byte (and, for a connection's first request, with the connection).
#[derive(Clone, Debug)]
pub(super) struct HeadTimer {
    header_timeout: Duration,
    progress: Progress,
    served: Arc<AtomicBool>,
}

impl HeadTimer {
    pub(super) fn new(header_timeout: Duration) -> Self {
        let progress = Progress(Arc::new(AtomicBool::new(false)));
        Self { header_timeout, progress, served: Arc::new(AtomicBool::new(false)) }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl hyper::rt::Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        let first = !self.served.swap(true, Ordering::Relaxed);
        self.progress.0.store(first, Ordering::Relaxed);
        Box::pin(HeadSleep {
            sleep: Box::pin(tokio::time::sleep_until(deadline.into())),
            header_timeout: self.header_timeout,
            progress: self.progress.clone(),
            shortened: false,
        })
    }
}

struct HeadSleep {
    sleep: Pin<Box<tokio::time::Sleep>>,
    header_timeout: Duration,
    progress: Progress,
    shortened: bool,
}

impl hyper::rt::Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    // Hyper polls this each time it has read all there was and the head is still not whole.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.shortened && self.progress.0.load(Ordering::Relaxed) {
            self.shortened = true;
            let until = self.sleep.deadline().min(tokio::time::Instant::now() + self.header_timeout);
            self.sleep.as_mut().reset(until);
        }
        self.sleep.as_mut().poll(cx)
    }
}
