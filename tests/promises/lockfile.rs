//! Manifest, lock and artefact files as one unit: systems.md 5, one test for each of its points.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use redress::definition::Definition;
use redress::ledger::Hash;
use redress::ledger::state::State;
use redress::{Engine, Outcome, RunRow};
use redress_adapters::fileset::{Owner, Retention, Seen, Store};
use redress_tests::fileset::{adapter, files, lay, place, tree, update};
use redress_tests::worker::{self, LEASE};
use redress_tests::{Lab, Running};
use serde_json::{Value, json};

use crate::common::{MARKS, code, mark, merge, saga, sound};
use crate::crash::died;

/// An account that is nobody's.
const NOBODY: u32 = 65_534;

struct Yard {
    lab: Lab,
    engine: Engine,
    store: Store,
}

impl Yard {
    async fn new() -> Self {
        let lab = Lab::new().await;
        lab.sql(MARKS);
        let ground = lab.state_dir().join("files");
        let files = adapter(&ground);
        let builder = lab.builder(lab.url()).external(files).lease(LEASE);
        let engine = builder.build().await.expect("an engine");
        let store = Store::open(ground.join("store")).expect("a store");
        Self { lab, engine, store }
    }

    fn ground(&self) -> PathBuf {
        self.lab.state_dir().join("files")
    }

    fn project(&self, name: &str) -> PathBuf {
        self.ground().join("projects").join(name)
    }

    async fn run(&self, saga: &Definition, version: &str) -> Outcome {
        self.engine.register(saga).await.expect("registered");
        let start = self.engine.start(saga.saga.as_str(), input(version));
        self.engine.start_and_drive(start).await.expect("driven").1
    }

    /// Runs one phase over one project that must not complete; gives the run.
    async fn fails(&self, name: &str, project: &str, with: Value) -> RunRow {
        let outcome = self.run(&one(name, project, with), "2").await;
        let row = outcome.run().clone();
        assert_ne!(row.state, State::Completed, "{name}");
        row
    }

    fn tree(&self, project: &str) -> std::collections::BTreeMap<String, String> {
        tree(&self.ground(), project)
    }

    fn is(&self, project: &str, version: &str) {
        assert_eq!(self.tree(project), files(version), "{project}");
    }
}

/// The whole project in the input.
fn input(version: &str) -> Value {
    let list = files(version).into_iter();
    let list: Vec<_> = list
        .map(|(path, content)| json!({"path": path, "content": content}))
        .collect();
    json!({"files": list})
}

/// A phase that writes the input's files into a project.
fn set(name: &str, project: &str, with: Value) -> Value {
    let mut given = json!({"root": "projects", "directory": project, "write_from": "/input/files"});
    merge(&mut given, with);
    json!({
        "name": name, "adapter": "fileset", "compensation": "restore",
        "retry": {"attempts": 2, "backoff": "10ms", "max": "20ms"}, "timeout": "20s", "with": given,
    })
}

fn saga_of(name: &str, phases: Vec<Value>) -> Definition {
    let authority = json!({"authority": {"soft_revert": "auto", "restore": "auto"}});
    saga(name, phases, authority)
}

fn one(name: &str, project: &str, with: Value) -> Definition {
    saga_of(name, vec![set("update", project, with)])
}

/// A phase that the database refuses.
fn refusal(name: &str) -> Value {
    let wrong = json!([{"sql": "insert into shop.mark (run, phase, state) values ($1, 'x', 'lost')", "params": ["/run/id"]}]);
    let with = json!({"with": {"apply": wrong, "guard": [], "revert": []}, "compensation": "none"});
    mark(name, with)
}

fn text(row: &RunRow) -> &str {
    row.error.as_ref().map_or("", |(_, text)| text)
}

