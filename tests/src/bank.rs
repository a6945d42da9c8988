//! A bank whose books show every doubled, lost or torn effect, and the checker that reads them.
//!
//! **Invariant:** the checker uses SQL, the records' bytes and the offline verifier only, nothing of the engine; so it
//! does not repeat the engine's mistakes.

use redress::definition::Definition;
use redress::ledger::Hash;
use redress::ledger::key::{Role, SigningKey};
use redress::ledger::trust::Trust;
use redress::ledger::verify::{Head, LogVerifier, Verdict};
use redress::{Builder, Engine};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_postgres::NoTls;
use uuid::Uuid;

use crate::database::{TestDatabase, fresh_database, query_text};
use crate::lab;
use crate::pooler::engine_url;
use crate::worker;

/// How many accounts there are; each begins with 1000.
pub const ACCOUNTS: usize = 32;
/// The bank's own tables.
const BOOKS: &str = include_str!("bank/bank.sql");
/// The saga with its gaps.
const SAGA: &str = include_str!("bank/saga.yaml");

/// The sagas over the bank, which differ in one respect each.
pub const SAGAS: [(&str, &str, &str, &str); 6] = [
    // Everything in the database, compensated by itself in one transaction.
    ("transfer", "local", "auto", ""),
    // A phase outside the database: compensated by itself, step by step.
    ("steps", "remote", "auto", ""),
    // Step by step, and a person must sign.
    ("signed", "remote", "{sovereign: 1}", ""),
    // A person must sign; snapshots before and after.
    (
        "careful",
        "local",
        "{sovereign: 1}",
        "{name: known, sql: \"select count(*) from bank.account where name = $1\", params: [/input/from]}",
    ),
    // A phase that takes its time.
    ("slow", "slow", "auto", ""),
    // A phase that ends its own process when the input says `refused`.
    ("poison", "poison", "auto", ""),
];

/// A bank in a database of its own.
pub struct Bank {
    /// Dropped with the bank; `None` when the test owns the server.
    pub database: Option<TestDatabase>,
    url: String,
    state: TempDir,
}

/// What the books say in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs that completed.
    pub completed: usize,
    /// Runs that were compensated.
    pub compensated: usize,
    /// Runs that failed or are stuck: a person must act.
    pub held: usize,
    /// Failed attempts that were recorded.
    pub attempts: usize,
    /// All records.
    pub records: usize,
}

impl Bank {
    /// A bank in the shared server.
    pub async fn new() -> Self {
        let database = fresh_database();
        let url = database.url().to_owned();
        Self::on(Some(database), url).await
    }

    /// A bank in a database that the test owns.
    pub async fn at(url: &str) -> Self {
        Self::on(None, url.to_owned()).await
    }

    async fn on(database: Option<TestDatabase>, url: String) -> Self {
        lab::migrate(&url).await;
        query_text(&url, BOOKS);
        let bank = Self {
            database,
            url,
            state: TempDir::new().expect("a temporary folder"),
        };
        let engine = bank.engine().await;
        for (name, ..) in SAGAS {
            engine
                .register(&saga(name))
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        bank
    }

    /// The database's URL (superuser).
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The state folder that engine and workers share.
    pub fn state_dir(&self) -> &std::path::Path {
        self.state.path()
    }

    /// An engine over this URL or another one to the same database.
    pub fn builder(&self, url: &str) -> Builder {
        let pool = redress::db::pool(&engine_url(url), 24).expect("a URL that parses");
        Engine::builder(pool)
            .adapters(redress_adapters::standard())
            .adapters(worker::adapters())
            .trust(trust())
            .state_dir(self.state.path())
            .actor("test")
    }

    /// An engine as most tests want it.
    pub async fn engine(&self) -> Engine {
        self.builder(&self.url).build().await.expect("an engine")
    }

    /// Opens runs `from..to` of a saga; every third one is refused in its last phase when `refusals`.
    pub async fn open(&self, saga: &str, range: std::ops::Range<usize>, refusals: bool) {
        let engine = self.engine().await;
        for n in range {
            let input = input(n, refusals && n % 3 == 2);
            let start = engine.start(saga, input).key(format!("k{n}"));
            start.open().await.expect("opened");
        }
    }

    /// Runs statements as superuser.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        query_text(&self.url, sql)
    }

