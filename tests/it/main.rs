//! The one integration binary: one file a flow.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is the failed test")]

mod alerts;
mod api;
mod aws;
mod backend;
mod blackbox;
mod cli;
mod conformance;
mod console;
mod dead_letters;
mod docs;
mod drill;
mod dynamodb;
mod dynamodb_read;
mod emulator;
mod engine;
mod flow;
mod kill;
mod killing;
mod notification;
mod outage;
mod process;
mod proxy;
mod redrive;
mod redriving;
mod sandbox;
mod sendgrid;
mod server;
mod settings;
mod sqs;
mod tidy;
mod webhook;
mod worker;
mod world;