/// systems.md 5, 1: snapshot before any change; no snapshot means no update.
#[tokio::test(flavor = "multi_thread")]
async fn lockfile_1_no_snapshot_means_no_update() {
    let yard = Yard::new().await;
    lay(&yard.ground(), "web", "1");
    let outcome = yard.run(&one("good", "web", json!({})), "2").await;
    assert_eq!(outcome.run().state, State::Completed, "{outcome:?}");
    yard.is("web", "2");
    let listed = yard.store.list(None).expect("listed");
    assert_eq!((listed.len(), listed[0].files), (1, 3));
    assert_eq!(listed[0].owner.run, Some(outcome.run().id));

    // A store that takes nothing: the same update is refused before it begins.
    lay(&yard.ground(), "web", "3");
    let snapshots = yard.ground().join("store/snapshots");
    fs::rename(&snapshots, yard.ground().join("aside")).expect("moved");
    fs::write(&snapshots, "no folder").expect("written");
    let row = yard.fails("blocked", "web", json!({})).await;
    assert_eq!(row.state, State::Compensated, "{row:?}");
    assert_eq!(code(&row), "RD0974", "{}", text(&row));
    yard.is("web", "3");
    let intents = yard.lab.kinds(&row);
    assert!(
        !intents.contains(&"phase.intended".to_owned()),
        "{intents:?}"
    );
    sound(&yard.engine).await;
}

/// systems.md 5, 2: all files as one switch; a crash at any point is finished or undone at recovery.
#[tokio::test(flavor = "multi_thread")]
async fn lockfile_2_a_kill_before_any_change_on_disk_is_finished_or_undone() {
    let temp = tempfile::tempdir().expect("a folder");
    let ground = temp.path();
    adapter(ground);
    let store = Store::open(ground.join("store")).expect("a store");
    let mut finished = 0;
    let mut undone = 0;
    for at in 1.. {
        let (project, key) = (format!("p{at}"), format!("k{at}"));
        lay(ground, &project, "1");
        let mut command = Command::new(env!("CARGO_BIN_EXE_redress-test-worker"));
        command
            .args(["files"])
            .arg(ground)
            .args([&project, &key, "2"])
            .env("REDRESS_CRASH", format!("fileset:{at}"));
        let mut child = Running::start(&mut command);
        let killed = died(&mut child, &format!("change {at}"));
        let seen = store.look(&place(ground, &project), &key).expect("looked");
        let (version, count) = match seen {
            Seen::Done(_) => ("2", &mut finished),
            Seen::NotDone => ("1", &mut undone),
            Seen::Unknown(why) => panic!("change {at}: {why}"),
        };
        *count += 1;
        assert_eq!(tree(ground, &project), files(version), "change {at}");
        if !killed {
            assert_eq!(child.stdout(), "done\n");
            break;
        }
        // Whatever was left, the next update is not disturbed by it.
        assert_eq!(
            update(ground, &project, &format!("{key} next"), "3"),
            "done",
            "change {at}"
        );
        assert_eq!(tree(ground, &project), files("3"), "change {at}");
    }
    assert!(
        finished > 5 && undone > 20,
        "{finished} finished, {undone} undone"
    );
    assert!(store.verify().expect("verified").is_empty());
}

/// systems.md 5, 2: the same through the engine: the run goes on where the dead worker left it.
#[tokio::test(flavor = "multi_thread")]
async fn lockfile_2_a_run_whose_worker_was_killed_in_a_switch_ends_as_one() {
    let yard = Yard::new().await;
    let long = std::env::var_os("REDRESS_LONG").is_some();
    let points: Vec<u64> = (1..90).step_by(if long { 1 } else { 11 }).collect();
    let mut deaths = 0;
    for at in points {
        let project = format!("p{at}");
        lay(&yard.ground(), &project, "1");
        let list = [set("update", &project, json!({})), refusal("refuse")];
        let fails = at % 2 == 0;
        let phases = list[..if fails { 2 } else { 1 }].to_vec();
        let saga = saga_of(&format!("killed-{at}"), phases);
        yard.engine.register(&saga).await.expect("registered");
        let start = yard.engine.start(saga.saga.as_str(), input("2"));
        let run = start.open().await.expect("opened").run;
        for crash in [Some(at), None] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_redress-test-worker"));
            command
                .args(["work", "until-idle"])
                .env(worker::URL, yard.lab.url())
                .env(worker::STATE, yard.lab.state_dir())
                .env(worker::LEASE_MS, LEASE.as_millis().to_string())
                .env_remove("REDRESS_CRASH");
            if let Some(at) = crash {
                command.env("REDRESS_CRASH", format!("fileset:{at}"));
            }
            let killed = died(&mut Running::start(&mut command), &format!("change {at}"));
            deaths += usize::from(killed);
        }
        let state = yard
            .lab
            .sql(&format!("select state from redress.run where id = '{run}'"));
        let (ended, version) = if fails {
            ("compensated", "1")
        } else {
            ("completed", "2")
        };
        assert_eq!(state, ended, "change {at}");
        yard.is(&project, version);
    }
    assert!(deaths > 3, "only {deaths} deaths");
    sound(&yard.engine).await;
}

