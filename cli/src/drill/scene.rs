//! Prepares one scene in a database that has our schema and nothing else.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redress::db::{DbError, Session};
use redress::definition::{Definition, HoldScope};
use redress::{CLAIMS_MAX, Engine, Error, SchemaName, Started};
use redress_examples::cutover;
use redress_ledger::key::SigningKey;
use redress_ledger::trust::Trust;
use redress_runbooks::fixture::Fixture;
use serde_json::{Value, json};
use uuid::Uuid;

use super::courier::Courier;
use crate::fail::Fail;
use crate::place::{open, private_target, redress_sql};

/// Where a scene is made, and by whom.
pub struct Ground<'a> {
    /// The database.
    pub url: &'a str,
    /// The installation's schema.
    pub schema: SchemaName,
    /// The state folder.
    pub state: &'a Path,
    /// Whose signatures count.
    pub trust: &'a Trust,
    /// A sovereign's key, who signs what has to be signed for a scene.
    pub sovereign: &'a SigningKey,
}

/// The tables of the scenes that are no cutover.
const SHOP: &str = include_str!("shop.sql");
const BOOKING: &str = include_str!("shop.yaml");
const PARCEL: &str = include_str!("parcel.yaml");
const COURIER: &str = include_str!("courier.yaml");
/// Who asked for the runs of a scene.
const ACTOR: &str = "drill";
/// How long a kill waits.
const DRAIN: Duration = Duration::from_secs(10);

/// Makes a scene; gives the run that it is about.
///
/// # Errors
/// [`Fail`]: the scene is not as its description says.
pub async fn prepare(fixture: Fixture, ground: &Ground<'_>) -> Result<Option<Uuid>, Fail> {
    let scene = Scene::open(ground).await?;
    match fixture {
        Fixture::Nothing => Ok(None),
        Fixture::CutoverFailedAtPreWriteBackup
        | Fixture::CutoverFailedAtCutLegA
        | Fixture::CutoverFailedAtLegBRecord
        | Fixture::CutoverFailedAtWriteVerify
        | Fixture::CutoverFailedAtLifecycleEnact
        | Fixture::CutoverCompleted => scene.cutover(fixture).await.map(Some),
        Fixture::Stuck => scene.stuck().await.map(Some),
        Fixture::StuckRepaired => {
            let run = scene.stuck().await?;
            scene.sql(FOUND).await?;
            Ok(Some(run))
        }
        Fixture::BaselineMismatch => scene.baseline().await.map(Some),
        Fixture::BaselineRepaired => {
            let run = scene.baseline().await?;
            scene.sql(TAKEN_BACK).await?;
            Ok(Some(run))
        }
        Fixture::CoverageMiss => scene.failed(PARCEL, json!({"order": "A1"})).await.map(Some),
        Fixture::InDoubt => scene
            .failed(COURIER, json!({"order": "A1"}))
            .await
            .map(Some),
        Fixture::Poison => scene.poison().await.map(Some),
        Fixture::Killed => {
            let run = scene.booking().await?;
            scene.engine.kill("the drill says so", DRAIN, false).await?;
            Ok(Some(run))
        }
        Fixture::Held => {
            let run = scene.open_booking().await?;
            let target = run.to_string();
            scene
                .engine
                .hold(HoldScope::Run, Some(&target), "the drill says so", false)
                .await?;
            Ok(Some(run))
        }
        Fixture::StalePlan => scene.stale().await.map(Some),
        Fixture::WorkerLost => {
            let run = scene.open_booking().await?;
            scene.claim_and_die(run).await?;
            Ok(Some(run))
        }
    }
}

/// Mends the cause of a scene that lies outside, as a colleague would; says what was done.
///
/// # Errors
/// [`Fail::Engine`].
pub async fn repair(fixture: Fixture, url: &str) -> Result<&'static str, Fail> {
    let (text, said) = match fixture {
        Fixture::Stuck => (
            FOUND,
            "the shop has found the goods: the booking is live again",
        ),
        Fixture::BaselineMismatch => (TAKEN_BACK, "the other booking was taken back"),
        _ => return Ok("nothing outside has to be mended in this scene"),
    };
    let session = open(&private_target(url)?).await?;
    let done = session.batch_execute(text).await;
    done.map_err(|error| Error::from(DbError::from(error)))?;
    Ok(said)
}

