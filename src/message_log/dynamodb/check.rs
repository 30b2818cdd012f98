//! Is the table as it must be, and may we do everything to it that the log does?

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementErrorCodeEnum as Code, BatchStatementRequest, BatchStatementResponse,
    DeleteRequest, KeysAndAttributes, TimeToLiveStatus, WriteRequest,
};

use super::Config;
use super::keys::Key;
use super::setup::{INDEXES, TTL_ATTRIBUTE, faults_of};
use crate::aws::{self, Aws, Finding, Kind};

/// A key that nothing lies under.
fn nobody() -> Key {
    Key::new("check#nobody", "check")
}

/// Looks at the table, and whether we may do what the log does. Changes nothing: what it writes has conditions that
/// cannot hold, or is the deletion of an item that is not there.
pub async fn check(aws: &Aws, config: &Config) -> Vec<Finding> {
    let (client, table) = (&aws.dynamodb, config.table.as_str());
    let mut findings = vec![shape(client, table).await];
    if findings.iter().any(|finding| !finding.ok && finding.detail.starts_with("ResourceNotFound")) {
        return findings;
    }
    findings.push(time_to_live(client, table).await);
    findings.extend(statements(client, table).await);
    findings.push(reading(client, table).await);
    findings.push(writing(client, table).await);
    findings.push(counting(client, table).await);
    findings.extend(journal(client, table).await);
    findings.push(query(client, table, None, "pk").await);
    for (index, partition, ..) in INDEXES {
        findings.push(query(client, table, Some(index), partition).await);
    }
    findings
}

/// What an answer says of the right to `action`: any answer but a denial proves it.
fn permission(action: &str, on: &str, refused: Option<(Kind, String)>) -> Finding {
    permission_of("worker", action, on, refused)
}

/// The same of a right that another role needs.
fn permission_of(role: &str, action: &str, on: &str, refused: Option<(Kind, String)>) -> Finding {
    match refused {
        None | Some((Kind::Refused, _)) => Finding::good(action, "allowed"),
        Some((Kind::Denied, words)) => {
            Finding::bad(action, words, format!("allow `{action}` on {on} in the {role}'s policy"))
        }
        Some((_, words)) => Finding::bad(action, words, "see whether DynamoDB can be reached from here"),
    }
}

async fn shape(client: &Client, table: &str) -> Finding {
    match client.describe_table().table_name(table).send().await {
        Ok(answer) => {
            let faults = answer.table.as_ref().map(faults_of).unwrap_or_default();
            if faults.is_empty() {
                return Finding::good("table", format!("`{table}` is as it must be"));
            }
            let remedy = "give the log another table: `kakitome setup` creates it";
            Finding::bad("table", format!("`{table}`: {}", faults.join("; ")), remedy)
        }
        Err(error) => {
            let remedy = match aws::kind(&error) {
                Kind::Absent => "`kakitome setup` creates it".to_owned(),
                Kind::Denied => format!("allow `dynamodb:DescribeTable` on `{table}` in the worker's policy"),
                _ => "see whether DynamoDB can be reached from here".to_owned(),
            };
            Finding::bad("table", aws::words(&error), remedy)
        }
    }
}

async fn time_to_live(client: &Client, table: &str) -> Finding {
    let name = "time to live";
    match client.describe_time_to_live().table_name(table).send().await {
        Ok(answer) => {
            let found = answer.time_to_live_description;
            let status = found.as_ref().and_then(|found| found.time_to_live_status.clone());
            let attribute = found.as_ref().and_then(|found| found.attribute_name.as_deref());
            let is_on = matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling));
            match attribute {
                Some(TTL_ATTRIBUTE) if is_on => Finding::good(name, format!("by `{TTL_ATTRIBUTE}`")),
                _ => Finding::bad(
                    name,
                    "off: old records are kept for ever",
                    "`kakitome setup` switches it on",
                ),
            }
        }
        Err(error) => Finding::bad(
            name,
            aws::words(&error),
            format!("allow `dynamodb:DescribeTimeToLive` on `{table}` in the worker's policy"),
        ),
    }
}

