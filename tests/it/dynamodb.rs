//! The DynamoDB log beyond what every log does: what it asks of the service, and what it makes of its failures.

mod claim;
mod cost;
mod due;
mod journal;
mod setup;
mod told;
mod trouble;

use kakitome::aws::Aws;
use kakitome::clock::Timestamp;
use kakitome::message_log::dynamodb::{self, Config, DynamoLog};
use kakitome::message_log::{Claim, ClaimRequest, Claimed, Hint, MessageLog, NewNotification};
use kakitome::notification::status::{AttemptLimits, Fact, Token};

use crate::conformance::{new, notification};
use crate::emulator::{self, Emulator};
use crate::proxy::Proxy;

/// A log on a table of its own, and what stands between them.
struct Bench {
    log: DynamoLog,
    proxy: Proxy,
    aws: Aws,
    config: Config,
}

/// On ministack.
async fn bench() -> Bench {
    bench_on(&Emulator::ministack().url).await
}

async fn bench_on(upstream: &str) -> Bench {
    let config = Config { table: emulator::fresh_name("log"), count_units: true, ..Config::default() };
    let direct = emulator::connect(upstream, upstream).await;
    dynamodb::setup(&direct, &config).await.unwrap();
    let proxy = Proxy::before(upstream).await;
    let aws = emulator::connect(&proxy.url, &proxy.url).await;
    Bench { log: DynamoLog::open(&aws, &config), proxy, aws, config }
}

fn start() -> Timestamp {
    Timestamp::from_ms(1_800_000_000_000)
}

fn secs(seconds: u64) -> std::time::Duration {
    std::time::Duration::from_secs(seconds)
}

fn claim_of(token: Token, now: Timestamp) -> Fact {
    Fact::Claimed {
        token,
        provider: "sendgrid".into(),
        lease_until: now.plus(secs(30)),
        hold_until: now.plus(secs(630)),
        resend_of: None,
        limits: AttemptLimits { attempts: 12, unknown_resends: 2 },
    }
}

fn accepted() -> Fact {
    Fact::Accepted { provider: "sendgrid".into(), message_id: Some("m1".into()), http_status: Some(202) }
}

/// A claim as the worker makes it from a message that the API put on the queue.
fn fresh(new: &NewNotification, now: Timestamp) -> ClaimRequest {
    let hint = Hint::Fresh(Box::new(new.life.clone()));
    ClaimRequest { id: new.id, fact: claim_of(Token::fresh(), now), content: Some(new.content.clone()), hint }
}

/// A claim as the worker makes it from a message that a producer put on the queue.
fn direct(new: &NewNotification, now: Timestamp) -> ClaimRequest {
    let hint = Hint::New(Box::new(new.clone()));
    ClaimRequest { id: new.id, fact: claim_of(Token::fresh(), now), content: Some(new.content.clone()), hint }
}

/// A claim without a word of what is claimed.
fn bare(new: &NewNotification, now: Timestamp) -> ClaimRequest {
    ClaimRequest { id: new.id, fact: claim_of(Token::fresh(), now), content: None, hint: Hint::None }
}

fn plain() -> NewNotification {
    new(notification(|_| ()), start())
}

fn several(count: usize) -> Vec<NewNotification> {
    (0..count).map(|_| plain()).collect()
}

impl Bench {
    async fn accept(&self, new: &[NewNotification]) {
        for accepted in self.log.accept(new).await {
            accepted.unwrap();
        }
    }

    async fn claim(&self, request: ClaimRequest, now: Timestamp) -> Claim {
        self.log.claim(&[request], now).await.remove(0).unwrap()
    }

    async fn win(&self, request: ClaimRequest, now: Timestamp) -> Claimed {
        match self.claim(request, now).await {
            Claim::Won(won) => *won,
            other => panic!("{other:?}"),
        }
    }
}
