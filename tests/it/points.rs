//! `kill -9` between every two steps of taking events in and folding them. What must be true afterwards does not hang on
//! the step: whatever was answered, or was posted again since it was not, stands on its record once.

mod aws;
mod embedded;
mod held;
mod story;

use std::time::{Duration, Instant};

use serde_json::Value;

use super::process;
use super::tracking::post;
use story::Story;

/// Nothing that this waits for takes longer on any machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the provider still has to post: it keeps a post until that is answered with 2xx.
struct Posts {
    client: reqwest::Client,
    left: Vec<String>,
}

impl Posts {
    fn of(story: &Story) -> Self {
        Self { client: process::http(), left: story.posts().into_iter().rev().collect() }
    }

    /// Nothing was posted yet.
    fn is_whole(&self) -> bool {
        self.left.len() == story::POSTS.len()
    }

    /// Posts them one by one, each until it is answered. Dropped meanwhile, it keeps what was not.
    async fn post(&mut self, url: &str) {
        while let Some(body) = self.left.last() {
            match post(&self.client, url, body).send().await {
                Ok(answer) => {
                    assert!(answer.status().is_success(), "{answer:?}");
                    self.left.pop();
                }
                // Killed: posted again to the next one.
                Err(_) => return,
            }
        }
    }
}

/// Waits until the house stands as the plain fold of the story says. Whatever is counted twice never does.
async fn until_as_told(client: &reqwest::Client, url: &str, story: &Story, log: impl Fn() -> String) {
    let (begun, wanted) = (Instant::now(), story.expected());
    loop {
        let stand = story.stand(client, url).await;
        if stand == wanted {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{}\n{}", difference(&stand, &wanted), log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn difference(stand: &Value, wanted: &Value) -> String {
    let fields = wanted.as_object().unwrap().iter();
    let wrong = fields.filter(|(name, value)| stand[name.as_str()] != **value);
    wrong.map(|(name, value)| format!("{name}: {:#}\nand not {value:#}\n", stand[name.as_str()])).collect()
}