/// An update, an insertion and a deletion that can do nothing: each needs a right of its own.
async fn statements(client: &Client, table: &str) -> Vec<Finding> {
    let key = nobody();
    let update = format!("UPDATE \"{table}\" SET v=? WHERE pk=? AND sk=? AND v=?");
    let parameters = vec![number(1), text(&key.pk), text(&key.sk), number(-1)];
    let update = (update, parameters);
    // An insertion without its sort key is valid to the policy and to nobody else.
    let insert = (format!("INSERT INTO \"{table}\" VALUE {{'pk': ?}}"), vec![text(&key.pk)]);
    // Of unmatched events alone, once they are matched: that is as far as the right reaches.
    let delete = format!("DELETE FROM \"{table}\" WHERE pk=? AND sk=? AND v=?");
    let delete = (delete, vec![text("u#check"), text(&key.sk), number(-1)]);
    let on = format!("the table `{table}`");
    let mut findings = Vec::new();
    for (role, action, (statement, parameters)) in [
        ("worker", "dynamodb:PartiQLUpdate", update),
        ("worker", "dynamodb:PartiQLInsert", insert),
        ("webhook", "dynamodb:PartiQLDelete", delete),
    ] {
        let statement =
            BatchStatementRequest::builder().statement(statement).set_parameters(Some(parameters)).build();
        let Ok(statement) = statement else { continue };
        let refused = match client.batch_execute_statement().statements(statement).send().await {
            Ok(answer) => answer.responses.unwrap_or_default().into_iter().find_map(entry_refusal),
            Err(error) => Some((aws::kind(&error), aws::words(&error))),
        };
        findings.push(permission_of(role, action, &on, refused));
    }
    findings
}

fn entry_refusal(response: BatchStatementResponse) -> Option<(Kind, String)> {
    let error = response.error?;
    let kind = match &error.code {
        Some(Code::AccessDenied) => Kind::Denied,
        _ => Kind::Refused,
    };
    let code = error.code.as_ref().map_or("an error", Code::as_str);
    Some((kind, format!("{code}: {}", error.message.unwrap_or_default())))
}

async fn reading(client: &Client, table: &str) -> Finding {
    let wanted = KeysAndAttributes::builder().keys(nobody().attributes()).consistent_read(true).build();
    let refused = match wanted {
        Err(error) => Some((Kind::Unavailable, error.to_string())),
        Ok(wanted) => {
            let read = client.batch_get_item().request_items(table, wanted).send().await;
            read.err().map(|error| (aws::kind(&error), aws::words(&error)))
        }
    };
    permission("dynamodb:BatchGetItem", &format!("the table `{table}`"), refused)
}

async fn writing(client: &Client, table: &str) -> Finding {
    let delete = DeleteRequest::builder().set_key(Some(nobody().attributes())).build();
    let refused = match delete {
        Err(error) => Some((Kind::Unavailable, error.to_string())),
        Ok(delete) => {
            let request = WriteRequest::builder().delete_request(delete).build();
            let written = client.batch_write_item().request_items(table, vec![request]).send().await;
            written.err().map(|error| (aws::kind(&error), aws::words(&error)))
        }
    };
    permission("dynamodb:BatchWriteItem", &format!("the table `{table}`"), refused)
}

/// The tally's write, under a condition that cannot hold.
async fn counting(client: &Client, table: &str) -> Finding {
    let added = client
        .update_item()
        .table_name(table)
        .set_key(Some(nobody().attributes()))
        .update_expression("ADD sent :none")
        .condition_expression("attribute_exists(pk)")
        .expression_attribute_values(":none", number(0))
        .send()
        .await;
    let refused = added.err().map(|error| (aws::kind(&error), aws::words(&error)));
    permission("dynamodb:UpdateItem", &format!("the table `{table}`"), refused)
}

/// What the journal does to its documents, which lie in the same table under `j#…`; that is as far as the right to
/// delete reaches.
async fn journal(client: &Client, table: &str) -> [Finding; 3] {
    let (pk, sk) = (text("j#check"), text("check"));
    let read = client.get_item().table_name(table).key("pk", pk.clone()).key("sk", sk.clone());
    let written = client.put_item().table_name(table).item("pk", pk.clone()).item("sk", sk.clone());
    let written = written.condition_expression("attribute_exists(pk)");
    let deleted = client.delete_item().table_name(table).key("pk", pk).key("sk", sk);
    let (read, written, deleted) = tokio::join!(read.send(), written.send(), deleted.send());
    let on = format!("the table `{table}`");
    [
        permission("dynamodb:GetItem", &on, read.err().map(|error| (aws::kind(&error), aws::words(&error)))),
        permission(
            "dynamodb:PutItem",
            &on,
            written.err().map(|error| (aws::kind(&error), aws::words(&error))),
        ),
        permission(
            "dynamodb:DeleteItem",
            &on,
            deleted.err().map(|error| (aws::kind(&error), aws::words(&error))),
        ),
    ]
}

async fn query(client: &Client, table: &str, index: Option<&str>, partition: &str) -> Finding {
    let asked = client
        .query()
        .table_name(table)
        .set_index_name(index.map(str::to_owned))
        .key_condition_expression("#p = :p")
        .set_expression_attribute_names(Some(HashMap::from([("#p".to_owned(), partition.to_owned())])))
        .expression_attribute_values(":p", text(&nobody().pk))
        .limit(1)
        .send()
        .await;
    let refused = asked.err().map(|error| (aws::kind(&error), aws::words(&error)));
    let on = index.map_or_else(|| format!("the table `{table}`"), |name| format!("`{table}/index/{name}`"));
    let mut finding = permission("dynamodb:Query", &on, refused);
    finding.name = format!("dynamodb:Query on {on}");
    finding
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