/// systems.md 5, 3: the original error is what the caller sees, with the restore's outcome and the snapshot's id.
#[tokio::test(flavor = "multi_thread")]
async fn lockfile_3_a_failed_switch_is_restored_by_hash_and_the_first_error_is_seen() {
    let temp = tempfile::tempdir().expect("a folder");
    let ground = temp.path();
    adapter(ground);
    let store = Store::open(ground.join("store")).expect("a store");
    let mut restored = 0;
    for at in 1.. {
        let (project, key) = (format!("p{at}"), format!("k{at}"));
        lay(ground, &project, "1");
        let mut command = Command::new(env!("CARGO_BIN_EXE_redress-test-worker"));
        command
            .args(["files"])
            .arg(ground)
            .args([&project, &key, "2"])
            .env("REDRESS_FAULT", format!("fileset:{at}:5"));
        let mut child = Running::start(&mut command);
        assert!(!died(&mut child, "no kill was ordered"));
        let said = child.stdout();
        if said.starts_with("done") {
            let seen = store.look(&place(ground, &project), &key).expect("looked");
            assert!(matches!(seen, Seen::Done(_)), "change {at}");
            assert_eq!(tree(ground, &project), files("2"), "change {at}");
            if !child.stderr().contains("its folder is left") {
                break;
            }
            continue;
        }
        assert!(said.starts_with("RD0981 "), "the first error: {said}");
        assert_eq!(tree(ground, &project), files("1"), "change {at}: {said}");
        if said.contains("nothing changed: 3 files verified by hash; snapshot ") {
            let id = said.trim().rsplit(' ').next().unwrap_or_default();
            let id: Hash = id.parse().expect("the snapshot's id is last");
            assert_eq!(store.manifest(&id).expect("it is there").size().0, 3);
            restored += 1;
        }
    }
    assert!(restored > 5, "only {restored} switches were taken back");
}

/// systems.md 5, 3, through the engine: a later failure restores the files, and the run says why it failed.
#[tokio::test(flavor = "multi_thread")]
async fn lockfile_3_a_later_failure_restores_the_files() {
    let yard = Yard::new().await;
    lay(&yard.ground(), "web", "1");
    let list = vec![
        set("update", "web", json!({"delete": ["old"]})),
        refusal("refuse"),
    ];
    fs::write(yard.project("web").join("old"), "to be deleted").expect("written");
    let before = yard.tree("web");
    let outcome = yard.run(&saga_of("later", list), "2").await;
    let Outcome::Compensated(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(yard.tree("web"), before);
    assert!(
        text(&row).contains("mark_state"),
        "the original error: {}",
        text(&row)
    );
    let touched = crate::common::body(&yard.lab, row.id, "compensation.committed");
    assert_eq!(touched["touched"]["files"], 4, "{touched}");
    let snapshot = touched["touched"]["snapshot"].as_str().expect("named");
    assert!(
        yard.store
            .manifest(&snapshot.parse().expect("an id"))
            .is_ok()
    );
    sound(&yard.engine).await;
}

/// systems.md 5, 4: fail, restore, retry, succeed; and updates at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn lockfile_4_manifest_and_lock_never_diverge() {
    let yard = Yard::new().await;
    lay(&yard.ground(), "web", "1");
    let hash = |version: &str| Hash::of(files(version)["app.toml"].as_bytes()).to_string();
    let expecting =
        |version: &str| json!({"expect": [{"path": "app.toml", "sha256": hash(version)}]});
    // Sequential: fail, restore, retry, succeed.
    let failing = saga_of(
        "first",
        vec![set("update", "web", json!({})), refusal("refuse")],
    );
    for _ in 0..2 {
        let outcome = yard.run(&failing, "2").await;
        assert_eq!(outcome.run().state, State::Compensated);
        yard.is("web", "1");
    }
    let row = yard.fails("unexpected", "web", expecting("7")).await;
    assert_eq!(code(&row), "RD0977");
    let outcome = yard.run(&one("retry", "web", expecting("1")), "2").await;
    assert_eq!(outcome.run().state, State::Completed, "{outcome:?}");
    yard.is("web", "2");

    // At the same time: each expects what stands there now, so one of them wins and the others change nothing.
    let race = one("race", "web", expecting("2"));
    yard.engine.register(&race).await.expect("registered");
    let racing = (3..9).map(|n| {
        let start = yard.engine.start("race", input(&n.to_string()));
        yard.engine.start_and_drive(start)
    });
    let ended = futures_util::future::join_all(racing).await;
    let states: Vec<_> = ended
        .iter()
        .map(|end| end.as_ref().expect("driven").1.run().clone())
        .collect();
    let won = states.iter().position(|row| row.state == State::Completed);
    let won = won.expect("one wins");
    let lost = states.iter().filter(|row| row.state == State::Compensated);
    assert_eq!(lost.count(), 5, "{states:?}");
    yard.is("web", &(3 + won).to_string());
    sound(&yard.engine).await;
}

