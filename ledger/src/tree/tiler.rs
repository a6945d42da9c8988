//! Cuts the hashes of a growing tree into tiles, and reads nodes back out of them.
//!
//! Memory is flat: of each level only the tile that is not full yet is kept.

use crate::hash::Hash;

use super::frontier::{Frontier, check_size};
use super::tile::{TILE_HEIGHT, TILE_LEVEL_MAX, TILE_WIDTH, Tile, TileBytes, TileKind};
use super::{HashReader, Node, TreeError, node_hash};

const LEVELS: usize = TILE_LEVEL_MAX as usize + 1;

/// Makes the tiles of a tree, leaf by leaf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tiler {
    size: u64,
    /// The size at the last cut, whose partial tiles were given out already.
    cut: u64,
    rows: [Vec<Hash>; LEVELS],
}

impl Tiler {
    /// Starts with no leaf.
    pub fn new() -> Tiler {
        Tiler::default()
    }

    /// Takes up a tree again whose size and root are known; `read` gives the bytes of a tile. Tiles
    /// that do not lead to that root are refused.
    pub fn resume(
        size: u64,
        root: &Hash,
        mut read: impl FnMut(Tile) -> Option<Vec<u8>>,
    ) -> Result<Tiler, TreeError> {
        check_size(size)?;
        let mut tiler = Tiler {
            size,
            cut: size,
            rows: Default::default(),
        };
        for (level, row) in (0..).zip(&mut tiler.rows) {
            let count = size >> (TILE_HEIGHT * u32::from(level));
            // A full tile stands in the level above; only what is behind it is still open.
            let index = count >> TILE_HEIGHT;
            if let Some(tile) = Tile::of_row(TileKind::Hashes(level), index, count) {
                let bytes = read(tile).ok_or(TreeError::Tiles(size))?;
                *row = read_hashes(tile, &bytes).ok_or(TreeError::Tiles(size))?;
            }
        }
        if tiler.root() != *root {
            return Err(TreeError::Tiles(size));
        }
        Ok(tiler)
    }

    /// Appends a leaf; gives the tiles that it filled.
    pub fn push(&mut self, leaf: Hash) -> Result<Vec<TileBytes>, TreeError> {
        check_size(self.size + 1)?;
        let mut filled = Vec::new();
        let mut hash = leaf;
        let mut index = self.size;
        for (level, row) in (0..).zip(&mut self.rows) {
            row.push(hash);
            if row.len() < usize::from(TILE_WIDTH) {
                break;
            }
            index >>= TILE_HEIGHT;
            filled.push(tile_bytes(level, index, row));
            hash = subtree_root(row);
            row.clear();
        }
        self.size += 1;
        Ok(filled)
    }

    /// Gives the partial tiles that a checkpoint of the present size needs and that were not there
    /// at the last cut.
    pub fn cut(&mut self) -> Vec<TileBytes> {
        let mut partial = Vec::new();
        for (level, row) in (0..).zip(&self.rows) {
            let height = TILE_HEIGHT * u32::from(level);
            if !row.is_empty() && self.cut >> height != self.size >> height {
                let index = self.size >> height >> TILE_HEIGHT;
                partial.push(tile_bytes(level, index, row));
            }
        }
        self.cut = self.size;
        partial
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The right edge.
    pub fn frontier(&self) -> Frontier {
        let mut edge = Vec::new();
        for row in self.rows.iter().rev() {
            let mut rest = row.as_slice();
            while !rest.is_empty() {
                let (subtree, behind) = rest.split_at(1 << rest.len().ilog2());
                edge.push(subtree_root(subtree));
                rest = behind;
            }
        }
        Frontier::from_edge(self.size, edge).expect("a row has as many hashes as its digit says")
    }

    /// The root over all leaves.
    pub fn root(&self) -> Hash {
        self.frontier().root()
    }
}

/// Finds the hashes of nodes in the tiles of a tree of known size.
///
/// What it gives is as good as the tiles are: a proof made from them is to be verified.
#[derive(Clone, Debug)]
pub struct TileHashes<F> {
    size: u64,
    read: F,
}

impl<F: Fn(Tile) -> Option<Vec<u8>>> TileHashes<F> {
    /// Reads from the tiles that a checkpoint of this size needs; `read` gives their bytes.
    pub fn new(size: u64, read: F) -> Result<TileHashes<F>, TreeError> {
        check_size(size)?;
        Ok(TileHashes { size, read })
    }
}

impl<F: Fn(Tile) -> Option<Vec<u8>>> HashReader for TileHashes<F> {
    fn hash(&self, node: Node) -> Option<Hash> {
        let height = u32::from(node.level) % TILE_HEIGHT;
        let level = node.level / u8::try_from(TILE_HEIGHT).ok()?;
        if level > TILE_LEVEL_MAX {
            return None;
        }
        let first = node.index.checked_shl(height)?;
        let count = self.size >> (TILE_HEIGHT * u32::from(level));
        let tile = Tile::of_row(TileKind::Hashes(level), first >> TILE_HEIGHT, count)?;
        let hashes = read_hashes(tile, &(self.read)(tile)?)?;
        let start = usize::try_from(first % u64::from(TILE_WIDTH)).ok()?;
        let subtree = hashes.get(start..start + (1 << height))?;
        Some(subtree_root(subtree))
    }
}

fn tile_bytes(level: u8, index: u64, row: &[Hash]) -> TileBytes {
    let width = u16::try_from(row.len()).expect("a row has at most 256 hashes");
    let kind = TileKind::Hashes(level);
    let tile = Tile::new(kind, index, width).expect("the size of the tree is bounded");
    let bytes = row.iter().flat_map(|hash| *hash.as_bytes()).collect();
    TileBytes { tile, bytes }
}

fn read_hashes(tile: Tile, bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    let fits = rest.is_empty() && hashes.len() == usize::from(tile.width());
    fits.then(|| hashes.iter().copied().map(Hash::from_bytes).collect())
}

/// The root over a power of two of hashes.
fn subtree_root(hashes: &[Hash]) -> Hash {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        let pairs = row.chunks_exact(2);
        row = pairs.map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    row[0]
}
