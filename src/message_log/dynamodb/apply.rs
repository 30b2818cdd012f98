//! Facts: those of one id are folded into one write, from what is known of it or else from its row.

use std::collections::HashMap;
use std::sync::Arc;

use super::change::{Known, changed, write_id};
use super::folded::Folded;
use super::keys::{self, Item};
use super::row::{Row, WriteId};
use super::told::{self, Note, Place, Tenants};
use super::won::Won;
use super::write::{Write, Written};
use super::{DynamoLog, ROUNDS};
use crate::clock::Timestamp;
use crate::message_log::{Applied, LogError};
use crate::notification::NotificationId;
use crate::notification::status::{Fact, State};

type Result<T> = std::result::Result<T, LogError>;

/// The facts of one id.
struct Group<'a> {
    id: NotificationId,
    facts: Vec<(usize, &'a Fact)>,
    known: Option<Known>,
    /// What is known was not read just now.
    is_guess: bool,
    content: Option<bytes::Bytes>,
    content_written: bool,
    tried: Option<Tried>,
    done: bool,
}

/// A write whose answer is not known yet.
struct Tried {
    w: WriteId,
    /// That of a try before, which came too late to be sent again, and may have been done all the same.
    former: Option<WriteId>,
    folded: Folded,
    /// What the feed is told of it.
    note: Option<Note>,
}

impl Tried {
    fn is(&self, write_id: WriteId) -> bool {
        self.w == write_id || self.former == Some(write_id)
    }
}

type Results = Vec<Option<Result<Applied>>>;

