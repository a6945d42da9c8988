//! Death of the sealer at each of its steps and at any moment: every record is sealed once, and another sealer goes on.

use std::fs;
use std::path::Path;
use std::time::Duration;

use redress::Error;
use redress::ledger::bundle::{Remembered, Verdict};
use redress::ledger::tree::{BundleReader, bundles_between};
use redress::ledger::{Checkpoint, Frontier, leaf_hash};
use redress_tests::worker::{CONCURRENCY, LEASE_MS};
use redress_tests::{Bank, Running, TestCluster, Vault, eventually};

use crate::crash::{LIMIT, armed, call, died, done};
use crate::torture::Dice;
use crate::wire::rounds;

/// Records of a batch: so few that a sealer passes each point several times.
const BATCH: &str = "5";
/// Passages of each point at which a sealer dies.
const PASSAGES: usize = 3;
/// Runs before each death: more records than the batches until then take.
const RUNS: usize = 6;

fn size_of(head: Option<&Vec<u8>>) -> u64 {
    head.map_or(0, |head| Checkpoint::peek(head).expect("a checkpoint").size)
}

fn sealed(bank: &Bank) -> u64 {
    let size = bank.sql("select size from redress.sealer");
    size.parse().expect("a number")
}

/// Reads the published folder as anybody may: what its head covers is there and gives its root.
fn read_published(folder: &Path) -> Option<Checkpoint> {
    let head = Checkpoint::peek(&fs::read(folder.join("checkpoint")).ok()?).expect("a checkpoint");
    let mut frontier = Frontier::new();
    for tile in bundles_between(0, head.size).expect("a size") {
        // Where the file that is not full is gone, the full one has taken its place (C2SP tlog-tiles).
        let partial = fs::read(folder.join(tile.path()));
        let bytes = partial.or_else(|_| fs::read(folder.join(tile.full().path())));
        let bytes = bytes.unwrap_or_else(|error| panic!("{}: {error}", tile.path()));
        let mut entries = BundleReader::new(bytes.as_slice(), tile.full().width());
        for _ in 0..tile.width() {
            let entry = entries.next_entry().expect("an entry").expect("as many");
            frontier.push(leaf_hash(entry)).expect("a small tree");
        }
    }
    assert_eq!(frontier.root(), head.root, "of {} leaves", head.size);
    Some(head)
}

/// Every record has one position; anchor, folder and the newest row are the same head; the export is verified.
async fn is_sealed_once(bank: &Bank, vault: &Vault, name: &str, seen: &[Vec<u8>]) {
    let wrong = bank.sql(
        "select run, seq, r.hash, l.hash, l.position
         from redress.record r full join redress.leaf l using (run, seq)
         where r.hash is distinct from l.hash limit 5",
    );
    assert_eq!(wrong, "", "records and leaves are the same");
    let dense = "select count(*) || ' ' || count(distinct (run, seq)) || ' ' || max(position) + 1 from redress.leaf";
    let size = sealed(bank);
    assert_eq!(bank.sql(dense), format!("{size} {size} {size}"));
    let published = vault.published().expect("a published head");
    assert_eq!(vault.anchored().as_ref(), Some(&published));
    let newest =
        "select convert_from(note, 'UTF8') from redress.checkpoint order by size desc limit 1";
    let text = String::from_utf8(published).expect("UTF-8");
    assert_eq!(bank.sql(newest).trim_end(), text.trim_end());
    assert_eq!(
        read_published(&vault.path("log")).expect("a head").size,
        size
    );

    let engine = bank.engine().await;
    let report = vault.export(&engine, name, None).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    assert_eq!(report.size, Some(size));
    // Whatever anybody saw on the way is the beginning of it.
    let remembered = seen.iter().map(|head| Remembered::read(head, &vault.trust));
    let remembered: Vec<Remembered> = remembered.map(|head| head.expect("ours")).collect();
    let report = vault.verify(name, &remembered);
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    for head in &remembered {
        let size = &head.checkpoint().size;
        assert!(report.consistent_with.contains(size), "{size}: {report:?}");
    }
}

