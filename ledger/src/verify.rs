//! Verifies a log offline: every byte, every chain, every move and every decision.
//!
//! The caller streams the records run by run, in the order of `seq`, each run once. Memory is flat
//! but for the ids of decisions, each of which must be met once only.
//!
//! **Invariant:** `Verified` is never said of nothing, and never while a decision was not judged.
//! The first fault is the verdict; nothing after it can change that.
//!
//! **What can go wrong:** records cut off at the end of a run leave a shorter, perfect log. They
//! are found if the caller gives the head that the run's row remembers, and against a signed
//! checkpoint; from the records alone they cannot be found.

use serde::Serialize;
use thiserror::Error;
use uuid::Uuid;

use crate::authority::{Authority, AuthorityError};
use crate::chain::{Chain, End, Fault};
use crate::class::Class;
use crate::hash::{Hash, leaf_hash};
use crate::record::{Record, RecordError};
use crate::trust::Trust;

/// The last record of a run, as something else than the records remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its place.
    pub seq: i64,
    /// Its hash.
    pub hash: Hash,
}

/// Verifies the records of one installation.
pub struct LogVerifier<'t> {
    authority: Authority<'t>,
    origin: Option<String>,
    chain: Option<(Uuid, Chain)>,
    report: Report,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How many runs were read to their end.
    pub runs: u64,
    /// How many of them end in a seal, so that they are provably complete.
    pub sealed: u64,
    /// How many records were read.
    pub records: u64,
    /// How many different decisions they hold.
    pub decisions: u64,
}

/// The answer of a verifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Everything was read and everything holds.
    Verified,
    /// Something does not hold.
    Failed {
        /// The run.
        run: Uuid,
        /// The place in the run.
        seq: i64,
        /// The code of the fault.
        code: &'static str,
        /// The fault in words.
        message: String,
    },
    /// Nothing is wrong, but not everything could be judged.
    Incomplete {
        /// What could not be.
        reason: String,
    },
}

