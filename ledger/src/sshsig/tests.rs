//! Tries OpenSSH signatures: known ones, the real `ssh-keygen` both ways, and each way to forge.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64ct::{Base64, Encoding};
use proptest::prelude::*;

use super::*;
use crate::testing::key;

/// Made by OpenSSH 9.2 with one key over one message.
const MESSAGE: &[u8] = b"DSSEv1 4 type 4 body";
const LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEXsTlmIDHXQxU2GnC1aAAh01bwdPpbsjdataMzZqbme \
                    alice@example\n";
const SHA512: &str = "-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgRexOWYgMddDFTYacLVoACHTVvB
0+luyN1q1ozNmpuZ4AAAAQcmVkcmVzcy1kZWNpc2lvbgAAAAAAAAAGc2hhNTEyAAAAUwAA
AAtzc2gtZWQyNTUxOQAAAEC+Iis9i4UbWLZIxvJ+/JjK4qPExHWZAibPPK44X0IIesz6dY
5g9FN+FZZz0sh4OBY1vJlfnCPlLNmCOGLq2xYD
-----END SSH SIGNATURE-----
";
const SHA256: &str = "-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgRexOWYgMddDFTYacLVoACHTVvB
0+luyN1q1ozNmpuZ4AAAAQcmVkcmVzcy1kZWNpc2lvbgAAAAAAAAAGc2hhMjU2AAAAUwAA
AAtzc2gtZWQyNTUxOQAAAEAxvmsJ7Kbfl6EEuF7yZ/c5DS/4heKtiT/CKycj3YEiKnLPGn
ZdvlyTUsSaFZTsOiYTscIocNygm88FTsfexx0B
-----END SSH SIGNATURE-----
";
/// The same key over the same message, for the namespace `file`.
const FILE: &str = "-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgRexOWYgMddDFTYacLVoACHTVvB
0+luyN1q1ozNmpuZ4AAAAEZmlsZQAAAAAAAAAGc2hhNTEyAAAAUwAAAAtzc2gtZWQyNTUx
OQAAAEAdQ2OrzriDlhnnJUjYfx9mqxH8S7a8tLaBuhjLuJvhQJVoC0vcfqzOZ+kDe04aOB
oKZvW0tlFISD09Fuiyd8oA
-----END SSH SIGNATURE-----
";

fn known_key() -> PublicKey {
    read_public_key(LINE).unwrap().0
}

/// Known answers, so that this holds where there is no `ssh-keygen`.
#[test]
fn a_signature_of_openssh_verifies_for_its_key_and_message_only() {
    for text in [SHA512, SHA256] {
        let signature = SshSignature::from_armored(text).unwrap();
        let key = known_key();
        assert_eq!(signature.key(), &key);
        assert_eq!(signature.verify(MESSAGE, &key), Ok(()));
        assert_eq!(signature.to_armored(), text);
        let bytes = signature.to_bytes();
        assert_eq!(SshSignature::from_bytes(&bytes).unwrap(), signature);
        let other = signature.verify(b"another", &key);
        assert_eq!(other, Err(KeyError::Signature.into()));
        let bob = *crate::testing::key("bob").vkey().key();
        let other = signature.verify(MESSAGE, &bob);
        assert_eq!(other, Err(SshSigError::OtherKey));
    }
    let trimmed = SHA512.trim_end();
    assert!(SshSignature::from_armored(trimmed).is_ok());
}

/// F87, F88. Each kind of signature that must not count, by its own refusal.
#[test]
fn a_signature_for_something_else_is_refused_by_name() {
    let check = |expected: SshSigError, text: &str| {
        assert_eq!(SshSignature::from_armored(text).unwrap_err(), expected);
    };
    check(SshSigError::Namespace("file".to_owned()), FILE);
    check(SshSigError::Armor, "");
    check(SshSigError::Armor, &format!("see below\n{SHA512}"));
    check(SshSigError::Armor, &format!("{SHA512}\n"));
    check(SshSigError::Armor, &format!("{SHA512}more\n"));
    check(SshSigError::Armor, &SHA512.replace('\n', "\r\n"));
    check(SshSigError::Armor, &SHA512.replace("SIGNATURE", "SIGNED"));
    check(SshSigError::Armor, &SHA512.replacen("U1NI", "U1 I", 1));
    check(SshSigError::Armor, &SHA512.replacen("YD\n", "\n", 1));
    let long = "x".repeat(SSH_BYTES_MAX + 1);
    check(SshSigError::TooLong(long.len()), &long);
}

/// The fields of PROTOCOL.sshsig, to be written wrongly.
struct Fields {
    magic: &'static [u8],
    version: u32,
    algorithm: &'static str,
    key: Vec<u8>,
    /// What a key on a token has behind its 32 bytes.
    application: &'static [u8],
    namespace: &'static str,
    reserved: &'static str,
    hash: &'static str,
    signed_with: &'static str,
    signature: Vec<u8>,
    behind: &'static [u8],
}

