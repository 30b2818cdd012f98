//! Second chances: what a crash or a lost queue message left behind is brought back, operators' jobs are
//! done, and what a provider took and was not heard of is found.

pub mod dead_letters;
pub mod jobs;
pub mod rematch;
pub mod sweep;
pub mod watchdog;
