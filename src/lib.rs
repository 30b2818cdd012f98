//! kakitome (書留, registered mail): a transactional notification worker.
//!
//! A notification is recorded before it is acknowledged, sent through a provider as often as it should be, tracked by
//! the provider's events, and never lost from sight. The rooms, in the order in which a notification walks through
//! them; imports point down only, which `tests/it/tidy.rs` checks:
//!
//! | layer | room | what it is |
//! | --- | --- | --- |
//! | L0 | [`clock`], [`shutdown`], [`metrics`], [`secret`], [`sign`], [`jitter`], [`background`], `named` | ground |
//! | L0 | [`notification`] | what is asked, and its life: `Life::after(fact)`, pure |
//! | L1 | [`queue`] | port: the timer that brings a notification to a worker |
//! | L1 | [`message_log`] | port: the obligation, changed by compare-and-set |
//! | L1 | [`journal`] | port: small documents of what operators, jobs and guards do |
//! | L1 | [`stops`], [`jobs`] | what is stopped, and what is being done to many, as the journal has it |
//! | L1 | [`dead_letters`] | what stands nowhere but in the dead-letter queue, and the journal's copies of it |
//! | L1 | [`storm`] | what looks like a mistake, as memory, log and journal tell |
//! | L1 | [`incident`] | what an incident did, folded from the records |
//! | L1 | [`provider`] | port: the hand-over, and the events that come back |
//! | L1 | [`feed`] | port: what changed, per tenant and in order |
//! | L1 | [`inbox`] | port: events that are durable and not folded yet |
//! | L1 | [`intake`] | port: recorded and put on the queue, at once where both lie in one storage |
//! | L1 | [`tracking`] | what follows from the providers' events |
//! | L1 | [`engagement`] | opens and clicks: which a person did and which a machine, derived when they are read |
//! | L1 | [`unconfirmed`] | what a provider took and was not heard of, as the journal has it |
//! | L1 | [`suppression`] | port: to whom nothing is sent any more, and why |
//! | L1 | [`sqlite`] | the embedded engine that both SQLite adapters share |
//! | L1 | [`aws`] | what both AWS adapters share: clients, errors, shared calls |
//! | L1 | [`server`] | the HTTP listener that all doors share |
//! | L2 | [`api`] | the door in |
//! | L2 | [`worker`] | permits, receive, claim, send, settle |
//! | L2 | [`webhook`] | the door back |
//! | L2 | [`recovery`] | second chances: sweep, redrive, watchdog |
//! | L2 | [`callbacks`] | tells the producers what changed |
//! | L2 | [`sandbox`] | the scripted SendGrid-style provider, a product of its own |
//! | L3 | [`alerts`] | is anything wrong, since when, and who was told |
//! | L3 | [`console`] | the operators' page, a client of the API |
//! | L4 | [`settings`], [`app`], [`cli`] | configuration, composition, commands; `app` alone names backends |

pub mod alerts;
pub mod api;
pub mod app;
pub mod aws;
pub mod background;
pub mod callbacks;
pub mod cli;
pub mod clock;
pub mod console;
pub mod dead_letters;
pub mod engagement;
pub mod feed;
pub mod inbox;
pub mod incident;
pub mod intake;
pub mod jitter;
pub mod jobs;
pub mod journal;
pub mod message_log;
pub mod metrics;
mod named;
pub mod notification;
pub mod provider;
pub mod queue;
pub mod recovery;
pub mod sandbox;
pub mod secret;
pub mod server;
pub mod settings;
pub mod shutdown;
pub mod sign;
pub mod sqlite;
pub mod stops;
pub mod storm;
pub mod suppression;
pub mod tracking;
pub mod unconfirmed;
pub mod webhook;
pub mod worker;
