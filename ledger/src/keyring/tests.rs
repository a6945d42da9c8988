//! Tries the keyring: who may open a log, change its keys, and what counts from where to where.

use serde_json::{Map, Value, json};

use super::*;
use crate::checkpoint::log_origin;
use crate::key::{Role, SigningKey};
use crate::testing::{LATER, NOW, ORIGIN, decision, key, record, run};

fn log_key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&log_origin(ORIGIN, 1), &[seed; 32]).unwrap()
}

fn root(names: &[&str], threshold: u64) -> Root {
    let keys: Vec<Vkey> = names.iter().map(|name| key(name).vkey().clone()).collect();
    Root::new(&keys, threshold).unwrap()
}

/// The records of the keys, made one by one and judged at once.
#[derive(Clone)]
struct Story {
    ring: Keyring,
    seq: i64,
    prev: Hash,
    position: u64,
}

impl Story {
    fn new() -> Story {
        Story {
            ring: Keyring::new(1),
            seq: 0,
            prev: Hash::ZERO,
            position: 0,
        }
    }

    /// A log that Alice and Dave opened, two of two.
    fn opened() -> Story {
        let mut story = Story::new();
        let body = body::opening(&root(&["alice", "dave"], 2), log_key(7).vkey());
        story.does(Kind::KeyRegistered, body).unwrap();
        story
    }

    fn terms(&self) -> Terms {
        Terms {
            id: run(500 + u128::from(self.position)),
            origin: ORIGIN.to_owned(),
            not_after: LATER.to_owned(),
            reason: "as agreed".to_owned(),
        }
    }

    fn signed(&self, kind: Kind, body: Value, names: &[&str]) -> Value {
        let act = self.ring.act(kind, body, self.terms()).unwrap();
        let keys: Vec<SigningKey> = names.iter().map(|name| key(name)).collect();
        let keys: Vec<&SigningKey> = keys.iter().collect();
        act.record_body(&act.sign(&keys).unwrap())
    }

    fn next(&self, kind: Kind, body: Value) -> Record {
        Record {
            run: run(0xffff),
            seq: self.seq + 1,
            prev: self.prev,
            kind,
            at: NOW.to_owned(),
            body,
            ..record()
        }
    }

    fn push(&mut self, record: &Record) -> Result<(), KeyringError> {
        let hash = record.encode().unwrap().hash;
        self.ring.push(record, hash, self.position)?;
        self.prev = hash;
        self.seq += 1;
        self.position += 1;
        Ok(())
    }

    /// Whoever is the root now signs.
    fn does(&mut self, kind: Kind, body: Value) -> Result<(), KeyringError> {
        self.does_as(kind, body, &["alice", "dave"])
    }

    fn does_as(&mut self, kind: Kind, body: Value, names: &[&str]) -> Result<(), KeyringError> {
        let body = self.signed(kind, body, names);
        self.push(&self.next(kind, body))
    }

    fn refuses(&mut self, code: &str, kind: Kind, body: Value) {
        let error = self.does(kind, body.clone()).unwrap_err();
        assert_eq!(error.code(), code, "{kind} {body}: {error}");
    }

    fn valid(&self, name: &str) -> bool {
        matches!(self.ring.standing(key(name).id()), Standing::Valid(_))
    }
}

fn person(name: &str, role: Role) -> Value {
    body::register(key(name).vkey(), KeyRole::Person(role))
}

/// F88. A log names its own root; nobody else opens it, and nobody opens it again.
#[test]
fn a_log_is_opened_by_its_first_leaf_and_only_there() {
    let story = Story::opened();
    assert_eq!(story.ring.root().unwrap().threshold(), 2);
    assert_eq!(story.ring.log_key(), Some(log_key(7).vkey()));
    assert_eq!(story.ring.log_key_at(0), None);
    assert_eq!(story.ring.log_key_at(1), Some(log_key(7).vkey()));
    let opening = || body::opening(&root(&["alice", "dave"], 2), log_key(8).vkey());
    story
        .clone()
        .refuses("RD0575", Kind::KeyRegistered, opening());
    let mut first = Story::new();
    first.refuses("RD0575", Kind::KeyRegistered, person("bob", Role::Reviewer));
    let error = first.does_as(Kind::KeyRegistered, opening(), &["alice"]);
    assert_eq!(error.unwrap_err().code(), "RD0577");
    let named = |name: &str| {
        SigningKey::from_seed(name, &[7; 32])
            .unwrap()
            .vkey()
            .clone()
    };
    let body = body::opening(&root(&["alice", "dave"], 2), &named("other/gen/1"));
    first.refuses("RD0574", Kind::KeyRegistered, body);
    let same = SigningKey::from_seed(&log_origin(ORIGIN, 1), &[b'a'; 32]).unwrap();
    let body = body::opening(&root(&["alice", "dave"], 2), same.vkey());
    first.refuses("RD0572", Kind::KeyRegistered, body);
    // Without position 0 nothing is known, and then nothing is believed.
    let mut late = Story::new();
    late.position = 1;
    late.refuses("RD0575", Kind::KeyRegistered, person("bob", Role::Reviewer));
    let plain = Story::new().next(Kind::RunOpened, json!({}));
    assert_eq!(late.push(&plain).unwrap_err().code(), "RD0575");
}