impl Fields {
    fn good() -> Fields {
        let signature = SshSignature::sign(MESSAGE, &key("alice")).unwrap();
        Fields {
            magic: b"SSHSIG",
            version: 1,
            algorithm: "ssh-ed25519",
            key: key("alice").vkey().key().as_bytes().to_vec(),
            application: b"",
            namespace: NAMESPACE,
            reserved: "",
            hash: "sha512",
            signed_with: "ssh-ed25519",
            signature: signature.format.signature_bytes().to_vec(),
            behind: b"",
        }
    }

    fn write(&self) -> Vec<u8> {
        let text = |bytes: &[u8]| {
            let length = u32::try_from(bytes.len()).unwrap();
            [&length.to_be_bytes(), bytes].concat()
        };
        let mut key = [text(self.algorithm.as_bytes()), text(&self.key)].concat();
        key.extend_from_slice(self.application);
        let signature = [text(self.signed_with.as_bytes()), text(&self.signature)].concat();
        [
            self.magic,
            &self.version.to_be_bytes(),
            &text(&key),
            &text(self.namespace.as_bytes()),
            &text(self.reserved.as_bytes()),
            &text(self.hash.as_bytes()),
            &text(&signature),
            self.behind,
        ]
        .concat()
    }
}

/// F89, F93. Downgrades, weak keys and fields that nobody expects.
#[test]
fn each_field_of_a_signature_must_be_as_it_is_written_here() {
    let read = |edit: fn(&mut Fields)| {
        let mut fields = Fields::good();
        edit(&mut fields);
        let signature = SshSignature::from_bytes(&fields.write())?;
        signature.verify(MESSAGE, key("alice").vkey().key())
    };
    let check = |code: &str, edit: fn(&mut Fields)| {
        let error = read(edit).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    };
    assert_eq!(read(|_| ()), Ok(()));
    check("RD0580", |fields| fields.magic = b"SSHSIK");
    check("RD0580", |fields| fields.version = 0);
    check("RD0580", |fields| fields.version = 2);
    check("RD0580", |fields| fields.reserved = "x");
    check("RD0580", |fields| fields.hash = "sha1");
    check("RD0580", |fields| fields.hash = "");
    check("RD0580", |fields| fields.behind = b"x");
    check("RD0580", |fields| fields.namespace = "");
    check("RD0580", |fields| fields.signature.truncate(63));
    check("RD0580", |fields| fields.key.truncate(31));
    check("RD0581", |fields| fields.namespace = "redress-decisions");
    check("RD0582", |fields| {
        fields.algorithm = "rsa@example.com";
    });
    check("RD0582", |fields| fields.signed_with = "x@example.com");
    check("RD0582", |fields| {
        fields.algorithm = "sk-ssh-ed25519@openssh.com";
        fields.application = b"\0\0\0\x04ssh:";
    });
    // The digest's name is signed, so it cannot be exchanged.
    check("RD0504", |fields| fields.hash = "sha256");
    check("RD0504", |fields| fields.signature[0] ^= 1);
    // S + L: verifies under a lax rule.
    check("RD0504", |fields| {
        let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let mut carry = 0;
        for (byte, add) in fields.signature[32..].iter_mut().zip(order.unwrap()) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            *byte = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
    });
    check("RD0583", |fields| {
        fields.key = key("bob").vkey().key().as_bytes().to_vec();
    });
    check("RD0502", |fields| {
        fields.key = vec![0; 32];
        fields.key[0] = 1;
    });
    check("RD0503", |fields| fields.key = vec![0xff; 32]);
    for end in 0..Fields::good().write().len() {
        assert!(SshSignature::from_bytes(&Fields::good().write()[..end]).is_err());
    }
}

#[test]
fn a_public_key_line_is_read_and_written() {
    let (key, comment) = read_public_key(LINE).unwrap();
    assert_eq!(comment, "alice@example");
    assert_eq!(write_public_key(&key, &comment).unwrap() + "\n", LINE);
    let line = LINE.trim_end();
    assert_eq!(read_public_key(line).unwrap().0, key);
    let check = |code: &str, line: &str| {
        assert_eq!(read_public_key(line).unwrap_err().code(), code, "{line}");
    };
    check("RD0584", "");
    check("RD0584", "ssh-ed25519");
    check("RD0582", &line.replace("ssh-ed25519 ", "ssh-rsa "));
    check("RD0584", &line.replace("AAAAC3", "AAAAC4"));
    check("RD0584", &format!("no-pty {line}"));
    check("RD0584", &format!("{line}\n{line}\n"));
    check("RD0580", &"x".repeat(SSH_BYTES_MAX + 1));
    let of_bytes = |bytes: &[u8; 32]| {
        let head = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".as_slice();
        let base64 = Base64::encode_string(&[head, bytes].concat());
        format!("ssh-ed25519 {base64} eve")
    };
    let mut identity = [0; 32];
    identity[0] = 1;
    check("RD0502", &of_bytes(&identity));
    check("RD0503", &of_bytes(&[0xff; 32]));
    assert!(write_public_key(&key, "two\nlines").is_err());
}

