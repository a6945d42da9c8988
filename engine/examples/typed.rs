//! A saga in Rust whose phases fit by their types: two inside the database, one act outside of it, and the way back.
//!
//! ```text
//! DATABASE_URL=postgresql://… cargo run -p redress --example typed
//! ```
//!
//! The database gets the schema `redress`, and two tables of the example's own that are dropped in the end. The labels are
//! files in a temporary folder. `Ship` takes what `Print` gives; put them in another order and it does not compile.

use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use async_trait::async_trait;
use redress::adapter::AdapterError;
use redress::definition::builder::Phase;
use redress::definition::{Authority, Compensation};
use redress::external::{ActError, ExternalCall, Probe, Undo, WayBack};
use redress::phase_tx::PhaseTx;
use redress::plan::Action;
use redress::typed::{ExternalPhase, LocalPhase, TypedSaga};
use redress::{Engine, Outcome, SchemaName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

const TABLES: &str =
    "create table typed_reservation (id int generated always as identity primary key,
    sku text not null, state text not null default 'live');
  create table typed_parcel (label text primary key, sku text not null)";

const DROP: &str = "drop table if exists typed_reservation, typed_parcel";

/// What a run is started with.
#[derive(Serialize, Deserialize)]
struct Order {
    sku: String,
}

#[derive(Serialize, Deserialize)]
struct Reserved {
    id: i32,
    sku: String,
}

#[derive(Serialize, Deserialize)]
struct Printed {
    label: String,
    sku: String,
}

/// Inside the database: one transaction, which the phase cannot end.
struct Reserve;

#[async_trait]
impl LocalPhase for Reserve {
    type Input = Order;
    type Output = Reserved;

    fn declare(&self) -> Phase {
        Phase::named("reserve")
            .writes(["public.typed_reservation"])
            .residue(["public.typed_reservation"])
            .compensation(Compensation::SoftRevert)
    }

    async fn apply(&self, tx: &PhaseTx<'_>, order: Order) -> Result<Reserved, AdapterError> {
        let sql = "insert into public.typed_reservation (sku) values ($1) returning id";
        let rows = tx.query(sql, &[&order.sku]).await?;
        let id = rows[0].get(0);
        let sku = order.sku;
        Ok(Reserved { id, sku })
    }

    /// Locks what the way back would touch, and says whether it may.
    async fn guard(&self, tx: &PhaseTx<'_>, done: Reserved, _: Action) -> Result<(), AdapterError> {
        let sql =
            "select from public.typed_reservation where id = $1 and state = 'live' for update";
        match tx.query(sql, &[&done.id]).await?.len() {
            1 => Ok(()),
            _ => Err(AdapterError::Guard("it is not live".to_owned())),
        }
    }

    async fn revert(
        &self,
        tx: &PhaseTx<'_>,
        done: Reserved,
        _: Action,
    ) -> Result<(), AdapterError> {
        let sql = "update public.typed_reservation set state = 'withdrawn' where id = $1";
        tx.execute(sql, &[&done.id]).await?;
        Ok(())
    }
}

/// Outside of it: an act under a key, a probe that tells whether it was done, and an undo.
struct Print {
    folder: PathBuf,
}

impl Print {
    /// The key is the same for every try, and another one after the phase was undone.
    fn label(&self, key: &str) -> PathBuf {
        self.folder.join(key)
    }

    fn printed(&self, call: &ExternalCall<'_>, sku: String) -> Printed {
        let label = call.act_key.to_owned();
        Printed { label, sku }
    }
}

#[async_trait]
impl ExternalPhase for Print {
    type Input = Reserved;
    type Output = Printed;

    fn declare(&self) -> Phase {
        Phase::named("print").compensation(Compensation::Restore)
    }

