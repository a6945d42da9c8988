//! Updates, failures at any point, and the way back.

use super::*;

#[test]
fn an_update_is_made_and_undone_by_hash() {
    let ground = Ground::new();
    ground.usual();
    fs::set_permissions(ground.app().join("lock"), fs::Permissions::from_mode(0o640)).expect("set");
    let before = tree(&ground.app());
    let (prepared, done) = ground.store.update(ground.update("k")).expect("updated");
    assert!(ground.is_updated(), "{:?}", tree(&ground.app()));
    assert_eq!(prepared.files, 3);
    let mode = fs::metadata(ground.app().join("lock"))
        .expect("there")
        .mode();
    assert_eq!(mode & 0o7777, 0o640, "the mode of what was replaced");
    assert!(!ground.app().join(path::STAGE).exists());

    ground
        .store
        .judge_undo(&ground.place(), &done)
        .expect("it may be undone");
    assert_eq!(
        ground.store.undo(&ground.place(), &done).expect("undone"),
        5
    );
    assert_eq!(tree(&ground.app()), before);
    assert!(
        !ground.app().join("deep").exists(),
        "folders that were made are gone"
    );
    // Undone twice is undone once.
    assert_eq!(
        ground.store.undo(&ground.place(), &done).expect("undone"),
        5
    );
    let metrics = ground.store.metrics();
    assert_eq!((metrics.snapshots.done, metrics.restorations.done), (1, 2));
    assert_eq!(metrics.restorations.failed, 0);
}

#[test]
fn a_failure_at_any_change_leaves_the_files_as_they_were_and_nothing_else() {
    let mut fired = 0;
    for at in 0.. {
        let ground = Ground::new();
        ground.usual();
        let before = tree(&ground.app());
        armed::fail_at(at, Errno::NOSPC);
        let done = ground.store.update(ground.update("k"));
        if !armed::disarm() {
            done.expect("nothing was in the way");
            break;
        }
        fired += 1;
        match done {
            // What failed came after everything was done: the clearing.
            Ok(_) => {
                ground.store.look(&ground.place(), "k").expect("cleared");
                assert!(
                    ground.is_updated(),
                    "change {at}: {:?}",
                    tree(&ground.app())
                );
            }
            Err(error) => {
                assert_eq!(error.code(), "RD0970", "change {at}: {error}");
                assert_eq!(tree(&ground.app()), before, "change {at}: {error}");
                assert!(!ground.app().join("deep").exists(), "change {at}");
                // Nothing is left that a second try could stumble over.
                ground
                    .store
                    .update(ground.update("k"))
                    .expect("the second try");
                assert!(ground.is_updated());
            }
        }
        assert!(!ground.app().join(path::STAGE).exists(), "change {at}");
    }
    assert!(fired > 40, "only {fired} changes were tried");
}

#[test]
fn a_failure_names_the_cause_the_outcome_and_the_snapshot() {
    let ground = Ground::new();
    ground.usual();
    let order = ground.update("k");
    let prepared = ground.store.prepare(&order).expect("prepared");
    // Somebody else changes a file between the snapshot and the switch.
    ground.put("lock", "somebody else");
    let error = ground.store.act(order, &prepared).expect_err("refused");
    assert_eq!(
        (error.code(), error.original().code()),
        ("RD0977", "RD0977")
    );
    let text = error.to_string();
    assert!(text.contains(&prepared.snapshot.to_string()), "{text}");
    assert!(text.contains("nothing changed"), "{text}");
    assert_eq!(tree(&ground.app())["lock"], "somebody else");
    assert_eq!(tree(&ground.app())["manifest"], "a = 1\n");
}

