//! Conditional writes: one PartiQL statement each, 25 in a request, shared by concurrent callers.

use std::collections::HashSet;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementErrorCodeEnum as Code, BatchStatementRequest, BatchStatementResponse,
    ReturnValuesOnConditionCheckFailure,
};
use futures::future::join_all;

use super::keys::{Item, Key};
use super::table::{self, TRIES, Table};
use super::told::boot_time;
use crate::aws::batch::{self, Batcher};
use crate::message_log::LogError;

/// Statements in one BatchExecuteStatement.
const STATEMENTS: usize = 25;

/// So many at once need no company of others.
const ENOUGH: usize = 8;

/// Requests at once that are shared by small callers.
const SHARED_AT_ONCE: usize = 32;

/// How long a small batch waits for company while other requests are under way.
const LINGER: Duration = Duration::from_millis(2);

/// One conditional write of one item.
#[derive(Clone, Debug)]
pub(super) struct Write {
    /// Of the item: two writes of the same item never share a request, which DynamoDB would refuse as a whole.
    pub(super) key: Key,
    /// `INSERT INTO "table" VALUE {…}` or `UPDATE "table" … WHERE pk = ? AND sk = ? AND …`.
    pub(super) statement: String,
    /// What stands for its question marks.
    pub(super) parameters: Vec<AttributeValue>,
    /// By the time since boot: it is not sent later.
    pub(super) send_before: Option<Duration>,
}

/// What became of a write.
#[derive(Clone, Debug)]
pub(super) enum Written {
    /// Done.
    Done,
    /// Its condition does not hold, or there is no such item, or (INSERT) there is one. The item as it is, where the
    /// service says it: not every emulator does.
    Refused(Option<Item>),
    /// It was not sent: it was too late for it.
    TooLate,
}

#[derive(Debug)]
enum Answer {
    Written(Written),
    /// Not done, as the service says: again.
    Throttled(String),
    Failed(LogError),
}

/// Executes writes.
#[derive(Debug)]
pub(super) struct Writer {
    table: Table,
    shared: Batcher<Write, Answer>,
    shared_puts: Batcher<Item, Result<(), LogError>>,
}

impl Writer {
    /// Must be called inside a runtime.
    pub(super) fn start(table: Table) -> Self {
        let own = table.clone();
        let config =
            batch::Config { max: STATEMENTS, linger: LINGER, waits_alone: false, at_once: SHARED_AT_ONCE };
        let shared = Batcher::start(config, move |writes| {
            let table = own.clone();
            Box::pin(async move { execute(&table, writes).await })
        });
        let own = table.clone();
        let shared_puts = Batcher::start(config, move |items| {
            let table = own.clone();
            Box::pin(async move { table.put(items).await })
        });
        Self { table, shared, shared_puts }
    }

    /// Writes each item, over what is there, see [`Table::put`]. A result per item.
    pub(super) async fn put(&self, items: Vec<Item>) -> Vec<Result<(), LogError>> {
        if items.len() >= ENOUGH {
            return self.table.put(items).await;
        }
        let answers = self.shared_puts.submit(items).await;
        let lost = || Err(LogError::Unavailable("a write came to no answer".into()));
        answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect()
    }

    /// A result per write, in order. Writes of the same item are executed in their order. What is throttled is tried
    /// again alone. After an error it is not known whether it was done.
    pub(super) async fn write(&self, writes: Vec<Write>) -> Vec<Result<Written, LogError>> {
        let mut results: Vec<Option<Result<Written, LogError>>> = writes.iter().map(|_| None).collect();
        let mut left: Vec<(usize, Write)> = writes.into_iter().enumerate().collect();
        for round in 1..=TRIES {
            if left.is_empty() {
                break;
            }
            let answers = self.send(left.iter().map(|(_, write)| write.clone()).collect()).await;
            let mut again = Vec::new();
            for ((ix, write), answer) in left.into_iter().zip(answers) {
                results[ix] = Some(match answer {
                    Answer::Written(written) => Ok(written),
                    Answer::Failed(error) => Err(error),
                    Answer::Throttled(words) => {
                        again.push((ix, write));
                        Err(if round < TRIES {
                            LogError::Unavailable(words)
                        } else {
                            self.table.throttled(&words)
                        })
                    }
                });
            }
            left = again;
            if !left.is_empty() && round < TRIES {
                table::pause(round).await;
            }
        }
        results.into_iter().map(|result| result.unwrap_or_else(no_answer)).collect()
    }

