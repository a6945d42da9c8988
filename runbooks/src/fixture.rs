//! The prepared states from which runbooks are tried: in tests, and by people in `redress drill`.
//!
//! **Invariant:** this is the one list of their names; a runbook's test that names another is refused.
//!
//! **Not here:** how a state is prepared.

/// A prepared state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fixture {
    /// An installation without runs.
    Nothing,
    /// A cutover whose backup failed.
    CutoverFailedAtPreWriteBackup,
    /// A cutover whose units could not be cut.
    CutoverFailedAtCutLegA,
    /// A cutover whose evidence could not be recorded.
    CutoverFailedAtLegBRecord,
    /// A cutover whose check found a difference.
    CutoverFailedAtWriteVerify,
    /// A cutover that could not be enacted.
    CutoverFailedAtLifecycleEnact,
    /// A cutover that is done.
    CutoverCompleted,
    /// A run whose compensation could not finish.
    Stuck,
    /// The same, and the cause was repaired.
    StuckRepaired,
    /// A run whose compensation was undone by a broken baseline.
    BaselineMismatch,
    /// The same, and the value is back.
    BaselineRepaired,
    /// A run that failed because a phase wrote where it had not declared it.
    CoverageMiss,
    /// A run that took its worker down again and again.
    Poison,
    /// A run with an act outside the database whose outcome nobody knows.
    InDoubt,
    /// A failed run; the kill switch is on.
    Killed,
    /// A running run that a person holds.
    Held,
    /// A failed run whose approved plan is older than its log.
    StalePlan,
    /// A running run whose worker is gone.
    WorkerLost,
}

impl Fixture {
    /// Every fixture.
    pub const ALL: [Self; 18] = [
        Self::Nothing,
        Self::CutoverFailedAtPreWriteBackup,
        Self::CutoverFailedAtCutLegA,
        Self::CutoverFailedAtLegBRecord,
        Self::CutoverFailedAtWriteVerify,
        Self::CutoverFailedAtLifecycleEnact,
        Self::CutoverCompleted,
        Self::Stuck,
        Self::StuckRepaired,
        Self::BaselineMismatch,
        Self::BaselineRepaired,
        Self::CoverageMiss,
        Self::Poison,
        Self::InDoubt,
        Self::Killed,
        Self::Held,
        Self::StalePlan,
        Self::WorkerLost,
    ];

    /// Its name in a runbook.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::CutoverFailedAtPreWriteBackup => "cutover-failed-at-pre-write-backup",
            Self::CutoverFailedAtCutLegA => "cutover-failed-at-cut-leg-a",
            Self::CutoverFailedAtLegBRecord => "cutover-failed-at-leg-b-record",
            Self::CutoverFailedAtWriteVerify => "cutover-failed-at-write-verify",
            Self::CutoverFailedAtLifecycleEnact => "cutover-failed-at-lifecycle-enact",
            Self::CutoverCompleted => "cutover-completed",
            Self::Stuck => "stuck",
            Self::StuckRepaired => "stuck-repaired",
            Self::BaselineMismatch => "baseline-mismatch",
            Self::BaselineRepaired => "baseline-repaired",
            Self::CoverageMiss => "coverage-miss",
            Self::Poison => "poison",
            Self::InDoubt => "in-doubt",
            Self::Killed => "killed",
            Self::Held => "held",
            Self::StalePlan => "stale-plan",
            Self::WorkerLost => "worker-lost",
        }
    }

    /// What is there when it is prepared.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Nothing => "An installation with its keys, and no run.",
            Self::CutoverFailedAtPreWriteBackup => {
                "A cutover failed while it wrote the backup; nothing is cut, its subject is held, the switch is on kill."
            }
            Self::CutoverFailedAtCutLegA => {
                "A cutover failed while it cut; a backup stands, its subject is held, the switch is on kill."
            }
            Self::CutoverFailedAtLegBRecord => {
                "A cutover failed while it wrote the evidence; drafts stand, its subject is held, the switch is on kill."
            }
            Self::CutoverFailedAtWriteVerify => {
                "A cutover's check found another number of units than was asked for; drafts and evidence stand, its subject is held, the switch is on kill."
            }
            Self::CutoverFailedAtLifecycleEnact => {
                "A cutover was verified and could not be enacted; drafts and evidence stand, its subject is held, the switch is on kill."
            }
            Self::CutoverCompleted => "A cutover is completed; its units are enacted.",
            Self::Stuck => {
                "A run failed, its plan was signed and applied, and a row was no longer as its way back needs it: it is stuck and held."
            }
            Self::BaselineMismatch => {
                "A run's compensation changed nothing because the baseline did not come back: it is stuck and held."
            }
            Self::StuckRepaired => {
                "A run is stuck because a guard refused; meanwhile the guard would let it pass."
            }
            Self::BaselineRepaired => {
                "A run is stuck because the baseline did not come back; meanwhile the value is as it was."
            }
            Self::CoverageMiss => {
                "A phase wrote a table that it does not declare; the attempt rolled back, the run failed."
            }
            Self::Poison => "A run was claimed again and again without getting on; it is held.",
            Self::InDoubt => {
                "An act outside the database was begun, and its probe cannot tell what became of it; the run is held."
            }
            Self::Killed => "A run failed; a person has put the switch on kill.",
            Self::Held => "A run is running; a person has put a hold on it.",
            Self::StalePlan => {
                "A run failed and its plan was approved; then the run's log moved on."
            }
            Self::WorkerLost => {
                "A run is running and claimed by a worker that does not beat any more."
            }
        }
    }

    /// The fixture of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}
