#!/usr/bin/env python3
"""Makes bundles as ledger/FORMAT.md has them, good ones and damaged ones, each with what a verifier must say.

    make_bundle.py OUTDIR [--case NAME | --all] [--list]

Each case becomes OUTDIR/NAME with `bundle/`, `trust`, perhaps `remembered*`, and `expected.json`:
{"verdict", "code", "position", "exit", "checkpoints": [names of remembered files], "why"}.
OUTDIR/expected.json holds the same for all that were made. Keys and salts are fixed: the same case gives
the same bytes every time. Nothing is imported from verify.py, so that the two can disagree.

The parts: keys, canonical JSON, tree, a ledger that is told record by record, its bundle, the cases.
"""

import argparse
import base64
import copy
import hashlib
import json
import os
import shutil
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ORIGIN = "test.redress.example/ledger"
LOG = ORIGIN + "/gen/1"
HERE = os.path.dirname(os.path.abspath(__file__))
ZERO = "0" * 64
LATER = "2027-01-01T00:00:00.000000Z"
PAST = "2026-01-01T00:00:00.000000Z"
MADE_AT = "2026-05-02T00:00:00.000000Z"
DECISION = "application/vnd.redress.decision.v1+json"
ACT = "application/vnd.redress.act.v1+json"
ORDER = 2**252 + 27742317777372353535851937790883648493
SMALL = bytes([1]) + bytes(31)  # the neutral element: under it S = 0, R = itself hold for every message


def run_id(number):
    return f"01900000-0000-7000-8000-{number:012x}"


SYSTEM = run_id(0xFFFF)
RUN_A, RUN_B, RUN_C, RUN_D, RUN_E = (run_id(n) for n in range(1, 6))


# --- keys --------------------------------------------------------------------------------------------


class Key:
    """A test key: its secret is the hash of its label, so that it is the same every time."""

    def __init__(self, name, label=None, algorithm=1):
        seed = hashlib.sha256(b"redress test key " + (label or name).encode()).digest()
        self.name, self.algorithm = name, algorithm
        self.secret = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self.secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.hash, self.id, self.vkey = names_of(name, self.public, algorithm)

    def sign(self, message):
        return self.secret.sign(message)


def names_of(name, public, algorithm=1):
    digest = hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + public).digest()[:4]
    key_id = f"{name}+{digest.hex()}"
    return digest, key_id, f"{key_id}+{b64(bytes([algorithm]) + public)}"


class Forger:
    """A key of small order: no secret, and yet everything that it "signs" satisfies the equation."""

    def __init__(self, name):
        self.name, self.public = name, SMALL
        self.hash, self.id, self.vkey = names_of(name, SMALL)

    def sign(self, _message):
        return SMALL + bytes(32)


def malleable(signature):
    """The second form of a signature: S + L."""
    second = int.from_bytes(signature[32:], "little") + ORDER
    return signature[:32] + second.to_bytes(32, "little")


def b64(data):
    return base64.b64encode(data).decode()


ALICE, DAVE = Key("alice"), Key("dave")  # the root; sovereigns
BOB, BOB_2 = Key("bob"), Key("bob", "bob second")  # a reviewer, and the key that replaced his first
CAROL, ERIN, EVE = Key("carol"), Key("erin"), Key("eve")  # operator, auditor, unknown
FRANK = Key("frank")  # joins the root later
ENGINE = Key("engine-1")
LOG_KEY, LOG_KEY_2 = Key(LOG), Key(LOG, "log second")
WITNESS = Key("witness.example/w1", algorithm=4)


# --- canonical JSON and hashes -----------------------------------------------------------------------


