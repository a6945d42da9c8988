#!/usr/bin/env python3
"""Tries verify.py: every bundle that make_bundle.py makes, each with its verdict, code and position.

    python3 ledger/python/test_verify.py

Needs the standard library and `cryptography`.
"""

import base64
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
sys.dont_write_bytecode = True

import make_bundle  # noqa: E402
import verify  # noqa: E402


def judged(folder, expected):
    """Runs the command on a case; gives exit code and report."""
    arguments = [os.path.join(folder, "bundle"), "--trust", os.path.join(folder, "trust"), "--json"]
    for name in expected["checkpoints"]:
        arguments += ["--checkpoint", os.path.join(folder, name)]
    out = io.StringIO()
    with redirect_stdout(out):
        code = verify.main(arguments)
    return code, json.loads(out.getvalue())


class Case(unittest.TestCase):
    """Makes one case and asks for exactly the verdict, code, position and exit code that it names."""

    def check(self, name):
        with tempfile.TemporaryDirectory() as folder:
            expected = make_bundle.write_case(name, folder)
            code, report = judged(os.path.join(folder, name), expected)
        failure = report["first_failure"] or {"code": None, "position": None}
        got = (report["verdict"], failure["code"], failure["position"], code)
        want = (expected["verdict"], expected["code"], expected["position"], expected["exit"])
        self.assertEqual(got, want, report)
        return report


class EveryCase(Case):
    """One test a case."""


def trial(name):
    def test(self):
        self.check(name)

    return test


for one in make_bundle.CASES:
    setattr(EveryCase, "test_" + one.replace("-", "_"), trial(one))


class Reports(Case):
    """What a report says besides its verdict."""

    def test_a_whole_ledger_is_complete_and_counted(self):
        report = self.check("good-ledger")
        ledger = make_bundle.standard()
        entries = ledger.entries()
        root = make_bundle.root_of([make_bundle.leaf(one) for one in entries])
        self.assertEqual(
            report,
            {
                "verdict": "VERIFIED",
                "origin": make_bundle.ORIGIN,
                "generation": 1,
                "size": len(entries),
                "root": root.hex(),
                "records": len(entries),
                "runs": 4,
                "complete": True,
                "open_at": None,
                "consistent_with": [],
                "first_failure": None,
                "doubtful": [],
                "warnings": ["no-remembered-checkpoint"],
            },
        )

    def test_remembered_checkpoints_are_named(self):
        report = self.check("good-ledger-remembered")
        self.assertEqual(report["consistent_with"], [13, 20, report["size"]])
        self.assertEqual(report["warnings"], [])

    def test_a_run_without_its_seal_is_open(self):
        for name in ("good-open-run", "run-end-left-out"):
            report = self.check(name)
            self.assertEqual((report["complete"], report["open_at"]), (False, report["size"]))
            self.assertIn("open-runs", report["warnings"])

    def test_decisions_of_a_compromised_key_are_doubtful(self):
        report = self.check("good-compromised-key")
        self.assertEqual(report["doubtful"], [make_bundle.standard().position("approved")])

    def test_a_failure_names_its_record_and_file(self):
        report = self.check("story-one-signed")
        failure = report["first_failure"]
        self.assertEqual((failure["run"], failure["seq"]), (make_bundle.RUN_B, 7))
        self.assertTrue(failure["file"].startswith("tile/entries/"))
        self.assertEqual(report["records"], failure["position"])
        missing = self.check("file-missing-format")
        self.assertEqual(missing["first_failure"]["file"], "FORMAT.md")


