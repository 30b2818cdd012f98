//! The HTTP listener that all doors share: bounded connections, bounded time for heads, bodies and answers, graceful
//! end.
//!
//! The accept loop is our own because `axum::serve` has no defence against slow heads. What it does not know: any
//! route, any key, any status code.

mod body;
mod io;
pub mod problem;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::shutdown::Shutdown;
pub use body::{BodyError, read_body};
use io::{HeadTimer, Io};

/// Bounds of the listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// Connections at once; further ones wait in the backlog.
    pub max_connections: usize,
    /// From accept, or from the first byte of a later request, to the last byte of its head.
    pub header_timeout: Duration,
    /// How long a connection may rest between two requests. Longer than what client pools keep a connection for
    /// would be best; too short, and clients meet a connection that closes under their request.
    pub idle_timeout: Duration,
    /// How long a client may leave an answer unread before the connection is cut.
    pub write_timeout: Duration,
    /// Bytes of a request's head; a longer one is answered 431.
    pub max_header_bytes: usize,
    /// How long open requests may take to end once the shutdown is pulled.
    pub drain_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            header_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(100),
            write_timeout: Duration::from_secs(30),
            max_header_bytes: 64 * 1024,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// The connection that a request came on; [`serve`] puts it into the request's extensions.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The other end.
    pub peer: SocketAddr,
    reset: Arc<Notify>,
}

impl Connection {
    /// Cuts the connection at once with a TCP reset, whatever was or was not answered. The handler that calls this
    /// is dropped at its next await.
    pub fn reset(&self) {
        self.reset.notify_one();
    }
}

/// Binds with a listen backlog of 4096: tokio's own of 128 stalls bursts of connections by up to a second.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    TcpListener::from_std(socket.into())
}

/// Serves `router` until the shutdown is pulled, then lets open requests end. Returns how many connections were
/// still busy when the drain time-out cut them; 0 is a clean end.
pub async fn serve(listener: TcpListener, router: axum::Router, config: Config, shutdown: Shutdown) -> usize {
    let permits = Arc::new(Semaphore::new(config.max_connections));
    let mut connections = JoinSet::new();
    let mut ended = pin!(shutdown.pulled());
    let mut failing = false;
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            // The permit comes first: a connection over the cap waits in the backlog, not in our memory.
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = &mut ended => break,
            accepted = accepted => accepted,
        };
        match (permit, accepted) {
            (Ok(permit), Ok((stream, peer))) => {
                failing = false;
                let serving = connection(stream, peer, router.clone(), config.clone(), shutdown.clone());
                connections.spawn(async move {
                    serving.await;
                    drop(permit);
                });
            }
            (_, Err(error)) if is_of_one_connection(&error) => {}
            (_, Err(error)) => {
                // Out of file descriptors or memory: it passes when connections end, so wait and go on.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "cannot accept connections, trying again");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            (Err(_closed), _) => break,
        }
    }
    drop(listener);
    drain(connections, config.drain_timeout).await
}

/// Whether the error belongs to the connection that was being accepted, not to the listener.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    )
}

async fn drain(mut connections: JoinSet<()>, timeout: Duration) -> usize {
    let all = async { while connections.join_next().await.is_some() {} };
    let in_time = tokio::time::timeout(timeout, all).await.is_ok();
    while connections.try_join_next().is_some() {}
    let left = connections.len();
    if !in_time && left > 0 {
        tracing::warn!(left, "connections still busy at the end of the drain time-out were cut");
    }
    connections.shutdown().await;
    left
}

/// One connection from accept to close.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: axum::Router,
    config: Config,
    shutdown: Shutdown,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection was gone before it was served");
        return;
    }
    let reset = Arc::new(Notify::new());
    let here = Connection { peer, reset: Arc::clone(&reset) };
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(here.clone());
        request.map(Body::new)
    });
    let timer = HeadTimer::new(config.header_timeout);
    let io = Io::new(stream, timer.progress(), config.write_timeout);
    let mut serving = http1::Builder::new()
        .timer(timer)
        .header_read_timeout(config.idle_timeout)
        .max_buf_size(config.max_header_bytes.max(8192))
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
    let mut ended = pin!(shutdown.pulled());
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            () = reset.notified() => {
                serving.into_parts().io.into_inner().cut();
                return;
            }
            result = &mut serving => {
                if let Err(error) = result {
                    // The client's doing (silence, nonsense, a reset): nothing that anyone here could mend.
                    tracing::debug!(%error, "connection ended early");
                }
                return;
            }
            () = &mut ended, if !draining => {
                draining = true;
                Pin::new(&mut serving).graceful_shutdown();
            }
        }
    }
}
