//! Callbacks where the feed and the journal are on DynamoDB: two processes share them.

use std::sync::Arc;
use std::time::Duration;

use kakitome::callbacks::{Config, Deliverer, Outcome};
use kakitome::clock::Clock;
use kakitome::feed::Feed;
use kakitome::feed::callback;
use kakitome::feed::dynamodb::Named;
use kakitome::message_log::dynamodb;

use super::receiver::{Mood, Receiver};
use super::{callback_of, courier, told_ids};
use crate::conformance::told::FeedHouse;
use crate::conformance::{accept, send, start};
use crate::emulator::{self, Emulator};

/// A process that posts what `house` tells.
fn deliverer(house: &FeedHouse) -> Deliverer {
    let (feed, journal) = (house.feed.clone(), house.journal.clone());
    Deliverer::new(feed, journal, courier(), house.clock.clone(), Config::default())
}

#[tokio::test]
async fn of_two_processes_one_posts_and_after_its_crash_the_other_posts_the_same_again() {
    let emulator = Emulator::ministack();
    let aws = emulator::connect(&emulator.url, &emulator.url).await;
    let config = dynamodb::Config { table: emulator::fresh_name("posts"), ..dynamodb::Config::default() };
    dynamodb::setup(&aws, &config).await.unwrap();
    let clock = Clock::manual(start());
    let houses = [(); 2].map(|()| FeedHouse::open(&aws, &config, &clock, Named::These(Vec::new())));
    let [one, other] = [deliverer(&houses[0]), deliverer(&houses[1])];
    let receiver = Receiver::open().await;
    let cursor = houses[0].feed.end("default").await.unwrap();
    let added = callback_of("default", &receiver.url, cursor, start());
    callback::add(&*houses[0].journal, &added).await.unwrap();
    houses[0].feed.follow("default").await;
    assert_eq!(one.step(&added.id).await.unwrap(), Outcome::Idle);
    let mut ids = Vec::new();
    for house in &houses {
        let id = accept(&*house.log, start(), |_| ()).await;
        send(&*house.log, id, "m1", start()).await;
        ids.push(id.to_string());
    }
    houses[0].settle();
    receiver.is(Mood::Hanging);
    let crashed = tokio::time::timeout(Duration::from_millis(150), one.step(&added.id)).await;
    assert!(crashed.is_err() && receiver.posts().len() == 1);
    // What comes meanwhile goes into the next message.
    let id = accept(&*houses[1].log, start(), |_| ()).await;
    send(&*houses[1].log, id, "m1", start()).await;
    assert!(matches!(other.step(&added.id).await.unwrap(), Outcome::Wait(_)));
    assert_eq!(receiver.posts().len(), 1, "it is in the first one's hands");
    clock.advance(Duration::from_secs(31));
    receiver.is(Mood::Well);
    let steps = tokio::join!(one.step(&added.id), other.step(&added.id));
    let taken = [steps.0.unwrap(), steps.1.unwrap()].iter().filter(|step| **step == Outcome::Taken).count();
    assert_eq!((taken, receiver.posts().len()), (1, 2), "one of them posts it, the other leaves it alone");
    assert_eq!(
        (&receiver.ids()[0], &receiver.posts()[0].raw),
        (&receiver.ids()[1], &receiver.posts()[1].raw)
    );
    ids.push(id.to_string());
    while other.step(&added.id).await.unwrap() != Outcome::Idle {}
    assert_eq!(told_ids(&receiver), ids);
    let feed: Arc<dyn Feed> = houses[1].feed.clone();
    assert_eq!(feed.read("default", None, 10).await.unwrap().entries.len(), 3);
}