const FOUND: &str = "update drill.booking set state = 'live' where state = 'lost'";
const TAKEN_BACK: &str = "delete from drill.booking where what = 'other'";

struct Scene<'a> {
    ground: &'a Ground<'a>,
    engine: Engine,
    session: Session,
}

impl<'a> Scene<'a> {
    async fn open(ground: &'a Ground<'a>) -> Result<Self, Fail> {
        let pool =
            redress::db::pool_of(private_target(ground.url)?, SESSIONS).map_err(Error::from)?;
        let engine = Engine::builder(pool)
            .schema(ground.schema.clone())
            .adapters(redress_adapters::standard())
            .external(Arc::new(Courier))
            .trust(ground.trust.clone())
            .state_dir(ground.state)
            .actor(ACTOR)
            .build()
            .await?;
        let session = open(&private_target(ground.url)?).await?;
        let scene = Self {
            ground,
            engine,
            session,
        };
        scene.sql(SHOP).await?;
        for (_, bundle) in cutover::UP {
            scene.sql(&format!("begin;\n{bundle}\ncommit;")).await?;
        }
        Ok(scene)
    }

    async fn sql(&self, text: &str) -> Result<(), Fail> {
        self.session
            .batch_execute(text)
            .await
            .map_err(|error| Error::from(DbError::from(error)).into())
    }

    async fn register(&self, definition: &Definition) -> Result<String, Fail> {
        self.engine.register(definition).await?;
        Ok(definition.saga.to_string())
    }

    async fn open_run(&self, definition: &Definition, input: Value) -> Result<Uuid, Fail> {
        let saga = self.register(definition).await?;
        let Started { run, .. } = self.engine.start(&saga, input).open().await?;
        Ok(run)
    }

    async fn driven(&self, definition: &Definition, input: Value) -> Result<Uuid, Fail> {
        let run = self.open_run(definition, input).await?;
        self.engine.drive(run).await?;
        Ok(run)
    }

    /// A run of one of our own sagas that fails.
    async fn failed(&self, yaml: &str, input: Value) -> Result<Uuid, Fail> {
        let definition = read(yaml)?;
        self.driven(&definition, input).await
    }

    /// A booking whose payment fails.
    async fn booking(&self) -> Result<Uuid, Fail> {
        self.failed(BOOKING, json!({"order": "A1", "pays": false}))
            .await
    }

    async fn open_booking(&self) -> Result<Uuid, Fail> {
        let definition = read(BOOKING)?;
        self.open_run(&definition, json!({"order": "A1", "pays": true}))
            .await
    }

    async fn cutover(&self, fixture: Fixture) -> Result<Uuid, Fail> {
        let (_, input) = cutover::INPUTS
            .iter()
            .find(|(name, _)| *name == "tool-library")
            .ok_or_else(|| broken("the example has no such input"))?;
        let mut input: Value = serde_json::from_str(input).map_err(|e| broken(&e.to_string()))?;
        let saga = cutover::saga();
        let (before, after) = match fixture {
            Fixture::CutoverFailedAtCutLegA => (
                "revoke execute on function public.fn_iu_create(text, text, text, uuid) from cutover_executor",
                "grant execute on function public.fn_iu_create(text, text, text, uuid) to cutover_executor",
            ),
            Fixture::CutoverFailedAtLifecycleEnact => (
                "revoke execute on function public.fn_iu_enact(uuid, uuid) from cutover_executor",
                "grant execute on function public.fn_iu_enact(uuid, uuid) to cutover_executor",
            ),
            _ => ("", ""),
        };
        match fixture {
            // One person signs for both parties, which the evidence refuses.
            Fixture::CutoverFailedAtLegBRecord => {
                let first = input.pointer("/signers/0").cloned().unwrap_or_default();
                input["signers"] = json!([first.clone(), first]);
            }
            Fixture::CutoverFailedAtWriteVerify => input["expected_units"] = json!(1_000),
            _ => {}
        }
        // No folder can be made where a file lies.
        let artefacts = self.ground.state.join("artefacts");
        let blocked = fixture == Fixture::CutoverFailedAtPreWriteBackup;
        let file = |error: std::io::Error| broken(&format!("{error}, {}", artefacts.display()));
        if blocked {
            fs::write(&artefacts, "in the way").map_err(file)?;
        }
        let name = self.register(&saga).await?;
        self.sql(before).await?;
        let start = self.engine.start(&name, input);
        let run = self
            .engine
            .start_and_drive(start)
            .await
            .map(|(started, _)| started.run);
        self.sql(after).await?;
        if blocked {
            fs::remove_file(&artefacts).map_err(file)?;
        }
        Ok(run?)
    }

