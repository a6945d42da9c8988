//! What a statement's plan modifies and locks.
//!
//! **Not here:** what triggers, cascades and functions do beside the plan (`proof` says whether there are any).

use std::collections::BTreeSet;

use redress::db::{DbError, class_of_sqlstate};
use redress::phase_tx::{PhaseTx, TxError};
use redress_ledger::Class;
use serde_json::Value;

/// Sets plans to generic ones until the transaction ends.
const GENERIC_PLANS: &str = include_str!("../../statements/generic_plans.sql");
const EXPLAIN_PREPARED: &str = include_str!("../../statements/explain_prepared.sql");
const EXPLAIN: &str = include_str!("../../statements/explain.sql");
const EXPLAINED: &str = include_str!("../../statements/explained.sql");

/// A statement's plan, reduced to what matters here.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Plan {
    /// Relations that it modifies: schema and name.
    pub modified: BTreeSet<(String, String)>,
    /// The same, each with how: `Insert`, `Update`, `Delete`, `Merge`.
    pub operations: BTreeSet<((String, String), String)>,
    /// It locks rows that it reads.
    pub locks_rows: bool,
    /// There is a plan: the statement is no CALL, DO, LOCK or DDL.
    pub planned: bool,
    /// Why the server could not plan it: SQLSTATE and message.
    pub refused: Option<(String, String)>,
}

/// Explains a statement.
pub(crate) async fn explain(tx: &PhaseTx<'_>, sql: &str) -> Result<Plan, TxError> {
    let _known = tx.hold(sql).await?;
    tx.execute(GENERIC_PLANS, &[]).await?;
    let mut plan = Plan::default();
    if tx.execute(EXPLAIN_PREPARED, &[&sql]).await? == 0 {
        // Something between us and the server keeps prepared statements from it: nothing is known, nothing is proven.
        return Ok(plan);
    }
    tx.execute(EXPLAIN, &[]).await?;
    for row in tx.query(EXPLAINED, &[]).await? {
        read(&row.try_get::<_, Value>(0)?, &mut plan);
    }
    match plan.refused {
        Some((sqlstate, message)) if is_passing(&sqlstate) => Err(TxError::Db(DbError::Server {
            sqlstate,
            message,
            constraint: None,
            detail: None,
        })),
        _ => Ok(plan),
    }
}

/// Whether an error says nothing about the statement: a lock timeout, a server that stops.
fn is_passing(sqlstate: &str) -> bool {
    matches!(
        class_of_sqlstate(sqlstate),
        Class::Retry | Class::InDoubt | Class::Kill
    )
}

/// Walks all nodes, those of sub-plans and CTEs too.
fn read(explained: &Value, plan: &mut Plan) {
    let text = |key: &str| {
        explained
            .get(key)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    plan.refused = text("sqlstate").map(|sqlstate| (sqlstate, text("message").unwrap_or_default()));
    for statement in explained.as_array().map(Vec::as_slice).unwrap_or_default() {
        if let Some(root) = statement.get("Plan") {
            plan.planned = true;
            node(root, plan);
        }
    }
}

fn node(value: &Value, plan: &mut Plan) {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    // A foreign table may be modified by its own server, with no ModifyTable above it.
    let modifies = text("Node Type") == Some("ModifyTable")
        || text("Operation").is_some_and(|operation| operation != "Select");
    if modifies && let (Some(schema), Some(name)) = (text("Schema"), text("Relation Name")) {
        let relation = (schema.to_owned(), name.to_owned());
        let operation = text("Operation").unwrap_or_default().to_owned();
        plan.operations.insert((relation.clone(), operation));
        plan.modified.insert(relation);
    }
    plan.locks_rows |= text("Node Type") == Some("LockRows");
    for child in value
        .get("Plans")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
    {
        node(child, plan);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_node_of_a_plan_is_read() {
        let explained = json!([{"Plan": {
            "Node Type": "Result",
            "Plans": [
                {"Node Type": "ModifyTable", "Operation": "Insert", "Schema": "s", "Relation Name": "a", "Plans": [
                    {"Node Type": "LockRows", "Plans": [{"Node Type": "Seq Scan", "Schema": "s", "Relation Name": "c"}]},
                ]},
                {"Node Type": "Foreign Scan", "Operation": "Delete", "Schema": "s", "Relation Name": "b"},
                {"Node Type": "Foreign Scan", "Operation": "Select", "Schema": "s", "Relation Name": "d"},
            ],
        }}]);
        let mut plan = Plan::default();
        read(&explained, &mut plan);
        let modified: Vec<&str> = plan
            .modified
            .iter()
            .map(|(_, name)| name.as_str())
            .collect();
        assert_eq!(
            (modified, plan.locks_rows, plan.planned),
            (vec!["a", "b"], true, true)
        );
        let mut utility = Plan::default();
        read(&json!(["Utility Statement"]), &mut utility);
        assert_eq!(utility, Plan::default());
        let mut refused = Plan::default();
        read(
            &json!({"sqlstate": "22012", "message": "division by zero"}),
            &mut refused,
        );
        assert_eq!(
            refused.refused,
            Some(("22012".to_owned(), "division by zero".to_owned()))
        );
    }
}
