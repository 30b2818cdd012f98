//! Events in numbers, through the door of a real process.

/// What only the embedded backend has: a process with its storage beside it.
mod embedded {
    use std::time::Duration;

    use crate::deluge::{Scale, play};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn twenty_thousand_shuffled_and_repeated_events_fold_as_a_plain_fold_does() {
        let dir = tempfile::tempdir().unwrap();
        let scale = Scale {
            notifications: 4_600,
            connections: 32,
            events_per_post: 200,
            accepts_per_second: 50,
            quiet: Duration::from_secs(1),
        };
        let figures = play(dir.path(), scale).await;
        assert!(figures.events > 19_500 && figures.meanwhile > 0);
    }
}

/// Every post among the shared vectors, through reader and fold, twice.
mod vectors {
    use std::sync::Arc;

    use axum::body::Bytes;
    use axum::http::HeaderMap;
    use kakitome::clock::Timestamp;
    use kakitome::message_log::sqlite::SqliteLog;
    use kakitome::message_log::unmatched::UnmatchedEvents;
    use kakitome::message_log::{MessageLog, Recorded};
    use kakitome::provider::sendgrid::SendGridEvents;
    use kakitome::provider::{EventSource, Post};
    use kakitome::sqlite::{Config, Engine};
    use serde_json::{Value, json};

    use crate::conformance::{accept, send};
    use crate::vectors;

    /// Every list of events in a file of whatever shape.
    fn posts(value: &Value, found: &mut Vec<Value>) {
        match value {
            Value::Array(items) if items.iter().any(|item| item.get("event").is_some()) => {
                found.push(value.clone());
            }
            Value::Object(fields) if fields.contains_key("event") => found.push(json!([value])),
            Value::Array(items) => items.iter().for_each(|item| posts(item, found)),
            Value::Object(fields) => fields.values().for_each(|field| posts(field, found)),
            _ => {}
        }
    }

    #[tokio::test]
    async fn every_vector_of_sendgrids_events_folds_once_whoever_it_is_about() {
        let Some(folder) = vectors::folder() else { return };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let bytes = std::fs::read(&path).unwrap();
            if name.starts_with("sendgrid_webhook_body") {
                found.push(serde_json::from_slice(&bytes).unwrap());
            } else if name.starts_with("sendgrid_webhook_events")
                || name.starts_with("sendgrid_event_webhook")
            {
                posts(&serde_json::from_slice(&bytes).unwrap(), &mut found);
            }
        }
        assert!(found.len() >= 4, "{} posts", found.len());
        let home = tempfile::tempdir().unwrap();
        let log = Arc::new(SqliteLog::new(Engine::open(home.path(), Config::default()).unwrap()));
        let now = Timestamp::parse("2026-11-21T09:00:00Z").unwrap();
        let source = SendGridEvents::new("sendgrid", &[], true).unwrap();
        for mut post in found {
            let plain = read(&source, &post, now).await;
            let first = log.record_events(&plain, now).await;
            let again = log.record_events(&plain, now).await;
            assert!(first.iter().all(Result::is_ok));
            assert!(again.iter().all(|one| matches!(one, Ok(Recorded::Repeat { .. }))), "{again:?}");
            // The same, about a notification of ours.
            let email = plain.iter().find_map(|event| event.recipient.clone());
            let Some(email) = email else { continue };
            let id = accept(&*log, now, |n| n.to[0].email = email.clone()).await;
            send(&*log, id, "of-ours", now).await;
            for event in post.as_array_mut().into_iter().flatten() {
                if let Some(event) = event.as_object_mut() {
                    event.insert("kakitome_id".into(), json!(id));
                }
            }
            let ours = read(&source, &post, now).await;
            let folded = log.record_events(&ours, now).await;
            assert!(
                folded.iter().all(|one| matches!(one, Ok(Recorded::Folded { .. } | Recorded::Repeat { .. })))
            );
            let before = format!("{:?}", log.get(id).await.unwrap());
            log.record_events(&ours, now).await;
            assert_eq!(format!("{:?}", log.get(id).await.unwrap()), before);
        }
        assert!(log.count().await.unwrap() > 0);
    }

    async fn read(
        source: &SendGridEvents,
        post: &Value,
        now: Timestamp,
    ) -> Vec<kakitome::provider::ProviderEvent> {
        let post = Post { headers: HeaderMap::new(), body: Bytes::from(post.to_string()) };
        source.events(post, now).await.unwrap()
    }
}
