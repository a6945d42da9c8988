//! Snapshots: damage, retention, round trips.

use super::*;

#[test]
fn a_snapshot_that_was_deleted_or_corrupted_is_told_apart_and_nothing_is_changed() {
    let ground = Ground::new();
    ground.usual();
    let (prepared, done) = ground.store.update(ground.update("k")).expect("updated");
    let place = ground.place();
    let list = ground.store.list_path(&prepared.snapshot);
    let hash = Hash::of(b"a = 1\n").to_string();
    let content = ground
        .temp
        .path()
        .join(format!("store/objects/{}/{hash}.gz", &hash[..2]));
    for file in [list, content] {
        let whole = fs::read(&file).expect("read");
        let mut changed = whole.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        fs::write(&file, changed).expect("written");
        for (code, wrong) in [("RD0979", 1), ("RD0978", 1)] {
            let error = ground.store.undo(&place, &done).expect_err("refused");
            assert_eq!(error.code(), code, "{error}");
            let error = ground.store.judge_undo(&place, &done).expect_err("refused");
            assert_eq!(error.code(), code, "{error}");
            assert!(ground.is_updated());
            let verified = ground.store.verify().expect("verified");
            // A list that is gone is no snapshot any more; a content that is gone is a broken one.
            let expected = if file.ends_with("x") { 0 } else { wrong };
            let gone_list = !file.exists() && file.to_string_lossy().contains("/snapshots/");
            assert_eq!(
                verified.len(),
                if gone_list { 0 } else { expected },
                "{verified:?}"
            );
            if code == "RD0979" {
                fs::remove_file(&file).expect("removed");
            }
        }
        fs::write(&file, whole).expect("written");
    }
    assert_eq!(ground.store.verify().expect("verified").len(), 0);
    ground.store.undo(&place, &done).expect("undone");
}

#[test]
fn a_content_of_the_store_that_was_corrupted_is_taken_in_anew() {
    let ground = Ground::new();
    ground.usual();
    ground
        .store
        .prepare(&ground.update("one"))
        .expect("prepared");
    let hash = Hash::of(b"a = 1\n").to_string();
    let content = ground
        .temp
        .path()
        .join(format!("store/objects/{}/{hash}.gz", &hash[..2]));
    fs::write(&content, "nonsense").expect("written");
    let (_, done) = ground.store.update(ground.update("two")).expect("updated");
    assert_eq!(ground.store.verify().expect("verified").len(), 0);
    ground.store.undo(&ground.place(), &done).expect("undone");
}

#[test]
fn snapshots_are_incremental_and_the_policy_collects_what_no_run_needs() {
    let ground = Ground::new();
    ground.usual();
    let take = |run: Option<Uuid>, key: &str| {
        let locked = ground.store.lock(&ground.place(), "test").expect("locked");
        let owner = Owner {
            run,
            key: key.to_owned(),
        };
        ground.store.take(&locked, owner, &[]).expect("taken")
    };
    let first = take(Some(Uuid::nil()), "first");
    ground.put("lock", "changed");
    let second = take(None, "second");
    assert!(second.bytes_added < first.bytes_added);
    ground.put("lock", "changed again");
    let third = take(None, "third");
    let usage = ground.store.usage().expect("usage");
    assert_eq!((usage.snapshots, usage.objects), (3, 5));
    let listed = ground.store.list(None).expect("listed");
    let ids: Vec<_> = listed.iter().map(|one| one.id).collect();
    assert_eq!(ids, [first.id, second.id, third.id]);
    assert_eq!(listed[1].bytes, 6 + 7 + 12);
    assert!(listed[1].bytes_alone > 0 && listed[1].bytes_alone < 100);
    assert_eq!(ground.store.list(Some("elsewhere")).expect("listed"), []);

    let policy = Retention {
        keep_last: 1,
        keep_newer_than: Duration::ZERO,
    };
    let collected = ground.store.collect(&policy, &|_| true).expect("collected");
    assert_eq!(collected.snapshots, [second.id]);
    assert_eq!(collected.needed, [first.id], "an open run needs it");
    assert_eq!(collected.objects, 1);
    assert_eq!(ground.store.verify().expect("verified").len(), 0);
    let young = Retention {
        keep_last: 0,
        keep_newer_than: Duration::from_secs(60),
    };
    let collected = ground.store.collect(&young, &|_| false).expect("collected");
    assert_eq!(collected, Collected::default(), "all are young");
    let collected = ground
        .store
        .collect(&policy, &|_| false)
        .expect("collected");
    assert_eq!(collected.snapshots, [first.id]);
    assert_eq!(ground.store.usage().expect("usage").objects, 3);
    // A list that nobody can read: nobody knows what it needs.
    fs::write(ground.store.list_path(&third.id), "nonsense").expect("written");
    let none = Retention {
        keep_last: 0,
        keep_newer_than: Duration::ZERO,
    };
    let error = ground
        .store
        .collect(&none, &|_| false)
        .expect_err("unreadable");
    assert_eq!(error.code(), "RD0979");
    assert_eq!(ground.store.usage().expect("usage").objects, 3);
}