    fn way_back(&self) -> WayBack<'_> {
        WayBack::Undo(self)
    }

    async fn prepare(&self, _: &ExternalCall<'_>, _: Reserved) -> Result<Value, AdapterError> {
        Ok(json!({}))
    }

    async fn act(&self, call: &ExternalCall<'_>, reserved: Reserved) -> Result<Printed, ActError> {
        // Written beside and renamed: the label is there whole, or it is not there.
        let beside = self.label(&format!(".{}", call.act_key));
        fs::write(&beside, &reserved.sku)
            .and_then(|()| fs::rename(&beside, self.label(call.act_key)))
            .map_err(|error| ActError::again(error.to_string()))?;
        Ok(self.printed(call, reserved.sku))
    }

    async fn probe(&self, call: &ExternalCall<'_>, reserved: Reserved) -> Probe<Printed> {
        match self.label(call.act_key).try_exists() {
            Ok(true) => Probe::Done(self.printed(call, reserved.sku)),
            Ok(false) => Probe::NotDone,
            Err(error) => Probe::Unknown(error.to_string()),
        }
    }
}

#[async_trait]
impl Undo for Print {
    async fn undo(&self, call: &ExternalCall<'_>) -> Result<Map<String, Value>, ActError> {
        match fs::remove_file(self.label(call.act_key)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(ActError::again(error.to_string()))
            }
            _ => Ok(Map::new()),
        }
    }

    async fn probe_undo(&self, call: &ExternalCall<'_>) -> Probe<Map<String, Value>> {
        match self.label(call.act_key).try_exists() {
            Ok(false) => Probe::Done(Map::new()),
            Ok(true) => Probe::NotDone,
            Err(error) => Probe::Unknown(error.to_string()),
        }
    }
}

/// Takes the label, and does not send glass.
struct Ship;

#[async_trait]
impl LocalPhase for Ship {
    type Input = Printed;
    type Output = String;

    fn declare(&self) -> Phase {
        Phase::named("ship")
            .writes(["public.typed_parcel"])
            .compensation(Compensation::SoftRevert)
    }

    async fn apply(&self, tx: &PhaseTx<'_>, printed: Printed) -> Result<String, AdapterError> {
        if printed.sku == "glass" {
            return Err(AdapterError::Business("glass is not sent".to_owned()));
        }
        let sql = "insert into public.typed_parcel (label, sku) values ($1, $2)";
        tx.execute(sql, &[&printed.label, &printed.sku]).await?;
        Ok(printed.label)
    }

    async fn revert(&self, tx: &PhaseTx<'_>, label: String, _: Action) -> Result<(), AdapterError> {
        let sql = "update public.typed_parcel set sku = 'called back' where label = $1";
        tx.execute(sql, &[&label]).await?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL names no database")?;
    run(&url).await
}

/// All of it, against the database of this URL.
pub async fn run(url: &str) -> Result<(), Box<dyn Error>> {
    let session = redress::db::connect(&url.parse()?).await?;
    redress::schema::migrate(&session, &SchemaName::default(), "typed.example").await?;
    session.batch_execute(DROP).await?;
    session.batch_execute(TABLES).await?;
    let labels = tempfile::tempdir()?;

    let saga = TypedSaga::<Order>::new("typed-example", 1)
        .with(|saga| {
            saga.input(json!({"type": "object", "required": ["sku"]}))
                .authority("soft_revert", Authority::Auto)
                .authority("restore", Authority::Auto)
        })
        .then(Reserve)
        .then_outside(Print {
            folder: labels.path().to_owned(),
        })
        .then(Ship)
        .build()?;
    let engine = Engine::builder(redress::db::pool(url, 4)?)
        .saga(saga)?
        .build()
        .await?;

    for sku in ["tea", "glass"] {
        let start = engine.start("typed-example", json!({"sku": sku}));
        match engine.start_and_drive(start).await?.1 {
            Outcome::Completed(run) => println!("{sku}: run {} completed", run.id),
            Outcome::Compensated(run) => println!("{sku}: taken back, {:?}", run.error),
            Outcome::Held(run) | Outcome::Stuck(run) => println!("{sku}: a person: {}", run.id),
        }
        let labels = fs::read_dir(labels.path())?.count();
        println!("  labels that stand: {labels}");
    }
    let sql = "select string_agg(sku || ' ' || state, ', ' order by id) from typed_reservation";
    let row = session.query_one(sql, &[]).await?;
    println!("reservations: {}", row.get::<_, &str>(0));
    session.batch_execute(DROP).await?;
    Ok(())
}