#[test]
fn expectations_are_compared_before_anything_is_done() {
    let ground = Ground::new();
    ground.usual();
    let expecting = |path_: &str, sha256| {
        let mut order = ground.update("k");
        order.expect.push(Expected {
            path: path(path_),
            sha256,
        });
        ground.store.prepare(&order)
    };
    expecting("manifest", Some(Hash::of(b"a = 1\n"))).expect("as expected");
    expecting("nothing", None).expect("as expected");
    for (path, sha256) in [("manifest", Some(Hash::of(b""))), ("manifest", None)] {
        let error = expecting(path, sha256).expect_err("not as expected");
        assert_eq!(error.code(), "RD0977");
    }
    let error = expecting("nothing", Some(Hash::of(b""))).expect_err("absent");
    assert!(error.to_string().contains("absent"), "{error}");
}

#[test]
fn what_somebody_changed_since_is_not_overwritten_by_the_way_back() {
    let ground = Ground::new();
    ground.usual();
    let (_, done) = ground.store.update(ground.update("k")).expect("updated");
    ground.put("lock", "somebody else");
    let error = ground
        .store
        .judge_undo(&ground.place(), &done)
        .expect_err("refused");
    assert_eq!(error.code(), "RD0977");
    let error = ground
        .store
        .undo(&ground.place(), &done)
        .expect_err("refused");
    assert_eq!(error.code(), "RD0977");
    assert_eq!(tree(&ground.app())["lock"], "somebody else");
    assert_eq!(
        tree(&ground.app())["manifest"],
        "a = 2\n",
        "nothing was changed"
    );
}

#[test]
fn a_directory_that_is_deleted_is_made_anew_from_the_snapshot() {
    let ground = Ground::new();
    ground.usual();
    ground.put("untouched/file", "x");
    let before = tree(&ground.app());
    let order = ground.update("k");
    let prepared = ground.store.prepare(&order).expect("prepared");
    fs::remove_dir_all(ground.app()).expect("deleted");
    let error = ground.store.act(order, &prepared).expect_err("gone");
    assert_eq!(error.code(), "RD0973", "{error}");
    assert!(
        matches!(error, FilesetError::Restored { files: 4, .. }),
        "{error}"
    );
    assert_eq!(tree(&ground.app()), before);

    let (_, done) = ground
        .store
        .update(ground.update("again"))
        .expect("updated");
    fs::remove_dir_all(ground.app()).expect("deleted");
    assert_eq!(
        ground.store.undo(&ground.place(), &done).expect("undone"),
        4
    );
    assert_eq!(tree(&ground.app()), before);
}

#[test]
fn an_act_is_done_once_and_one_that_was_undone_or_is_late_never() {
    let ground = Ground::new();
    ground.usual();
    let before = tree(&ground.app());
    let order = ground.update("k");
    let prepared = ground.store.prepare(&order).expect("prepared");
    let look = || ground.store.look(&ground.place(), "k").expect("looked");
    assert_eq!(look(), Seen::NotDone);
    let done = ground.store.act(order, &prepared).expect("done");
    assert_eq!(look(), Seen::Done(Box::new(done.clone())));
    let again = ground
        .store
        .act(ground.update("k"), &prepared)
        .expect("known");
    assert_eq!(again, done);

    ground.store.undo(&ground.place(), &done).expect("undone");
    let seen = ground
        .store
        .look(&ground.place(), "k.undo")
        .expect("looked");
    assert!(matches!(seen, Seen::Done(_)));
    let error = ground
        .store
        .act(ground.update("k"), &prepared)
        .expect_err("undone");
    assert_eq!(error.code(), "RD0984");
    let mut late = ground.update("late");
    late.deadline = Some(std::time::Instant::now());
    let error = ground.store.update(late).expect_err("too late");
    assert_eq!(error.code(), "RD0984");
    assert_eq!(tree(&ground.app()), before);

    // Done in a directory that is another one now: nobody can tell.
    let order = ground.order("x", vec![write("manifest", "x")]);
    ground.store.update(order).expect("done");
    fs::rename(ground.app(), ground.temp.path().join("root/moved")).expect("moved");
    fs::create_dir(ground.app()).expect("made");
    let seen = ground.store.look(&ground.place(), "x").expect("looked");
    assert!(matches!(seen, Seen::Unknown(_)), "{seen:?}");
}