    /// Runs that still want a worker.
    pub fn unfinished(&self) -> usize {
        self.number("select count(*) from redress.run where state in ('running', 'compensating')")
    }

    /// A number.
    #[track_caller]
    pub fn number(&self, sql: &str) -> usize {
        self.sql(sql).parse().expect("a number")
    }

    /// Reads the books and the ledger; panics with the first thing that is wrong.
    #[track_caller]
    pub fn audit(&self) -> Tally {
        for (rule, sql) in RULES {
            let found = self.sql(sql);
            assert!(found.is_empty(), "{rule}:\n{found}\n{}", self.story());
        }
        let records = self.verify();
        let state = |states: &str| {
            self.number(&format!(
                "select count(*) from redress.run where state in ({states})"
            ))
        };
        Tally {
            completed: state("'completed'"),
            compensated: state("'compensated'"),
            held: state("'failed', 'stuck', 'resolved'"),
            attempts: self.number(
                "select count(*) from redress.record where kind = 'phase.failed' and transition like '% attempt_failed %'",
            ),
            records,
        }
    }

    /// As [`Bank::audit`], and nothing is left to do.
    #[track_caller]
    pub fn audit_final(&self) -> Tally {
        let left = self.sql(
            "select id, state, phase, claims, attempts, error from redress.run where state in ('running', 'compensating') limit 5",
        );
        assert!(left.is_empty(), "not final:\n{left}\n{}", self.story());
        self.audit()
    }

    /// As [`Bank::audit_final`], and the engine's own check and verification find nothing either.
    pub async fn audit_twice(&self) -> Tally {
        let tally = self.audit_final();
        let engine = self.engine().await;
        let checked = engine.check().await.expect("checked");
        assert!(checked.ok, "{checked:?}");
        let report = engine.audit_verify().await.expect("verified");
        assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
        tally
    }

    /// The last records, for a test that fails.
    pub fn story(&self) -> String {
        self.sql(
            "select run, seq, epoch, kind, phase, xid, left(convert_from(bytes, 'UTF8')::jsonb #>> '{body,message}', 120) from redress.record order by run desc, seq limit 60",
        )
    }

    /// Verifies every record offline; returns how many there are.
    #[track_caller]
    fn verify(&self) -> usize {
        let url = self.url.clone();
        let read = std::thread::spawn(move || read_log(&url));
        let runs = read.join().expect("the driver does not panic");
        let trust = trust();
        let mut states = Vec::new();
        let mut verifier = LogVerifier::new(Some("test.example/lab"), Some(&trust));
        for run in &runs {
            verifier.start_run(run.id);
            for (bytes, hash) in &run.records {
                verifier.record(bytes, hash);
            }
            let end = verifier
                .end_run(Some(&run.head))
                .expect("a run was started");
            states.push((run.id, end.state, run.state.as_deref()));
        }
        let report = verifier.finish();
        assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
        for (run, replayed, stored) in states {
            assert!(
                stored.is_none_or(|stored| replayed.as_str() == stored),
                "replay of {run}: {replayed}, stored {stored:?}"
            );
        }
        usize::try_from(report.records).expect("few")
    }
}

struct Log {
    id: Uuid,
    head: Head,
    state: Option<String>,
    records: Vec<(Vec<u8>, Hash)>,
}

fn read_log(url: &str) -> Vec<Log> {
    let mut client = postgres::Client::connect(url, NoTls).expect("the database answers");
    let hash = |bytes: &[u8]| Hash::try_from(bytes).expect("32 bytes");
    let heads = client
        .query(
            "select id, seq, head, state from redress.run union all select run, seq, head, null from redress.system_log where seq > 0",
            &[],
        )
        .expect("heads");
    let mut logs = Vec::new();
    for head in heads {
        let id: Uuid = head.get(0);
        let records = client
            .query(
                "select bytes, hash from redress.record where run = $1 order by seq",
                &[&id],
            )
            .expect("records");
        logs.push(Log {
            id,
            head: Head {
                seq: head.get(1),
                hash: hash(head.get(2)),
            },
            state: head.get(3),
            records: records
                .iter()
                .map(|row| (row.get(0), hash(row.get(1))))
                .collect(),
        });
    }
    logs
}

