//! Says what statements would do to the database before any run uses them: which relations their plans modify,
//! whether they lock what they read, and whether that is provably all.
//!
//! **Invariant:** plans are the generic ones; a plan for NULL parameters would hide whole branches.
//!
//! **What can go wrong:** the first statement that does not prepare ends the look at its phase, because the
//! transaction is dead; the next look finds the next.

pub(crate) mod lexer;
pub(crate) mod locks;
pub(crate) mod plan;
pub(crate) mod proof;
pub(crate) mod rights;

use redress::adapter::{AdapterError, Finding};
use redress::db::{Column, Statement, class_of_sqlstate, column_is_kept};
use redress::phase_tx::TxError;
use redress_ledger::Class;
use tokio_postgres::types::Type;

use self::plan::Plan;
use crate::finding::{COLUMNS, NOT_A_JUDGEMENT, NOT_ACCEPTED, PARAMETERS, finding};

/// What the server said about a statement, unless it said nothing about it: a lost connection, a lock timeout.
pub(crate) fn refused(path: &str, error: TxError) -> Result<Finding, AdapterError> {
    let about_it =
        error.sqlstate().is_some() && !matches!(error.class(), Class::Retry | Class::Kill);
    match error {
        TxError::Refused(_) => Ok(finding(path, error.code(), error.to_string())),
        _ if about_it => Ok(finding(path, NOT_ACCEPTED, error.to_string())),
        _ => Err(error.into()),
    }
}

/// What the server said when it planned a statement. What the business may say (a division by zero among constants)
/// is left to the run, which then fails as any phase fails.
pub(crate) fn unplanned(path: &str, plan: &Plan) -> Option<Finding> {
    let (sqlstate, message) = plan.refused.as_ref()?;
    let is_business = class_of_sqlstate(sqlstate) == Class::Business;
    (!is_business).then(|| finding(path, NOT_ACCEPTED, format!("{message} [{sqlstate}]")))
}

/// Compares the number of parameters.
pub(crate) fn parameters(path: &str, statement: &Statement, given: usize) -> Option<Finding> {
    let wanted = statement.params().len();
    (wanted != given).then(|| {
        finding(
            path,
            PARAMETERS,
            format!("the statement has {wanted} parameters, `params` gives {given}"),
        )
    })
}

/// The first column of what is judged is a boolean.
pub(crate) fn judgement(path: &str, statement: &Statement) -> Option<Finding> {
    match statement.columns().first().map(Column::type_) {
        Some(&Type::BOOL) => None,
        Some(other) => Some(finding(
            path,
            NOT_A_JUDGEMENT,
            format!("the first column must be a boolean; it is {}", other.name()),
        )),
        None => Some(finding(
            path,
            NOT_A_JUDGEMENT,
            "the statement returns no rows that could be judged",
        )),
    }
}

/// Whether rows of these columns can be kept by name.
pub(crate) fn kept_columns(path: &str, columns: &[Column]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if columns.is_empty() {
        findings.push(finding(
            path,
            COLUMNS,
            "the statement returns no rows that could be kept: add `returning`",
        ));
    }
    for (at, column) in columns.iter().enumerate() {
        let name = column.name();
        if columns[..at].iter().any(|other| other.name() == name) {
            findings.push(finding(
                path,
                COLUMNS,
                format!("two columns have one name; only one could be kept: {name}"),
            ));
        }
        if !column_is_kept(column.type_()) {
            let type_name = column.type_().name();
            let message = format!(
                "column {name} has type {type_name}, which cannot be kept: cast it to text"
            );
            findings.push(finding(path, COLUMNS, message));
        }
    }
    findings
}
