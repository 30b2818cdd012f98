//! The watchdog: what a provider took and was not heard of. It looks at everything that was sent once for each deadline,
//! in the order of time, and again at what it found until that is heard of. How far it is stands in the journal, under
//! a lease, so that one process does it at a time and a crash costs nothing but the page that was under way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::clock::Clock;
use crate::journal::{Journal, JournalError};
use crate::message_log::{Heard, Lacks, LogError, MessageLog, SentSpan};
use crate::shutdown::Shutdown;
use crate::unconfirmed::{self, Finding, Lease, MOST, PAGE, Stand, Walk};

/// Documents that are written at once.
const AT_ONCE: usize = 16;
/// Findings of one page.
const FOUND: usize = 500;
/// Records that are looked at again in one call.
const AGAIN: usize = 200;

/// How the watchdog looks.
#[derive(Clone, Debug)]
pub struct Config {
    /// Something should be heard of what was sent within this.
    pub processed_within: Duration,
    /// And its end within this.
    pub end_within: Duration,
    /// Between two steps.
    pub interval: Duration,
    /// A span to look through is at least this long: on AWS each look reads whole hours.
    pub walk_every: Duration,
    /// How many findings are looked at again in a step: on AWS each costs three read units.
    pub again: usize,
    /// How long one step may take; what is left is the next one's.
    pub patience: Duration,
    /// How long a process that does not come back keeps the others out. Longer than a step and a pause.
    pub lease: Duration,
    /// The providers that are configured.
    pub providers: Vec<String>,
    /// Those of them whose events are awaited although none came yet: their webhook is configured.
    pub awaited: BTreeSet<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            processed_within: Duration::from_secs(15 * 60),
            end_within: Duration::from_secs(72 * 3600),
            interval: Duration::from_secs(60),
            walk_every: Duration::ZERO,
            again: 10_000,
            patience: Duration::from_secs(30),
            lease: Duration::from_secs(180),
            providers: Vec::new(),
            awaited: BTreeSet::new(),
        }
    }
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Another process looks.
    pub is_elsewhere: bool,
    /// Sent ones that were looked at.
    pub seen: u64,
    /// Found now.
    pub found: u64,
    /// Heard of since they were found.
    pub heard: u64,
}

/// Why a step failed; the next one goes on where it was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WatchError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It took too long, and another process took over.
    #[error("another process took over")]
    Lost,
}

/// Looks for what is not heard of.
pub struct Watchdog {
    log: Arc<dyn MessageLog>,
    journal: Arc<dyn Journal>,
    clock: Clock,
    config: Config,
    owner: String,
}

impl Watchdog {
    /// A watchdog over these ports, with a name of its own.
    pub fn new(log: Arc<dyn MessageLog>, journal: Arc<dyn Journal>, clock: Clock, config: Config) -> Self {
        Self { log, journal, clock, config, owner: uuid::Uuid::now_v7().to_string() }
    }

    /// Looks until the shutdown is pulled.
    pub async fn run(self, shutdown: Shutdown) {
        let mut was_ill = false;
        while !shutdown.is_pulled() {
            let looked = tokio::select! {
                looked = self.step() => looked,
                () = shutdown.pulled() => break,
            };
            match &looked {
                Ok(looked) if looked.found > 0 => {
                    let found = looked.found;
                    tracing::warn!(found, "sent, and not heard of in time: `kakitome unconfirmed`");
                }
                Err(error) if !was_ill => tracing::warn!(%error, "cannot look for what is not heard of"),
                _ => {}
            }
            was_ill = looked.is_err();
            tokio::select! {
                () = tokio::time::sleep(self.config.interval) => {}
                () = shutdown.pulled() => {}
            }
        }
        // Another process need not wait for the lease.
        let ours = |stand: &mut Stand| stand.lease.take_if(|lease| lease.owner == self.owner).map(|_| ());
        let _left =
            tokio::time::timeout(Duration::from_secs(2), unconfirmed::change(&*self.journal, ours)).await;
    }

    /// One look.
    pub async fn step(&self) -> Result<Looked, WatchError> {
        let mut looked = Looked::default();
        let Some(mut stand) = self.take().await? else {
            return Ok(Looked { is_elsewhere: true, ..looked });
        };
        let begun = self.clock.boot_time();
        let is_late = || self.clock.boot_time().saturating_sub(begun) > self.config.patience;
        let mut watched = Watched { dog: self, known: BTreeMap::new() };
        stand.without_events = Vec::new();
        for provider in &self.config.providers {
            if !watched.is(provider).await? {
                stand.without_events.push(provider.clone());
            }
        }
        self.look_again(&mut stand, &mut looked).await?;
        for lacks in Lacks::ALL {
            while !is_late() && self.look(lacks, &mut stand, &mut watched, &mut looked).await? {
                self.save(&stand).await?;
            }
        }
        stand.is_full = stand.total() >= MOST;
        stand.looked_at = Some(self.clock.now());
        self.save(&stand).await?;
        Ok(looked)
    }

    /// Takes the lease; `None`: another process has it.
    async fn take(&self) -> Result<Option<Stand>, JournalError> {
        let now = self.clock.now();
        unconfirmed::change(&*self.journal, |stand| {
            let others = stand.lease.as_ref().filter(|lease| lease.owner != self.owner && lease.until > now);
            if others.is_some() {
                return None;
            }
            for lacks in Lacks::ALL {
                // The first look begins with what is sent from now on: of what was before, nobody was asked to tell.
                stand.walks.entry(lacks).or_insert_with(|| Walk { from: now, ..Walk::default() });
            }
            stand.lease = Some(Lease { owner: self.owner.clone(), until: now.plus(self.config.lease) });
            Some(stand.clone())
        })
        .await
    }

