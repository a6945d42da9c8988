//! Parameters that an operator gives: judged by their declaration, and bound as values, never put into a text.

use std::collections::BTreeMap;

use redress::name::Name;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::ExecuteError;
use crate::model::{Param, ParamType};

/// The values of a runbook's parameters from what was given as text.
///
/// # Errors
/// [`ExecuteError::Param`] for the first one that is unknown, missing or does not fit.
pub fn values(
    declared: &BTreeMap<Name, Param>,
    given: &BTreeMap<String, String>,
    phases: &[String],
) -> Result<Map<String, Value>, ExecuteError> {
    if let Some(unknown) = given
        .keys()
        .find(|name| !declared.keys().any(|known| known.as_str() == name.as_str()))
    {
        let known: Vec<&str> = declared.keys().map(Name::as_str).collect();
        let known = match known.is_empty() {
            true => "the runbook has none".to_owned(),
            false => format!("the runbook has {}", known.join(", ")),
        };
        return Err(wrong(unknown, format!("unknown; {known}")));
    }
    let mut values = Map::new();
    for (name, param) in declared {
        let value = match (given.get(name.as_str()), &param.default) {
            (Some(text), _) => read(name, param, text)?,
            (None, Some(default)) => default.clone(),
            (None, None) => {
                return Err(wrong(
                    name.as_str(),
                    format!("missing; give --set {name}=…"),
                ));
            }
        };
        judge(name, param, &value, phases)?;
        values.insert(name.to_string(), value);
    }
    Ok(values)
}

/// A text as a value of the declared kind.
fn read(name: &Name, param: &Param, text: &str) -> Result<Value, ExecuteError> {
    let no = || wrong(name.as_str(), format!("must be {}", param.kind.words()));
    Ok(match param.kind {
        ParamType::Text | ParamType::Phase => Value::String(text.to_owned()),
        ParamType::Integer => Value::from(text.parse::<i64>().map_err(|_| no())?),
        ParamType::Boolean => Value::Bool(text.parse().map_err(|_| no())?),
        ParamType::Uuid => {
            let id: Uuid = text.parse().map_err(|_| no())?;
            Value::String(id.to_string())
        }
        ParamType::Timestamp => {
            let at: jiff::Timestamp = text.parse().map_err(|_| no())?;
            Value::String(at.to_string())
        }
    })
}

/// Whether the value may be given, and names a phase where it must.
fn judge(name: &Name, param: &Param, value: &Value, phases: &[String]) -> Result<(), ExecuteError> {
    param.fits(value).map_err(|why| wrong(name.as_str(), why))?;
    let named = value.as_str().filter(|_| param.kind == ParamType::Phase);
    match named {
        Some(text) if !phases.iter().any(|phase| phase == text) => {
            let has = phases.join(", ");
            Err(wrong(
                name.as_str(),
                format!("is no phase of the run's saga; it has {has}"),
            ))
        }
        _ => Ok(()),
    }
}

fn wrong(name: &str, why: String) -> ExecuteError {
    ExecuteError::Param {
        name: name.chars().filter(|c| !c.is_control()).take(64).collect(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(param: Value, given: &str, expected: Option<Value>) {
        let name: Name = "p".parse().unwrap();
        let declared = BTreeMap::from([(name, serde_json::from_value(param).unwrap())]);
        let given = BTreeMap::from([("p".to_owned(), given.to_owned())]);
        let found = values(&declared, &given, &["leg".to_owned()]).ok();
        assert_eq!(
            found.and_then(|all| all.get("p").cloned()),
            expected,
            "{given:?}"
        );
    }

    #[test]
    fn a_parameter_is_of_its_type_within_its_bounds_or_refused() {
        check(
            json!({"type": "text"}),
            "'; drop table x; --",
            Some(json!("'; drop table x; --")),
        );
        check(
            json!({"type": "text", "pattern": "[a-z]+"}),
            "abc",
            Some(json!("abc")),
        );
        check(json!({"type": "text", "pattern": "[a-z]+"}), "abc\n", None);
        check(json!({"type": "text", "pattern": "a|b"}), "ab", None);
        check(json!({"type": "text", "max": 3}), "abcd", None);
        check(json!({"type": "text"}), "a\0b", None);
        check(json!({"type": "text", "values": ["x"]}), "y", None);
        check(
            json!({"type": "integer", "min": 1, "max": 9}),
            "9",
            Some(json!(9)),
        );
        check(json!({"type": "integer", "min": 1, "max": 9}), "10", None);
        check(json!({"type": "integer"}), "1e3", None);
        check(json!({"type": "integer"}), "9007199254740993", None);
        check(json!({"type": "boolean"}), "yes", None);
        check(json!({"type": "boolean"}), "true", Some(json!(true)));
        check(json!({"type": "uuid"}), "nobody", None);
        check(
            json!({"type": "timestamp"}),
            "2026-01-01T00:00:00Z",
            Some(json!("2026-01-01T00:00:00Z")),
        );
        check(json!({"type": "timestamp"}), "yesterday", None);
        check(json!({"type": "phase"}), "leg", Some(json!("leg")));
        check(json!({"type": "phase"}), "arm", None);
    }

    #[test]
    fn what_is_unknown_or_missing_is_named() {
        let name: Name = "p".parse().unwrap();
        let param: Param = serde_json::from_value(json!({"type": "text"})).unwrap();
        let declared = BTreeMap::from([(name, param)]);
        let missing = values(&declared, &BTreeMap::new(), &[]).unwrap_err();
        assert!(missing.to_string().contains("p: missing"), "{missing}");
        let given = BTreeMap::from([("q\u{1b}[2J".to_owned(), String::new())]);
        let unknown = values(&declared, &given, &[]).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "parameter q[2J: unknown; the runbook has p"
        );
    }
}
