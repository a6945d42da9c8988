//! Tries key files: modes, links, owners, damage, and the `openssl` command.

use super::*;
use crate::key::Role;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

fn passphrase() -> SecretString {
    "correct horse".into()
}

fn key() -> SigningKey {
    SigningKey::from_seed("alice", &[1; 32]).unwrap()
}

fn written() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = write_key(dir.path(), &key(), Role::Sovereign, &passphrase(), 1000).unwrap();
    (dir, path)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_key_is_read_back_with_its_name_and_role() {
    let (dir, path) = written();
    assert_eq!(
        (mode(&path), path.file_name()),
        (0o600, Some("alice.key".as_ref()))
    );
    let read = read_key(&path, &passphrase()).unwrap();
    assert_eq!(
        (read.role, read.key.vkey()),
        (KeyRole::SOVEREIGN, key().vkey())
    );
    let listed = list_public(dir.path()).unwrap();
    assert_eq!(listed, [(KeyRole::SOVEREIGN, key().vkey().clone())]);
    let text = fs::read_to_string(path).unwrap();
    assert!(
        text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
        "{text}"
    );
}

/// F99.
#[test]
fn a_key_file_that_others_could_use_is_refused() {
    let check = |code: &str, edit: fn(&Path, &Path)| {
        let (dir, path) = written();
        edit(dir.path(), &path);
        let error = read_key(&path, &passphrase()).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    };
    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    check("RD0513", |_, path| chmod(path, 0o640));
    check("RD0513", |_, path| chmod(path, 0o604));
    check("RD0513", |_, path| chmod(path, 0o620));
    check("RD0513", |_, path| chmod(path, 0o601));
    check("RD0512", |dir, path| {
        let moved = dir.join("moved.key");
        fs::rename(path, &moved).unwrap();
        symlink(&moved, path).unwrap();
    });
    check("RD0512", |_, path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    });
    check("RD0512", |_, path| {
        fs::remove_file(path).unwrap();
        let made = Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    });
    check("RD0511", |_, path| fs::remove_file(path).unwrap());
}

#[test]
fn a_key_file_of_another_user_is_refused() {
    let (_dir, path) = written();
    if std::os::unix::fs::chown(&path, Some(12345), None).is_err() {
        eprintln!("SKIPPED: giving a file away needs root");
        return;
    }
    let error = read_key(&path, &passphrase()).unwrap_err();
    assert_eq!(error.code(), "RD0514", "{error}");
}

#[test]
fn a_damaged_key_file_is_refused_by_its_own_name() {
    let check = |code: &str, edit: fn(&Path)| {
        let (_dir, path) = written();
        edit(&path);
        let error = read_key(&path, &passphrase()).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    };
    fn public(path: &Path) -> PathBuf {
        path.with_extension("pub")
    }
    check("RD0516", |path| fs::write(path, "").unwrap());
    check("RD0516", |path| {
        fs::write(path, "x".repeat(20_000)).unwrap()
    });
    check("RD0516", |path| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, &text[..text.len() / 2]).unwrap();
    });
    check("RD0516", |path| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replace("ENCRYPTED ", "")).unwrap();
    });
    check("RD0511", |path| fs::remove_file(public(path)).unwrap());
    check("RD0518", |path| {
        fs::write(public(path), "sovereign\n").unwrap()
    });
    check("RD0509", |path| {
        let line = format!("root {}\n", key().vkey());
        fs::write(public(path), line).unwrap();
    });
    check("RD0519", |path| {
        let other = SigningKey::from_seed("alice", &[2; 32]).unwrap();
        fs::write(public(path), format!("sovereign {}\n", other.vkey())).unwrap();
    });
}

#[test]
fn a_wrong_passphrase_is_refused_and_an_empty_one_not_written() {
    let (dir, path) = written();
    let error = read_key(&path, &"wrong".into()).unwrap_err();
    assert_eq!(error.code(), "RD0517");
    let bob = SigningKey::from_seed("bob", &[2; 32]).unwrap();
    let check = |code: &str, key: &SigningKey, passphrase: &SecretString, iterations| {
        let got = write_key(dir.path(), key, Role::Reviewer, passphrase, iterations);
        assert_eq!(got.unwrap_err().code(), code);
    };
    check("RD0521", &bob, &"".into(), 1000);
    check("RD0522", &bob, &passphrase(), 0);
    check("RD0522", &bob, &passphrase(), ITERATIONS_MAX + 1);
    check("RD0515", &key(), &passphrase(), 1000);
    fs::remove_file(&path).unwrap();
    check("RD0515", &key(), &passphrase(), 1000);
    assert!(!dir.path().join("bob.key").exists());
}