/// systems.md 5, 4: what somebody else did to directory or snapshot; each its own clear error.
#[tokio::test(flavor = "multi_thread")]
async fn lockfile_4_each_damage_has_its_own_error() {
    let yard = Yard::new().await;
    let row = yard.fails("absent", "nowhere", json!({})).await;
    assert_eq!(code(&row), "RD0973", "{}", text(&row));

    // Deleted between the update and its way back: made anew, whole.
    lay(&yard.ground(), "gone", "1");
    fs::write(yard.project("gone").join("untouched"), "x").expect("written");
    let before = yard.tree("gone");
    let done = yard.run(&one("gone", "gone", json!({})), "2").await;
    fs::remove_dir_all(yard.project("gone")).expect("deleted");
    assert_eq!(take_back(&yard, done.run()).await, "compensated");
    assert_eq!(yard.tree("gone"), before);

    // A snapshot that was deleted, and one that was corrupted: the files stay as they are, and a person must look.
    for (name, code_, damage) in [
        ("deleted", "RD0978", remove as fn(&Path)),
        ("corrupted", "RD0979", corrupt),
    ] {
        lay(&yard.ground(), name, name);
        let done = yard.run(&one(name, name, json!({})), "2").await;
        let listed = yard.store.list(None).expect("listed");
        let last = listed.last().expect("a snapshot").id;
        let list = yard
            .ground()
            .join(format!("store/snapshots/{last}.json.gz"));
        damage(&list);
        let said = take_back(&yard, done.run()).await;
        assert!(
            said.contains(&last.to_string()) && said.contains(name),
            "{said}"
        );
        let shown = yard.engine.show(done.run().id).await.expect("shown");
        let error = shown.error.expect("it says why");
        assert_eq!(error.code, code_, "{name}: {}", error.message);
        yard.is(name, "2");
        fs::remove_file(list).ok();
    }

    // A file that somebody changed since is not overwritten.
    lay(&yard.ground(), "touched", "1");
    let done = yard.run(&one("touched", "touched", json!({})), "2").await;
    fs::write(yard.project("touched").join("app.lock"), "mine").expect("written");
    let said = take_back(&yard, done.run()).await;
    assert!(
        said.starts_with("RD0421") && said.contains("RD0977"),
        "{said}"
    );
    assert_eq!(yard.tree("touched")["app.lock"], "mine");
    assert_eq!(yard.tree("touched")["app.toml"], files("2")["app.toml"]);
    sound(&yard.engine).await;
}

fn remove(path: &Path) {
    fs::remove_file(path).expect("removed");
}

fn corrupt(path: &Path) {
    fs::write(path, "not what was written").expect("written");
}

/// Plans and applies the way back of a completed run; gives its state, or the error.
async fn take_back(yard: &Yard, run: &RunRow) -> String {
    assert_eq!(run.state, State::Completed, "{run:?}");
    let planned = yard.engine.plan(run.id, Default::default(), "take it back");
    let stored = planned.await.expect("planned");
    match yard.engine.apply(&stored).await {
        Ok(outcome) => outcome.run().state.as_str().to_owned(),
        Err(error) => format!("{} {error}", error.code()),
    }
}

/// systems.md 5, 4: a full disk, for the files and for the snapshots.
#[test]
fn lockfile_4_a_full_disk_changes_nothing() {
    let temp = tempfile::tempdir().expect("a folder");
    for full in ["projects", "store"] {
        let ground = temp.path().join(full);
        adapter(&ground);
        let Some(_mounted) = Mounted::tmpfs(&ground.join(full), "256k") else {
            return;
        };
        adapter(&ground);
        lay(&ground, "web", "1");
        let fill = ground.join(full).join("filler");
        let mut filler = fs::File::create(&fill).expect("a file");
        while filler.write_all(&[7; 4096]).is_ok() {}
        drop(filler);
        let said = update(&ground, "web", "k", "2");
        assert!(said.starts_with("RD0970 "), "{full}: {said}");
        assert_eq!(tree(&ground, "web"), files("1"), "{full}");
        fs::remove_file(fill).expect("room again");
        assert_eq!(update(&ground, "web", "k", "2"), "done", "{full}");
        assert_eq!(tree(&ground, "web"), files("2"), "{full}");
    }
}

