//! How long a text may be that a person gives: a reason, or what a hold is on.
//!
//! **Invariant:** it is asked before anything is done. A record and a decision have room for such a text whatever it is
//! made of, so that nothing is refused half-way because somebody wrote too much.

use crate::error::Error;

/// The most bytes of a text that a person gives.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Checks a text that is about to be recorded.
pub(crate) fn check_text(what: &'static str, text: &str) -> Result<(), Error> {
    match text.len() {
        bytes if bytes > TEXT_BYTES_MAX => Err(Error::TextTooLong { what, bytes }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_fits_into_a_record_whatever_it_is_made_of() {
        let longest = "\u{1}".repeat(TEXT_BYTES_MAX);
        check_text("the reason", &longest).expect("fits");
        let written = serde_json::to_string(&longest).expect("a text").len();
        assert!(written < redress_ledger::record::RECORD_BYTES_MAX);
        let error = check_text("the reason", &(longest + "x")).expect_err("too long");
        assert_eq!(error.code(), "RD0196");
    }
}
