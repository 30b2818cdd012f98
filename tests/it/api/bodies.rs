//! Bodies that are too large, too deep, not what they say, or never end.

use std::time::Duration;

use axum::body::Body;
use futures::StreamExt;
use kakitome::server;
use kakitome::shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::world::{ADMIN, api_world, booking, world_with};

const PATH: &str = "/v1/notifications";
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

#[tokio::test]
async fn a_body_over_the_limit_is_refused_declared_or_not() {
    let world = api_world().await;
    let huge = vec![b' '; 30 << 20];
    let declared =
        world.post_raw(ADMIN, PATH, &[JSON[0], ("content-length", "31457280")], huge.clone()).await;
    assert_eq!((declared.status, declared.pointers().len()), (413, 0));
    let chunks = futures::stream::iter(
        huge.chunks(1 << 20).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>(),
    );
    let undeclared = world.post_raw(ADMIN, PATH, JSON, Body::from_stream(chunks)).await;
    assert_eq!(undeclared.status, 413);
}

#[tokio::test]
async fn what_is_no_json_is_a_fault_of_the_whole() {
    let world = api_world().await;
    let deep = "[".repeat(10_000);
    let deep_object = "{\"a\":".repeat(10_000);
    for body in [b"".as_slice(), b"{", b"\xff\xfe{}", b"null", b"[]", deep.as_bytes(), deep_object.as_bytes()]
    {
        for headers in [JSON, &[]] {
            let reply = world.post_raw(ADMIN, PATH, headers, body.to_vec()).await;
            assert_eq!((reply.status, reply.pointers()), (422, vec![""]), "{:?}", &body[..body.len().min(9)]);
        }
    }
}

#[tokio::test]
async fn a_body_of_another_type_is_not_read() {
    let world = api_world().await;
    for media in [
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/x-ndjson",
        "application/xml",
        "application/json; charset=shift_jis",
        "application/jsonp",
        "",
    ] {
        let reply = world.post_raw(ADMIN, PATH, &[("content-type", media)], booking("b-1").to_string()).await;
        assert_eq!((reply.status, reply.pointers().len()), (415, 0), "{media}");
    }
    let said = [("content-type", "application/json;charset=UTF-8")];
    assert_eq!(world.post_raw(ADMIN, PATH, &said, booking("b-1").to_string()).await.status, 202);
    // `curl -d` says this where its user says nothing.
    let unsaid = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(world.post_raw(ADMIN, PATH, &unsaid, booking("b-2").to_string()).await.status, 202);
}

#[tokio::test]
async fn many_large_bodies_do_not_exhaust_the_memory() {
    let world = world_with(|state| state.config.in_flight_body_bytes = 4 << 20).await;
    let (begun, has_begun) = oneshot::channel::<()>();
    let (end, may_end) = oneshot::channel::<()>();
    let pieces = futures::stream::once(async { Ok::<_, std::io::Error>(vec![b' '; 3 << 20]) });
    let rest = futures::stream::once(async move {
        begun.send(()).unwrap();
        may_end.await.unwrap();
        Ok(b"{}".to_vec())
    });
    let first = world.post_raw(ADMIN, PATH, JSON, Body::from_stream(pieces.chain(rest)));
    let meanwhile = async {
        has_begun.await.unwrap();
        let reply = world.post_raw(ADMIN, PATH, JSON, vec![b' '; 2 << 20]).await;
        assert_eq!((reply.status, reply.header("retry-after"), reply.pointers().len()), (503, "1", 0));
        assert_eq!(world.post_raw(ADMIN, PATH, JSON, booking("b-1").to_string()).await.status, 202);
        end.send(()).unwrap();
    };
    let (first, ()) = futures::join!(first, meanwhile);
    assert_eq!(first.status, 422);
    assert_eq!(
        world.post_raw(ADMIN, PATH, JSON, vec![b' '; 2 << 20]).await.status,
        422,
        "the room is given back"
    );
}

#[tokio::test]
async fn half_a_body_and_then_silence_is_a_time_out_over_the_wire() {
    let world = world_with(|state| state.config.body_idle_timeout = Duration::from_millis(100)).await;
    let listener = server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (trigger, signal) = shutdown::channel();
    let serving =
        tokio::spawn(server::serve(listener, world.router.clone(), server::Config::default(), signal));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\nContent-Type: application/json\r\n\
         Content-Length: 1000\r\n\r\n{{\"from\":"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    trigger.pull();
    timeout(Duration::from_secs(20), serving).await.unwrap().unwrap();
}
