//! OpenSSL: verifies a head with the log's key alone, opens our key files, and signs with them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use redress::ledger::key::{PublicKey, Role, SigningKey, Vkey};
use redress::ledger::keyfile::{ITERATIONS_DEFAULT, write_key};
use redress::ledger::note::Note;
use secrecy::SecretString;
use tempfile::TempDir;

use crate::find::skipped;
use crate::ground::ground;

/// What stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410).
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const PASSPHRASE: &str = "correct horse battery staple";

/// Whether there is an OpenSSL that signs raw bytes, as it does from 3.0 on.
fn there() -> bool {
    let help = Command::new("openssl").args(["pkeyutl", "-help"]).output();
    let there = help.is_ok_and(|said| {
        let said = [said.stdout, said.stderr].concat();
        String::from_utf8_lossy(&said).contains("-rawin")
    });
    if !there {
        skipped("OpenSSL", "there is no command of 3.0 or later");
    }
    there
}

fn spki(key: &Vkey) -> Vec<u8> {
    [SPKI.as_slice(), key.key().as_bytes()].concat()
}

fn openssl(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("openssl");
    let command = command.current_dir(folder).args(args);
    command
        .env("PASSPHRASE", PASSPHRASE)
        .output()
        .expect("it runs")
}

/// Whether OpenSSL says that the key signed the text.
fn verifies(key: &Vkey, text: &[u8], signature: &[u8]) -> bool {
    let folder = TempDir::new().expect("a temporary folder");
    for (name, bytes) in [("key", &spki(key)[..]), ("text", text), ("sig", signature)] {
        fs::write(folder.path().join(name), bytes).expect("written");
    }
    let args = "pkeyutl -verify -pubin -keyform DER -inkey key -rawin -in text -sigfile sig";
    let args: Vec<&str> = args.split(' ').collect();
    let done = openssl(folder.path(), &args);
    let said = String::from_utf8_lossy(&done.stdout);
    assert_eq!(
        done.status.success(),
        said.contains("Verified Successfully"),
        "{said}"
    );
    done.status.success()
}

#[test]
fn openssl_verifies_the_signature_of_a_head() {
    if !there() {
        return;
    }
    let ground = ground();
    for head in [&ground.old, &ground.new] {
        let note = Note::parse(head).expect("a note");
        let [signature] = note.signatures() else {
            panic!("the log's own signature and no other: {note}");
        };
        let (text, signature) = (note.text().as_bytes(), signature.bytes());
        assert!(verifies(&ground.log, text, signature));
        assert!(!verifies(&ground.signer, text, signature), "another key");
        for at in [0, text.len() / 2, text.len() - 2] {
            let mut changed = text.to_vec();
            changed[at] ^= 1;
            assert!(!verifies(&ground.log, &changed, signature), "byte {at}");
        }
    }
}

#[test]
fn openssl_opens_a_key_file_and_its_signature_is_ours() {
    if !there() {
        return;
    }
    let folder = TempDir::new().expect("a temporary folder");
    let key = SigningKey::generate("sofia").expect("randomness");
    let passphrase = SecretString::from(PASSPHRASE);
    let file = write_key(
        folder.path(),
        &key,
        Role::Sovereign,
        &passphrase,
        ITERATIONS_DEFAULT,
    );
    let file = file.expect("written");
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    let public = "-passin env:PASSPHRASE -pubout -outform DER";
    let args: Vec<&str> = ["pkey", "-in", name]
        .into_iter()
        .chain(public.split(' '))
        .collect();
    let opened = openssl(folder.path(), &args);
    let said = String::from_utf8_lossy(&opened.stderr);
    assert!(opened.status.success(), "{said}");
    assert_eq!(opened.stdout, spki(key.vkey()));
    let refused = openssl(
        folder.path(),
        &["pkey", "-in", name, "-passin", "pass:wrong"],
    );
    assert!(!refused.status.success(), "any passphrase opens it");

    let message = b"a message of any kind";
    fs::write(folder.path().join("message"), message).expect("written");
    let sign = "-passin env:PASSPHRASE -rawin -in message -out sig";
    let args: Vec<&str> = ["pkeyutl", "-sign", "-inkey", name]
        .into_iter()
        .chain(sign.split(' '))
        .collect();
    let signed = openssl(folder.path(), &args);
    let said = String::from_utf8_lossy(&signed.stderr);
    assert!(signed.status.success(), "{said}");
    let signature = fs::read(folder.path().join("sig")).expect("a signature");
    let public: &PublicKey = key.vkey().key();
    public
        .verify(message, &signature)
        .expect("it is this key's");
    assert_eq!(signature, key.sign(message), "Ed25519 has one signature");
}
