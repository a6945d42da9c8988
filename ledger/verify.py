#!/usr/bin/env python3
"""Verifies an exported Redress ledger, from ledger/FORMAT.md alone.

    verify.py DIR --trust FILE [--checkpoint REMEMBERED]... [--json]

exit 0 VERIFIED, 7 FAILED, 8 INCOMPLETE, 2 a question that cannot be asked.

Needs Python 3.11 and the package `cryptography`; no network, no database, no other code of Redress.
Whose signatures count comes from the trust file alone; a key that the bundle brings along counts only
when the reviewer's own roots signed for it. Every input has a bound. Entries are read one bundle of 256
at a time; what is kept for longer is one short state a run, one id a decision, and the manifest's list.

The parts, in the order of the flow: limits, faults, canonical JSON, keys, trust, notes, tree, records,
chain, keyring, authority, blobs, bundle, report.
"""

import argparse
import base64
import binascii
import hashlib
import json
import math
import os
import re
import stat
import struct
import sys
import unicodedata
from array import array

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# --- limits ------------------------------------------------------------------------------------------

INTEGER_MAX = 2**53 - 1
DEPTH_MAX = 64
READER_DEPTH_MAX = 127  # deeper than this is no JSON at all for the readers of the format
RECORD_BYTES_MAX = 65_535
PAYLOAD_BYTES_MAX = 16 * 1024
SIGNATURES_MAX = 16
KEY_NAME_BYTES_MAX = 255
TRUST_BYTES_MAX = 1 << 20
NOTE_BYTES_MAX = 64 * 1024
NOTE_SIGNATURES_MAX = 64
NOTE_SIGNATURE_BYTES_MAX = 8 * 1024
SSH_NAMESPACE = b"redress-decision"
MANIFEST_BYTES_MAX = 256 << 20
BLOB_FILE_BYTES_MAX = 128 << 20
PATH_BYTES_MAX = 255
PROOF_HASHES_MAX = 63
ROOT_KEYS_MAX = 64
TILE_WIDTH = 256
ENTRIES_BYTES_MAX = TILE_WIDTH * (2 + RECORD_BYTES_MAX)

VERIFIED, FAILED, INCOMPLETE = "VERIFIED", "FAILED", "INCOMPLETE"
EXIT = {VERIFIED: 0, FAILED: 7, INCOMPLETE: 8}
EXIT_USAGE = 2

DECISION_TYPE = "application/vnd.redress.decision.v1+json"
ACT_TYPE = "application/vnd.redress.act.v1+json"
BUNDLE_LINE = "redress-bundle-v1"
PROOF_LINE = "c2sp.org/tlog-proof@v1"
BLOB_DOMAIN = b"redress-blob-v1\0"
ZERO = "0" * 64


# --- faults ------------------------------------------------------------------------------------------


class Fault(Exception):
    """Something that does not hold: a code, words, and as much of the place as is known."""

    def __init__(self, code, message, position=None, run=None, seq=None, file=None):
        super().__init__(message)
        self.code, self.message = code, message
        self.position, self.run, self.seq, self.file = position, run, seq, file

    def at(self, position=None, run=None, seq=None, file=None):
        """Adds what the thrower did not know; what it knew stays."""
        self.position = position if self.position is None else self.position
        self.run = run if self.run is None else self.run
        self.seq = seq if self.seq is None else self.seq
        self.file = file if self.file is None else self.file
        return self


class Usage(Exception):
    """The reviewer's own input cannot be used; nothing was judged."""


# --- canonical JSON ----------------------------------------------------------------------------------


class Float:
    """A number that is no integer of 64 bits. It may be read, so that its own code is said."""

    def __init__(self, text):
        self.text = text


class Syntax(ValueError):
    """Not JSON, or JSON that the profile cannot hold in any spelling."""


def _read_int(text):
    value = int(text) if len(text) <= 21 else None
    # Minus zero is a floating-point number to JSON readers that tell it from zero.
    if text == "-0" or value is None or not -(2**63) <= value < 2**64:
        return _read_float(text)
    return value


def _read_float(text):
    if math.isinf(float(text)):
        raise Syntax("number out of range")
    return Float(text)


def _read_constant(text):
    raise Syntax(f"{text} is no JSON")


def _pairs_last(pairs):
    # The last of two equal keys stays; the second encoding then differs from the bytes.
    return dict(pairs)


def _pairs_once(pairs):
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Syntax("duplicate key")
    return members


def read_json(data, hook=_pairs_last):
    """Reads JSON from UTF-8 bytes; numbers that are no integers become `Float`."""
    try:
        text = data.decode("utf-8", "strict")
        value = json.loads(
            text,
            object_pairs_hook=hook,
            parse_int=_read_int,
            parse_float=_read_float,
            parse_constant=_read_constant,
        )
        # A lone surrogate can be written as an escape but is no text.
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False, default=lambda _: None).encode("utf-8")
        if text.count("[") + text.count("{") > READER_DEPTH_MAX and _depth(value) > READER_DEPTH_MAX:
            raise Syntax("nested too deeply")
        return value
    except RecursionError:
        raise Syntax("nested too deeply") from None
    except Syntax:
        raise
    except ValueError as error:
        raise Syntax(str(error)) from None


def _depth(value):
    deepest, todo = 0, [(value, 0)]
    while todo:
        value, depth = todo.pop()
        deepest = max(deepest, depth)
        if isinstance(value, dict):
            todo.extend((one, depth + 1) for one in value.values())
            deepest = max(deepest, depth + 1)
        elif isinstance(value, list):
            todo.extend((one, depth + 1) for one in value)
            deepest = max(deepest, depth + 1)
    return deepest


def _utf16(key):
    return key.encode("utf-16-be")


def canonical(value, depth=0):
    """Writes the one byte string of a value, or says what in it has none."""
    return _write(value, depth).encode("utf-8")


def _write(value, depth):
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int):
        if abs(value) > INTEGER_MAX:
            raise Fault("RD0604", f"an integer must lie within 2^53-1: {value}")
        return str(value)
    if isinstance(value, str):
        if "\0" in value:
            raise Fault("RD0605", "a text contains the character U+0000")
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Float):
        raise Fault("RD0603", f"records hold no floating-point numbers: {value.text}")
    if depth >= DEPTH_MAX:
        raise Fault("RD0606", f"nested deeper than {DEPTH_MAX} levels")
    if isinstance(value, list):
        return "[" + ",".join(_write(one, depth + 1) for one in value) + "]"
    keys = sorted(value, key=_utf16)
    return "{" + ",".join(_write(key, 0) + ":" + _write(value[key], depth + 1) for key in keys) + "}"


def parse_canonical(data):
    """Reads canonical bytes; any other spelling of the same value is refused."""
    try:
        value = read_json(data, _pairs_once)
        _refuse_floats(value)
    except Syntax as error:
        raise Fault("RD0601", f"not strict json: {error}") from None
    if canonical(value) != data:
        raise Fault("RD0602", "the bytes are not the canonical form of their value")
    return value


def _refuse_floats(value):
    todo = [value]
    while todo:
        value = todo.pop()
        if isinstance(value, Float):
            raise Syntax(f"{value.text} is not an integer")
        if isinstance(value, dict):
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)


# --- small forms -------------------------------------------------------------------------------------


def b64(text):
    """Strict standard base64: padded, no line breaks, no spare bits; None if it is anything else."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


_HASH = re.compile(r"[0-9a-f]{64}\Z")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_HEX32 = re.compile(r"[0-9a-f]{32}\Z")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.\d{6}Z\Z", re.ASCII)


def is_hash(value):
    return isinstance(value, str) and _HASH.match(value) is not None


def is_int(value):
    """An integer and not a truth value, which Python counts among them."""
    return isinstance(value, int) and not isinstance(value, bool)


def uuid_of(value):
    """Reads any usual spelling of a UUID and gives the canonical one; None if it is none."""
    if not isinstance(value, str):
        return None
    text = value.lower()
    if _HEX32.match(text):
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    if text.startswith("urn:uuid:"):
        text = text[9:]
    elif text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    return text if _UUID.match(text) else None


def is_time(text):
    """Whether a text is RFC 3339, UTC, with six digits of microseconds."""
    found = _TIME.match(text) if isinstance(text, str) else None
    if not found:
        return False
    year, month, day, hour, minute, second = map(int, found.groups())
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    return (
        1 <= month <= 12
        and 1 <= day <= days[month - 1]
        and hour < 24
        and minute < 60
        and second < 60
        and text < "9999-12-30T22:00:01"
    )


def is_word(text):
    """What an origin and a key's name are: not empty, no space, no control character, no plus."""
    if not isinstance(text, str) or not text:
        return False
    return not any(c == "+" or unicodedata.category(c) in ("Cc", "Zs", "Zl", "Zp") for c in text)


# --- keys --------------------------------------------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P

# OpenSSL, which `cryptography` calls, follows RFC 8032 and no more: it takes a public key A or a nonce
# point R of small order. Under such an A one signature holds for almost any message, so "somebody signed"
# would mean nothing; and with it two verifiers can disagree about the same bytes. Redress verifies
# strictly, so the eight points of small order are refused here in all fourteen spellings that a reader
# might accept (y and y + p, both signs), for A and for R, and S is compared with the group's order L
# (S + L would be a second signature that nobody made).
_Y8 = (
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
)


def _small_order():
    ys = [int.from_bytes(bytes.fromhex(text), "little") for text in _Y8]
    ys += [0, 1, P - 1, P, P + 1]
    return {(y | sign << 255).to_bytes(32, "little") for y in ys for sign in (0, 1)}


SMALL_ORDER = _small_order()
assert len(SMALL_ORDER) == 14


def check_public(raw):
    """Refuses what is no point, what has a second spelling and what is of small order."""
    if len(raw) != 32:
        raise Fault("RD0501", "the bytes are no ed25519 public key")
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= P:
        raise Fault("RD0503", "the public key is not in its canonical form")
    if raw in SMALL_ORDER:
        raise Fault("RD0502", "the public key is weak (a point of small order)")
    x2 = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    if pow(x2, (P - 1) // 2, P) != 1:
        raise Fault("RD0501", "the bytes are no ed25519 public key")


def signature_holds(public, message, signature):
    """Strict Ed25519: canonical S, no small order anywhere, the equation without the cofactor."""
    if len(signature) != 64 or public in SMALL_ORDER or signature[:32] in SMALL_ORDER:
        return False
    if int.from_bytes(signature[32:], "little") >= ORDER:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def key_hash(name, algorithm, public):
    return hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + public).digest()[:4]


def check_key_id(text):
    """Refuses what is not `NAME+HASH`."""
    name, plus, digits = text.partition("+") if isinstance(text, str) else ("", "", "")
    if not plus:
        raise Fault("RD0506", "the key id is malformed")
    if not is_word(name) or len(name.encode("utf-8", "surrogatepass")) > KEY_NAME_BYTES_MAX:
        raise Fault("RD0505", "a key's name is not valid")
    if not re.match(r"[0-9a-f]{8}\Z", digits):
        raise Fault("RD0506", "the key id is malformed")


class Vkey:
    """A named public key, written `NAME+HASH+BASE64`."""

    def __init__(self, text, algorithm=1):
        parts = text.split("+", 2) if isinstance(text, str) else []
        if len(parts) != 3:
            raise Fault("RD0507", "a public key is written NAME+HASH+BASE64")
        self.name, self.text = parts[0], text
        self.id = parts[0] + "+" + parts[1]
        check_key_id(self.id)
        raw = b64(parts[2])
        if not raw:
            raise Fault("RD0507", "a public key is written NAME+HASH+BASE64")
        if raw[0] != algorithm:
            raise Fault("RD0508", "the key is of another algorithm than ed25519")
        self.public = raw[1:]
        check_public(self.public)
        if key_hash(self.name, algorithm, self.public).hex() != parts[1]:
            raise Fault("RD0506", "the key id belongs to another key")


# --- trust -------------------------------------------------------------------------------------------