/// F89. A key counts behind its registration, and up to the record that ends it.
#[test]
fn validity_is_judged_by_position() {
    let mut story = Story::opened();
    story
        .does(Kind::KeyRegistered, person("bob", Role::Reviewer))
        .unwrap();
    story
        .does(Kind::KeyRevoked, body::revoke(key("bob").id()))
        .unwrap();
    let bob = key("bob");
    let at = |position| {
        matches!(
            story.ring.standing_at(bob.id(), position),
            Standing::Valid(_)
        )
    };
    assert_eq!([0, 1, 2, 3].map(at), [false, false, true, false]);
    assert_eq!(story.ring.standing(key("eve").id()), Standing::Unknown);
    let again = || person("bob", Role::Reviewer);
    story.refuses("RD0572", Kind::KeyRegistered, again());
    story.refuses("RD0573", Kind::KeyRevoked, body::revoke(bob.id()));
    story.refuses("RD0573", Kind::KeyRevoked, body::revoke(key("eve").id()));
    story.refuses("RD0574", Kind::KeyRevoked, body::revoke(key("alice").id()));
    story.refuses("RD0574", Kind::KeyRevoked, body::revoke(log_key(7).id()));
    let other = SigningKey::from_seed("robert", &[b'b'; 32]).unwrap();
    let other = body::register(other.vkey(), KeyRole::Engine);
    story.refuses("RD0572", Kind::KeyRegistered, other);
    let log = json!({"vkey": log_key(9).vkey().to_string(), "role": "log"});
    story.refuses("RD0509", Kind::KeyRegistered, log);
}

#[test]
fn a_key_is_replaced_by_one_of_its_holder() {
    let mut story = Story::opened();
    story
        .does(Kind::KeyRegistered, person("bob", Role::Reviewer))
        .unwrap();
    let bob = key("bob");
    let second = SigningKey::from_seed("bob", &[99; 32]).unwrap();
    let eve = body::rotate(bob.id(), key("eve").vkey());
    story.refuses("RD0574", Kind::KeyRotated, eve);
    let body = body::rotate(bob.id(), second.vkey());
    story.does(Kind::KeyRotated, body.clone()).unwrap();
    assert!(!story.valid("bob"));
    let Standing::Valid(found) = story.ring.standing(second.id()) else {
        panic!("the second key counts");
    };
    assert_eq!(found.role(), KeyRole::Person(Role::Reviewer));
    story.refuses("RD0573", Kind::KeyRotated, body);
    let log = body::rotate(log_key(7).id(), log_key(8).vkey());
    story.does(Kind::KeyRotated, log).unwrap();
    let heads = [1, 3, 4, 5].map(|size| story.ring.log_key_at(size).unwrap().id().clone());
    let (old, new) = (log_key(7).id().clone(), log_key(8).id().clone());
    assert_eq!(heads, [old.clone(), old.clone(), new.clone(), new]);
    story.refuses("RD0573", Kind::KeyRevoked, body::revoke(&old));
}

