//! The phases that touch the units themselves: backup, cut, enactment.

use redress::definition::builder::Phase;
use redress::definition::{Compensation, OnFailure};
use serde_json::json;

use super::{CHANGE_SET, EXECUTOR, PUBLIC_TABLES, TIMEOUT};

/// The rows of this document as they are, before anything touches them.
pub(super) fn pre_write_backup() -> Phase {
    Phase::new("pre_write_backup", "backup")
        .writes([])
        .role(EXECUTOR)
        .compensation(Compensation::None)
        .timeout(TIMEOUT)
        .on_failure(OnFailure::Hold)
        .with(json!({
            "rows": [
                {"name": "information_unit", "sql": BACK_UP_UNITS, "params": ["/input/document"]},
                {"name": "unit_version", "sql": BACK_UP_VERSIONS, "params": ["/input/document"]},
            ],
        }))
}

/// The units, their versions and the log of their lives, all draft.
pub(super) fn cut_leg_a() -> Phase {
    let why = [CHANGE_SET, "/run/id", "/plan/reason"];
    Phase::new("cut_leg_a", "sql")
        .writes(PUBLIC_TABLES)
        .role(EXECUTOR)
        .compensation(Compensation::SoftRevert)
        .residue(PUBLIC_TABLES)
        .timeout(TIMEOUT)
        .on_failure(OnFailure::Hold)
        .with(json!({
            "apply": [{
                "sql": CREATE,
                "params": ["/input/document", "/input/title", "/input/text", "/run/id"],
                "rows": 1,
                "as": "cut",
            }],
            "guard": [
                {"sql": LOCK_UNITS, "params": [CHANGE_SET]},
                {"sql": LOCK_VERSIONS, "params": [CHANGE_SET]},
            ],
            "revert": [{"sql": WITHDRAW, "params": why, "rows": 1}],
            "hard_delete": [
                {"sql": LOG_DELETED, "params": why},
                {"sql": DELETE_VERSIONS, "params": [CHANGE_SET]},
                {"sql": DELETE_UNITS, "params": [CHANGE_SET]},
            ],
            "verify": [
                {"sql": EACH_AGREES, "params": ["/run/id"]},
                {"sql": EACH_LOGGED, "params": ["/run/id"]},
            ],
        }))
}

/// The last phase: once it has committed, no unit of the run changes again.
pub(super) fn lifecycle_enact() -> Phase {
    Phase::new("lifecycle_enact", "sql")
        .writes(PUBLIC_TABLES)
        .role(EXECUTOR)
        .compensation(Compensation::Irreversible)
        .pivot()
        .timeout(TIMEOUT)
        .on_failure(OnFailure::Hold)
        .with(json!({
            "apply": [{"sql": ENACT, "params": [CHANGE_SET, "/run/id"], "rows": 1, "as": "enacted"}],
            "verify": [{"sql": ALL_ENACTED, "params": [CHANGE_SET]}],
        }))
}

const BACK_UP_UNITS: &str = "select unit_id, change_set_id, run_id, document_id, document_title, version_no, ordinal, level, heading, \
    created_at, state, enacted_at, enacted_by \
    from public.information_unit \
    where document_id = $1 and state <> 'withdrawn' \
    order by version_no, ordinal";
const BACK_UP_VERSIONS: &str = "select v.version_id, v.unit_id, v.change_set_id, v.supersedes, v.content, v.content_sha256, \
    v.created_at, v.state, v.enacted_at \
    from public.unit_version as v join public.information_unit as u on u.unit_id = v.unit_id \
    where u.document_id = $1 and u.state <> 'withdrawn' \
    order by u.version_no, u.ordinal";
const CREATE: &str =
    "select change_set_id, version_no, units from public.fn_iu_create($1, $2, $3, $4)";
pub(super) const LOCK_UNITS: &str = "select state = 'draft' from public.information_unit where change_set_id = $1 order by ordinal for update";
const LOCK_VERSIONS: &str = "select state = 'draft' from public.unit_version where change_set_id = $1 order by unit_id for update";
const WITHDRAW: &str = "select public.fn_iu_withdraw($1, $2, $3) as units";
const LOG_DELETED: &str = "insert into public.iu_lifecycle_log (unit_id, change_set_id, run_id, from_state, to_state, reason) \
    select unit_id, change_set_id, $2::uuid, state, 'deleted', $3::text \
    from public.information_unit where change_set_id = $1";
const DELETE_VERSIONS: &str =
    "delete from public.unit_version where change_set_id = $1 and state = 'draft'";
const DELETE_UNITS: &str =
    "delete from public.information_unit where change_set_id = $1 and state = 'draft'";
const EACH_AGREES: &str = "select count(*) filter (where v.state is distinct from u.state) = 0 as each_unit_agrees_with_its_version \
    from public.information_unit as u left join public.unit_version as v on v.unit_id = u.unit_id \
    where u.run_id = $1";
const EACH_LOGGED: &str = "select count(*) filter (where l.unit_id is null) = 0 as each_state_is_in_the_log \
    from public.information_unit as u \
    left join public.iu_lifecycle_log as l on l.unit_id = u.unit_id and l.to_state = u.state \
    where u.run_id = $1";
const ENACT: &str = "select public.fn_iu_enact($1, $2) as units";
const ALL_ENACTED: &str = "select count(*) filter (where u.state <> 'enacted' or v.state <> 'enacted') = 0 as all_enacted \
    from public.information_unit as u join public.unit_version as v on v.unit_id = u.unit_id \
    where u.change_set_id = $1";