    async fn send(&self, writes: Vec<Write>) -> Vec<Answer> {
        if writes.len() >= ENOUGH {
            return execute_all(&self.table, writes).await;
        }
        let answers = self.shared.submit(writes).await;
        let lost = || Answer::Failed(LogError::Unavailable("a write came to no answer".into()));
        answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect()
    }
}

fn no_answer() -> Result<Written, LogError> {
    Err(LogError::Unavailable("a write came to no answer".into()))
}

/// All at once, in as few requests as they need.
async fn execute_all(table: &Table, mut writes: Vec<Write>) -> Vec<Answer> {
    let mut chunks = Vec::with_capacity(writes.len().div_ceil(STATEMENTS));
    let distinct: HashSet<&Key> = writes.iter().map(|write| &write.key).collect();
    if distinct.len() < writes.len() {
        // Twins over several requests at once would lose their order.
        let mut answers = Vec::with_capacity(writes.len());
        while !writes.is_empty() {
            let rest = writes.split_off(writes.len().min(STATEMENTS));
            answers.append(&mut execute(table, std::mem::replace(&mut writes, rest)).await);
        }
        return answers;
    }
    while !writes.is_empty() {
        let rest = writes.split_off(writes.len().min(STATEMENTS));
        chunks.push(execute(table, std::mem::replace(&mut writes, rest)));
    }
    join_all(chunks).await.into_iter().flatten().collect()
}

/// Up to 25, in one request, or in several where some are of the same item.
async fn execute(table: &Table, writes: Vec<Write>) -> Vec<Answer> {
    let mut answers: Vec<Option<Answer>> = writes.iter().map(|_| None).collect();
    let mut left: Vec<(usize, Write)> = writes.into_iter().enumerate().collect();
    while !left.is_empty() {
        let mut seen = HashSet::new();
        let (now, twins): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|(_, write)| seen.insert(write.key.clone()));
        left = twins;
        let at = boot_time();
        let (late, now): (Vec<_>, Vec<_>) =
            now.into_iter().partition(|(_, write)| write.send_before.is_some_and(|end| end < at));
        late.into_iter().for_each(|(ix, _)| answers[ix] = Some(Answer::Written(Written::TooLate)));
        let (places, now): (Vec<usize>, Vec<Write>) = now.into_iter().unzip();
        if now.is_empty() {
            continue;
        }
        for (ix, answer) in places.into_iter().zip(request(table, now).await) {
            answers[ix] = Some(answer);
        }
    }
    let lost = || Answer::Failed(LogError::Unavailable("a write came to no answer".into()));
    answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect()
}

/// One request.
async fn request(table: &Table, writes: Vec<Write>) -> Vec<Answer> {
    let count = writes.len();
    let failed = |error: LogError| (0..count).map(|_| Answer::Failed(error.clone())).collect();
    let statements: Result<Vec<_>, _> = writes.into_iter().map(statement).collect();
    let statements = match statements {
        Ok(statements) => statements,
        Err(error) => return failed(LogError::Unavailable(error.to_string())),
    };
    let call = table
        .client
        .batch_execute_statement()
        .set_statements(Some(statements))
        .set_return_consumed_capacity(table.asks_units());
    match call.send().await {
        Err(error) => failed(table.failed(&error)),
        Ok(answer) => {
            table.answered();
            super::units::count("write", answer.consumed_capacity());
            let mut answers: Vec<_> = answer.responses.unwrap_or_default().into_iter().map(one).collect();
            // An answer for each, always: what is not spoken of is not done.
            answers
                .resize_with(count, || Answer::Failed(LogError::Unavailable("no answer to a write".into())));
            answers
        }
    }
}

fn statement(write: Write) -> Result<BatchStatementRequest, aws_sdk_dynamodb::error::BuildError> {
    BatchStatementRequest::builder()
        .statement(write.statement)
        .set_parameters(Some(write.parameters))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()
}

fn one(response: BatchStatementResponse) -> Answer {
    let Some(error) = response.error else { return Answer::Written(Written::Done) };
    let words = || {
        let code = error.code.as_ref().map_or("an error", Code::as_str);
        format!("{code}: {}", error.message.as_deref().unwrap_or_default())
    };
    match error.code {
        Some(Code::ConditionalCheckFailed | Code::DuplicateItem) => {
            Answer::Written(Written::Refused(error.item.filter(|item| !item.is_empty())))
        }
        Some(
            Code::ProvisionedThroughputExceeded
            | Code::RequestLimitExceeded
            | Code::ThrottlingError
            | Code::TransactionConflict
            | Code::InternalServerError,
        ) => Answer::Throttled(words()),
        _ => Answer::Failed(LogError::Unavailable(words())),
    }
}