#[test]
fn two_updates_of_one_directory_do_not_overlap_and_the_holder_is_named() {
    let ground = Ground::new();
    ground.usual();
    let locked = ground.store.lock(&ground.place(), "run 7").expect("locked");
    let error = ground.store.update(ground.update("k")).expect_err("locked");
    assert_eq!(error.code(), "RD0976");
    let named = format!("process {} ", std::process::id());
    assert!(
        error.to_string().contains(&named) && error.to_string().contains("run 7"),
        "{error}"
    );
    let seen = ground.store.look(&ground.place(), "k").expect("looked");
    assert!(matches!(seen, Seen::Unknown(_)), "{seen:?}");
    drop(locked);
    ground.store.update(ground.update("k")).expect("updated");
}

#[test]
fn what_a_dead_process_prepared_is_cleared_away() {
    let ground = Ground::new();
    ground.usual();
    let locked = ground.store.lock(&ground.place(), "test").expect("locked");
    begin(locked.dir()).expect("begun");
    fs::write(ground.app().join(".redress-switch/0.new"), "half").expect("written");
    assert!(matches!(unfinished(locked.dir()), Ok(Some(None))));
    let recovered = recover(&ground.store, locked.dir()).expect("recovered");
    assert_eq!(recovered, Some(Recovered::Cleared));
    assert!(!ground.app().join(path::STAGE).exists());
    // One that cannot be read is nobody's to clear.
    begin(locked.dir()).expect("begun");
    fs::write(ground.app().join(".redress-switch/forward"), "{}").expect("written");
    let error = recover(&ground.store, locked.dir()).expect_err("unreadable");
    assert_eq!(error.code(), "RD0980");
    fs::write(
        ground.app().join(".redress-switch/forward"),
        r#"{"key":"k","run":null,"snapshot":"0000000000000000000000000000000000000000000000000000000000000000",
            "made":[],"dropped":[],"changes":[{"path":"../../outside","before":null,"after":null}]}"#,
    )
    .expect("written");
    let error = recover(&ground.store, locked.dir()).expect_err("forged");
    assert_eq!(error.code(), "RD0980");
    assert!(error.to_string().contains("lead elsewhere"), "{error}");
}

#[test]
fn a_content_is_checked_against_the_hash_that_was_given_with_it() {
    let ground = Ground::new();
    ground.usual();
    let before = tree(&ground.app());
    let mut edit = write("lock", "not what was announced");
    edit.sha256 = Some(Hash::of(b"announced"));
    let order = ground.order("k", vec![write("manifest", "x"), edit]);
    let error = ground.store.update(order).expect_err("refused");
    assert_eq!(error.code(), "RD0977", "{error}");
    assert_eq!(tree(&ground.app()), before);
}

#[test]
fn what_is_too_much_or_contradicts_itself_is_refused() {
    let ground = Ground::new();
    ground.usual();
    let code = |edits: Vec<Edit>| {
        let error = ground
            .store
            .update(ground.order("k", edits))
            .expect_err("refused");
        error.code()
    };
    let many = (0..=TARGETS_MAX)
        .map(|n| write(&format!("f{n}"), ""))
        .collect();
    assert_eq!(code(many), "RD0975");
    assert_eq!(code(vec![write("a", "1"), write("a", "2")]), "RD0974");
    assert_eq!(code(vec![write("a", "1"), write("a/b", "2")]), "RD0974");
    assert_eq!(code(vec![delete("not there")]), "RD0977");
    let mut order = ground.order("k", vec![write("vendor/x", "1")]);
    order.exclude.push(path("vendor"));
    let error = ground.store.update(order).expect_err("refused");
    assert_eq!(error.code(), "RD0974");
}
