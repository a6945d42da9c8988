//! Names the static files of a tree: 256 hashes or 256 entries each (C2SP tlog-tiles).

use std::fmt;
use std::str::FromStr;

use super::frontier::check_size;
use super::{TREE_SIZE_MAX, TreeError};

/// How many hashes or entries a full tile has.
pub const TILE_WIDTH: u16 = 256;

/// The highest level of tiles that a tree of [`super::TREE_SIZE_MAX`] leaves has.
pub const TILE_LEVEL_MAX: u8 = 6;

/// How many levels of nodes lie between two levels of tiles.
pub(super) const TILE_HEIGHT: u32 = 8;

/// The longest path of a tile: that of the last partial entry bundle has 42 bytes.
const PATH_BYTES_MAX: usize = 48;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Entries with their lengths.
    Entries,
    /// Hashes: at level 0 of leaves, above of full tiles of the level below.
    Hashes(u8),
}

/// One static file of a tree; written as its path, `tile/0/x001/234.p/5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    kind: TileKind,
    index: u64,
    width: u16,
}

/// A tile and its bytes, to be written to its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileBytes {
    /// Which one.
    pub tile: Tile,
    /// Its exact content.
    pub bytes: Vec<u8>,
}

impl Tile {
    /// Names a tile that some tree can have.
    pub fn new(kind: TileKind, index: u64, width: u16) -> Result<Tile, TreeError> {
        let level = match kind {
            TileKind::Entries => 0,
            TileKind::Hashes(level) => level,
        };
        if level > TILE_LEVEL_MAX || !(1..=TILE_WIDTH).contains(&width) {
            return Err(TreeError::Tile);
        }
        let most = TREE_SIZE_MAX >> (TILE_HEIGHT * u32::from(level));
        let end = index
            .checked_mul(u64::from(TILE_WIDTH))
            .and_then(|start| start.checked_add(u64::from(width)));
        match end {
            Some(end) if end <= most => Ok(Tile { kind, index, width }),
            _ => Err(TreeError::Tile),
        }
    }

    /// The tile of a row that has `count` elements, `None` behind its end.
    pub(super) fn of_row(kind: TileKind, index: u64, count: u64) -> Option<Tile> {
        let before = index.checked_mul(u64::from(TILE_WIDTH))?;
        let left = count.checked_sub(before)?;
        let width = u16::try_from(left).map_or(TILE_WIDTH, |left| left.min(TILE_WIDTH));
        (width > 0).then_some(Tile { kind, index, width })
    }

    /// What it holds.
    pub fn kind(&self) -> TileKind {
        self.kind
    }

    /// Its place in the level, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes or entries it holds.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Whether it is not full.
    pub fn is_partial(&self) -> bool {
        self.width < TILE_WIDTH
    }

    /// The tile of the same place with all its hashes or entries.
    pub fn full(self) -> Tile {
        let width = TILE_WIDTH;
        Tile { width, ..self }
    }

    /// The path, relative to the directory of the log.
    pub fn path(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Entries => f.write_str("tile/entries")?,
            TileKind::Hashes(level) => write!(f, "tile/{level}")?,
        }
        // Groups of three digits, the last one without a letter, keep directories small.
        let mut group = 1;
        while self.index / group >= 1000 {
            group *= 1000;
        }
        while group > 1 {
            write!(f, "/x{:03}", self.index / group % 1000)?;
            group /= 1000;
        }
        write!(f, "/{:03}", self.index % 1000)?;
        if self.is_partial() {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

impl FromStr for Tile {
    type Err = TreeError;

    fn from_str(path: &str) -> Result<Tile, TreeError> {
        let bad = || TreeError::TilePath(path.chars().take(PATH_BYTES_MAX).collect());
        if path.len() > PATH_BYTES_MAX {
            return Err(bad());
        }
        let tile = read_path(path).ok_or_else(bad)?;
        // Leading zeros, signs and empty groups would be second names of the same file.
        if tile.path() != path {
            return Err(bad());
        }
        Ok(tile)
    }
}

fn read_path(path: &str) -> Option<Tile> {
    let rest = path.strip_prefix("tile/")?;
    let (row, rest) = rest.split_once('/')?;
    let kind = match row {
        "entries" => TileKind::Entries,
        level => TileKind::Hashes(level.parse().ok()?),
    };
    let (number, width) = match rest.split_once(".p/") {
        Some((number, width)) => (number, width.parse().ok()?),
        None => (rest, TILE_WIDTH),
    };
    let mut index: u64 = 0;
    for group in number.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        let value: u64 = digits.parse().ok().filter(|value| *value < 1000)?;
        index = index.checked_mul(1000)?.checked_add(value)?;
    }
    Tile::new(kind, index, width).ok()
}

/// The hash tiles to write when a tree grows from `old` leaves to `new`: full ones, then for each
/// level the partial one at its end.
pub fn tiles_between(old: u64, new: u64) -> Result<impl Iterator<Item = Tile>, TreeError> {
    check_order(old, new)?;
    let levels = 0..=TILE_LEVEL_MAX;
    Ok(levels.flat_map(move |level| {
        let height = TILE_HEIGHT * u32::from(level);
        row_between(TileKind::Hashes(level), old >> height, new >> height)
    }))
}

/// The entry bundles to write when a tree grows from `old` leaves to `new`.
pub fn bundles_between(old: u64, new: u64) -> Result<impl Iterator<Item = Tile>, TreeError> {
    check_order(old, new)?;
    Ok(row_between(TileKind::Entries, old, new))
}

fn row_between(kind: TileKind, old: u64, new: u64) -> impl Iterator<Item = Tile> {
    let first = old >> TILE_HEIGHT;
    // A row that did not grow has nothing new, not even its partial tile.
    let behind = if old == new {
        first
    } else {
        (new >> TILE_HEIGHT) + 1
    };
    (first..behind).filter_map(move |index| Tile::of_row(kind, index, new))
}

fn check_order(old: u64, new: u64) -> Result<(), TreeError> {
    check_size(new)?;
    if old > new {
        return Err(TreeError::Shrunk { old, new });
    }
    Ok(())
}
