//! On SQLite: a kill after every commit, before anybody is told of it and after, and at whatever the program counts in
//! between. What is on disk changes with commits alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kakitome::clock::Clock;
use kakitome::inbox::sqlite::{self as inbox_sqlite, SqliteInbox};
use kakitome::journal::sqlite::SqliteJournal;
use kakitome::journal::{Journal, Kind};
use kakitome::message_log::sqlite::SqliteLog;
use kakitome::metrics::{EVENTS_SET_ASIDE_TOTAL, EVENTS_TOTAL, UNKNOWN_TOTAL, WEBHOOK_POSTS_TOTAL};
use kakitome::sqlite::{Config, DATABASE_FILE, Engine};
use rusqlite::Connection;
use serde_json::json;

use super::held::{Hold, Life, Server};
use super::story::{Story, check_feed};
use super::{PATIENCE, Posts, until_as_told};
use crate::tracking::get;

/// Every step of ingest and fold after which a kill finds the storage, or the provider, otherwise than before it. A step
/// is known by its word; a commit by what it changes.
const STEPS: [(&str, &str); 15] = [
    ("inbox+", "the post's events are durable"),
    (WEBHOOK_POSTS_TOTAL, "its parcels may be taken, and it is not answered"),
    ("tries+", "it is noted that a parcel that was left behind is taken again"),
    ("event+", "events are on their records"),
    ("unmatched+", "an event that matches nothing is kept"),
    (UNKNOWN_TOTAL, "an event has told what came of an attempt"),
    (EVENTS_TOTAL, "the fold is counted, and no listener has heard"),
    ("mark+", "workers are told that there is somebody to whom nothing is sent"),
    ("suppression+", "nothing more is sent to an address"),
    ("aside+", "an event that cannot be folded is in the journal"),
    (EVENTS_SET_ASIDE_TOTAL, "and counted there"),
    ("tries-", "and gone with it"),
    ("witness+", "silence up to the newest event is evidence"),
    ("inbox-", "the parcels are done"),
    ("unmatched-", "an event that is matched now is forgotten where the unmatched are"),
];

/// What the alerts' watch writes beside it.
const OTHERS: &str = "journal+";

/// So many at once: most of the time of one is spent in waiting.
const AT_ONCE: usize = 3;

/// A data directory in which everything stands as before the first post.
async fn prepare(dir: &Path, story: &Story) {
    let data = dir.join("data");
    let engine = Engine::open(&data, Config::default()).unwrap();
    let inbox = SqliteInbox::open(engine.clone(), inbox_sqlite::Config::default()).await.unwrap();
    story.prepare(&SqliteLog::new(engine.clone()), &inbox).await;
    engine.close().await;
    let connection = Connection::open(data.join(DATABASE_FILE)).unwrap();
    let orphan = "DELETE FROM recipient WHERE n = (SELECT n FROM notification WHERE id = ?1)";
    assert_eq!(connection.execute(orphan, [Story::broken().as_bytes()]).unwrap(), 1);
}

fn copy(from: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    for file in std::fs::read_dir(from.join("data")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), dir.path().join("data").join(file.file_name())).unwrap();
    }
    dir
}

/// The whole story, with a server that is killed where each of these says, one after the other, and one that is not.
async fn play(template: &Path, story: &Story, holds: &[Hold]) -> Vec<Life> {
    let dir = copy(template);
    let (mut posts, mut lives) = (Posts::of(story), Vec::new());
    for hold in holds {
        lives.push(play_until_held(dir.path(), story, &mut posts, hold).await);
    }
    let server = Server::start(dir.path(), &Hold::nowhere());
    let url = server.url().await.unwrap();
    posts.post(&url).await;
    until_as_told(&posts.client, &url, story, || format!("{holds:?}\n{}", server.log())).await;
    check_feed(&posts.client, &url).await;
    lives.push(server.kill().await);
    check_aside(dir.path()).await;
    lives
}