impl<'t> LogVerifier<'t> {
    /// Judges by the reader's own keys. An origin that is given must be that of every record.
    pub fn new(origin: Option<&str>, trust: Option<&'t Trust>) -> LogVerifier<'t> {
        LogVerifier {
            authority: Authority::new(trust),
            origin: origin.map(str::to_owned),
            chain: None,
            report: Report {
                verdict: Verdict::Verified,
                runs: 0,
                sealed: 0,
                records: 0,
                decisions: 0,
            },
        }
    }

    /// Begins the records of a run; a run that was not ended is ended without a head.
    pub fn start_run(&mut self, run: Uuid) {
        self.end_run(None);
        self.authority.start_run();
        self.chain = Some((run, Chain::new(run)));
    }

    /// Takes the next record: its bytes and the hash that is stored beside them.
    pub fn record(&mut self, bytes: &[u8], stored: &Hash) {
        if self.has_failed() {
            return;
        }
        self.report.records += 1;
        let (run, seq) = match &self.chain {
            Some((run, chain)) => (*run, chain.end().count + 1),
            None => (Uuid::nil(), 0),
        };
        if let Err(error) = self.judge(bytes, stored) {
            self.fail(run, seq, &error);
        }
    }

    /// Ends the records of a run; the head is the one that the run's row remembers.
    pub fn end_run(&mut self, head: Option<&Head>) -> Option<End> {
        let (run, chain) = self.chain.take()?;
        let end = *chain.end();
        if self.has_failed() {
            return Some(end);
        }
        let differs = head.is_some_and(|head| (head.seq, head.hash) != (end.count, end.head));
        if end.count == 0 || differs {
            let error = match head {
                Some(head) if differs => VerifyError::Head(head.seq, end.count),
                _ => VerifyError::NoRecord,
            };
            // The first place that is not there, or the last one if something follows the head.
            let beyond = head.is_some_and(|head| head.seq <= end.count);
            let seq = if beyond { end.count } else { end.count + 1 };
            self.fail(run, seq, &error);
        }
        self.report.runs += 1;
        if end.is_sealed() {
            self.report.sealed += 1;
        }
        Some(end)
    }

    /// Gives the verdict.
    pub fn finish(mut self) -> Report {
        self.end_run(None);
        self.report.decisions = self.authority.decisions();
        if !self.has_failed() {
            if self.report.records == 0 {
                self.report.verdict = Verdict::Incomplete {
                    reason: "there is nothing to verify".to_owned(),
                };
            } else if self.authority.unjudged() > 0 {
                let n = self.authority.unjudged();
                self.report.verdict = Verdict::Incomplete {
                    reason: format!("no trusted keys were given to judge the decisions: {n}"),
                };
            }
        }
        self.report
    }

    fn judge(&mut self, bytes: &[u8], stored: &Hash) -> Result<(), VerifyError> {
        let Some((_, chain)) = &mut self.chain else {
            return Err(VerifyError::NoRun);
        };
        let hash = leaf_hash(bytes);
        if hash != *stored {
            return Err(VerifyError::Hash(*stored));
        }
        let record = Record::decode(bytes)?;
        match &self.origin {
            Some(origin) if *origin != record.origin => {
                return Err(VerifyError::Origin(record.origin));
            }
            Some(_) => {}
            None => self.origin = Some(record.origin.clone()),
        }
        chain
            .push(&record, hash)
            .map_err(|error| VerifyError::Chain(error.fault))?;
        Ok(self.authority.push(&record, hash)?)
    }

    fn has_failed(&self) -> bool {
        matches!(self.report.verdict, Verdict::Failed { .. })
    }

    fn fail(&mut self, run: Uuid, seq: i64, error: &VerifyError) {
        self.report.verdict = Verdict::Failed {
            run,
            seq,
            code: error.code(),
            message: error.to_string(),
        };
    }
}

/// Why a log does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The stored hash is not that of the bytes.
    #[error("the stored hash is not that of the bytes: {0}")]
    Hash(Hash),
    /// The bytes are no record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The record belongs to another installation.
    #[error("the record belongs to another environment: {0}")]
    Origin(String),
    /// The record does not fit behind the one before it.
    #[error(transparent)]
    Chain(Fault),
    /// What it says was done was not allowed.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The run's row remembers another last record.
    #[error("the run remembers {0} records, or another last one, and the log has {1}")]
    Head(i64, i64),
    /// A run without a single record.
    #[error("the run has no record")]
    NoRecord,
    /// A record outside any run: a fault of the caller.
    #[error("a record came before its run was named")]
    NoRun,
}