/// Runs the real tool; `None`, loudly, where it is not installed.
fn ssh_keygen(dir: &Path, arguments: &[&str], input: &[u8]) -> Option<Output> {
    let started = Command::new("ssh-keygen")
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        eprintln!("SKIPPED: there is no ssh-keygen here, so nothing was tried against OpenSSH");
        return None;
    };
    // A tool that reads no input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input);
    Some(child.wait_with_output().unwrap())
}

fn make_key(dir: &Path, kind: &str) -> Option<()> {
    let arguments = ["-q", "-t", kind, "-N", "", "-C", "alice", "-f", kind];
    let made = ssh_keygen(dir, &arguments, b"")?;
    assert!(made.status.success(), "{made:?}");
    Some(())
}

fn sign_with(dir: &Path, kind: &str, namespace: &str, hash: &str) -> Option<String> {
    let hash = format!("hashalg={hash}");
    let arguments = ["-Y", "sign", "-f", kind, "-n", namespace, "-O", &hash];
    let signed = ssh_keygen(dir, &arguments, MESSAGE)?;
    assert!(signed.status.success(), "{signed:?}");
    Some(String::from_utf8(signed.stdout).unwrap())
}

#[test]
fn what_ssh_keygen_signs_counts_here() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let Some(()) = make_key(dir, "ed25519") else {
        return;
    };
    let line = fs::read_to_string(dir.join("ed25519.pub")).unwrap();
    let (key, comment) = read_public_key(&line).unwrap();
    assert_eq!(comment, "alice");
    for hash in ["sha512", "sha256"] {
        let text = sign_with(dir, "ed25519", NAMESPACE, hash).unwrap();
        let signature = SshSignature::from_armored(&text).unwrap();
        assert_eq!(signature.verify(MESSAGE, &key), Ok(()));
        let other = sign_with(dir, "ed25519", "git", hash).unwrap();
        let error = SshSignature::from_armored(&other).unwrap_err();
        assert_eq!(error, SshSigError::Namespace("git".to_owned()));
    }
    for kind in ["ecdsa", "rsa"] {
        make_key(dir, kind).unwrap();
        let text = sign_with(dir, kind, NAMESPACE, "sha512").unwrap();
        let error = SshSignature::from_armored(&text).unwrap_err();
        assert_eq!(error.code(), "RD0582", "{kind}: {error}");
        let line = fs::read_to_string(dir.join(format!("{kind}.pub"))).unwrap();
        let error = read_public_key(&line).unwrap_err();
        assert_eq!(error.code(), "RD0582", "{kind}: {error}");
    }
}

#[test]
fn what_is_signed_here_counts_for_ssh_keygen() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let signature = SshSignature::sign(MESSAGE, &key("alice")).unwrap();
    assert_eq!(signature.verify(MESSAGE, key("alice").vkey().key()), Ok(()));
    let line = write_public_key(key("alice").vkey().key(), "").unwrap();
    fs::write(dir.join("signers"), format!("alice {line}\n")).unwrap();
    fs::write(dir.join("sig"), signature.to_armored()).unwrap();
    let verify = |namespace: &str, message: &[u8]| {
        let arguments = [
            "-Y", "verify", "-f", "signers", "-I", "alice", "-n", namespace, "-s", "sig",
        ];
        ssh_keygen(dir, &arguments, message).map(|output| output.status.success())
    };
    let Some(good) = verify(NAMESPACE, MESSAGE) else {
        return;
    };
    assert!(good, "OpenSSH refuses our signature");
    assert_eq!(verify(NAMESPACE, b"another"), Some(false));
    assert_eq!(verify("file", MESSAGE), Some(false));
}

proptest! {
    #[test]
    fn any_changed_byte_of_a_signature_is_refused(at in any::<usize>(), bit in 0..8_u32) {
        let mut bytes = SshSignature::from_armored(SHA512).unwrap().to_bytes();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let holds = SshSignature::from_bytes(&bytes)
            .is_ok_and(|signature| signature.verify(MESSAGE, &known_key()).is_ok());
        prop_assert!(!holds);
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [b"SSHSIG\0\0\0\x01".as_slice(), &bytes].concat();
        prop_assert!(SshSignature::from_bytes(&bytes).is_err());
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(SshSignature::from_armored(&text).is_err());
        prop_assert!(read_public_key(&text).is_err());
    }
}