/// A sealer dies at the 1st, 2nd, … passage of a point, each time with new records; another one goes on.
///
/// `anchored` and `published`: whether the head that was committed last is, where it died.
async fn a_sealer_dies(point: &str, anchored: bool, published: bool) {
    let bank = Bank::new().await;
    let vault = Vault::open_bank(&bank.engine().await).await;
    let act = vault.seal_act();
    let [act, seed, anchor, folder] = act.each_ref().map(String::as_str);
    let args = [act, seed, anchor, folder, BATCH];
    // There is an anchor: without one a person must say that the database is the right one.
    done(&bank, &args);
    let mut seen = Vec::new();
    for n in 1..=PASSAGES {
        bank.open("transfer", (n - 1) * RUNS..n * RUNS, true).await;
        done(&bank, &["work", "until-idle"]);
        let before = sealed(&bank);
        let passage = u64::try_from(n).expect("small");
        let mut sealer = armed(&bank, &args, "REDRESS_CRASH", point, passage);
        assert!(died(&mut sealer, point), "{point}:{n}: it lived");
        let stands = sealed(&bank);
        let progress = if point == "seal.before_commit" {
            n - 1
        } else {
            n
        };
        assert!(
            (stands > before) == (progress > 0),
            "{point}:{n}: {before} {stands}"
        );
        let (anchor, log) = (vault.anchored(), vault.published());
        assert_eq!(size_of(anchor.as_ref()) == stands, anchored, "{point}:{n}");
        assert_eq!(size_of(log.as_ref()) == stands, published, "{point}:{n}");
        assert!(
            size_of(log.as_ref()) <= size_of(anchor.as_ref()),
            "{point}:{n}"
        );
        read_published(&vault.path("log"));
        seen.extend(log);
        done(&bank, &args);
        let records = bank.number("select count(*) from redress.record");
        assert_eq!(
            sealed(&bank).to_string(),
            records.to_string(),
            "{point}:{n}"
        );
        is_sealed_once(&bank, &vault, &format!("after-{n}"), &seen).await;
    }
    bank.audit_final();
}

/// F11: what was not committed was never seen by anybody.
#[tokio::test(flavor = "multi_thread")]
async fn death_before_the_commit_of_a_head_leaves_the_old_one() {
    a_sealer_dies("seal.before_commit", true, true).await;
}

/// F11: the next sealer anchors and publishes it.
#[tokio::test(flavor = "multi_thread")]
async fn death_after_the_commit_of_a_head_is_made_up_for() {
    a_sealer_dies("seal.after_commit", false, false).await;
}

/// F11: the next sealer publishes it.
#[tokio::test(flavor = "multi_thread")]
async fn death_after_the_anchor_is_made_up_for() {
    a_sealer_dies("seal.after_anchor", true, false).await;
}

/// F11: the log without a leaf is anchored before the first COMMIT, so that a death behind it is no lost anchor.
#[tokio::test(flavor = "multi_thread")]
async fn death_behind_the_very_first_commit_is_taken_over_like_any_other() {
    let bank = Bank::new().await;
    let engine = bank.engine().await;
    let vault = Vault::open_bank(&engine).await;
    let act = vault.seal_act();
    let act = act.each_ref().map(String::as_str);
    let mut sealer = armed(&bank, &act, "REDRESS_CRASH", "seal.after_commit", 1);
    assert!(died(&mut sealer, "the first head"));
    let beginning = std::fs::read(vault.path("anchor/head")).expect("an anchor");
    let beginning = redress::ledger::Checkpoint::peek(&beginning).expect("a head");
    assert!(sealed(&bank) > 0 && beginning.size == 0 && vault.published().is_none());
    let mut next = Running::start(&mut call(&bank, &act));
    eventually(LIMIT, "another one publishes it", || {
        vault.published().is_some()
    });
    next.terminate();
    next.wait(LIMIT);
    is_sealed_once(&bank, &vault, "all", &[]).await;
}

/// F11: nothing is left to do.
#[tokio::test(flavor = "multi_thread")]
async fn death_after_publishing_repeats_nothing() {
    a_sealer_dies("seal.after_publish", true, true).await;
}

/// A process that follows the sagas with its seals.
fn follow(bank: &Bank, vault: &Vault) -> Running {
    let act = vault.seal_act();
    let act = act.each_ref().map(String::as_str);
    Running::start(call(bank, &act).env(LEASE_MS, "500"))
}

