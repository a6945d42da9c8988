//! What a phase may cost, and what postings refuse: double-entry transactions, their reversals and their metadata.

use crate::Page;
use crate::pages::{NOTHING, PHASE, page};

pub(super) const PAGES: &[Page] = &[
    page(
        "RD0345",
        "over the budget of rows",
        "The statements of a phase touched or returned more rows than its `budget` allows.",
        PHASE,
        "Look whether the statement reaches further than it should; if it is right, raise the budget in a new version.",
    ),
    page(
        "RD0346",
        "over the budget of a lock",
        "The phase waited for a lock longer than its `budget` allows.",
        PHASE,
        "It is tried again as often as the file says; pg_stat_activity says who held the lock.",
    ),
    page(
        "RD0347",
        "too much to keep",
        "A statement returned more rows or keys than a record can keep.",
        PHASE,
        "Keep keys instead of rows (`form: keys`), or mark the rows in their own table.",
    ),
    page(
        "RD0350",
        "not enough on the account",
        "An account would fall below nothing, or below what the phase expects.",
        PHASE,
        "Move what is needed onto the account; or let somebody force a reversal (`force` in the saga file) in their own name.",
    ),
    page(
        "RD0351",
        "no captured postings (LegacyRecord)",
        "The record or transaction was written by a version that captured no postings, and a reversal never scans the log.",
        PHASE,
        "Reverse it from its signed receipt, or post the opposite as a transaction of its own.",
    ),
    page(
        "RD0352",
        "no such transaction",
        "There is no transaction with this id in this schema.",
        PHASE,
        "Look for the id with the reference in the table `transaction`; is this the right database and schema?",
    ),
    page(
        "RD0353",
        "postings contradict themselves",
        "Something that the rules of postings exclude was found: a committed row is gone, or captured data is broken.",
        PHASE,
        "Run `redress postings check` and `redress check`, and find out who changed the tables, before anything goes on.",
    ),
    page(
        "RD0354",
        "reversed already",
        "The transaction has a reversal; there is never a second one.",
        PHASE,
        "Look at the reversal that the message names. If the reversal was wrong, reverse the reversal.",
    ),
    page(
        "RD0355",
        "the reference means something else",
        "The reference was used with other content, or the account is open with another overdraft answer.",
        PHASE,
        "Compare with the transaction that the message names; use another reference for another transaction.",
    ),
    page(
        "RD0356",
        "tables of another version",
        "The tables of postings are older or newer than this program, or there are none.",
        NOTHING,
        "Use the program that made them, or bring the tables to this version with its own bundle; there is no way around it.",
    ),
    page(
        "RD0357",
        "nothing to delete",
        "A key of metadata was to be deleted that is not there, in strict mode.",
        PHASE,
        "Correct the key; where replaying may meet deleted keys, say `mode: ingest`.",
    ),
    page(
        "RD0358",
        "not a value for postings",
        "An amount, account, asset, key, id or time is not written as it must be.",
        PHASE,
        "Correct the input: amounts are strings of digits, times are RFC 3339, accounts are words with colons.",
    ),
    page(
        "RD0359",
        "a receipt that proves nothing",
        "The receipt is not signed by an engine that is trusted here, or is for another record.",
        PHASE,
        "Hand in the record that belongs to the receipt; give the process the key of the engine that signed it.",
    ),
    page(
        "RD0360",
        "changed since",
        "Metadata that the phase had set was changed since by somebody else; putting it back would undo their change.",
        NOTHING,
        "Agree on the value, set it by a phase of its own, and resolve the run.",
    ),
    page(
        "RD0361",
        "balances and postings disagree",
        "The replay of the postings gave something else than the tables hold.",
        "The tables are as they were found; nothing was written.",
        "Stop the sagas that move these accounts (`redress hold`), and find out who changed the tables.",
    ),
];
