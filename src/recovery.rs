//! Second chances: what a crash or a lost queue message left behind is brought back, and operators' jobs are done.

pub mod dead_letters;
pub mod jobs;
pub mod rematch;
pub mod sweep;
