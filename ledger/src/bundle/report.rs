//! Says what a verification found: FORMAT.md, section 17, member by member.

use std::fmt;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::hash::Hash;

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Everything was read, everything holds, and nothing that matters was left open.
    Verified,
    /// Something does not hold.
    Failed,
    /// Nothing is wrong, but not everything could be judged.
    Incomplete,
}

impl Verdict {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Verified => "VERIFIED",
            Verdict::Failed => "FAILED",
            Verdict::Incomplete => "INCOMPLETE",
        }
    }

    /// The exit status of a command that says this.
    pub fn exit_status(self) -> u8 {
        match self {
            Verdict::Verified => 0,
            Verdict::Failed => 7,
            Verdict::Incomplete => 8,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was found in a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// The installation, once the manifest was read and signed; the next three likewise.
    pub origin: Option<String>,
    /// The generation of the ledger.
    pub generation: Option<i64>,
    /// How many leaves the log has.
    pub size: Option<u64>,
    /// The root over them.
    pub root: Option<Hash>,
    /// How many records hold.
    pub records: u64,
    /// How many runs they are of, system runs among them.
    pub runs: u64,
    /// Whether nothing is open.
    pub complete: bool,
    /// The size at which something is.
    pub open_at: Option<u64>,
    /// The sizes of the remembered checkpoints that fitted, each of its own log.
    pub consistent_with: Vec<u64>,
    /// The first thing that does not hold.
    pub first_failure: Option<FirstFailure>,
    /// The positions of decisions and acts that a compromised key signed.
    pub doubtful: Vec<u64>,
    /// What a reader must know beside the verdict, sorted by name.
    pub warnings: Vec<Warning>,
}

/// The first thing that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FirstFailure {
    /// The stable code.
    pub code: &'static str,
    /// Where in the log.
    pub position: Option<u64>,
    /// The run, if a record was read.
    pub run: Option<Uuid>,
    /// The place in the run at which it stands.
    pub seq: Option<i64>,
    /// The file of the bundle.
    pub file: Option<String>,
    /// For people.
    pub message: String,
}

macro_rules! warnings {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $open:literal, $text:literal;)*) => {
        /// What a reader must know beside the verdict.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Warning {
            $($(#[$doc])* $name,)*
        }

        impl Warning {
            /// Every warning, sorted by its word.
            pub const ALL: &'static [Warning] = &[$(Warning::$name,)*];

            /// The word in reports.
            pub fn as_str(self) -> &'static str {
                match self { $(Warning::$name => $word,)* }
            }

            /// Whether it leaves something unjudged, so that nothing is `VERIFIED`.
            pub fn leaves_open(self) -> bool {
                match self { $(Warning::$name => $open,)* }
            }

            /// The same for people.
            pub fn words(self) -> &'static str {
                match self { $(Warning::$name => $text,)* }
            }
        }
    };
}

warnings! {
    /// The records of an older generation are not all there yet.
    CarriedRecords = "carried-records", true,
        "not all records of the older generation are in it yet, so what was carried over could not be judged as a whole";
    /// A compromised key signed something.
    DoubtfulDecisions = "doubtful-decisions", false,
        "a key that was compromised since signed decisions";
    /// No remembered checkpoint fitted.
    NoRememberedCheckpoint = "no-remembered-checkpoint", false,
        "nothing was compared with a checkpoint that you remember, so a cut-off end cannot be excluded";
    /// The trust file has no key of the log.
    NoTrustedLogKey = "no-trusted-log-key", true,
        "the trust file has no key of the log, so nobody vouches for its size and root";
    /// The trust file has no sovereign's key.
    NoTrustedRoot = "no-trusted-root", true,
        "the trust file has no sovereign's key, so the root of the ledger named itself";
    /// There is nothing to verify.
    Nothing = "nothing", true,
        "there is nothing to verify";
    /// The remembered head of an older log lies behind what was carried over.
    OlderLogCutOff = "older-log-cut-off", false,
        "an older log had signed more than was restored: what is missing is lost, and the root signed for that";
    /// Something is not sealed.
    OpenRuns = "open-runs", false,
        "runs are open: more may follow in them";
    /// A checkpoint that was to be remembered and lies in the bundle.
    RememberedFromBundle = "remembered-from-bundle", false,
        "a checkpoint that lies in the bundle itself was not read: nobody remembers it";
    /// A remembered checkpoint that says nothing about this bundle.
    RememberedNotComparable = "remembered-not-comparable", true,
        "a remembered checkpoint could not be compared with this bundle";
    /// The trust file has no `root` line.
    RootThresholdNotStated = "root-threshold-not-stated", false,
        "the trust file has no root line, so the ledger chose its own threshold";
    /// A bundle of one run.
    SystemRunEndNotProven = "system-run-end-not-proven", false,
        "that no later record of the keys was left out rests on the signature of the manifest";
    /// The trust file lies in the bundle.
    TrustFromBundle = "trust-from-bundle", true,
        "the trust file lies in the bundle itself, so it was not read: trust is the reader's own, never the bundle's";
    /// Too few witnesses.
    WitnessQuorumNotMet = "witness-quorum-not-met", true,
        "fewer witnesses saw the newest checkpoint than the trust file asks for";
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Warning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Report {
    /// A report in which nothing was found yet.
    pub(super) fn new() -> Report {
        Report {
            verdict: Verdict::Verified,
            origin: None,
            generation: None,
            size: None,
            root: None,
            records: 0,
            runs: 0,
            complete: false,
            open_at: None,
            consistent_with: Vec::new(),
            first_failure: None,
            doubtful: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn warn(&mut self, warning: Warning) {
        if let Err(place) = self.warnings.binary_search(&warning) {
            self.warnings.insert(place, warning);
        }
    }

    /// Says the verdict: a failure wins over what could not be judged.
    pub(super) fn finish(mut self, failure: Option<FirstFailure>) -> Report {
        if failure.is_some() {
            self.complete = false;
            self.open_at = None;
        }
        self.verdict = match &failure {
            Some(_) => Verdict::Failed,
            None if self.warnings.iter().any(|one| one.leaves_open()) => Verdict::Incomplete,
            None => Verdict::Verified,
        };
        self.first_failure = failure;
        self.consistent_with.sort_unstable();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_sorted_by_their_words() {
        assert!(Warning::ALL.is_sorted_by_key(|one| one.as_str()));
        assert!(Warning::ALL.is_sorted());
        let mut report = Report::new();
        report.warn(Warning::OpenRuns);
        report.warn(Warning::NoTrustedRoot);
        report.warn(Warning::OpenRuns);
        let report = report.finish(None);
        assert_eq!(report.verdict, Verdict::Incomplete);
        let value = serde_json::to_value(&report).unwrap();
        assert_eq!(
            value["warnings"],
            serde_json::json!(["no-trusted-root", "open-runs"])
        );
        assert_eq!(value["verdict"], "INCOMPLETE");
    }
}