class Inputs(unittest.TestCase):
    """The reviewer's own files and the command."""

    def run_with(self, trust=None, checkpoint=None, folder=None):
        with tempfile.TemporaryDirectory() as place:
            make_bundle.write_case("good-ledger", place)
            case = os.path.join(place, "good-ledger")
            if trust is not None:
                make_bundle.write(os.path.join(case, "trust"), trust.encode())
            arguments = [folder or os.path.join(case, "bundle"), "--trust", os.path.join(case, "trust")]
            if checkpoint is not None:
                make_bundle.write(os.path.join(case, "known"), checkpoint)
                arguments += ["--checkpoint", os.path.join(case, "known")]
            out, error = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(error):
                code = verify.main(arguments)
        return code, out.getvalue(), error.getvalue()

    def test_a_trust_file_that_is_not_understood_is_refused(self):
        good = make_bundle.trust_text()
        alice, weak = make_bundle.ALICE, make_bundle.Forger("weak")
        second_y = b"\xed" + b"\xff" * 30 + b"\x7f"
        for line, code in (
            ("trust everybody", "RD0530"),
            ("key sovereign", "RD0530"),
            (f"key root {make_bundle.EVE.vkey}", "RD0509"),
            ("key sovereign nobody", "RD0507"),
            (f"key reviewer {alice.vkey}", "RD0531"),
            (f"key reviewer {make_bundle.Key('mallory', 'alice').vkey}", "RD0531"),
            (f"log {alice.vkey}", "RD0531"),
            (f"key sovereign {weak.vkey}", "RD0502"),
            (f"key sovereign {make_bundle.names_of('twice', second_y)[2]}", "RD0503"),
            (f"key sovereign {make_bundle.names_of('none', bytes([2]) + bytes(31))[2]}", "RD0501"),
            (f"key sovereign {make_bundle.names_of('other', alice.public, 2)[2]}", "RD0508"),
            ("key sovereign " + alice.vkey.replace("alice", "alicf"), "RD0506"),
            ("root 2", "RD0530"),
            ("# " + "x" * verify.TRUST_BYTES_MAX, "RD0532"),
            ("quorum w1", "RD0530"),
            ("group g 2 w1", "RD0530"),
            (f"witness w1 {make_bundle.LOG_KEY_2.vkey}", "RD0508"),
        ):
            exit_code, out, error = self.run_with(trust=good + line + "\n")
            self.assertEqual((exit_code, out), (2, ""), line)
            self.assertIn(code, error, line)

    def test_every_small_order_key_is_refused_in_every_spelling(self):
        for raw in verify.SMALL_ORDER:
            with self.assertRaises(verify.Fault) as caught:
                verify.check_public(raw)
            self.assertIn(caught.exception.code, ("RD0502", "RD0503"))

    def test_the_library_alone_would_take_a_forged_signature(self):
        """Why verify.py looks for small order itself. Should this fail, the library became strict."""
        forger = make_bundle.Forger("weak")
        public = verify.Ed25519PublicKey.from_public_bytes(forger.public)
        public.verify(forger.sign(b"anything"), b"anything")
        self.assertFalse(verify.signature_holds(forger.public, b"anything", forger.sign(b"anything")))

    def test_a_checkpoint_that_the_log_did_not_sign_is_no_memory(self):
        entries = make_bundle.standard_entries()
        exit_code, _, error = self.run_with(checkpoint=make_bundle.heads(entries, 6, make_bundle.EVE))
        self.assertEqual(exit_code, 2)
        self.assertIn("RD0643", error)
        self.assertEqual(self.run_with(checkpoint=b"")[0], 2)

    def test_a_folder_that_is_not_there_is_a_wrong_question(self):
        self.assertEqual(self.run_with(folder="/nonexistent/bundle")[0], 2)

    def asked(self, case, *more, trust="trust"):
        """Exit status, report and what was said on standard error of a case that lies in a folder."""
        out, error = io.StringIO(), io.StringIO()
        trust = os.path.join(case, trust)
        with redirect_stdout(out), redirect_stderr(error):
            code = verify.main([os.path.join(case, "bundle"), "--json", "--trust", trust, *more])
        return code, json.loads(out.getvalue() or "null"), error.getvalue()

    def test_trust_that_lies_in_the_bundle_is_no_trust(self):
        with tempfile.TemporaryDirectory() as place:
            make_bundle.write_case("good-ledger", place)
            case = os.path.join(place, "good-ledger")
            receipt = os.path.join(case, "bundle", "trust")
            with open(os.path.join(case, "trust"), "rb") as file:
                make_bundle.write(receipt, file.read())
            os.symlink(receipt, os.path.join(case, "link"))
            for trust in ("bundle/trust", "link", "bundle/../bundle/trust"):
                code, report, _ = self.asked(case, trust=trust)
                # A file that the manifest does not list is a fault beside.
                self.assertEqual((code, report["verdict"]), (7, "FAILED"), trust)
                self.assertIn("trust-from-bundle", report["warnings"])
            os.rename(receipt, os.path.join(case, "kept"))
            os.unlink(os.path.join(case, "link"))
            os.symlink(os.path.join(case, "bundle", "FORMAT.md"), os.path.join(case, "link"))
            code, report, _ = self.asked(case, trust="link")
            self.assertEqual(code, 8)
            words = {"no-trusted-log-key", "no-trusted-root", "trust-from-bundle"}
            self.assertLessEqual(words, set(report["warnings"]))
            self.assertEqual(self.asked(case, trust="kept")[0], 0)

    def test_a_checkpoint_that_lies_in_the_bundle_is_not_remembered(self):
        with tempfile.TemporaryDirectory() as place:
            make_bundle.write_case("good-ledger", place)
            case = os.path.join(place, "good-ledger")
            newest = os.path.join(case, "bundle", "checkpoint")
            code, report, _ = self.asked(case, "--checkpoint", newest)
            self.assertEqual((code, report["consistent_with"]), (0, []))
            words = ["no-remembered-checkpoint", "remembered-from-bundle"]
            self.assertEqual(report["warnings"], words)

    def test_what_may_not_be_read_is_no_verdict(self):
        with tempfile.TemporaryDirectory() as place:
            make_bundle.write_case("good-ledger", place)
            case = os.path.join(place, "good-ledger")
            os.chmod(place, 0o755)
            root = os.geteuid() == 0  # who may read everything
            for name in ("", "tile", "manifest", "checkpoint", "tile/0/000.p"):
                path = os.path.join(case, "bundle", name)
                mode = os.stat(path).st_mode
                os.chmod(path, 0)
                try:
                    if root:
                        os.seteuid(65534)
                    code, report, error = self.asked(case)
                finally:
                    if root:
                        os.seteuid(0)
                    os.chmod(path, mode)
                self.assertEqual((code, report), (2, None), name)
                self.assertIn("cannot be read", error)
            self.assertEqual(self.asked(case)[0], 0)

    def test_words_are_said_without_json(self):
        exit_code, out, _ = self.run_with()
        self.assertEqual((exit_code, out.splitlines()[0]), (0, "VERIFIED"))

    def test_the_command_exits_with_the_verdict(self):
        with tempfile.TemporaryDirectory() as place:
            make_bundle.write_case("story-one-signed", place)
            case = os.path.join(place, "story-one-signed")
            done = subprocess.run(
                [sys.executable, os.path.join(os.path.dirname(HERE), "verify.py"),
                 os.path.join(case, "bundle"), "--trust", os.path.join(case, "trust")],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        self.assertEqual(done.returncode, 7)
        self.assertIn("RD0560", done.stdout)


class Bytes(unittest.TestCase):
    """Every byte of a bundle counts, and known answers are what they are."""

    def test_any_changed_byte_of_any_file_is_found(self):
        with tempfile.TemporaryDirectory() as place:
            expected = make_bundle.write_case("story-good", place)
            case = os.path.join(place, "story-good")
            for path, _, names in os.walk(os.path.join(case, "bundle")):
                for name in names:
                    self.every_byte(case, expected, os.path.join(path, name))

    def every_byte(self, case, expected, path):
        with open(path, "rb") as file:
            good = file.read()
        # Every byte of what is small, and a spread of what is long.
        for at in range(0, len(good), max(1, len(good) // 150)):
            make_bundle.write(path, make_bundle.flipped(good, at, 1 << at % 8))
            code, report = judged(case, expected)
            self.assertEqual((code, report["verdict"]), (7, "FAILED"), f"{path} byte {at}")
        make_bundle.write(path, good)

    def test_the_trees_of_every_size_agree_with_the_definition(self):
        leaves, tree = [], verify.Tree()
        self.assertEqual(tree.root().hex(), make_bundle.sha(b"").hex())
        for size in range(1, 70):
            leaves.append(make_bundle.leaf(bytes([size])))
            tree.add(leaves[-1])
            root = make_bundle.root_of(leaves)
            self.assertEqual(tree.root(), root)
            for index in range(size):
                proof = make_bundle.proof_of(index, leaves)
                self.assertEqual(verify.root_from_proof(index, size, leaves[index], proof), root)
                for wrong in (proof[:-1], [*proof, root], proof[::-1]):
                    if wrong != proof:
                        other = verify.root_from_proof(index, size, leaves[index], wrong)
                        self.assertNotEqual(other, root)

    def test_known_answers(self):
        empty = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        self.assertEqual(verify.leaf_hash(b"").hex(), empty)
        text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
        self.assertEqual(verify.Vkey(text).id, "PeterNeumann+c74f20a3")
        self.assertEqual(verify.tile_path(0, 1234067, 256), "tile/0/x001/x234/067")
        self.assertEqual(verify.tile_path("entries", 5, 17), "tile/entries/005.p/17")
        self.assertEqual(len(list(verify.expected_tiles(70_000))), 274 + 274 + 2 + 1)
        for path, first in verify.expected_tiles(70_000):
            self.assertEqual(verify.Files.position_of(path), first, path)

    def test_canonical_json_has_one_spelling(self):
        for text, code in (
            ('{"a":1,"b":[true,false,null,"x"]}', None),
            ("9007199254740991", None),
            ("9007199254740992", "RD0604"),
            ("18446744073709551616", "RD0601"),
            ("1.0", "RD0601"),
            ("-0", "RD0601"),
            ('{"a":1,"a":1}', "RD0601"),
            ('{"b":1,"a":2}', "RD0602"),
            ("1 ", "RD0602"),
            ('"\\u0041"', "RD0602"),
            ('"\\/"', "RD0602"),
            ('"\\u0000"', "RD0605"),
            ('"\\ud800"', "RD0601"),
            ("1 2", "RD0601"),
            ("", "RD0601"),
            ("\ufeff1", "RD0601"),
            ("NaN", "RD0601"),
            ("[" * 64 + "]" * 64, None),
            ("[" * 65 + "]" * 65, "RD0606"),
            ("[" * 50_000 + "]" * 50_000, "RD0601"),
            ('{"e\u0301":4,"\u00e9":3,"\U0001f600":1,"\ue000":2}', None),
            ('{"\ue000":2,"\U0001f600":1}', "RD0602"),
        ):
            try:
                verify.parse_canonical(text.encode())
                got = None
            except verify.Fault as fault:
                got = fault.code
            self.assertEqual(got, code, text[:40])

    def test_an_instant_has_one_spelling(self):
        for text, good in (
            ("2026-01-31T23:59:59.000000Z", True),
            ("1969-12-31T23:59:59.999999Z", True),
            ("2024-02-29T00:00:00.000000Z", True),
            ("2026-02-29T00:00:00.000000Z", False),
            ("2026-01-31T23:59:60.000000Z", False),
            ("2026-01-31T23:59:59Z", False),
            ("2026-01-31t23:59:59.000000z", False),
            ("\uff12026-01-31T23:59:59.00000Z", False),
        ):
            self.assertEqual(verify.is_time(text), good, text)

    def test_a_quorum_counts_people(self):
        missing = verify.quorum_missing
        pair = {"sovereign": 1, "reviewer": 1}
        both = [("alice", "sovereign"), ("alice", "reviewer")]
        self.assertEqual(missing(pair, both, ""), "sovereign")
        self.assertIsNone(missing(pair, [*both, ("bob", "sovereign")], ""))
        self.assertIsNone(missing(pair, [*both, ("bob", "reviewer")], ""))
        self.assertEqual(missing({"sovereign": 2}, [both[0], both[0]], ""), "sovereign")
        self.assertEqual(missing({"sovereign": 1}, both[:1], "alice"), "sovereign")
        self.assertEqual(missing({"auditor": 1}, [("erin", "auditor")], ""), "auditor")


class Document(unittest.TestCase):
    """FORMAT.md, verify.py and the cases speak of the same things."""

    # 16 bits cannot count more bytes than a record may have.
    UNREACHABLE = {"RD0614"}

    def setUp(self):
        with open(os.path.join(HERE, "..", "FORMAT.md"), encoding="utf-8") as file:
            self.text = file.read()
        with open(verify.__file__, encoding="utf-8") as file:
            self.said = set(re.findall(r"RD0\d{3}", file.read()))

    def test_every_code_is_in_the_table(self):
        table = self.text[self.text.index("## 18 Codes") : self.text.index("## 19 Examples")]
        known = set(re.findall(r"RD0\d{3}", table))
        for first, last in re.findall(r"RD(0\d{3}) \.\.\. RD(0\d{3})", table):
            known |= {f"RD{number:04}" for number in range(int(first), int(last) + 1)}
        self.assertEqual(self.said, known)

    def test_every_code_has_a_case(self):
        inputs = {"RD0530", "RD0531", "RD0532", "RD0601"}  # tried in `Inputs` and `Bytes`
        tried = {make().code for make in make_bundle.CASES.values()} - {None}
        self.assertEqual(self.said - tried, self.UNREACHABLE | inputs)

    def test_the_examples_are_what_they_say(self):
        at = self.text.index('    {"actor":"worker"')
        lines = [line.strip() for line in self.text[at:].split("\n")[:6]]
        record = "".join(lines[:5]).encode()
        self.assertEqual(len(record), 376)
        self.assertEqual(verify.Record(record).seq, 1)
        self.assertEqual(verify.leaf_hash(record).hex(), lines[5])
        value = make_bundle.decision(1, "hold_release", hold=make_bundle.HOLD)
        held = make_bundle.envelope(value, [make_bundle.ALICE])
        flat = self.text.replace("\n    ", "")
        leaves = [make_bundle.leaf(one) for one in (b"a", b"b", b"c")]
        proof = make_bundle.proof_file(1, leaves, make_bundle.checkpoint(leaves)).decode()
        ledger = make_bundle.Ledger()
        ledger.bootstrap()
        act = ledger.values[0]["body"]["decision"]["payload"]
        for example in (
            make_bundle.encode(value).decode(),
            held["signatures"][0]["sig"],
            make_bundle.LOG_KEY.vkey,
            make_bundle.ALICE.vkey,
            base64.b64decode(act).decode(),
            make_bundle.blob_file(b"gone").decode(),
            make_bundle.canonical(make_bundle.blob_ref(make_bundle.ERASED_ID, b"gone")),
            *(make_bundle.root_of(leaves[:size]).hex() for size in (1, 2, 3)),
        ):
            self.assertIn(example, flat)
        for line in proof.split("\n"):
            self.assertIn(line, self.text)

    def test_the_table_of_moves_is_that_of_the_document(self):
        section = self.text[self.text.index("## 6 State machine") : self.text.index("## 7 Envelopes")]
        rows = re.findall(r"^\| (\w+) \| (\w+) \| (\w+) \|$", section, re.M)
        self.assertEqual({row for row in rows if row[0] in verify.STATES}, verify.TRIPLES)

    def test_every_kind_is_in_the_document(self):
        for kind in verify.KINDS:
            self.assertIn(f"`{kind}`", self.text)


class Memory(unittest.TestCase):
    def test_a_run_that_is_sealed_is_kept_in_short(self):
        ledger = make_bundle.large()
        with tempfile.TemporaryDirectory() as place:
            make_bundle.write_case("good-large", place)
            case = os.path.join(place, "good-large")
            trust = verify.Trust(verify.read_input(os.path.join(case, "trust"), 1 << 20, "trust"))
            verifier = verify.Verifier(os.path.join(case, "bundle"), trust, [])
            self.assertEqual(verifier.run().verdict(), "VERIFIED")
        kept = list(verifier.runs.known.values())
        self.assertEqual(sum(isinstance(one, bytes) for one in kept), 150)
        self.assertEqual(len(kept), 151)
        self.assertEqual(verifier.report.records, len(ledger.values))


if __name__ == "__main__":
    unittest.main()
