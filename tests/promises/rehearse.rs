//! The way back is proven before it is needed: forward and back from every failure point, and nothing of it stands.

use redress::definition::Definition;
use redress::rehearse::{Options, Point, Rehearsal, Verdict, What};
use redress::{Engine, Error};
use redress_tests::Lab;
use serde_json::{Value, json};

use crate::common::*;

/// A shop with things of others in it: what a rehearsal must find as it was.
async fn lab() -> Lab {
    let lab = Lab::new().await;
    lab.sql(
        "create table shop.item (sku text primary key, qty int not null, note text);
         insert into shop.item select 's' || n, 100, 'of old' from generate_series(1, 50) n;
         create table shop.booking (id bigint generated always as identity primary key, run uuid, sku text not null,
           qty int not null, state text not null default 'live', constraint known check (state in ('live', 'withdrawn')));
         insert into shop.booking (sku, qty) select 's' || n, 1 from generate_series(1, 20) n;
         create table shop.journal (note text not null);
         insert into shop.journal values ('opened'), ('opened');
         create table shop.elsewhere (note text not null)",
    );
    lab
}

/// Two phases over it: take from the stock, and book twice. `fields` are put over the `with` of one of them.
fn shop(phase: &str, fields: Value) -> Definition {
    let mut take = json!({
        "name": "take", "adapter": "sql", "writes": ["shop.item", "shop.journal"], "compensation": "restore",
        "residue": ["shop.journal"],
        "with": {
            "capture": [{"sql": "select sku, qty from shop.item where sku = $1", "params": ["/input/sku"], "rows": 1, "as": "was"}],
            "apply": [{"sql": "update shop.item set qty = qty - 2 where sku = $1", "params": ["/input/sku"], "rows": 1},
                      {"sql": "insert into shop.journal values ('taken')"}],
            "guard": [{"sql": "select true from shop.item where sku = $1 for update", "params": ["/input/sku"], "rows": 1}],
            "revert": [{"sql": "update shop.item set qty = qty + 2 where sku = $1", "params": ["/input/sku"], "rows": 1},
                       {"sql": "insert into shop.journal values ('put back')"}],
        },
    });
    let mut book = json!({
        "name": "book", "adapter": "sql", "writes": ["shop.booking"], "compensation": "soft_revert",
        "residue": ["shop.booking"],
        "with": {
            "apply": [{"sql": "insert into shop.booking (run, sku, qty) values ($1, $2, 1), ($1, $2, 1)", "params": ["/run/id", "/input/sku"], "rows": 2}],
            "guard": [{"sql": "select state = 'live' from shop.booking where run = $1 for update", "params": ["/run/id"], "rows": 2}],
            "revert": [{"sql": "update shop.booking set state = 'withdrawn' where run = $1 and state = 'live'", "params": ["/run/id"], "rows": 2}],
            "verify": [{"sql": "select count(*) filter (where state = 'live') in (0, 2) from shop.booking where run = $1", "params": ["/run/id"]}],
        },
    });
    let last = json!({
        "name": "tell", "adapter": "sql", "writes": ["shop.journal"], "compensation": "none", "residue": ["shop.journal"],
        "with": {"apply": [{"sql": "insert into shop.journal values ('told')"}]},
    });
    for one in [&mut take, &mut book] {
        if one["name"] == phase {
            let (with, rest) = split(&fields);
            merge(&mut one["with"], with);
            merge(one, rest);
        }
    }
    saga(
        "stock",
        vec![take, book, last],
        json!({
            "input": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}},
            "authority": {"soft_revert": "auto"}, "subject": "/input/sku", "exclusive": true,
            "snapshot": [{"name": "live", "sql": "select count(*) from shop.booking where sku = $1 and state = 'live'", "params": ["/input/sku"], "baseline": true}],
        }),
    )
}

fn split(fields: &Value) -> (Value, Value) {
    let (mut with, mut rest) = (json!({}), json!({}));
    for (name, value) in fields.as_object().expect("fields") {
        let list = ["capture", "apply", "guard", "revert", "verify"].contains(&name.as_str());
        let into = if list { &mut with } else { &mut rest };
        into[name] = value.clone();
    }
    (with, rest)
}

async fn rehearse(engine: &Engine, saga: &Definition) -> Rehearsal {
    engine
        .rehearse(saga, &json!({"sku": "s1"}), Options::default())
        .await
        .expect("rehearsed")
}

/// Everything that a rehearsal could have touched.
fn everything(lab: &Lab) -> String {
    lab.sql(
        "select (select string_agg(i::text, ';' order by i::text) from shop.item i) || (select string_agg(b::text, ';' order by b::text) from shop.booking b)
           || (select string_agg(j::text, ';' order by j::text) from shop.journal j) || (select count(*) from redress.run) || (select count(*) from redress.record)
           || (select count(*) from redress.definition) || (select count(*) from redress.plan) || (select count(*) from redress.blob)",
    )
}