/// F89. Another root is signed by the old threshold and by its own.
#[test]
fn another_root_needs_both_thresholds() {
    let mut story = Story::opened();
    let next = || body::rotate_root(&root(&["alice", "frank"], 2));
    for (names, code) in [
        (&["alice", "dave"][..], "RD0577"),
        (&["alice", "frank"], "RD0577"),
        (&["dave", "frank", "eve"], "RD0547"),
    ] {
        let error = story.does_as(Kind::KeyRotated, next(), names).unwrap_err();
        assert_eq!(error.code(), code, "{names:?}");
    }
    let all = ["alice", "dave", "frank"];
    story.does_as(Kind::KeyRotated, next(), &all).unwrap();
    assert!(story.valid("alice") && story.valid("frank") && !story.valid("dave"));
    assert_eq!(story.ring.roots().len(), 2);
    let bob = || person("bob", Role::Reviewer);
    let error = story.does_as(Kind::KeyRegistered, bob(), &["alice", "dave"]);
    assert_eq!(error.unwrap_err().code(), "RD0570");
    story
        .does_as(Kind::KeyRegistered, bob(), &["alice", "frank"])
        .unwrap();
    let error = story.does_as(
        Kind::PolicySet,
        body::policy(&Hash::ZERO, Map::new()),
        &["alice", "bob"],
    );
    assert_eq!(error.unwrap_err().code(), "RD0571");
    let back = body::rotate_root(&root(&["alice", "dave"], 1));
    let error = story.does_as(Kind::KeyRotated, back, &all);
    assert_eq!(error.unwrap_err().code(), "RD0574");
}

/// The reviewer may know the first root or any later one, but must know one.
#[test]
fn the_roots_are_those_of_the_trust_file_or_nobody_s() {
    let mut story = Story::opened();
    let next = body::rotate_root(&root(&["alice", "frank"], 2));
    story
        .does_as(Kind::KeyRotated, next, &["alice", "dave", "frank"])
        .unwrap();
    let check = |names: &[&str], rule: &str, good: bool| {
        let lines = names
            .iter()
            .map(|name| format!("key sovereign {}\n", key(name).vkey()));
        let trust = Trust::parse(&(lines.collect::<String>() + rule)).unwrap();
        let found = story.ring.check_roots(&trust);
        assert_eq!(found.is_ok(), good, "{names:?} {rule}");
        assert!(found.is_ok() || found.unwrap_err().code() == "RD0578");
    };
    check(&["alice", "dave"], "", true);
    check(&["alice", "frank"], "root 2\n", true);
    check(&["alice", "dave", "carol"], "", true);
    check(&["alice", "dave"], "root 3\n", false);
    check(&["alice"], "", false);
    check(&["alice", "eve"], "", false);
    let only = format!("root 2 {} {}\n", key("alice").id(), key("dave").id());
    check(&["alice", "dave"], &only, true);
    check(
        &["alice", "dave", "frank"],
        &format!("root 1 {}\n", key("frank").id()),
        false,
    );
}

#[test]
fn what_a_stolen_key_signed_is_doubtful_from_the_stated_position_on() {
    let mut story = Story::opened();
    story
        .does(Kind::KeyRegistered, person("bob", Role::Reviewer))
        .unwrap();
    let bob = key("bob").id().clone();
    for position in [2, 5, 9] {
        story
            .ring
            .note_signatures(std::slice::from_ref(&bob), position);
    }
    story.position = 10;
    story.refuses("RD0660", Kind::KeyCompromised, body::compromise(&bob, 11));
    story
        .does(Kind::KeyCompromised, body::compromise(&bob, 5))
        .unwrap();
    assert_eq!(
        Vec::from_iter(story.ring.doubtful().iter().copied()),
        [5, 9]
    );
    assert!(!story.valid("bob"));
    // Known earlier than thought: the same key may be named again.
    story
        .does(Kind::KeyCompromised, body::compromise(&bob, 0))
        .unwrap();
    assert_eq!(story.ring.doubtful().len(), 3);
}

