//! The one integration binary: one file a flow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is the failed test"
)]

mod cli;
mod settings;