/// P11: every point holds, what was there is untouched, and nothing of the rehearsal stands.
#[tokio::test(flavor = "multi_thread")]
async fn every_failure_point_is_proven_and_nothing_of_it_stands() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let before = everything(&lab);
    let found = rehearse(&engine, &shop("", json!({}))).await;
    assert!(found.holds, "{found:#?}");
    assert_eq!(everything(&lab), before);
    assert_eq!(found.points.len(), 4);
    let actions: Vec<usize> = found.points.iter().map(|p| p.actions.len()).collect();
    assert_eq!(actions, [0, 1, 2, 3]);
    assert_eq!(found.unchanged.status, "aborted");
    assert_eq!(
        found.compared,
        ["shop.booking", "shop.item", "shop.journal"]
    );
    let residue: Vec<(&str, usize)> = found.points[3]
        .residue
        .iter()
        .map(|one| (one.relation.as_str(), one.rows))
        .collect();
    assert_eq!(residue, [("shop.booking", 2), ("shop.journal", 3)]);
    let locked: Vec<&str> = found
        .locks
        .iter()
        .map(|one| one.relation.as_str())
        .collect();
    for relation in ["shop.booking", "shop.item", "shop.journal"] {
        assert!(locked.contains(&relation), "{locked:?}");
    }
    // The saga is not registered by it, and registered or not it is the same.
    engine
        .register(&shop("", json!({})))
        .await
        .expect("registered");
    assert!(rehearse(&engine, &shop("", json!({}))).await.holds);
    // Another content under the same name and version is rehearsed before anybody raises the version.
    let other = shop("book", json!({"timeout": "7s"}));
    assert!(rehearse(&engine, &other).await.holds);
}

/// What a wrong way back does is told with the phase, the relation and the difference.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_way_back_is_told_with_phase_relation_and_difference() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let before = everything(&lab);
    let own = |sql: &str| json!([{"sql": sql, "params": ["/run/id"]}]);
    let sku = |sql: &str| json!([{"sql": sql, "params": ["/input/sku"]}]);
    let cases = [
        // Too few rows: the verification sees it, and without one the baseline.
        (
            "book",
            json!({"revert": own("update shop.booking set state = 'withdrawn' where id = (select min(id) from shop.booking where run = $1)")}),
            What::Verify,
            "verify",
        ),
        (
            "book",
            json!({"verify": [], "revert": own("update shop.booking set state = 'withdrawn' where id = (select min(id) from shop.booking where run = $1)")}),
            What::Baseline,
            "baseline live",
        ),
        (
            "book",
            json!({"verify": [], "revert": own("update shop.booking set state = 'withdrawn' where run = $1 and false")}),
            What::Baseline,
            "2 in shop.booking",
        ),
        (
            "book",
            json!({"verify": [], "revert": own("update shop.booking set qty = qty where run = $1")}),
            What::Untouched,
            "left every row",
        ),
        // Another row, of somebody else.
        (
            "book",
            json!({"revert": own("update shop.booking set state = 'withdrawn' where run = $1 or sku = 's7'")}),
            What::Changed,
            "state was \"live\", is \"withdrawn\"",
        ),
        // Deleted instead of withdrawn.
        (
            "book",
            json!({"revert": own("delete from shop.booking where run = $1")}),
            What::Erased,
            "deleted a row that its phase wrote",
        ),
        // A wrong value in a row that was there before; a row of somebody else gone.
        (
            "take",
            json!({"revert": sku("update shop.item set qty = qty + 1 where sku = $1")}),
            What::Changed,
            "qty was 100, is 99",
        ),
        (
            "take",
            json!({"revert": sku("update shop.item set qty = qty + 2, note = null where sku = $1")}),
            What::Changed,
            "note was \"of old\", is null",
        ),
        (
            "take",
            json!({"revert": sku("with back as (update shop.item set qty = qty + 2 where sku = $1 returning 1) delete from shop.item where sku = 's9' and exists (select from back)")}),
            What::Changed,
            "is gone",
        ),
        // Rows that nobody declared as staying; a relation that nobody declared at all.
        (
            "take",
            json!({"residue": []}),
            What::Added,
            "note=\"taken\"",
        ),
        (
            "book",
            json!({"residue": []}),
            What::Added,
            "no declared residue",
        ),
        // A guard that says no to what its own phase wrote, a statement that fails, rows that are missed.
        (
            "book",
            json!({"guard": [{"sql": "select state = 'withdrawn' from shop.booking where run = $1 for update", "params": ["/run/id"]}]}),
            What::Guard,
            "guard",
        ),
        (
            "book",
            json!({"revert": own("update shop.booking set state = 'nonsense' where run = $1")}),
            What::Revert,
            "known",
        ),
        (
            "book",
            json!({"revert": [{"sql": "update shop.booking set state = 'withdrawn' where run = $1", "params": ["/run/id"], "rows": 7}]}),
            What::Revert,
            "7",
        ),
    ];
    for (at, (phase, fields, what, part)) in cases.into_iter().enumerate() {
        let found = rehearse(&engine, &shop(phase, fields.clone())).await;
        assert!(
            !found.holds && found.is_broken(),
            "{at} {fields}: {found:#?}"
        );
        // Every point before it holds, and the phase itself is named from the first one on.
        let first = found
            .points
            .iter()
            .position(|p| p.verdict == Verdict::Broken)
            .expect("one");
        assert_eq!(
            first,
            if phase == "take" { 1 } else { 2 },
            "{at} {fields}: {found:#?}"
        );
        for point in &found.points[first..] {
            told(point, at, phase, what, part);
        }
        assert_eq!(found.unchanged.status, "aborted");
    }
    assert_eq!(everything(&lab), before);
}