/// systems.md 5, 4: a file system and a directory that take no changes, and files that may not be read or kept.
#[test]
fn lockfile_4_read_only_and_permission_errors_change_nothing() {
    let temp = tempfile::tempdir().expect("a folder");
    let ground = temp.path().join("ground");
    let open = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    };
    adapter(&ground);
    open(temp.path(), 0o755);
    let program = temp.path().join("worker");
    fs::copy(env!("CARGO_BIN_EXE_redress-test-worker"), &program).expect("copied");
    if rustix::process::geteuid().is_root() {
        let chowned = Command::new("chown")
            .args(["-R", "65534:65534"])
            .arg(&ground)
            .status();
        assert!(chowned.expect("chown runs").success());
    }
    let as_nobody = |project: &str| {
        let mut command = Command::new(&program);
        command
            .arg("files")
            .arg(&ground)
            .args([project, project, "2"]);
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().expect("the worker runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let own = |project: &str| {
        lay(&ground, project, "1");
        let folder = ground.join("projects").join(project);
        if rustix::process::geteuid().is_root() {
            let chowned = Command::new("chown")
                .args(["-R", "65534:65534"])
                .arg(&folder)
                .status();
            assert!(chowned.expect("chown runs").success());
        }
        folder
    };
    let folder = own("plain");
    assert_eq!(as_nobody("plain"), "done\n", "{}", folder.display());

    // A directory without the right to write, above and below.
    for (project, below) in [("top", ""), ("below", "vendor")] {
        let folder = own(project).join(below);
        open(&folder, 0o555);
        let said = as_nobody(project);
        assert!(said.starts_with("RD0971 "), "{project}: {said}");
        open(&folder, 0o755);
        assert_eq!(tree(&ground, project), files("1"), "{project}");
        assert_eq!(as_nobody(project), "done\n", "{project}");
    }
    // A file that may not be read cannot be in a snapshot.
    let folder = own("unread");
    open(&folder.join("app.lock"), 0o000);
    let said = as_nobody("unread");
    assert!(said.starts_with("RD0972 "), "{said}");
    open(&folder.join("app.lock"), 0o644);
    assert_eq!(tree(&ground, "unread"), files("1"));

    if rustix::process::geteuid().is_root() {
        // Another owner's file would change hands by being replaced.
        let folder = own("foreign");
        std::os::unix::fs::chown(folder.join("app.lock"), Some(0), Some(0)).expect("chown");
        let said = as_nobody("foreign");
        assert!(
            said.starts_with("RD0972 ") && said.contains("owner"),
            "{said}"
        );
        assert_eq!(tree(&ground, "foreign"), files("1"));
    }
    let folder = ground.join("projects");
    if let Some(mounted) = Mounted::tmpfs(&folder, "256k") {
        lay(&ground, "web", "1");
        mounted.read_only();
        let said = update(&ground, "web", "k", "2");
        assert!(said.starts_with("RD0971 "), "{said}");
        assert_eq!(tree(&ground, "web"), files("1"));
    }
}