impl DynamoLog {
    pub(super) async fn apply_all(
        &self,
        facts: &[(NotificationId, Fact)],
        now: Timestamp,
    ) -> Vec<Result<Applied>> {
        let tenants = match self.teller.tenants().await {
            Ok(tenants) => tenants,
            Err(error) => return facts.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut groups = self.group(facts);
        let mut results: Results = facts.iter().map(|_| None).collect();
        for _round in 0..ROUNDS {
            self.read_unknown(&mut groups, &mut results, now).await;
            let waiting = self.fold(&mut groups, &mut results, tenants.as_ref(), now).await;
            if waiting.is_empty() {
                if groups.iter().all(|group| group.done) {
                    break;
                }
                continue;
            }
            let (places, writes): (Vec<usize>, Vec<Write>) = waiting.into_iter().unzip();
            let written = self.writer.write(writes).await;
            let mut late: Vec<Note> = Vec::new();
            for (place, written) in places.into_iter().zip(written) {
                let group = &mut groups[place];
                match written {
                    Ok(Written::Done) => late.extend(self.finish(group, &mut results, now)),
                    Ok(Written::Refused(Some(item))) => {
                        late.extend(self.learn(group, Some(&item), &mut results, now));
                    }
                    Ok(Written::Refused(None)) => group.known = None,
                    Ok(Written::TooLate) => {}
                    Err(error) => {
                        late.extend(group.tried.take().and_then(|tried| tried.note));
                        fail(group, &mut results, &error);
                    }
                }
            }
            self.repeat_late(&mut late).await;
        }
        let told = facts.iter().zip(&results).filter(|(_, result)| matches!(result, Some(Ok(_))));
        self.walk
            .confirm(told.filter_map(|((id, fact), _)| matches!(fact, Fact::Enqueued { .. }).then_some(*id)));
        let contended = || Err(LogError::Unavailable("too many write one record at once".into()));
        results.into_iter().map(|result| result.unwrap_or_else(contended)).collect()
    }

    fn group<'a>(&self, facts: &'a [(NotificationId, Fact)]) -> Vec<Group<'a>> {
        let mut places: HashMap<NotificationId, usize> = HashMap::with_capacity(facts.len());
        let mut groups: Vec<Group<'a>> = Vec::with_capacity(facts.len());
        for (ix, (id, fact)) in facts.iter().enumerate() {
            let place = *places.entry(*id).or_insert(groups.len());
            if let Some(group) = groups.get_mut(place) {
                group.facts.push((ix, fact));
                continue;
            }
            let (known, content) = match self.won.get(*id) {
                Some(Won { known, content }) => (Some(known), content),
                None => (None, None),
            };
            let (facts, is_guess) = (vec![(ix, fact)], known.is_some());
            groups.push(Group {
                id: *id,
                facts,
                known,
                is_guess,
                content,
                content_written: false,
                tried: None,
                done: false,
            });
        }
        groups
    }

    async fn read_unknown(&self, groups: &mut [Group<'_>], results: &mut Results, now: Timestamp) {
        let wanted: Vec<_> = groups
            .iter()
            .filter(|group| !group.done && group.known.is_none())
            .map(|group| keys::row_key(group.id))
            .collect();
        if wanted.is_empty() {
            return;
        }
        let read = self.table.get(wanted).await;
        let mut late: Vec<Note> = Vec::new();
        for group in groups.iter_mut().filter(|group| !group.done && group.known.is_none()) {
            match &read {
                Ok(rows) => {
                    late.extend(self.learn(group, rows.get(&keys::row_key(group.id)), results, now));
                }
                Err(error) => fail(group, results, error),
            }
        }
        self.repeat_late(&mut late).await;
    }

    /// Takes the row as it is for true. If its latest write is ours, only the answer was lost: what was told of it.
    fn learn(
        &self,
        group: &mut Group<'_>,
        item: Option<&Item>,
        results: &mut Results,
        now: Timestamp,
    ) -> Option<Note> {
        let Some(item) = item else {
            for (ix, _) in &group.facts {
                results[*ix] = Some(Ok(Applied::Absent));
            }
            group.done = true;
            return None;
        };
        match Row::read(item) {
            Ok(row) if group.tried.as_ref().is_some_and(|tried| tried.is(row.write_id)) => {
                group.known = Some(Known { version: row.version - 1, ..Known::of(row) });
                return self.finish(group, results, now);
            }
            Ok(row) => {
                group.known = Some(Known::of(row));
                group.is_guess = false;
                group.tried = None;
            }
            Err(error) => fail(group, results, &error),
        }
        None
    }

    /// Tells the facts to what is known; the writes that this needs, with their groups' places.
    async fn fold(
        &self,
        groups: &mut [Group<'_>],
        results: &mut Results,
        tenants: Option<&Tenants>,
        now: Timestamp,
    ) -> Vec<(usize, Write)> {
        let mut waiting = Vec::new();
        for (place, group) in groups.iter_mut().enumerate().filter(|(_, group)| !group.done) {
            let Some(known) = &group.known else { continue };
            let folded = Folded::of(known, &group.facts, now);
            if group.is_guess && folded.is_refused() {
                group.known = None;
                continue;
            }
            // Claimed while nobody was told of anything.
            let is_told = tenants.is_some() && told::is_told(known.life.state, folded.after().state);
            if is_told && known.tenant.is_none() {
                group.known = None;
                continue;
            }
            let only_looks = group.facts.iter().all(|(_, fact)| matches!(fact, Fact::Enqueued { .. }));
            let is_same = *folded.after() == *known.life;
            if is_same || only_looks && known.needs_no_index(folded.after(), now) {
                settle(group, folded, results);
                continue;
            }
            let former = group.tried.as_ref().map(|tried| tried.w);
            group.tried = Some(Tried { w: write_id(), former, folded, note: None });
            waiting.push(place);
        }
        self.save_contents(groups, &waiting, results).await;
        self.tell(groups, &waiting, tenants, results).await;
        let write = |place: usize| {
            let group = &groups[place];
            let (known, tried) = (group.known.as_ref()?, group.tried.as_ref()?);
            let after = tried.folded.after();
            let name = (tried.w, tried.note.as_ref());
            let write = self.change_write(group.id, known, after, name, group.content_written, now);
            (!group.done).then_some((place, write))
        };
        waiting.into_iter().filter_map(write).collect()
    }

    /// Tells the feed, before anything changes: a crash between the two leaves an entry that tells nothing.
    async fn tell(
        &self,
        groups: &mut [Group<'_>],
        waiting: &[usize],
        tenants: Option<&Tenants>,
        results: &mut Results,
    ) {
        let Some(tenants) = tenants else { return };
        let mut places = Vec::new();
        for place in waiting {
            let Group { id, known: Some(known), tried: Some(tried), done: false, .. } = &mut groups[*place]
            else {
                continue;
            };
            let tenant = known.tenant.as_deref().filter(|tenant| tenants.include(tenant));
            let (Some(tenant), after) = (tenant, tried.folded.after()) else { continue };
            if told::is_told(known.life.state, after.state) {
                let mut note = self.teller.of_life(Place { id: *id, tenant, write_id: tried.w }, after);
                self.teller.stamp(&mut note, known.history.latest());
                tried.note = Some(note);
                places.push(*place);
            }
        }
        let notes = places.iter().filter_map(|place| groups[*place].tried.as_ref()?.note.as_ref());
        let written = self.put_notes(notes).await;
        for (place, written) in places.into_iter().zip(written) {
            if let Err(error) = written {
                fail(&mut groups[place], results, &error);
            }
        }
    }

    /// Whatever goes anywhere but to sent must have its content in the log: its queue message may be its last.
    async fn save_contents(&self, groups: &mut [Group<'_>], waiting: &[usize], results: &mut Results) {
        let mut places = Vec::new();
        let mut contents = Vec::new();
        for place in waiting {
            let group = &groups[*place];
            let (Some(known), Some(tried)) = (&group.known, &group.tried) else { continue };
            let needs = known.content_is_with_queue && !group.content_written;
            if let (true, Some(content)) =
                (needs && tried.folded.after().state != State::Sent, &group.content)
            {
                places.push(*place);
                contents.push((group.id, content.clone(), known.life.clone()));
            }
        }
        if places.is_empty() {
            return;
        }
        for (place, saved) in places.into_iter().zip(self.save(&contents).await) {
            match saved {
                Ok(()) => groups[place].content_written = true,
                Err(error) => fail(&mut groups[place], results, &error),
            }
        }
    }

    /// Its write is done. What was told of it.
    fn finish(&self, group: &mut Group<'_>, results: &mut Results, now: Timestamp) -> Option<Note> {
        let (Tried { folded, note, .. }, Some(known)) = (group.tried.take()?, &group.known) else {
            return None;
        };
        let after = folded.after();
        if after.state == State::Sent && folded.before.state != State::Sent {
            self.tally.sent(1);
        }
        if after.state == State::Attempting {
            let known = changed(known, Arc::new(after.clone()), group.content_written, now);
            let content = group.content.take().filter(|_| known.content_is_with_queue);
            self.won.keep(group.id, Won { known, content });
        } else {
            self.won.forget(group.id);
        }
        settle(group, folded, results);
        note
    }
}

/// Its facts have their answers.
fn settle(group: &mut Group<'_>, folded: Folded, results: &mut Results) {
    for ((ix, _), applied) in group.facts.iter().zip(folded.results) {
        results[*ix] = Some(Ok(applied));
    }
    group.done = true;
}

fn fail(group: &mut Group<'_>, results: &mut Results, error: &LogError) {
    for (ix, _) in &group.facts {
        results[*ix] = Some(Err(error.clone()));
    }
    group.done = true;
}
