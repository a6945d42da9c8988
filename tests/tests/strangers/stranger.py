"""Asks packages that know nothing of Redress about an exported ledger and a decision.

    stranger.py merkle|dsse|canonical < QUESTION > ANSWER

Questions and answers are JSON. What is expected of an answer is the caller's.
"""

import copy
import json
import os
import sys


def entries(folder, size):
    """The records of a ledger, in order (C2SP tlog-tiles)."""
    for index in range((size + 255) // 256):
        groups = [f"{index % 1000:03d}"]
        left = index // 1000
        while left:
            groups.insert(0, f"x{left % 1000:03d}")
            left //= 1000
        width = min(256, size - 256 * index)
        path = os.path.join(folder, "tile/entries", *groups)
        with open(path if width == 256 else f"{path}.p/{width}", "rb") as file:
            data = file.read()
        for _ in range(width):
            end = 2 + int.from_bytes(data[:2], "big")
            yield data[2:end]
            data = data[end:]
        if data:
            raise ValueError(f"bytes behind the entries of {path}")


def flipped(data):
    return bytes([data[0] ^ 1]) + data[1:]


def merkle(question):
    from pymerkle import InmemoryTree, InvalidProof, verify_consistency, verify_inclusion

    old, new = question["old"], question["new"]
    old_root, new_root = bytes.fromhex(old["root"]), bytes.fromhex(new["root"])
    tree = InmemoryTree(algorithm="sha256")
    for entry in entries(question["folder"], new["size"]):
        tree.append_entry(entry)
    roots = [tree.get_root(old["size"]) == old_root, tree.get_root() == new_root]

    refused = 0

    def refuses(verify, *claim):
        try:
            verify(*claim)
        except InvalidProof:
            return 1
        return 0

    inclusion = 0
    for record in question["records"]:
        ours = [bytes.fromhex(one) for one in record["proof"]]
        leaf = tree.get_leaf(record["index"] + 1)
        proof = tree.prove_inclusion(record["index"] + 1)
        # Its path begins with the leaf; from there on it is that of RFC 6962.
        inclusion += proof.path == [leaf, *ours]
        proof.path = [leaf, *ours]
        verify_inclusion(leaf, new_root, proof)
        refused += refuses(verify_inclusion, flipped(leaf), new_root, proof)
        proof.path = [leaf, *ours[:-1], flipped(ours[-1])]
        refused += refuses(verify_inclusion, leaf, new_root, proof)

    # Its consistency proofs go down to a leaf, other than those of RFC 6962: so it is its own that leads from head to head.
    proof = tree.prove_consistency(old["size"])
    verify_consistency(old_root, new_root, proof, prior_size=old["size"], later_size=new["size"])
    refused += refuses(verify_consistency, flipped(old_root), new_root, proof)
    refused += refuses(verify_consistency, old_root, flipped(new_root), proof)
    proof.path = [*proof.path[:-1], flipped(proof.path[-1])]
    refused += refuses(verify_consistency, old_root, new_root, proof)
    return {"roots": roots, "inclusion": inclusion, "refused": refused}


def dsse(question):
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    def key(public):
        return SSlibKey(question["keyid"], "ed25519", "ed25519", {"public": public})

    def envelope():
        return Envelope.from_dict(copy.deepcopy(question["envelope"]))

    good = envelope()
    verified = good.verify([key(question["public"])], 1)
    refused = []

    def refuses(what, envelope, public):
        try:
            envelope.verify([key(public)], 1)
        except VerificationError:
            refused.append(what)

    refuses("another key", envelope(), question["other"])
    changed = envelope()
    changed.payload = flipped(changed.payload)
    refuses("payload", changed, question["public"])
    changed = envelope()
    changed.payload_type += "x"
    refuses("payload type", changed, question["public"])
    changed = envelope()
    signature = changed.signatures[question["keyid"]]
    signature.signature = flipped(bytes.fromhex(signature.signature)).hex()
    refuses("signature", changed, question["public"])
    return {
        "pae": good.pae().hex(),
        "verified": list(verified) == [question["keyid"]] and len(good.signatures) == 1,
        "refused": refused,
    }


def canonical(question):
    import rfc8785

    records, different = 0, []
    for index, entry in enumerate(entries(question["folder"], question["size"])):
        records += 1
        if rfc8785.dumps(json.loads(entry)) != entry:
            different.append(index)
    return {"records": records, "different": different}


if __name__ == "__main__":
    ask = {"merkle": merkle, "dsse": dsse, "canonical": canonical}[sys.argv[1]]
    json.dump(ask(json.load(sys.stdin)), sys.stdout)
