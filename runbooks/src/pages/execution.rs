//! Executions of runbooks: RD0440 to RD0456.

use crate::Page;
use crate::pages::{NOTHING, page};

/// What stands when a step was not done.
const STEPS: &str =
    "The step rolled back. The steps that have a record in the log are done and stay.";

pub(super) const PAGES: &[Page] = &[
    page(
        "RD0440",
        "an unknown execution",
        "No execution of a runbook has this id, or several begin so.",
        NOTHING,
        "`redress runbook executions` shows them.",
    ),
    page(
        "RD0441",
        "somebody else is at it",
        "Another person carries out a runbook on this run, or this very one, right now.",
        NOTHING,
        "Ask the person whom the message names. `redress runbook show EXEC` says how far it is: `redress runbook resume EXEC` goes on with it (after a crash, once its lease has run out), `redress runbook abandon EXEC` gives it up.",
    ),
    page(
        "RD0442",
        "a check failed",
        "Something that the runbook rests on does not hold.",
        "Nothing was changed by this step; the refusal is recorded with its code.",
        "Take the runbook that the message names next, or `redress runbook suggest RUN`.",
    ),
    page(
        "RD0443",
        "the execution is over",
        "It ended: done, refused, given up, or its end could not be proven.",
        NOTHING,
        "`redress runbook run NAME --run RUN` plans anew.",
    ),
    page(
        "RD0444",
        "taken over",
        "This execution's lease ran out and somebody else has it in hands.",
        STEPS,
        "Look with `redress runbook show EXEC` who it is, and leave it to them.",
    ),
    page(
        "RD0445",
        "a check could not be told",
        "The database did not answer a check, or the answer is neither yes nor no. That refuses as a failed check does.",
        "Nothing was changed by this step; the refusal is recorded.",
        "Read the reason in the message: a missing right, a lock, an altered table. `redress runbook check --all` shows which checks can be asked.",
    ),
    page(
        "RD0446",
        "not for this run",
        "The runbook's `match` does not fit the run.",
        NOTHING,
        "`redress runbook suggest RUN` names the right one.",
    ),
    page(
        "RD0447",
        "for another environment",
        "The runbook, or its plan, is for another installation.",
        NOTHING,
        "Look which database you are connected to: `redress db status`.",
    ),
    page(
        "RD0448",
        "a parameter",
        "A parameter is missing, unknown or does not fit, or a pointer leads to nothing.",
        NOTHING,
        "`redress runbook show NAME` lists the parameters; give them with --set NAME=VALUE.",
    ),
    page(
        "RD0449",
        "too many rows",
        "The runbook would be about more rows than its scope allows.",
        "Nothing was changed; the refusal is recorded.",
        "Find out why there are so many. The limit is in the runbook; its owner may raise it in a new version.",
    ),
    page(
        "RD0450",
        "the runbook's plan is stale",
        "Since it was planned the run has moved on, rows have come, or its time is over.",
        "Nothing was changed.",
        "Plan again: `redress runbook run NAME --run RUN`.",
    ),
    page(
        "RD0451",
        "a person must act",
        "The next step is done by hand.",
        "The steps before it are done and recorded.",
        "Do what the message says, then `redress runbook resume EXEC --did STEP`, with `--evidence NAME=TEXT` (or `NAME=@FILE`) where it asks for it. Was it the wrong runbook: `redress runbook abandon EXEC`.",
    ),
    page(
        "RD0452",
        "waited in vain",
        "What a step waits for has not come true in its time.",
        "The steps before it are done and recorded.",
        "Find out why; `redress runbook resume EXEC` waits again.",
    ),
    page(
        "RD0453",
        "a step cannot be done",
        "As things stand, the step makes no sense or keeps more than a record holds.",
        STEPS,
        "Read the reason in the message, then take the runbook that fits: `redress runbook suggest RUN`.",
    ),
    page(
        "RD0454",
        "done and not proven",
        "Every step is done, and what must hold afterwards does not, or could not be told.",
        "All steps stand. The execution is recorded as unproven.",
        "Hold the run (`redress hold run:RUN`), look at the value that the message names, and call the runbook's owner.",
    ),
    page(
        "RD0455",
        "the plan is too long",
        "A plan stands in one record, and this one does not fit.",
        NOTHING,
        "Give shorter parameters, or ask the runbook's owner to shorten it.",
    ),
    page(
        "RD0456",
        "the stored plan cannot be read",
        "It was written by another version of this program, or was changed.",
        NOTHING,
        "Plan again with `redress runbook run`; run `redress check` if nobody changed the version.",
    ),
];
