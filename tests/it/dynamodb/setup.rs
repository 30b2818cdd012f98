//! Making the table, and looking whether everything is as it must be.

use kakitome::aws::Done;
use kakitome::message_log::dynamodb::{SetupError, check, setup};

use super::*;
use crate::proxy::Action;

#[tokio::test]
async fn a_second_setup_changes_nothing() {
    for upstream in [&Emulator::ministack().url, &Emulator::dynoxide().url] {
        let bench = bench_on(upstream).await;
        bench.proxy.reset();
        let steps = setup(&bench.aws, &bench.config).await.unwrap();
        assert_eq!(steps[0].name, "table");
        for step in &steps {
            assert!(step.done == Done::Unchanged || step.detail.starts_with("not set"), "{step:?}");
        }
        assert!(!bench.proxy.operations().iter().any(|operation| operation == "CreateTable"));
    }
}

#[tokio::test]
async fn a_foreign_table_is_left_alone() {
    let bench = bench().await;
    let foreign = Action::rewrite(|_, answer| {
        let indexes = answer["Table"]["GlobalSecondaryIndexes"].as_array_mut().unwrap();
        indexes.retain(|index| index["IndexName"] != "wake");
    });
    bench.proxy.always("DescribeTable", foreign);
    let refused = setup(&bench.aws, &bench.config).await.unwrap_err();
    assert!(matches!(refused, SetupError::Foreign(..)), "{refused}");
    assert!(refused.to_string().contains("the index `wake` is missing"), "{refused}");
    let findings = check(&bench.aws, &bench.config).await;
    assert!(!findings[0].ok && findings[0].detail.contains("`wake`"), "{findings:?}");
    let changed = ["CreateTable", "UpdateTable", "UpdateTimeToLive", "UpdateContinuousBackups"];
    assert!(!bench.proxy.operations().iter().any(|operation| changed.contains(&operation.as_str())));
}

#[tokio::test]
async fn everything_is_right_after_setup() {
    for upstream in [&Emulator::ministack().url, &Emulator::dynoxide().url] {
        let bench = bench_on(upstream).await;
        for finding in check(&bench.aws, &bench.config).await {
            assert!(finding.ok, "{upstream}: {finding:?}");
        }
    }
}

/// Of what is not there, under a condition that nothing meets.
const DELETION: &str = "DELETE FROM \"$\" WHERE pk=? AND sk=? AND v=?";

#[tokio::test]
async fn a_missing_right_is_named_by_its_action() {
    let bench = bench().await;
    for (operation, action) in [
        ("BatchExecuteStatement", "dynamodb:PartiQLUpdate"),
        ("BatchExecuteStatement", "dynamodb:PartiQLInsert"),
        ("BatchExecuteStatement", "dynamodb:PartiQLDelete"),
        ("BatchGetItem", "dynamodb:BatchGetItem"),
        ("BatchWriteItem", "dynamodb:BatchWriteItem"),
        ("UpdateItem", "dynamodb:UpdateItem"),
        ("GetItem", "dynamodb:GetItem"),
        ("PutItem", "dynamodb:PutItem"),
        ("DeleteItem", "dynamodb:DeleteItem"),
        ("Query", "dynamodb:Query"),
        ("DescribeTable", "dynamodb:DescribeTable"),
        ("DescribeTimeToLive", "dynamodb:DescribeTimeToLive"),
    ] {
        bench.proxy.reset();
        bench.proxy.always(operation, Action::Fail(400, "AccessDeniedException"));
        let findings = check(&bench.aws, &bench.config).await;
        let named = findings.iter().any(|finding| {
            !finding.ok
                && finding.remedy.as_ref().is_some_and(|remedy| remedy.contains(&format!("`{action}`")))
        });
        assert!(named, "{action}: {findings:?}");
    }
    bench.proxy.reset();
    let one_denied = Action::rewrite(|_, answer| {
        answer["Responses"][0] =
            serde_json::json!({ "Error": { "Code": "AccessDenied", "Message": "not authorized" } });
    });
    bench.proxy.next(1, "BatchExecuteStatement", one_denied);
    let findings = check(&bench.aws, &bench.config).await;
    let denied: Vec<_> =
        findings.iter().filter(|finding| !finding.ok).map(|finding| finding.name.as_str()).collect();
    assert_eq!(denied, ["dynamodb:PartiQLUpdate"]);
    // Unmatched events are all that the webhook may delete so: what is tried must be among them.
    let deletions = bench
        .proxy
        .seen()
        .into_iter()
        .filter(|seen| seen.statements()[..] == [DELETION.replace("$", &bench.config.table)]);
    let keys: Vec<_> =
        deletions.map(|seen| seen.body["Statements"][0]["Parameters"][0]["S"].clone()).collect();
    assert_eq!(keys, [serde_json::json!("u#check")]);
}

#[tokio::test]
async fn a_missing_table_is_told_with_its_remedy() {
    let bench = bench().await;
    let config = Config { table: "not-there".into(), ..bench.config };
    let findings = check(&bench.aws, &config).await;
    assert_eq!(findings.len(), 1);
    assert!(findings[0].remedy.as_deref().unwrap().contains("kakitome setup"), "{findings:?}");
}
