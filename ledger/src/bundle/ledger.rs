//! Verifies a bundle of the whole ledger: 256 entries at a time, with the right edge of one tree.
//!
//! **Invariant:** every record is held against its leaf before it is judged, every tile against what
//! the entries give, every head against the root at its size. So a changed byte is named by its
//! record, and what nobody could have seen together is a fork.

use crate::checkpoint::CHECKPOINT_BYTES_MAX;
use crate::hash::{Hash, leaf_hash};
use crate::record::RECORD_BYTES_MAX;
use crate::tree::{Frontier, TILE_LEVEL_MAX, TILE_WIDTH, Tile, TileKind, bundles_between};

use super::fault::{Stop, fault};
use super::folder::differs;
use super::path::{position_of, read_number};
use super::records::Entry;
use super::verifier::Verifier;

const TILE_BYTES_MAX: usize = TILE_WIDTH as usize * 32;
const ENTRIES_BYTES_MAX: usize = TILE_WIDTH as usize * (2 + RECORD_BYTES_MAX);
const LEVELS: usize = TILE_LEVEL_MAX as usize + 1;

/// What the entries give so far.
struct Walk<'v, 'a> {
    verifier: &'v mut Verifier<'a>,
    tree: Frontier,
    /// The hashes that wait for their tile, by level; those of level 0 do not wait.
    rows: [Vec<Hash>; LEVELS],
    /// How many tiles of each level were compared.
    compared: [u64; LEVELS],
    /// The published heads in the order of their sizes, and how many were compared.
    published: Vec<(u64, String)>,
    published_at: usize,
    remembered_at: usize,
    /// Up to here the entries lead to a head that the reader remembers.
    confirmed_elsewhere: u64,
}

/// Verifies the entries, the tiles and the heads.
pub(super) fn verify(verifier: &mut Verifier<'_>) -> Result<(), Stop> {
    let size = verifier.manifest.size;
    let paths = verifier.folder.listed().iter().map(|one| one.path.as_str());
    let heads = paths.filter(|path| path.starts_with("checkpoints/"));
    let published = heads.map(|path| {
        let name = path.strip_prefix("checkpoints/").and_then(read_number);
        (name.unwrap_or(size), path.to_owned())
    });
    let mut published: Vec<(u64, String)> = published.collect();
    published.sort();
    let mut walk = Walk {
        verifier,
        tree: Frontier::new(),
        rows: Default::default(),
        compared: [0; LEVELS],
        published,
        published_at: 0,
        remembered_at: 0,
        confirmed_elsewhere: 0,
    };
    walk.compare_heads()?;
    let (mut hashes, mut entries) = (Vec::new(), Vec::new());
    for bundle in bundles_between(0, size).map_err(|error| fault("RD0710", error))? {
        walk.bundle(bundle, &mut hashes, &mut entries)?;
    }
    for level in 1..LEVELS {
        if !walk.rows[level].is_empty() {
            walk.compare_tile(level)?;
        }
    }
    match walk.verifier.remembered.iter().find(|one| one.size > size) {
        Some(longer) => {
            let words = format!(
                "the ledger ends at {size}, the remembered checkpoint at {}",
                longer.size
            );
            Err(fault("RD0657", words).at(size))
        }
        None => Ok(()),
    }
}

impl Walk<'_, '_> {
    /// 256 entries or the rest: read, compared with their tile, judged one by one.
    fn bundle(
        &mut self,
        bundle: Tile,
        hashes: &mut Vec<u8>,
        entries: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        let first = bundle.index() * u64::from(TILE_WIDTH);
        let path = bundle.path();
        let tile = Tile::new(TileKind::Hashes(0), bundle.index(), bundle.width());
        let tile = tile.map_err(|error| fault("RD0710", error))?.path();
        let folder = &self.verifier.folder;
        let tile_same = folder
            .read_into(&tile, TILE_BYTES_MAX, hashes)
            .map_err(|stop| stop.at(first).file(&tile))?;
        let width = usize::from(bundle.width());
        let (leaves, rest) = hashes.as_chunks::<32>();
        if leaves.len() != width || !rest.is_empty() {
            let words = format!("a tile of {width} hashes has {} bytes", hashes.len());
            return Err(fault("RD0649", words).at(first).file(&tile));
        }
        let same = folder
            .read_into(&path, ENTRIES_BYTES_MAX, entries)
            .map_err(|stop| stop.at(first).file(&path))?;
        let mut left = entries.as_slice();
        for (position, leaf) in (first..).zip(leaves) {
            let entry = next_entry(&mut left).ok_or_else(|| {
                let words = "the entries end too early";
                fault("RD0648", words).at(position).file(&path)
            })?;
            self.entry(position, entry, Hash::from_bytes(*leaf), &path)?;
        }
        if !left.is_empty() {
            let words = "something follows the last entry";
            let behind = first + u64::from(bundle.width());
            return Err(fault("RD0648", words).at(behind).file(&path));
        }
        for (path, same) in [(&path, same), (&tile, tile_same)] {
            if !same {
                return Err(differs(path));
            }
        }
        self.compare_full_tiles()
    }

