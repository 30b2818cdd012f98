//! The Prometheus rules and the Grafana dashboard against what `/metrics` really says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::super::world::World;
use super::ear::Ear;
use super::{hurry, until};

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// By metric, and by label: the values that were seen.
type Exported = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Every metric that has a name in the code, the parts of histograms included; labels as a busy house exports them.
async fn exported() -> Exported {
    let ear = Ear::open().await;
    let world = World::open(&hurry(&ear, &ear), "").await;
    let id = world.accept("measured", |_| {}).await;
    world.record_when(&id, |record| record["recipients"][0]["status"] == "delivered").await;
    let mut text = String::new();
    until("the first reading is shown", async || {
        text = world.get("/metrics").await.as_str().unwrap().to_owned();
        text.contains("kakitome_alert_firing{")
    })
    .await;
    world.close().await;
    let mut metrics = Exported::new();
    for name in in_code() {
        metrics.insert(name, BTreeMap::new());
    }
    for line in text.lines().filter(|line| line.starts_with("kakitome_")) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        for (name, labels) in series_of(series) {
            let known = metrics.entry(name).or_default();
            for (label, value) in labels {
                known.entry(label).or_default().insert(value);
            }
        }
    }
    // Only there on AWS.
    let units = metrics.get_mut("kakitome_dynamodb_units_total").unwrap();
    units.insert("operation".into(), BTreeSet::from(["put".into(), "write".into()]));
    metrics
}

fn in_code() -> Vec<String> {
    let code = file("src/metrics.rs");
    let names = code.split("\"kakitome_").skip(1).map(|rest| rest.split('"').next().unwrap());
    names.map(|rest| format!("kakitome_{rest}")).collect()
}

/// Every `name{label="value", …}` in an expression.
fn series_of(expression: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    for rest in expression.split("kakitome_").skip(1) {
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let inside = rest.strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or_default();
        let labels = inside.split("\",").filter_map(|pair| pair.split_once('='));
        let labels = labels.map(|(label, value)| {
            (label.trim_matches([' ', ',']).to_owned(), value.trim_matches(['"', '~', ' ']).to_owned())
        });
        found.push((format!("kakitome_{name}"), labels.collect()));
    }
    found
}

/// The labels after `by`.
fn grouped(expression: &str) -> Vec<&str> {
    let inside = expression.split("by (").skip(1).map(|rest| rest.split(')').next().unwrap());
    inside.flat_map(|labels| labels.split(',').map(str::trim)).collect()
}

/// What an expression names that is not exported.
fn faults(expression: &str, exported: &Exported) -> Vec<String> {
    let mut faults = Vec::new();
    let mut labels_there = BTreeSet::new();
    for (name, labels) in series_of(expression) {
        let Some(known) = exported.get(&name) else {
            faults.push(format!("{name} is not exported: {expression}"));
            continue;
        };
        labels_there.extend(known.keys().cloned());
        for (label, values) in labels {
            for value in values.split('|') {
                if !known.get(&label).is_some_and(|known| known.contains(value)) {
                    faults.push(format!("{name} has no {label}=\"{value}\": {expression}"));
                }
            }
        }
    }
    let unknown = grouped(expression).into_iter().filter(|label| !labels_there.contains(*label));
    faults.extend(unknown.map(|label| format!("no metric has the label {label}: {expression}")));
    faults
}

/// The expressions of the rules, folded ones on one line, with their runbooks.
fn rules() -> Vec<(String, String)> {
    let text = file("infra/alerts.rules.yaml");
    let rules = text.split("      - alert: ").skip(1).map(|rule| {
        let (_, rest) = rule.split_once("expr: ").unwrap();
        let end = ["\n        for:", "\n        annotations:"].iter().filter_map(|end| rest.find(end)).min();
        let expression =
            rest[..end.unwrap()].trim_start_matches(">-").split_whitespace().collect::<Vec<_>>().join(" ");
        let runbook = rule.split_once("runbook: ").unwrap().1.lines().next().unwrap();
        (expression, runbook.to_owned())
    });
    rules.collect()
}

/// The expressions of the dashboard.
fn dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&file("infra/grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn rules_and_dashboard_name_what_is_exported_and_the_dashboard_leaves_nothing_out() {
    let exported = exported().await;
    let (rules, dashboard) = (rules(), dashboard());
    assert!(rules.len() >= 10 && dashboard.len() >= 15, "{} {}", rules.len(), dashboard.len());
    let expressions = rules.iter().map(|(expression, _)| expression).chain(&dashboard);
    let wrong: Vec<_> = expressions.flat_map(|expression| faults(expression, &exported)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let missing: Vec<_> = in_code()
        .into_iter()
        .filter(|name| !dashboard.iter().any(|shown| shown.contains(name.as_str())))
        .collect();
    assert!(missing.is_empty(), "infra/grafana-dashboard.json does not show {missing:?}");
    for (expression, runbook) in rules {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(&runbook).is_file(), "{runbook}: {expression}");
    }
}

#[test]
fn a_name_a_label_or_a_value_that_is_not_exported_is_told() {
    let exported = BTreeMap::from([(
        "kakitome_events_total".to_owned(),
        BTreeMap::from([("kind".to_owned(), BTreeSet::from(["bounced".to_owned()]))]),
    )]);
    let told = |expression| faults(expression, &exported).len();
    assert_eq!(told(r#"sum by (kind) (rate(kakitome_events_total{kind="bounced"}[5m]))"#), 0);
    assert_eq!(told("rate(kakitome_event_total[5m])"), 1);
    assert_eq!(told(r#"kakitome_events_total{kind=~"bounced|lost"}"#), 1);
    assert_eq!(told(r#"kakitome_events_total{type="bounced"}"#), 1);
    assert_eq!(told("sum by (tenant) (kakitome_events_total)"), 1);
}
