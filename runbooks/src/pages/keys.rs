//! Keys of the ledger: whose counts, and what its root signs.

use crate::Page;
use crate::pages::{NOTHING, UNSIGNED, page};

pub(super) const PAGES: &[Page] = &[
    page(
        "RD0570",
        "a key that counts no more",
        "The decision or the act is signed by a key that the ledger has replaced, revoked or named as stolen.",
        "Nothing was changed; the refusal of an approval is recorded. What the key signed before that stands.",
        "Sign with the key that counts now (`redress key list --ledger`). If the holder lost the right by mistake, the root registers a new key of theirs: `redress key register`.",
    ),
    page(
        "RD0571",
        "a key of another purpose",
        "The log's or an engine's key was used for what a person decides, a person's key for the log, or a key that is not the root's for an act of the root.",
        UNSIGNED,
        "Sign with the key that is for this: people decide with their own keys, only sovereigns of the root decide on keys, and the log's key only signs checkpoints.",
    ),
    page(
        "RD0572",
        "a key is used again",
        "The public key or its id stands in the ledger already, perhaps under another name or as one that counts no more. Neither is ever used again.",
        NOTHING,
        "If it counts already, nothing is to be done (`redress key list --ledger`). Else make a new key: `redress key new NAME --role ROLE --file STEM`.",
    ),
    page(
        "RD0573",
        "no such key in force",
        "The ledger has no key of this name or id that counts now.",
        NOTHING,
        "`redress key list --ledger` shows the keys and whether they count.",
    ),
    page(
        "RD0574",
        "not to be done with this key",
        "A key of the root or the log's key was to be taken away by itself, a key was to be replaced by one of another name, or the log's key has not the name of the log.",
        NOTHING,
        "Another root: `redress key rotate --root`, with --without for whoever leaves. A stolen key of the root: first that, then `redress key compromised` for the old one. The log's key: `redress key rotate log --to NEW`. A key of another person: revoke the one and register the other.",
    ),
    page(
        "RD0575",
        "opened once, and first",
        "The ledger is open already, or it is not open yet and its keys were to be changed. It is opened once, by its first record.",
        NOTHING,
        "`redress key list --ledger` shows what stands. Not open: `redress key open`. Open: change it with `redress key register`, `rotate`, `revoke`. If `redress audit verify` says this of a record, the ledger was not written by Redress: keep it as it is and find out who wrote it.",
    ),
    page(
        "RD0576",
        "signed for something else",
        "The root signed an act about another body than the record has.",
        NOTHING,
        "Write the act again with --out and sign that. If a record of the ledger says this, it was changed: keep it as it is and find out by whom.",
    ),
    page(
        "RD0577",
        "too few of the root",
        "Not enough different people of the root signed; another root needs its own threshold too.",
        "Nothing was recorded. A file of an act keeps the signatures that it has.",
        "Repeat with --cosign for those who are here, or write it with --out FILE, let the others sign by `redress key sign FILE --as KEY`, then `redress key submit FILE`.",
    ),
    page(
        "RD0578",
        "other roots",
        "No root that the ledger ever had is the one that the trust file names: the file is another installation's, asks for more, or somebody opened the ledger who had no right to.",
        "Nothing was changed and nothing is believed.",
        "Compare `redress key trust --show` with what the sovereigns told you on another way. Correct the file only if they confirm it; else keep the ledger as it is and tell them.",
    ),
    page(
        "RD0579",
        "the trust file says otherwise",
        "The trust file, a key's own file or a flag gives the public key another name or role than the ledger has or would have.",
        NOTHING,
        "Find out which is right from the key's holder, then correct the trust file or the command.",
    ),
    page(
        "RD0580",
        "not an SSH signature",
        "A file that should hold a signature or a key of OpenSSH is malformed, cut off or too long.",
        UNSIGNED,
        "Sign again with `ssh-keygen -Y sign -n redress-decision` and hand over the whole `.sig` file.",
    ),
    page(
        "RD0581",
        "signed for another purpose",
        "The SSH signature was made for another namespace.",
        UNSIGNED,
        "Sign again with `-n redress-decision`.",
    ),
    page(
        "RD0582",
        "an SSH key of another kind",
        "The SSH key is not a plain Ed25519 one.",
        UNSIGNED,
        "Make one with `ssh-keygen -t ed25519` and have it registered; RSA, ECDSA and `sk-` keys do not count.",
    ),
    page(
        "RD0583",
        "signed by another SSH key",
        "The SSH signature is good in form and by another key than the one that is named.",
        UNSIGNED,
        "Sign with the key that is registered, or name the one that signed.",
    ),
    page(
        "RD0584",
        "not an SSH public key",
        "The line is no public key of OpenSSH.",
        UNSIGNED,
        "Copy the one line of the `.pub` file, without options before it.",
    ),
    page(
        "RD0585",
        "an act that says what cannot be",
        "A member of what the root is asked to sign is missing, too much or not possible: a position that the log does not have, for example. Every verifier would refuse the record.",
        NOTHING,
        "Write it again with what the message names put right; `redress audit window` says how far the log reaches.",
    ),
];
