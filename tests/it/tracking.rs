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
