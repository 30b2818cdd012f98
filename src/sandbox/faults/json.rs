//! The JSON form of a plan: the same names as in the text.

use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::grammar::Item;
use super::{Fault, Kind, Plan, PlanError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    faults: Vec<Map<String, Value>>,
}

pub(super) fn parse(text: &str) -> Result<Plan, PlanError> {
    let document: Document = serde_json::from_str(text).map_err(|error| PlanError(error.to_string()))?;
    let faults = document.faults.into_iter().map(fault).collect::<Result<_, _>>()?;
    Ok(Plan { seed: document.seed, faults })
}

fn fault(mut object: Map<String, Value>) -> Result<Fault, PlanError> {
    let part = Value::Object(object.clone()).to_string();
    let fail = |why: String| Err(PlanError(format!("in `{part}`: {why}")));
    let kind = match object.remove("kind") {
        Some(Value::String(kind)) => kind,
        _ => return fail("`kind` is missing or not a string".to_owned()),
    };
    let mut settings = Vec::new();
    for (name, value) in object {
        let value = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Null => continue,
            _ => return fail(format!("`{name}` is neither a string nor a number")),
        };
        // JSON people write retry_after.
        settings.push((name.replace('_', "-"), value));
    }
    Item { part: &part, kind: &kind, settings }.build()
}

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut plan = serializer.serialize_struct("Plan", 2)?;
        plan.serialize_field("seed", &self.seed)?;
        plan.serialize_field("faults", &self.faults)?;
        plan.end()
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fault = serializer.serialize_map(None)?;
        fault.serialize_entry("kind", self.kind.name())?;
        if !matches!(self.kind, Kind::Outage { .. }) {
            fault.serialize_entry("rate", &self.rate.fraction())?;
        }
        for (name, value) in self.settings() {
            // Counts and HTTP codes are numbers; `503` as an outage's mode is a word.
            match value.parse::<u64>() {
                Ok(number) if name != "mode" => fault.serialize_entry(name, &number)?,
                _ => fault.serialize_entry(name, &value)?,
            }
        }
        fault.end()
    }
}
