//! The contents that claims need: read from the log, or written to it where a queue message that has it may go.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::DynamoLog;
use super::change::content_saved_write;
use super::claim::{Asking, Stage};
use super::entry::{self, Body, Entry, Source};
use super::keys::{self, Item, Key};
use super::row::Row;
use crate::message_log::{Claim, LogError};
use crate::notification::status::{Life, State};
use crate::notification::{NotificationId, content};

type Result<T> = std::result::Result<T, LogError>;

impl DynamoLog {
    /// The content is read first: what cannot be sent is not claimed.
    pub(super) async fn read_contents(&self, asking: &mut [Asking<'_>]) {
        let lacking = |one: &Asking<'_>| match &one.stage {
            Stage::Known { entry: Some(entry), .. } if one.is_open() && one.content.is_none() => {
                Some(entry.clone())
            }
            _ => None,
        };
        let wanted: Vec<Key> = asking.iter().filter_map(lacking).map(|(key, _)| key).collect();
        if wanted.is_empty() {
            return;
        }
        let read = self.table.get(wanted).await;
        for one in asking.iter_mut() {
            let Some((key, hash)) = lacking(one) else { continue };
            let found = match &read {
                Ok(items) => self.content(items, &key).await,
                Err(error) => Err(error.clone()),
            };
            match found {
                Ok(Some(content)) if content::hash(&content) == hash => one.content = Some(content),
                Ok(_) => one.fail(&LogError::Corrupt("its content".into())),
                Err(error) => one.fail(&error),
            }
        }
    }

    /// The contents of these, as far as the log has them.
    pub(super) async fn contents_of(&self, ids: &[NotificationId]) -> Result<Vec<Option<Bytes>>> {
        let rows = self.table.get(ids.iter().map(|id| keys::row_key(*id))).await?;
        let mut places: Vec<Option<Key>> = Vec::with_capacity(ids.len());
        for id in ids {
            let row = rows.get(&keys::row_key(*id)).map(Row::read).transpose()?;
            places.push(row.map(|row| row.entry_key()));
        }
        let entries = self.table.get(places.iter().flatten().cloned()).await?;
        let mut contents = Vec::with_capacity(ids.len());
        for place in places {
            contents.push(match place {
                Some(key) => self.content(&entries, &key).await?,
                None => None,
            });
        }
        Ok(contents)
    }

    async fn content(&self, items: &HashMap<Key, Item>, key: &Key) -> Result<Option<Bytes>> {
        let Some(item) = items.get(key) else { return Ok(None) };
        let entry = Entry::read(item)?;
        match entry.body {
            Body::Content(content) => Ok(Some(content)),
            Body::Card { parts, .. } if parts > 0 => {
                let keys: Vec<Key> = entry::part_keys(entry.id, parts).collect();
                let found = self.table.get(keys.iter().cloned()).await?;
                entry::join_parts(keys.iter().map(|key| found.get(key)))
            }
            Body::Card { .. } | Body::Nothing => Ok(None),
        }
    }

    /// What is recorded without being claimed needs its content: its queue message may go.
    pub(super) async fn write_new_contents(&self, asking: &mut [Asking<'_>]) {
        let places: Vec<usize> = (0..asking.len())
            .filter(|place| {
                let one = &asking[*place];
                let is_refused =
                    one.tried.as_ref().is_some_and(|tried| matches!(tried.created, Some(Some(_))));
                one.is_open() && is_refused && matches!(one.stage, Stage::New)
            })
            .collect();
        if places.is_empty() {
            return;
        }
        let sources = places.iter().filter_map(|place| asking[*place].unrecorded().map(Source::of));
        let saved = self.write_content(sources).await;
        for (place, saved) in places.into_iter().zip(saved) {
            if let Err(error) = saved {
                asking[place].fail(&error);
            }
        }
    }

    /// A refused claim may end its queue message: where only that has the content, the log gets it first.
    pub(super) async fn save_refused(&self, asking: &mut [Asking<'_>]) {
        let mut places = Vec::new();
        let mut contents = Vec::new();
        for (place, one) in asking.iter().enumerate() {
            let (Some(Ok(Claim::Refused { life, created: false, .. })), Some(content)) =
                (&one.result, &one.content)
            else {
                continue;
            };
            if let Stage::Known { known, .. } = &one.stage
                && known.content_is_with_queue
                && life.state != State::Sent
            {
                places.push(place);
                contents.push((one.request.id, content.clone(), known.life.clone()));
            }
        }
        if places.is_empty() {
            return;
        }
        let mut marks = Vec::new();
        for (place, saved) in places.into_iter().zip(self.save(&contents).await) {
            let one = &mut asking[place];
            match (saved, &one.stage) {
                (Err(error), _) => one.fail(&error),
                (Ok(()), Stage::Known { known, .. }) => {
                    marks.push(content_saved_write(&self.table, one.request.id, known.version));
                }
                (Ok(()), _) => {}
            }
        }
        // Only spares the next refused claim the same work: if it fails, that does it again.
        self.writer.write(marks).await;
    }

    /// Writes contents that came with a queue message into the log. A result per content.
    pub(super) async fn save(&self, contents: &[(NotificationId, Bytes, Arc<Life>)]) -> Vec<Result<()>> {
        let decoded: Vec<_> = contents.iter().map(|(_, bytes, _)| content::decode(bytes).ok()).collect();
        let hashes: Vec<_> = contents.iter().map(|(_, bytes, _)| content::hash(bytes)).collect();
        let sources =
            contents.iter().zip(&decoded).zip(&hashes).filter_map(|(((id, bytes, life), decoded), hash)| {
                Some(Source {
                    id: *id,
                    notification: decoded.as_ref()?,
                    content: bytes,
                    content_hash: hash,
                    accepted_at: life.accepted_at,
                    ready_at: life.ready_at(),
                })
            });
        let mut written = self.write_content(sources).await.into_iter();
        let unreadable = || Err(LogError::Corrupt("its content".into()));
        let result = |decoded: &Option<_>| match decoded {
            Some(_) => written.next().unwrap_or_else(unreadable),
            None => unreadable(),
        };
        decoded.iter().map(result).collect()
    }
}
