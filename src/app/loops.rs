//! Everything that a server does by itself, each until the shutdown is pulled.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::{Storage, alerts, gauges, rooms};
use crate::clock::Clock;
use crate::jobs::Rings;
use crate::provider::Provider;
use crate::provider::health::HealthBoard;
use crate::recovery::rematch::{self, Rematcher};
use crate::recovery::sweep::Sweeper;
use crate::sandbox::Sandbox;
use crate::settings::{Roles, Settings};
use crate::shutdown::Shutdown;
use crate::tracking::Tracker;
use crate::tracking::folder::Folder;
use crate::worker::{Guards, Worker};

/// What they stand on.
pub(super) struct House<'a> {
    pub(super) settings: &'a Settings,
    pub(super) roles: Roles,
    pub(super) storage: &'a Storage,
    pub(super) clock: &'a Clock,
    pub(super) health: &'a HealthBoard,
    pub(super) guards: &'a Guards,
    pub(super) sandbox: Option<&'a Sandbox>,
    pub(super) stopped: &'a Shutdown,
}

impl House<'_> {
    /// Starts what the roles need.
    pub(super) async fn start(&self, rings: Rings) -> anyhow::Result<Vec<(&'static str, JoinHandle<()>)>> {
        let Self { settings, roles, storage, clock, health, guards, sandbox, stopped } = *self;
        let Guards { stops, storm } = guards;
        let mut loops = vec![
            ("stops", tokio::spawn(stops.clone().run(stopped.clone()))),
            ("storm", tokio::spawn(storm.clone().run(stopped.clone()))),
        ];
        if roles.worker || roles.webhook || roles.api {
            let board = (clock, health, storm.meter());
            let watch = alerts::watch(settings, roles, sandbox, storage, board)?;
            loops.push(("alerts", tokio::spawn(watch.run(stopped.clone()))));
        }
        if roles.webhook {
            let tracker = self.tracker();
            let folder = Folder::new(storage.inbox()?, tracker.clone(), rooms::folder(settings));
            loops.push(("folder", tokio::spawn(folder.run(stopped.clone()))));
            let (unmatched, config) = (storage.unmatched.clone(), rematch::Config::default());
            let rematcher = Rematcher::new(unmatched, tracker, clock.clone(), config);
            loops.push(("rematcher", tokio::spawn(rematcher.run(stopped.clone()))));
        }
        if roles.worker {
            let providers = rooms::providers(settings, sandbox)?;
            loops.push(("worker", tokio::spawn(drained(self.worker(providers), stopped.clone()))));
            let runner = storage.runner(clock, rooms::jobs(settings));
            storage.interrupt_left_behind(&runner).await?;
            loops.push(("jobs", tokio::spawn(runner.run(rings, stopped.clone()))));
            let (queue, log) = (storage.queue.clone(), storage.log.clone());
            loops.push(("dead letters", tokio::spawn(storage.keeper(clock).run(stopped.clone()))));
            let sweeper = Sweeper::new(log, queue, clock.clone(), rooms::sweeper(settings));
            loops.push(("sweeper", tokio::spawn(sweeper.run(stopped.clone()))));
        }
        let gauges = gauges::Gauges::new(storage, rooms::gauges(settings), clock.clone(), health.clone());
        gauges.read().await;
        loops.push(("gauges", tokio::spawn(gauges.run(stopped.clone()))));
        Ok(loops)
    }

    /// What follows from events, whether they are folded now or matched later.
    fn tracker(&self) -> Arc<Tracker> {
        let listeners = Vec::new();
        let (log, health, clock) = (self.storage.log.clone(), self.health.clone(), self.clock.clone());
        Arc::new(Tracker::new(log, health, clock, listeners))
    }

    fn worker(&self, providers: Vec<Arc<dyn Provider>>) -> Worker {
        let (queue, log) = (self.storage.queue.clone(), self.storage.log.clone());
        let (clock, health, guards) = (self.clock.clone(), self.health.clone(), self.guards.clone());
        Worker::new(queue, log, providers, clock, health, guards, rooms::worker(self.settings))
    }
}

async fn drained(worker: Worker, stopped: Shutdown) {
    worker.run(stopped).await;
}
