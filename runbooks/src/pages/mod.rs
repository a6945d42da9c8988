//! The pages themselves, one file for each block of codes.

mod approval;
mod bundle;
mod database;
mod definition;
mod drift;
mod execution;
mod fileset;
mod keys;
mod ledger;
mod plan;
mod postings;
mod run;
mod runbook;
mod seal;
mod surroundings;

use crate::Page;

/// Every block, in the order of the codes.
pub(crate) const BLOCKS: &[&[Page]] = &[
    definition::PAGES,
    runbook::PAGES,
    definition::REGISTRATION_PAGES,
    run::PAGES,
    postings::PAGES,
    plan::PAGES,
    execution::PAGES,
    approval::PAGES,
    keys::PAGES,
    ledger::PAGES,
    drift::PAGES,
    database::SCHEMA_PAGES,
    bundle::PAGES,
    seal::PAGES,
    database::PAGES,
    surroundings::PAGES,
    fileset::PAGES,
];

/// What stands when an act was refused.
const NOTHING: &str = "Nothing was changed.";
/// What stands when an attempt of a phase failed.
const PHASE: &str =
    "The phase rolled back: of this attempt nothing stands. What committed before it stands.";
/// What stands when a signature was refused.
const UNSIGNED: &str = "Nothing was signed and nothing was changed.";
/// What stands when only reading was asked for.
const AS_FOUND: &str = "The ledger and the tables are as they were found; nothing was written.";

const fn page(
    code: &'static str,
    title: &'static str,
    happened: &'static str,
    stands: &'static str,
    next: &'static str,
) -> Page {
    Page {
        code,
        title,
        happened,
        stands,
        next,
    }
}
