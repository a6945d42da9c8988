//! What can be wrong with a runbook's file.

use crate::Page;
use crate::pages::{NOTHING, page};

pub(super) const PAGES: &[Page] = &[
    page(
        "RD0150",
        "a step that does nothing or too much",
        "A step of the runbook does not do exactly one thing.",
        NOTHING,
        "Make a step for each thing. `redress runbook lint FILE` shows it until it is gone.",
    ),
    page(
        "RD0151",
        "a runbook without tests",
        "The runbook has no test, so nobody knows whether it works.",
        NOTHING,
        "Add `tests`: a prepared state and what must come of it. `redress runbook show NAME` shows how the shipped ones do it.",
    ),
    page(
        "RD0152",
        "too few must sign",
        "The approvals of the runbook do not fit its risk, or name a role whose signature never counts.",
        NOTHING,
        "Write `approvals` with at least two people and `distinct: true`, or find a way back that is not irreversible.",
    ),
    page(
        "RD0153",
        "more than its risk",
        "The runbook does more than its `risk` says.",
        NOTHING,
        "Say the risk that it has, or leave the step out.",
    ),
    page(
        "RD0154",
        "no scope",
        "A transaction of the runbook writes, and nothing says where and how much.",
        NOTHING,
        "Add `scope`: the relations, a query that counts the rows, and the most rows.",
    ),
    page(
        "RD0155",
        "a parameter that cannot be",
        "A parameter's default, pattern or bounds do not fit, or a value was given that does not fit.",
        NOTHING,
        "Correct the value at the place that is shown; `redress runbook show NAME` lists what each parameter takes.",
    ),
    page(
        "RD0156",
        "a pointer that leads nowhere",
        "A pointer of the runbook leads to what does not exist, or not yet, when it is looked up.",
        NOTHING,
        "Point to /run, /input, /phases, /params, /approvals, /plan, /execution, or to a step before. `redress runbook lint FILE` shows it until it is gone.",
    ),
    page(
        "RD0157",
        "a statement that may not stand there",
        "A statement of the runbook is empty, several, changes rows where only reading is meant, or would end the transaction.",
        NOTHING,
        "Correct the statement at the place that is shown. `redress runbook lint FILE` shows it until it is gone.",
    ),
    page(
        "RD0158",
        "a text that cannot be shown",
        "A text of the runbook is empty, too long, or holds characters that act on a screen or hide others.",
        NOTHING,
        "Write it in plain characters, within the length that is shown.",
    ),
    page(
        "RD0159",
        "a length of time out of bounds",
        "A limit, a pause or a timeout of the runbook is shorter or longer than is accepted.",
        NOTHING,
        "Write one within the bounds that are shown.",
    ),
    page(
        "RD0160",
        "an unknown name in a runbook",
        "The runbook names a check, a runbook, an error code, a parameter or a fixture that does not exist.",
        NOTHING,
        "Write the name that is suggested, or look with `redress runbook list` or `redress explain`.",
    ),
    page(
        "RD0161",
        "a refusal without a code",
        "A check refuses with something that is neither a code of Redress nor a word of its own.",
        NOTHING,
        "Write a code such as RD0421, or a word such as UNITS_ENACTED.",
    ),
    page(
        "RD0162",
        "a test that shows nothing",
        "A test of the runbook could not fail, or lacks what a step asks for.",
        NOTHING,
        "Say what must come of it: the state afterwards, or the code of the refusal; give its parameters and evidence.",
    ),
    page(
        "RD0163",
        "a runbook without steps",
        "The runbook has nothing to do.",
        NOTHING,
        "Add a step; what only informs is one `manual` step.",
    ),
    page(
        "RD0164",
        "a stored runbook cannot be read",
        "The bytes that were stored with an execution are not those of a runbook of this version.",
        "What the execution had done stands; its records say what.",
        "Run `redress check`; if it was written by a newer version, install that one. Do not carry on with the execution by hand before that.",
    ),
];