    /// What a sovereign signs and somebody applies; how it ends is the scene.
    async fn try_back(&self, run: Uuid) -> Result<(), Fail> {
        let stored = self.engine.find_plan(&run.to_string()).await?;
        self.engine
            .approve(&stored, self.ground.sovereign, "the drill says so")
            .await?;
        match self.engine.apply(&stored).await {
            Err(Error::Stuck { .. }) => Ok(()),
            Ok(_) => Err(broken("the compensation did not get stuck")),
            Err(error) => Err(error.into()),
        }
    }

    async fn stuck(&self) -> Result<Uuid, Fail> {
        let run = self.booking().await?;
        self.sql("update drill.booking set state = 'lost' where state = 'live'")
            .await?;
        self.try_back(run).await?;
        Ok(run)
    }

    async fn baseline(&self) -> Result<Uuid, Fail> {
        let run = self.booking().await?;
        self.sql("insert into drill.booking (order_no, run, what) values ('A1', gen_random_uuid(), 'other')")
            .await?;
        self.try_back(run).await?;
        Ok(run)
    }

    async fn stale(&self) -> Result<Uuid, Fail> {
        let run = self.booking().await?;
        let stored = self.engine.find_plan(&run.to_string()).await?;
        self.engine
            .approve(&stored, self.ground.sovereign, "the drill says so")
            .await?;
        self.engine.resume(run).await?;
        for hold in self.engine.show(run).await?.held {
            self.engine
                .release_hold(hold.id, self.ground.sovereign, "the drill says so")
                .await?;
        }
        self.engine.drive(run).await?;
        Ok(run)
    }

    async fn poison(&self) -> Result<Uuid, Fail> {
        let run = self.open_booking().await?;
        for _ in 0..=CLAIMS_MAX {
            self.claim_and_die(run).await?;
        }
        self.engine.drive(run).await?;
        Ok(run)
    }

    /// What is left of a worker that was killed: its claim, and a lease that has run out.
    async fn claim_and_die(&self, run: Uuid) -> Result<(), Fail> {
        let sql = redress_sql(&self.ground.schema);
        let worker = Uuid::now_v7();
        let lease_ms = 1_i64;
        let fault = |error: tokio_postgres::Error| Fail::from(Error::from(error));
        let beat = sql.text(::redress_sql::BEAT);
        self.session
            .execute(beat, &[&worker, &"spare", &lease_ms])
            .await
            .map_err(fault)?;
        let claim = sql.text(::redress_sql::CLAIM_RUN);
        self.session
            .execute(claim, &[&worker, &run])
            .await
            .map_err(fault)?;
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(())
    }
}

fn read(yaml: &str) -> Result<Definition, Fail> {
    let read = redress::definition::load_yaml(yaml.as_bytes(), "drill.yaml", None);
    read.map(|(definition, _)| definition)
        .map_err(|errors| Fail::Saga(errors.into_iter().map(Into::into).collect()))
}

fn broken(what: &str) -> Fail {
    Fail::own("RD0922", format!("the scene could not be prepared: {what}"))
}

const SESSIONS: usize = 6;
