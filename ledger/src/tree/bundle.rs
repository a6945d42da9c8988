//! Writes entries into bundles of 256 and reads them back, one in memory at a time.
//!
//! An entry is its length in two bytes, the higher first, and then itself.

use std::io::{self, Read};

use thiserror::Error;

use crate::class::Class;

use super::TreeError;
use super::frontier::check_size;
use super::tile::{TILE_HEIGHT, TILE_WIDTH, Tile, TileBytes, TileKind};

/// The longest entry.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// Appends one entry to the bytes of a bundle.
pub fn write_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), BundleError> {
    let length = u16::try_from(entry.len()).map_err(|_| BundleError::TooLong(entry.len()))?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// Makes the entry bundles of a tree, entry by entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundler {
    size: u64,
    cut: u64,
    open: Vec<u8>,
}

impl Bundler {
    /// Starts with no entry.
    pub fn new() -> Bundler {
        Bundler::default()
    }

    /// The partial bundle that [`Bundler::resume`] needs for this size, if there is one.
    pub fn open_bundle(size: u64) -> Option<Tile> {
        Tile::of_row(TileKind::Entries, size >> TILE_HEIGHT, size)
    }

    /// Takes up a tree again; `open` is what [`Bundler::open_bundle`] names, or empty.
    pub fn resume(size: u64, open: Vec<u8>) -> Result<Bundler, BundleError> {
        check_size(size)?;
        let width = Bundler::open_bundle(size).map_or(0, |tile| tile.width());
        let mut reader = BundleReader::new(open.as_slice(), width);
        while reader.next_entry()?.is_some() {}
        let cut = size;
        Ok(Bundler { size, cut, open })
    }

    /// Appends an entry; gives the bundle that it filled.
    pub fn push(&mut self, entry: &[u8]) -> Result<Option<TileBytes>, BundleError> {
        check_size(self.size + 1)?;
        write_entry(&mut self.open, entry)?;
        self.size += 1;
        if !self.size.is_multiple_of(u64::from(TILE_WIDTH)) {
            return Ok(None);
        }
        let index = (self.size >> TILE_HEIGHT) - 1;
        let tile = Tile::of_row(TileKind::Entries, index, self.size);
        let bytes = std::mem::take(&mut self.open);
        Ok(tile.map(|tile| TileBytes { tile, bytes }))
    }

    /// Gives the partial bundle that a checkpoint of the present size needs, if it is new.
    pub fn cut(&mut self) -> Option<TileBytes> {
        if std::mem::replace(&mut self.cut, self.size) == self.size {
            return None;
        }
        let bytes = self.open.clone();
        let tile = Bundler::open_bundle(self.size)?;
        Some(TileBytes { tile, bytes })
    }

    /// The number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// Reads the entries of one bundle. The source is read in small pieces and should be buffered.
#[derive(Debug)]
pub struct BundleReader<R> {
    source: R,
    left: u16,
    ended: bool,
    entry: Vec<u8>,
}

impl<R: Read> BundleReader<R> {
    /// Expects exactly `width` entries and nothing behind them.
    pub fn new(source: R, width: u16) -> BundleReader<R> {
        BundleReader {
            source,
            left: width,
            ended: false,
            entry: Vec::new(),
        }
    }

    /// Gives the next entry, `None` once after the last; behind a fault there is nothing more.
    pub fn next_entry(&mut self) -> Result<Option<&[u8]>, BundleError> {
        if self.ended {
            return Ok(None);
        }
        self.ended = true;
        if self.left == 0 {
            return match self.fill(&mut [0]) {
                Ok(()) => Err(BundleError::Trailing),
                Err(BundleError::Truncated(_)) => Ok(None),
                Err(error) => Err(error),
            };
        }
        let mut length = [0; 2];
        self.fill(&mut length)?;
        let mut entry = std::mem::take(&mut self.entry);
        entry.resize(usize::from(u16::from_be_bytes(length)), 0);
        self.fill(&mut entry)?;
        self.entry = entry;
        self.left -= 1;
        self.ended = false;
        Ok(Some(&self.entry))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), BundleError> {
        let left = self.left;
        self.source
            .read_exact(bytes)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => BundleError::Truncated(left),
                _ => BundleError::io(error),
            })
    }
}

/// Why entries cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Longer than two bytes can say.
    #[error("an entry has at most {ENTRY_BYTES_MAX} bytes, not {0}")]
    TooLong(usize),
    /// The bytes end before the last entry does.
    #[error("the bundle is cut off, entries that are missing: {0}")]
    Truncated(u16),
    /// Something follows the last entry.
    #[error("bytes follow the last entry of the bundle")]
    Trailing,
    /// A tree that is too large.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The source failed.
    #[error("the bundle cannot be read: {0}")]
    Io(String),
}

impl BundleError {
    fn io(error: io::Error) -> BundleError {
        BundleError::Io(error.to_string())
    }

    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            BundleError::TooLong(_) | BundleError::Truncated(_) | BundleError::Trailing => "RD0628",
            BundleError::Tree(error) => error.code(),
            BundleError::Io(_) => "RD0629",
        }
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        match self {
            BundleError::TooLong(_) => Class::Refused,
            BundleError::Truncated(_) | BundleError::Trailing => Class::Kill,
            BundleError::Tree(error) => error.class(),
            BundleError::Io(_) => Class::Retry,
        }
    }
}
