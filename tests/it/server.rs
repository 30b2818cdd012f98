//! The HTTP listener under rude clients.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use kakitome::server::{self, BodyError, Config, Connection};
use kakitome::shutdown::{self, ShutdownTrigger};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const LIMIT_BYTES: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    trigger: ShutdownTrigger,
    task: JoinHandle<usize>,
    /// `GET /wait` answers when this gives a permit.
    gate: Arc<Semaphore>,
    /// Gets a permit when `GET /wait` has begun.
    waiting: Arc<Semaphore>,
}

async fn read(body: Body) -> Response {
    let short = Duration::from_millis(200);
    match server::read_body(body, LIMIT_BYTES, short, 3 * short).await {
        Ok(body) => body.len().to_string().into_response(),
        Err(BodyError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(BodyError::TimedOut) => StatusCode::REQUEST_TIMEOUT.into_response(),
        Err(BodyError::Broken) => StatusCode::BAD_REQUEST.into_response(),
    }
}

fn start(config: Config) -> Running {
    let listener = server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (trigger, shutdown) = shutdown::channel();
    let (gate, waiting) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (inner_gate, inner_waiting) = (Arc::clone(&gate), Arc::clone(&waiting));
    let wait = async move || {
        inner_waiting.add_permits(1);
        inner_gate.acquire().await.unwrap().forget();
        "done"
    };
    let reset = async |Extension(connection): Extension<Connection>| {
        connection.reset();
        std::future::pending::<()>().await;
    };
    let router = Router::new()
        .route("/", get(async || "hello"))
        .route("/read", post(read))
        .route("/wait", get(wait))
        .route("/reset", get(reset));
    let task = tokio::spawn(server::serve(listener, router, config, shutdown));
    Running { address, trigger, task, gate, waiting }
}

fn quick() -> Config {
    Config { header_timeout: Duration::from_millis(300), ..Config::default() }
}

async fn connect(running: &Running) -> TcpStream {
    TcpStream::connect(running.address).await.unwrap()
}

/// Everything until the server closes; fails if it does not.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

/// One answer of a connection that stays open, which must end in `end`.
async fn answer(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        let read = timeout(PATIENCE, stream.read_buf(&mut answer)).await.unwrap().unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn half_a_head_and_then_silence_is_cut() {
    let running = start(quick());
    let mut stream = connect(&running).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    rest(&mut stream).await;
}

#[tokio::test]
async fn a_head_that_drips_is_cut() {
    let running = start(quick());
    let (mut reading, mut writing) = connect(&running).await.into_split();
    let drip = tokio::spawn(async move {
        while writing.write_all(b"X").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    // An orderly end or a reset over what was written meanwhile: cut either way.
    let end = timeout(PATIENCE, reading.read_u8()).await.unwrap();
    assert!(end.is_err());
    drip.abort();
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_cut() {
    let running = start(quick());
    let mut stream = connect(&running).await;
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn a_kept_connection_may_rest_longer_than_a_head_may_take() {
    let running = start(quick());
    let mut stream = connect(&running).await;
    for _ in 0..2 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        answer(&mut stream, "hello").await;
        // The time itself is what is tested here: three header time-outs of rest.
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    stream.write_all(b"GET / HTTP").await.unwrap();
    rest(&mut stream).await;
}

#[tokio::test]
async fn half_a_body_and_then_silence_is_answered_408() {
    let running = start(Config::default());
    let mut stream = connect(&running).await;
    stream.write_all(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345").await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn a_body_that_drips_is_answered_408() {
    let running = start(Config::default());
    let (mut reading, mut writing) = connect(&running).await.into_split();
    writing.write_all(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n").await.unwrap();
    let drip = tokio::spawn(async move {
        while writing.write_all(b"1").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut answer = vec![0; 12];
    timeout(PATIENCE, reading.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), "HTTP/1.1 408");
    drip.abort();
}

#[tokio::test]
async fn a_body_declared_too_large_is_answered_413_without_being_read() {
    let running = start(Config::default());
    let mut stream = connect(&running).await;
    stream
        .write_all(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n")
        .await
        .unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn a_client_busy_writing_too_large_a_body_still_gets_its_413() {
    let running = start(Config::default());
    let mut stream = connect(&running).await;
    stream.write_all(b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    let piece = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    for _ in 0..100 {
        stream.write_all(piece.as_bytes()).await.unwrap();
    }
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn a_body_in_pieces_is_read_whole() {
    let running = start(Config::default());
    let mut stream = connect(&running).await;
    stream.write_all(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n").await.unwrap();
    for _ in 0..3 {
        stream.write_all(&[b'x'; 300]).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    answer(&mut stream, "\r\n\r\n900").await;
}

#[tokio::test]
async fn idle_connections_under_the_cap_do_not_stop_others() {
    let running = start(Config::default());
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(connect(&running).await);
    }
    let mut stream = connect(&running).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    answer(&mut stream, "hello").await;
}

#[tokio::test]
async fn a_connection_over_the_cap_waits_for_a_place() {
    let running = start(Config { max_connections: 1, ..Config::default() });
    let mut first = connect(&running).await;
    first.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    running.waiting.acquire().await.unwrap().forget();
    let mut second = connect(&running).await;
    second.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(
        timeout(Duration::from_millis(200), second.readable()).await.is_err(),
        "it was served over the cap"
    );
    running.gate.add_permits(1);
    assert!(rest(&mut first).await.ends_with("done"));
    drop(first);
    assert!(rest(&mut second).await.ends_with("hello"));
}

#[tokio::test]
async fn a_graceful_end_lets_an_open_request_finish() {
    let running = start(Config::default());
    let mut stream = connect(&running).await;
    stream.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    running.waiting.acquire().await.unwrap().forget();
    running.trigger.pull();
    running.gate.add_permits(1);
    assert!(rest(&mut stream).await.ends_with("done"));
    drop(stream);
    assert_eq!(timeout(PATIENCE, running.task).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_after_the_drain_and_counted() {
    let running = start(Config { drain_timeout: Duration::from_millis(100), ..Config::default() });
    let mut stream = connect(&running).await;
    stream.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    running.waiting.acquire().await.unwrap().forget();
    running.trigger.pull();
    assert_eq!(timeout(PATIENCE, running.task).await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_handler_can_reset_its_connection() {
    let running = start(Config::default());
    let mut stream = connect(&running).await;
    stream.write_all(b"GET /reset HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let error = timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}