/// F11
#[tokio::test(flavor = "multi_thread")]
async fn a_following_sealer_is_killed_at_random_and_everything_is_sealed_once() {
    let bank = Bank::new().await;
    let vault = Vault::open_bank(&bank.engine().await).await;
    let kills = rounds(20, 200);
    let mut dice = Dice::seeded();
    let mut worker = Running::start(call(&bank, &["work"]).env(CONCURRENCY, "4"));
    let mut sealer = follow(&bank, &vault);
    let (mut opened, mut met, mut between, mut seen) = (0, 0, 0, Vec::new());
    let mut at_last_death = 0;
    for kill in 0..kills * 10 {
        // Not vacuous: so many of them died after they had committed a head. Mostly each kill sees to that.
        if met == kills {
            break;
        }
        let before = sealed(&bank);
        bank.open("transfer", opened..opened + 4, true).await;
        opened += 4;
        eventually(LIMIT, "a sealer has the lease, or waits for it", || {
            assert!(sealer.poll().is_none(), "{kill}: {}", sealer.stderr());
            sealer.stdout().contains("ready")
        });
        if kill % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(150 + dice.roll(600))).await;
        } else {
            // At once when a head is committed, and it may still have to be anchored and published.
            eventually(LIMIT, "a new head", || sealed(&bank) > before);
        }
        sealer.kill();
        let log = read_published(&vault.path("log"));
        let log = log.map_or(0, |head| head.size);
        let anchor = size_of(vault.anchored().as_ref());
        let stands = sealed(&bank);
        assert!(log <= anchor && anchor <= stands, "{log} {anchor} {stands}");
        let committed = stands > at_last_death;
        met += usize::from(committed);
        between += usize::from(committed && log < stands);
        at_last_death = stands;
        seen.extend(vault.published());
        sealer = follow(&bank, &vault);
    }
    assert_eq!(
        met, kills,
        "sealers that died after they had sealed something"
    );
    // Something for the last one, which has to wait for the lease of the one before.
    bank.open("transfer", opened..opened + 4, true).await;
    opened += 4;
    eventually(LIMIT * 2, "every run ends", || bank.unfinished() == 0);
    worker.terminate();
    assert!(worker.wait(LIMIT).success(), "{}", worker.stderr());
    let records = bank.number("select count(*) from redress.record");
    eventually(LIMIT, "everything is sealed", || {
        assert!(sealer.poll().is_none(), "{}", sealer.stderr());
        sealed(&bank).to_string() == records.to_string() && sealer.stdout().lines().count() > 1
    });
    sealer.terminate();
    assert!(sealer.wait(LIMIT).success(), "{}", sealer.stderr());
    assert_eq!(bank.sql("select owner is null from redress.sealer"), "t");
    seen.dedup();
    let heads = seen.len();
    println!(
        "{met} kills, {between} between COMMIT and publishing; {heads} heads, {records} records"
    );
    is_sealed_once(&bank, &vault, "all", &seen).await;
    let tally = bank.audit_twice().await;
    assert_eq!(tally.completed + tally.compensated, opened, "{tally:?}");
}

/// Waits until a commit waits for a standby, and ends that wait as an impatient administrator would.
fn end_the_wait(bank: &Bank, how: &str) {
    let waits = "select coalesce(max(pid), 0) from pg_stat_activity where wait_event = 'SyncRep'";
    eventually(LIMIT, "a commit waits", || bank.sql(waits) != "0");
    bank.sql(&format!("select {how}({})", bank.sql(waits)));
}

fn require_standby(cluster: &TestCluster, name: &str) {
    let sql = format!("alter system set synchronous_standby_names = '{name}'");
    cluster.query_text("postgres", &sql);
    cluster.query_text("postgres", "select pg_reload_conf()");
    eventually(LIMIT, "the setting is read", || {
        cluster.query_text("postgres", "show synchronous_standby_names") == name
    });
}

/// A head that a required standby does not have is neither anchored nor published, whoever ends the wait for it: not by
/// the sealer that made it and not by the next one.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_published_that_a_required_standby_does_not_have() {
    let cluster = TestCluster::own();
    let database = cluster.fresh_database();
    let bank = Bank::at(database.url()).await;
    let engine = bank.engine().await;
    let vault = Vault::open_bank(&engine).await;
    bank.open("transfer", 0..1, true).await;
    let mut sealer = vault.sealer(&engine);
    sealer.seal().await.expect("sealed");
    for (n, how) in [(1, "pg_cancel_backend"), (2, "pg_terminate_backend")] {
        bank.open("transfer", n..n + 1, true).await;
        let known = (vault.published(), vault.anchored());
        let before = sealed(&bank);
        // The lease is taken in time; the standby is gone when the batch commits.
        let url = bank.url().to_owned();
        let holds = "begin; lock table redress.leaf in share mode; select pg_sleep(3); commit";
        let holder = std::thread::spawn(move || redress_tests::try_query_text(&url, holds));
        let locked = "select count(*) from pg_locks where relation = 'redress.leaf'::regclass and mode = 'ShareLock'";
        eventually(LIMIT, "the table is locked", || bank.sql(locked) == "1");
        let batch = tokio::spawn(async move {
            let result = sealer.seal().await;
            (sealer, result)
        });
        let blocked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%extend_log%'";
        eventually(LIMIT, "the batch is under way", || bank.sql(blocked) == "1");
        require_standby(&cluster, "missing");
        end_the_wait(&bank, how);
        let (again, result) = batch.await.expect("no panic");
        assert!(
            matches!(result, Err(Error::Unknown(_))),
            "{how}: {result:?}"
        );
        assert!(sealed(&bank) > before, "it is committed here");
        assert_eq!((vault.published(), vault.anchored()), known, "{how}");
        // The next one finds the head, and would publish it.
        sealer = again;
        let next = tokio::spawn(async move {
            let result = sealer.seal().await;
            (sealer, result)
        });
        end_the_wait(&bank, how);
        let (again, result) = next.await.expect("no panic");
        assert!(
            matches!(result, Err(Error::Unknown(_))),
            "{how}: {result:?}"
        );
        assert_eq!((vault.published(), vault.anchored()), known, "{how}");
        require_standby(&cluster, "");
        sealer = again;
        sealer.seal().await.expect("sealed");
        assert_eq!(size_of(vault.published().as_ref()), sealed(&bank), "{how}");
        holder.join().expect("no panic").expect("held");
    }
    let report = vault.export(&engine, "all", None).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
}
