//! OpenSSH: what `ssh-keygen -Y sign` makes counts as a decision, and what we make it verifies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64ct::{Base64, Encoding};
use redress::Outcome;
use redress::ledger::Envelope;
use redress::ledger::bundle::Verdict;
use redress::ledger::key::SigningKey;
use redress::ledger::sshsig::{NAMESPACE, SshSignature, read_public_key, write_public_key};
use redress_tests::{Lab, Vault};
use serde_json::Value;
use tempfile::TempDir;

use crate::find::{run, run_with, skipped};
use crate::ground::{asking, held};

/// A key that `ssh-keygen` made, as it lies in a person's folder.
struct Person {
    folder: TempDir,
    /// The same key, so that it can be registered and can sign here.
    key: SigningKey,
}

impl Person {
    /// Nobody where there is no OpenSSH.
    fn new() -> Option<Person> {
        // It has no option that does nothing; without arguments it would ask for a file.
        let there = Command::new("ssh-keygen").arg("-?").output();
        if there.is_err() {
            skipped("OpenSSH", "ssh-keygen is not there");
            return None;
        }
        let folder = TempDir::new().expect("a temporary folder");
        let path = folder.path().join("id_ed25519");
        let path = path.to_str().expect("UTF-8");
        run(
            "ssh-keygen",
            &["-q", "-t", "ed25519", "-N", "", "-C", "sofia", "-f", path],
        );
        let seed = seed_of(&fs::read_to_string(path).expect("a key file"));
        let key = SigningKey::from_seed("sofia", &seed).expect("a key");
        Some(Person { folder, key })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `ssh-keygen -Y sign`: what it writes beside the file.
    fn signs(&self, message: &[u8], namespace: &str) -> String {
        let file = self.path("message");
        fs::write(&file, message).expect("written");
        let signature = self.path("message.sig");
        let _ = fs::remove_file(&signature);
        let (key, file) = (self.path("id_ed25519"), file);
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let (key, file) = (text(&key), text(&file));
        run(
            "ssh-keygen",
            &["-q", "-Y", "sign", "-f", &key, "-n", namespace, &file],
        );
        fs::read_to_string(signature).expect("a signature")
    }

    /// `ssh-keygen -Y verify` against a file of allowed signers that names this key.
    fn verifies(&self, message: &[u8], armored: &str, namespace: &str) -> Output {
        let line = write_public_key(self.key.vkey().key(), "").expect("a line");
        let allowed = format!("sofia namespaces=\"{NAMESPACE}\" {}\n", line.trim());
        fs::write(self.path("allowed"), allowed).expect("written");
        fs::write(self.path("ours.sig"), armored).expect("written");
        let mut command = Command::new("ssh-keygen");
        command
            .current_dir(self.folder.path())
            .args(["-Y", "verify", "-f", "allowed", "-I", "sofia"])
            .args(["-n", namespace, "-s", "ours.sig"]);
        run_with(&mut command, message)
    }
}

/// The seed in a file of OpenSSH that has no passphrase: the last 64 bytes that end in the public key.
fn seed_of(text: &str) -> [u8; 32] {
    let base64: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let bytes = Base64::decode_vec(&base64).expect("base64");
    let name = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20";
    let mut found = bytes
        .windows(name.len())
        .enumerate()
        .filter(|(_, at)| at == name);
    let (at, _) = found.nth(1).expect("once outside, once inside");
    // Public key, then a string of seed and public key.
    let public = at + name.len();
    let secret = public + 32 + 4;
    assert_eq!(bytes[public..public + 32], bytes[secret + 32..secret + 64]);
    bytes[secret..secret + 32].try_into().expect("32 bytes")
}

#[test]
fn a_public_key_of_openssh_is_read_and_written_as_it_is() {
    let Some(person) = Person::new() else { return };
    let line = fs::read_to_string(person.path("id_ed25519.pub")).expect("a line");
    let (key, comment) = read_public_key(&line).expect("a key");
    assert_eq!((&key, comment.as_str()), (person.key.vkey().key(), "sofia"));
    assert_eq!(
        write_public_key(&key, &comment).expect("a line"),
        line.trim_end()
    );
}

#[test]
fn ssh_keygen_verifies_our_signature_and_refuses_another() {
    let Some(person) = Person::new() else { return };
    let message = b"DSSEv1 2 aa 2 {}";
    let ours = SshSignature::sign(message, &person.key).expect("signed");
    let armored = ours.to_armored();
    // Ed25519 and the format leave nothing to chance: OpenSSH writes the same.
    assert_eq!(armored, person.signs(message, NAMESPACE));
    let good = person.verifies(message, &armored, NAMESPACE);
    let said = String::from_utf8_lossy(&good.stdout);
    assert!(good.status.success() && said.contains("Good"), "{good:?}");
    for (changed, namespace) in [
        (&b"DSSEv1 2 aa 2 {]"[..], NAMESPACE),
        (&message[..], "file"),
        (b"", NAMESPACE),
    ] {
        let refused = person.verifies(changed, &armored, namespace);
        assert!(!refused.status.success(), "{refused:?}");
    }
    let stranger = SigningKey::generate("sofia").expect("randomness");
    let other = SshSignature::sign(message, &stranger).expect("signed");
    let refused = person.verifies(message, &other.to_armored(), NAMESPACE);
    assert!(!refused.status.success(), "{refused:?}");
}

/// The whole way: planned, signed by `ssh-keygen`, approved, applied, sealed, exported, verified.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_signed_by_ssh_keygen_counts_from_the_engine_to_the_export() {
    let Some(person) = Person::new() else { return };
    let mut lab = Lab::new().await;
    lab.sovereign = SigningKey::from_seed("sofia", &seed_of(&private(&person))).expect("a key");
    lab.sql("create table shop.audit (note text not null)");
    let engine = lab.engine().await;
    let saga = Lab::read(&asking("soft_revert: {sovereign: 1}"));
    engine.register(&saga).await.expect("registered");
    let vault = Vault::open(&lab, &engine).await;
    let run = held(&engine).await;
    let stored = engine.plan(run, Default::default(), "a test").await;
    let stored = stored.expect("planned");
    let decision = engine.decision_on(&stored, "so be it").await.expect("made");
    let mut envelope = Envelope::unsigned(&decision).expect("an envelope");
    let message = envelope.to_be_signed().expect("bytes");
    let vkey = lab.sovereign.vkey();

