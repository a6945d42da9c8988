//! A directory of 10,000 files: the first snapshot, the next one, an update of 100 files, its way back, a whole restore.
//!
//! ```text
//! cargo bench -p redress-adapters --bench fileset [-- ROUNDS [FILES]]
//! ```

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use redress_adapters::fileset::{Content, Edit, Order, Owner, Place, RelPath, Store};

/// Bytes of a file.
const FILE_BYTES: usize = 2_000;
/// Files that an update changes.
const CHANGED: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let numbers: Vec<usize> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let rounds = numbers.first().copied().unwrap_or(3);
    let files = numbers.get(1).copied().unwrap_or(10_000);
    let names = [
        "first snapshot",
        "next snapshot",
        "update",
        "way back",
        "whole restore",
    ];
    let mut took: Vec<Vec<Duration>> = vec![Vec::new(); names.len()];
    for _ in 0..rounds {
        for (times, time) in took.iter_mut().zip(round(files)?) {
            times.push(time);
        }
    }
    println!("{files} files of {FILE_BYTES} bytes, median of {rounds}:");
    for (name, times) in names.iter().zip(&mut took) {
        times.sort();
        println!("  {name:<16} {:>8} ms", times[times.len() / 2].as_millis());
    }
    Ok(())
}

fn round(files: usize) -> Result<[Duration; 5], Box<dyn Error>> {
    let temp = tempfile::tempdir()?;
    let folder = temp.path().join("root/many");
    for n in 0..files {
        let path = folder.join(format!("d{}/f{n}", n % 100));
        fs::create_dir_all(path.parent().ok_or("a folder")?)?;
        let mut content = format!("{n} ").repeat(FILE_BYTES);
        content.truncate(FILE_BYTES);
        fs::write(path, content)?;
    }
    let store = Store::open(temp.path().join("store"))?;
    let place = Place {
        root: temp.path().join("root"),
        directory: RelPath::named("many")?,
    };
    let owner = |key: &str| Owner {
        run: None,
        key: key.to_owned(),
    };
    let timed = |what: &mut dyn FnMut() -> Result<(), Box<dyn Error>>| {
        let start = Instant::now();
        what().map(|()| start.elapsed())
    };
    let mut first = None;
    let taken = timed(&mut || {
        first = Some(
            store
                .take(&store.lock(&place, "bench")?, owner("first"), &[])?
                .id,
        );
        Ok(())
    })?;
    let next = timed(&mut || {
        store.take(&store.lock(&place, "bench")?, owner("next"), &[])?;
        Ok(())
    })?;
    let mut done = None;
    let updated = timed(&mut || {
        done = Some(store.update(order(&place)?)?.1);
        Ok(())
    })?;
    let back = timed(&mut || {
        store.undo(&place, done.as_ref().ok_or("updated")?)?;
        Ok(())
    })?;
    fs::remove_dir_all(&folder)?;
    fs::create_dir(&folder)?;
    let whole = timed(&mut || {
        store.restore(&place, &first.ok_or("taken")?, owner("whole"))?;
        Ok(())
    })?;
    Ok([taken, next, updated, back, whole])
}

fn order(place: &Place) -> Result<Order, Box<dyn Error>> {
    let mut edits = Vec::new();
    for n in 0..CHANGED {
        edits.push(Edit {
            path: RelPath::named(&format!("d{}/f{n}", n % 100))?,
            content: Content::Bytes(format!("changed {n}").into_bytes()),
            mode: None,
            sha256: None,
            may_lack: false,
        });
    }
    Ok(Order {
        key: "bench".to_owned(),
        run: None,
        place: place.clone(),
        exclude: Vec::new(),
        expect: Vec::new(),
        edits,
        deadline: None,
    })
}