def canonical(value):
    """RFC 8785 for what the profile holds; the order of UTF-16 code units, written out."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(canonical(k) + ":" + canonical(value[k]) for k in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def encode(value):
    return canonical(value).encode()


def sha(data):
    return hashlib.sha256(data).digest()


def leaf(data):
    return sha(b"\0" + data)


def root_of(hashes):
    """The Merkle tree hash as RFC 6962 defines it, by recursion."""
    if not hashes:
        return sha(b"")
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    return sha(b"\1" + root_of(hashes[:split]) + root_of(hashes[split:]))


def proof_of(index, hashes):
    """The inclusion proof, from the leaf's sibling to the root's child."""
    if len(hashes) == 1:
        return []
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    if index < split:
        return proof_of(index, hashes[:split]) + [root_of(hashes[split:])]
    return proof_of(index - split, hashes[split:]) + [root_of(hashes[:split])]


def note(text, *signatures):
    """A signed note; a signature is a key, or (name, hash, bytes) as it shall stand there."""
    lines = []
    for one in signatures:
        if not isinstance(one, tuple):
            one = (one.name, one.hash, one.sign(text.encode()))
        lines.append(f"\u2014 {one[0]} {b64(one[1] + one[2])}\n")
    return (text + "\n" + "".join(lines)).encode()


def cosignature(key, text, stamp=1_777_000_000):
    message = f"cosignature/v1\ntime {stamp}\n{text}".encode()
    return key.name, key.hash, stamp.to_bytes(8, "big") + key.sign(message)


def head_text(size, root, origin=LOG):
    return f"{origin}\n{size}\n{b64(root)}\n"


def checkpoint(hashes, *keys, origin=LOG):
    return note(head_text(len(hashes), root_of(hashes), origin), *(keys or (LOG_KEY,)))


# --- envelopes ---------------------------------------------------------------------------------------


def envelope(payload, keys, payload_type=DECISION):
    data = payload if isinstance(payload, bytes) else encode(payload)
    message = f"DSSEv1 {len(payload_type)} {payload_type} {len(data)} ".encode() + data
    signatures = [{"keyid": key.id, "sig": b64(key.sign(message))} for key in keys]
    return {"payloadType": payload_type, "payload": b64(data), "signatures": signatures}


def decision(number, purpose, **fields):
    value = {
        "id": run_id(0xD000 + number), "purpose": purpose, "origin": ORIGIN, "generation": 1,
        "run": None, "basis": None, "switch_no": None, "holds": [], "hold": None, "plan": None,
        "phase": None, "reason_code": "repair", "reason": "the check of leg B failed",
        "policy": None, "not_after": LATER, "requester": "carol",
    }  # fmt: skip
    return value | fields


# --- a ledger, told record by record -----------------------------------------------------------------

BLOB_ID, ERASED_ID = run_id(0xB001), run_id(0xB002)
BLOB, SALT = b'{"rows":[' + b"1," * 9000 + b"1]}", bytes(range(32))
HOLD = run_id(0xA001)
PLAN = sha(b"plan").hex()
POLICY = sha(b"policy").hex()


def blob_ref(identity, content, salt=SALT):
    commitment = sha(b"redress-blob-v1\0" + salt + content).hex()
    return {"$blob": {"id": identity, "len": len(content), "commitment": commitment}}


def moved(source, event, to):
    return {"from": source, "event": event, "to": to}


class Ledger:
    """Records in the order of the log; each knows its place in its run."""

    def __init__(self, generation=1):
        self.values, self.heads, self.generation = [], {}, generation
        self.basis, self.acts, self.blobs = None, 0, {}
        self.names = {}  # what a case calls a record -> its position
        self.keys_run = SYSTEM

    def add(self, run, kind, body, name=None, **fields):
        seq, prev = self.heads.get(run, (0, ZERO))
        hour, second = divmod(len(self.values) % 36_000, 3600)
        minute, second = divmod(second, 60)
        value = {
            "v": 1, "origin": ORIGIN, "generation": self.generation, "run": run, "epoch": 1,
            "switch_no": 1, "seq": seq + 1, "prev": prev, "kind": kind,
            "at": f"2026-05-01T{12 + hour}:{minute:02}:{second:02}.000000Z", "actor": "worker",
            "engine": "redress/0.1.0", "policy": None, "idem": None, "body": body,
        } | fields  # fmt: skip
        self.values.append(value)
        digest = leaf(encode(value)).hex()
        self.heads[run] = (value["seq"], digest)
        if name:
            self.names[name] = len(self.values) - 1
        return {"seq": value["seq"], "hash": digest}

    def act(self, kind, body, keys=(ALICE, DAVE), name=None, payload_type=ACT, late=False, **changes):
        """A root act, with its decision."""
        self.acts += 1
        payload = {
            "id": run_id(0xC000 + self.acts), "act": kind, "origin": ORIGIN,
            "generation": self.generation, "basis": self.basis, "body": copy.deepcopy(body),
            "not_after": PAST if late else LATER, "reason": "as agreed",
        } | changes  # fmt: skip
        whole = body | {"decision": envelope(payload, keys, payload_type)}
        place = self.add(self.keys_run, kind, whole, name)
        if kind.startswith("key.") or kind == "generation.opened":
            self.basis = place
        return place

    def bootstrap(self, keys=(ALICE, DAVE), threshold=2, signers=None, **changes):
        root = {"keys": [{"vkey": k.vkey, "principal": k.name} for k in keys], "threshold": threshold}
        body = {"root": root, "log": LOG_KEY.vkey}
        self.act("key.registered", body, signers or keys, "bootstrap", **changes)

    def register(self, key, role, name=None, **changes):
        self.act("key.registered", {"vkey": key.vkey, "role": role}, name=name, **changes)

    def position(self, name):
        return self.names[name]

    def next_in_run(self, position):
        run = self.values[position]["run"]
        return next(n for n in range(position + 1, len(self.values)) if self.values[n]["run"] == run)

    def entries(self):
        return [encode(value) for value in self.values]

    def relink(self):
        """Chains everything anew, as whoever owns the rows can; signatures stay what they are."""
        heads = {}
        for value in self.values:
            seq, prev = heads.get(value["run"], (0, ZERO))
            value["seq"], value["prev"] = seq + 1, prev
            heads[value["run"]] = (seq + 1, leaf(encode(value)).hex())


def keys_known(ledger):
    ledger.bootstrap()
    ledger.register(BOB, "reviewer", "bob")
    ledger.register(CAROL, "operator")
    ledger.register(ERIN, "auditor")
    ledger.register(ENGINE, "engine", "engine")
    ledger.act("policy.set", {"policy": POLICY, "name": "house rules"}, name="policy")
    return ledger


def complete_run(ledger, run, tag=""):
    """A run that completes; input in the record, output in a blob."""
    ledger.add(run, "run.opened", {"saga": "cutover", "input": {"doc": "é\u2028" + tag}}, "opened" + tag)
    ledger.add(run, "phase.committed", {"phase": "leg_a", "output": {"n": 1}}, "leg_a" + tag)
    ledger.add(
        run, "phase.committed",
        {"phase": "leg_b", "transition": moved("running", "phase_committed", "running")}, "leg_b" + tag,
    )  # fmt: skip
    seal(ledger, run, "completed", moved("running", "run_completed", "completed"), "sealed" + tag)


def seal(ledger, run, outcome, move=None, name=None):
    body = {"count": ledger.heads[run][0] + 1, "outcome": outcome}
    ledger.add(run, "run.sealed", body | ({"transition": move} if move else {}), name)


def fail(ledger, run, quorum, name="failed", opened=None):
    """A run up to its plan; gives the basis."""
    ledger.add(run, "run.opened", opened or {"saga": "cutover", "input": {"doc": "y"}}, name + "-opened")
    ledger.add(run, "phase.committed", {"phase": "leg_a"})
    ledger.add(run, "phase.committed", {"phase": "leg_b"})
    body = {"phase": "verify", "code": "RD0301", "transition": moved("running", "phase_failed", "failed")}
    basis = ledger.add(run, "phase.failed", body, name)
    plan = {"plan": PLAN, "basis": basis, "quorum": quorum, "requester": "carol"}
    ledger.add(run, "plan.made", plan, name + "-plan")
    return basis


def approve(ledger, run, basis, keys, name="approved", changes=None):
    fields = {"run": run, "basis": basis, "plan": PLAN} | (changes or {})
    value = decision(1, "plan_approve", **fields)
    body = {"plan": PLAN, "decision_id": value["id"], "envelope": envelope(value, keys)}
    return ledger.add(run, "plan.approved", body, name)


def unwind(ledger, run, action="decide", name="started"):
    move = moved("failed", "plan_started", "compensating")
    ledger.add(run, "plan.started", {"plan": PLAN, "transition": move}, name)
    body = {"plan": PLAN, "phase": "leg_b", "action": action}
    ledger.add(run, "compensation.committed", body, name + "-action")
    ledger.add(run, "compensation.committed", {"phase": "leg_a", "action": "soft_revert"})
    move = moved("compensating", "plan_finished", "compensated")
    ledger.add(run, "plan.finished", {"plan": PLAN, "transition": move})
    seal(ledger, run, "compensated", name=name + "-sealed")


def hold_and_kill(ledger):
    ledger.add(SYSTEM, "hold.set", {"hold": HOLD, "scope": "all", "reason": "look"}, "hold")
    value = decision(10, "hold_release", hold=HOLD)
    body = {"hold": HOLD, "decision_id": value["id"], "envelope": envelope(value, [ALICE])}
    ledger.add(SYSTEM, "hold.released", body, "hold-released")
    ledger.add(SYSTEM, "switch.killed", {"switch_no": 2, "state": "killed"}, switch_no=2)
    value = decision(11, "switch_release", switch_no=2)
    ledger.add(SYSTEM, "decision", {"decision_id": value["id"], "envelope": envelope(value, [DAVE])})
    ledger.add(SYSTEM, "switch.released", {"released": 2, "released_as": 3}, "switch", switch_no=3)


def standard():
    """The ledger that most cases damage: three kinds of ends, holds, a kill, keys that come and go."""
    ledger = keys_known(Ledger())
    complete_run(ledger, RUN_A)
    opened = {"saga": "cutover", "input": blob_ref(BLOB_ID, BLOB), "pre": blob_ref(ERASED_ID, b"gone")}
    basis = fail(ledger, RUN_B, {"sovereign": 1, "reviewer": 1}, opened=opened)
    hold_and_kill(ledger)
    approve(ledger, RUN_B, basis, [ALICE, BOB])
    unwind(ledger, RUN_B)
    ledger.act("key.rotated", {"old": BOB.id, "new": BOB_2.vkey}, name="rotated")
    ledger.act("key.revoked", {"key": CAROL.id}, name="revoked")
    ledger.act("blob.erased", {"blob": ERASED_ID}, name="erased")
    archive(ledger)
    basis = fail(ledger, RUN_C, {}, "failed-c")
    value = decision(20, "run_resolve", run=RUN_C, basis=basis)
    move = moved("failed", "resolved", "resolved")
    body = {"decision_id": value["id"], "envelope": envelope(value, [DAVE]), "transition": move}
    ledger.add(RUN_C, "resolved", body, "resolved")
    seal(ledger, RUN_C, "resolved", name="sealed-c")
    ledger.blobs = {BLOB_ID: BLOB}
    return ledger


SIZES = (1, 6, 20)  # the checkpoints of the standard ledger, besides the newest


# --- its bundle --------------------------------------------------------------------------------------


def tile_name(level, number, width):
    text = f"{number:03}"
    text = text.zfill(-(-len(text) // 3) * 3)
    groups = [text[at : at + 3] for at in range(0, len(text), 3)]
    path = "/".join(["x" + one for one in groups[:-1]] + groups[-1:])
    return f"tile/{level}/{path}" + ("" if width == 256 else f".p/{width}")


def tiles_of(entries, hashes):
    """Every tile of the tree, by name."""
    files, level, row = {}, 0, hashes
    for number in range(-(-len(entries) // 256)):
        part = entries[number * 256 : number * 256 + 256]
        data = b"".join(len(one).to_bytes(2, "big") + one for one in part)
        files[tile_name("entries", number, len(part))] = data
    while row:
        above = []
        for number in range(-(-len(row) // 256)):
            part = row[number * 256 : number * 256 + 256]
            files[tile_name(level, number, len(part))] = b"".join(part)
            if len(part) == 256:
                above.append(root_of(part))
        level, row = level + 1, above
    return files


def manifest(files, count, head, *keys, order=None, **changes):
    """The signed list; `order` may disturb the list of files."""
    listed = [
        {"path": path, "size": len(data), "sha256": sha(data).hex()}
        for path, data in sorted(files.items(), key=lambda one: one[0].encode())
    ]
    value = {
        "origin": ORIGIN, "generation": 1, "kind": "ledger", "size": count, "root": head.hex(),
        "made_at": MADE_AT, "files": order(listed) if order else listed,
    } | changes  # fmt: skip
    return note(f"redress-bundle-v1\n{canonical(value)}\n", *(keys or (LOG_KEY,)))


def blob_file(content, salt=SALT):
    return encode({"content": b64(content), "salt": b64(salt)})


def common_files(entries, hashes, sizes, blobs, signers, log=LOG):
    with open(os.path.join(HERE, "..", "FORMAT.md"), "rb") as file:
        files = {"FORMAT.md": file.read()}
    for size in sorted({*sizes, len(entries)}):
        keys = signers(size) if signers else (LOG_KEY,)
        files[f"checkpoints/{size:012}"] = checkpoint(hashes[:size], *keys, origin=log)
    files["checkpoint"] = files[f"checkpoints/{len(entries):012}"]
    for identity, content in blobs.items():
        files[f"blobs/{identity}"] = blob_file(content)
    return files


def bundle(
    entries, sizes=SIZES, blobs=None, signers=None, manifest_keys=(), edit=None, log=LOG, **changes
):
    """The files of a bundle of the whole ledger; `edit` may change them before the list is signed."""
    hashes = [leaf(one) for one in entries]
    sizes = [size for size in sizes if size <= len(entries)]
    files = common_files(entries, hashes, sizes, {BLOB_ID: BLOB} if blobs is None else blobs, signers, log)
    files |= tiles_of(entries, hashes)
    if edit:
        edit(files)
    files["manifest"] = manifest(files, len(entries), root_of(hashes), *manifest_keys, **changes)
    return files


def run_bundle(
    entries, run, blobs=None, edit=None, only=None, signers=None, manifest_keys=(), log=LOG, **changes
):
    """The files of a bundle of one run and the system runs."""
    hashes = [leaf(one) for one in entries]
    files = common_files(entries, hashes, (), {BLOB_ID: BLOB} if blobs is None else blobs, signers, log)
    system, wanted = set(), []
    for index, one in enumerate(entries):
        value = json.loads(one)
        if value["seq"] == 1 and value["kind"] != "run.opened":
            system.add(value["run"])
        if value["run"] in system or value["run"] == run:
            wanted.append(index)
    for index in only(wanted) if only else wanted:
        files[f"entries/{index:012}"] = entries[index]
        files[f"proofs/{index:012}"] = proof_file(index, hashes, files["checkpoint"])
    if edit:
        edit(files)
    root = root_of(hashes)
    files["manifest"] = manifest(files, len(entries), root, *manifest_keys, kind="run", run=run, **changes)
    return files


def proof_file(index, hashes, head):
    lines = ["c2sp.org/tlog-proof@v1", f"index {index}", *map(b64, proof_of(index, hashes))]
    return "\n".join(lines).encode() + b"\n\n" + head


def trust_text(*more, roots=(ALICE, DAVE), logs=(LOG_KEY,), root="root 2"):
    lines = ["# who counts, kept by the reviewer"]
    lines += [f"key sovereign {key.vkey}" for key in roots] + [f"log {key.vkey}" for key in logs]
    return "\n".join([*lines, *([root] if root else []), *more]) + "\n"


# --- cases -------------------------------------------------------------------------------------------


class Made:
    """What one case consists of, before it is written."""

    def __init__(self, files, expected, why="", trust=None, remembered=(), after=None):
        self.files, self.why, self.after = files, why, after
        self.verdict, self.code, self.position = expected
        self.trust = trust_text() if trust is None else trust
        self.remembered = list(remembered)


CASES = {}
GOOD = ("VERIFIED", None, None)


def case(name):
    def keep(make):
        if name in CASES:
            raise ValueError(f"two cases are called {name}")
        CASES[name] = make
        return make

    return keep


def failed(code, position):
    return ("FAILED", code, position)


def incomplete():
    return ("INCOMPLETE", None, None)


def standard_entries():
    return standard().entries()


def heads(entries, size, *keys):
    return checkpoint([leaf(one) for one in entries[:size]], *keys)


def rewrite(files, path, edit):
    files[path] = edit(files[path])


def entries_path(files):
    return next(path for path in files if path.startswith("tile/entries/"))


def flipped(data, at, bit=1):
    changed = bytearray(data)
    changed[at] ^= bit
    return bytes(changed)


# Good bundles


@case("good-ledger")
def _():
    return Made(bundle(standard_entries()), GOOD)


@case("good-ledger-remembered")
def _():
    entries = standard_entries()
    known = [heads(entries, 13), heads(entries, 20), heads(entries, len(entries))]
    return Made(bundle(entries), GOOD, remembered=known)


@case("good-run")
def _():
    return Made(run_bundle(standard_entries(), RUN_B), GOOD)


@case("good-run-remembered")
def _():
    entries = standard_entries()
    files = run_bundle(entries, RUN_A, blobs={})
    return Made(files, GOOD, remembered=[heads(entries, len(entries))])


def large():
    """More than 256 entries, so that there are full tiles and a level above."""
    ledger = keys_known(Ledger())
    for number in range(150):
        complete_run(ledger, run_id(0x1000 + number), f"-{number}")
    return ledger


@case("good-large")
def _():
    return Made(bundle(large().entries(), sizes=(1, 255, 256, 257, 300, 512, 513), blobs={}), GOOD)


@case("good-large-run")
def _():
    ledger = large()
    return Made(run_bundle(ledger.entries(), run_id(0x1000 + 100), blobs={}), GOOD)


@case("good-open-run")
def _():
    ledger = standard()
    ledger.add(RUN_D, "run.opened", {"input": {}})
    return Made(bundle(ledger.entries()), GOOD, "complete is false, open_at is the size")


@case("good-reopened")
def _():
    ledger = standard()
    plan = {"plan": PLAN, "basis": None, "quorum": {}}
    plan["basis"] = {"seq": 3, "hash": leaf(ledger.entries()[ledger.position("leg_b")]).hex()}
    ledger.add(RUN_A, "plan.made", plan)
    move = moved("completed", "plan_started", "compensating")
    ledger.add(RUN_A, "plan.started", {"plan": PLAN, "transition": move})
    body = {"action": "soft_revert", "transition": moved("compensating", "plan_finished", "compensated")}
    ledger.add(RUN_A, "compensation.committed", body)
    seal(ledger, RUN_A, "compensated")
    return Made(bundle(ledger.entries()), GOOD, "a completed run may be undone; its last seal counts")


@case("good-root-rotated")
def _():
    ledger = rotate_root(standard(), [ALICE, DAVE, FRANK], 2)
    value = decision(30, "hold_release", hold=HOLD)
    ledger.add(SYSTEM, "hold.released", {"hold": HOLD, "envelope": envelope(value, [FRANK])})
    return Made(bundle(ledger.entries()), GOOD, "the reviewer knows the first root, rotations lead on")


@case("good-root-rotated-known-by-the-last")
def _():
    ledger = rotate_root(standard(), [ALICE, FRANK], 2, signers=[ALICE, DAVE, FRANK])
    trust = trust_text(roots=(ALICE, FRANK))
    return Made(bundle(ledger.entries()), GOOD, "the reviewer knows the second root only", trust)


def rotate_root(ledger, keys, threshold, signers=None, name="root-rotated"):
    root = {"keys": [{"vkey": k.vkey, "principal": k.name} for k in keys], "threshold": threshold}
    ledger.act("key.rotated", {"root": root}, signers or keys, name)
    return ledger


def log_rotated():
    """The log has another key from its position on; earlier heads keep the signature of the first."""
    ledger = standard()
    ledger.act("key.rotated", {"old": LOG_KEY.id, "new": LOG_KEY_2.vkey}, name="log-rotated")
    return ledger, (lambda size: (LOG_KEY_2,) if size > ledger.position("log-rotated") else (LOG_KEY,))


@case("good-log-key-rotated")
def _():
    ledger, signers = log_rotated()
    files = bundle(ledger.entries(), signers=signers, manifest_keys=(LOG_KEY_2,))
    return Made(files, GOOD, trust=trust_text(logs=(LOG_KEY, LOG_KEY_2)))


@case("good-compromised-key")
def _():
    ledger = standard()
    approved = ledger.position("approved")
    ledger.act("key.compromised", {"key": BOB.id, "since": approved}, name="compromised")
    return Made(bundle(ledger.entries()), GOOD, f"doubtful names {approved}")


@case("good-witnessed")
def _():
    files, text = witnessed(cosignature)
    more = (f"witness w1 {WITNESS.vkey}", "group all-of-them all w1", "quorum all-of-them")
    return Made(files, GOOD, trust=trust_text(*more))


def witnessed(make):
    entries = standard_entries()
    hashes = [leaf(one) for one in entries]
    text = head_text(len(entries), root_of(hashes))

    def edit(files):
        files["checkpoint"] = note(text, LOG_KEY, make(WITNESS, text))
        files[f"checkpoints/{len(entries):012}"] = files["checkpoint"]

    return bundle(entries, edit=edit), text


@case("good-empty-checkpoint-published")
def _():
    return Made(bundle(standard_entries(), sizes=(0, 1)), GOOD)


@case("good-unknown-signature-beside")
def _():
    entries = standard_entries()
    signers = lambda _: (EVE, LOG_KEY)  # noqa: E731
    return Made(bundle(entries, signers=signers), GOOD, "signatures of unknown keys are passed over")


@case("good-receipts")
def _():
    edit = lambda files: files.update({"receipts/one": b"r", "receipts/two": b"s"})  # noqa: E731
    return Made(bundle(standard_entries(), edit=edit), GOOD)


# Not everything could be judged


@case("incomplete-nothing")
def _():
    return Made({}, incomplete(), "an empty folder")


@case("incomplete-empty-ledger")
def _():
    return Made(bundle([], sizes=(), blobs={}), incomplete())


@case("incomplete-no-log-key")
def _():
    return Made(bundle(standard_entries()), incomplete(), trust=trust_text(logs=()))


@case("incomplete-no-root")
def _():
    return Made(bundle(standard_entries()), incomplete(), trust=trust_text(roots=(), root=None))


@case("incomplete-quorum-of-witnesses")
def _():
    more = (f"witness w1 {WITNESS.vkey}", "quorum w1")
    return Made(bundle(standard_entries()), incomplete(), trust=trust_text(*more))


@case("incomplete-run-against-an-older-checkpoint")
def _():
    entries = standard_entries()
    return Made(run_bundle(entries, RUN_B), incomplete(), remembered=[heads(entries, 20)])


@case("failed-wins-over-incomplete")
def _():
    files = bundle(standard_entries())
    at = files[entries_path(files)].find(b"leg_a")
    rewrite(files, entries_path(files), lambda data: flipped(data, at))
    position = standard().position("leg_a")
    return Made(files, failed("RD0650", position), trust=trust_text(logs=(), roots=(), root=None))


# F81: every bound field. First by whoever has only the files, then by whoever has the log key too.

FLIPS = {
    "actor": "workes", "at": "2026-05-01T12:00:07.000001Z", "body": {"phase": "leg_x"},
    "engine": "redress/0.1.1", "epoch": 2, "generation": 2, "idem": "k", "kind": "phase.failed",
    "origin": "prod.redress.example", "policy": POLICY, "prev": "1" * 64, "run": RUN_E, "seq": 3,
    "switch_no": 2, "v": 2,
}  # fmt: skip

# Where a flip does not betray itself, the next record of the run names another hash before it.
OWN_CODE = {"generation": "RD0634", "origin": "RD0651", "prev": "RD0632", "run": "RD0631",
            "seq": "RD0631", "v": "RD0611"}  # fmt: skip


def add_flip(field):
    def flip():
        ledger = standard()
        position = ledger.position("leg_a")
        ledger.values[position][field] = FLIPS[field]
        return ledger, position

    @case(f"flip-{field}")
    def _():
        ledger, position = flip()
        files, changed = bundle(standard_entries()), bundle(ledger.entries())
        files[entries_path(files)] = changed[entries_path(changed)]
        return Made(files, failed("RD0650", position), "the entries alone are changed")

    @case(f"flip-{field}-resealed")
    def _():
        ledger, position = flip()
        code = OWN_CODE.get(field)
        place = position if code else ledger.next_in_run(position)
        return Made(bundle(ledger.entries()), failed(code or "RD0632", place), "sealed anew by the log key")


for one in FLIPS:
    add_flip(one)


DECIDED = {
    "id": run_id(0xD0FF), "purpose": "run_resolve", "origin": "prod.example", "generation": 2,
    "run": RUN_A, "basis": None, "switch_no": 9, "holds": [HOLD], "hold": HOLD,
    "plan": sha(b"another").hex(), "phase": "ship", "reason_code": "x", "reason": "y",
    "policy": POLICY, "not_after": "2028-01-01T00:00:00.000000Z", "requester": "bob",
}  # fmt: skip

ACTED = {
    "id": run_id(0xC0FF), "act": "key.rotated", "origin": "prod.example", "generation": 2,
    "basis": None, "body": {"key": BOB.id}, "not_after": "2028-01-01T00:00:00.000000Z", "reason": "y",
}  # fmt: skip


def add_payload_flip(record, holder, field, value):
    @case(f"flip-{record}-payload-{field}")
    def _():
        ledger = standard()
        position = ledger.position(record)
        held = ledger.values[position]["body"][holder]
        payload = json.loads(base64.b64decode(held["payload"])) | {field: value}
        held["payload"] = b64(encode(payload))
        ledger.relink()
        return Made(bundle(ledger.entries()), failed("RD0548", position), "chained and sealed anew")


for one in DECIDED:
    add_payload_flip("approved", "envelope", one, DECIDED[one])
for one in ACTED:
    add_payload_flip("revoked", "decision", one, ACTED[one])


def add_envelope_edit(name, code, edit):
    @case(name)
    def _():
        ledger = standard()
        position = ledger.position("approved")
        edit(ledger.values[position]["body"]["envelope"])
        ledger.relink()
        return Made(bundle(ledger.entries()), failed(code, position))


def change_signature(index, change):
    def edit(held):
        one = held["signatures"][index]
        one["sig"] = b64(change(base64.b64decode(one["sig"])))

    return edit


add_envelope_edit("flip-signature", "RD0548", change_signature(0, lambda s: flipped(s, 5)))
add_envelope_edit("flip-signature-s", "RD0548", change_signature(1, lambda s: flipped(s, 40)))
add_envelope_edit("signature-malleable", "RD0548", change_signature(0, malleable))
add_envelope_edit("signature-small-order-r", "RD0548", change_signature(0, lambda s: SMALL + s[32:]))
add_envelope_edit("signature-short", "RD0548", change_signature(0, lambda s: s[:63]))
add_envelope_edit("signature-none", "RD0545", lambda held: held["signatures"].clear())
add_envelope_edit("signature-twice", "RD0546", lambda h: h["signatures"].append(h["signatures"][0]))
add_envelope_edit("signature-of-another-key", "RD0548",
                  lambda h: h["signatures"][0].update(keyid=DAVE.id))  # fmt: skip
add_envelope_edit("signature-of-no-key", "RD0547", lambda h: h["signatures"][0].update(keyid=EVE.id))
add_envelope_edit("payload-type-downgraded", "RD0544", lambda h: h.update(payloadType="application/json"))
add_envelope_edit("payload-type-of-an-act", "RD0544", lambda h: h.update(payloadType=ACT))
add_envelope_edit("envelope-more-members", "RD0540", lambda h: h.update(more=1))
add_envelope_edit("signature-format-unknown", "RD0540", lambda h: h["signatures"][0].update(format="pgp"))
add_envelope_edit("signature-format-object", "RD0540",
                  lambda h: h["signatures"][0].update(format={"sshsig": None}))  # fmt: skip
add_envelope_edit("signature-as-list", "RD0540",
                  lambda h: h["signatures"].__setitem__(0, list(h["signatures"][0].values())))  # fmt: skip
add_envelope_edit("signature-plain-as-openssh", "RD0580",
                  lambda h: h["signatures"][0].update(format="sshsig"))  # fmt: skip


def ssh_string(data):
    return len(data).to_bytes(4, "big") + data


def sshsig(key, message, namespace=b"redress-decision", name="sha512", inside=None, behind=b""):
    """What `ssh-keygen -Y sign` makes, without its armor."""
    digest = hashlib.new(name, message).digest()
    parts = (namespace, b"", name.encode(), digest)
    signed = key.sign(b"SSHSIG" + b"".join(map(ssh_string, parts)))
    public = ssh_string(b"ssh-ed25519") + ssh_string(inside or key.public)
    made = ssh_string(b"ssh-ed25519") + ssh_string(signed)
    tail = b"".join(map(ssh_string, (namespace, b"", name.encode(), made)))
    return b"SSHSIG" + (1).to_bytes(4, "big") + ssh_string(public) + tail + behind


def signed_by_openssh(held, key, **changes):
    kind, data = held["payloadType"], base64.b64decode(held["payload"])
    message = f"DSSEv1 {len(kind)} {kind} {len(data)} ".encode() + data
    one = next(one for one in held["signatures"] if one["keyid"] == key.id)
    one.update(format="sshsig", sig=b64(sshsig(key, message, **changes)))


def add_openssh(case_name, code, **changes):
    add_envelope_edit(f"openssh-{case_name}", code, lambda held: signed_by_openssh(held, ALICE, **changes))


add_openssh("namespace", "RD0580", namespace=b"file")
add_openssh("another-key-inside", "RD0580", inside=DAVE.public)
add_openssh("weak-key-inside", "RD0580", inside=SMALL)
add_openssh("sha1", "RD0580", name="sha1")
add_openssh("more-behind", "RD0580", behind=b"x")
add_envelope_edit("openssh-signature-flipped", "RD0548",
                  lambda h: (signed_by_openssh(h, ALICE), change_signature(0, lambda s: flipped(s, len(s) - 40))(h)))  # fmt: skip


def add_openssh_good(name):
    @case(f"openssh-{name}")
    def _():
        # An act names the record before by its hash, so each is signed anew once that is known.
        ledger = keys_known(Ledger())
        value = decision(40, "hold_release", hold=HOLD)
        held = envelope(value, [ALICE, DAVE])
        signed_by_openssh(held, ALICE, name=name)
        ledger.add(SYSTEM, "hold.set", {"hold": HOLD, "scope": "all", "reason": "look"}, "hold")
        ledger.add(SYSTEM, "hold.released", {"hold": HOLD, "envelope": held}, "judged")
        return Made(bundle(ledger.entries(), blobs={}), GOOD, "a person signed with the key of OpenSSH")


add_openssh_good("sha256")
add_openssh_good("sha512")


# F82: records that are missing, doubled, swapped, inserted.


def add_moved(name, edit, keyless, resealed):
    """`edit` works on the list of entries; both codes with their places."""

    @case(name)
    def _():
        ledger = standard()
        position = ledger.position("leg_a")
        changed, files = ledger.entries(), bundle(standard_entries())
        edit(changed, position)
        data = b"".join(len(one).to_bytes(2, "big") + one for one in changed)
        files[entries_path(files)] = data
        return Made(files, failed(keyless[0], position + keyless[1]), "the entries alone are changed")

    @case(f"{name}-resealed")
    def _():
        ledger = standard()
        position = ledger.position("leg_a")
        changed = ledger.entries()
        edit(changed, position)
        return Made(bundle(changed), failed(resealed[0], position + resealed[1]), "sealed by the log key")


add_moved("record-deleted", lambda e, p: e.pop(p), ("RD0650", 0), ("RD0631", 0))
add_moved("record-doubled", lambda e, p: e.insert(p + 1, e[p]), ("RD0650", 1), ("RD0631", 1))
add_moved("records-swapped", lambda e, p: e.__setitem__(slice(p, p + 2), [e[p + 1], e[p]]),
          ("RD0650", 0), ("RD0631", 0))  # fmt: skip
add_moved("record-inserted", lambda e, p: e.insert(p, e[p].replace(b"leg_a", b"leg_z")),
          ("RD0650", 0), ("RD0631", 1))  # fmt: skip


@case("record-deleted-at-the-end-of-entries")
def _():
    entries = standard_entries()
    files = bundle(entries)
    rewrite(files, entries_path(files), lambda data: data[: -len(entries[-1]) - 2])
    return Made(files, failed("RD0648", len(entries) - 1))


@case("record-appended-to-entries")
def _():
    entries = standard_entries()
    files = bundle(entries)
    rewrite(files, entries_path(files), lambda data: data + b"\0\1x")
    return Made(files, failed("RD0648", len(entries)))


# F84: everything from some record on is made anew by somebody without keys.


def rewritten():
    """A perfect chain in which one record says something else."""
    ledger = standard()
    ledger.values[ledger.position("leg_a")]["body"]["output"] = {"n": 2}
    ledger.relink()
    return ledger.entries()


@case("rehash-manifest-left")
def _():
    files, forged = bundle(standard_entries()), bundle(rewritten())
    for path in files:
        if path.startswith("tile/"):
            files[path] = forged[path]
    return Made(files, failed("RD0655", 6), "entries and tiles agree; the head of size 20 does not")


@case("rehash-old-signatures")
def _():
    files = bundle(rewritten())
    good = bundle(standard_entries())["manifest"]
    signature = good[good.rfind(b"\n\n") + 2 :]
    rewrite(files, "manifest", lambda data: data[: data.rfind(b"\n\n") + 2] + signature)
    return Made(files, failed("RD0644", None), "a new list under the old signature")


@case("rehash-own-key")
def _():
    false_log = Key(LOG, "somebody else")
    files = bundle(rewritten(), signers=lambda _: (false_log,), manifest_keys=(false_log,))
    return Made(files, failed("RD0643", None), "signed by a key that only has the log's name")


@case("rehash-own-key-only-heads")
def _():
    false_log = Key(LOG, "somebody else")
    files = bundle(rewritten(), signers=lambda _: (false_log,))
    return Made(files, failed("RD0643", None), "the list is signed by the log, the heads are not")


@case("rehash-old-heads-kept")
def _():
    old = bundle(standard_entries())

    def keep(files):
        for path in files:
            if path.startswith("checkpoints/") and not path.endswith(f"{len(standard_entries()):012}"):
                files[path] = old[path]

    return Made(bundle(rewritten(), edit=keep), failed("RD0655", 6), "the log key signed two stories")


@case("rehash-approval-changed")
def _():
    ledger = standard()
    ledger.values[ledger.position("failed")]["body"]["code"] = "RD0999"
    ledger.relink()
    failed_at = ledger.values[ledger.position("failed")]
    ledger.values[ledger.position("failed-plan")]["body"]["basis"] = {
        "seq": failed_at["seq"], "hash": leaf(encode(failed_at)).hex(),
    }  # fmt: skip
    ledger.relink()
    position = ledger.position("approved")
    return Made(bundle(ledger.entries()), failed("RD0556", position), "what was decided on is another story")


# F83, F85, F86: ends cut off, forks, backups.


@case("tail-truncated-unnoticed")
def _():
    entries = standard_entries()[:20]
    files = bundle(entries, sizes=(1, 6), blobs={BLOB_ID: BLOB, ERASED_ID: b"gone"})
    return Made(files, GOOD, "an earlier bundle is a good one: nothing was remembered")


@case("tail-truncated-remembered")
def _():
    entries = standard_entries()
    files = bundle(entries[:20], sizes=(1, 6), blobs={BLOB_ID: BLOB, ERASED_ID: b"gone"})
    return Made(files, failed("RD0657", 20), remembered=[heads(entries, len(entries))])


@case("tail-truncated-under-the-old-head")
def _():
    entries = standard_entries()
    files, short = bundle(entries), bundle(entries[:20], sizes=(1, 6))
    for path in [one for one in files if one.startswith("tile/")]:
        del files[path]
    files |= {path: data for path, data in short.items() if path.startswith("tile/")}
    shown = tile_name("entries", 0, 20)
    return Made(files, failed("RD0714", None), f"{shown} is not in the list")


@case("run-dropped-resealed")
def _():
    entries = [one for one in standard_entries() if RUN_A.encode() not in one]
    known = heads(standard_entries(), 20)
    return Made(bundle(entries), failed("RD0656", 0), "a story without the run", remembered=[known])


@case("run-dropped")
def _():
    files = bundle(standard_entries())
    entries = [one for one in standard_entries() if RUN_A.encode() not in one]
    data = b"".join(len(one).to_bytes(2, "big") + one for one in entries)
    files[entries_path(files)] = data
    return Made(files, failed("RD0650", standard().position("opened")))


@case("fork")
def _():
    entries = standard_entries()
    other = rewritten()
    known = [heads(entries, 6), heads(entries, 20)]
    return Made(bundle(other), failed("RD0656", 6), "two heads of size 20 by one key", remembered=known)


@case("fork-of-the-newest")
def _():
    entries = standard_entries()
    known = [heads(entries, len(entries))]
    return Made(bundle(rewritten()), failed("RD0656", 0), remembered=known)


@case("fork-run")
def _():
    entries = standard_entries()
    files = run_bundle(rewritten(), RUN_B)
    return Made(files, failed("RD0656", 0), remembered=[heads(entries, len(entries))])


@case("restored-backup")
def _():
    lost = keys_known(Ledger())
    complete_run(lost, RUN_D)
    ledger = keys_known(Ledger())
    complete_run(ledger, RUN_A)
    complete_run(ledger, RUN_C, "-c")
    known = [heads(lost.entries(), 6), heads(lost.entries(), 10)]
    files = bundle(ledger.entries(), sizes=(6,), blobs={})
    return Made(files, failed("RD0656", 6), "the backup had six records, then it went on", remembered=known)


@case("old-checkpoint-replayed")
def _():
    entries = standard_entries()
    files = bundle(entries)
    files["checkpoint"] = heads(entries, 20)
    return Made(files, failed("RD0715", None), "an older head of the same log in its place")


@case("old-checkpoint-replayed-resealed")
def _():
    entries = standard_entries()
    files = bundle(entries, edit=lambda files: files.update(checkpoint=heads(entries, 20)))
    return Made(files, failed("RD0717", None), "and the list names it")


# F87: keys.


def judged_hold(keys, before=None, number=40, signers=None, **fields):
    """A hold that these keys release at the end of the standard ledger; its position."""
    ledger = standard()
    if before:
        before(ledger)
    value = decision(number, "hold_release", hold=HOLD) | fields
    held = envelope(value, keys)
    ledger.add(SYSTEM, "hold.released", {"hold": HOLD, "envelope": held}, "judged")
    return ledger


def add_hold(name, code, keys, before=None, **fields):
    @case(name)
    def _():
        ledger = judged_hold(keys, before, **fields)
        return Made(bundle(ledger.entries()), failed(code, ledger.position("judged")))


def weak_registered(ledger):
    ledger.register(Forger("weak"), "sovereign", "weak")


add_hold("key-unknown", "RD0547", [EVE])
add_hold("key-beside-unknown", "RD0547", [ALICE, EVE])
add_hold("key-revoked", "RD0570", [ALICE, CAROL])
add_hold("key-rotated-away", "RD0570", [ALICE, BOB])
add_hold("key-of-the-log", "RD0571", [LOG_KEY])
add_hold("key-of-the-engine", "RD0571", [ENGINE])
add_hold("key-not-enough", "RD0560", [BOB_2])
add_hold("key-of-an-auditor", "RD0560", [ERIN])
add_hold("key-of-the-requester", "RD0560", [ALICE], requester="alice")
add_hold("decision-expired", "RD0559", [ALICE], not_after=PAST)
add_hold("decision-of-another-place", "RD0551", [ALICE], origin="prod.redress.example")
add_hold("decision-of-another-generation", "RD0552", [ALICE], generation=2)
add_hold("decision-of-another-hold", "RD0558", [ALICE], hold=run_id(0xA002))
add_hold("decision-of-another-purpose", "RD0550", [ALICE], purpose="switch_release", switch_no=1)
add_hold("decision-used-twice", "RD0662", [ALICE], number=10)
add_hold("decision-without-its-hold", "RD0542", [ALICE], hold=None)


@case("key-before-it-was-registered")
def _():
    ledger = Ledger()
    ledger.bootstrap()
    value = decision(40, "hold_release", hold=HOLD)
    body = {"hold": HOLD, "envelope": envelope(value, [BOB]), "quorum": {"reviewer": 1}}
    ledger.add(SYSTEM, "hold.released", body, "judged")
    ledger.register(BOB, "reviewer")
    return Made(bundle(ledger.entries(), blobs={}), failed("RD0547", 1))


@case("key-small-order-registered")
def _():
    ledger = standard()
    weak_registered(ledger)
    return Made(bundle(ledger.entries()), failed("RD0502", ledger.position("weak")))


@case("key-small-order-log")
def _():
    weak = Forger(LOG)
    files = bundle(rewritten(), signers=lambda _: (weak,), manifest_keys=(weak,))
    return Made(files, failed("RD0643", None), "a key of small order under the log's name")


@case("note-signature-small-order-r")
def _():
    return bad_note_signature(lambda s: SMALL + s[32:])


@case("note-signature-malleable")
def _():
    return bad_note_signature(malleable)


def bad_note_signature(change):
    entries = standard_entries()
    text = head_text(len(entries), root_of([leaf(one) for one in entries]))
    false = (LOG, LOG_KEY.hash, change(LOG_KEY.sign(text.encode())))

    def edit(files):
        files["checkpoint"] = note(text, false)
        files[f"checkpoints/{len(entries):012}"] = files["checkpoint"]

    return Made(bundle(entries, edit=edit), failed("RD0644", None))


@case("checkpoint-signed-twice-by-one-key")
def _():
    entries = standard_entries()

    def edit(files):
        head = checkpoint([leaf(one) for one in entries], LOG_KEY, LOG_KEY)
        files["checkpoint"] = files[f"checkpoints/{len(entries):012}"] = head

    return Made(bundle(entries, edit=edit), failed("RD0639", None))


@case("checkpoint-long-signature-of-nobody")
def _():
    entries = standard_entries()

    def edit(files):
        text = head_text(len(entries), root_of([leaf(one) for one in entries]))
        head = note(text, LOG_KEY, ("other", bytes(4), bytes(8193)))
        files["checkpoint"] = files[f"checkpoints/{len(entries):012}"] = head

    return Made(bundle(entries, edit=edit), failed("RD0639", None))


@case("checkpoint-empty-with-another-root")
def _():
    def edit(files):
        files["checkpoints/000000000000"] = note(head_text(0, bytes(32)), LOG_KEY)

    return Made(bundle(standard_entries(), edit=edit), failed("RD0645", 0))


@case("record-as-list")
def _():
    ledger = standard()
    entries, position = ledger.entries(), ledger.position("leg_a")
    value = json.loads(entries[position])
    entries[position] = encode([value[name] for name in sorted(value)])
    return Made(bundle(entries), failed("RD0610", position))


@case("witness-signature-wrong")
def _():
    files, _text = witnessed(lambda key, text: cosignature(key, text + "x"))
    more = (f"witness w1 {WITNESS.vkey}", "quorum w1")
    return Made(files, failed("RD0644", None), trust=trust_text(*more))


@case("log-key-old-after-rotation")
def _():
    ledger, _signers = log_rotated()
    files = bundle(ledger.entries())
    # The newest head comes after the rotation and is still signed by the first key; 20 was confirmed.
    return Made(files, failed("RD0647", 20), trust=trust_text(logs=(LOG_KEY, LOG_KEY_2)))


@case("manifest-signed-by-the-old-log-key")
def _():
    ledger, signers = log_rotated()
    files = bundle(ledger.entries(), signers=signers)
    return Made(files, failed("RD0647", None), trust=trust_text(logs=(LOG_KEY, LOG_KEY_2)))


# Root acts.


def add_act(name, code, make):
    @case(name)
    def _():
        ledger = standard()
        make(ledger)
        return Made(bundle(ledger.entries()), failed(code, len(ledger.values) - 1))


def register_eve(ledger, **changes):
    ledger.register(EVE, "reviewer", **changes)


def outside(ledger):
    ledger.act("key.registered", {"vkey": EVE.vkey, "role": "reviewer"})
    ledger.values[-1] |= {"run": RUN_E, "seq": 1, "prev": ZERO}


def unsigned(ledger):
    ledger.add(SYSTEM, "key.revoked", {"key": ENGINE.id})


def changed_body(ledger):
    register_eve(ledger)
    ledger.values[-1]["body"]["role"] = "sovereign"


def true_for_one(ledger):
    ledger.act("key.compromised", {"key": CAROL.id, "since": 1})
    ledger.values[-1]["body"]["since"] = True


ARCHIVED = {
    "before": "2026-01-02T00:00:00.000000Z", "through": 2, "runs": 1, "records": 4,
    "digest": POLICY, "manifest": POLICY,
}  # fmt: skip


def archive(ledger, **changes):
    ledger.act("runs.archived", {name: value for name, value in (ARCHIVED | changes).items() if value is not None})


def replayed(ledger):
    ledger.act("blob.erased", {"blob": BLOB_ID}, id=run_id(0xC001))


def again(ledger):
    ledger.bootstrap()


add_act("act-one-signature", "RD0577", lambda l: register_eve(l, keys=[ALICE]))
add_act("act-not-of-the-root", "RD0571", lambda l: register_eve(l, keys=[ALICE, BOB_2]))
add_act("act-by-a-revoked-key", "RD0570", lambda l: register_eve(l, keys=[ALICE, CAROL]))
add_act("act-by-an-unknown-key", "RD0547", lambda l: register_eve(l, keys=[ALICE, EVE]))
add_act("act-unsigned", "RD0660", unsigned)
add_act("archive-of-what-has-no-place", "RD0660", lambda l: archive(l, through=len(l.values) + 1))
add_act("archive-of-nothing", "RD0660", lambda l: archive(l, runs=0))
add_act("archive-of-half-a-run", "RD0660", lambda l: archive(l, records="4"))
add_act("archive-at-no-time", "RD0660", lambda l: archive(l, before="yesterday"))
add_act("archive-without-digest", "RD0660", lambda l: archive(l, digest=None))
add_act("archive-in-no-bundle", "RD0660", lambda l: archive(l, manifest=POLICY[:-1]))
add_act("archive-and-more", "RD0660", lambda l: archive(l, more=1))
add_act("act-expired", "RD0559", lambda l: register_eve(l, late=True))
add_act("act-of-another-kind", "RD0550", lambda l: register_eve(l, act="key.revoked"))
add_act("act-of-another-place", "RD0551", lambda l: register_eve(l, origin="prod.example"))
add_act("act-of-another-generation", "RD0552", lambda l: register_eve(l, generation=2))
add_act("act-on-another-basis", "RD0556", lambda l: register_eve(l, basis=None))
add_act("act-on-another-body", "RD0576", changed_body)
add_act("act-true-is-not-one", "RD0660", true_for_one)
add_act("act-used-twice", "RD0662", replayed)
add_act("act-in-a-decision-envelope", "RD0544", lambda l: register_eve(l, payload_type=DECISION))
add_act("act-outside-the-system-run", "RD0636", outside)
add_act("key-registered-twice", "RD0572", lambda l: l.register(BOB, "sovereign"))
add_act("key-under-another-name", "RD0572", lambda l: l.register(Key("mallory", "bob"), "sovereign"))
add_act("key-rotated-to-another-person", "RD0574",
        lambda l: l.act("key.rotated", {"old": BOB_2.id, "new": EVE.vkey}))  # fmt: skip
add_act("key-revoked-twice", "RD0573", lambda l: l.act("key.revoked", {"key": CAROL.id}))
add_act("key-revoked-unknown", "RD0573", lambda l: l.act("key.revoked", {"key": EVE.id}))
add_act("key-revoked-of-the-root", "RD0574", lambda l: l.act("key.revoked", {"key": ALICE.id}))
add_act("key-revoked-of-the-log", "RD0574", lambda l: l.act("key.revoked", {"key": LOG_KEY.id}))
add_act("key-compromised-in-the-future", "RD0660",
        lambda l: l.act("key.compromised", {"key": BOB.id, "since": 10_000}))  # fmt: skip
add_act("key-role-unknown", "RD0509", lambda l: l.register(EVE, "emperor"))
add_act("key-for-the-log-registered", "RD0509", lambda l: l.register(EVE, "log"))
add_act("bootstrap-again", "RD0575", again)
add_act("root-rotated-by-the-new-alone", "RD0577",
        lambda l: rotate_root(l, [EVE, FRANK], 2, signers=[EVE, FRANK]))  # fmt: skip
add_act("root-rotated-by-the-old-alone", "RD0577",
        lambda l: rotate_root(l, [EVE, FRANK], 2, signers=[ALICE, DAVE]))  # fmt: skip
add_act("root-threshold-of-nobody", "RD0660", lambda l: rotate_root(l, [ALICE, DAVE], 0))
add_act("root-threshold-beyond-its-people", "RD0660", lambda l: rotate_root(l, [ALICE, DAVE], 3))


@case("root-two-keys-of-one-person")
def _():
    second = Key("alice", "alice second")
    ledger = Ledger()
    ledger.bootstrap([ALICE, second, DAVE], 2, [ALICE, second])
    trust = trust_text(roots=(ALICE, second, DAVE))
    return Made(bundle(ledger.entries(), blobs={}), failed("RD0577", 0), "two keys, one person", trust)


@case("bootstrap-missing")
def _():
    ledger = Ledger()
    complete_run(ledger, RUN_A)
    return Made(bundle(ledger.entries(), blobs={}), failed("RD0575", 0))


@case("bootstrap-not-signed-by-its-root")
def _():
    ledger = Ledger()
    ledger.bootstrap(signers=[ALICE])
    return Made(bundle(ledger.entries(), blobs={}), failed("RD0577", 0))


@case("bootstrap-of-strangers")
def _():
    ledger = Ledger()
    ledger.bootstrap([EVE, FRANK])
    complete_run(ledger, RUN_A)
    return Made(bundle(ledger.entries(), blobs={}), failed("RD0578", 0), "roots that nobody knows")


@case("bootstrap-with-a-lower-threshold")
def _():
    ledger = Ledger()
    ledger.bootstrap(threshold=1)
    return Made(bundle(ledger.entries(), blobs={}), failed("RD0578", 0), "the reviewer asks for two")


@case("registration-against-the-trust-file")
def _():
    trust = trust_text(f"key operator {BOB.vkey}")
    return Made(bundle(standard_entries()), failed("RD0579", 1), "the reviewer knows Bob otherwise", trust)


# A later generation: its log carries the one before it, behind its first leaf.

LOG_2, LOG_3 = ORIGIN + "/gen/2", ORIGIN + "/gen/3"
SECOND, THIRD = Key(LOG_2), Key(LOG_3)
LOG_KEYS = {1: LOG_KEY, 2: SECOND, 3: THIRD}
KEYS_RUNS = {2: run_id(0xFFFE), 3: run_id(0xFFFD)}
STAY = ((BOB_2, "reviewer"), (ERIN, "auditor"), (ENGINE, "engine"))
HOLD_2 = run_id(0xA002)


def root_value(keys=(ALICE, DAVE), threshold=2):
    return {"keys": [{"vkey": k.vkey, "principal": k.name} for k in keys], "threshold": threshold}


def carry(old, keys=STAY, sealed=None, pinned=None, edit=None, root=(ALICE, DAVE), signers=None, damage=None):
    """The next generation behind a ledger. `edit` changes the opening's body before it is signed; `damage` what is
    carried after it was: then the roots' signature is about something else."""
    generation = old.generation + 1
    ledger = Ledger(generation)
    ledger.keys_run, ledger.acts = KEYS_RUNS[generation], 100 * generation
    hashes = [leaf(one) for one in old.entries()]
    sealed = len(hashes) if sealed is None else sealed
    log = f"{ORIGIN}/gen/{old.generation}"
    head = pinned or checkpoint(hashes[:sealed], LOG_KEYS[old.generation], origin=log)
    body = {
        "generation": generation, "checkpoint": head.decode(), "root": root_value(root),
        "carried": {"size": len(hashes), "sealed": sealed, "root": root_of(hashes).hex()},
        "log": LOG_KEYS[generation].vkey, "keys": [{"vkey": key.vkey, "role": role} for key, role in keys],
    }  # fmt: skip
    if edit:
        edit(body)
    ledger.act("generation.opened", body, signers or root, name=f"opening-{generation}")
    if damage:
        old = copy.deepcopy(old)
        damage(old)
    ledger.values += copy.deepcopy(old.values)
    ledger.heads |= old.heads
    ledger.names |= {name: position + 1 for name, position in old.names.items()}
    ledger.blobs, ledger.carried = old.blobs, len(hashes)
    return ledger


