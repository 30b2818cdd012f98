//! The door in, over the real router and the embedded storage.

mod aside;
mod batch;
mod bodies;
mod callbacks;
mod describe;
mod engagement;
mod enqueue;
mod events;
mod evidence;
mod incident;
mod jobs;
mod keys;
mod lookup;
mod operate;
mod outage;
mod probes;
mod suppressions;
mod world;