/// F38, F87. An act is about one record and counts once.
#[test]
fn an_act_made_for_anything_else_is_refused_by_its_own_name() {
    let story = Story::opened();
    let body = || person("bob", Role::Reviewer);
    let good = story
        .ring
        .act(Kind::KeyRegistered, body(), story.terms())
        .unwrap();
    let check = |code: &str, act: &Act, edit: fn(&mut Record)| {
        let (alice, dave) = (key("alice"), key("dave"));
        let signed = act.record_body(&act.sign(&[&alice, &dave]).unwrap());
        let mut record = story.next(Kind::KeyRegistered, signed);
        edit(&mut record);
        let found = story.clone().push(&record);
        let found = found.map_or_else(|error| error.code(), |()| "");
        assert_eq!(found, code, "{act:?}");
    };
    check("", &good, |_| ());
    let with = |edit: &dyn Fn(&mut Act)| {
        let mut act = good.clone();
        edit(&mut act);
        act
    };
    check(
        "RD0550",
        &with(&|act| act.act = "key.revoked".into()),
        |_| (),
    );
    check("RD0551", &with(&|act| act.origin = "other".into()), |_| ());
    check("RD0552", &with(&|act| act.generation = 2), |_| ());
    check("RD0556", &with(&|act| act.basis = None), |_| ());
    check(
        "RD0559",
        &with(&|act| act.not_after = "2026-01-01T00:00:00.000000Z".into()),
        |_| (),
    );
    check("RD0662", &with(&|act| act.id = run(500)), |_| ());
    check("RD0576", &good, |record| {
        record.body["role"] = json!("operator")
    });
    check("RD0660", &good, |record| record.body["more"] = json!(1));
    check("RD0636", &good, |record| record.run = run(1));
    check("RD0548", &good, |record| {
        let first = record.body["decision"]["signatures"][0]["sig"].clone();
        record.body["decision"]["signatures"][1]["sig"] = first;
    });
    check("RD0660", &good, |record| {
        record.body.as_object_mut().unwrap().remove("decision");
    });
    // A person's decision is no act, whoever signed it.
    check("RD0544", &good, |record| {
        let envelope = crate::envelope::sign(&decision(), &key("alice")).unwrap();
        record.body["decision"] = envelope.to_value();
    });
}

/// A record that was refused left nothing behind.
#[test]
fn a_refusal_changes_nothing() {
    let mut story = Story::opened();
    let before = format!("{:?}", story.ring);
    let error = story.does_as(
        Kind::KeyRegistered,
        person("bob", Role::Reviewer),
        &["alice"],
    );
    assert_eq!(error.unwrap_err().code(), "RD0577");
    assert_eq!(format!("{:?}", story.ring), before);
    story
        .does(Kind::KeyRegistered, person("bob", Role::Reviewer))
        .unwrap();
}

#[test]
fn what_the_trust_file_says_of_a_key_is_held_against_the_ledger() {
    let check = |lines: String, code: &str| {
        let mut story = Story::new();
        story.ring = Keyring::with_trust(1, Trust::parse(&lines).unwrap());
        let body = body::opening(&root(&["alice", "dave"], 2), log_key(7).vkey());
        let opened = story.does(Kind::KeyRegistered, body);
        let found =
            opened.and_then(|()| story.does(Kind::KeyRegistered, person("bob", Role::Reviewer)));
        assert_eq!(
            found.map_or_else(|error| error.code(), |()| ""),
            code,
            "{lines}"
        );
    };
    check(format!("key sovereign {}\n", key("alice").vkey()), "");
    check(format!("key reviewer {}\n", key("alice").vkey()), "RD0579");
    check(format!("key operator {}\n", key("bob").vkey()), "RD0579");
    check(format!("key sovereign {}\n", log_key(7).vkey()), "RD0579");
    check(format!("log {}\n", key("dave").vkey()), "RD0579");
}

/// The sealer knows the records of the keys before they have a place in the log.
#[test]
fn the_keyring_of_a_database_is_read_before_positions_are_known() {
    let mut story = Story::opened();
    story
        .does(Kind::KeyRegistered, person("bob", Role::Reviewer))
        .unwrap();
    let mut ring = Keyring::new(1);
    let first = body::opening(&root(&["alice", "dave"], 2), log_key(7).vkey());
    let mut plain = Story::new();
    let first = plain.next(
        Kind::KeyRegistered,
        plain.signed(Kind::KeyRegistered, first, &["alice", "dave"]),
    );
    ring.push_unplaced(&first, first.encode().unwrap().hash)
        .unwrap();
    plain.push(&first).unwrap();
    let body = person("bob", Role::Reviewer);
    let second = plain.next(
        Kind::KeyRegistered,
        plain.signed(Kind::KeyRegistered, body, &["alice", "dave"]),
    );
    ring.push_unplaced(&second, second.encode().unwrap().hash)
        .unwrap();
    plain.push(&second).unwrap();
    assert_eq!(ring.basis(), plain.ring.basis());
    // About to be written it is refused: nobody knows that the log will reach so far.
    for (since, sealed, good) in [(3, 0, false), (2, 0, true), (61, 60, false), (60, 60, true)] {
        let body = body::compromise(key("bob").id(), since);
        let signed = plain.signed(Kind::KeyCompromised, body, &["alice", "dave"]);
        let record = plain.next(Kind::KeyCompromised, signed);
        let mut ring = ring.clone();
        let taken = ring.push_next(&record, record.encode().unwrap().hash, sealed);
        assert_eq!(taken.is_ok(), good, "{since} of {sealed}: {taken:?}");
        assert!(good || taken.unwrap_err().code() == "RD0660");
    }
    // One that was written names a place of the log, far behind this run's own places.
    let body = body::compromise(key("bob").id(), 1_000_000);
    let third = plain.next(
        Kind::KeyCompromised,
        plain.signed(Kind::KeyCompromised, body, &["alice", "dave"]),
    );
    ring.push_unplaced(&third, third.encode().unwrap().hash)
        .unwrap();
    assert!(matches!(ring.standing(key("bob").id()), Standing::Ended(_)));
    assert!(ring.doubtful().is_empty());
}

