//! What the command costs when much is touched: memory, looked at from outside.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use crate::kit::Kit;

const SAGA: &str = r#"
saga: wide
version: 1
input: {type: object}
authority: {soft_revert: auto}
phases:
  - name: change
    adapter: sql
    writes: [b.item]
    residue: [b.item]
    compensation: soft_revert
    retry: {attempts: 1}
    with:
      capture:
        - {sql: "select id from b.item where id <= ($1::jsonb ->> 'upto')::bigint order by id for update", params: [/input], as: old, form: keys}
      apply:
        - {sql: "update b.item set state = 'new' where id <@ $1::int8multirange", params: [/undo/capture/old/0/keys], rows: {min: 1}}
      guard:
        - {sql: "select true from b.item where id = 1 for update"}
      revert:
        - {sql: "update b.item set state = 'old' where id <@ $1::int8multirange", params: [/undo/capture/old/0/keys], rows: {min: 1}}
  - name: fail
    adapter: sql
    retry: {attempts: 1}
    with:
      apply: [{sql: select 1 / 0}]
"#;

/// The most memory that a run of so many rows takes, in KiB.
#[cfg(target_os = "linux")]
fn peak(kit: &Kit, upto: u32) -> u64 {
    let input = format!(r#"{{"upto": {upto}}}"#);
    let mut child = kit
        .command(&["start", "wide", "--input", &input, "--wait"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command starts");
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    let exit = loop {
        if let Some(exit) = child.try_wait().expect("its state") {
            break exit;
        }
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        most = most.max(now.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(exit.code(), Some(1), "compensated");
    most
}

/// Forward and back over a hundred thousand rows takes about the memory of ten.
#[cfg(target_os = "linux")]
#[test]
fn a_hundred_thousand_rows_do_not_fill_the_memory() {
    const MORE_KIB_MAX: u64 = 16 * 1024;
    let kit = Kit::new();
    kit.database.query_text(
        "create schema b; create table b.item (id bigint primary key, state text not null);
         insert into b.item select n, 'old' from generate_series(1, 100000) n",
    );
    let file = kit.write("wide.yaml", SAGA.as_bytes());
    kit.ok(&["saga", "register", &file]);
    let (few, many) = (peak(&kit, 10), peak(&kit, 100_000));
    assert!(
        few > 0 && many < few + MORE_KIB_MAX,
        "{few} KiB and {many} KiB"
    );
    let states = "select state, count(*) from b.item group by 1";
    assert_eq!(kit.database.query_text(states), "old|100000");
}