#[track_caller]
fn told(point: &Point, at: usize, phase: &str, what: What, part: &str) {
    let fits = point.findings.iter().any(|finding| {
        finding.what == what
            && finding
                .phase
                .as_ref()
                .is_some_and(|name| name.as_str() == phase)
            && finding
                .relation
                .as_ref()
                .is_some_and(|name| name.starts_with("shop."))
            && finding.difference.contains(part)
    });
    assert!(fits, "{at} {what:?} {part}: {point:#?}");
}

/// A trigger that writes beyond what is declared is found on the way forward and on the way back.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_nobody_declared_is_found() {
    let lab = lab().await;
    let engine = lab.engine().await;
    lab.sql(
        "create function shop.tell() returns trigger language plpgsql as $$ begin insert into shop.elsewhere values (new.state); return new; end $$;
         create trigger tells after update on shop.booking for each row execute function shop.tell()",
    );
    let found = rehearse(&engine, &shop("", json!({}))).await;
    let finding = found.points[2]
        .findings
        .iter()
        .find(|f| f.what == What::Coverage);
    assert_eq!(
        finding.and_then(|f| f.relation.as_deref()),
        Some("shop.elsewhere"),
        "{found:#?}"
    );
    assert_eq!(found.points[1].verdict, Verdict::Holds);
}

/// Nobody rehearses while work is stopped, on a subject that is busy, with an input that is refused, on a table that
/// is too large to compare, or on rows that somebody holds.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_rehearsed_is_refused_and_says_why() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let line = shop("", json!({}));
    let sku = json!({"sku": "s1"});
    let with = async |options: Options| engine.rehearse(&line, &sku, options).await;
    let usual = Options::default();
    assert_eq!(
        refused(engine.rehearse(&line, &json!({}), usual).await),
        "RD0192"
    );
    let few = Options {
        rows_max: 10,
        ..usual
    };
    let error = with(few).await.expect_err("too large");
    assert_eq!(error.code(), "RD0430");
    assert!(error.to_string().contains("more than 10 rows"), "{error}");

    let blocker = redress::db::connect(&lab.url().parse().unwrap())
        .await
        .expect("connected");
    blocker
        .batch_execute("begin; update shop.item set qty = 7 where sku = 's1'")
        .await
        .unwrap();
    let short = Options {
        lock_ms: 100,
        ..usual
    };
    let error = with(short).await.expect_err("locked");
    assert_eq!(error.sqlstate(), Some("55P03"), "{error}");
    blocker.batch_execute("rollback").await.unwrap();

    engine.register(&line).await.expect("registered");
    let open = engine
        .start("stock", sku.clone())
        .open()
        .await
        .expect("opened")
        .run;
    assert_eq!(refused(with(usual).await), "RD0212");
    engine.drive(open).await.expect("driven");
    assert!(with(usual).await.expect("rehearsed").holds);

    let hold = engine
        .hold(
            redress::definition::HoldScope::Saga,
            Some("stock"),
            "a look",
            false,
        )
        .await
        .expect("held");
    assert!(matches!(with(usual).await, Err(Error::Held(_))));
    engine
        .release_hold(hold.id, &lab.sovereign, "seen")
        .await
        .expect("released");
    engine.kill("enough", LIMIT, false).await.expect("killed");
    assert!(matches!(with(usual).await, Err(Error::Held(_))));
}

