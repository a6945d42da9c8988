//! The phases that write the governance ledger: the record of the cut and the check against it.

use redress::definition::builder::Phase;
use redress::definition::{Compensation, OnFailure};
use serde_json::json;

use super::units::LOCK_UNITS;
use super::{CHANGE_SET, EXECUTOR, TIMEOUT};

/// The evidence: change set, manifest, every row by hash, both signatures; undone by one more row.
pub(super) fn leg_b_record() -> Phase {
    Phase::new("leg_b_record", "sql")
        .writes(EVIDENCE_TABLES)
        .locks(["public.information_unit"])
        .role(EXECUTOR)
        .compensation(Compensation::Decide)
        .residue(EVIDENCE_TABLES)
        .timeout(TIMEOUT)
        .on_failure(OnFailure::Hold)
        .with(json!({
            "apply": [
                {"sql": RECORD_CHANGE_SET, "params": [CHANGE_SET], "rows": 1, "as": "change_set"},
                {"sql": RECORD_MANIFEST, "params": [CHANGE_SET, "/run/id", "/input"], "rows": 1, "as": "manifest"},
                {"sql": RECORD_ROWS, "params": [CHANGE_SET]},
                {"sql": RECORD_SIGNATURES, "params": [CHANGE_SET, "/input/signers"], "rows": 1},
            ],
            "guard": [{"sql": LOCK_UNITS, "params": [CHANGE_SET]}],
            "decide": [{
                "sql": DECIDE,
                "params": [
                    "/decision/id",
                    CHANGE_SET,
                    "/run/id",
                    "/decision/principal",
                    "/plan/reason",
                    "/plan/digest",
                    "/decision/payload",
                    "/decision/signature",
                ],
                "rows": 1,
            }],
            "verify": [
                {"sql": MANIFEST_COUNTS, "params": ["/run/id"]},
                {"sql": EACH_RECORDED, "params": ["/run/id"]},
            ],
        }))
}

/// Reads everything again and compares it with the manifest; what it found stays, whatever happens later.
pub(super) fn write_verify() -> Phase {
    Phase::new("write_verify", "sql")
        .writes([RESULT_TABLE])
        .role(EXECUTOR)
        .compensation(Compensation::None)
        .residue([RESULT_TABLE])
        .timeout(TIMEOUT)
        .on_failure(OnFailure::Hold)
        .with(json!({
            "apply": [{"sql": COMPARE, "params": [CHANGE_SET, "/run/id"], "rows": 1, "as": "result"}],
            "verify": [
                {"sql": UNITS_AS_EXPECTED, "params": [CHANGE_SET]},
                {"sql": ROWS_MATCH, "params": [CHANGE_SET]},
                {"sql": DOCUMENT_MATCHES, "params": [CHANGE_SET]},
                {"sql": PASSED, "params": [CHANGE_SET]},
            ],
        }))
}

const EVIDENCE_TABLES: [&str; 5] = [
    "cutter_governance.cut_change_set",
    "cutter_governance.manifest_envelope",
    "cutter_governance.cut_change_set_affected_row",
    "cutter_governance.dot_pair_signature",
    "cutter_governance.review_decision",
];
const RESULT_TABLE: &str = "cutter_governance.verify_result";

const RECORD_CHANGE_SET: &str = "insert into cutter_governance.cut_change_set \
    (change_set_id, run_id, document_id, document_title, version_no, unit_count) \
    select change_set_id, run_id, document_id, document_title, version_no, count(*) \
    from public.information_unit \
    where change_set_id = $1 \
    group by change_set_id, run_id, document_id, document_title, version_no \
    returning change_set_id, unit_count";
const RECORD_MANIFEST: &str = "insert into cutter_governance.manifest_envelope \
    (change_set_id, run_id, document_sha256, units_sha256, unit_count, expected_units) \
    select $1::uuid, $2::uuid, \
    encode(sha256(convert_to($3::jsonb ->> 'text', 'UTF8')), 'hex'), \
    encode(sha256(convert_to(string_agg(v.content_sha256, E'\\n' order by u.ordinal), 'UTF8')), 'hex'), \
    count(*), ($3::jsonb ->> 'expected_units')::integer \
    from public.information_unit as u join public.unit_version as v on v.unit_id = u.unit_id \
    where u.change_set_id = $1::uuid \
    returning manifest_id, document_sha256, units_sha256";