/// A saga of [`SAGAS`].
#[track_caller]
pub fn saga(name: &str) -> Definition {
    let (name, adapter, authority, snapshot) = SAGAS
        .into_iter()
        .find(|(found, ..)| *found == name)
        .expect("a saga of the bank");
    let text = SAGA
        .replace("SAGA", name)
        .replace("ADAPTER", adapter)
        .replace("AUTHORITY", authority)
        .replace("SNAPSHOT", snapshot);
    lab::Lab::read(&text)
}

/// The input of the n-th run: different accounts for neighbours, so that runs meet now and then only.
pub fn input(n: usize, refused: bool) -> Value {
    json!({
        "from": format!("a{}", n % ACCOUNTS),
        "to": format!("a{}", (n * 7 + 3) % ACCOUNTS),
        "amount": n % 9 + 1,
        "refused": refused,
    })
}

/// The key that releases and approves; the same in every process of a test.
pub fn sovereign() -> SigningKey {
    SigningKey::from_seed("sofia", &[7; 32]).expect("a seed")
}

/// Trust in it.
pub fn trust() -> Trust {
    let mut trust = Trust::new();
    trust
        .add(Role::Sovereign, sovereign().vkey().clone())
        .expect("one key");
    trust
}

/// What must hold in the books whatever happened: each statement returns the rows that break its rule.
const RULES: [(&str, &str); 6] = [
    (
        "an effect stands exactly once, in the transaction of its record, and no record stands without one",
        "with r as (
           select run, phase, case kind when 'phase.committed' then 'do' else 'undo' end as way, xid,
                  count(*) over (partition by run, phase, kind) as n
           from redress.record where kind in ('phase.committed', 'compensation.committed')),
         e as (select run, phase, way, xid, count(*) over (partition by run, phase, way) as n from bank.effect)
         select run, phase, way, r.xid, r.n, e.xid, e.n from r full join e using (run, phase, way)
         where r.xid is distinct from e.xid or r.n is distinct from 1 or e.n is distinct from 1 limit 10",
    ),
    (
        "a sequence is dense and its row stands at its end",
        "select run, count(*), max(record.seq), run.seq from redress.record join redress.run on run.id = record.run
         group by run, run.seq having count(*) <> max(record.seq) or max(record.seq) <> run.seq limit 10",
    ),
    (
        "a completed run has all of its effects, a compensated one has each undone",
        "select r.id, r.state, count(*) filter (where way = 'do'), count(*) filter (where way = 'undo')
         from redress.run r left join bank.effect e on e.run = r.id group by r.id, r.state
         having (r.state = 'completed' and (count(*) filter (where way = 'do') <> 4 or count(*) filter (where way = 'undo') <> 0))
             or (r.state = 'compensated' and count(*) filter (where way = 'do') <> count(*) filter (where way = 'undo'))
         limit 10",
    ),
    (
        "compensations stand in reverse order of what they reverse",
        "select run, seq from (
           select run, seq, (convert_from(bytes, 'UTF8')::jsonb #>> '{body,reverses,seq}')::bigint as reverses,
                  lag((convert_from(bytes, 'UTF8')::jsonb #>> '{body,reverses,seq}')::bigint) over (partition by run order by seq) as earlier
           from redress.record where kind = 'compensation.committed') c
         where reverses >= earlier limit 10",
    ),
    (
        "each account has what the effects say",
        "with moved as (
           select o.run, convert_from(o.bytes, 'UTF8')::jsonb #> '{body,input}' as input from redress.record o where o.kind = 'run.opened'),
         net as (
           select case e.phase when 'take' then m.input ->> 'from' else m.input ->> 'to' end as name,
                  sum((m.input ->> 'amount')::bigint * case when (e.phase = 'take') = (e.way = 'do') then -1 else 1 end) as change
           from bank.effect e join moved m using (run) where e.phase in ('take', 'give') group by 1)
         select a.name, a.balance, n.change from bank.account a left join net n using (name)
         where a.balance <> 1000 + coalesce(n.change, 0) limit 10",
    ),
    (
        "no record stands under an epoch that its run has not reached",
        "select record.run, record.seq, record.epoch, run.epoch from redress.record join redress.run on run.id = record.run
         where record.epoch > run.epoch limit 10",
    ),
];