/// F97.
#[test]
fn a_name_never_leaves_the_directory() {
    let dir = Path::new("keys");
    for good in ["alice", "a.b-c_d@example.org", "7"] {
        assert!(key_path(dir, good).is_ok(), "{good}");
    }
    for bad in [
        "",
        ".",
        "..",
        "../a",
        "a/b",
        "-rf",
        ".hidden",
        "é",
        &"x".repeat(65),
    ] {
        assert!(key_path(dir, bad).is_err(), "{bad}");
    }
}

#[test]
fn a_file_that_asks_for_endless_work_is_refused() {
    let check = |iterations: u32, code: &str| {
        let (salt, iv) = ([0; 16], [0; 16]);
        let scheme = pbes2::Parameters::pbkdf2_sha256_aes256cbc(iterations, &salt, &iv);
        let info = EncryptedPrivateKeyInfo {
            encryption_algorithm: scheme.unwrap().into(),
            encrypted_data: &[0; 48],
        };
        let document = SecretDocument::try_from(info).unwrap();
        let pem = document.to_pem(PEM_LABEL, LineEnding::LF).unwrap();
        let got = decrypt(Path::new("x.key"), &pem, &"p".into());
        assert_eq!(got.unwrap_err().code(), code);
    };
    check(1000, "RD0517");
    check(ITERATIONS_MAX + 1, "RD0516");
    check(10 * ITERATIONS_MAX, "RD0516");
}

#[test]
fn openssl_reads_our_key_file_and_we_read_its() {
    let (dir, path) = written();
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl")
            .args(args)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .output();
        output
            .ok()
            .filter(|output| output.status.code() != Some(127))
    };
    let read = openssl(&[
        "pkey",
        "-in",
        "alice.key",
        "-passin",
        "pass:correct horse",
        "-text",
    ]);
    let Some(read) = read else {
        eprintln!("SKIPPED: openssl is not installed, our key files were not tried with it");
        return;
    };
    let said = String::from_utf8_lossy(&read.stdout).replace([' ', '\n', ':'], "");
    let problem = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{problem}");
    assert!(said.contains(&"01".repeat(32)), "the seed: {said}");
    assert!(
        said.contains(&hex::encode(key().vkey().key().as_bytes())),
        "{said}"
    );

    // And the other way: the same key, encrypted by openssl.
    let written = openssl(&[
        "pkcs8",
        "-topk8",
        "-in",
        "alice.key",
        "-passin",
        "pass:correct horse",
        "-v2",
        "aes-256-cbc",
        "-v2prf",
        "hmacWithSHA256",
        "-passout",
        "pass:battery",
        "-out",
        "o.pem",
    ]);
    assert!(written.unwrap().status.success());
    fs::rename(dir.path().join("o.pem"), &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let read = read_key(&path, &"battery".into()).unwrap();
    assert_eq!(read.key.vkey(), key().vkey());
}

/// The name of a log is no file name, and a person may have two keys.
#[test]
fn a_key_may_stand_in_files_of_another_name() {
    let dir = tempfile::tempdir().unwrap();
    let log = SigningKey::from_seed("example.org/ledger/gen/1", &[3; 32]).unwrap();
    let write = |stem: &str, key: &SigningKey, role: KeyRole| {
        write_key_as(dir.path(), stem, key, role, &passphrase(), 1000)
    };
    let path = write("log-gen-1", &log, KeyRole::Log).unwrap();
    assert_eq!(path, dir.path().join("log-gen-1.key"));
    let read = read_key(&path, &passphrase()).unwrap();
    assert_eq!((read.role, read.key.vkey()), (KeyRole::Log, log.vkey()));
    let other = SigningKey::from_seed("alice", &[4; 32]).unwrap();
    write("alice", &key(), KeyRole::SOVEREIGN).unwrap();
    write("alice-2", &other, KeyRole::SOVEREIGN).unwrap();
    let listed = list_public(dir.path()).unwrap();
    let listed: Vec<&Vkey> = listed.iter().map(|(_, vkey)| vkey).collect();
    assert_eq!(listed, [other.vkey(), key().vkey(), log.vkey()]);
    let refused = |stem: &str, key: &SigningKey| write(stem, key, KeyRole::Log).unwrap_err().code();
    assert_eq!(refused("log-gen-1", &log), "RD0515");
    assert_eq!(refused("../log", &log), "RD0520");
    assert_eq!(
        write_key(dir.path(), &log, KeyRole::Log, &passphrase(), 1000)
            .unwrap_err()
            .code(),
        "RD0520"
    );
}