    /// Writes down how far it is, and keeps the lease.
    async fn save(&self, ours: &Stand) -> Result<(), WatchError> {
        let until = self.clock.now().plus(self.config.lease);
        let saved = unconfirmed::change(&*self.journal, |stand| {
            stand.lease.as_ref().filter(|lease| lease.owner == self.owner)?;
            *stand = ours.clone();
            stand.lease = Some(Lease { owner: self.owner.clone(), until });
            Some(())
        });
        saved.await?.ok_or(WatchError::Lost)
    }

    /// A page of one of the two walks; whether there is more to do at once.
    async fn look(
        &self,
        lacks: Lacks,
        stand: &mut Stand,
        watched: &mut Watched<'_>,
        looked: &mut Looked,
    ) -> Result<bool, WatchError> {
        let within = match lacks {
            Lacks::Processed => self.config.processed_within,
            Lacks::End => self.config.end_within,
        };
        let room = usize::try_from(MOST.saturating_sub(stand.total())).unwrap_or(0);
        let now = self.clock.now();
        let mut walk = stand.walks.get(&lacks).cloned().unwrap_or_default();
        let until = walk.until.unwrap_or_else(|| now.minus(within));
        if room == 0 || until <= walk.from {
            return Ok(false);
        }
        if walk.until.is_none() && until.since(walk.from) < self.config.walk_every {
            return Ok(false);
        }
        let span = SentSpan { from: walk.from, until };
        let page = self.log.sent_without(lacks, span, walk.cursor.as_deref(), room.min(FOUND)).await?;
        looked.seen += page.looked_at;
        let mut findings = Vec::new();
        for heard in &page.items {
            if watched.is(&heard.provider).await? {
                findings.extend(Finding::of(heard, now));
            }
        }
        let keeping: Vec<_> =
            findings.iter().map(|finding| unconfirmed::keep(&*self.journal, finding).boxed()).collect();
        let kept: Vec<bool> = stream::iter(keeping).buffered(AT_ONCE).try_collect().await?;
        for (finding, is_new) in findings.iter().zip(kept) {
            if is_new {
                stand.add(finding.lacks, 1);
                looked.found += 1;
            }
        }
        walk = match page.next_cursor {
            Some(cursor) => Walk { from: walk.from, until: Some(until), cursor: Some(cursor) },
            None => Walk { from: until, ..Walk::default() },
        };
        let is_under_way = walk.until.is_some();
        stand.walks.insert(lacks, walk);
        Ok(is_under_way)
    }

    /// Looks again at what was found, a part of it in each step, and counts it anew.
    async fn look_again(&self, stand: &mut Stand, looked: &mut Looked) -> Result<(), WatchError> {
        stand.found.clear();
        let from = stand.again.take();
        let mut due = Vec::new();
        let mut first = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let findings = unconfirmed::list(&*self.journal, after.as_deref(), PAGE).await?;
            let is_last = findings.len() < PAGE;
            after = findings.last().map(Finding::key).or(after);
            for finding in findings {
                stand.add(finding.lacks, 1);
                // The keys fall.
                let is_behind = from.as_ref().is_some_and(|from| finding.key() < *from);
                let part = if is_behind { &mut due } else { &mut first };
                if part.len() < self.config.again {
                    part.push(finding);
                }
            }
            if is_last {
                break;
            }
        }
        due.append(&mut first);
        due.truncate(self.config.again);
        for findings in due.chunks(AGAIN) {
            let ids: Vec<_> = findings.iter().map(|finding| finding.id).collect();
            let heard = self.log.heard_of(&ids).await?;
            for (finding, heard) in findings.iter().zip(heard) {
                self.settle(finding, heard, stand, looked).await?;
                stand.again = Some(finding.key());
            }
        }
        Ok(())
    }

    async fn settle(
        &self,
        finding: &Finding,
        heard: Option<Heard>,
        stand: &mut Stand,
        looked: &mut Looked,
    ) -> Result<(), WatchError> {
        let now = self.clock.now();
        let mut after = heard.and_then(|heard| Finding::of(&heard, finding.found_at));
        // What was begun has until its own deadline to end; the other walk finds it then.
        after = after.filter(|after| {
            after.lacks == Lacks::Processed || now.since(after.sent_at) >= self.config.end_within
        });
        match after {
            Some(after) if after == *finding => {}
            Some(after) => {
                unconfirmed::keep(&*self.journal, &after).await?;
                stand.add(finding.lacks, -1);
                stand.add(after.lacks, 1);
            }
            None => {
                unconfirmed::forget(&*self.journal, finding).await?;
                stand.add(finding.lacks, -1);
                looked.heard += 1;
            }
        }
        Ok(())
    }
}

/// Whose events are awaited: a provider that never told anything, and whose webhook is not configured here, is not
/// silent, it was never asked to speak.
struct Watched<'a> {
    dog: &'a Watchdog,
    known: BTreeMap<String, bool>,
}

impl Watched<'_> {
    async fn is(&mut self, provider: &str) -> Result<bool, LogError> {
        if let Some(known) = self.known.get(provider) {
            return Ok(*known);
        }
        let is =
            self.dog.config.awaited.contains(provider) || self.dog.log.witness(provider).await?.is_some();
        self.known.insert(provider.to_owned(), is);
        Ok(is)
    }
}
