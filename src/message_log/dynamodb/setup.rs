//! The table as it must be, and making it so.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    PointInTimeRecoverySpecification, Projection, ProjectionType, ScalarAttributeType, TableDescription,
    TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};

use super::Config;
use super::keys::{BATCH_INDEX, OPEN_INDEX, WAKE_INDEX};
use crate::aws::{self, Aws, Done, Kind, Step};

/// How long a new table may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// The attribute by which DynamoDB deletes what is old.
pub(super) const TTL_ATTRIBUTE: &str = "exp";

/// Every key attribute: its name and whether it is a number.
const KEY_ATTRIBUTES: [(&str, bool); 8] = [
    ("pk", false),
    ("sk", false),
    ("os", false),
    ("oa", true),
    ("ws", false),
    ("wk", true),
    ("bk", false),
    ("aa", true),
];

/// Name, partition key, sort key and further attributes of each index.
pub(super) const INDEXES: [(&str, &str, &str, &[&str]); 3] = [
    (OPEN_INDEX, "os", "oa", &["te", "ba", "aa", "sv", "rn", "wk"]),
    (WAKE_INDEX, "ws", "wk", &[]),
    (BATCH_INDEX, "bk", "aa", &["te", "ra"]),
];

/// Why there is no table.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SetupError {
    /// The service refused, or did not answer.
    #[error("{step}: {reason}")]
    Refused {
        /// What was to be done.
        step: String,
        /// In the service's words.
        reason: String,
    },
    /// There is a table of this name that is not ours. It is left as it is.
    #[error("the table `{0}` is there, but {1}: give the log another name or table")]
    Foreign(String, String),
}

/// Creates the table, with its indexes, time to live, recovery and deletion protection. What is right already is left
/// alone; of the latter three a refusal is told, and no failure.
pub async fn setup(aws: &Aws, config: &Config) -> Result<Vec<Step>, SetupError> {
    let client = &aws.dynamodb;
    let name = config.table.as_str();
    let refused =
        |step: &str, reason: String| SetupError::Refused { step: format!("{step} `{name}`"), reason };
    let mut steps = Vec::new();
    let found = client.describe_table().table_name(name).send().await;
    match found {
        Ok(answer) => {
            let table = answer.table.unwrap_or_else(|| TableDescription::builder().build());
            if let Some(fault) = faults_of(&table).into_iter().next() {
                return Err(SetupError::Foreign(name.into(), fault));
            }
            steps.push(Step::new("table", Done::Unchanged, format!("`{name}` is there")));
        }
        Err(error) if aws::kind(&error) == Kind::Absent => {
            create(client, name).await.map_err(|reason| refused("creating the table", reason))?;
            steps.push(Step::new("table", Done::Created, format!("`{name}` created")));
        }
        Err(error) => return Err(refused("looking for the table", aws::words(&error))),
    }
    wait_until_ready(client, name).await.map_err(|reason| refused("waiting for the table", reason))?;
    steps.push(time_to_live(client, name).await);
    steps.push(recovery(client, name).await);
    steps.push(deletion_protection(client, name).await);
    Ok(steps)
}

async fn create(client: &Client, name: &str) -> Result<(), String> {
    let (attributes, keys, indexes) = shape().map_err(|error| error.to_string())?;
    let call = client
        .create_table()
        .table_name(name)
        .set_attribute_definitions(Some(attributes))
        .set_key_schema(Some(keys))
        .set_global_secondary_indexes(Some(indexes))
        .billing_mode(BillingMode::PayPerRequest);
    match call.send().await {
        Ok(_) => Ok(()),
        // Somebody else is faster.
        Err(error) if aws::words(&error).starts_with("ResourceInUse") => Ok(()),
        Err(error) => Err(aws::words(&error)),
    }
}

type Shape = (Vec<AttributeDefinition>, Vec<KeySchemaElement>, Vec<GlobalSecondaryIndex>);

fn shape() -> Result<Shape, BuildError> {
    let mut attributes = Vec::with_capacity(KEY_ATTRIBUTES.len());
    for (name, is_number) in KEY_ATTRIBUTES {
        let kind = if is_number { ScalarAttributeType::N } else { ScalarAttributeType::S };
        attributes.push(AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build()?);
    }
    let mut indexes = Vec::with_capacity(INDEXES.len());
    for (name, partition, sort, others) in INDEXES {
        let mut projection = Projection::builder().projection_type(ProjectionType::KeysOnly);
        if !others.is_empty() {
            let others = others.iter().map(|name| (*name).to_owned()).collect();
            projection =
                projection.projection_type(ProjectionType::Include).set_non_key_attributes(Some(others));
        }
        let index = GlobalSecondaryIndex::builder()
            .index_name(name)
            .set_key_schema(Some(key_schema(partition, sort)?))
            .projection(projection.build());
        indexes.push(index.build()?);
    }
    Ok((attributes, key_schema("pk", "sk")?, indexes))
}

fn key_schema(partition: &str, sort: &str) -> Result<Vec<KeySchemaElement>, BuildError> {
    let element = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    Ok(vec![element(partition, KeyType::Hash)?, element(sort, KeyType::Range)?])
}

