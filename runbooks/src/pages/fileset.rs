//! Sets of files: snapshots, switches, restorations.

use crate::Page;
use crate::pages::page;

/// What stands when an update of files failed.
const FILES: &str = "Every file is what it was before, verified by hash; the message names the snapshot. Nothing \
    temporary is left.";

pub(super) const PAGES: &[Page] = &[
    page(
        "RD0970",
        "the disk is full",
        "A snapshot or a file could not be written: there is no room, or the quota is used up.",
        FILES,
        "Make room where the message says (the directory or the store of snapshots); then start the run anew.",
    ),
    page(
        "RD0971",
        "a read-only directory",
        "The directory, or its file system, does not take changes from this worker.",
        FILES,
        "Mount it writable, or give the worker's account the right to write in it; then start the run anew.",
    ),
    page(
        "RD0972",
        "no permission on files",
        "This worker may not read a file, or may not keep the owner of one that it would replace.",
        FILES,
        "Give the worker's account the right, or run the worker as the files' owner; then start the run anew.",
    ),
    page(
        "RD0973",
        "the directory is gone",
        "The directory was not there, or was deleted while it was updated.",
        "When it was deleted under the update, it was made anew from the snapshot; the message says so.",
        "Find out who deleted it. If it should not be there, delete it again once no run acts on it.",
    ),
    page(
        "RD0974",
        "a path leads out of the directory",
        "A path leads through a link, a device, a pipe or another file system, or is not one that a saga may name.",
        FILES,
        "Replace the link by a folder or file of its own, name another path, or put it under `exclude`.",
    ),
    page(
        "RD0975",
        "too many or too large files",
        "The directory or the update has more files, depth or bytes than are handled.",
        FILES,
        "Leave out what does not belong to the update with `exclude`, or split the update into several phases.",
    ),
    page(
        "RD0976",
        "the directory is locked",
        "Another update of the same directory is going on; the message names its process.",
        "Nothing was changed.",
        "Wait for it. A process that hangs can be ended: the next update finishes or takes back what it left.",
    ),
    page(
        "RD0977",
        "a file is not what it must be",
        "A file has another content than the saga expects, or was changed by somebody else since it was looked at.",
        "What somebody else changed was left as it is. Nothing else was changed.",
        "Compare the file with the hash in the message, decide which content is right, and start the run anew.",
    ),
    page(
        "RD0978",
        "a snapshot was deleted",
        "A snapshot, or a content that it needs, is not in the store any more.",
        "The files were left as they are.",
        "Put the store back from a backup, or restore the files by hand and resolve the run.",
    ),
    page(
        "RD0979",
        "a snapshot is corrupted",
        "A snapshot, or a content that it needs, is not what was written.",
        "The files were left as they are; nothing is restored from a snapshot that does not hold.",
        "Put the store back from a backup, or restore the files by hand and resolve the run.",
    ),
    page(
        "RD0980",
        "an unfinished switch cannot be read",
        "The folder `.redress-switch` in the directory is not one that this version wrote.",
        "The files were left as they are.",
        "Look at what is in it. `*.old` are the files as they stood before; remove the folder when nothing in it is needed.",
    ),
    page(
        "RD0981",
        "the file system refused",
        "The file system gave another error; the message has it.",
        FILES,
        "Repair what the message names; then start the run anew.",
    ),
    page(
        "RD0982",
        "the way back of a switch failed",
        "An update of files failed and could not be taken back either. The message has both reasons.",
        "The folder `.redress-switch` in the directory has the files as they stood and what was to be done.",
        "Repair the second reason; the next look at the directory finishes the way back. `redress show RUN` says who asks.",
    ),
    page(
        "RD0983",
        "not in this worker's configuration",
        "A saga names a root or a folder of artefacts that this worker does not list.",
        "Nothing was changed.",
        "Add it to the section `fileset` of the worker's configuration, or let a worker run it that lists it.",
    ),
    page(
        "RD0984",
        "too late for an act",
        "The act was undone meanwhile, or the worker was stopped for longer than the phase may take.",
        FILES,
        "Nothing to do: what became of the phase stands in the run's log.",
    ),
];