def relinked(edit):
    def damage(old):
        edit(old)
        old.relink()
        for value in old.values:
            old.heads[value["run"]] = (value["seq"], leaf(encode(value)).hex())
    return damage


def in_force(ledger, number=50):
    """A decision of the new generation, by a key that was restated."""
    hold = run_id(0xA000 + number)
    ledger.add(SYSTEM, "hold.set", {"hold": hold, "scope": "all", "reason": "look"})
    value = decision(number, "hold_release", hold=hold, generation=ledger.generation)
    held = {"hold": hold, "envelope": envelope(value, [BOB_2]), "quorum": {"reviewer": 1}}
    ledger.add(SYSTEM, "hold.released", held, "judged")
    return ledger


def approve_later(ledger, run, basis, keys, number=60):
    value = decision(number, "plan_approve", run=run, basis=basis, plan=PLAN, generation=ledger.generation)
    body = {"plan": PLAN, "decision_id": value["id"], "envelope": envelope(value, keys)}
    ledger.add(run, "plan.approved", body, "approved-later")


def undone(ledger, run=RUN_D):
    """A run of the new generation that fails, is approved and compensated."""
    basis = fail(ledger, run, {"reviewer": 1}, "failed-later")
    approve_later(ledger, run, basis, [BOB_2], 60 + 10 * ledger.generation)
    unwind(ledger, run, name="started-later")
    return ledger