    fn entry(
        &mut self,
        position: u64,
        bytes: &[u8],
        expected: Hash,
        path: &str,
    ) -> Result<(), Stop> {
        let hash = leaf_hash(bytes);
        if hash != expected {
            let words = "the stored hash is not that of the bytes";
            return Err(fault("RD0650", words).at(position).file(path));
        }
        let entry = Entry {
            position,
            bytes,
            hash,
            path,
        };
        self.verifier.record(&entry)?;
        let rows = &mut self.rows;
        let filled = self.tree.push_with(hash, |node, hash| {
            // Each eighth level of nodes is a level of tiles; the leaves have their tile already.
            let (level, between) = (usize::from(node.level) / 8, node.level % 8);
            if let (Some(row), 0, 1..) = (rows.get_mut(level), between, level) {
                row.push(hash);
            }
        });
        filled.map_err(|error| fault("RD0710", error))?;
        self.compare_heads()
    }

    /// Compares every tile that the last bundle filled, the lowest first.
    fn compare_full_tiles(&mut self) -> Result<(), Stop> {
        for level in 1..LEVELS {
            if self.rows[level].len() == usize::from(TILE_WIDTH) {
                self.compare_tile(level)?;
            }
        }
        Ok(())
    }

    fn compare_tile(&mut self, level: usize) -> Result<(), Stop> {
        let mine = std::mem::take(&mut self.rows[level]);
        let index = self.compared[level];
        self.compared[level] += 1;
        let width = u16::try_from(mine.len()).unwrap_or(u16::MAX);
        let kind = TileKind::Hashes(u8::try_from(level).unwrap_or(u8::MAX));
        let tile = Tile::new(kind, index, width).map_err(|error| fault("RD0710", error))?;
        let path = tile.path();
        let first = position_of(&path).unwrap_or_default();
        let mut bytes = Vec::new();
        let same = self
            .verifier
            .folder
            .read_into(&path, TILE_BYTES_MAX, &mut bytes)
            .map_err(|stop| stop.at(first).file(&path))?;
        if bytes.len() != 32 * mine.len() {
            return Err(fault("RD0649", "a tile of another length")
                .at(first)
                .file(&path));
        }
        let (theirs, _) = bytes.as_chunks::<32>();
        for (at, (theirs, mine)) in (0_u64..).zip(theirs.iter().zip(&mine)) {
            if theirs != mine.as_bytes() {
                let words = "the tile is not what the entries give";
                return Err(fault("RD0649", words)
                    .at(first + (at << (8 * level)))
                    .file(&path));
            }
        }
        if same { Ok(()) } else { Err(differs(&path)) }
    }

    /// Every head of this size, published or remembered, must be what the entries give.
    fn compare_heads(&mut self) -> Result<(), Stop> {
        let size = self.tree.size();
        while let Some((at, path)) = self.published.get(self.published_at) {
            if *at != size {
                break;
            }
            let path = path.clone();
            self.published_at += 1;
            let head = self.verifier.published(&path, CHECKPOINT_BYTES_MAX)?;
            let confirmed = self.verifier.confirmed;
            if head.checkpoint.root != self.tree.root() {
                let words = format!("the entries do not give the root that was signed at {size}");
                return Err(fault("RD0655", words).at(confirmed).file(&path));
            }
            self.verifier
                .check_in_force(&head.signers)
                .map_err(|stop| stop.at(confirmed).file(&path))?;
            self.verifier.confirmed = size;
        }
        while let Some(remembered) = self.verifier.remembered.get(self.remembered_at) {
            if remembered.size != size {
                break;
            }
            self.remembered_at += 1;
            if remembered.root != self.tree.root() {
                let words = format!("a fork: another root was signed for size {size}");
                return Err(fault("RD0656", words).at(self.confirmed_elsewhere));
            }
            self.confirmed_elsewhere = size;
            self.verifier.report.consistent_with.push(size);
        }
        Ok(())
    }
}

/// Takes an entry from the front: two bytes of length, and so many more.
fn next_entry<'e>(left: &mut &'e [u8]) -> Option<&'e [u8]> {
    let (length, behind) = left.split_first_chunk::<2>()?;
    let (entry, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *left = behind;
    Some(entry)
}