/// One server, until it is killed. Where it comes to no such step, at the end of the story.
async fn play_until_held(dir: &Path, story: &Story, posts: &mut Posts, hold: &Hold) -> Life {
    let server = Server::start(dir, hold);
    if let Some(url) = server.url().await {
        let client = posts.client.clone();
        let playing = async {
            if posts.is_whole() {
                until_begun(&client, &url).await;
            }
            posts.post(&url).await;
            until_as_told(&client, &url, story, || format!("{hold:?}\n{}", server.log())).await;
        };
        tokio::pin!(playing);
        let is_held = tokio::select! {
            () = &mut playing => false,
            () = server.held() => true,
        };
        if is_held && hold.is_told {
            // Whoever waits for the commit goes on, up to the answer at the door: that comes after 200 ms at the latest.
            let _came = tokio::time::timeout(Duration::from_millis(300), playing).await;
        }
    }
    server.kill().await
}

/// Waits until what was there before the first post is folded: steps of its own.
async fn until_begun(client: &reqwest::Client, url: &str) {
    let begun = Instant::now();
    loop {
        let (stand, unmatched) =
            (get(client, format!("{url}/v1/status")), get(client, format!("{url}/v1/events/unmatched")));
        let (stand, unmatched) = tokio::join!(stand, unmatched);
        if stand["inbox"]["parcels"] == 0 && unmatched["items"] == json!([]) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{}{unmatched}", stand["inbox"]);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The one event that cannot be folded is in the journal, once.
async fn check_aside(dir: &Path) {
    let engine = Engine::open(&dir.join("data"), Config::default()).unwrap();
    let journal = SqliteJournal::new(engine.clone(), Clock::system());
    assert_eq!(journal.list(Kind::EventAside, None, 10).await.unwrap().len(), 1);
    engine.close().await;
}

/// Where to kill: at every step each time, and at every commit once more, after it was told.
fn points(steps: &[String]) -> Vec<Hold> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    let mut points = Vec::new();
    for step in steps {
        let changes = step.strip_prefix("commit");
        for word in changes.unwrap_or(step).split_whitespace().filter(|word| *word != OTHERS) {
            let time = times.entry(word).or_default();
            *time += 1;
            let point = |is_told| Hold { step: word.to_owned(), time: *time, is_told };
            points.push(point(false));
            points.extend(changes.is_some().then(|| point(true)));
        }
    }
    points
}

/// Kills after these at every step of the next server; for each play where, and what each server came through.
async fn kill_everywhere(template: &Path, story: &Story, after: &[Hold]) -> Vec<(Vec<Hold>, Vec<Life>)> {
    let next = play(template, story, after).await.swap_remove(after.len());
    let holds = points(&next.steps).into_iter().map(|point| [after, &[point][..]].concat());
    let plays = holds.map(async |holds| {
        let lives = play(template, story, &holds).await;
        (holds, lives)
    });
    futures::stream::iter(plays).buffer_unordered(AT_ONCE).collect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_any_two_steps_loses_no_event_and_counts_none_twice() {
    let template = tempfile::tempdir().unwrap();
    let story = Story::at(Clock::system().now());
    prepare(template.path(), &story).await;
    let killed = kill_everywhere(template.path(), &story, &[]).await;
    let mut met = BTreeSet::new();
    for step in killed.iter().flat_map(|(_, lives)| lives).flat_map(|life| &life.steps) {
        let mut words = step.split(' ').filter(|word| !["commit", OTHERS].contains(word));
        let unknown = words.find(|word| STEPS.iter().all(|(known, _)| known != word));
        assert_eq!(unknown, None, "no step that this test knows: say what it is");
    }
    let was_held = |(_, lives): &&(Vec<Hold>, Vec<Life>)| lives[0].held.is_some();
    met.extend(killed.iter().filter(was_held).map(|(holds, _)| (&*holds[0].step, holds[0].is_told)));
    for (word, what) in STEPS {
        assert!(met.contains(&(word, false)), "no kill met the step {word} ({what}): {met:#?}");
        let is_commit = !word.starts_with("kakitome");
        assert!(
            !is_commit || met.contains(&(word, true)),
            "no kill came after {word} was told ({what}): {met:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "thousands of kills take minutes"]
async fn a_second_kill_in_the_midst_of_the_recovery_changes_nothing_either() {
    let template = tempfile::tempdir().unwrap();
    let story = Story::at(Clock::system().now());
    prepare(template.path(), &story).await;
    let (mut first, mut both) = (0, 0);
    for (holds, _) in kill_everywhere(template.path(), &story, &[]).await {
        first += 1;
        both += kill_everywhere(template.path(), &story, &holds).await.len();
    }
    assert!(both > first * 10, "{both} second kills after {first} first ones");
}
