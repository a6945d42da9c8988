//! The embedded examples do what they say, as they stand in `adapters/examples` and `engine/examples`.

use redress_adapters::postings::Schema;
use redress_tests::Lab;

#[expect(dead_code, reason = "a program's `main` is not called from here")]
#[path = "../../adapters/examples/lockfile.rs"]
mod lockfile;
#[expect(dead_code, reason = "a program's `main` is not called from here")]
#[path = "../../adapters/examples/pipeline.rs"]
mod pipeline;
#[expect(dead_code, reason = "a program's `main` is not called from here")]
#[path = "../../adapters/examples/release.rs"]
mod release;
#[expect(dead_code, reason = "a program's `main` is not called from here")]
#[path = "../../adapters/examples/transfer.rs"]
mod transfer;
#[expect(dead_code, reason = "a program's `main` is not called from here")]
#[path = "../../engine/examples/typed.rs"]
mod typed;

/// How each run ended, in the order in which they were opened.
fn ended(lab: &Lab) -> String {
    let sql = "select regexp_replace(saga, '-[0-9a-f]{32}$', '') || ' ' || state from redress.run where saga <> 'system' order by opened_at, id";
    lab.sql(sql).replace('\n', ", ")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_lockfile_updates_and_is_brought_back() {
    let lab = Lab::new().await;
    for _ in 0..2 {
        lockfile::run(lab.url()).await.expect("it runs");
    }
    let once = "lockfile-embedded completed, lockfile-embedded compensated";
    assert_eq!(ended(&lab), format!("{once}, {once}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_pipeline_deploys_goes_back_and_is_taken_back() {
    let lab = Lab::new().await;
    for _ in 0..2 {
        pipeline::run(lab.url()).await.expect("it runs");
    }
    let once = "pipeline completed, pipeline compensated";
    assert_eq!(ended(&lab), format!("{once}, {once}"));
    let rewinds = "select count(*) from redress.record where kind = 'plan.finished'
        and convert_from(bytes, 'UTF8')::jsonb #>> '{body,rewind,trigger}' = 'automatic'";
    assert_eq!(lab.sql(rewinds), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_release_ships_goes_back_as_one_and_ships_again() {
    let lab = Lab::new().await;
    for _ in 0..2 {
        release::run(lab.url()).await.expect("it runs");
    }
    assert_eq!(ended(&lab), "release completed, release completed");
    let rewound = "select count(*) from release.artefact where status = 'rewound'";
    assert_eq!(lab.sql(rewound), "6", "three phases of each");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_transfer_pays_and_reverses() {
    let lab = Lab::new().await;
    for script in Schema::default().up() {
        lab.sql(&script);
    }
    transfer::run(lab.url()).await.expect("it runs");
    let all = "transfer-in-rust compensated, transfer-in-rust compensated";
    assert_eq!(ended(&lab), all, "one failed, one was taken back");
    let open = "select count(*) from postings.balance where input <> output";
    assert_eq!(lab.sql(open), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typed_saga_ships_tea_and_takes_glass_back() {
    let lab = Lab::new().await;
    for _ in 0..2 {
        typed::run(lab.url()).await.expect("it runs");
    }
    let once = "typed-example completed, typed-example compensated";
    assert_eq!(ended(&lab), format!("{once}, {once}"));
}
