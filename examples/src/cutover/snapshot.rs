//! What is read before a run and after a failure: the document's live units, the guards in place, the tables' counts.

use redress::definition::builder::{Query, Saga};

use super::EXECUTOR;

/// Adds the queries; the first two are the baseline that a compensation must restore.
pub(super) fn add_to(saga: Saga) -> Saga {
    let document = ["/input/document"];
    let saga = saga
        .snapshot(
            Query::new("live_units", LIVE_UNITS)
                .params(document)
                .baseline()
                .role(EXECUTOR),
        )
        .snapshot(
            Query::new("live_content", LIVE_CONTENT)
                .params(document)
                .baseline()
                .role(EXECUTOR),
        )
        .snapshot(Query::new("trg_iu_enacted_immut", UNIT_TRIGGER).expect("A"))
        .snapshot(Query::new("trg_uv_enacted_immut", VERSION_TRIGGER).expect("A"))
        .snapshot(Query::new("fn_iu_create", CREATE_THERE).expect(true))
        .snapshot(Query::new("fn_iu_enact", ENACT_THERE).expect(true));
    COUNTED_TABLES
        .into_iter()
        .fold(saga, |saga, (schema, table)| {
            let count = format!("select count(*) from {schema}.{table}");
            saga.snapshot(Query::new(table, &count).role(EXECUTOR))
        })
}

/// For information only: other runs move these counts.
const COUNTED_TABLES: [(&str, &str); 9] = [
    ("public", "information_unit"),
    ("public", "unit_version"),
    ("public", "iu_lifecycle_log"),
    ("cutter_governance", "cut_change_set"),
    ("cutter_governance", "manifest_envelope"),
    ("cutter_governance", "cut_change_set_affected_row"),
    ("cutter_governance", "dot_pair_signature"),
    ("cutter_governance", "verify_result"),
    ("cutter_governance", "review_decision"),
];

const LIVE_UNITS: &str =
    "select count(*) from public.information_unit where document_id = $1 and state <> 'withdrawn'";
const LIVE_CONTENT: &str = "select encode(sha256(convert_to(coalesce(string_agg( \
    concat_ws(' ', u.unit_id, u.state, v.state, v.content_sha256), E'\\n' order by u.unit_id), ''), 'UTF8')), 'hex') \
    from public.information_unit as u join public.unit_version as v on v.unit_id = u.unit_id \
    where u.document_id = $1 and u.state <> 'withdrawn'";
const UNIT_TRIGGER: &str = "select tgenabled::text from pg_catalog.pg_trigger \
    where tgrelid = 'public.information_unit'::regclass and tgname = 'trg_iu_enacted_immut'";
const VERSION_TRIGGER: &str = "select tgenabled::text from pg_catalog.pg_trigger \
    where tgrelid = 'public.unit_version'::regclass and tgname = 'trg_uv_enacted_immut'";
const CREATE_THERE: &str =
    "select to_regprocedure('public.fn_iu_create(text, text, text, uuid)') is not null";
const ENACT_THERE: &str = "select to_regprocedure('public.fn_iu_enact(uuid, uuid)') is not null";