/// systems.md 5, 5: snapshots are incremental, listed with sizes, kept by policy and never taken from an open run.
#[tokio::test(flavor = "multi_thread")]
async fn lockfile_5_snapshots_are_incremental_listed_verified_and_collected() {
    let yard = Yard::new().await;
    lay(&yard.ground(), "web", "1");
    fs::write(yard.project("web").join("large"), vec![b'x'; 300_000]).expect("written");
    // An open run that was updated and goes no further: it needs its snapshot.
    let mut held = set("update", "web", json!({}));
    merge(&mut held, json!({"on_failure": "hold"}));
    let stuck = saga_of(
        "open",
        vec![held, {
            let mut phase = refusal("refuse");
            merge(&mut phase, json!({"on_failure": "hold"}));
            phase
        }],
    );
    let open = yard.run(&stuck, "2").await;
    assert_eq!(open.run().state, State::Failed, "{open:?}");
    for version in ["3", "4", "5"] {
        let name = format!("v{version}");
        yard.run(&one(&name, "web", json!({})), version).await;
    }
    let listed = yard.store.list(None).expect("listed");
    assert_eq!(listed.len(), 4);
    assert!(
        listed
            .iter()
            .all(|one| one.files == 4 && one.bytes > 300_000)
    );
    let usage = yard.store.usage().expect("usage");
    assert_eq!(
        (usage.snapshots, usage.objects),
        (4, 1 + 4 * 3),
        "each content once"
    );
    assert!(usage.bytes_on_disk < 20_000, "compressed: {usage:?}");

    let policy = Retention {
        keep_last: 1,
        keep_newer_than: Duration::ZERO,
    };
    let collected = redress_adapters::fileset::collect(&yard.engine, &yard.store, &policy);
    let collected = collected.await.expect("collected");
    assert_eq!(collected.needed, [listed[0].id], "the open run's");
    assert_eq!(collected.snapshots, [listed[1].id, listed[2].id]);
    assert!(yard.store.verify().expect("verified").is_empty());
    let owner = Owner {
        run: None,
        key: "by hand".to_owned(),
    };
    // What the open run would need is whole: its snapshot restores.
    let web = place(&yard.ground(), "web");
    yard.store
        .restore(&web, &listed[0].id, owner)
        .expect("restored");
    let mut before = files("1");
    before.insert("large".to_owned(), "x".repeat(300_000));
    assert_eq!(yard.tree("web"), before);
    let metrics = yard.store.metrics();
    assert_eq!((metrics.restorations.done, metrics.snapshots.done), (1, 1));
    sound(&yard.engine).await;
}

/// systems.md 5, 6: several directories in one saga: all of them, or none.
#[tokio::test(flavor = "multi_thread")]
async fn lockfile_6_several_directories_are_consistent() {
    let yard = Yard::new().await;
    for project in ["a", "b", "c"] {
        lay(&yard.ground(), project, "1");
    }
    let phases = || {
        ["a", "b", "c"]
            .map(|name| set(name, name, json!({})))
            .to_vec()
    };
    // The third is not what it must be: the first two are brought back.
    symlink("/etc", yard.project("c").join("vendor-link")).expect("a link");
    let mut list = phases();
    list[2]["with"]["expect"] = json!([{"path": "app.lock", "absent": true}]);
    let outcome = yard.run(&saga_of("part", list), "2").await;
    let Outcome::Compensated(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(code(&row), "RD0977");
    yard.is("a", "1");
    yard.is("b", "1");
    fs::remove_file(yard.project("c").join("vendor-link")).expect("removed");
    yard.is("c", "1");
    let outcome = yard.run(&saga_of("whole", phases()), "2").await;
    assert_eq!(outcome.run().state, State::Completed, "{outcome:?}");
    for project in ["a", "b", "c"] {
        yard.is(project, "2");
    }
    sound(&yard.engine).await;
}

/// systems.md 5, 7: no path leaves the directory: no traversal, symlink race, device, hard link surprise.
#[tokio::test(flavor = "multi_thread")]
async fn lockfile_7_no_path_leaves_the_directory() {
    let yard = Yard::new().await;
    lay(&yard.ground(), "web", "1");
    let outside = yard.ground().join("outside");
    fs::create_dir(&outside).expect("made");
    fs::write(outside.join("app.tgz"), "keep").expect("written");
    // Named by the input, where no check of the file could see it.
    for (n, path) in ["../evil", "/etc/evil", "a/../../evil", "a//b", "a\nb"]
        .iter()
        .enumerate()
    {
        let saga = one(&format!("out-{n}"), "web", json!({}));
        yard.engine.register(&saga).await.expect("registered");
        let files = json!({"files": [{"path": path, "content": "evil"}]});
        let start = yard.engine.start(saga.saga.as_str(), files);
        let row = yard.engine.start_and_drive(start).await.expect("driven").1;
        assert_eq!(code(row.run()), "RD0974", "{path:?}");
    }
    let elsewhere = one("other-root", "web", json!({"root": "elsewhere"}));
    let refused = yard.engine.register(&elsewhere).await;
    let refused = refused.expect_err("a root that is not listed");
    assert!(
        refused.to_string().contains("lists no root elsewhere"),
        "{refused}"
    );
    let from = json!({"directory": "web/../../outside"});
    let refused = yard.engine.register(&one("out-dir", "web", from)).await;
    assert!(refused.is_err());
    // A folder becomes a link while updates go on: never is anything written behind it.
    let vendor = yard.project("web").join("vendor");
    let aside = yard.project("web").join("aside");
    let ground = yard.ground();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let swapping = {
        let (stop, outside) = (stop.clone(), outside.clone());
        std::thread::spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = fs::rename(&vendor, &aside);
                let _ = symlink(&outside, &vendor);
                let _ = fs::remove_file(&vendor);
                let _ = fs::rename(&aside, &vendor);
            }
        })
    };
    let mut refused = 0;
    for n in 0..150 {
        refused += usize::from(update(&ground, "web", &format!("k{n}"), &n.to_string()) != "done");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapping.join().expect("swapped");
    assert!(refused > 0, "the race was never met");
    assert_eq!(
        fs::read_to_string(outside.join("app.tgz")).expect("read"),
        "keep"
    );
    assert_eq!(fs::read_dir(&outside).expect("listed").count(), 1);
}

