//! A server on loopback that does one thing to every request.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What the server does with every request.
#[derive(Clone)]
pub enum Play {
    Answer(Vec<u8>),
    AnswerAndClose(Vec<u8>),
    ResetBeforeReading,
    CloseAfterReading,
    Stall,
}

/// A server on loopback that plays one thing and keeps what it was sent.
pub struct Server {
    /// Where it listens.
    pub base_url: String,
    /// Each request with the number of its connection.
    pub requests: mpsc::UnboundedReceiver<(usize, String)>,
    running: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Server {
    pub async fn start(play: Play) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::unbounded_channel();
        let running = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                open.spawn(play_on(stream, connection, play.clone(), sender.clone()));
            }
        });
        Self { base_url, requests, running }
    }

    pub async fn answering(status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} Whatever\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        Self::start(Play::Answer(answer.into_bytes())).await
    }

    /// The next request's head and body.
    pub async fn request(&mut self) -> (String, String) {
        let (_, request) = self.requests.recv().await.unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }
}

async fn play_on(
    mut stream: TcpStream,
    connection: usize,
    play: Play,
    requests: mpsc::UnboundedSender<(usize, String)>,
) {
    if matches!(play, Play::ResetBeforeReading) {
        // Without lingering, closing resets.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        return;
    }
    while let Some(request) = read_request(&mut stream).await {
        requests.send((connection, request)).ok();
        match &play {
            Play::Answer(answer) => stream.write_all(answer).await.unwrap(),
            Play::AnswerAndClose(answer) => {
                stream.write_all(answer).await.unwrap();
                return;
            }
            Play::CloseAfterReading | Play::ResetBeforeReading => return,
            Play::Stall => std::future::pending().await,
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text.into_owned());
            }
        }
        let read = stream.read_buf(&mut request).await.ok()?;
        if read == 0 {
            return None;
        }
    }
}
