//! Second chances: what a crash or a lost queue message left behind is brought back.

pub mod dead_letters;
pub mod sweep;
