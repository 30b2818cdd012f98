//! `enqueue`: a result for every line, in order, whatever the server does.

use std::fmt::Write;

use kakitome::cli::Exit;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::pretend::{self, Shared};
use super::{Ran, run};

fn lines(count: usize) -> String {
    let mut text = String::new();
    for number in 1..=count {
        writeln!(text, "{{\"idempotency_key\":\"{number}\"}}").unwrap();
    }
    text
}

async fn enqueue(text: impl AsRef<[u8]>, prepare: impl FnOnce(&Shared)) -> (Shared, Ran) {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let (shared, client) = pretend::server(Vec::new());
    prepare(&shared);
    let ran = run(&client, &["enqueue", file.path().to_str().unwrap()]).await;
    (shared, ran)
}

#[tokio::test]
async fn each_line_has_its_result_in_order_and_refused_ones_make_exit_1() {
    let text = "{\"idempotency_key\":\"a\"}\n\n  \nnot json\n{\"broken\":\r\n{\"idempotency_key\":\"b\"}";
    let (_, ran) = enqueue(text, |_| ()).await;
    assert_eq!(ran.ended, Ok(Exit::Failed));
    insta::assert_snapshot!(ran.out);
}

#[tokio::test]
async fn many_lines_go_in_chunks_and_come_back_in_order() {
    let (shared, ran) = enqueue(lines(1234), |_| ()).await;
    assert_eq!(ran.ended, Ok(Exit::Done));
    assert_eq!(shared.lock().unwrap().batches.iter().sum::<usize>(), 1234);
    assert!(shared.lock().unwrap().batches.iter().all(|size| *size <= 500));
    for (index, line) in ran.out.lines().enumerate() {
        let said: Value = serde_json::from_str(line).unwrap();
        assert_eq!(said["line"], index + 1);
        assert_eq!(said["id"], (index + 1).to_string());
    }
    assert_eq!(ran.out.lines().count(), 1234);
}

#[tokio::test]
async fn a_server_that_asks_to_wait_gets_the_lines_again() {
    let (shared, ran) = enqueue(lines(3), |shared| shared.lock().unwrap().put_off = 2).await;
    assert_eq!((ran.ended, ran.out.lines().count()), (Ok(Exit::Done), 3));
    assert_eq!(shared.lock().unwrap().batches, [3]);
}

#[tokio::test]
async fn a_server_that_never_takes_them_ends_it_with_a_result_for_every_line() {
    let (_, ran) = enqueue(lines(3), |shared| shared.lock().unwrap().put_off = usize::MAX).await;
    assert_eq!((ran.ended, ran.out.lines().count()), (Ok(Exit::Failed), 3));
    assert!(ran.out.contains("\"status\":503"), "{}", ran.out);
}

#[tokio::test]
async fn a_chunk_that_is_too_much_goes_in_smaller_ones() {
    let (shared, ran) = enqueue(lines(100), |shared| shared.lock().unwrap().batch_entries = 30).await;
    assert_eq!(ran.ended, Ok(Exit::Done));
    assert_eq!(shared.lock().unwrap().batches, [25; 4]);
}

#[tokio::test]
async fn a_line_that_no_server_takes_is_refused_without_being_sent() {
    let mut text = b"{\"text\":\"".to_vec();
    text.resize(31 << 20, b'x');
    text.extend_from_slice(b"\"}\n{\"idempotency_key\":\"small\"}\n");
    let (shared, ran) = enqueue(text, |_| ()).await;
    assert_eq!(ran.ended, Ok(Exit::Failed));
    assert_eq!(shared.lock().unwrap().batches, [1]);
    assert!(
        ran.out.starts_with("{\"line\":1,\"error\":{") && ran.out.contains("{\"line\":2,\"id\":\"small\""),
        "{}",
        ran.out
    );
}