PEOPLE = ("operator", "reviewer", "sovereign", "auditor")
# Unicode's White_Space; Python's own split knows four separators more.
_SPACE = re.compile("[\t\n\x0b\x0c\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


class Trust:
    """The reviewer's own file: whose signatures count, and nothing else is believed."""

    def __init__(self, data):
        self.keys = {}  # id -> (role, vkey)
        self.logs = {}  # id -> vkey
        self.witnesses = {}  # name -> vkey
        self.groups = {}  # name -> (k, members)
        self.members = set()
        self.quorum = None
        self.root = None  # (threshold, ids or None)
        if len(data) > TRUST_BYTES_MAX:
            raise Usage(f"RD0532 a trust file holds at most {TRUST_BYTES_MAX} bytes")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise Usage("RD0530 the trust file is not UTF-8") from None
        for number, line in enumerate(text.split("\n"), 1):
            words = [word for word in _SPACE.split(line) if word]
            if not words or words[0].startswith("#"):
                continue
            try:
                self._line(words)
            except Fault as fault:
                raise Usage(f"trust file, line {number}: {fault.code} {fault.message}") from None

    def _line(self, words):
        match words:
            case ["key", role, vkey]:
                if role not in PEOPLE:
                    raise Fault("RD0509", f"unknown role {role!r}")
                self._add(self.keys, vkey, lambda key: (role, key))
            case ["log", vkey] | ["log", vkey, _]:
                self._add(self.logs, vkey, lambda key: key)
            case ["witness", name, vkey] | ["witness", name, vkey, _]:
                self._new_name(name)
                key = Vkey(vkey, algorithm=4)
                if any(key.public == other.public for other in self.witnesses.values()):
                    raise Fault("RD0531", f"the public key stands in the file already: {key.id}")
                self.witnesses[name] = key
            case ["group", name, k, *members] if members:
                self._group(name, k, members)
            case ["quorum", name] if self.quorum is None:
                if name != "none" and name not in self.witnesses and name not in self.groups:
                    raise Fault("RD0530", f"the quorum is not defined above: {name}")
                self.quorum = name
            case ["root", count, *ids] if self.root is None:
                self._root(count, ids)
            case _:
                raise Fault("RD0530", "the line is not understood")

    def _add(self, where, text, make):
        key = Vkey(text)
        known = [key for _, key in self.keys.values()] + list(self.logs.values())
        if any(key.public == other.public for other in known):
            raise Fault("RD0531", f"the public key stands in the file already: {key.id}")
        if any(key.id == other.id for other in known):
            raise Fault("RD0531", f"another key has the same id: {key.id}")
        where[key.id] = make(key)

    def _new_name(self, name):
        if name == "none" or name in self.witnesses or name in self.groups:
            raise Fault("RD0530", f"the name stands in the file already: {name}")

    def _group(self, name, k, members):
        self._new_name(name)
        for one in members:
            if (one not in self.witnesses and one not in self.groups) or one in self.members:
                raise Fault("RD0530", f"not defined above, or a member already: {one}")
            self.members.add(one)
        counts = {"any": 1, "all": len(members)}
        count = counts.get(k) or (int(k) if re.match(r"[1-9][0-9]{0,3}\Z", k) else 0)
        if not 1 <= count <= len(members):
            raise Fault("RD0530", f"a group of {len(members)} cannot need {k}")
        self.groups[name] = (count, members)

    def _root(self, count, ids):
        if not re.match(r"[1-9][0-9]?\Z", count):
            raise Fault("RD0530", "a root's threshold is 1 to 99")
        for one in ids:
            if self.keys.get(one, ("",))[0] != "sovereign":
                raise Fault("RD0530", f"not the id of a sovereign's key above: {one}")
        self.root = (int(count), set(ids) or None)

    def sovereigns(self):
        return {key_id: key for key_id, (role, key) in self.keys.items() if role == "sovereign"}

    def names_root(self, root):
        """Whether these are roots that the reviewer's file names."""
        known = self.sovereigns()
        if not all(known.get(k) is not None and known[k].public == v.public for k, v in root.keys.items()):
            return False
        threshold, ids = self.root or (1, None)
        return root.threshold >= threshold and (ids is None or ids == set(root.keys))

    def witnessed(self, name, cosigned):
        """Whether a witness or a group of them signed; a group speaks only of what stands above it."""
        if name == "none" or name is None:
            return True
        met = set(cosigned)
        for group, (count, members) in self.groups.items():
            if sum(one in met for one in members) >= count:
                met.add(group)
        return name in met


# --- signed notes and checkpoints --------------------------------------------------------------------


class Note:
    """A C2SP signed note, read strictly: text, and signature lines (name, hash, signature)."""

    def __init__(self, data):
        if re.search(rb"[\x00-\x09\x0b-\x1f]", data):
            raise Fault("RD0639", "a signed note has no control characters")
        split = data.rfind(b"\n\n")
        if split < 0 or not data.endswith(b"\n") or split + 2 >= len(data):
            raise Fault("RD0639", "a signed note is text, an empty line and signatures")
        self.body = data[: split + 1]
        try:
            self.text = self.body.decode("utf-8")
            lines = data[split + 2 : -1].decode("utf-8").split("\n")
        except UnicodeDecodeError:
            raise Fault("RD0639", "a signed note is UTF-8") from None
        if len(lines) > NOTE_SIGNATURES_MAX:
            raise Fault("RD0639", f"a signed note has at most {NOTE_SIGNATURES_MAX} signatures")
        self.signatures = [self._signature(line) for line in lines]

    @staticmethod
    def _signature(line):
        words = line.split(" ")
        raw = b64(words[2]) if len(words) == 3 and words[0] == "\u2014" and is_word(words[1]) else None
        good = raw is not None and 5 <= len(raw) <= 4 + NOTE_SIGNATURE_BYTES_MAX
        if not good or len(words[1].encode()) > KEY_NAME_BYTES_MAX:
            raise Fault("RD0639", "a signature line of the note is malformed")
        return words[1], raw[:4].hex(), raw[4:]

    def verify(self, trust):
        """The ids of the reviewer's log keys that signed; unknown keys are passed over."""
        signed = []
        for name, digits, signature in self.signatures:
            key = trust.logs.get(f"{name}+{digits}")
            if key is None:
                continue
            if key.id in signed:
                raise Fault("RD0639", f"the note is signed twice by the key {key.id}")
            if not signature_holds(key.public, self.body, signature):
                raise Fault("RD0644", f"the signature on the note does not verify, key {key.id}")
            signed.append(key.id)
        return signed

    def cosigners(self, trust):
        """The names of the reviewer's witnesses whose cosignature is good."""
        found = set()
        for name, digits, signature in self.signatures:
            for witness, key in trust.witnesses.items():
                if key.id != f"{name}+{digits}":
                    continue
                stamp = int.from_bytes(signature[:8], "big")
                message = b"cosignature/v1\ntime %d\n" % stamp + self.body
                good = len(signature) == 72 and stamp < 2**63
                if not good or not signature_holds(key.public, message, signature[8:]):
                    raise Fault("RD0644", f"a witness's signature does not verify, key {key.id}")
                found.add(witness)
        return found


class Checkpoint:
    """A signed tree head: exactly three lines, no extension."""

    def __init__(self, data):
        self.data = data
        if len(data) > NOTE_BYTES_MAX:
            raise Fault("RD0639", f"a checkpoint has at most {NOTE_BYTES_MAX} bytes")
        self.note = Note(data)
        lines = self.note.text.split("\n")
        good = len(lines) == 4 and is_word(lines[0]) and len(lines[0].encode()) <= KEY_NAME_BYTES_MAX
        good = good and re.match(r"(0|[1-9][0-9]{0,15})\Z", lines[1]) and int(lines[1]) <= INTEGER_MAX
        root = b64(lines[2]) if good else None
        if root is None or len(root) != 32:
            raise Fault("RD0645", "a checkpoint is origin, size and root, and nothing else")
        if (int(lines[1]) == 0) != (root == hashlib.sha256(b"").digest()):
            raise Fault("RD0645", "the empty tree has one root, and no other tree has it")
        self.origin, self.size, self.root = lines[0], int(lines[1]), root

    def require(self, trust, origin):
        """Checks that this is a head of the log `origin`; gives the ids of its signers."""
        if self.origin != origin:
            raise Fault("RD0646", f"the checkpoint is of another log: {self.origin}")
        return require_signed(self.note, trust, origin)


def require_signed(note, trust, origin):
    """A note of this log under one of the reviewer's log keys, if the reviewer has any."""
    signed = note.verify(trust)
    if trust.logs and not any(trust.logs[key].name == origin for key in signed):
        raise Fault("RD0643", f"no trusted key of the log {origin} signed this")
    return signed


# --- tree --------------------------------------------------------------------------------------------


def leaf_hash(data):
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


class Tree:
    """The right edge of a Merkle tree (RFC 6962): enough to add leaves and to say the root."""

    def __init__(self):
        self.size, self.edge = 0, []

    def add(self, leaf):
        size, node = self.size, leaf
        while size & 1:
            node = node_hash(self.edge.pop(), node)
            size >>= 1
        self.edge.append(node)
        self.size += 1

    def root(self):
        if not self.edge:
            return hashlib.sha256(b"").digest()
        node = self.edge[-1]
        for left in reversed(self.edge[:-1]):
            node = node_hash(left, node)
        return node


def root_from_proof(index, size, leaf, proof):
    """The root that an inclusion proof leads to; None if the proof has another length than it must."""
    node, last = leaf, size - 1
    for sibling in proof:
        if last == 0:
            return None
        if index & 1 or index == last:
            node = node_hash(sibling, node)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        index, last = index >> 1, last >> 1
    return node if last == 0 else None


def tile_path(level, number, width):
    """The name of a tile; level "entries" for bundles of entries; `width` 256 for a full one."""
    groups = [f"{number % 1000:03}"]
    while number >= 1000:
        number //= 1000
        groups.insert(0, f"x{number % 1000:03}")
    tail = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(groups)}{tail}"


