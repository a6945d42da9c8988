//! Decides which names a file of a bundle can have.
//!
//! **Invariant:** no name leads out of the folder, and none can be read in two ways.

use crate::tree::{Tile, TileKind};

/// The longest path.
pub const PATH_BYTES_MAX: usize = 255;

/// How many digits a position or a size has in a name.
const DIGITS: usize = 12;

/// Whether this is a path of a bundle: segments of plain letters, none hidden, none an option.
pub fn is_path(path: &[u8]) -> bool {
    (1..=PATH_BYTES_MAX).contains(&path.len())
        && path.split(|byte| *byte == b'/').all(|segment| {
            let first = segment.first().copied().unwrap_or(b'.');
            !matches!(first, b'.' | b'-')
                && segment
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
        })
}

/// A number as the name of a file.
pub fn number_name(number: u64) -> String {
    format!("{number:0DIGITS$}")
}

/// Reads the name that [`number_name`] gives to a number of at most twelve digits.
pub(super) fn read_number(name: &str) -> Option<u64> {
    let plain = name.len() == DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| name.parse().ok())?
}

/// The first position that a file of entries, hashes or proofs is about; others are about none.
pub(super) fn position_of(path: &str) -> Option<u64> {
    let (top, rest) = path.split_once('/')?;
    if matches!(top, "entries" | "proofs") {
        return read_number(rest);
    }
    let tile: Tile = path.parse().ok()?;
    let level = match tile.kind() {
        TileKind::Entries => 0,
        TileKind::Hashes(level) => u32::from(level),
    };
    tile.index().checked_shl(8 * (level + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_away_or_has_two_readings_is_no_path() {
        let check = |path: &str, good: bool| assert_eq!(is_path(path.as_bytes()), good, "{path}");
        check("checkpoint", true);
        check("tile/0/x001/234.p/5", true);
        check("a_b/C-d.e", true);
        check(&"a".repeat(255), true);
        check(&"a".repeat(256), false);
        for bad in [
            "", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.b", "-a", "a b", "a\\b", "é", "a\0",
        ] {
            check(bad, false);
        }
    }

    #[test]
    fn a_file_says_which_position_it_is_about() {
        let check = |path: &str, expected| assert_eq!(position_of(path), expected, "{path}");
        check("entries/000000000005", Some(5));
        check("proofs/000000000005", Some(5));
        check("proofs/5", None);
        check("tile/entries/001.p/3", Some(256));
        check("tile/0/002", Some(512));
        check("tile/1/x001/000", Some(65_536_000));
        check("checkpoint", None);
        assert_eq!(number_name(7), "000000000007");
    }
}