const RECORD_ROWS: &str = "insert into cutter_governance.cut_change_set_affected_row (change_set_id, relation, row_id, row_sha256) \
    select u.change_set_id, 'public.information_unit', u.unit_id, public.fn_iu_digest(u) \
    from public.information_unit as u \
    where u.change_set_id = $1 \
    union all \
    select v.change_set_id, 'public.unit_version', v.version_id, v.content_sha256 \
    from public.unit_version as v \
    where v.change_set_id = $1";
const RECORD_SIGNATURES: &str = "insert into cutter_governance.dot_pair_signature \
    (change_set_id, signed_sha256, first_principal, first_signature, second_principal, second_signature) \
    select m.change_set_id, m.document_sha256, \
    $2::jsonb #>> '{0,principal}', $2::jsonb #>> '{0,signature}', \
    $2::jsonb #>> '{1,principal}', $2::jsonb #>> '{1,signature}' \
    from cutter_governance.manifest_envelope as m \
    where m.change_set_id = $1";
const DECIDE: &str = "insert into cutter_governance.review_decision \
    (decision_id, change_set_id, run_id, verdict, principal, reason, plan_digest, payload, signature) \
    select $1::uuid, $2::uuid, $3::uuid, 'reverted', $4::text, $5::text, $6::text, $7::text, $8::text";
const MANIFEST_COUNTS: &str = "select c.unit_count = m.unit_count as manifest_counts_the_change_set \
    from cutter_governance.cut_change_set as c \
    join cutter_governance.manifest_envelope as m on m.change_set_id = c.change_set_id \
    where c.run_id = $1";
const EACH_RECORDED: &str = "select count(*) = 0 as each_row_is_recorded \
    from cutter_governance.cut_change_set as c \
    where c.run_id = $1 and 2 * c.unit_count <> ( \
    select count(*) from cutter_governance.cut_change_set_affected_row as a \
    where a.change_set_id = c.change_set_id)";
const COMPARE: &str = "insert into cutter_governance.verify_result \
    (change_set_id, run_id, units_expected, units_found, rows_recorded, rows_matching, \
    document_expected, document_found) \
    select m.change_set_id, $2::uuid, coalesce(m.expected_units, m.unit_count), found.units, \
    recorded.count, recorded.matching, m.document_sha256, found.sha256 \
    from cutter_governance.manifest_envelope as m \
    cross join lateral ( \
    select count(*) as units, \
    encode(sha256(convert_to(coalesce( \
    string_agg(v.content, '' order by u.ordinal), ''), 'UTF8')), 'hex') as sha256 \
    from public.information_unit as u join public.unit_version as v on v.unit_id = u.unit_id \
    where u.change_set_id = m.change_set_id and u.state = 'draft' and v.state = 'draft' \
    ) as found \
    cross join lateral ( \
    select count(*) as count, \
    count(*) filter (where a.row_sha256 = public.fn_iu_digest(u) \
    or a.row_sha256 = encode(sha256(convert_to(v.content, 'UTF8')), 'hex')) as matching \
    from cutter_governance.cut_change_set_affected_row as a \
    left join public.information_unit as u \
    on a.relation = 'public.information_unit' and u.unit_id = a.row_id \
    left join public.unit_version as v \
    on a.relation = 'public.unit_version' and v.version_id = a.row_id \
    where a.change_set_id = m.change_set_id \
    ) as recorded \
    where m.change_set_id = $1 \
    returning verify_id, units_expected, units_found, passed";
const UNITS_AS_EXPECTED: &str = "select units_found = units_expected as units_found_are_units_expected \
    from cutter_governance.verify_result where change_set_id = $1";
const ROWS_MATCH: &str = "select rows_matching = rows_recorded as every_row_matches_its_hash \
    from cutter_governance.verify_result where change_set_id = $1";
const DOCUMENT_MATCHES: &str = "select document_found = document_expected as the_units_are_the_document \
    from cutter_governance.verify_result where change_set_id = $1";
const PASSED: &str = "select passed from cutter_governance.verify_result where change_set_id = $1";