def expected_tiles(size):
    """Every tile of a tree: (path, first position), entries first, then level by level."""
    for level, shift in [("entries", 0)] + [(n, 8 * n) for n in range(8)]:
        count = size >> shift
        for number in range(-(-count // TILE_WIDTH)):
            width = min(TILE_WIDTH, count - number * TILE_WIDTH)
            yield tile_path(level, number, width), number << (8 + shift)


# --- records -----------------------------------------------------------------------------------------

FIELDS = {
    "actor", "at", "body", "engine", "epoch", "generation", "idem", "kind", "origin", "policy",
    "prev", "run", "seq", "switch_no", "v",
}  # fmt: skip

MOVES_BASIS = {
    "run.opened", "phase.committed", "phase.failed", "phase.intended", "compensation.committed",
    "compensation.failed", "run.cancelled", "run.resumed", "resolved",
}  # fmt: skip

OF_A_RUN = MOVES_BASIS | {
    "plan.made", "plan.approved", "plan.refused", "plan.started", "plan.finished", "run.sealed",
}  # fmt: skip

ROOT_ACTS = {
    "key.registered", "key.rotated", "key.revoked", "key.compromised", "policy.set",
    "policy.retired", "blob.erased", "runs.archived", "generation.opened",
}  # fmt: skip

KEY_ACTS = {
    "key.registered", "key.rotated", "key.revoked", "key.compromised", "generation.opened",
}  # fmt: skip

KINDS = OF_A_RUN | ROOT_ACTS | {
    "decision", "hold.set", "hold.released", "switch.killed", "switch.released", "snapshot.taken",
    "refused", "runbook.step",
}  # fmt: skip


class Once(dict):
    """An object that had a key twice."""


def _pairs_marked(pairs):
    members = dict(pairs)
    return members if len(members) == len(pairs) else Once(members)


class Record:
    """One record, read from its exact bytes."""

    def __init__(self, data):
        if len(data) > RECORD_BYTES_MAX:
            raise Fault("RD0614", f"a record holds at most {RECORD_BYTES_MAX} bytes")
        try:
            value = read_json(data, _pairs_marked)
        except Syntax as error:
            raise Fault("RD0610", f"not a record: {error}") from None
        self._types(value)
        self.value = value
        self.body, self.kind, self.seq = value["body"], value["kind"], value["seq"]
        self.run, self.prev, self.at = uuid_of(value["run"]), value["prev"], value["at"]
        self.origin, self.generation = value["origin"], value["generation"]
        self.epoch, self.switch_no = value["epoch"], value["switch_no"]
        self._fields()
        # A UUID in another spelling would be the same run under other bytes.
        if canonical(value | {"run": self.run}) != data:
            raise Fault("RD0602", "the bytes are not the canonical form of their value")

    @staticmethod
    def _types(value):
        if not isinstance(value, dict) or isinstance(value, Once) or set(value) != FIELDS:
            raise Fault("RD0610", "not a record: not exactly the fields of one")

        def need(name, good):
            if not good:
                raise Fault("RD0610", f"not a record: {name}")

        for name in ("v", "generation", "epoch", "switch_no", "seq"):
            need(name, is_int(value[name]) and -(2**63) <= value[name] < 2**63)
        for name in ("origin", "at", "actor", "engine"):
            need(name, isinstance(value[name], str))
        need("run", uuid_of(value["run"]) is not None)
        need("prev", is_hash(value["prev"]))
        need("kind", isinstance(value["kind"], str) and value["kind"] in KINDS)
        need("policy", value["policy"] is None or is_hash(value["policy"]))
        need("idem", value["idem"] is None or isinstance(value["idem"], str))

    def _fields(self):
        value = self.value
        if value["v"] != 1:
            raise Fault("RD0611", f"record version {value['v']} is not known")
        checks = (
            ("origin", is_word(self.origin)),
            ("generation", self.generation >= 0),
            ("epoch", self.epoch >= 0),
            ("switch_no", self.switch_no >= 0),
            ("seq", self.seq >= 1),
            ("at", is_time(self.at)),
            ("actor", value["actor"] != ""),
            ("engine", value["engine"] != ""),
            ("body", isinstance(self.body, dict)),
        )
        for name, good in checks:
            if not good:
                raise Fault("RD0612", f"the record's field is not valid: {name}")


# --- chain and state machine -------------------------------------------------------------------------

STATES = ("running", "failed", "compensating", "compensated", "stuck", "completed", "resolved")
TERMINAL = {"completed", "compensated", "resolved"}

# (from, event, to), all that are legal.
TRIPLES = {
    ("running", "phase_committed", "running"),
    ("running", "attempt_failed", "running"),
    ("running", "phase_failed", "failed"),
    ("running", "cancelled", "failed"),
    ("running", "run_completed", "completed"),
    ("failed", "plan_started", "compensating"),
    ("stuck", "plan_started", "compensating"),
    ("completed", "plan_started", "compensating"),
    ("compensating", "action_committed", "compensating"),
    ("compensating", "action_failed", "compensating"),
    ("compensating", "plan_finished", "compensated"),
    ("compensating", "plan_finished", "running"),
    ("compensating", "plan_finished", "failed"),
    ("compensating", "compensation_failed", "stuck"),
    ("failed", "forward_resumed", "running"),
    ("failed", "resolved", "resolved"),
    ("stuck", "resolved", "resolved"),
}

MAY_STATE = {
    "phase_committed": {"phase.committed"},
    "attempt_failed": {"phase.failed"},
    "phase_failed": {"phase.failed"},
    "run_completed": {"phase.committed", "phase.failed", "run.sealed"},
    "cancelled": {"run.cancelled"},
    "plan_started": {"plan.started"},
    "action_committed": {"compensation.committed"},
    "action_failed": {"compensation.failed"},
    "compensation_failed": {"compensation.failed"},
    "plan_finished": {"plan.finished", "compensation.committed"},
    "forward_resumed": {"run.resumed"},
    "resolved": {"resolved"},
}

IMPLIED = {
    "phase.committed": ("phase_committed", "running", "running"),
    "phase.failed": ("attempt_failed", "running", "running"),
    "compensation.committed": ("action_committed", "compensating", "compensating"),
    "compensation.failed": ("action_failed", "compensating", "compensating"),
}

NEEDS_TRANSITION = {"plan.started", "plan.finished", "run.cancelled", "run.resumed", "resolved"}


def next_state(state, record):
    """Replays one record on a state."""
    stated = record.body.get("transition", Run)  # the class stands for "not there"; null is there
    if stated is not Run:
        to = _stated(state, record.kind, stated)
    elif record.kind in NEEDS_TRANSITION:
        raise Fault("RD0637", f"a record of kind {record.kind} needs its transition")
    elif record.kind in IMPLIED:
        to = None
    else:
        to = state
    if record.kind == "phase.intended" and state not in ("running", "compensating"):
        raise Fault("RD0620", f"a run that is {state} cannot take phase.intended")
    if to is None:
        event, source, to = IMPLIED[record.kind]
        if state != source:
            raise Fault("RD0620", f"a run that is {state} cannot take {event}")
    return to


def _stated(state, kind, stated):
    good = isinstance(stated, dict) and set(stated) == {"from", "event", "to"}
    if not good or not all(isinstance(one, str) for one in stated.values()):
        raise Fault("RD0637", "the transition is malformed")
    source, event, to = stated["from"], stated["event"], stated["to"]
    if source != state:
        raise Fault("RD0637", f"the transition starts from another state than {state}: {source}")
    if to not in STATES:
        raise Fault("RD0637", "the transition is malformed")
    known = event in MAY_STATE and (
        event != "plan_finished" or to in ("compensated", "running", "failed")
    )
    if not known:
        raise Fault("RD0620", f"a run that is {state} cannot take {event}")
    if kind not in MAY_STATE[event]:
        raise Fault("RD0637", f"a record of kind {kind} does not move a run by {event}")
    if (state, event, to) not in TRIPLES:
        raise Fault("RD0620", f"a run that is {state} cannot take {event}")
    return to


_PACKED = struct.Struct(">QQQQB?Q32s32s")


class Run:
    """What is known of one run: where its records end, its state, its plans and approvals."""

    __slots__ = (
        "count", "head", "state", "system", "generation", "epoch", "sealed",
        "basis_seq", "basis_hash", "plans", "current", "acts", "acting",
    )  # fmt: skip

    def __init__(self):
        self.count, self.head, self.state, self.system = 0, ZERO, "running", False
        self.generation, self.epoch, self.sealed = 0, 0, 0
        self.basis_seq, self.basis_hash = 0, ZERO
        self.plans, self.current, self.acts = {}, None, {}
        self.acting = None

    def pack(self):
        """A sealed run without plans in some ninety bytes: only what a later record could contradict."""
        return _PACKED.pack(
            self.count, self.generation, self.epoch, self.sealed, STATES.index(self.state),
            self.system, self.basis_seq, bytes.fromhex(self.head), bytes.fromhex(self.basis_hash),
        )  # fmt: skip

    @classmethod
    def unpack(cls, data):
        run = cls()
        (run.count, run.generation, run.epoch, run.sealed, state, run.system, run.basis_seq, head,
         basis) = _PACKED.unpack(data)  # fmt: skip
        run.state, run.head, run.basis_hash = STATES[state], head.hex(), basis.hex()
        return run

    def push(self, record, digest):
        """Takes the next record, if it fits behind the ones before."""
        seq = self.count + 1
        if record.seq != seq:
            raise Fault("RD0631", f"the record that stands here has the sequence {record.seq}")
        if record.prev != self.head:
            raise Fault("RD0632", f"it names another record before it: {record.prev}")
        if record.generation < self.generation:
            raise Fault("RD0634", f"the generation falls back to {record.generation}")
        if record.epoch < self.epoch:
            raise Fault("RD0635", f"the epoch falls back to {record.epoch}")
        of_a_run = record.kind in OF_A_RUN
        if seq == 1:
            good = record.kind == "run.opened" or not of_a_run
        else:
            good = record.kind != "run.opened" and not (self.system and of_a_run)
        if not good:
            raise Fault("RD0636", f"a record of kind {record.kind} is out of place")
        state = next_state(self.state, record)
        if record.kind == "run.sealed":
            if state not in TERMINAL:
                raise Fault("RD0638", f"a run that is {state} cannot be sealed")
            count = record.body.get("count")
            if not is_int(count) or count != seq:
                raise Fault("RD0638", "the seal states another count than there are records")
        acting = self._acting(record)
        if state == "completed" and acting is not None:
            raise Fault("RD0619", f"the run ends while an act outside is open: {acting}")
        if record.kind == "run.sealed":
            self.sealed = seq
        self.acting = acting
        if seq == 1:
            self.system = record.kind != "run.opened"
        self.count, self.head, self.state = seq, digest, state
        self.generation, self.epoch = record.generation, record.epoch

    def _acting(self, record):
        """The phase whose act outside the database is open behind this record."""
        texts = [record.body.get(name) for name in ("phase", "way", "outside")]
        phase, way, outside = (one if isinstance(one, str) else None for one in texts)
        another = self.acting is not None and self.acting != phase
        if record.kind == "phase.intended":
            back = way == "back"
            place = "compensating" if back else "running"
            if phase is None or self.state != place or (another and not back):
                raise Fault("RD0619", "an act outside begins out of place")
            return self.acting if back else phase
        if record.kind in ("phase.committed", "phase.failed") and another:
            raise Fault("RD0619", f"another phase goes on while an act outside is open: {self.acting}")
        settled = record.kind == "phase.committed"
        settled = settled or (record.kind == "phase.failed" and outside in ("not_done", "probed"))
        settled = settled or (record.kind == "compensation.committed" and not another)
        return None if settled else self.acting


class Runs:
    """Every run that was met; a sealed one is kept in its short form."""

    def __init__(self):
        self.known, self.open = {}, 0

    def get(self, name):
        found = self.known.get(bytes.fromhex(name.replace("-", "")))
        if found is None:
            return Run()
        return Run.unpack(found) if isinstance(found, bytes) else found

    def put(self, name, run, was_open):
        key = bytes.fromhex(name.replace("-", ""))
        is_open = self.is_open(run)
        self.open += is_open - was_open
        bare = not is_open and not run.system and not run.plans and not run.acts and run.current is None
        self.known[key] = run.pack() if bare else run

    @staticmethod
    def is_open(run):
        """Whether something may still follow: a run that has begun and does not end in its seal."""
        return run.count > 0 and not run.system and run.sealed != run.count


# --- envelopes ---------------------------------------------------------------------------------------


def member(body, name, test, what=None):
    """A member that must be there and pass a test."""
    value = optional(body, name, test, what)
    if value is None:
        raise Fault("RD0660", f"the body's member is missing or not valid: {name}")
    return value


def optional(body, name, test, what=None):
    """A member that may be missing or null; anything else must pass the test."""
    value = body.get(name)
    if value is None:
        return None
    result = test(value)
    if result is None or result is False:
        raise Fault("RD0660", f"the body's member is missing or not valid: {name}")
    return value if result is True else result


def _string(data):
    return len(data).to_bytes(4, "big") + data


def read_sshsig(data, public, message):
    """The signature inside one by OpenSSH, and what it is over; the key inside must be this one."""
    key = _string(_string(b"ssh-ed25519") + _string(public))
    head = b"SSHSIG" + (1).to_bytes(4, "big") + key + _string(SSH_NAMESPACE) + _string(b"")
    for name in ("sha256", "sha512"):
        middle = head + _string(name.encode())
        before = middle + (83).to_bytes(4, "big") + _string(b"ssh-ed25519") + (64).to_bytes(4, "big")
        if data.startswith(before) and len(data) == len(before) + 64:
            digest = hashlib.new(name, message).digest()
            over = _string(SSH_NAMESPACE) + _string(b"") + _string(name.encode()) + _string(digest)
            return data[-64:], b"SSHSIG" + over
    raise Fault("RD0580", "not a signature by OpenSSH of this key in this namespace")


class Envelope:
    """A DSSE envelope of one payload type, in the exact form that records hold."""

    def __init__(self, value, payload_type):
        if not isinstance(value, dict) or set(value) != {"payloadType", "payload", "signatures"}:
            raise Fault("RD0540", "not an envelope")
        texts = isinstance(value["payloadType"], str) and isinstance(value["payload"], str)
        if not texts or not isinstance(value["signatures"], list):
            raise Fault("RD0540", "not an envelope")
        self.signatures = []
        for one in value["signatures"]:
            good = isinstance(one, dict) and set(one) - {"format"} == {"keyid", "sig"}
            if not good or not isinstance(one["sig"], str) or one.get("format", "sshsig") != "sshsig":
                raise Fault("RD0540", "not an envelope: a signature is keyid and sig")
            try:
                check_key_id(one["keyid"])
            except Fault as fault:
                raise Fault("RD0540", f"not an envelope: {fault.message}") from None
            self.signatures.append((one["keyid"], one["sig"], "format" in one))
        self._list()
        if value["payloadType"] != payload_type:
            raise Fault("RD0544", f"the envelope holds another type of payload: {value['payloadType']!r}")
        if len(value["payload"].encode()) > 2 * PAYLOAD_BYTES_MAX:
            raise Fault("RD0543", "the payload is too long")
        self.payload = b64(value["payload"])
        if self.payload is None:
            raise Fault("RD0540", "the payload is not base64")
        head = f"DSSEv1 {len(payload_type)} {payload_type} {len(self.payload)} "
        self.message = head.encode() + self.payload

    def _list(self):
        if not 1 <= len(self.signatures) <= SIGNATURES_MAX:
            raise Fault("RD0545", f"an envelope has 1 to {SIGNATURES_MAX} signatures")
        ids = [key for key, _, _ in self.signatures]
        for index, key in enumerate(ids):
            if key in ids[:index]:
                raise Fault("RD0546", f"the envelope is signed twice by the key {key}")

    def verify(self, find):
        """Checks every signature; `find` gives the key of an id or refuses it."""
        signers = []
        for key_id, text, by_openssh in self.signatures:
            key = find(key_id)
            signature, message = b64(text), self.message
            if signature is not None and by_openssh:
                signature, message = read_sshsig(signature, key.vkey.public, message)
            if signature is None or not signature_holds(key.vkey.public, message, signature):
                raise Fault("RD0548", f"the signature on the decision does not verify, key {key_id}")
            signers.append(key)
        return signers

    def read(self, members):
        """The payload: canonical, an object of exactly these members."""
        if len(self.payload) > PAYLOAD_BYTES_MAX:
            raise Fault("RD0543", "the payload is too long")
        try:
            value = parse_canonical(self.payload)
        except Fault as fault:
            raise Fault("RD0541", f"the decision is not canonical: {fault.message}") from None
        if not isinstance(value, dict) or set(value) != members:
            raise Fault("RD0540", "not exactly the fields of a decision")
        return value


# --- keyring: the keys of the ledger, by position ------------------------------------------------------


class Key:
    """A key that the ledger knows, and until when it counts."""

    def __init__(self, vkey, role):
        self.vkey, self.role, self.valid = vkey, role, True
        self.signed_at = array("Q")

    @property
    def principal(self):
        return self.vkey.name


class Root:
    """The keys that decide on keys, and how many of their holders it takes."""

    def __init__(self, value):
        good = isinstance(value, dict) and set(value) == {"keys", "threshold"}
        good = good and isinstance(value["keys"], list) and 1 <= len(value["keys"]) <= ROOT_KEYS_MAX
        if not good or not is_int(value["threshold"]):
            raise Fault("RD0660", "the body's member is missing or not valid: root")
        self.keys = {}
        for one in value["keys"]:
            if not isinstance(one, dict) or set(one) != {"vkey", "principal"}:
                raise Fault("RD0660", "the body's member is missing or not valid: root")
            vkey = Vkey(one["vkey"])
            if one["principal"] != vkey.name:
                raise Fault("RD0660", "a key's name is its principal: root")
            if vkey.id in self.keys or any(k.public == vkey.public for k in self.keys.values()):
                raise Fault("RD0572", f"the key stands in the root twice: {vkey.id}")
            self.keys[vkey.id] = vkey
        self.threshold = value["threshold"]
        if not 1 <= self.threshold <= len({key.name for key in self.keys.values()}):
            raise Fault("RD0660", "a root's threshold is met by its own people or by nobody: root")

    def met(self, signers):
        return len({s.principal for s in signers if s.vkey.id in self.keys}) >= self.threshold


ACT_MEMBERS = {"act", "basis", "body", "generation", "id", "not_after", "origin", "reason"}

BODY_MEMBERS = {
    "key.revoked": {"key", "decision"},
    "key.compromised": {"key", "since", "decision"},
    "blob.erased": {"blob", "decision"},
    "runs.archived": {"before", "through", "runs", "records", "digest", "manifest", "decision"},
}


class Keyring:
    """Follows the root acts of a log: which keys count at the position that was reached."""

    def __init__(self, trust, generation, used):
        self.trust, self.generation, self.used = trust, generation, used
        self.keys, self.publics, self.opened_with = {}, set(), []
        self.root, self.first_root, self.log, self.basis = None, None, None, None
        self.root_run, self.roots_named = None, False
        self.pinned, self.carried = None, None
        self.doubtful = set()

    def find(self, key_id):
        """The key of a signature on a decision of a person."""
        key = self.keys.get(key_id)
        if key is None:
            raise Fault("RD0547", f"the decision is signed by a key that is not trusted: {key_id}")
        if not key.valid:
            raise Fault("RD0570", f"the decision is signed by a key that was no longer valid: {key_id}")
        if key.role not in PEOPLE:
            raise Fault("RD0571", f"the key is for another purpose ({key.role}): {key_id}")
        return key

    def push(self, record, digest, position):
        """Takes the next record; only root acts change anything."""
        opens = record.kind == "generation.opened" or (
            record.kind == "key.registered" and "root" in record.body
        )
        if position == 0:
            self._first(record)
        elif opens:
            raise Fault("RD0575", "a log is opened by its first leaf and only there")
        elif self.root is None:
            raise Fault("RD0575", "the first leaf, which opens the log, is not there")
        elif record.kind not in ROOT_ACTS:
            return
        elif record.run != self.root_run:
            raise Fault("RD0636", f"a record of kind {record.kind} is out of place")
        if "decision" not in record.body:
            raise Fault("RD0660", "the body's member is missing or not valid: decision")
        apply, old_root, new_root = self._change(record, position)
        envelope = Envelope(record.body["decision"], ACT_TYPE)
        signers = envelope.verify(lambda key_id: self._root_key(key_id, old_root, new_root))
        self._fits(record, envelope.read(ACT_MEMBERS))
        for root in (old_root, new_root):
            if root is not None and not root.met(signers):
                raise Fault("RD0577", f"the root's threshold of {root.threshold} is not met")
        apply()
        for signer in signers:
            self.keys[signer.vkey.id].signed_at.append(position)
        if record.kind in KEY_ACTS:
            self.basis = {"seq": record.seq, "hash": digest}

    def _first(self, record):
        if self.generation == 1:
            good = record.kind == "key.registered" and "root" in record.body
        else:
            good = record.kind == "generation.opened"
        if not good:
            raise Fault("RD0575", f"the first leaf opens the log, it is no {record.kind}")
        self.root_run = record.run

    def _root_key(self, key_id, old_root, new_root):
        for root in (old_root, new_root):
            if root is not None and key_id in root.keys:
                return self.keys.get(key_id) or Key(root.keys[key_id], "sovereign")
        key = self.keys.get(key_id)
        if key is None:
            raise Fault("RD0547", f"the act is signed by a key that is not trusted: {key_id}")
        if not key.valid:
            raise Fault("RD0570", f"the act is signed by a key that was no longer valid: {key_id}")
        raise Fault("RD0571", f"the key is for another purpose (not the root): {key_id}")

    def _fits(self, record, act):
        identity = uuid_of(act["id"])
        texts = all(isinstance(act[name], str) for name in ("act", "origin", "not_after", "reason"))
        basis = act["basis"]
        shaped = basis is None or (
            isinstance(basis, dict) and set(basis) == {"seq", "hash"} and is_int(basis["seq"])
            and is_hash(basis["hash"])
        )  # fmt: skip
        if not texts or identity is None or not shaped or not isinstance(act["body"], dict):
            raise Fault("RD0540", "not exactly the fields of a decision")
        if not is_int(act["generation"]):
            raise Fault("RD0540", "not exactly the fields of a decision")
        if identity != act["id"]:
            raise Fault("RD0541", "the decision is not canonical: id")
        if not is_time(act["not_after"]):
            raise Fault("RD0542", "the decision's field is missing or not valid: not_after")
        if act["act"] != record.kind:
            raise Fault("RD0550", f"the decision was made for another purpose, decision {identity}")
        if act["origin"] != record.origin:
            raise Fault("RD0551", f"the decision was made for another environment, decision {identity}")
        if act["generation"] != record.generation:
            raise Fault("RD0552", f"the decision was made for another generation, decision {identity}")
        if basis != self.basis:
            raise Fault("RD0556", f"the decision was made on another basis, decision {identity}")
        body = {name: value for name, value in record.body.items() if name != "decision"}
        # Compared as bytes: to Python, true equals 1.
        if canonical(body) != canonical(act["body"]):
            raise Fault("RD0576", f"the decision is about another act, decision {identity}")
        if act["not_after"] < record.at:
            raise Fault("RD0559", f"the decision has expired, decision {identity}")
        if identity in self.used:
            raise Fault("RD0662", f"the decision was used before, decision {identity}")
        self.used[identity] = (record.run, None)

    # Each of these reads a body and gives what it will do, once it is known to be signed.

    def _change(self, record, position):
        body, kind = record.body, record.kind
        self._closed(kind, body)
        if kind == "generation.opened" or (kind == "key.registered" and "root" in body):
            return self._open_log(record)
        if kind == "key.registered":
            return self._register(body), self.root, None
        if kind == "key.rotated" and "root" in body:
            root = Root(body["root"])
            return self._rotate_root(root), self.root, root
        if kind == "key.rotated":
            return self._rotate(body), self.root, None
        if kind == "key.revoked":
            key = self._ordinary(member(body, "key", is_text), valid=True)
            return (lambda: setattr(key, "valid", False)), self.root, None
        if kind == "key.compromised":
            return self._compromise(body, position), self.root, None
        if kind == "blob.erased":
            member(body, "blob", _plain_uuid)
        elif kind == "runs.archived":
            member(body, "before", is_time)
            for name in ("through", "runs", "records"):
                member(body, name, _is_positive)
            member(body, "digest", is_hash)
            member(body, "manifest", is_hash)
            if body["through"] > position:
                raise Fault("RD0660", "the body's member is missing or not valid: through")
        else:
            member(body, "policy", is_hash)
        return (lambda: None), self.root, None

    @staticmethod
    def _closed(kind, body):
        """Members that a body must have exactly; what is unknown is not passed over."""
        if kind in BODY_MEMBERS:
            allowed = BODY_MEMBERS[kind]
        elif kind == "key.registered":
            allowed = {"root", "log", "decision"} if "root" in body else {"vkey", "role", "decision"}
        elif kind == "key.rotated":
            allowed = {"root", "decision"} if "root" in body else {"old", "new", "decision"}
        elif kind == "generation.opened":
            allowed = {"generation", "checkpoint", "carried", "root", "log", "keys", "decision"}
        else:
            return
        for name in sorted(set(body) ^ allowed):
            raise Fault("RD0660", f"the body's member is missing or not valid: {name}")

    def _open_log(self, record):
        body = record.body
        root, log = Root(body["root"]), Vkey(body["log"])
        if log.name != f"{record.origin}/gen/{self.generation}":
            raise Fault("RD0574", f"the log's key has another name than the log: {log.name}")
        others = []
        if record.kind == "generation.opened":
            others = self._restated(record)
        new = [(key, "sovereign") for key in root.keys.values()] + [(log, "log")] + others
        seen = set()
        for vkey, role in new:
            if vkey.public in seen or vkey.id in {k.id for k, _ in new if k is not vkey}:
                raise Fault("RD0572", f"the key stands in the ledger already: {vkey.id}")
            seen.add(vkey.public)
            self._agrees(vkey, role)

        def apply():
            for vkey, role in new:
                self._add(vkey, role)
            self._set_root(root)
            self.first_root, self.log = root, log.id
            self.opened_with = [(vkey, role) for vkey, role in new if role != "log"]

        return apply, None, root

    def _restated(self, record):
        body = record.body
        if body["generation"] != record.generation or not is_int(body["generation"]):
            raise Fault("RD0660", "the body's member is missing or not valid: generation")
        if not isinstance(body["checkpoint"], str) or not isinstance(body["keys"], list):
            raise Fault("RD0660", "the body's member is missing or not valid: checkpoint")
        pinned = Checkpoint(body["checkpoint"].encode())
        prefix, _, number = pinned.origin.rpartition("/gen/")
        older = re.match(r"[1-9][0-9]{0,15}\Z", number) and int(number) == self.generation - 1
        if prefix != record.origin or not older:
            raise Fault("RD0646", f"the pinned checkpoint is of another log: {pinned.origin}")
        pinned.note.verify(self.trust)
        carried = body["carried"]
        good = isinstance(carried, dict) and set(carried) == {"size", "sealed", "root"}
        good = good and is_int(carried["size"]) and is_int(carried["sealed"]) and is_hash(carried["root"])
        if not good or not 1 <= carried["size"] <= INTEGER_MAX or not 0 <= carried["sealed"] <= carried["size"]:
            raise Fault("RD0660", "the body's member is missing or not valid: carried")
        self.pinned, self.carried = pinned, carried
        keys = []
        for one in body["keys"]:
            if not isinstance(one, dict) or set(one) != {"vkey", "role"}:
                raise Fault("RD0660", "the body's member is missing or not valid: keys")
            keys.append((Vkey(one["vkey"]), self._role(one["role"])))
        return keys

    @staticmethod
    def _role(role):
        if role not in PEOPLE and role != "engine":
            raise Fault("RD0509", f"unknown role {role!r}")
        return role

    def _register(self, body):
        role = self._role(body["role"])
        vkey = self._unused(Vkey(body["vkey"]))
        self._agrees(vkey, role)
        return lambda: self._add(vkey, role)

    def _rotate(self, body):
        old_id = member(body, "old", is_text)
        if old_id == self.log:
            old = self.keys[old_id]
        else:
            old = self._ordinary(old_id, valid=True)
        new = self._unused(Vkey(body["new"]))
        if new.name != old.vkey.name:
            raise Fault("RD0574", f"a key is replaced by one of the same holder, not of {new.name}")
        self._agrees(new, old.role)

        def apply():
            old.valid = False
            self._add(new, old.role)
            if old_id == self.log:
                self.log = new.id

        return apply

    def _rotate_root(self, root):
        for key_id, vkey in root.keys.items():
            known = self.keys.get(key_id)
            if known is None:
                self._unused(vkey)
                self._agrees(vkey, "sovereign")
            elif known.vkey.public != vkey.public or known.role != "sovereign" or not known.valid:
                raise Fault("RD0574", f"the key cannot become a root: {key_id}")

        def apply():
            for key_id in self.root.keys:
                if key_id not in root.keys:
                    self.keys[key_id].valid = False
            for key_id, vkey in root.keys.items():
                if key_id not in self.keys:
                    self._add(vkey, "sovereign")
            self._set_root(root)

        return apply

    def _compromise(self, body, position):
        since = body["since"]
        if not is_int(since) or not 0 <= since <= position:
            raise Fault("RD0660", "the body's member is missing or not valid: since")
        key = self._ordinary(member(body, "key", is_text), valid=False)

        def apply():
            key.valid = False
            self.doubtful.update(at for at in key.signed_at if at >= since)

        return apply

    def _ordinary(self, key_id, valid):
        """A key that may be taken away by itself: neither the log's nor one of the root."""
        key = self.keys.get(key_id)
        if key is None or (valid and not key.valid):
            raise Fault("RD0573", f"no such key is in force: {key_id}")
        if key_id == self.log or key_id in self.root.keys:
            raise Fault("RD0574", f"the key in force is replaced and not taken away: {key_id}")
        return key

    def _unused(self, vkey):
        if vkey.id in self.keys or vkey.public in self.publics:
            raise Fault("RD0572", f"the key stands in the ledger already: {vkey.id}")
        return vkey

    def _agrees(self, vkey, role):
        """What the reviewer's file says of a key holds against what the ledger says of it."""
        for known_role, known in self.trust.keys.values():
            if known.public == vkey.public and (known_role, known.name) != (role, vkey.name):
                raise Fault("RD0579", f"the trust file says something else of the key {vkey.id}")
        for known in self.trust.logs.values():
            if known.public == vkey.public and (role, vkey.name) != ("log", known.name):
                raise Fault("RD0579", f"the trust file says something else of the key {vkey.id}")

    def _add(self, vkey, role):
        self.keys[vkey.id] = Key(vkey, role)
        self.publics.add(vkey.public)

    def _set_root(self, root):
        self.root = root
        self.roots_named = self.roots_named or self.trust.names_root(root)


def is_text(value):
    return isinstance(value, str)


def _is_positive(value):
    return is_int(value) and value > 0


def _plain_uuid(value):
    return isinstance(value, str) and _UUID.match(value) is not None


class Log:
    """One generation's log: its keys, and the tree of what is carried of it."""

    def __init__(self, trust, generation, used):
        self.keyring = Keyring(trust, generation, used)
        self.authority = Authority(self.keyring)
        self.tree = Tree()


class Logs:
    """The log of each generation, the newest first; each stands whole in the next, behind its first leaf."""

    def __init__(self, trust, generation, remembered):
        self.trust, self.generation, self.used = trust, generation, {}
        self.all, self.doubtful = [Log(trust, generation, self.used)], set()
        # (generation, size) of heads that the reviewer remembers -> the root that so many carried records give
        self.remembered = dict.fromkeys(remembered)

    def place(self, record, position):
        """How many generations ago the record's own log was, and its position there."""
        depth, at = 0, position
        while at > 0 and self.generation - depth > 1:
            carried = self.all[depth].keyring.carried
            if carried is None:
                raise Fault("RD0575", "the first leaf, which opens the log, is not there")
            if at > carried["size"]:
                break
            depth, at = depth + 1, at - 1
            if depth == len(self.all):
                self.all.append(Log(self.trust, self.generation - depth, self.used))
        expected = self.generation - depth
        if record.generation != expected:
            if position == 0 and record.generation < expected and expected > 1:
                raise Fault("RD0575", "the first leaf is of another generation")
            raise Fault("RD0634", f"generation {record.generation}, where one of {expected} stands")
        return depth, at

    def judge(self, run, record, digest, place):
        depth, position = place
        log = self.all[depth]
        log.keyring.push(record, digest, position)
        log.authority.push(run, record, digest, position)
        if record.kind != "key.compromised":
            return
        self.doubtful.update(at + depth for at in log.keyring.doubtful)
        since = record.body["since"] + depth
        for shift, older in enumerate(self.all[depth + 1 :], depth + 1):
            key = older.keyring.keys.get(record.body["key"])
            if key is not None:
                self.doubtful.update(at + shift for at in key.signed_at if at + shift >= since)

    def compare(self, digest, depth):
        """The trees of the older logs, against what the openings say of them."""
        for number in range(1, depth + 1):
            tree, keyring = self.all[number].tree, self.all[number - 1].keyring
            tree.add(bytes.fromhex(digest))
            pinned, carried = keyring.pinned, keyring.carried
            head = (self.generation - number, tree.size)
            if tree.size not in (pinned.size, carried["size"]) and head not in self.remembered:
                continue
            root = tree.root()
            if tree.size == pinned.size and tree.size <= carried["sealed"] and root != pinned.root:
                raise Fault("RD0656", "a fork: the carried records are not those of the pinned checkpoint")
            if tree.size == carried["size"] and root.hex() != carried["root"]:
                raise Fault("RD0655", "the carried records are not those that the generation was opened with")
            if head in self.remembered and tree.size <= carried["sealed"]:
                self.remembered[head] = root

    def carried(self, size):
        """Each log that is there as a whole: its depth, its keys, and those of the log after it."""
        found = []
        for depth in range(1, len(self.all)):
            newer = self.all[depth - 1].keyring
            if newer.carried is None or size - (depth - 1) <= newer.carried["size"]:
                break
            found.append((depth, self.all[depth].keyring, newer))
        return found

    def check_continued(self, size):
        for depth, older, newer in self.carried(size):
            before, root = older.root, newer.first_root
            same = before.threshold == root.threshold and before.keys.keys() == root.keys.keys()
            if not same or any(before.keys[k].public != root.keys[k].public for k in root.keys):
                raise Fault("RD0578", "a generation goes on with another root", position=depth - 1)
            for vkey, role in newer.opened_with:
                known = older.keys.get(vkey.id)
                good = known is not None and known.valid and known.role == role
                if not good or known.vkey.public != vkey.public:
                    raise Fault("RD0573", f"no such key is in force: {vkey.id}", position=depth - 1)

    def roots_named(self, size):
        rings = [self.all[0].keyring] + [older for _, older, _ in self.carried(size)]
        return any(ring.roots_named for ring in rings)

    def is_cut_off(self):
        rings = [log.keyring for log in self.all if log.keyring.carried is not None]
        return any(ring.pinned.size > ring.carried["sealed"] for ring in rings)

    def head(self, generation, size):
        """The root that an older log had at a size; None if nothing here says."""
        newer = self.generation - generation - 1
        pinned = self.all[newer].keyring.pinned if 0 <= newer < len(self.all) else None
        if pinned is not None and pinned.size == size:
            return pinned.root
        return self.remembered.get((generation, size))


# --- authority: whether what was done was allowed ------------------------------------------------------

DECISION_MEMBERS = {
    "id", "purpose", "origin", "generation", "run", "basis", "switch_no", "holds", "hold", "plan",
    "phase", "reason_code", "reason", "policy", "not_after", "requester",
}  # fmt: skip

NEEDED = {
    "plan_approve": ("run", "plan", "basis"),
    "run_resolve": ("run", "basis"),
    "phase_approve": ("run", "phase"),
    "hold_release": ("hold",),
    "switch_release": ("switch_no",),
    "runbook_approve": ("run", "plan"),
    "runbook_step": ("run", "plan", "phase"),
}

PURPOSE_OF = {
    "plan.approved": "plan_approve",
    "plan.started": "plan_approve",
    "compensation.committed": "plan_approve",
    "hold.released": "hold_release",
    "switch.released": "switch_release",
    "resolved": "run_resolve",
    "phase.committed": "phase_approve",
    "phase.intended": "phase_approve",
    "runbook.step": "runbook_step",
}


def basis_of(value):
    """A basis {seq, hash}, or None."""
    good = isinstance(value, dict) and set(value) == {"seq", "hash"}
    good = good and is_int(value["seq"]) and -(2**63) <= value["seq"] < 2**63 and is_hash(value["hash"])
    return (value["seq"], value["hash"]) if good else None


def quorum_of(value):
    """A quorum {role: count}, or None."""
    if not isinstance(value, dict):
        return None
    good = all(r in PEOPLE and is_int(n) and 0 <= n < 2**32 for r, n in value.items())
    return dict(value) if good else None


def read_decision(envelope):
    """The decision in an envelope, in its one spelling."""
    value = envelope.read(DECISION_MEMBERS)

    def need(good):
        if not good:
            raise Fault("RD0540", "not exactly the fields of a decision")

    for name in ("origin", "reason_code", "reason", "not_after", "requester"):
        need(isinstance(value[name], str))
    need(isinstance(value["purpose"], str) and value["purpose"] in NEEDED)
    need(is_int(value["generation"]))
    need(value["switch_no"] is None or is_int(value["switch_no"]))
    need(value["phase"] is None or isinstance(value["phase"], str))
    need(value["basis"] is None or basis_of(value["basis"]) is not None)
    for name in ("plan", "policy"):
        need(value[name] is None or is_hash(value[name]))
    need(isinstance(value["holds"], list))
    ids = [value["id"], *value["holds"]] + [value[n] for n in ("run", "hold") if value[n] is not None]
    need(all(uuid_of(one) is not None for one in ids))
    if any(uuid_of(one) != one for one in ids):
        raise Fault("RD0541", "the decision is not canonical: an id in another spelling")
    shape = (
        ("id", value["id"] != "00000000-0000-0000-0000-000000000000"),
        ("origin", is_word(value["origin"])),
        ("generation", value["generation"] >= 0),
        ("not_after", is_time(value["not_after"])),
        ("requester", value["requester"] != ""),
        ("reason_code", value["reason_code"] != ""),
        *((name, value[name] is not None) for name in NEEDED[value["purpose"]]),
    )
    for name, good in shape:
        if not good:
            raise Fault("RD0542", f"the decision's field is missing or not valid: {name}")
    return value


def check_decision(decision, purpose, record, bound):
    """Whether a decision allows exactly this: `bound` holds what the act is bound to."""
    for name in NEEDED[purpose]:
        if bound.get(name) is None:
            raise Fault("RD0549", f"a decision cannot be checked without its {name}")
    basis = basis_of(decision["basis"])
    wrong = (
        ("RD0550", "purpose", decision["purpose"] != purpose),
        ("RD0551", "environment", decision["origin"] != record.origin),
        ("RD0552", "generation", decision["generation"] != record.generation),
        ("RD0553", "run", bound.get("run") is not None and decision["run"] != bound["run"]),
        ("RD0554", "plan", bound.get("plan") is not None and decision["plan"] != bound["plan"]),
        ("RD0555", "phase", bound.get("phase") is not None and decision["phase"] != bound["phase"]),
        ("RD0556", "basis", bound.get("basis") is not None and basis != bound["basis"]),
        ("RD0557", "switch_no",
         bound.get("switch_no") is not None and decision["switch_no"] != bound["switch_no"]),
        ("RD0558", "hold", bound.get("hold") is not None and decision["hold"] != bound["hold"]),
    )  # fmt: skip
    for code, what, differs in wrong:
        if differs:
            raise Fault(code, f"the decision was made for another {what}, decision {decision['id']}")
    if decision["not_after"] < record.at:
        raise Fault("RD0559", f"the decision has expired, decision {decision['id']}")


class Plan:
    """A plan as the log has it."""

    __slots__ = ("basis", "quorum", "requester", "approvals", "started")

    def __init__(self, basis, quorum, requester):
        self.basis, self.quorum, self.requester = basis, quorum, requester
        self.approvals, self.started = Approvals(), False


class Approvals:
    """Who signed for one plan or act: (principal, role), and by how many decisions."""

    __slots__ = ("decisions", "signers")

    def __init__(self):
        self.decisions, self.signers = 0, []


SOVEREIGN = {"sovereign": 1}


def is_open(quorum):
    return all(count == 0 for count in quorum.values())


def quorum_missing(quorum, signers, requester):
    """The role that is short, or None: one person fills one place, the requester and auditors none."""
    people = {}
    for principal, role in signers:
        if principal != requester and role != "auditor":
            people.setdefault(principal, set()).add(role)
    filled = {}  # principal -> role

    def fill(role, seen):
        for principal, roles in people.items():
            if principal in seen or role not in roles:
                continue
            seen.add(principal)
            if principal not in filled or fill(filled[principal], seen):
                filled[principal] = role
                return True
        return False

    short = None
    for role in PEOPLE:
        count = quorum.get(role, 0)
        done = 0
        while done < min(count, len(people)) and fill(role, set()):
            done += 1
        if done < count and short is None:
            short = role
    return short


class Authority:
    """Follows the decisions of a log."""

    def __init__(self, keyring):
        self.keyring, self.used = keyring, keyring.used

    def push(self, run, record, digest, position):
        envelope = record.body.get("envelope", Run)
        if envelope is not Run:
            self._admit(run, record, envelope, position)
        elif record.kind in ("plan.approved", "decision", "runbook.step"):
            raise Fault("RD0660", "the body's member is missing or not valid: envelope")
        if record.kind == "plan.made":
            self._plan_made(run, record.body)
        elif record.kind == "plan.started":
            self._plan_started(run, record.body)
        elif record.kind == "compensation.committed":
            self._action(run, record.body)
        elif record.kind in ("hold.released", "switch.released", "resolved"):
            self._acted(run, record)
        if record.kind in MOVES_BASIS:
            run.basis_seq, run.basis_hash = record.seq, digest

    def _admit(self, run, record, value, position):
        envelope = Envelope(value, DECISION_TYPE)
        signers = envelope.verify(self.keyring.find)
        decision = read_decision(envelope)
        named = optional(record.body, "decision_id", uuid_of)
        if named is not None and named != decision["id"]:
            raise Fault("RD0660", "the body's member is missing or not valid: decision_id")
        before = self.used.get(decision["id"])
        if before is not None:
            cited = record.kind == "compensation.committed" and before[0] == record.run
            if cited and before[1] is not None and before[1] == run.current:
                return
            raise Fault("RD0662", f"the decision was used before, decision {decision['id']}")
        self._fits(run, record, decision)
        self.used[decision["id"]] = (record.run, decision["plan"])
        for signer in signers:
            signer.signed_at.append(position)
        self._count(run, decision, [(s.principal, s.role) for s in signers])

    def _fits(self, run, record, decision):
        purpose = PURPOSE_OF.get(record.kind, decision["purpose"])
        if record.kind == "runbook.step" and decision["purpose"] == "runbook_approve":
            purpose = "runbook_approve"
        bound = {}
        if purpose == "plan_approve":
            if decision["plan"] is None:
                raise Fault("RD0660", "the body's member is missing or not valid: plan")
            bound = {"run": record.run, "basis": self._plan(run, decision["plan"]).basis}
            named = optional(record.body, "plan", is_hash)
            bound["plan"] = named if named is not None else decision["plan"]
        elif purpose == "run_resolve":
            basis = (run.basis_seq, run.basis_hash) if run.basis_seq else None
            bound = {"run": record.run, "basis": basis}
        elif purpose == "phase_approve":
            bound = {"run": record.run, "phase": decision["phase"]}
        elif purpose in ("runbook_approve", "runbook_step"):
            bound = {"run": record.run, "plan": member(record.body, "plan", is_hash)}
            if purpose == "runbook_step":
                bound["phase"] = member(record.body, "step", is_text)
        elif purpose == "hold_release":
            own = record.kind == "hold.released"
            bound = {"hold": member(record.body, "hold", uuid_of) if own else decision["hold"]}
        else:
            own = record.kind == "switch.released"
            bound = {"switch_no": released(record) if own else decision["switch_no"]}
        check_decision(decision, purpose, record, bound)

    def _count(self, run, decision, signers):
        purpose = decision["purpose"]
        if purpose in ("phase_approve", "runbook_approve", "runbook_step"):
            return
        if purpose == "plan_approve":
            approvals = self._plan(run, decision["plan"]).approvals
        else:
            act = {
                "run_resolve": ("resolve",),
                "hold_release": ("hold", decision["hold"]),
                "switch_release": ("switch", decision["switch_no"]),
            }[purpose]
            approvals = run.acts.setdefault(act, Approvals())
        approvals.decisions += 1
        # Each decision names who asked for it; that person's own signature does not count.
        approvals.signers += [one for one in signers if one[0] != decision["requester"]]

    @staticmethod
    def _plan_made(run, body):
        basis = member(body, "basis", basis_of)
        quorum = optional(body, "quorum", quorum_of)
        requester = optional(body, "requester", is_text)
        digest = member(body, "plan", is_hash)
        # The same plan made again is the same plan, with the approvals that it has.
        run.plans.setdefault(digest, Plan(basis, quorum or {}, requester))

    def _plan_started(self, run, body):
        digest = member(body, "plan", is_hash)
        plan = self._plan(run, digest)
        if not run.basis_seq or (run.basis_seq, run.basis_hash) != plan.basis:
            raise Fault("RD0664", f"a stale plan was started, plan {digest}")
        if plan.started and plan.approvals.decisions > 0:
            raise Fault("RD0665", f"an approved plan was started twice, plan {digest}")
        enough(plan.quorum, plan.approvals, plan.requester)
        plan.started = True
        run.current = digest

    def _action(self, run, body):
        if run.current is None:
            raise Fault("RD0663", "the record speaks of a plan that the run does not have")
        named = optional(body, "plan", is_hash)
        if named is not None and named != run.current:
            raise Fault("RD0660", "the body's member is missing or not valid: plan")
        plan = self._plan(run, run.current)
        action = member(body, "action", is_text)
        if action in ("nothing", "discard", "soft_revert", "restore"):
            return
        if action == "decide":
            quorum = SOVEREIGN if is_open(plan.quorum) else plan.quorum
        elif action == "hard_delete":
            quorum = {**plan.quorum, "sovereign": max(1, plan.quorum.get("sovereign", 0))}
        else:
            raise Fault("RD0660", "the body's member is missing or not valid: action")
        enough(quorum, plan.approvals, plan.requester)

    @staticmethod
    def _acted(run, record):
        if record.kind == "hold.released":
            act = ("hold", member(record.body, "hold", uuid_of))
        elif record.kind == "switch.released":
            act = ("switch", released(record))
        else:
            act = ("resolve",)
        quorum = optional(record.body, "quorum", quorum_of) or {}
        approvals = run.acts.pop(act, None) or Approvals()
        enough(SOVEREIGN if is_open(quorum) else quorum, approvals, None)

    @staticmethod
    def _plan(run, digest):
        if digest not in run.plans:
            raise Fault("RD0663", "the record speaks of a plan that the run does not have")
        return run.plans[digest]


def enough(quorum, approvals, requester):
    if is_open(quorum):
        return
    if approvals.decisions == 0:
        raise Fault("RD0661", "no decision before this record allows it")
    short = quorum_missing(quorum, approvals.signers, requester or "")
    if short is not None:
        raise Fault("RD0560", f"approvals missing: more of role {short}")


def released(record):
    """The number of the kill that a `switch.released` undoes."""
    value = record.body.get("released")
    if value is None:
        return record.switch_no
    if not is_int(value) or not -(2**63) <= value < 2**63:
        raise Fault("RD0660", "the body's member is missing or not valid: released")
    return value


# --- blobs -------------------------------------------------------------------------------------------


def blob_ref(value):
    """A reference {"$blob": {...}} as (id, length, commitment); None if the value is something else."""
    if not isinstance(value, dict) or "$blob" not in value:
        return None
    inner = value["$blob"]
    good = len(value) == 1 and isinstance(inner, dict) and set(inner) == {"id", "len", "commitment"}
    good = good and uuid_of(inner["id"]) is not None and is_hash(inner["commitment"])
    if not good or not is_int(inner["len"]) or not 0 <= inner["len"] <= INTEGER_MAX:
        raise Fault("RD0640", "the reference to a blob is malformed")
    return uuid_of(inner["id"]), inner["len"], inner["commitment"]


def check_blob(data, length, commitment, identity):
    """Whether a blob's file holds what a record speaks of."""
    wrong = Fault("RD0641", f"the blob is not the one that the record speaks of: {identity}")
    try:
        value = parse_canonical(data)
    except Fault:
        raise wrong from None
    texts = isinstance(value, dict) and set(value) == {"content", "salt"}
    if not texts or not all(isinstance(one, str) for one in value.values()):
        raise wrong
    content, salt = b64(value["content"]), b64(value["salt"])
    if content is None or salt is None or len(salt) != 32 or len(content) != length:
        raise wrong
    if hashlib.sha256(BLOB_DOMAIN + salt + content).hexdigest() != commitment:
        raise wrong


# --- the bundle's files ------------------------------------------------------------------------------

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\Z")
_POSITION = re.compile(r"[0-9]{12}\Z")


def check_path(path):
    """Refuses any name that could lead out of the folder or be read in two ways."""
    good = isinstance(path, str) and 0 < len(path) <= PATH_BYTES_MAX
    if not good or not all(_SEGMENT.match(one) for one in path.split("/")):
        raise Fault("RD0711", f"a name that no file of a bundle has: {path!r}")


class Files:
    """The folder: every file in it is a plain file that the manifest lists."""

    def __init__(self, folder):
        self.folder = folder
        self.listed = {}  # path -> (size, sha256)

    def walk(self):
        """Every name below the folder that is no folder, sorted, and whether it is a plain file."""
        found, todo = [], [""]
        while todo:
            below = todo.pop()
            with os.scandir(os.path.join(self.folder, below)) as entries:
                for entry in entries:
                    path = below + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(path + "/")
                    else:
                        found.append((path, entry.is_file(follow_symlinks=False)))
        # Names that are no UTF-8 come as lone surrogates and are still compared as bytes.
        return sorted(found, key=lambda one: os.fsencode(one[0]))

    def check_walk(self, found):
        present = set()
        for path, plain in found:
            shown = os.fsencode(path).decode("utf-8", "replace")
            if not plain:
                raise Fault("RD0712", "not a plain file", file=shown)
            try:
                check_path(path)
            except Fault as fault:
                raise fault.at(file=shown) from None
            if path != "manifest" and path not in self.listed:
                raise Fault("RD0714", "a file that the manifest does not list", file=shown)
            present.add(path)
        for path in self.listed:
            if path not in present:
                raise Fault("RD0713", "a file that the manifest lists is missing",
                            position=self.position_of(path), file=path)  # fmt: skip

    @staticmethod
    def position_of(path):
        """The first position that a file of entries, hashes or proofs is about; None for others."""
        parts = path.split("/")
        if parts[0] in ("entries", "proofs") and len(parts) == 2 and _POSITION.match(parts[1]):
            return int(parts[1])
        if parts[0] != "tile" or len(parts) < 3:
            return None
        if parts[-2].endswith(".p"):
            parts = parts[:-1]
            parts[-1] = parts[-1][:-2]
        digits = "".join(one.lstrip("x") for one in parts[2:])
        level = 0 if parts[1] == "entries" else int(parts[1])
        return int(digits) << (8 * (level + 1))

    def _open(self, path):
        # Without following a link, and without waiting on a pipe that took the file's place.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            handle = os.open(os.path.join(self.folder, path), flags)
        except FileNotFoundError:
            raise Fault("RD0713", "a file is missing", file=path) from None
        except OSError as error:
            if self._may_be_plain(path):
                raise  # it may not be read: nothing can be said of it
            raise Fault("RD0712", f"not a plain file: {error.strerror}", file=path) from None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise Fault("RD0712", "not a plain file", file=path)
        return os.fdopen(handle, "rb")

    def _may_be_plain(self, path):
        try:
            return stat.S_ISREG(os.lstat(os.path.join(self.folder, path)).st_mode)
        except NotADirectoryError:
            return False
        except OSError:
            return True

    def read(self, path, limit):
        """A file's bytes and whether they are what the manifest says."""
        with self._open(path) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise Fault("RD0718", f"larger than such a file may be: {limit} bytes", file=path)
        listed = self.listed.get(path)
        same = listed is None or listed == (len(data), hashlib.sha256(data).digest())
        return data, same

    def read_same(self, path, limit):
        """A file's bytes, which must be what the manifest says."""
        data, same = self.read(path, limit)
        if not same:
            raise differs(path)
        return data

    def check_hash(self, path):
        """The same for a file that is only hashed, of any size."""
        digest, size = hashlib.sha256(), 0
        with self._open(path) as file:
            while block := file.read(1 << 20):
                digest.update(block)
                size += len(block)
        if self.listed[path] != (size, digest.digest()):
            raise differs(path)


def differs(path):
    return Fault("RD0715", "the file is not what the manifest says",
                 position=Files.position_of(path), file=path)  # fmt: skip


class Manifest:
    """The signed list of a bundle."""

    def __init__(self, data, trust):
        self.note = Note(data)
        self.signed = self.note.verify(trust)
        if trust.logs and not self.signed:
            raise Fault("RD0643", "no trusted log key signed the manifest")
        first, _, rest = self.note.body.partition(b"\n")
        if first.decode() != BUNDLE_LINE or rest.count(b"\n") != 1:
            raise Fault("RD0710", f"a manifest is {BUNDLE_LINE} and one line of JSON")
        try:
            value = parse_canonical(rest[:-1])
        except Fault as fault:
            raise Fault("RD0710", f"the manifest is not canonical: {fault.message}") from None
        self._members(value)
        if trust.logs and not any(trust.logs[key].name == self.log for key in self.signed):
            raise Fault("RD0643", f"no trusted key of the log {self.log} signed the manifest")

    def _members(self, value):
        names = {"origin", "generation", "kind", "size", "root", "made_at", "files"}
        kind = value.get("kind") if isinstance(value, dict) else None
        names |= {"run"} if kind == "run" else set()
        good = kind in ("ledger", "run") and set(value) == names
        good = good and is_word(value["origin"]) and is_int(value["generation"]) and is_int(value["size"])
        good = good and value["generation"] >= 1 and value["size"] >= 0 and is_hash(value["root"])
        good = good and is_time(value["made_at"]) and isinstance(value["files"], list)
        good = good and (kind == "ledger" or _plain_uuid(value["run"]))
        if not good:
            raise Fault("RD0710", "the manifest has not exactly the members of one")
        self.origin, self.generation, self.kind = value["origin"], value["generation"], kind
        self.size, self.root, self.run = value["size"], bytes.fromhex(value["root"]), value.get("run")
        self.log = f"{self.origin}/gen/{self.generation}"
        self.files = value["files"]

    def list_files(self):
        """The files by name; refuses names that lead away, and any order but the one."""
        listed, before = {}, ""
        for one in self.files:
            good = isinstance(one, dict) and set(one) == {"path", "size", "sha256"}
            if not good or not is_int(one["size"]) or one["size"] < 0 or not is_hash(one["sha256"]):
                raise Fault("RD0710", "a file of the manifest is path, size and sha256")
            path = one["path"]
            check_path(path)
            if path == "manifest":
                raise Fault("RD0714", "the manifest does not list itself", file=path)
            if path <= before:
                raise Fault("RD0716", "the files of the manifest are not in order", file=path)
            listed[path] = (one["size"], bytes.fromhex(one["sha256"]))
            before = path
        self.files = None
        return listed


# --- report ------------------------------------------------------------------------------------------


class Report:
    """What was found; the first fault stays."""

    def __init__(self):
        self.origin = self.generation = self.size = self.root = None
        self.records, self.runs, self.complete, self.open_at = 0, 0, False, None
        self.consistent_with, self.failure = [], None
        self.doubtful, self.warnings, self.incomplete = [], [], False

    def warn(self, word, incomplete=False):
        if word not in self.warnings:
            self.warnings.append(word)
        self.incomplete = self.incomplete or incomplete

    def verdict(self):
        if self.failure is not None:
            return FAILED
        return INCOMPLETE if self.incomplete else VERIFIED

    def to_json(self):
        failure = self.failure and {
            "code": self.failure.code,
            "position": self.failure.position,
            "run": self.failure.run,
            "seq": self.failure.seq,
            "file": self.failure.file,
            "message": self.failure.message,
        }
        return {
            "verdict": self.verdict(),
            "origin": self.origin,
            "generation": self.generation,
            "size": self.size,
            "root": self.root,
            "records": self.records,
            "runs": self.runs,
            "complete": self.complete,
            "open_at": self.open_at,
            "consistent_with": sorted(self.consistent_with),
            "first_failure": failure,
            "doubtful": sorted(self.doubtful),
            "warnings": sorted(self.warnings),
        }


# --- the verifier ------------------------------------------------------------------------------------


class Verifier:
    """Verifies one bundle, in the order that FORMAT.md gives, up to the first fault."""

    def __init__(self, folder, trust, remembered):
        self.files, self.trust, self.remembered = Files(folder), trust, remembered
        self.report = Report()
        self.confirmed = 0  # up to here the entries lead to a checkpoint of the bundle
        self.confirmed_elsewhere = 0  # and up to here to one that the reviewer remembers

    def run(self):
        try:
            self._run()
        except Fault as fault:
            self.report.failure = fault
            self.report.complete, self.report.open_at = False, None
        return self.report

    def _run(self):
        found = self.files.walk()
        if not found:
            self.report.warn("nothing", incomplete=True)
            return
        self._manifest()
        self.files.check_walk(found)
        self._checkpoint()
        for path in self.files.listed:
            if path == "FORMAT.md" or path.split("/")[0] == "receipts":
                self.files.check_hash(path)
        older = [self._of_older(one) for one in self.remembered if one.origin != self.manifest.log]
        self.logs = Logs(self.trust, self.manifest.generation, [one for one in older if one])
        self.keyring = self.logs.all[0].keyring
        self.runs, self.blobs = Runs(), {}
        self.blob_files = {p[6:] for p in self.files.listed if p.startswith("blobs/")}
        self.erased = set()
        if self.manifest.kind == "ledger":
            self._ledger()
        else:
            self._one_run()
        self._end()

    # What the bundle says of itself

    def _manifest(self):
        try:
            data, _ = self.files.read("manifest", MANIFEST_BYTES_MAX)
            self.manifest = manifest = Manifest(data, self.trust)
            report = self.report
            report.origin, report.generation = manifest.origin, manifest.generation
            report.size, report.root = manifest.size, manifest.root.hex()
            self.files.listed = manifest.list_files()
            self._expected()
        except Fault as fault:
            raise fault.at(file="manifest") from None

    def _expected(self):
        """The list is that of a bundle of this kind and size."""
        size, kind = self.manifest.size, self.manifest.kind
        required = ["FORMAT.md", "checkpoint", f"checkpoints/{size:012}"]
        tiles = 0
        for path in required:
            self._require(path, None)
        if kind == "ledger":
            for path, position in expected_tiles(size):
                self._require(path, position)
                tiles += 1
        seen = 0
        for path in self.files.listed:
            top, _, rest = path.partition("/")
            if top == "tile" and kind == "ledger":
                seen += 1
                continue
            good = path in required or top == "receipts"
            good = good or (top == "blobs" and _plain_uuid(rest))
            if kind == "ledger":
                good = good or (top == "checkpoints" and _POSITION.match(rest) and int(rest) < size)
            else:
                good = good or (top in ("entries", "proofs") and self._pair(top, rest))
            if not good:
                raise Fault("RD0714", "no file of such a bundle", file=path)
        if seen != tiles:
            wanted = {path for path, _ in expected_tiles(size)}
            extra = next(p for p in self.files.listed if p.startswith("tile/") and p not in wanted)
            raise Fault("RD0714", "no file of such a bundle", file=extra)

    def _pair(self, top, rest):
        if not _POSITION.match(rest) or int(rest) >= self.manifest.size:
            return False
        other = ("proofs/" if top == "entries" else "entries/") + rest
        self._require(other, int(rest))
        return True

    def _require(self, path, position):
        if path not in self.files.listed:
            raise Fault("RD0713", "a file of the bundle is missing", position=position, file=path)

    def _checkpoint(self):
        manifest = self.manifest
        try:
            data = self.files.read_same("checkpoint", NOTE_BYTES_MAX)
            self.newest = newest = Checkpoint(data)
            self.newest_signed = newest.require(self.trust, manifest.log)
            if (newest.size, newest.root) != (manifest.size, manifest.root):
                raise Fault("RD0717", "the checkpoint is not the one that the manifest names")
            cosigned = newest.note.cosigners(self.trust)
        except Fault as fault:
            raise fault.at(file="checkpoint") from None
        if not self.trust.witnessed(self.trust.quorum, cosigned):
            self.report.warn("witness-quorum-not-met", incomplete=True)

    def _published(self, path):
        """One of the published checkpoints, judged by itself."""
        try:
            checkpoint = Checkpoint(self.files.read_same(path, NOTE_BYTES_MAX))
            signed = checkpoint.require(self.trust, self.manifest.log)
            newest = checkpoint.size == self.manifest.size
            if f"checkpoints/{checkpoint.size:012}" != path or (
                newest and checkpoint.data != self.newest.data
            ):
                raise Fault("RD0717", "the checkpoint is another one than its name says")
        except Fault as fault:
            raise fault.at(position=self.confirmed, file=path) from None
        return checkpoint, signed

    # The whole ledger

    def _ledger(self):
        self.tree = Tree()
        self.levels = [[] for _ in range(8)]  # hashes that wait for their tile, level 1 and up
        self.counts = [0] * 8  # full tiles of each level so far
        self.due = sorted(p for p in self.files.listed if p.startswith("checkpoints/"))
        self.due_at = 0
        self._compare_heads()
        size = self.manifest.size
        for number in range(-(-size // TILE_WIDTH)):
            width = min(TILE_WIDTH, size - number * TILE_WIDTH)
            self._bundle(number, width)
        for level in range(1, 8):
            if self.levels[level]:
                self._compare_tile(level)
        for remembered in self._remembered_here():
            if remembered.size > size:
                raise Fault(
                    "RD0657",
                    f"the ledger ends at {size}, the remembered checkpoint at {remembered.size}",
                    position=size,
                )

    def _remembered_here(self):
        return sorted(
            (one for one in self.remembered if one.origin == self.manifest.log), key=lambda one: one.size
        )

    def _bundle(self, number, width):
        """256 entries or the rest: read, compared with their tile, judged one by one."""
        first = number * TILE_WIDTH
        path, tile = tile_path("entries", number, width), tile_path(0, number, width)
        try:
            hashes, tile_same = self.files.read(tile, TILE_WIDTH * 32)
            if len(hashes) != width * 32:
                raise Fault("RD0649", f"a tile of {width} hashes has {len(hashes)} bytes")
        except Fault as fault:
            raise fault.at(position=first, file=tile) from None
        try:
            data, same = self.files.read(path, ENTRIES_BYTES_MAX)
        except Fault as fault:
            raise fault.at(position=first, file=path) from None
        at = 0
        for index in range(width):
            position = first + index
            length = int.from_bytes(data[at : at + 2], "big")
            entry = data[at + 2 : at + 2 + length]
            if at + 2 + length > len(data):
                raise Fault("RD0648", "the entries end too early", position=position, file=path)
            at += 2 + length
            self._entry(position, entry, path, hashes[index * 32 : index * 32 + 32])
        if at != len(data):
            raise Fault("RD0648", "something follows the last entry", position=first + width, file=path)
        for name, good in ((path, same), (tile, tile_same)):
            if not good:
                raise differs(name)
        if width == TILE_WIDTH:
            self._climb(hashes)

    def _entry(self, position, entry, path, expected):
        leaf = leaf_hash(entry)
        if leaf != expected:
            raise Fault("RD0650", "the stored hash is not that of the bytes", position, file=path)
        self._record(position, entry, leaf.hex(), path)
        self.tree.add(leaf)
        self._compare_heads()

    def _climb(self, hashes):
        """A full tile's root goes up; each tile above is compared when it is full."""
        level = 1
        while True:
            tree = Tree()
            for at in range(0, len(hashes), 32):
                tree.add(hashes[at : at + 32])
            self.levels[level].append(tree.root())
            if len(self.levels[level]) < TILE_WIDTH:
                return
            hashes = self._compare_tile(level)
            level += 1

    def _compare_tile(self, level):
        mine = self.levels[level]
        number, self.levels[level] = self.counts[level], []
        self.counts[level] += 1
        path = tile_path(level, number, len(mine))
        first = number << (8 * (level + 1))
        try:
            data, same = self.files.read(path, TILE_WIDTH * 32)
        except Fault as fault:
            raise fault.at(position=first, file=path) from None
        if len(data) != 32 * len(mine):
            raise Fault("RD0649", "a tile of another length", position=first, file=path)
        for index, node in enumerate(mine):
            if data[index * 32 : index * 32 + 32] != node:
                position = first + (index << (8 * level))
                raise Fault("RD0649", "the tile is not what the entries give", position, file=path)
        if not same:
            raise differs(path)
        return data

    def _compare_heads(self):
        """Every checkpoint of this size, published or remembered, must be what the entries give."""
        size = self.tree.size
        while self.due_at < len(self.due) and int(self.due[self.due_at][12:]) == size:
            path = self.due[self.due_at]
            self.due_at += 1
            checkpoint, signed = self._published(path)
            if checkpoint.root != self.tree.root():
                raise Fault("RD0655", f"the entries do not give the root that was signed at {size}",
                            position=self.confirmed, file=path)  # fmt: skip
            self._in_force(signed, path)
            self.confirmed = size
        for remembered in self._remembered_here():
            if remembered.size != size:
                continue
            if remembered.root != self.tree.root():
                raise Fault("RD0656", f"a fork: another root was signed for size {size}",
                            position=self.confirmed_elsewhere)  # fmt: skip
            self.confirmed_elsewhere = size
            self.report.consistent_with.append(size)

    def _in_force(self, signed, path):
        """The log key that the ledger has at this size is among those that signed."""
        if self.trust.logs and self.keyring.log is not None and self.keyring.log not in signed:
            raise Fault("RD0647", f"the log key in force is {self.keyring.log}, it did not sign this",
                        position=self.confirmed, file=path)  # fmt: skip

    # One run

    def _one_run(self):
        checkpoint, signed = self._published(f"checkpoints/{self.manifest.size:012}")
        positions = sorted(int(p[8:]) for p in self.files.listed if p.startswith("entries/"))
        for position in positions:
            path, proof = f"entries/{position:012}", f"proofs/{position:012}"
            try:
                entry = self.files.read_same(path, RECORD_BYTES_MAX)
                leaf = leaf_hash(entry)
                self._proof(self.files.read_same(proof, NOTE_BYTES_MAX), position, leaf)
            except Fault as fault:
                raise fault.at(position=position, file=path) from None
            self._record(position, entry, leaf.hex(), path)
        mine = self.runs.get(self.manifest.run)
        if mine.count == 0:
            raise Fault("RD0719", "the run that the bundle is about has no record in it")
        self._in_force(signed, "checkpoint")
        self.report.warn("system-run-end-not-proven")
        for remembered in self._remembered_here():
            if remembered.size != checkpoint.size:
                self.report.warn("remembered-not-comparable", incomplete=True)
            elif remembered.root != checkpoint.root:
                raise Fault("RD0656", f"a fork: another root was signed for size {checkpoint.size}",
                            position=0)  # fmt: skip
            else:
                self.report.consistent_with.append(checkpoint.size)

    def _proof(self, data, position, leaf):
        malformed = Fault("RD0658", "the proof is malformed")
        head, split, checkpoint = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise malformed from None
        if not split or len(lines) > PROOF_HASHES_MAX + 2 or lines[:2] != [PROOF_LINE, f"index {position}"]:
            raise malformed
        hashes = [b64(line) for line in lines[2:]]
        if checkpoint != self.newest.data or any(one is None or len(one) != 32 for one in hashes):
            raise malformed
        if root_from_proof(position, self.newest.size, leaf, hashes) != self.newest.root:
            raise Fault("RD0659", "the proof does not lead from this entry to the checkpoint's root")

    # Every record

    def _record(self, position, entry, digest, path):
        record = seq = None
        try:
            record = Record(entry)
            run = self.runs.get(record.run)
            seq = run.count + 1
            self._judge(record, run, digest, position)
        except Fault as fault:
            raise fault.at(position, record and record.run, seq, path) from None
        self.report.records += 1

    def _judge(self, record, run, digest, position):
        manifest, was_open = self.manifest, Runs.is_open(run)
        if record.origin != manifest.origin:
            raise Fault("RD0651", f"the record belongs to another environment: {record.origin}")
        place = self.logs.place(record, position)
        run.push(record, digest)
        if manifest.kind == "run" and not run.system and record.run != manifest.run:
            raise Fault("RD0719", "the record is of a run that the bundle is not about")
        self.logs.judge(run, record, digest, place)
        self._blobs(record, position)
        if manifest.kind == "ledger":
            self.logs.compare(digest, place[0])
        if run.count == 1:
            self.report.runs += 1
        self.runs.put(record.run, run, was_open)

    def _blobs(self, record, position):
        for name in sorted(record.body, key=_utf16):
            found = blob_ref(record.body[name])
            if found is None:
                continue
            identity, length, commitment = found
            self.blobs.setdefault(identity, position)
            if identity in self.blob_files:
                path = f"blobs/{identity}"
                try:
                    data = self.files.read_same(path, BLOB_FILE_BYTES_MAX)
                except Fault as fault:
                    raise fault.at(file=path) from None
                check_blob(data, length, commitment, identity)
                self.blobs[identity] = -1
        erased = record.body.get("blob") if record.kind == "blob.erased" else None
        if _plain_uuid(erased):
            self.erased.add(erased)
            if erased in self.blob_files:
                raise Fault("RD0720", f"the blob was erased and is still there: {erased}")

    # The end

    def _end(self):
        manifest, report = self.manifest, self.report
        missing = [(at, one) for one, at in self.blobs.items() if at >= 0 and one not in self.erased]
        if missing:
            at, identity = min(missing)
            raise Fault("RD0720", f"the blob is missing and was not erased: {identity}", at)
        for identity in sorted(self.blob_files - set(self.blobs)):
            raise Fault("RD0720", "no record names this blob", file=f"blobs/{identity}")
        if manifest.size and self.trust.logs and self.keyring.log not in manifest.signed:
            raise Fault("RD0647", f"the log key in force is {self.keyring.log}, it did not sign this",
                        file="manifest")  # fmt: skip
        if manifest.size:
            self.logs.check_continued(manifest.size)
        if manifest.size and self.trust.sovereigns() and not self.logs.roots_named(manifest.size):
            raise Fault("RD0578", "the roots of the ledger are not those of the trust file", position=0)
        report.doubtful = list(self.logs.doubtful)
        if manifest.kind == "run":
            report.complete = not Runs.is_open(self.runs.get(manifest.run))
        else:
            report.complete = self.runs.open == 0 and manifest.size > 0
        report.open_at = None if report.complete else manifest.size
        self._warn()

    def _warn(self):
        manifest, warn = self.manifest, self.report.warn
        if manifest.size == 0:
            warn("nothing", incomplete=True)
        if not self.trust.logs:
            warn("no-trusted-log-key", incomplete=True)
        if not self.trust.sovereigns():
            warn("no-trusted-root", incomplete=True)
        elif self.trust.root is None:
            warn("root-threshold-not-stated")
        if manifest.size and len(self.logs.carried(manifest.size)) < manifest.generation - 1:
            warn("carried-records", incomplete=True)
        if self.logs.is_cut_off():
            warn("older-log-cut-off")
        if not self.report.complete:
            warn("open-runs")
        if self.report.doubtful:
            warn("doubtful-decisions")
        try:
            for remembered in self.remembered:
                if remembered.origin != manifest.log:
                    self._remembered_elsewhere(remembered)
        finally:
            if not self.report.consistent_with:
                warn("no-remembered-checkpoint")

    def _of_older(self, remembered):
        """Generation and size of a remembered head of an older log; None if it is of another one."""
        prefix, _, number = remembered.origin.rpartition("/gen/")
        older = prefix == self.manifest.origin and re.match(r"[1-9][0-9]{0,15}\Z", number)
        if not older or int(number) > self.manifest.generation:
            return None
        return int(number), remembered.size

    def _remembered_elsewhere(self, remembered):
        """One of an older generation is good if the records give it, or the next one pinned it."""
        older = self._of_older(remembered)
        if older is None:
            raise Fault("RD0646", f"the remembered checkpoint is of another log: {remembered.origin}")
        root = self.logs.head(*older)
        if root is None:
            self.report.warn("remembered-not-comparable", incomplete=True)
        elif root != remembered.root:
            raise Fault("RD0656", "a fork: the older log has another root at this size", position=0)
        else:
            self.report.consistent_with.append(remembered.size)


# --- the command -------------------------------------------------------------------------------------


def read_input(path, limit, what):
    """A file of the reviewer's own, one byte beyond its limit at most: who reads it then refuses it."""
    try:
        with open(path, "rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise Usage(f"{what} {path}: {error.strerror}") from None


def lies_within(folder, path):
    """Whether a file of the reviewer's is really one of the bundle's folder, behind every link."""
    try:
        folder, path = os.path.realpath(folder, strict=True), os.path.realpath(path, strict=True)
    except OSError:
        return False  # what is not there lies nowhere
    return os.path.commonpath([folder, path]) == folder


def remembered_from(path, trust):
    """A checkpoint that the reviewer kept; it must be one that the reviewer's log key signed."""
    try:
        checkpoint = Checkpoint(read_input(path, NOTE_BYTES_MAX, "checkpoint"))
        if trust.logs:
            require_signed(checkpoint.note, trust, checkpoint.origin)
    except Fault as fault:
        raise Usage(f"checkpoint {path}: {fault.code} {fault.message}") from None
    return checkpoint


def verify(folder, trust_path, remembered=()):
    """Verifies a bundle; gives the report."""
    foreign = lies_within(folder, trust_path)
    trust = Trust(b"" if foreign else read_input(trust_path, TRUST_BYTES_MAX, "trust file"))
    if not os.path.isdir(folder):
        raise Usage(f"{folder} is not a folder")
    own = [path for path in remembered if not lies_within(folder, path)]
    known = [remembered_from(path, trust) for path in own]
    try:
        report = Verifier(folder, trust, known).run()
    except OSError as error:
        raise Usage(f"cannot be read: {error.strerror}: {error.filename}") from None
    if foreign:
        report.warn("trust-from-bundle", incomplete=True)
    if len(own) < len(remembered):
        report.warn("remembered-from-bundle")
    return report


def say(report):
    """The report in words."""
    value = report.to_json()
    lines = [value["verdict"]]
    if value["origin"] is not None:
        log = f"{value['origin']}, generation {value['generation']}, size {value['size']}"
        lines.append(f"{log}, root {value['root']}")
    lines.append(f"{value['records']} records of {value['runs']} runs hold")
    if report.failure is not None:
        place = value["first_failure"]
        words = [f"{k} {place[k]}" for k in ("position", "run", "seq", "file") if place[k] is not None]
        lines.append(f"{place['code']}: {place['message']} ({', '.join(words)})")
    elif not value["complete"] and value["open_at"] is not None:
        lines.append(f"open at size {value['open_at']}")
    if value["consistent_with"]:
        sizes = ", ".join(map(str, value["consistent_with"]))
        lines.append(f"consistent with the remembered checkpoints of size {sizes}")
    if value["doubtful"]:
        lines.append("doubtful decisions at " + ", ".join(map(str, value["doubtful"])))
    lines += [f"note: {word}" for word in value["warnings"]]
    return "\n".join(lines)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Verifies an exported Redress ledger.")
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("--trust", metavar="FILE", required=True)
    parser.add_argument("--checkpoint", metavar="REMEMBERED", action="append", default=[])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        report = verify(options.folder, options.trust, options.checkpoint)
    except Usage as error:
        print(f"verify.py: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(json.dumps(report.to_json(), indent=1) if options.json else say(report))
    return EXIT[report.verdict()]


if __name__ == "__main__":
    sys.exit(main())