/// What comes after a phase that does not go forward, or that works outside the database, is not claimed.
#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_claims_no_more_than_it_has_seen() {
    let lab = lab().await;
    let engine = lab.engine_with(Act::marking("far").outside().done()).await;
    let mut line = shop("", json!({}));
    line.phases[2].adapter = "far".parse().unwrap();
    line.phases[2].with = json!({});
    let found = rehearse(&engine, &line).await;
    let verdicts: Vec<Verdict> = found.points.iter().map(|p| p.verdict).collect();
    use Verdict::{Broken, Holds, NotRehearsable, Unreached};
    assert_eq!(verdicts, [Holds, Holds, Holds, NotRehearsable]);
    assert!(!found.holds && !found.is_broken());

    let nothing = json!({"apply": [{"sql": "update shop.item set qty = qty - 1000 where sku = $1 and qty > 1000", "params": ["/input/sku"], "rows": 1}]});
    let found = rehearse(&engine, &shop("take", nothing)).await;
    let verdicts: Vec<Verdict> = found.points.iter().map(|p| p.verdict).collect();
    assert_eq!(verdicts, [Holds, Broken, Unreached, Unreached]);
    assert_eq!(found.points[1].findings[0].what, What::Forward);
}

/// A gate that is shut now is passed as if it had opened, and signatures are made up: what comes behind is proven.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_behind_a_gate_or_a_signature_is_proven_too() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let mut line = shop("", json!({}));
    let mut gate = line.phases[2].clone();
    gate.name = "wait".parse().unwrap();
    gate.adapter = "gate".parse().unwrap();
    gate.writes.clear();
    gate.residue.clear();
    gate.after.clear();
    gate.with = json!({"when": [{"sql": "select false"}]});
    line.phases[0].after = vec![gate.name.clone()];
    line.phases.insert(0, gate);
    line.phases[2].approvals =
        redress::ledger::Quorum::from([(redress::ledger::Role::Reviewer, 1)]);
    line.phases[2].with["apply"][0]["params"] = json!(["/run/id", "/approvals/0/principal"]);
    let found = rehearse(&engine, &line).await;
    assert!(found.holds, "{found:#?}");
    assert_eq!(found.points.len(), 5);
    assert!(
        found.points[4]
            .notes
            .iter()
            .any(|note| note.contains("shut now")),
        "{found:#?}"
    );
}

/// The cutover, on its own documents: five phases, six points; past the pivot there is only forward, as the file says.
#[tokio::test(flavor = "multi_thread")]
async fn the_cutover_is_rehearsed_on_a_real_document() {
    let lab = Lab::new().await;
    for (_, script) in redress_examples::cutover::UP {
        lab.sql(script);
    }
    let engine = lab.engine().await;
    let (name, text) = redress_examples::cutover::DOCUMENTS[0];
    let input = json!({"document": name, "title": "a document", "text": text,
        "signers": [{"principal": "ann"}, {"principal": "ben"}]});
    let sound = redress_examples::cutover::saga();
    let found = engine
        .rehearse(&sound, &input, Options::default())
        .await
        .expect("rehearsed");
    assert!(found.holds, "{found:#?}");
    let verdicts: Vec<Verdict> = found.points.iter().map(|p| p.verdict).collect();
    let mut expected = vec![Verdict::Holds; 5];
    expected.push(Verdict::ForwardOnly);
    assert_eq!(verdicts, expected);
    let count = "select count(*) from public.information_unit";
    assert_eq!(lab.sql(count), "0");

    // Withdraws the first unit alone: the verification sees it under the phase's role, and without that the baseline.
    let mut wrong = sound.clone();
    let leg = wrong
        .phases
        .iter_mut()
        .find(|p| p.name.as_str() == "cut_leg_a")
        .expect("leg A");
    leg.with["revert"] = json!([{"sql": "update public.information_unit set state = 'withdrawn', withdrawn_at = clock_timestamp(), withdrawn_by = $2, withdrawn_reason = 'x' where change_set_id = $1 and ordinal = 1",
        "params": ["/phases/cut_leg_a/cut/0/change_set_id", "/run/id"]}]);
    let mut unverified = wrong.clone();
    unverified.phases[1]
        .with
        .as_object_mut()
        .expect("an object")
        .remove("verify");
    for (wrong, what) in [(wrong, What::Verify), (unverified, What::Baseline)] {
        let found = engine
            .rehearse(&wrong, &input, Options::default())
            .await
            .expect("rehearsed");
        let broken: Vec<usize> = (0..6)
            .filter(|at| found.points[*at].verdict == Verdict::Broken)
            .collect();
        assert_eq!(broken, [2, 3, 4], "{found:#?}");
        for at in broken {
            let finding = &found.points[at].findings[0];
            assert_eq!(finding.what, what, "{finding:?}");
            assert_eq!(
                finding.phase.as_ref().map(|p| p.as_str()),
                Some("cut_leg_a")
            );
            assert!(
                finding
                    .relation
                    .as_ref()
                    .is_some_and(|r| r.contains("public.information_unit"))
            );
        }
    }
    assert_eq!(lab.sql(count), "0");
}