/// The example, with its own inputs.
#[tokio::test(flavor = "multi_thread")]
async fn lockfile_the_example_updates_or_restores_both_directories() {
    let yard = Yard::new().await;
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/lockfile");
    yard.lab
        .sql(include_str!("../../examples/lockfile/schema.sql"));
    let saga = Lab::read(include_str!("../../examples/lockfile/saga.yaml"));
    yard.engine.register(&saga).await.expect("registered");
    let copy = |from: &str| {
        for entry in fs::read_dir(example.join(from)).expect("the example") {
            let path = entry.expect("an entry").path();
            let below = path.strip_prefix(&example).expect("below").to_owned();
            let to = yard.ground().join(&below);
            if path.is_dir() {
                fs::create_dir_all(&to).expect("made");
            } else {
                fs::copy(&path, &to).expect("copied");
            }
        }
    };
    let lay = || {
        for from in ["artefacts", "projects"] {
            copy(from);
        }
        for project in ["web", "mirror"] {
            copy(&format!("projects/{project}"));
            copy(&format!("projects/{project}/vendor"));
        }
    };
    let start = async |input: &str| {
        let text = fs::read(example.join(format!("input/{input}.json"))).expect("an input");
        let input = serde_json::from_slice(&text).expect("JSON");
        let start = yard.engine.start("lockfile", input);
        yard.engine
            .start_and_drive(start)
            .await
            .expect("driven")
            .1
            .run()
            .clone()
    };
    lay();
    let before = (yard.tree("web"), yard.tree("mirror"));
    for (input, expected) in [("stale", "RD0977"), ("damaged", "RD0977"), ("refused", "")] {
        let row = start(input).await;
        assert_eq!(row.state, State::Compensated, "{input}: {row:?}");
        assert!(
            expected.is_empty() || code(&row) == expected,
            "{input}: {row:?}"
        );
        assert_eq!((yard.tree("web"), yard.tree("mirror")), before, "{input}");
    }
    let row = start("update").await;
    assert_eq!(row.state, State::Completed, "{row:?}");
    for project in ["web", "mirror"] {
        let tree = yard.tree(project);
        assert_eq!(tree.len(), 3, "{tree:?}");
        assert_eq!(tree["app.toml"], "app = \"1.1.0\"\n");
        assert_eq!(tree["vendor/app.tgz"], "the artefact of 1.1.0\n");
    }
    let released = yard
        .lab
        .sql("select project || ' ' || version || ' ' || state from lockfile.release");
    assert_eq!(released, "web 1.1.0 live");
    let hash = yard.lab.sql("select lock_sha256 from lockfile.release");
    assert_eq!(
        hash,
        Hash::of(yard.tree("web")["app.lock"].as_bytes()).to_string()
    );
    sound(&yard.engine).await;
}

/// A file system of a test's own; unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// `None`, loudly, where nothing may be mounted.
    fn tmpfs(at: &Path, size: &str) -> Option<Self> {
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at)
            .stderr(Stdio::null());
        if command.status().is_ok_and(|status| status.success()) {
            return Some(Self(at.to_owned()));
        }
        eprintln!("SKIPPED: no tmpfs can be mounted here, so a full disk was not tried");
        None
    }

    fn read_only(&self) {
        let mut command = Command::new("mount");
        command.args(["-o", "remount,ro"]).arg(&self.0);
        assert!(command.status().expect("mount runs").success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