    // Made for another purpose, or over other bytes, it is not taken.
    let refused = envelope.attach_sshsig(vkey, &person.signs(&message, "file"));
    assert_eq!(refused.expect_err("another namespace").code(), "RD0581");
    let other = person.signs(&message[1..], NAMESPACE);
    let refused = envelope.attach_sshsig(vkey, &other);
    assert_eq!(refused.expect_err("other bytes").code(), "RD0548");
    assert!(envelope.signatures.is_empty());

    let armored = person.signs(&message, NAMESPACE);
    envelope.attach_sshsig(vkey, &armored).expect("it counts");
    let approved = engine.approve_envelope(&stored, envelope).await;
    assert_eq!(approved.expect("approved").signer.principal, "sofia");
    let outcome = engine.apply(&stored).await.expect("applied");
    assert!(matches!(outcome, Outcome::Compensated(_)), "{outcome:?}");
    vault.sealer(&engine).seal().await.expect("sealed");
    let report = vault.export(&engine, "all", None).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");

    // And what stands in the record, OpenSSH verifies too.
    let record = lab.sql(&format!(
        "select convert_from(bytes, 'UTF8') from redress.record where run = '{run}' and kind = 'plan.approved'"
    ));
    let record: Value = serde_json::from_str(&record).expect("a record");
    let signature = &record["body"]["envelope"]["signatures"][0];
    assert_eq!(signature["format"], "sshsig");
    let bytes = Base64::decode_vec(signature["sig"].as_str().expect("text")).expect("base64");
    let kept = SshSignature::from_bytes(&bytes).expect("a signature");
    let good = person.verifies(&message, &kept.to_armored(), NAMESPACE);
    assert!(good.status.success(), "{good:?}");
}

fn private(person: &Person) -> String {
    fs::read_to_string(person.path("id_ed25519")).expect("a key file")
}
