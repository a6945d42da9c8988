//! Tries tiles and bundles: paths, contents, growth in steps, and files that were changed.

use super::*;

/// The paths of the tlog-tiles specification, and what must not be a second name of one.
#[test]
fn a_tile_has_one_path() {
    let check = |kind, index, width, path: &str| {
        let tile = Tile::new(kind, index, width).unwrap();
        assert_eq!(tile.path(), path);
        assert_eq!(path.parse::<Tile>().unwrap(), tile);
    };
    check(TileKind::Hashes(0), 0, 256, "tile/0/000");
    check(TileKind::Hashes(0), 1234, 5, "tile/0/x001/234.p/5");
    check(TileKind::Hashes(3), 1_234_067, 256, "tile/3/x001/x234/067");
    check(TileKind::Entries, 999, 255, "tile/entries/999.p/255");
    check(TileKind::Entries, 1000, 1, "tile/entries/x001/000.p/1");
    let last = TREE_SIZE_MAX >> 8;
    let path = "tile/entries/x035/x184/x372/x088/831.p/255";
    check(TileKind::Entries, last, 255, path);
    let long = format!("tile/0/{}000", "x999/".repeat(1000));
    let refused = [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/+0/000",
        "tile/7/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/data/000",
        "tile/0/000.p/0",
        "tile/0/000.p/00",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/1/2",
        "tile/0/x000/000",
        "tile/0/x001/1000",
        "tile/0/x001/x000",
        "tile/0/001/000",
        "tile/0/xx01/000",
        "tile/0//000",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0/../000",
        "tile/0/+00",
        "tile/entries/x035/x184/x372/x088/832",
        "tile/0/x999/x999/x999/x999/x999/x999/x999",
        long.as_str(),
    ];
    for path in refused {
        let error = path.parse::<Tile>().unwrap_err();
        assert_eq!(error.code(), "RD0627", "{path}");
    }
}

/// The example of the tlog-tiles specification: 70,000 leaves.
#[test]
fn a_tree_has_the_tiles_that_the_specification_says() {
    let tiles: Vec<Tile> = tiles_between(0, 70_000).unwrap().collect();
    let count = |level, partial: bool| {
        let kind = TileKind::Hashes(level);
        let of_kind = tiles.iter().filter(|tile| tile.kind() == kind);
        of_kind.filter(|tile| tile.is_partial() == partial).count()
    };
    assert_eq!((count(0, false), count(0, true)), (273, 1));
    assert_eq!((count(1, false), count(1, true)), (1, 1));
    assert_eq!((count(2, false), count(2, true)), (0, 1));
    let paths: Vec<String> = tiles.iter().map(Tile::path).collect();
    for path in ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"] {
        assert!(paths.iter().any(|known| known == path), "{path}");
    }
    assert_eq!(bundles_between(0, 70_000).unwrap().count(), 274);
    assert_eq!(tiles_between(70_000, 70_000).unwrap().count(), 0);
    assert_eq!(tiles_between(0, 0).unwrap().count(), 0);
    assert!(tiles_between(2, 1).is_err());
}

/// What a directory holds after a tree grew with cuts at these sizes.
fn directory(cuts: &[u64]) -> BTreeMap<Tile, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut tiler = Tiler::new();
    for cut in cuts {
        let old = tiler.size();
        let mut written = Vec::new();
        for index in old..*cut {
            written.extend(tiler.push(leaf(index)).unwrap());
        }
        written.extend(tiler.cut());
        assert!(tiler.cut().is_empty(), "a cut is made once");
        let names: Vec<Tile> = sorted(written.iter().map(|one| one.tile));
        assert_eq!(names, sorted(tiles_between(old, *cut).unwrap()));
        files.extend(written.into_iter().map(|one| (one.tile, one.bytes)));
        let read = |tile| files.get(&tile).cloned();
        let resumed = Tiler::resume(*cut, &tiler.root(), read).unwrap();
        assert_eq!(resumed, tiler);
        assert_eq!(tiler.frontier(), frontier(*cut));
    }
    files
}

fn sorted(tiles: impl Iterator<Item = Tile>) -> Vec<Tile> {
    let mut tiles: Vec<Tile> = tiles.collect();
    tiles.sort();
    tiles
}

/// More than 65,536 leaves, so that a tile of level 1 fills and level 2 begins.
#[test]
fn tiles_give_back_every_hash_of_the_tree() {
    let size = 65_536 + 300;
    let files = directory(&[1, 255, 256, 257, 1000, size]);
    let tiles = TileHashes::new(size, |tile| files.get(&tile).cloned()).unwrap();
    let root = root_at(&tiles, size).unwrap();
    assert_eq!(root, frontier(size).root());
    for index in [0, 255, 256, 40_000, 65_535, 65_536, size - 1] {
        let proof = inclusion_proof(&tiles, index, size).unwrap();
        verify_inclusion(&leaf(index), index, size, &root, &proof).unwrap();
    }
    for old in [1, 255, 256, 257, 1000] {
        let proof = consistency_proof(&tiles, old, size).unwrap();
        let old_root = frontier(old).root();
        verify_consistency(old, &old_root, size, &root, &proof).unwrap();
    }
    let beyond = Node {
        level: 0,
        index: size,
    };
    assert_eq!(tiles.hash(beyond), None);
    assert_eq!(
        tiles.hash(Node {
            level: 255,
            ..beyond
        }),
        None
    );
    let high = Node {
        level: 16,
        index: u64::MAX,
    };
    assert_eq!(tiles.hash(high), None);
}