def later(ledger, run=None, sizes=None, entries=None, **options):
    """A bundle of a later generation, whole or of one run."""
    number = ledger.generation
    keys = (LOG_KEYS[number],)
    options = {"signers": lambda _: keys, "manifest_keys": keys, "log": f"{ORIGIN}/gen/{number}",
               "generation": number} | options  # fmt: skip
    entries = ledger.entries() if entries is None else entries
    if run:
        return run_bundle(entries, run, **options)
    return bundle(entries, sizes=sizes or (1, 7, 21), **options)


def later_trust(*more, roots=(ALICE, DAVE), root="root 2"):
    return trust_text(*more, roots=roots, logs=tuple(LOG_KEYS.values()), root=root)


def add_later(name, expected, make, remembered=(), why="", trust=None, **options):
    """A case of a later generation; `expected` may name a position by what the record is called there."""

    @case(name)
    def _():
        ledger = make()
        verdict, code, position = expected
        if isinstance(position, str):
            position = ledger.position(position)
        if callable(position):
            position = position(ledger)
        known = remembered() if callable(remembered) else remembered
        return Made(later(ledger, **options), (verdict, code, position), why, trust or later_trust(), known)


def moved_on():
    return undone(in_force(carry(standard())))


def over_the_change():
    """A run that fails and is approved in one generation and compensated in the next, and one that completes there."""
    old = standard()
    basis = fail(old, RUN_D, {"reviewer": 1}, "failed-d")
    value = decision(61, "plan_approve", run=RUN_D, basis=basis, plan=PLAN)
    body = {"plan": PLAN, "decision_id": value["id"], "envelope": envelope(value, [BOB_2])}
    old.add(RUN_D, "plan.approved", body, "approved-d")
    old.add(RUN_E, "run.opened", {"saga": "cutover", "input": {}})
    ledger = carry(old)
    unwind(ledger, RUN_D, name="started-d")
    seal(ledger, RUN_E, "completed", moved("running", "run_completed", "completed"))
    return ledger


