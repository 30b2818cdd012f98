//! The door in, over the real router and the embedded storage.

mod batch;
mod bodies;
mod describe;
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
mod world;