#[test]
fn a_later_generation_restates_its_keys_and_pins_an_older_head() {
    let old = Checkpoint {
        origin: log_origin(ORIGIN, 1),
        size: 5,
        root: crate::hash::leaf_hash(b"x"),
    };
    let pinned = old.sign(&log_key(7)).unwrap();
    let log = SigningKey::from_seed(&log_origin(ORIGIN, 2), &[17; 32]).unwrap();
    let keys = [(key("bob").vkey().clone(), KeyRole::Person(Role::Reviewer))];
    let roots = root(&["alice", "dave"], 2);
    let carried = Carried {
        size: 7,
        sealed: 5,
        root: crate::hash::leaf_hash(b"y"),
    };
    let body = body::generation_opened(2, pinned.note(), &carried, &roots, log.vkey(), &keys);
    let check = |code: &str, edit: fn(&mut Value)| {
        let mut story = Story::new();
        story.ring = Keyring::new(2);
        let mut body = body.clone();
        edit(&mut body);
        let body = story.signed(Kind::GenerationOpened, body, &["alice", "dave"]);
        let mut record = story.next(Kind::GenerationOpened, body);
        record.generation = 2;
        let found = story.push(&record);
        assert_eq!(found.map_or_else(|error| error.code(), |()| ""), code);
        story
    };
    let story = check("", |_| ());
    assert!(story.valid("bob"));
    assert_eq!(story.ring.pinned().map(|head| head.size), Some(5));
    assert_eq!(story.ring.carried(), Some(&carried));
    check("RD0660", |body| body["carried"]["size"] = json!(0));
    check("RD0660", |body| body["carried"]["sealed"] = json!(8));
    check("RD0660", |body| body["carried"]["root"] = json!("x"));
    check("RD0660", |body| body["carried"]["more"] = json!(1));
    check("RD0660", |body| body["carried"] = json!([7, 5]));
    check("RD0660", |body| body["generation"] = json!(3));
    check("RD0660", |body| body["keys"][0]["more"] = json!(3));
    check("RD0639", |body| body["checkpoint"] = json!("x"));
    check("RD0509", |body| body["keys"][0]["role"] = json!("log"));
    check("RD0572", |body| {
        body["keys"] = json!([body["keys"][0], body["keys"][0]])
    });
    check("RD0646", |body| {
        let later = body["checkpoint"]
            .as_str()
            .unwrap()
            .replace("gen/1", "gen/2");
        body["checkpoint"] = json!(later);
    });
}

/// A holder of a root key signs with the key of OpenSSH as with any other.
#[test]
fn an_act_is_signed_by_openssh_too() {
    let mut story = Story::opened();
    let body = person("bob", Role::Reviewer);
    let act = story.ring.act(Kind::KeyRegistered, body, story.terms());
    let act = act.unwrap();
    let mut envelope = act.sign(&[&key("alice")]).unwrap();
    let message = envelope.to_be_signed().unwrap();
    let signature = crate::sshsig::SshSignature::sign(&message, &key("dave")).unwrap();
    let dave = key("dave");
    envelope
        .attach_sshsig(dave.vkey(), &signature.to_armored())
        .unwrap();
    assert_eq!(envelope.peek_act().unwrap(), act);
    let record = story.next(Kind::KeyRegistered, act.record_body(&envelope));
    story.push(&record).unwrap();
    assert!(story.valid("bob"));
}