/// In what a table differs from what the log needs.
pub(super) fn faults_of(table: &TableDescription) -> Vec<String> {
    let mut faults = Vec::new();
    if !has_keys(table.key_schema(), "pk", "sk") {
        faults.push("its keys are not `pk` and `sk`".to_owned());
    }
    for (name, partition, sort, others) in INDEXES {
        let indexes = table.global_secondary_indexes();
        let Some(index) = indexes.iter().find(|index| index.index_name() == Some(name)) else {
            faults.push(format!("the index `{name}` is missing"));
            continue;
        };
        if !has_keys(index.key_schema(), partition, sort) {
            faults.push(format!("the keys of the index `{name}` are not `{partition}` and `{sort}`"));
        }
        let projected = index.projection();
        let has_all = projected.and_then(Projection::projection_type) == Some(&ProjectionType::All);
        let has = |name: &&&str| {
            projected.is_some_and(|one| one.non_key_attributes().iter().any(|has| has == **name))
        };
        if !has_all && others.iter().filter(has).count() < others.len() {
            faults.push(format!("the index `{name}` lacks some of the attributes {}", others.join(", ")));
        }
    }
    faults
}

fn has_keys(schema: &[KeySchemaElement], partition: &str, sort: &str) -> bool {
    let named = |kind: &KeyType| {
        schema.iter().find(|key| key.key_type == *kind).map(|key| key.attribute_name.as_str())
    };
    named(&KeyType::Hash) == Some(partition) && named(&KeyType::Range) == Some(sort)
}

async fn wait_until_ready(client: &Client, name: &str) -> Result<(), String> {
    let ready = async {
        loop {
            match client.describe_table().table_name(name).send().await {
                Ok(answer) => {
                    let status = answer.table.and_then(|table| table.table_status);
                    if matches!(status, Some(TableStatus::Active)) {
                        return Ok(());
                    }
                }
                // Described before it is known everywhere.
                Err(error) if aws::kind(&error) == Kind::Absent => {}
                Err(error) => return Err(aws::words(&error)),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let late = |_| format!("not ready after {} s", READY_WITHIN.as_secs());
    tokio::time::timeout(READY_WITHIN, ready).await.map_err(late)?
}

async fn time_to_live(client: &Client, name: &str) -> Step {
    let found = client.describe_time_to_live().table_name(name).send().await;
    let found = found.ok().and_then(|answer| answer.time_to_live_description);
    let is_on = found.is_some_and(|found| {
        let on =
            matches!(found.time_to_live_status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling));
        on && found.attribute_name.as_deref() == Some(TTL_ATTRIBUTE)
    });
    if is_on {
        return Step::new("time to live", Done::Unchanged, format!("by `{TTL_ATTRIBUTE}`"));
    }
    let wanted = TimeToLiveSpecification::builder().enabled(true).attribute_name(TTL_ATTRIBUTE).build();
    let Ok(wanted) = wanted else {
        return Step::new("time to live", Done::Changed, "could not be asked for");
    };
    let set = client.update_time_to_live().table_name(name).time_to_live_specification(wanted).send().await;
    let refused = set.err().map(|error| aws::words(&error));
    Step::new(
        "time to live",
        Done::Changed,
        refused.map_or_else(|| format!("set to `{TTL_ATTRIBUTE}`"), refusal),
    )
}

async fn recovery(client: &Client, name: &str) -> Step {
    let found = client.describe_continuous_backups().table_name(name).send().await;
    let is_on = found.is_ok_and(|answer| {
        let backups = answer.continuous_backups_description;
        let recovery = backups.and_then(|found| found.point_in_time_recovery_description);
        recovery
            .and_then(|found| found.point_in_time_recovery_status)
            .is_some_and(|status| status.as_str() == "ENABLED")
    });
    let what = "point-in-time recovery";
    if is_on {
        return Step::new(what, Done::Unchanged, "on");
    }
    let wanted = PointInTimeRecoverySpecification::builder().point_in_time_recovery_enabled(true).build();
    let Ok(wanted) = wanted else { return Step::new(what, Done::Changed, "could not be asked for") };
    let set = client.update_continuous_backups().table_name(name);
    let set = set.point_in_time_recovery_specification(wanted).send().await;
    let refused = set.err().map(|error| aws::words(&error));
    Step::new(what, Done::Changed, refused.map_or_else(|| "switched on".into(), refusal))
}

async fn deletion_protection(client: &Client, name: &str) -> Step {
    let found = client.describe_table().table_name(name).send().await;
    let is_on = found.is_ok_and(|answer| {
        answer.table.and_then(|table| table.deletion_protection_enabled).unwrap_or(false)
    });
    if is_on {
        return Step::new("deletion protection", Done::Unchanged, "on");
    }
    let set = client.update_table().table_name(name).deletion_protection_enabled(true).send().await;
    let refused = set.err().map(|error| aws::words(&error));
    Step::new("deletion protection", Done::Changed, refused.map_or_else(|| "switched on".into(), refusal))
}

fn refusal(reason: String) -> String {
    format!("not set, go on without it: {reason}")
}
