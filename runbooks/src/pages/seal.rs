//! What can go wrong while the ledger is sealed, exported and erased.

use crate::Page;
use crate::pages::page;

/// What stands after a refusal.
const NOTHING: &str = "Everything as it was: nothing was signed or written.";

pub(super) const PAGES: &[Page] = &[
    page(
        "RD0730",
        "fenced sealer",
        "Another sealer took over the lease while this one was at work.",
        NOTHING,
        "Let the other one work. If it should not be there, stop it first; its name stands in `redress audit seal`'s refusal.",
    ),
    page(
        "RD0731",
        "another head",
        "The head of the log in the database was not the one that this sealer had read.",
        NOTHING,
        "Run `redress audit seal` again. If it stays, treat it as a fork: `redress explain RD0735`.",
    ),
    page(
        "RD0732",
        "another sealer is active",
        "Another sealer has the lease; one at a time extends the log.",
        NOTHING,
        "Let it work, or stop it; a lease that nobody renews ends by itself.",
    ),
    page(
        "RD0733",
        "the ledger is not opened",
        "Nobody has stated whose keys are the root of this ledger, so nothing can be sealed in its name.",
        "Runs go on; their records wait for a position.",
        "Open it once: `redress key open --as SOVEREIGN`.",
    ),
    page(
        "RD0734",
        "not the log's key",
        "The ledger says that another key signs its heads.",
        NOTHING,
        "Seal with the key that is named, or have the root rotate the log's key: `redress key rotate`.",
    ),
    page(
        "RD0735",
        "FORK: the log is not the one that was signed",
        "The database remembers less than was signed, or something else: an older backup was restored under the sealer, or leaves were rewritten.",
        "Nothing was signed. Runs go on, and their records wait for a position.",
        "Runbook `ledger-fork`: stop the sealer, keep the anchor and the published files, find out which database is the right one. If the newer one is lost, the sovereigns continue the ledger as a new generation that names the last anchored head, after every worker was stopped: `redress audit continue --checkpoint STATE/anchor/log-gen-N --as SOVEREIGN`. Where `audit continue` itself says FORK, this database contradicts the head that is to be remembered, and nobody can continue it behind that one: restore a backup of the log that was signed.",
    ),
    page(
        "RD0736",
        "no anchor",
        "The log has leaves and there is no anchor to compare them with, so a restored database could not be told from the right one.",
        NOTHING,
        "Copy the anchor from the machine that sealed before. If there is none, compare the published checkpoint with somebody who remembers one, then `redress audit seal --first-anchor`.",
    ),
    page(
        "RD0737",
        "the anchor cannot be used",
        "The anchor is there and cannot be read or written, or is of another log.",
        "Nothing more is signed; what was sealed stands.",
        "Mend the file's place or rights, or restore it from a copy; never delete it to go on.",
    ),
    page(
        "RD0738",
        "a record does not fit its chain",
        "A record that became visible is not what its run's chain says: it was changed around the engine.",
        "Nothing of this batch was signed.",
        "Keep the database as it is, run `redress audit verify` and `redress check`, and hold the run that is named.",
    ),
    page(
        "RD0739",
        "a record is missing",
        "A record is there and the one before it is not: one was deleted around the engine.",
        "Nothing of this batch was signed.",
        "Keep the database as it is, run `redress audit verify`, and look for the record in backups and published files.",
    ),
    page(
        "RD0740",
        "not published",
        "The head was sealed and anchored, and its files could not be written.",
        "What was sealed stands; the next start publishes it.",
        "Make room or mend the rights of the folder, then run `redress audit seal` again.",
    ),
    page(
        "RD0741",
        "the bundle was not written",
        "The folder stands already or cannot be written.",
        "Nothing: no part of a bundle is left.",
        "Name a new folder on a disk with room.",
    ),
    page(
        "RD0742",
        "nothing is sealed",
        "The ledger has no signed head yet.",
        NOTHING,
        "Seal it: `redress audit seal`.",
    ),
    page(
        "RD0743",
        "no such blob",
        "There is no blob of this id, or it was erased before.",
        NOTHING,
        "Look the id up in the record that names it: `redress log RUN`.",
    ),
    page(
        "RD0744",
        "not the next generation",
        "Somebody else opened a generation in the meantime, or the number is not the next one.",
        NOTHING,
        "Look at `redress key list --ledger`, and do it again only if it is still needed.",
    ),
    page(
        "RD0745",
        "no such two heads",
        "The log has no two heads of these sizes, the earlier one first.",
        NOTHING,
        "Take sizes of published checkpoints: the second line of each; the newest is what `redress audit seal` says.",
    ),
    page(
        "RD0746",
        "the leaves differ",
        "A leaf is missing or is not the record that it names, or the leaves do not make the head that was signed: the tables of the sealed log were changed around the engine.",
        "The ledger and the tables are as they were found; nothing was written.",
        "Stop the sealer, keep the database as it is, compare with the anchor and the published files, and treat it as a fork: `redress explain RD0735`.",
    ),
    page(
        "RD0747",
        "other runs are gone than were let go",
        "Runs are missing from the tables, and no decision of the root let them go, or it named others: somebody deleted them around the engine.",
        "The ledger and the tables are as they were found. The leaves of the runs stand and prove which records there were.",
        "Keep the database as it is, compare with the newest archive (`redress audit verify DIR`), and find out who deleted.",
    ),
    page(
        "RD0748",
        "the run was archived",
        "The run ended long ago; its records left the database by a decision of the root and are in an archive of the ledger.",
        NOTHING,
        "Read it there: `redress audit export NEW --run RUN --archive DIR`, `redress audit receipt RUN --archive DIR`. It cannot be reverted any more; what has to be corrected is a new run.",
    ),
    page(
        "RD0749",
        "an archive cannot be used",
        "An archive that was named is not a whole export, or a record or blob in it is not the one that the ledger has.",
        NOTHING,
        "Name another copy of the archive with --archive; `redress audit verify DIR` says what is wrong with this one.",
    ),
    page(
        "RD0750",
        "other runs could leave now",
        "Between writing the archive and signing, a run was reopened or got a hold, so the decision is about others than could leave.",
        NOTHING,
        "Write the archive again, into a new folder, and sign that: `redress audit archive`.",
    ),
    page(
        "RD0751",
        "the archive does not verify",
        "The archive was written, and verifying it with your own trust file did not give VERIFIED.",
        "Nothing has left the database; the folder is left to look at.",
        "Run `redress audit verify DIR --trust FILE` on it. When the trust file lacks the root or the log's key, give the right one; else treat the ledger as damaged: `redress check`.",
    ),
];
