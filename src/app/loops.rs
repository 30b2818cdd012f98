//! Everything that a server does by itself, each until the shutdown is pulled.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::{Storage, alerts, gauges, rooms, ways};
use crate::background::Background;
use crate::callbacks::Deliverer;
use crate::clock::Clock;
use crate::jobs::Rings;
use crate::provider::Provider;
use crate::provider::health::HealthBoard;
use crate::recovery::rematch::{self, Rematcher};
use crate::recovery::sweep::Sweeper;
use crate::recovery::watchdog::Watchdog;
use crate::sandbox::Sandbox;
use crate::settings::{Roles, Settings};
use crate::shutdown::Shutdown;
use crate::suppression::listener::EventListener;
use crate::tracking::folder::Folder;
use crate::tracking::{Listener, Tracker};
use crate::worker::{Evidence, Guards, Worker};

/// What they stand on.
pub(super) struct House<'a> {
    pub(super) settings: &'a Settings,
    pub(super) roles: Roles,
    pub(super) storage: &'a Storage,
    pub(super) clock: &'a Clock,
    pub(super) health: &'a HealthBoard,
    pub(super) guards: &'a Guards,
    pub(super) background: &'a Background,
    pub(super) sandbox: Option<&'a Sandbox>,
    pub(super) stopped: &'a Shutdown,
}

impl House<'_> {
    /// Starts what the roles need.
    pub(super) async fn start(&self, rings: Rings) -> anyhow::Result<Vec<(&'static str, JoinHandle<()>)>> {
        let Self { settings, roles, storage, clock, health, guards, background, sandbox, stopped } = *self;
        let Guards { stops, storm, suppressions, .. } = guards;
        let mut loops = vec![
            ("stops", tokio::spawn(stops.clone().run(stopped.clone()))),
            ("storm", tokio::spawn(storm.clone().run(stopped.clone()))),
            ("suppressions", tokio::spawn(suppressions.clone().run(stopped.clone()))),
        ];
        if roles.worker || roles.webhook || roles.api {
            let board = (clock, health, storm.meter());
            let watch = alerts::watch(settings, roles, sandbox, storage, board)?;
            loops.push(("alerts", tokio::spawn(watch.run(stopped.clone()))));
        }
        if roles.webhook {
            let tracker = self.tracker();
            let (inbox, journal, config) =
                (storage.inbox()?, storage.journal.clone(), rooms::folder(settings));
            let folder = Folder::new(inbox, tracker.clone(), journal, clock.clone(), config);
            loops.push(("folder", background.spawn(folder.run(stopped.clone()))));
            let (unmatched, config) = (storage.unmatched.clone(), rematch::Config::default());
            let rematcher = Rematcher::new(unmatched, tracker, clock.clone(), config);
            loops.push(("rematcher", background.spawn(rematcher.run(stopped.clone()))));
        }
        if roles.worker {
            let providers = ways::providers(settings, sandbox)?;
            loops.push(("worker", tokio::spawn(drained(self.worker(providers), stopped.clone()))));
            let runner = storage.runner(clock, rooms::jobs(settings));
            storage.interrupt_left_behind(&runner).await?;
            loops.push(("jobs", tokio::spawn(runner.run(rings, stopped.clone()))));
            let (queue, log) = (storage.queue.clone(), storage.log.clone());
            loops.push(("dead letters", tokio::spawn(storage.keeper(clock).run(stopped.clone()))));
            loops.push(("callbacks", tokio::spawn(self.deliverer().run(stopped.clone()))));
            let sweeper = Sweeper::new(log, queue, clock.clone(), rooms::sweeper(settings));
            let (log, journal) = (storage.log.clone(), storage.journal.clone());
            let watchdog = Watchdog::new(log, journal, clock.clone(), rooms::watchdog(settings, sandbox)?);
            loops.push(("watchdog", tokio::spawn(watchdog.run(stopped.clone()))));
            loops.push(("sweeper", tokio::spawn(sweeper.run(stopped.clone()))));
        }
        let gauges = gauges::Gauges::new(storage, rooms::gauges(settings), clock.clone(), health.clone());
        gauges.read().await;
        loops.push(("gauges", tokio::spawn(gauges.run(stopped.clone()))));
        Ok(loops)
    }

    /// What follows from events, whether they are folded now or matched later.
    fn tracker(&self) -> Arc<Tracker> {
        let suppressions = EventListener::new(self.guards.suppressions.clone(), self.clock.clone());
        let listeners: Vec<Arc<dyn Listener>> = vec![Arc::new(suppressions)];
        let (log, health, clock) = (self.storage.log.clone(), self.health.clone(), self.clock.clone());
        Arc::new(Tracker::new(log, health, clock, listeners))
    }

    fn deliverer(&self) -> Deliverer {
        let (feed, journal) = (self.storage.feed.clone(), self.storage.journal.clone());
        let (courier, config) = (rooms::courier(self.settings), rooms::callbacks(self.settings));
        Deliverer::new(feed, journal, courier, self.clock.clone(), config)
    }

    fn worker(&self, providers: Vec<Arc<dyn Provider>>) -> Worker {
        let (queue, log) = (self.storage.queue.clone(), self.storage.log.clone());
        let (clock, health, guards) = (self.clock.clone(), self.health.clone(), self.guards.clone());
        if matches!(guards.evidence, Evidence::Elsewhere) {
            tracing::warn!("without sqs.events_url every unknown outcome waits for worker.witness_cap");
        }
        Worker::new(queue, log, providers, clock, health, guards, rooms::worker(self.settings))
    }
}

async fn drained(worker: Worker, stopped: Shutdown) {
    worker.run(stopped).await;
}