def third():
    return undone(in_force(carry(moved_on()), 51), RUN_E)


def root_changed():
    """The root of the first generation is another one at its end."""
    return rotate_root(standard(), [ALICE, FRANK], 2, signers=[ALICE, DAVE, FRANK])


def compromised_before():
    old = standard()
    old.act("key.compromised", {"key": BOB.id, "since": old.position("approved")}, name="compromised")
    return in_force(carry(old))


def compromised_later():
    ledger = in_force(carry(compromise_signed()))
    ledger.act("key.compromised", {"key": BOB_2.id, "since": ledger.position("by-bob-2")}, name="compromised")
    return ledger


def compromise_signed():
    old = standard()
    value = decision(62, "hold_release", hold=HOLD_2)
    body = {"hold": HOLD_2, "envelope": envelope(value, [BOB_2]), "quorum": {"reviewer": 1}}
    old.add(SYSTEM, "hold.released", body, "by-bob-2")
    return old


add_later("good-carried", GOOD, moved_on)
add_later("good-carried-only", GOOD, lambda: carry(standard()), why="nothing follows what was carried")
add_later("good-carried-over-the-change", GOOD, over_the_change, why="runs go on with their plans and approvals")
add_later("good-carried-run", GOOD, moved_on, run=RUN_B, why="one run of the first generation")
add_later("good-carried-later-run", GOOD, moved_on, run=RUN_D, blobs={})
add_later("good-carried-run-over-the-change", GOOD, over_the_change, run=RUN_D, blobs={})
add_later("good-carried-third", GOOD, third)
add_later("good-carried-third-run", GOOD, third, run=RUN_A, blobs={})
add_later("good-carried-tail", GOOD, lambda: in_force(carry(standard(), sealed=20)),
          why="the older log had signed 20 of its records")  # fmt: skip
add_later("good-carried-nothing-signed", GOOD, lambda: in_force(carry(standard(), sealed=0)))
add_later("good-carried-pinned-earlier", GOOD,
          lambda: carry(standard(), pinned=heads(standard_entries(), 20)))  # fmt: skip
add_later("good-carried-cut-off", GOOD,
          lambda: carry(standard(), sealed=20, pinned=heads(large().entries(), 200)),
          why="the pinned head is ahead of what was restored: said, and signed for")  # fmt: skip
add_later("good-carried-remembered", GOOD, moved_on,
          lambda: [heads(standard_entries(), size) for size in (6, 13, 20)],
          why="heads of the first generation fit")  # fmt: skip
add_later("good-carried-third-remembered", GOOD, third,
          lambda: [heads(standard_entries(), 6),
                   checkpoint([leaf(one) for one in moved_on().entries()[:30]], SECOND, origin=LOG_2)])  # fmt: skip
add_later("good-carried-compromised-before", GOOD, compromised_before, why="doubtful names the new position")
add_later("good-carried-compromised-later", GOOD, compromised_later,
          why="doubtful names what the key signed in the older generation too")  # fmt: skip
add_later("good-carried-root-changed", GOOD, lambda: carry(root_changed(), root=(ALICE, FRANK)),
          why="the reviewer knows the first root of the first generation")  # fmt: skip
add_later("good-carried-root-changed-known-by-the-last", GOOD,
          lambda: carry(root_changed(), root=(ALICE, FRANK)),
          trust=later_trust(roots=(ALICE, FRANK)))  # fmt: skip

add_later("incomplete-carried-in-part", incomplete(), lambda: carry(standard()),
          why="the log ends within what it carries", entries=carry(standard()).entries()[:8], blobs={})  # fmt: skip
add_later("incomplete-carried-opening-only", incomplete(), lambda: carry(standard()),
          entries=carry(standard()).entries()[:1], blobs={})  # fmt: skip
add_later("incomplete-carried-remembered-in-the-gap", incomplete(),
          lambda: carry(standard(), sealed=20, pinned=heads(large().entries(), 200)),
          lambda: [heads(large().entries(), 100)])  # fmt: skip
add_later("incomplete-carried-run-remembered", incomplete(), moved_on,
          lambda: [heads(standard_entries(), 6)], run=RUN_B)  # fmt: skip

# What somebody may do to what is carried.


def end_of_carried(ledger):
    return ledger.carried


def other_output(old):
    old.values[old.position("leg_a")]["body"]["output"] = {"n": 2}


def append_run(old):
    complete_run(old, RUN_E, "-forged")


def drop_run(run):
    def edit(old):
        old.values = [value for value in old.values if value["run"] != run]
    return edit


def neighbours(old):
    """Two records of two runs change places: nobody's chain is hurt."""
    at = old.position("opened-b") if "opened-b" in old.names else old.position("failed-opened")
    old.values[at - 1 : at + 1] = old.values[at - 1 : at + 1][::-1]


def damaged(edit, **how):
    return lambda: in_force(carry(standard(), damage=relinked(edit), **how))


EARLY = {"pinned": heads(standard_entries(), 6)}  # the pinned head is before the damage

add_later("carried-changed", failed("RD0656", end_of_carried), damaged(other_output))
add_later("carried-changed-behind-the-pinned", failed("RD0655", end_of_carried), damaged(other_output, **EARLY))
add_later("carried-changed-unsealed", failed("RD0655", end_of_carried), damaged(other_output, sealed=6))
add_later("carried-swapped", failed("RD0656", end_of_carried), damaged(neighbours))
add_later("carried-swapped-behind-the-pinned", failed("RD0655", end_of_carried), damaged(neighbours, **EARLY))
add_later("carried-run-dropped", failed("RD0634", lambda l: l.position("judged") - 1),
          damaged(drop_run(RUN_C)))  # fmt: skip
add_later("carried-run-added", failed("RD0634", lambda l: l.carried + 1), damaged(append_run))
add_later("carried-run-added-at-the-end", failed("RD0634", lambda l: l.carried + 1),
          lambda: carry(standard(), damage=relinked(append_run)))  # fmt: skip
add_later("carried-fork-of-the-pinned", failed("RD0656", 20),
          lambda: carry(standard(), pinned=heads(rewritten(), 20)),
          why="the roots signed for records that are not those of the head that they pinned")  # fmt: skip
add_later("carried-fork-of-a-remembered", failed("RD0656", 0), moved_on, lambda: [heads(rewritten(), 13)])
add_later("carried-fork-of-the-pinned-remembered", failed("RD0656", 0),
          lambda: carry(standard(), sealed=20), lambda: [heads(rewritten(), 20)])  # fmt: skip
add_later("carried-third-changed", failed("RD0656", lambda l: l.position("judged") and third_end()),
          lambda: third_damaged())  # fmt: skip


def third_damaged():
    def edit(older):
        older.values[older.position("leg_a")]["body"]["output"] = {"n": 2}
    return in_force(carry(carry(standard(), damage=relinked(edit))), 51)


def third_end():
    return len(standard().values) + 1


def judged_old(story, opened_with=STAY):
    """What is carried and signed for, though its own generation would have refused it."""
    def make():
        old = standard()
        story(old)
        return in_force(carry(old, opened_with))
    return make


def release_by(keys, stamp=None, **fields):
    def story(old):
        value = decision(63, "hold_release", hold=HOLD_2, **fields)
        body = {"hold": HOLD_2, "envelope": envelope(value, keys), "quorum": {"reviewer": 1}}
        old.add(SYSTEM, "hold.released", body | ({"keyring": stamp} if stamp else {}), "wrong")
    return story


def used_before(old):
    value = old.values[old.position("hold-released")]["body"]
    old.add(SYSTEM, "decision", {"envelope": value["envelope"]}, "wrong")


def revoke_once_more(old):
    old.act("key.revoked", {"key": CAROL.id}, name="wrong")


def one_of_two(old):
    old.act("key.revoked", {"key": ERIN.id}, [ALICE], name="wrong")


def too_early(old):
    old.act("key.compromised", {"key": BOB.id, "since": len(old.values) + 1}, name="wrong")


def nobody_allowed(old):
    old.add(SYSTEM, "switch.killed", {"switch_no": 5, "state": "killed"}, switch_no=5)
    old.add(SYSTEM, "switch.released", {"released": 5}, "wrong", switch_no=6)


