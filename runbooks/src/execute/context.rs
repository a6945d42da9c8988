//! What the pointers of a runbook look into: the run, the parameters, and what earlier steps gave.

use redress::pointer::Pointer;
use redress_ledger::Record;
use serde_json::{Map, Value, json};

use super::ExecuteError;
use super::document::Document;

/// The context of an execution: `/run`, `/input`, `/phases`, `/params`, `/steps`, `/execution`; once it is
/// applied, `/plan` and `/approvals`.
pub fn of(base: Value, document: &Document, person: &str) -> Value {
    let mut context = match base {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    context.insert("params".to_owned(), Value::Object(document.params.clone()));
    context.insert("steps".to_owned(), json!({}));
    context.insert(
        "execution".to_owned(),
        json!({
            "id": document.execution.to_string(),
            "runbook": document.runbook.runbook.as_str(),
            "person": person,
            "reason": document.reason,
        }),
    );
    Value::Object(context)
}

/// Takes up what the steps that are done have given.
pub fn take_steps(context: &mut Value, records: &[Record]) {
    for record in records {
        let text = |name: &str| record.body.get(name).and_then(Value::as_str);
        if text("event") != Some("step") {
            continue;
        }
        let outputs = record.body.get("outputs").cloned();
        if let (Some(step), Some(outputs)) = (text("step"), outputs) {
            context["steps"][step] = outputs;
        }
    }
}

/// The values that pointers lead to.
///
/// # Errors
/// [`ExecuteError::Pointer`] for the first one that leads to nothing.
pub fn resolve(
    pointers: &[Pointer],
    context: &Value,
    place: &str,
) -> Result<Vec<Value>, ExecuteError> {
    pointers
        .iter()
        .map(|pointer| {
            let found = pointer.resolve(context).cloned();
            found.ok_or_else(|| ExecuteError::Pointer {
                place: place.to_owned(),
                pointer: pointer.to_string(),
            })
        })
        .collect()
}
