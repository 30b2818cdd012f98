//! The queue on SQS, beyond what every queue does: against an emulator, and against a scripted server for what no
//! emulator does.

use std::time::Duration;

use kakitome::aws::Aws;
use kakitome::notification::{NotificationId, Priority};
use kakitome::queue::sqs::setup::{self, Queues};
use kakitome::queue::sqs::{Config, SqsQueue};
use kakitome::queue::{Delivery, Message, Queue};

use super::emulator::{self, Emulator};

mod bare;
mod faults;
mod scripted;
mod setting_up;
mod settling;

const NOW: Duration = Duration::ZERO;

/// Queues of one test.
pub struct Bench {
    pub aws: Aws,
    pub queues: Queues,
    pub queue: SqsQueue,
}

/// Names of queues that are not there yet.
pub fn fresh_queues() -> Queues {
    fresh_queues_on(Emulator::ministack())
}

/// The same on another server.
pub fn fresh_queues_on(emulator: &Emulator) -> Queues {
    let url = &emulator.url;
    let name = NotificationId::fresh();
    Queues {
        queue_url: format!("{url}/000000000000/mail-{name}"),
        dead_letter_url: format!("{url}/000000000000/dead-{name}"),
        events_url: None,
        visibility_timeout: Duration::from_secs(30),
        max_receive_count: 100,
    }
}

pub async fn aws() -> Aws {
    let url = &Emulator::ministack().url;
    emulator::connect(url, url).await
}

impl Bench {
    /// Sets the queues up and opens them.
    pub async fn open(queues: Queues) -> Self {
        Self::open_on(Emulator::ministack(), queues).await
    }

    /// The same on another server.
    pub async fn open_on(emulator: &Emulator, queues: Queues) -> Self {
        let aws = emulator::connect(&emulator.url, &emulator.url).await;
        setup::setup(&aws, &queues).await.unwrap();
        let queue = SqsQueue::open(&aws, config(&queues));
        Self { aws, queues, queue }
    }

    async fn fresh() -> Self {
        Self::open(fresh_queues()).await
    }

    /// Puts these bodies on the queue as a producer would.
    async fn put(&self, bodies: &[&str]) -> Vec<String> {
        let mut ids = Vec::new();
        for body in bodies {
            let call = self.aws.sqs.send_message().queue_url(&self.queues.queue_url).message_body(*body);
            ids.push(call.send().await.unwrap().message_id.unwrap());
        }
        ids
    }

    /// What lies visible on a queue, with its attributes.
    async fn look(&self, url: &str) -> Vec<aws_sdk_sqs::types::Message> {
        let call =
            self.aws.sqs.receive_message().queue_url(url).max_number_of_messages(10).wait_time_seconds(0);
        let call = call.message_attribute_names("All").message_system_attribute_names("All".into());
        call.send().await.unwrap().messages.unwrap_or_default()
    }

    async fn send(&self, messages: &[Message]) {
        for sent in self.queue.send_batch(messages).await {
            sent.unwrap();
        }
    }

    async fn receive(&self) -> Vec<Delivery> {
        self.queue.receive(10, NOW).await.unwrap()
    }
}

fn config(queues: &Queues) -> Config {
    Config {
        visibility_timeout: queues.visibility_timeout,
        ..Config::new(&queues.queue_url, &queues.dead_letter_url)
    }
}

fn message(tenant: &str, priority: Priority) -> Message {
    let id = NotificationId::fresh();
    Message { id, tenant: tenant.into(), priority, delay: NOW, content: None, fresh: None }
}

fn attribute<'a>(message: &'a aws_sdk_sqs::types::Message, name: &str) -> &'a str {
    message.message_attributes.as_ref().unwrap()[name].string_value().unwrap()
}