def second_plan(old):
    basis = fail(old, RUN_D, {"reviewer": 1}, "failed-d")
    unwind(old, RUN_D, name="wrong")
    return basis


add_later("carried-signed-by-a-replaced-key", failed("RD0570", "wrong"), judged_old(release_by([BOB])))
add_later("carried-stamp-forged", failed("RD0570", "wrong"), judged_old(release_by([BOB], stamp=2)),
          why="the stamp says a keyring in which the key was valid; the place says otherwise")  # fmt: skip
add_later("carried-signed-by-an-unknown-key", failed("RD0547", "wrong"), judged_old(release_by([EVE])))
add_later("carried-signed-by-an-engine", failed("RD0571", "wrong"), judged_old(release_by([ENGINE])))
add_later("carried-of-the-new-generation", failed("RD0552", "wrong"),
          judged_old(release_by([BOB_2], generation=2)))  # fmt: skip
add_later("carried-quorum", failed("RD0560", "wrong"), judged_old(release_by([DAVE])))
add_later("carried-used-twice", failed("RD0662", "wrong"), judged_old(used_before))
add_later("carried-not-allowed", failed("RD0661", "wrong"), judged_old(nobody_allowed))
add_later("carried-plan-not-approved", failed("RD0661", "wrong"), judged_old(second_plan))
add_later("carried-act-on-a-revoked-key", failed("RD0573", "wrong"), judged_old(revoke_once_more))
add_later("carried-act-without-threshold", failed("RD0577", "wrong"), judged_old(one_of_two))
add_later("carried-compromised-too-early", failed("RD0660", "wrong"), judged_old(too_early))


def replayed_later():
    """A decision of the first generation once more in the second."""
    ledger = carry(standard())
    value = ledger.values[ledger.position("hold-released")]["body"]
    ledger.add(SYSTEM, "decision", {"envelope": value["envelope"]}, "wrong")
    return ledger


def by_a_dropped_key():
    """A person of the first generation whom the second does not name any more."""
    ledger = carry(standard(), keys=STAY[:1])
    value = decision(64, "hold_release", hold=HOLD_2, generation=2)
    ledger.add(SYSTEM, "decision", {"envelope": envelope(value, [ERIN])}, "wrong")
    return ledger


def late():
    """A record of the first generation behind one of the second."""
    ledger = in_force(carry(standard()))
    ledger.generation = 1
    complete_run(ledger, RUN_E, "-late")
    ledger.generation = 2
    return ledger


add_later("carried-decision-replayed", failed("RD0662", "wrong"), replayed_later)
add_later("carried-key-dropped", failed("RD0547", "wrong"), by_a_dropped_key)
add_later("carried-late", failed("RD0634", "opened-late"), late)


def other_root():
    """The first generation belongs to somebody else."""
    ledger = Ledger()
    ledger.bootstrap([EVE, FRANK], 2)
    complete_run(ledger, RUN_A)
    return ledger


def without_opening(old):
    old.values.pop(0)


add_later("carried-root-not-the-reviewers", failed("RD0578", 0), lambda: carry(other_root(), keys=()), blobs={})
add_later("carried-roots-both-others", failed("RD0578", 0),
          lambda: carry(other_root(), keys=(), root=(EVE, FRANK)), blobs={})  # fmt: skip
add_later("carried-root-smaller", failed("RD0578", 0), lambda: carry(root_changed()),
          why="the generation is opened by the first root, which was no longer in force")  # fmt: skip
add_later("carried-threshold-lowered", failed("RD0578", 0),
          lambda: carry(standard(), edit=lambda body: body["root"].update(threshold=1)),
          trust=later_trust(root=None))  # fmt: skip
add_later("carried-third-root-changed", failed("RD0578", 1), lambda: carry(carry(root_changed())),
          why="the second generation did not go on with the root of the first")  # fmt: skip
add_later("carried-revoked-key-restated", failed("RD0573", 0),
          lambda: carry(standard(), keys=(*STAY, (CAROL, "operator"))))  # fmt: skip
add_later("carried-new-key-restated", failed("RD0573", 0),
          lambda: carry(standard(), keys=(*STAY, (EVE, "reviewer"))))  # fmt: skip
add_later("carried-key-with-another-role", failed("RD0573", 0),
          lambda: carry(standard(), keys=((BOB_2, "operator"),)))  # fmt: skip
add_later("carried-opening-missing", failed("RD0575", 1),
          lambda: carry(standard(), damage=relinked(without_opening)))  # fmt: skip
add_later("carried-third-without-the-second-opening", failed("RD0634", 1),
          lambda: carry(carry(standard()), damage=relinked(without_opening)))  # fmt: skip


def add_opening(name, code, **changes):
    def edit(body):
        body["carried"].update(changes)
    add_later(name, failed(code, 0), lambda: carry(standard(), edit=edit))


add_opening("carried-size-zero", "RD0660", size=0, sealed=0)
add_opening("carried-sealed-beyond", "RD0660", sealed=1000)
add_opening("carried-root-no-hash", "RD0660", root="x")
add_opening("carried-size-true", "RD0660", size=True)
add_opening("carried-more", "RD0660", more=1)
add_opening("carried-size-negative", "RD0660", size=-1, sealed=-1)
add_later("carried-size-smaller", failed("RD0655", lambda l: l.carried - 1),
          lambda: carry(standard(), sealed=20,
                        edit=lambda body: body["carried"].update(size=body["carried"]["size"] - 1)))  # fmt: skip
add_later("carried-size-larger", failed("RD0634", lambda l: l.position("judged") - 1),
          lambda: in_force(carry(standard(), sealed=20,
                                 edit=lambda body: body["carried"].update(size=500))))  # fmt: skip
add_later("carried-not-stated", failed("RD0660", 0), lambda: carry(standard(), edit=lambda b: b.pop("carried")))


@case("carried-run-without-the-openings")
def _():
    ledger = moved_on()
    files = later(ledger, run=RUN_B, only=lambda wanted: wanted[1:])
    return Made(files, failed("RD0575", 1), "nothing says where the older log ends", later_trust())


@case("carried-run-without-the-older-opening")
def _():
    ledger = moved_on()
    files = later(ledger, run=RUN_B, only=lambda wanted: [at for at in wanted if at != 1])
    return Made(files, failed("RD0631", 2), "the older keyring cannot begin", later_trust())


def second(pinned=None, kind="generation.opened", keys=STAY):
    """The second generation: its first leaf pins the last head of the first that somebody remembered."""
    if kind == "generation.opened":
        return in_force(carry(standard(), keys, pinned=pinned or heads(standard_entries(), 20)))
    ledger = Ledger(2)
    ledger.act(kind, {"root": root_value(), "log": SECOND.vkey})
    return ledger


def add_second(name, expected, remembered=(), **how):
    blobs = {} if "kind" in how else None
    add_later(name, expected, lambda: second(**how), remembered, blobs=blobs)


add_second("good-second-generation", GOOD)
add_second("good-second-generation-remembered", GOOD, [heads(standard_entries(), 20)])
add_second("good-second-generation-other-size", GOOD, [heads(standard_entries(), 6)])
add_second("fork-of-what-was-pinned", failed("RD0656", 0), [heads(rewritten(), 20)])
add_second("second-generation-opened-otherwise", failed("RD0575", 0), kind="key.registered")
add_second("second-generation-pins-another-log", failed("RD0646", 0),
           pinned=checkpoint([leaf(b"x")], origin="prod.example/gen/1"))  # fmt: skip
add_second("second-generation-pin-forged", failed("RD0644", 0),
           pinned=note(head_text(1, leaf(b"x")), (LOG, LOG_KEY.hash, bytes(64))))  # fmt: skip
add_second("second-generation-without-the-key", failed("RD0547", "judged"), keys=())


@case("remembered-of-a-later-generation")
def _():
    ledger = second()
    known = checkpoint([leaf(one) for one in ledger.entries()], SECOND, origin=LOG_2)
    trust = later_trust()
    return Made(bundle(standard_entries()), failed("RD0646", None), trust=trust, remembered=[known])


# What nobody allowed, in a chain without a fault.


def story(quorum, keys, action="decide", **fields):
    ledger = keys_known(Ledger())
    basis = fail(ledger, RUN_B, quorum)
    if keys:
        approve(ledger, RUN_B, basis, keys, changes=fields)
    unwind(ledger, RUN_B, action)
    return ledger


def add_story(name, code, place, quorum, keys, action="decide", **fields):
    @case(name)
    def _():
        ledger = story(quorum, keys, action, **fields)
        expected = failed(code, ledger.position(place)) if code else GOOD
        return Made(bundle(ledger.entries(), blobs={}), expected)


BOTH = {"sovereign": 1, "reviewer": 1}
add_story("story-good", None, None, BOTH, [ALICE, BOB])
add_story("story-hard-delete", None, None, BOTH, [ALICE, BOB], "hard_delete")
add_story("story-automatic", None, None, {}, [], "soft_revert")
add_story("story-nobody-signed", "RD0661", "started", BOTH, [])
add_story("story-one-signed", "RD0560", "started", BOTH, [ALICE])
add_story("story-decided-by-nobody", "RD0661", "started-action", {}, [])
add_story("story-deleted-without-sovereign", "RD0560", "started-action", {"reviewer": 1}, [BOB], "hard_delete")
add_story("story-unknown-action", "RD0660", "started-action", BOTH, [ALICE, BOB], "erase")
add_story("story-other-run", "RD0553", "approved", BOTH, [ALICE, BOB], run=RUN_A)
add_story("story-other-plan", "RD0663", "approved", BOTH, [ALICE, BOB], plan=sha(b"another").hex())
add_story("story-other-basis", "RD0556", "approved", BOTH, [ALICE, BOB],
          basis={"seq": 3, "hash": sha(b"another").hex()})  # fmt: skip


@case("story-stale-plan")
def _():
    ledger = keys_known(Ledger())
    basis = fail(ledger, RUN_B, BOTH)
    approve(ledger, RUN_B, basis, [ALICE, BOB])
    ledger.add(RUN_B, "run.resumed", {"transition": moved("failed", "forward_resumed", "running")})
    ledger.add(RUN_B, "phase.failed", {"transition": moved("running", "phase_failed", "failed")})
    unwind(ledger, RUN_B)
    return Made(bundle(ledger.entries(), blobs={}), failed("RD0664", ledger.position("started")))


@case("story-plan-started-twice")
def _():
    ledger = keys_known(Ledger())
    basis = fail(ledger, RUN_B, BOTH)
    approve(ledger, RUN_B, basis, [ALICE, BOB])
    move = moved("failed", "plan_started", "compensating")
    ledger.add(RUN_B, "plan.started", {"plan": PLAN, "transition": move})
    ledger.add(RUN_B, "plan.finished", {"transition": moved("compensating", "plan_finished", "failed")})
    unwind(ledger, RUN_B)
    return Made(bundle(ledger.entries(), blobs={}), failed("RD0665", ledger.position("started")))


@case("story-approval-names-another-plan")
def _():
    ledger = keys_known(Ledger())
    basis = fail(ledger, RUN_B, BOTH)
    approve(ledger, RUN_B, basis, [ALICE, BOB])
    ledger.values[-1]["body"]["plan"] = sha(b"another").hex()
    return Made(bundle(ledger.entries(), blobs={}), failed("RD0554", ledger.position("approved")))


@case("story-action-cites-its-approval")
def _():
    ledger = story(BOTH, [ALICE, BOB])
    held = ledger.values[ledger.position("approved")]["body"]["envelope"]
    ledger.values[ledger.position("started-action")]["body"]["envelope"] = held
    ledger.relink()
    return Made(bundle(ledger.entries(), blobs={}), GOOD, "the same decision again, for its own plan")


def add_step(name, code, purpose="runbook_step", edit=None, **fields):
    @case(f"story-step-{name}")
    def _():
        ledger = keys_known(Ledger())
        fail(ledger, RUN_B, BOTH)
        value = decision(70, purpose, **({"run": RUN_B, "plan": PLAN, "phase": "undo"} | fields))
        body = {"plan": PLAN, "step": "undo", "envelope": envelope(value, [CAROL])}
        if edit:
            edit(body)
        ledger.add(RUN_B, "runbook.step", body)
        expected = failed(code, len(ledger.values) - 1) if code else GOOD
        return Made(bundle(ledger.entries(), blobs={}), expected)


add_step("good", None)
add_step("approved", None, "runbook_approve", phase=None)
add_step("unsigned", "RD0660", edit=lambda body: body.pop("envelope"))
add_step("by-a-plan", "RD0550", "phase_approve")
add_step("other-run", "RD0553", run=RUN_A)
add_step("other-plan", "RD0554", plan=sha(b"another").hex())
add_step("approved-another", "RD0554", "runbook_approve", plan=sha(b"another").hex())
add_step("other-step", "RD0555", phase="redo")
add_step("without-phase", "RD0542", phase=None)
add_step("without-step", "RD0660", edit=lambda body: body.pop("step"))
add_step("without-plan", "RD0660", edit=lambda body: body.pop("plan"))


def other_switch(ledger):
    value = decision(60, "switch_release", switch_no=7)
    ledger.add(SYSTEM, "switch.released", {"released": 8, "envelope": envelope(value, [ALICE])})


def resolve_in_the_system_run(ledger):
    value = decision(61, "run_resolve", run=SYSTEM, basis={"seq": 1, "hash": ZERO})
    ledger.add(SYSTEM, "decision", {"envelope": envelope(value, [ALICE])})


def register_text(vkey):
    return lambda l: l.act("key.registered", {"vkey": vkey, "role": "reviewer"})