impl VerifyError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            VerifyError::Hash(_) => "RD0650",
            VerifyError::Record(error) => error.code(),
            VerifyError::Origin(_) => "RD0651",
            VerifyError::Chain(fault) => fault.code(),
            VerifyError::Authority(error) => error.code(),
            VerifyError::Head(..) => "RD0652",
            VerifyError::NoRecord => "RD0653",
            VerifyError::NoRun => "RD0654",
        }
    }

    /// What the caller must do: a log that does not hold stops everything that rests on it.
    pub fn class(&self) -> Class {
        Class::Kill
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Decision, Purpose};
    use crate::envelope::sign;
    use crate::record::{Encoded, Kind};
    use crate::state::Event;
    use crate::testing::{Log, ORIGIN, approval, decision, failed_run, key, run, trust, unwind};
    use serde_json::{Value, json};

    fn read(rows: &[Encoded], trust: Option<&Trust>) -> Report {
        read_to(rows, None, trust)
    }

    fn read_to(rows: &[Encoded], head: Option<&Head>, trust: Option<&Trust>) -> Report {
        let mut verifier = LogVerifier::new(Some(ORIGIN), trust);
        verifier.start_run(run(1));
        for row in rows {
            verifier.record(&row.bytes, &row.hash);
        }
        verifier.end_run(head);
        verifier.finish()
    }

    fn verify(log: &Log) -> Report {
        read(&log.rows(), Some(&trust()))
    }

    /// The place and the code of a failed verdict.
    fn failed(report: &Report) -> (i64, &'static str) {
        match &report.verdict {
            Verdict::Failed { seq, code, .. } => (*seq, code),
            other => panic!("{other:?}"),
        }
    }

    fn approve(log: &mut Log, decision: &Decision, names: &[&str]) {
        let mut envelope = sign(decision, &key(names[0])).unwrap();
        for name in &names[1..] {
            envelope.countersign(&key(name)).unwrap();
        }
        let body = json!({"decision_id": decision.id, "envelope": envelope.to_value()});
        log.add(Kind::PlanApproved, body);
    }

    /// A failed run whose plan was approved by these people and executed.
    fn decided(quorum: &Value, names: &[&str], action: &str) -> Log {
        let mut log = failed_run(quorum);
        let decision = approval(&log);
        if !names.is_empty() {
            approve(&mut log, &decision, names);
        }
        unwind(&mut log, action);
        log
    }

    #[test]
    fn a_log_that_holds_is_verified() {
        let report = verify(&decided(&json!({"sovereign": 1}), &["alice"], "decide"));
        assert_eq!(report.verdict, Verdict::Verified);
        assert_eq!(
            (report.runs, report.sealed, report.records, report.decisions),
            (1, 1, 11, 1)
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["verdict"], "verified");
        assert_eq!(json["records"], 11);
    }

    #[test]
    fn nothing_is_never_verified() {
        let incomplete = |report: Report| matches!(report.verdict, Verdict::Incomplete { .. });
        let trust = trust();
        assert!(incomplete(LogVerifier::new(None, Some(&trust)).finish()));
        assert_eq!(failed(&read(&[], Some(&trust))), (1, "RD0653"));
        let log = decided(&json!({"sovereign": 1}), &["alice"], "decide");
        assert!(incomplete(read(&log.rows(), None)));
        // Without any decision there is nothing that only a key could judge.
        let plain = decided(&json!({}), &[], "soft_revert");
        assert_eq!(read(&plain.rows(), None).verdict, Verdict::Verified);
    }

    /// F81. Each byte of each record: changed alone, and changed with its hash made anew.
    #[test]
    fn a_changed_byte_is_found_and_its_record_named() {
        let log = decided(&json!({"sovereign": 1}), &["alice"], "decide");
        let rows = log.rows();
        let trust = trust();
        let head = Head {
            seq: 11,
            hash: rows[10].hash,
        };
        for (index, row) in rows.iter().enumerate() {
            let place = i64::try_from(index).unwrap() + 1;
            for at in 0..row.bytes.len() {
                let mut rows = rows.clone();
                rows[index].bytes[at] ^= 1;
                let found = failed(&read_to(&rows, Some(&head), Some(&trust)));
                assert_eq!(found, (place, "RD0650"), "byte {at}");
                rows[index].hash = leaf_hash(&rows[index].bytes);
                let found = failed(&read_to(&rows, Some(&head), Some(&trust)));
                // Good by itself, it still is not the record that the next one or the head names.
                let named = found.0 == place || found == (place + 1, "RD0632");
                assert!(named, "byte {at} of {place}: {found:?}");
            }
        }
    }

    /// The last record has no follower; a remembered head is what finds it.
    #[test]
    fn a_changed_or_missing_end_is_found_against_a_remembered_head() {
        let log = decided(&json!({}), &[], "soft_revert");
        let rows = log.rows();
        let last = rows.last().unwrap();
        let head = Head {
            seq: 10,
            hash: last.hash,
        };
        let check = |rows: &[Encoded], head: Head, expected: Option<(i64, &str)>| {
            let report = read_to(rows, Some(&head), None);
            match expected {
                Some(expected) => assert_eq!(failed(&report), expected),
                None => assert_eq!(report.verdict, Verdict::Verified),
            }
        };
        check(&rows, head, None);
        check(&rows[..9], head, Some((10, "RD0652")));
        check(&rows[..1], head, Some((2, "RD0652")));
        check(&[], head, Some((1, "RD0652")));
        let shorter = Head { seq: 9, ..head };
        check(&rows, shorter, Some((10, "RD0652")));
        let mut other = log.clone();
        other.records[9].actor.push('x');
        check(&other.rows(), head, Some((10, "RD0652")));
    }

    /// F82.
    #[test]
    fn a_deleted_swapped_doubled_or_foreign_record_is_named() {
        let log = decided(&json!({"sovereign": 1}), &["alice"], "decide");
        let check = |expected: (i64, &str), edit: fn(&mut Vec<Encoded>)| {
            let mut rows = log.rows();
            edit(&mut rows);
            assert_eq!(failed(&read(&rows, Some(&trust()))), expected);
        };
        check((4, "RD0631"), |rows| drop(rows.remove(3)));
        check((4, "RD0631"), |rows| rows.swap(3, 4));
        check((5, "RD0631"), |rows| rows.insert(4, rows[3].clone()));
        check((1, "RD0631"), |rows| rows.reverse());
        check((4, "RD0650"), |rows| {
            let bytes = rows[4].bytes.clone();
            rows[3].bytes = bytes;
        });
        check((3, "RD0614"), |rows| {
            rows[2].bytes = vec![b' '; 1 << 20];
            rows[2].hash = leaf_hash(&rows[2].bytes);
        });
    }

    /// F84, F87. Every hash is made anew, as somebody could who owns the database.
    #[test]
    fn what_nobody_allowed_is_found_although_the_chain_is_perfect() {
        let check = |expected: (i64, &str), edit: fn(&mut Log)| {
            let mut log = decided(&json!({"sovereign": 1}), &["alice"], "decide");
            edit(&mut log);
            log.relink();
            assert_eq!(failed(&verify(&log)), expected);
        };
        check((6, "RD0661"), |log| {
            log.records.remove(5);
            log.records[9].body = json!({"count": 10});
        });
        check((6, "RD0660"), |log| log.records[5].body = json!({}));
        check((6, "RD0660"), |log| {
            log.records[5].body["decision_id"] = json!(run(77));
        });
        check((6, "RD0559"), |log| {
            log.records[5].at = "2026-05-03T00:00:00.000000Z".to_owned();
        });
        check((6, "RD0552"), |log| {
            for record in &mut log.records {
                record.generation = 2;
            }
        });
        check((5, "RD0660"), |log| {
            log.records[4].body.as_object_mut().unwrap().remove("plan");
        });
        check((6, "RD0663"), |log| {
            log.records[4].body["plan"] = json!(Hash::of(b"another"));
        });
        check((6, "RD0556"), |log| {
            log.records[4].body["basis"]["seq"] = json!(3);
        });
        check((7, "RD0663"), |log| {
            log.records[6].body["plan"] = json!(Hash::of(b"another"));
        });
        // Plan and approval agree on a basis that the run has left behind.
        check((7, "RD0664"), |log| {
            log.records[4].body["basis"]["hash"] = json!(Hash::of(b"old"));
            let old = Decision {
                basis: Some(crate::decision::Basis {
                    seq: 4,
                    hash: Hash::of(b"old"),
                }),
                ..decision()
            };
            let envelope = sign(&old, &key("alice")).unwrap();
            log.records[5].body = json!({"envelope": envelope.to_value()});
        });
        check((8, "RD0660"), |log| {
            log.records[7].body["action"] = json!("erase");
        });
        check((8, "RD0660"), |log| {
            log.records[7].body["plan"] = json!(Hash::of(b"another"));
        });
    }

    #[test]
    fn a_quorum_is_judged_where_it_is_used() {
        let both = json!({"sovereign": 1, "reviewer": 1});
        let check = |quorum: &Value, names: &[&str], action: &str, expected| {
            let report = verify(&decided(quorum, names, action));
            match expected {
                Some(expected) => assert_eq!(failed(&report), expected, "{names:?} {action}"),
                None => assert_eq!(report.verdict, Verdict::Verified, "{names:?} {action}"),
            }
        };
        let sovereign = json!({"sovereign": 1});
        check(&both, &["alice", "bob"], "decide", None);
        check(&both, &["alice"], "decide", Some((7, "RD0560")));
        check(&both, &["bob"], "decide", Some((7, "RD0560")));
        check(&sovereign, &["bob"], "decide", Some((7, "RD0560")));
        // Carol asked for it, so her signature does not count.
        let operator = json!({"operator": 1});
        check(&operator, &["carol"], "soft_revert", Some((7, "RD0560")));
        check(&operator, &[], "soft_revert", Some((6, "RD0661")));
        check(&json!({}), &[], "soft_revert", None);
        // A plan that states no quorum still cannot decide or delete by itself.
        check(&json!({}), &[], "decide", Some((7, "RD0661")));
        check(&json!({}), &["bob"], "decide", Some((8, "RD0560")));
        check(&json!({}), &["alice"], "decide", None);
        check(&json!({"reviewer": 1}), &["bob"], "decide", None);
        check(
            &json!({"reviewer": 1}),
            &["bob"],
            "hard_delete",
            Some((8, "RD0560")),
        );
        check(&both, &["alice", "bob"], "hard_delete", None);
        check(
            &json!({"root": 1}),
            &["alice"],
            "decide",
            Some((5, "RD0660")),
        );
        check(&sovereign, &["alice", "eve"], "decide", Some((6, "RD0547")));
    }

    #[test]
    fn approvals_of_several_decisions_count_together() {
        let mut log = failed_run(&json!({"sovereign": 1, "reviewer": 1}));
        let first = approval(&log);
        let second = Decision {
            id: run(101),
            ..first.clone()
        };
        approve(&mut log, &first, &["alice"]);
        approve(&mut log, &second, &["bob"]);
        unwind(&mut log, "hard_delete");
        let report = verify(&log);
        assert_eq!((report.verdict, report.decisions), (Verdict::Verified, 2));
    }

    /// F88.
    #[test]
    fn a_decision_is_used_once() {
        let mut log = failed_run(&json!({"sovereign": 1}));
        let decision = approval(&log);
        approve(&mut log, &decision, &["alice"]);
        let mut cited = log.clone();
        approve(&mut log, &decision, &["alice"]);
        assert_eq!(failed(&verify(&log)), (7, "RD0662"));
        // An action may cite the approval of the plan that is being executed.
        unwind(&mut cited, "decide");
        cited.records[7].body["envelope"] = cited.records[5].body["envelope"].clone();
        cited.relink();
        assert_eq!(verify(&cited).verdict, Verdict::Verified);

        // In another run, it is for another run; made for both, it would still be used twice.
        let rows = cited.rows();
        let mut other = failed_run(&json!({"sovereign": 1}));
        other
            .records
            .iter_mut()
            .for_each(|record| record.run = run(2));
        other.relink();
        approve(&mut other, &decision, &["alice"]);
        other.records[5].run = run(2);
        other.relink();
        let trust = trust();
        let mut verifier = LogVerifier::new(None, Some(&trust));
        for (run, rows) in [(run(1), rows), (run(2), other.rows())] {
            verifier.start_run(run);
            for row in rows {
                verifier.record(&row.bytes, &row.hash);
            }
        }
        let report = verifier.finish();
        assert_eq!(failed(&report), (6, "RD0662"));
    }

    fn system(kind: Kind, body: Value) -> Log {
        let mut log = Log::new();
        log.add(Kind::GenerationOpened, json!({}));
        log.add(kind, body);
        log
    }

    #[test]
    fn a_release_needs_the_decision_that_was_made_for_it() {
        let signed = |edit: fn(&mut Decision), name: &str| {
            let mut decision = Decision {
                run: None,
                basis: None,
                plan: None,
                ..decision()
            };
            edit(&mut decision);
            sign(&decision, &key(name)).unwrap().to_value()
        };
        let check = |expected: Option<(i64, &str)>, kind: Kind, body: Value| {
            let report = verify(&system(kind, body));
            match expected {
                Some(expected) => assert_eq!(failed(&report), expected),
                None => assert_eq!(report.verdict, Verdict::Verified),
            }
        };
        fn hold(decision: &mut Decision) {
            decision.purpose = Purpose::HoldRelease;
            decision.hold = Some(run(50));
        }
        fn kill(decision: &mut Decision) {
            decision.purpose = Purpose::SwitchRelease;
            decision.switch_no = Some(4);
        }
        let held = |name: &str| signed(hold, name);
        let kind = Kind::HoldReleased;
        let this = json!(run(50));
        check(None, kind, json!({"hold": this, "envelope": held("alice")}));
        check(Some((2, "RD0661")), kind, json!({"hold": this}));
        check(
            Some((2, "RD0660")),
            kind,
            json!({"envelope": held("alice")}),
        );
        let other = json!(run(51));
        check(
            Some((2, "RD0558")),
            kind,
            json!({"hold": other, "envelope": held("alice")}),
        );
        check(
            Some((2, "RD0560")),
            kind,
            json!({"hold": this, "envelope": held("bob")}),
        );
        check(
            Some((2, "RD0550")),
            kind,
            json!({"hold": this, "envelope": signed(kill, "alice")}),
        );
        let reviewer = json!({"reviewer": 1});
        check(
            None,
            kind,
            json!({"hold": this, "envelope": held("bob"), "quorum": reviewer}),
        );

        let kind = Kind::SwitchReleased;
        let killed = |name: &str| signed(kill, name);
        check(None, kind, json!({"envelope": killed("alice")}));
        check(
            None,
            kind,
            json!({"envelope": killed("alice"), "released": 4}),
        );
        check(
            Some((2, "RD0557")),
            kind,
            json!({"envelope": killed("alice"), "released": 5}),
        );
        check(Some((2, "RD0661")), kind, json!({"released": 4}));

        // The decision may stand in a record before; one decision releases once.
        let mut log = system(Kind::Decision, json!({"envelope": held("alice")}));
        log.add(Kind::HoldReleased, json!({"hold": this}));
        assert_eq!(verify(&log).verdict, Verdict::Verified);
        log.add(Kind::HoldReleased, json!({"hold": this}));
        assert_eq!(failed(&verify(&log)), (4, "RD0661"));
        check(Some((2, "RD0660")), Kind::Decision, json!({}));
    }

    #[test]
    fn a_run_is_resolved_by_a_decision_on_its_present_basis() {
        let resolved = |edit: fn(&mut Decision)| {
            let mut log = failed_run(&json!({}));
            let mut decision = Decision {
                purpose: Purpose::RunResolve,
                plan: None,
                ..approval(&log)
            };
            edit(&mut decision);
            let envelope = sign(&decision, &key("alice")).unwrap().to_value();
            log.step(
                Kind::Resolved,
                Event::Resolved,
                json!({"envelope": envelope}),
            );
            verify(&log)
        };
        assert_eq!(resolved(|_| {}).verdict, Verdict::Verified);
        let check = |code: &str, edit: fn(&mut Decision)| {
            assert_eq!(failed(&resolved(edit)), (6, code));
        };
        check("RD0553", |decision| decision.run = Some(run(2)));
        check("RD0556", |decision| {
            decision.basis = crate::testing::decision().basis;
        });
        check("RD0550", |decision| {
            decision.purpose = Purpose::PhaseApprove;
            decision.phase = Some("verify".to_owned());
        });
        let mut log = failed_run(&json!({}));
        log.step(Kind::Resolved, Event::Resolved, json!({}));
        assert_eq!(failed(&verify(&log)), (6, "RD0661"));
    }

    #[test]
    fn a_log_of_another_environment_is_refused() {
        let log = decided(&json!({}), &[], "soft_revert");
        let mut verifier = LogVerifier::new(Some("prod.example"), None);
        verifier.record(&log.rows()[0].bytes, &log.rows()[0].hash);
        assert_eq!(failed(&verifier.finish()), (0, "RD0654"));
        let mut verifier = LogVerifier::new(Some("prod.example"), None);
        verifier.start_run(run(1));
        verifier.record(&log.rows()[0].bytes, &log.rows()[0].hash);
        verifier.record(&log.rows()[1].bytes, &log.rows()[1].hash);
        assert_eq!(failed(&verifier.finish()), (1, "RD0651"));
    }
}