type Tree = BTreeMap<Vec<u8>, (Vec<u8>, u32)>;

fn trees() -> impl Strategy<Value = Tree> {
    // Folders end in `d`, files in `f`, so that no name is both.
    let name = proptest::collection::vec(
        any::<u8>().prop_filter("a name", |byte| *byte != 0 && *byte != b'/'),
        1..6,
    );
    let path = proptest::collection::vec(name, 1..4).prop_map(|names| {
        let last = names.len() - 1;
        let named = names.into_iter().enumerate().map(|(at, mut name)| {
            name.push(if at == last { b'f' } else { b'd' });
            name
        });
        named.collect::<Vec<_>>().join(&b'/')
    });
    let content = proptest::collection::vec(any::<u8>(), 0..300);
    let file = (
        content,
        prop_oneof![Just(0o644_u32), Just(0o600), Just(0o755)],
    );
    proptest::collection::btree_map(path, file, 0..12)
}

fn lay(folder: &Path, tree: &Tree) {
    for (name, (content, mode)) in tree {
        let path = folder.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().expect("below")).expect("made");
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).expect("set");
    }
}

fn read(folder: &Path) -> Tree {
    fn walk(at: &Path, below: &Path, tree: &mut Tree) {
        for entry in fs::read_dir(at).expect("listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, below, tree);
                continue;
            }
            let name = path.strip_prefix(below).expect("below").as_os_str();
            let mode = fs::metadata(&path).expect("there").mode() & 0o7777;
            let content = fs::read(&path).expect("read");
            tree.insert(name.as_bytes().to_owned(), (content, mode));
        }
    }
    let mut tree = Tree::new();
    walk(folder, folder, &mut tree);
    tree
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_directory_comes_back_from_its_snapshot_whatever_became_of_it(one in trees(), two in trees()) {
        let ground = Ground::new();
        lay(&ground.app(), &one);
        let snapshot = {
            let locked = ground.store.lock(&ground.place(), "test").expect("locked");
            ground.store.take(&locked, owner("first"), &[]).expect("taken")
        };
        fs::remove_dir_all(ground.app()).expect("removed");
        fs::create_dir(ground.app()).expect("made");
        lay(&ground.app(), &two);
        let now = read(&ground.app());
        let (before, _) = ground.store.restore(&ground.place(), &snapshot.id, owner("back")).expect("restored");
        prop_assert_eq!(read(&ground.app()), one);
        // And forward again, from the snapshot that the restoration took.
        ground.store.restore(&ground.place(), &before, owner("forth")).expect("restored");
        prop_assert_eq!(read(&ground.app()), now);
        prop_assert_eq!(ground.store.verify().expect("verified").len(), 0);
        prop_assert!(!ground.app().join(path::STAGE).exists());
    }
}

/// What became of an act is forgotten with its snapshot, and not before.
#[test]
fn the_note_of_an_act_goes_with_its_snapshot() {
    let ground = Ground::new();
    ground.usual();
    let order = ground.update("act");
    ground.store.update(order).expect("updated");
    let noted = || ground.store.noted("act").expect("read").is_some();
    let policy = Retention {
        keep_last: 0,
        keep_newer_than: Duration::ZERO,
    };
    let collect = |needed: bool| {
        let collected = ground.store.collect(&policy, &|_| needed);
        let collected = collected.expect("collected");
        (collected.snapshots.len(), collected.acts, noted())
    };
    assert_eq!(collect(true), (0, 0, true));
    // Somebody else took the snapshot away: of an open run the note says that it was done.
    let id = ground.store.ids().expect("listed")[0];
    let list = ground.store.list_path(&id);
    let kept = fs::read(&list).expect("read");
    fs::remove_file(&list).expect("removed");
    assert_eq!(collect(true), (0, 0, true));
    fs::write(&list, kept).expect("written");
    assert_eq!(collect(false), (1, 1, false));
}