add_act("decision-of-another-switch", "RD0557", other_switch)
add_act("decision-on-nothing", "RD0549", resolve_in_the_system_run)
add_act("key-no-point", "RD0501", register_text(names_of("x", bytes([2]) + bytes(31))[2]))
add_act("key-short", "RD0501", register_text(names_of("x", bytes([2]) * 31)[2]))
add_act("key-second-spelling", "RD0503", register_text(names_of("x", b"\xee" + b"\xff" * 30 + b"\x7f")[2]))
add_act("key-name-with-a-space", "RD0505", register_text(names_of("a b", EVE.public)[2]))
add_act("key-name-too-long", "RD0505", register_text(names_of("x" * 256, EVE.public)[2]))
add_act("key-hash-of-another", "RD0506", register_text(EVE.vkey.replace("eve", "evf")))
add_act("key-not-base64", "RD0507", register_text(EVE.vkey + "="))
add_act("key-of-another-algorithm", "RD0508", register_text(names_of("eve", EVE.public, 2)[2]))


def add_tale(name, code, edit):
    """The standard ledger with another tale, chained and sealed anew."""

    @case(name)
    def _():
        ledger = standard()
        position = edit(ledger)
        ledger.relink()
        return Made(bundle(ledger.entries()), failed(code, position))


def tell(place, **body):
    def edit(ledger):
        position = ledger.position(place)
        for name, value in body.items():
            if value is None:
                ledger.values[position]["body"].pop(name)
            else:
                ledger.values[position]["body"][name] = value
        return position

    return edit


def kind_of(place, kind):
    def edit(ledger):
        position = ledger.position(place)
        ledger.values[position]["kind"] = kind
        return position

    return edit


add_tale("tale-illegal-move", "RD0620", tell("leg_b", transition=moved("running", "phase_committed", "completed")))
add_tale("tale-from-another-state", "RD0637",
         tell("leg_b", transition=moved("failed", "phase_committed", "running")))  # fmt: skip
add_tale("tale-move-of-another-kind", "RD0637",
         tell("leg_b", transition=moved("running", "cancelled", "failed")))  # fmt: skip
add_tale("tale-move-malformed", "RD0637", tell("leg_b", transition={"from": "running"}))
add_tale("tale-move-missing", "RD0637", tell("started", transition=None))
add_tale("tale-seal-count", "RD0638", tell("sealed", count=5))
add_tale("tale-seal-true", "RD0638", tell("sealed", count=True))
add_tale("tale-seal-of-an-open-run", "RD0638", tell("sealed", transition=None))
add_tale("tale-opened-again", "RD0636", kind_of("leg_a", "run.opened"))
add_tale("tale-begins-otherwise", "RD0636", kind_of("opened", "phase.committed"))
add_tale("tale-phase-in-the-system-run", "RD0636", kind_of("hold", "phase.committed"))
add_tale("tale-stands-and-acts", "RD0620", kind_of("failed-plan", "phase.intended"))


def intent(phase, way="forth"):
    return {"phase": phase, "way": way, "attempt": 1, "prepared": {}}


def add_acting(name, code, tell_it):
    """The standard ledger and one more run, whose tale has acts outside the database."""

    @case(name)
    def _():
        ledger = standard()
        run = "0199a200-0000-7000-8000-0000000000ac"
        ledger.add(run, "run.opened", {"saga": "outside", "input": {}}, "acting-opened")
        tell_it(ledger, run)
        if code is None:
            seal(ledger, run, "completed", moved("running", "run_completed", "completed"), "acting-sealed")
            return Made(bundle(ledger.entries()), GOOD)
        return Made(bundle(ledger.entries()), failed(code, ledger.position("wrong")))


def acts(*steps):
    """Records as (kind, body); the last one is the wrong one."""

    def tell_it(ledger, run):
        for at, (kind, body) in enumerate(steps, 1):
            ledger.add(run, kind, body, "wrong" if at == len(steps) else None)

    return tell_it


ACT, DONE, FAILED = "phase.intended", "phase.committed", "phase.failed"
add_acting("act-with-its-outcome", None, acts((ACT, intent("a")), (DONE, {"phase": "a"}), (DONE, {"phase": "b"})))
add_acting("act-tried-again", None, acts(
    (ACT, intent("a")), (FAILED, {"phase": "a", "outside": "probed"}), (ACT, intent("a")), (ACT, intent("a")),
    (DONE, {"phase": "a"})))  # fmt: skip
add_acting("act-not-done", None, acts(
    (ACT, intent("a")), (FAILED, {"phase": "a", "outside": "not_done"}), (DONE, {"phase": "b"})))  # fmt: skip
add_acting("act-passed-over", "RD0619", acts((ACT, intent("a")), (DONE, {"phase": "b"})))
add_acting("act-beside-another", "RD0619", acts((ACT, intent("a")), (ACT, intent("b"))))
add_acting("act-in-doubt-passed-over", "RD0619", acts(
    (ACT, intent("a")), (FAILED, {"phase": "a", "outside": 1}), (DONE, {"phase": "b"})))  # fmt: skip
add_acting("act-back-while-running", "RD0619", acts((ACT, intent("a", "back"))))
add_acting("act-of-no-phase", "RD0619", acts((ACT, {"way": "forth"})))
add_acting("act-open-at-the-end", "RD0619", acts(
    (ACT, intent("a")), ("run.sealed", {"count": 3, "transition": moved("running", "run_completed", "completed")})))  # fmt: skip


@case("tale-epoch-falls")
def _():
    ledger = standard()
    ledger.values[ledger.position("leg_a")]["epoch"] = 2
    ledger.relink()
    return Made(bundle(ledger.entries()), failed("RD0635", ledger.position("leg_b")))


@case("tale-generation-zero")
def _():
    ledger = standard()
    ledger.values[ledger.position("opened")]["generation"] = 0
    ledger.relink()
    return Made(bundle(ledger.entries()), failed("RD0634", ledger.position("opened")))


# F90, F93: bytes that are not the record, sealed by the log key.

SPELLINGS = {
    "space": (b'"leg_a"', b' "leg_a"', "RD0602"),
    "newline-at-the-end": (b'"v":1}', b'"v":1}\n', "RD0602"),
    "escape": (b'"leg_a"', b'"leg_\\u0061"', "RD0602"),
    "slash": (b"redress/0", b"redress\\/0", "RD0602"),
    "uuid-without-hyphens": (b'"run":"01900000-0000-7000-8000-00000000000', b'"run":"0190000000007000800000000000000', "RD0602"),
    "key-order": (b'"switch_no":1,"v":1', b'"v":1,"switch_no":1', "RD0602"),
    "key-twice": (b'"v":1}', b'"v":1,"v":1}', "RD0610"),
    "key-twice-in-the-body": (b'"phase":"leg_a"', b'"phase":"leg_a","phase":"leg_a"', "RD0602"),
    "more-fields": (b'"v":1}', b'"v":1,"w":1}', "RD0610"),
    "fewer-fields": (b'"idem":null,', b"", "RD0610"),
    "float": (b'{"n":1}', b'{"n":1.5}', "RD0603"),
    "one-point-zero": (b'{"n":1}', b'{"n":1.0}', "RD0603"),
    "exponent": (b'{"n":1}', b'{"n":1e2}', "RD0603"),
    "minus-zero": (b'{"n":1}', b'{"n":-0}', "RD0603"),
    "infinity": (b'{"n":1}', b'{"n":1e999}', "RD0610"),
    "not-a-number": (b'{"n":1}', b'{"n":NaN}', "RD0610"),
    "big-integer": (b'{"n":1}', b'{"n":9007199254740992}', "RD0604"),
    "bigger-integer": (b'{"n":1}', b'{"n":18446744073709551616}', "RD0603"),
    "nul": (b'"leg_a"', b'"leg\\u0000"', "RD0605"),
    "lone-surrogate": (b'"leg_a"', b'"\\ud800"', "RD0610"),
    "control-character": (b'"leg_a"', b'"leg\x01"', "RD0610"),
    "not-utf-8": (b'"leg_a"', b'"leg\xff"', "RD0610"),
    "deep": (b'{"n":1}', b"[" * 80 + b"]" * 80, "RD0606"),
    "far-too-deep": (b'{"n":1}', b"[" * 20000 + b"]" * 20000, "RD0610"),
    "version": (b'"v":1}', b'"v":3}', "RD0611"),
    "version-as-text": (b'"v":1}', b'"v":"1"}', "RD0610"),
    "version-true": (b'"v":1}', b'"v":true}', "RD0610"),
    "unknown-kind": (b'"phase.committed"', b'"phase.forgotten"', "RD0610"),
    "time-without-microseconds": (b".000000Z", b"Z", "RD0612"),
    "leap-second": (b"07.000000Z", b"60.000000Z", "RD0612"),
    "no-actor": (b'"worker"', b'""', "RD0612"),
    "origin-with-a-space": (ORIGIN.encode(), b"two words", "RD0612"),
    "body-a-list": (b'"body":{"output":{"n":1},"phase":"leg_a"}', b'"body":[]', "RD0612"),
    "empty": None,
}  # fmt: skip


def add_spelling(name, how):
    @case(f"bytes-{name}")
    def _():
        ledger = standard()
        entries, position = ledger.entries(), ledger.position("leg_a")
        if how is None:
            entries[position], code = b"", "RD0610"
        else:
            old, new, code = how
            if old not in entries[position]:
                raise ValueError(f"{name}: nothing to change")
            entries[position] = entries[position].replace(old, new, 1)
        return Made(bundle(entries), failed(code, position))


for one in SPELLINGS:
    add_spelling(one, SPELLINGS[one])


def add_payload(name, code, make):
    """A payload that is signed as it stands by those who may, and is no decision."""

    @case(f"payload-{name}")
    def _():
        ledger = judged_hold([ALICE])
        value = decision(41, "hold_release", hold=HOLD)
        ledger.values[-1]["body"]["envelope"] = envelope(make(value), [ALICE])
        return Made(bundle(ledger.entries()), failed(code, ledger.position("judged")))


add_payload("spaces", "RD0541", lambda value: json.dumps(value, sort_keys=True).encode())
add_payload("key-twice", "RD0541", lambda v: encode(v).replace(b'"plan":', b'"plan":null,"plan":', 1))
add_payload("float", "RD0541", lambda v: encode(v).replace(b'"generation":1', b'"generation":1.0'))
add_payload("more-members", "RD0540", lambda value: value | {"more": 1})
add_payload("unknown-purpose", "RD0540", lambda value: value | {"purpose": "erase"})
add_payload("too-long", "RD0543", lambda value: value | {"reason": "x" * 16_384})
add_payload("id-spelled-otherwise", "RD0541", lambda value: value | {"id": value["id"].replace("-", "")})
add_payload("as-list", "RD0540", lambda value: [value[name] for name in sorted(value)])
add_payload("basis-as-list", "RD0540", lambda value: value | {"basis": [1, ZERO]})
add_payload("purpose-as-object", "RD0540", lambda value: value | {"purpose": {"hold_release": None}})
add_payload("generation-true", "RD0540", lambda value: value | {"generation": True})


# Blobs.


@case("blob-changed")
def _():
    files = bundle(standard_entries(), edit=lambda f: f.update({f"blobs/{BLOB_ID}": blob_file(BLOB + b" ")}))
    return Made(files, failed("RD0641", standard().position("failed-opened")))


@case("blob-file-changed")
def _():
    files = bundle(standard_entries())
    rewrite(files, f"blobs/{BLOB_ID}", lambda data: flipped(data, 20))
    return Made(files, failed("RD0715", standard().position("failed-opened")))


@case("blob-other-salt")
def _():
    false = blob_file(BLOB, bytes(32))
    files = bundle(standard_entries(), edit=lambda f: f.update({f"blobs/{BLOB_ID}": false}))
    return Made(files, failed("RD0641", standard().position("failed-opened")))


@case("blob-missing")
def _():
    files = bundle(standard_entries(), blobs={})
    return Made(files, failed("RD0720", standard().position("failed-opened")), "no record erased it")


@case("blob-erased-and-there")
def _():
    files = bundle(standard_entries(), blobs={BLOB_ID: BLOB, ERASED_ID: b"gone"})
    return Made(files, failed("RD0720", standard().position("erased")))


@case("blob-of-nobody")
def _():
    files = bundle(standard_entries(), blobs={BLOB_ID: BLOB, run_id(0xB00F): b"x"})
    return Made(files, failed("RD0720", None))


@case("blob-reference-malformed")
def _():
    ledger = standard()
    position = ledger.position("leg_a")
    ledger.values[position]["body"]["output"] = blob_ref(BLOB_ID, BLOB) | {"beside": 1}
    ledger.relink()
    return Made(bundle(ledger.entries()), failed("RD0640", position))


# F92, F94: the files of the bundle.


def add_files(name, code, edit, position=None, resealed=None, **options):
    """`edit` changes the files after the list was signed, `resealed` before."""

    @case(name)
    def _():
        files = bundle(standard_entries(), edit=resealed, **options)
        if edit:
            edit(files)
        return Made(files, failed(code, position))


def drop(path):
    return lambda files: files.pop(path(files) if callable(path) else path)


def set_file(path, data):
    return lambda files: files.update({path: data})


def tile_path(files):
    return next(path for path in files if path.startswith("tile/0/"))


add_files("file-manifest-missing", "RD0713", drop("manifest"))
add_files("file-missing-checkpoint", "RD0713", drop("checkpoint"))
add_files("file-missing-old-checkpoint", "RD0713", drop("checkpoints/000000000006"))
add_files("file-missing-entries", "RD0713", drop(entries_path), 0)
add_files("file-missing-tile", "RD0713", drop(tile_path), 0)
add_files("file-missing-format", "RD0713", drop("FORMAT.md"))
add_files("file-missing-blob", "RD0713", drop(f"blobs/{BLOB_ID}"))
add_files("file-missing-entries-resealed", "RD0713", None, 0, resealed=drop(entries_path))
add_files("file-missing-checkpoint-resealed", "RD0713", None, resealed=drop("checkpoint"))
add_files("file-extra", "RD0714", set_file("notes.txt", b"x"))
add_files("file-extra-in-tiles", "RD0714", set_file("tile/0/001.p/3", bytes(96)))
add_files("file-extra-resealed", "RD0714", None, resealed=set_file("notes.txt", b"x"))
add_files("file-extra-tile-resealed", "RD0714", None, resealed=set_file("tile/0/001.p/3", bytes(96)))
add_files("file-checkpoint-beyond-the-end", "RD0714", None,
          resealed=set_file("checkpoints/000000009999", b"x"))  # fmt: skip
