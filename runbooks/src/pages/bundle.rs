//! What can be wrong with the folder of an exported ledger.

use crate::Page;
use crate::pages::{AS_FOUND, page};

pub(super) const PAGES: &[Page] = &[
    page(
        "RD0710",
        "not a manifest",
        "The signed list of the bundle breaks a rule of its form.",
        AS_FOUND,
        "Have the ledger exported again; if the log's key signed this, tell those who run it.",
    ),
    page(
        "RD0711",
        "a name that no file has",
        "A file of the bundle has a name that could lead out of the folder or be read in two ways.",
        AS_FOUND,
        "Treat it as an attack on whoever unpacks the bundle; do not copy it further.",
    ),
    page(
        "RD0712",
        "not a plain file",
        "Something in the bundle is a link, a device or a pipe, or may not be read.",
        AS_FOUND,
        "Copy the bundle again without links. If it was delivered so, treat it as an attack.",
    ),
    page(
        "RD0713",
        "a file is missing",
        "A file that the bundle must have is not there.",
        AS_FOUND,
        "Copy the bundle again and compare; if it stays, have it exported again and tell those who run the ledger.",
    ),
    page(
        "RD0714",
        "a file too much",
        "A file is in the bundle that it does not list, or that such a bundle cannot have.",
        AS_FOUND,
        "Remove what you added yourself, or copy the bundle again.",
    ),
    page(
        "RD0715",
        "a file was changed",
        "A file is not what the signed list says.",
        AS_FOUND,
        "Copy the bundle again and compare; if it stays, have it exported again and tell those who run the ledger.",
    ),
    page(
        "RD0716",
        "a list out of order",
        "The files of the signed list are not in order, or one stands twice.",
        AS_FOUND,
        "Have the ledger exported again.",
    ),
    page(
        "RD0717",
        "another checkpoint",
        "A checkpoint is not the one that its place says.",
        AS_FOUND,
        "Copy the bundle again and compare; if it stays, have it exported again and tell those who run the ledger.",
    ),
    page(
        "RD0718",
        "a file that is too large",
        "A file is larger than such a file can be.",
        AS_FOUND,
        "Copy the bundle again; if it stays, treat it as an attack.",
    ),
    page(
        "RD0719",
        "not this run",
        "The bundle of one run lacks that run, or has a record of another one.",
        AS_FOUND,
        "Have the run exported again.",
    ),
    page(
        "RD0720",
        "a blob missing or too much",
        "Data beside the records is missing without having been erased, is there although it was erased, or belongs to no record.",
        AS_FOUND,
        "Have the ledger exported again; if it stays, tell those who run it.",
    ),
    page(
        "RD0721",
        "a folder that cannot be read",
        "The folder of the bundle is not there or may not be read; nothing was judged.",
        AS_FOUND,
        "Name the folder that holds the file `manifest`, and make it readable.",
    ),
];
