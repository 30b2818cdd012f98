//! Entries of a batch that the server does not get, and that the answer calls failed.

use serde_json::{Value, json};

use super::Seen;

pub(super) struct Withheld {
    operation: String,
    table: String,
    /// Each with its place in the batch.
    entries: Vec<(usize, Value)>,
    code: &'static str,
}

impl Withheld {
    /// The request that is left, if any of its entries is, and what is held back of it.
    pub(super) fn from(
        seen: &Seen,
        is_withheld: &(dyn Fn() -> bool + Send + Sync),
        code: &'static str,
    ) -> (Option<Value>, Self) {
        let mut left = seen.body.clone();
        let tables = left["RequestItems"].as_object();
        let table = tables.and_then(|tables| tables.keys().next().cloned()).unwrap_or_default();
        let list = match seen.operation.as_str() {
            "BatchExecuteStatement" => &mut left["Statements"],
            "BatchWriteItem" => &mut left["RequestItems"][&table],
            "BatchGetItem" => &mut left["RequestItems"][&table]["Keys"],
            _ => &mut left["Entries"],
        };
        let all = std::mem::take(list.as_array_mut().expect("it is a batch")).into_iter().enumerate();
        let (entries, kept): (Vec<_>, Vec<_>) = all.partition(|_| is_withheld());
        let is_empty = kept.is_empty();
        *list = kept.into_iter().map(|(_, entry)| entry).collect();
        let withheld = Self { operation: seen.operation.clone(), table, entries, code };
        ((!is_empty).then_some(left), withheld)
    }

    /// The answer where nothing was left to be asked.
    pub(super) fn answer(self) -> Value {
        let mut answer = match self.operation.as_str() {
            "BatchExecuteStatement" => json!({ "Responses": [] }),
            "BatchGetItem" => json!({ "Responses": { &self.table: [] } }),
            "BatchWriteItem" => json!({}),
            _ => json!({ "Successful": [], "Failed": [] }),
        };
        self.tell(&mut answer);
        answer
    }

    /// Adds to the answer what became of them.
    pub(super) fn tell(self, answer: &mut Value) {
        let Self { operation, table, entries, code } = self;
        if entries.is_empty() {
            return;
        }
        let bare = || entries.iter().map(|(_, entry)| entry.clone()).collect::<Vec<_>>();
        match operation.as_str() {
            "BatchExecuteStatement" => {
                let Some(responses) = answer["Responses"].as_array_mut() else { return };
                for (place, _) in entries {
                    responses.insert(place, json!({ "Error": { "Code": code, "Message": "as told" } }));
                }
            }
            "BatchWriteItem" => answer["UnprocessedItems"] = json!({ table: bare() }),
            "BatchGetItem" => {
                answer["UnprocessedKeys"] = json!({ table: { "Keys": bare(), "ConsistentRead": true } });
            }
            _ => {
                let is_its_own = code != "InternalError";
                let failed = bare().into_iter().map(
                    |entry| json!({ "Id": entry["Id"], "Code": code, "SenderFault": is_its_own, "Message": "as told" }),
                );
                let mut all = answer["Failed"].as_array().cloned().unwrap_or_default();
                all.extend(failed);
                answer["Failed"] = all.into();
            }
        }
    }
}