add_files("file-format-changed", "RD0715", set_file("FORMAT.md", b"believe everything\n"))
add_files("file-name-backslash", "RD0711", set_file("tile\\0", b"x"))
add_files("file-name-hidden", "RD0711", set_file(".hidden", b"x"))
add_files("file-checkpoint-renamed", "RD0717", None, 6,
          resealed=lambda f: f.update({"checkpoints/000000000020": f["checkpoints/000000000006"]}))  # fmt: skip


def add_order(name, code, order, **changes):
    @case(name)
    def _():
        return Made(bundle(standard_entries(), order=order, **changes), failed(code, None))


def slip(path):
    return lambda files: [{"path": path, "size": 1, "sha256": sha(b"x").hex()}, *files]


add_order("manifest-reordered", "RD0716", lambda files: files[::-1])
add_order("manifest-file-twice", "RD0716", lambda files: [files[0], *files])
add_order("manifest-zip-slip", "RD0711", slip("../../../etc/passwd"))
add_order("manifest-absolute-path", "RD0711", slip("/etc/passwd"))
add_order("manifest-dot-path", "RD0711", slip("./checkpoint"))
add_order("manifest-backslash-path", "RD0711", slip("..\\x"))
add_order("manifest-empty-path", "RD0711", slip(""))
add_order("manifest-long-path", "RD0711", slip("x" * 300))
add_order("manifest-lists-itself", "RD0714",
          lambda files: sorted([*files, *slip("manifest")([])], key=lambda one: one["path"]))  # fmt: skip
add_order("manifest-more-members", "RD0710", None, more=1)
add_order("manifest-float-size", "RD0710", None, size=1.0)
add_order("manifest-true-generation", "RD0710", None, generation=True)
add_order("manifest-unknown-kind", "RD0710", None, kind="half")
add_order("manifest-other-size", "RD0713", None, size=21)
add_order("manifest-huge-size", "RD0713", None, size=2**53 - 1)
add_order("manifest-other-root", "RD0717", None, root="1" * 64)
add_order("manifest-other-origin", "RD0643", None, origin="prod.redress.example")
add_order("manifest-other-generation", "RD0643", None, generation=2)


def add_note(name, code, change, path="manifest"):
    add_files(name, code, lambda files: rewrite(files, path, change))


add_note("manifest-bit-flipped", "RD0644", lambda data: data.replace(b'"generation":1', b'"generation":3'))
add_note("manifest-not-signed", "RD0639", lambda data: data[: data.rfind(b"\n\n") + 2])
add_note("manifest-control-character", "RD0639", lambda data: data.replace(b"{", b"{\t", 1))
add_note("manifest-empty", "RD0639", lambda data: b"")
add_note("manifest-flood-of-signatures", "RD0639", lambda d: d + d[d.rfind(b"\n\n") + 2 :] * 100)
add_note("manifest-signature-not-base64", "RD0639", lambda data: data[:-2] + b"*\n")


@case("manifest-key-twice")
def _():
    files = bundle(standard_entries())
    text = files["manifest"][: files["manifest"].rfind(b"\n\n") + 1].decode()
    files["manifest"] = note(text.replace('"kind":"ledger"', '"kind":"ledger","kind":"ledger"'), LOG_KEY)
    return Made(files, failed("RD0710", None))


@case("manifest-version")
def _():
    files = bundle(standard_entries())
    text = files["manifest"][: files["manifest"].rfind(b"\n\n") + 1].decode()
    files["manifest"] = note(text.replace("redress-bundle-v1", "redress-bundle-v0"), LOG_KEY)
    return Made(files, failed("RD0710", None))


def add_head(name, code, make):
    """Another text in place of the newest checkpoint, signed by the log key and listed."""

    @case(name)
    def _():
        entries = standard_entries()
        root = root_of([leaf(one) for one in entries])
        data = make(len(entries), root)

        def edit(files):
            files["checkpoint"] = files[f"checkpoints/{len(entries):012}"] = data

        return Made(bundle(entries, edit=edit), failed(code, None))


add_head("checkpoint-extension-line", "RD0645", lambda n, r: note(head_text(n, r) + "more\n", LOG_KEY))
add_head("checkpoint-leading-zero", "RD0645",
         lambda n, r: note(head_text(n, r).replace(f"\n{n}\n", f"\n0{n}\n"), LOG_KEY))  # fmt: skip
add_head("checkpoint-huge-size", "RD0645",
         lambda n, r: note(head_text(n, r).replace(f"\n{n}\n", "\n" + "9" * 400 + "\n"), LOG_KEY))  # fmt: skip
add_head("checkpoint-short-root", "RD0645", lambda n, r: note(f"{LOG}\n{n}\n{b64(r[:31])}\n", LOG_KEY))
add_head("checkpoint-of-another-log", "RD0646", lambda n, r: note(head_text(n, r, ORIGIN + "/gen/2"), LOG_KEY))
add_head("checkpoint-other-size", "RD0717", lambda n, r: note(head_text(n + 1, r), LOG_KEY))
add_head("checkpoint-not-a-note", "RD0639", lambda n, r: head_text(n, r).encode())
add_head("checkpoint-too-large", "RD0718", lambda n, r: note(head_text(n, r), LOG_KEY) + b"x" * (1 << 17))


@case("tile-changed")
def _():
    files, position = bundle(standard_entries()), 9
    rewrite(files, tile_path(files), lambda data: flipped(data, position * 32 + 3))
    return Made(files, failed("RD0650", position))


@case("tile-cut")
def _():
    files = bundle(standard_entries())
    rewrite(files, tile_path(files), lambda data: data[:-32])
    return Made(files, failed("RD0649", 0))


@case("tile-above-changed")
def _():
    files = bundle(large().entries(), blobs={})
    path = next(one for one in files if one.startswith("tile/1/"))
    rewrite(files, path, lambda data: flipped(data, 33))
    return Made(files, failed("RD0649", 256), "the second hash of level 1 is about the entries from 256")


@case("large-entry-changed")
def _():
    ledger = large()
    position = ledger.position("leg_a-100")
    files = bundle(ledger.entries(), sizes=(256, 300), blobs={})
    path = next(one for one in files if one.startswith("tile/entries/001"))
    rewrite(files, path, lambda data: data.replace(b'"phase":"leg_a"', b'"phase":"leg_c"'))
    first = next(n for n in range(256, 600) if b'"phase":"leg_a"' in ledger.entries()[n])
    return Made(files, failed("RD0650", first), f"one of them is {position}")


def plant(make):
    """Changes the written folder: links and pipes cannot be told as bytes."""
    return lambda folder: make(os.path.join(folder, "checkpoint"), folder)


def as_link(path, folder):
    os.rename(path, os.path.join(os.path.dirname(folder), "elsewhere"))
    os.symlink("../elsewhere", path)


def as_pipe(path, _folder):
    os.remove(path)
    os.mkfifo(path)


def folder_as_link(_path, folder):
    os.rename(os.path.join(folder, "tile"), os.path.join(os.path.dirname(folder), "tile-elsewhere"))
    os.symlink("../tile-elsewhere", os.path.join(folder, "tile"))


def manifest_as_link(_path, folder):
    os.rename(os.path.join(folder, "manifest"), os.path.join(os.path.dirname(folder), "elsewhere"))
    os.symlink("../elsewhere", os.path.join(folder, "manifest"))


for name, make in (("file-symlink", as_link), ("file-pipe", as_pipe), ("file-folder-symlink", folder_as_link),
                   ("file-manifest-symlink", manifest_as_link)):  # fmt: skip
    CASES[name] = lambda make=make: Made(
        bundle(standard_entries()), failed("RD0712", None), after=plant(make)
    )


# Bundles of one run.


def add_run(name, code, position, after=None, run=None, **options):
    @case(name)
    def _():
        ledger = standard()
        place = ledger.position(position) if isinstance(position, str) else position
        files = run_bundle(ledger.entries(), run or RUN_B, **options)
        if after:
            after(files, place)
        return Made(files, failed(code, place))


def change(folder, edit):
    return lambda files, at: rewrite(files, f"{folder}/{at:012}", edit)


def resealed_at(folder, place, edit):
    return lambda files: rewrite(files, f"{folder}/{standard().position(place):012}", edit)


def lines_changed(edit):
    """Changes the lines of a proof before its checkpoint."""

    def apply(data):
        head, rest = data.split(b"\n\n", 1)
        return b"\n".join(edit(head.split(b"\n"))) + b"\n\n" + rest

    return apply


add_run("run-entry-changed", "RD0715", "approved", change("entries", lambda d: flipped(d, 30)))
add_run("run-entry-changed-resealed", "RD0659", "approved",
        edit=resealed_at("entries", "approved", lambda d: d.replace(b"worker", b"workes")))  # fmt: skip
add_run("run-proof-changed", "RD0715", "approved", change("proofs", lambda d: flipped(d, 60)))
add_run("run-proof-of-another", "RD0658", "approved",
        edit=resealed_at("proofs", "approved", lines_changed(lambda l: [l[0], b"index 3", *l[2:]])))  # fmt: skip
add_run("run-proof-hash-missing", "RD0659", "approved",
        edit=resealed_at("proofs", "approved", lines_changed(lambda l: l[:-1])))  # fmt: skip
add_run("run-proof-hash-more", "RD0659", "approved",
        edit=resealed_at("proofs", "approved", lines_changed(lambda l: [*l, l[-1]])))  # fmt: skip
add_run("run-proof-hostile", "RD0658", "approved",
        edit=resealed_at("proofs", "approved", lines_changed(lambda l: l + [l[-1]] * 500)))  # fmt: skip
add_run("run-proof-extra-data", "RD0658", "approved",
        edit=resealed_at("proofs", "approved", lines_changed(lambda l: [l[0], b"extra eA==", *l[1:]])))  # fmt: skip
add_run("run-proof-with-another-head", "RD0658", "approved",
        edit=resealed_at("proofs", "approved",
                         lambda d: d[: d.find(b"\n\n") + 2] + heads(standard_entries(), 20)))  # fmt: skip
add_run("run-proof-without-entry", "RD0713", "approved",
        edit=lambda f: f.pop(f"entries/{standard().position('approved'):012}"))  # fmt: skip


def without(*names):
    return lambda wanted: [n for n in wanted if n not in {standard().position(one) for one in names}]


def after_dropping(name):
    ledger = standard()
    return ledger.next_in_run(ledger.position(name))


add_run("run-record-left-out", "RD0631", after_dropping("failed-plan"), only=without("failed-plan"))
add_run("run-key-record-left-out", "RD0631", after_dropping("bob"), only=without("bob"))
add_run("run-without-bootstrap", "RD0575", "opened", run=RUN_A, blobs={},
        only=lambda wanted: [n for n in wanted if standard().values[n]["run"] == RUN_A])  # fmt: skip
add_run("run-of-nobody", "RD0719", None, run=RUN_E, blobs={})
add_run("run-with-another-run", "RD0719", "opened",
        only=lambda wanted: sorted([*wanted, standard().position("opened")]))  # fmt: skip


@case("run-end-left-out")
def _():
    entries = standard_entries()
    files = run_bundle(entries, RUN_C, blobs={}, only=without("sealed-c"))
    return Made(files, GOOD, "without its seal a run is open: complete is false")


@case("run-position-beyond-the-tree")
def _():
    def edit(files):
        files["entries/000000009999"] = files["proofs/000000009999"] = b"x"

    return Made(run_bundle(standard_entries(), RUN_B, edit=edit), failed("RD0714", None))


# --- writing -----------------------------------------------------------------------------------------

EXITS = {"VERIFIED": 0, "FAILED": 7, "INCOMPLETE": 8}


def write_case(name, folder):
    """Writes one case; gives what is expected of it."""
    made = CASES[name]()
    place = os.path.join(folder, name)
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(os.path.join(place, "bundle"))
    for path, data in made.files.items():
        target = os.path.join(place, "bundle", path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        write(target, data)
    if made.after:
        made.after(os.path.join(place, "bundle"))
    write(os.path.join(place, "trust"), made.trust.encode())
    names = [f"remembered-{index}" for index in range(len(made.remembered))]
    for one, data in zip(names, made.remembered):
        write(os.path.join(place, one), data)
    expected = {
        "verdict": made.verdict, "code": made.code, "position": made.position,
        "exit": EXITS[made.verdict], "checkpoints": names, "why": made.why,
    }  # fmt: skip
    write(os.path.join(place, "expected.json"), json.dumps(expected, indent=1).encode() + b"\n")
    return expected


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Makes bundles, good ones and damaged ones.")
    parser.add_argument("outdir", metavar="OUTDIR", nargs="?")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--case", metavar="NAME", choices=sorted(CASES))
    what.add_argument("--all", action="store_true")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(sorted(CASES)))
        return 0
    if options.outdir is None:
        parser.error("OUTDIR is missing")
    os.makedirs(options.outdir, exist_ok=True)
    names = [options.case] if options.case else sorted(CASES)
    expected = {name: write_case(name, options.outdir) for name in names}
    write(os.path.join(options.outdir, "expected.json"), json.dumps(expected, indent=1).encode() + b"\n")
    print(f"{len(names)} cases in {options.outdir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
