//! The saga of `examples/transfer` from a Rust program: a payment, one that fails, and the plan that takes one back.
//!
//! `DATABASE_URL=postgres://… cargo run -p redress-adapters --example transfer`, against a database in which
//! `redress db migrate` and `redress postings up` were run.

use std::collections::BTreeMap;
use std::error::Error;

use redress::definition::builder::{Phase, Saga};
use redress::definition::{Authority, Compensation, Definition};
use redress::{Engine, Outcome};
use redress_adapters::postings::With;
use redress_adapters::postings::with::{Many, Open, Posting, Term, Transaction, WayBack};
use serde_json::json;
use uuid::Uuid;

const TABLES: [&str; 4] = [
    "postings.account",
    "postings.balance",
    "postings.transaction",
    "postings.posting",
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL names no database")?;
    run(&url).await
}

/// All of it, against the database of this URL.
pub async fn run(url: &str) -> Result<(), Box<dyn Error>> {
    let engine = Engine::builder(redress::db::pool(url, 4)?)
        .adapters(redress_adapters::standard())
        .register(saga()?)?
        .build()
        .await?;
    // Names of this run's own, so that the program can be run again.
    let own = Uuid::now_v7().simple().to_string();
    let pay = |amount: &str, fail: bool| json!({"payee": format!("rust:{own}"), "amount": amount, "fail": fail});
    let paid = drive(&engine, pay("250", false)).await?;
    println!("paid: {paid:?}");
    let failed = drive(&engine, pay("100", true)).await?;
    println!("failed, and reversed: {failed:?}");
    let Outcome::Completed(run) = paid else {
        return Err("the first payment did not complete".into());
    };
    let plan = engine.plan(run.id, BTreeMap::new(), "taken back").await?;
    println!("taken back: {:?}", engine.apply(&plan).await?);
    Ok(())
}

async fn drive(engine: &Engine, input: serde_json::Value) -> Result<Outcome, redress::Error> {
    let start = engine.start("transfer-in-rust", input);
    Ok(engine.start_and_drive(start).await?.1)
}

/// A payment out of `world`, and a phase that fails when it is told to.
fn saga() -> Result<Definition, Box<dyn Error>> {
    let payee = || -> Result<Term, Box<dyn Error>> { Ok(Term::At("/input/payee".parse()?)) };
    let with = With {
        accounts: vec![Term::text("world"), payee()?],
        open: vec![Open {
            account: Term::text("world"),
            overdraft: true,
        }],
        transactions: vec![Transaction {
            keep_as: Some("payment".parse()?),
            reference: None,
            effective: None,
            postings: Many::Listed(vec![Posting {
                source: Term::text("world"),
                destination: payee()?,
                asset: Term::text("EUR/2"),
                amount: Term::At("/input/amount".parse()?),
            }]),
            metadata: Default::default(),
        }],
        compensation: WayBack {
            effective: Some(Term::text("original")),
            ..WayBack::default()
        },
        ..With::default()
    };
    let post = Phase::new("post", "postings")
        .writes(TABLES)
        .residue(TABLES)
        .compensation(Compensation::SoftRevert)
        .with(serde_json::to_value(with)?);
    let settle = json!({"verify": [{"sql": "select not $1::boolean", "params": ["/input/fail"]}]});
    let saga = Saga::new("transfer-in-rust", 1)
        .authority("soft_revert", Authority::Auto)
        .phase(post)
        .phase(Phase::new("settle", "sql").with(settle))
        .build()?;
    Ok(saga)
}
