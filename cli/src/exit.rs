//! Decides the exit status: one table from error codes, one from how a run ended.
//!
//! **Invariant:** every code that the sources know has a status here; a test reads the sources.

use redress::Outcome;

/// What a shell is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Exit {
    /// Done; a run that was asked for is completed.
    Done = 0,
    /// Failed; a run that was asked for failed or is compensated.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Held, killed, stuck or not drained: a person must act.
    Person = 3,
    /// Refused, nothing changed.
    Refused = 4,
    /// Signatures are missing.
    Approvals = 5,
    /// The plan is stale.
    Stale = 6,
    /// A verification failed.
    Verification = 7,
    /// A verification could not be completed.
    Incomplete = 8,
    /// The database cannot be reached, or not now.
    Unreachable = 75,
    /// Wrong schema version or configuration.
    Configuration = 78,
}

impl Exit {
    /// The status of a run that was asked for.
    pub fn of_outcome(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Completed(_) => Self::Done,
            Outcome::Compensated(_) => Self::Failed,
            Outcome::Held(run) if run.state.is_terminal() => Self::Failed,
            Outcome::Held(_) | Outcome::Stuck(_) => Self::Person,
        }
    }

    /// The status of an error, by its code; `None` for a code that nobody decided about.
    pub fn of_code(code: &str) -> Option<Self> {
        let number: u16 = code.strip_prefix("RD")?.parse().ok()?;
        Some(match number {
            // What is stored is not what it was: a person must look.
            125 | 164 => Self::Person,
            101..=124 | 126 | 130..=131 | 140..=146 | 190..=197 => Self::Refused,
            150..=163 | 165 | 167 => Self::Refused,
            166 => Self::Verification,
            201 => Self::Configuration,
            202..=205 | 214 | 216..=218 | 317 => Self::Person,
            206..=213 | 215 => Self::Refused,
            302 | 304 | 307 | 308 => Self::Refused,
            301 | 303 | 305 | 306 | 309..=316 | 329 => Self::Failed,
            345..=347 => Self::Failed,
            350..=352 | 354..=355 | 357..=360 => Self::Refused,
            353 => Self::Person,
            356 => Self::Configuration,
            361 => Self::Verification,
            401..=408 | 421 | 423 | 425 | 426 | 428..=430 => Self::Refused,
            409 | 410 | 422 | 424 => Self::Person,
            440..=449 | 455 | 456 => Self::Refused,
            451 => Self::Person,
            452 | 453 => Self::Failed,
            454 => Self::Verification,
            219 | 420 | 427 | 450 | 750 => Self::Stale,
            501..=522 | 540..=559 | 563 | 580..=585 => Self::Refused,
            432 | 560 | 577 => Self::Approvals,
            433 | 530..=532 | 562 => Self::Configuration,
            570..=576 | 579 => Self::Refused,
            578 | 926 => Self::Verification,
            431 | 629 | 642 | 673 => Self::Failed,
            672 => Self::Person,
            674 => Self::Refused,
            600..=606 | 610..=614 | 619..=628 | 630..=641 | 643..=659 => Self::Verification,
            660..=666 | 670..=671 | 675..=699 => Self::Verification,
            710..=720 => Self::Verification,
            721 => Self::Usage,
            707 | 708 | 730 | 732..=734 | 741..=745 | 748 | 749 | 753 => Self::Refused,
            731 | 735 | 738 | 739 | 746 | 747 | 751 | 752 => Self::Verification,
            736 | 737 => Self::Person,
            740 => Self::Failed,
            701..=706 | 804 | 810 | 811 | 820 => Self::Configuration,
            801 | 802 | 806 | 807 | 809 | 812..=819 => Self::Unreachable,
            803 | 805 => Self::Failed,
            808 => Self::Person,
            850..=853 | 858 | 859 | 950 | 952..=954 => Self::Configuration,
            854..=857 | 951 => Self::Unreachable,
            901 | 921 | 960 => Self::Failed,
            961 => Self::Verification,
            970..=973 | 975 | 981 | 984 => Self::Failed,
            974 | 976 | 977 | 983 => Self::Refused,
            978 | 979 => Self::Verification,
            980 | 982 => Self::Person,
            910..=912 | 914..=917 | 919 | 923 | 925 | 935 => Self::Refused,
            913 | 924 | 928 => Self::Usage,
            918 | 920 | 927 | 938 => Self::Configuration,
            922 => Self::Verification,
            _ => return None,
        })
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_exit_statuses_is_kept() {
        let check = |code: &str, exit: u8| {
            let found = Exit::of_code(code).map(|exit| exit as u8);
            assert_eq!(found, Some(exit), "{code}");
        };
        check("RD0116", 4);
        check("RD0203", 3);
        check("RD0206", 4);
        check("RD0211", 4);
        check("RD0214", 3);
        check("RD0218", 3);
        check("RD0219", 6);
        check("RD0126", 4);
        check("RD0146", 4);
        check("RD0317", 3);
        check("RD0927", 78);
        check("RD0938", 78);
        check("RD0420", 6);
        check("RD0421", 4);
        check("RD0424", 3);
        check("RD0432", 5);
        check("RD0560", 5);
        check("RD0562", 78);
        check("RD0196", 4);
        check("RD0570", 4);
        check("RD0577", 5);
        check("RD0585", 4);
        check("RD0578", 7);
        check("RD0632", 7);
        check("RD0701", 78);
        check("RD0702", 78);
        check("RD0801", 75);
        check("RD0802", 75);
        check("RD0804", 78);
        check("RD0810", 78);
        check("RD0812", 75);
        check("RD0818", 75);
        check("RD0913", 2);
        assert_eq!(Exit::of_code("RD9999"), None);
        assert_eq!(Exit::of_code("E1"), None);
    }

    #[test]
    fn every_page_has_an_exit_status() {
        for page in redress_runbooks::pages() {
            assert!(Exit::of_code(page.code).is_some(), "{}", page.code);
        }
    }
}