/// F92. A tile that was changed, cut off or lost does not go on silently.
#[test]
fn a_tree_is_not_resumed_from_other_tiles() {
    let size = 700;
    let files = directory(&[size]);
    let root = frontier(size).root();
    let resume = |edit: fn(&mut Vec<u8>)| {
        let read = |tile| {
            let mut bytes: Vec<u8> = files.get(&tile).cloned()?;
            edit(&mut bytes);
            Some(bytes)
        };
        Tiler::resume(size, &root, read)
    };
    assert!(resume(|_| ()).is_ok());
    let broken = Err(TreeError::Tiles(size));
    assert_eq!(resume(|bytes| bytes[0] ^= 1), broken);
    assert_eq!(resume(|bytes| bytes.truncate(bytes.len() - 1)), broken);
    assert_eq!(resume(|bytes| bytes.truncate(32)), broken);
    assert_eq!(Tiler::resume(size, &root, |_| None), broken);
    let other = frontier(size + 1).root();
    let read = |tile| files.get(&tile).cloned();
    assert_eq!(Tiler::resume(size, &other, read), broken);
    assert!(Tiler::resume(u64::MAX, &root, |_| None).is_err());
}

fn read_bundle(bytes: &[u8], width: u16) -> Result<Vec<Vec<u8>>, BundleError> {
    let mut reader = BundleReader::new(bytes, width);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry.to_vec());
    }
    assert_eq!(reader.next_entry().unwrap(), None, "the end stays the end");
    Ok(entries)
}

#[test]
fn entries_come_back_from_bundles_byte_for_byte() {
    let mut bundler = Bundler::new();
    let mut files = BTreeMap::new();
    for index in 0..600 {
        let full = bundler.push(&entry(index)).unwrap();
        let cut = if index % 100 == 99 {
            bundler.cut()
        } else {
            None
        };
        let written = full.into_iter().chain(cut);
        files.extend(written.map(|one| (one.tile, one.bytes)));
        if index % 100 == 99 {
            let open = Bundler::open_bundle(bundler.size()).and_then(|tile| files.get(&tile));
            let open = open.cloned().unwrap_or_default();
            let resumed = Bundler::resume(bundler.size(), open).unwrap();
            assert_eq!(resumed, bundler);
        }
    }
    assert_eq!(bundler.cut(), None);
    let mut next = 0;
    for tile in bundles_between(0, 600).unwrap() {
        for found in read_bundle(&files[&tile], tile.width()).unwrap() {
            assert_eq!(found, entry(next));
            next += 1;
        }
    }
    assert_eq!(next, 600);
}

#[test]
fn a_bundle_that_is_cut_off_or_too_long_is_refused() {
    let mut bytes = Vec::new();
    for text in ["", "one", "two"] {
        write_entry(&mut bytes, text.as_bytes()).unwrap();
    }
    assert_eq!(bytes, b"\0\0\0\x03one\0\x03two");
    assert_eq!(read_bundle(&bytes, 3).unwrap().len(), 3);
    assert_eq!(read_bundle(&bytes, 2), Err(BundleError::Trailing));
    assert_eq!(read_bundle(&bytes, 4), Err(BundleError::Truncated(1)));
    for end in 0..bytes.len() {
        assert!(read_bundle(&bytes[..end], 3).is_err(), "{end}");
    }
    let long = vec![0; ENTRY_BYTES_MAX + 1];
    let mut bundler = Bundler::new();
    assert_eq!(bundler.push(&long), Err(BundleError::TooLong(long.len())));
    assert_eq!(bundler, Bundler::new(), "nothing of it stays");
    assert!(bundler.push(&long[1..]).is_ok());
    assert!(Bundler::resume(3, bytes[..4].to_vec()).is_err());
    assert_eq!(BundleError::Trailing.code(), "RD0628");
}

#[test]
fn a_source_that_fails_is_no_cut_off_bundle() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    for width in [0, 1] {
        let error = BundleReader::new(Broken, width).next_entry().unwrap_err();
        assert_eq!((error.code(), error.class()), ("RD0629", Class::Retry));
    }
}

proptest! {
    #[test]
    fn growing_in_steps_gives_the_same_tiles(mut cuts in proptest::collection::vec(1..1500_u64, 1..5)) {
        cuts.sort_unstable();
        let size = *cuts.last().unwrap();
        let once = directory(&[size]);
        let steps = directory(&cuts);
        for (tile, bytes) in &once {
            prop_assert_eq!(steps.get(tile), Some(bytes));
        }
        for (index, old) in cuts.iter().enumerate() {
            let tree = Frontier::from_bytes(*old, &frontier(*old).to_bytes()).unwrap();
            prop_assert_eq!(&tree, &frontier(*old));
            let files = directory(&cuts[..=index]);
            let tiles = TileHashes::new(*old, |tile| files.get(&tile).cloned()).unwrap();
            prop_assert_eq!(root_at(&tiles, *old).unwrap(), tree.root());
        }
    }

    #[test]
    fn any_path_is_one_tile_or_none(path in "tile/(entries|[0-9]{1,2}|data)(/x?[0-9]{1,4}){1,4}(\\.p/[0-9]{1,3})?") {
        if let Ok(tile) = path.parse::<Tile>() {
            prop_assert_eq!(tile.path(), path);
        }
    }
}
