//! What a statement's plan modifies and locks.
//!
//! **Not here:** what triggers, cascades and functions do beside the plan (`proof` says whether there are any).

use std::collections::BTreeSet;

use redress::phase_tx::{PhaseTx, TxError};
use serde_json::Value;

/// Sets plans to generic ones until the transaction ends.
const GENERIC_PLANS: &str = include_str!("../../statements/generic_plans.sql");
const EXPLAIN_PREPARED: &str = include_str!("../../statements/explain_prepared.sql");

/// A statement's plan, reduced to what matters here.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Plan {
    /// Relations that it modifies: schema and name.
    pub modified: BTreeSet<(String, String)>,
    /// It locks rows that it reads.
    pub locks_rows: bool,
    /// There is a plan: the statement is no CALL, DO, LOCK or DDL.
    pub planned: bool,
}

/// Explains a statement that this session has prepared.
pub(crate) async fn explain(tx: &PhaseTx<'_>, sql: &str) -> Result<Plan, TxError> {
    tx.execute(GENERIC_PLANS, &[]).await?;
    let rows = tx.query(EXPLAIN_PREPARED, &[&sql]).await?;
    let Some(row) = rows.first() else {
        // A pooler that renames or drops prepared statements: nothing is known, nothing is proven.
        return Ok(Plan::default());
    };
    let text: String = row.try_get(0)?;
    let mut plan = Plan::default();
    for row in tx.query(&text, &[]).await? {
        read(&row.try_get::<_, Value>(0)?, &mut plan);
    }
    Ok(plan)
}

/// Walks all nodes, those of sub-plans and CTEs too.
fn read(explained: &Value, plan: &mut Plan) {
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
        plan.modified.insert((schema.to_owned(), name.to_owned()));
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
    }
}
