//! Tries the manifest: what is written is read, and nothing else is.

use super::*;
use crate::testing::{NOW, ORIGIN, run};

fn key() -> SigningKey {
    SigningKey::from_seed(&log_origin(ORIGIN, 1), &[7; 32]).unwrap()
}

fn trust() -> Trust {
    Trust::parse(&format!("log {}\n", key().vkey())).unwrap()
}

fn manifest() -> Manifest {
    Manifest {
        origin: ORIGIN.to_owned(),
        generation: 1,
        kind: BundleKind::Ledger,
        size: 3,
        root: Hash::of(b"root"),
        made_at: NOW.to_owned(),
        files: vec![
            ListedFile::of("checkpoint", b"c"),
            ListedFile::of("FORMAT.md", b"f"),
        ],
    }
}

fn code(stop: Stop) -> &'static str {
    match stop {
        Stop::Fault(fault) => crate::bundle::FirstFailure::from(*fault).code,
        Stop::Folder(error) => error.code(),
    }
}

#[test]
fn what_is_written_is_read_with_its_files_in_order() {
    for kind in [BundleKind::Ledger, BundleKind::Run(run(1))] {
        let manifest = Manifest { kind, ..manifest() };
        let text = manifest.to_text().unwrap();
        let line = text.strip_prefix("redress-bundle-v1\n").unwrap();
        assert!(
            parse_canonical(line.trim_end().as_bytes()).is_ok(),
            "{line}"
        );
        let bytes = manifest.sign(&key()).unwrap().to_bytes();
        let mut head = Head::read(&bytes, &trust()).unwrap();
        let files = head.take_files().unwrap();
        assert_eq!(head.signers, [key().id().clone()]);
        let paths: Vec<&str> = files.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(paths, ["FORMAT.md", "checkpoint"]);
        assert_eq!(
            Manifest {
                files: vec![],
                ..manifest
            },
            head.manifest
        );
        assert!(files[0].is(b"f") && !files[0].is(b"g") && !files[0].is(b"ff"));
    }
}

#[test]
fn what_would_be_refused_is_not_written() {
    let check = |code: &str, edit: fn(&mut Manifest)| {
        let mut manifest = manifest();
        edit(&mut manifest);
        assert_eq!(manifest.sign(&key()).unwrap_err().code(), code);
    };
    check("RD0710", |manifest| manifest.size = u64::MAX);
    check("RD0710", |manifest| manifest.generation = 1 << 53);
    check("RD0710", |manifest| manifest.made_at.push('x'));
    check("RD0711", |manifest| {
        manifest.files[0].path = "../x".to_owned()
    });
    check("RD0711", |manifest| {
        manifest.files[0].path = "manifest".to_owned()
    });
    check("RD0711", |manifest| {
        manifest.files[0].path = "FORMAT.md".to_owned()
    });
    check("RD0646", |manifest| manifest.generation = 2);
}

/// F93, F94. Signed, and still not a manifest.
#[test]
fn a_text_that_is_no_manifest_is_refused_although_it_is_signed() {
    let good = manifest().to_text().unwrap();
    let check = |expected: &str, text: String| {
        let mut note = Note::new(&text).unwrap();
        note.sign(&key()).unwrap();
        let read = Head::read(&note.to_bytes(), &trust());
        let found = read.and_then(|mut head| head.take_files());
        assert_eq!(code(found.unwrap_err()), expected, "{text}");
    };
    let replaced = |from: &str, to: &str| good.replacen(from, to, 1);
    check("RD0710", replaced("-v1", "-v2"));
    check("RD0710", good.clone() + "\n");
    check("RD0710", replaced("\"size\":3", "\"size\": 3"));
    check("RD0710", replaced("\"size\":3", "\"size\":-3"));
    check(
        "RD0710",
        replaced("\"kind\":\"ledger\"", "\"kind\":\"run\""),
    );
    check("RD0710", replaced("\"size\":3", "\"size\":3,\"sizes\":3"));
    let large = "\"generation\":1152921504606846976";
    check("RD0710", replaced("\"generation\":1", large));
    check("RD0643", replaced("\"generation\":1", "\"generation\":2"));
    check("RD0711", replaced("FORMAT.md", "/FORMAT.md"));
    check("RD0714", replaced("\"checkpoint\"", "\"manifest\""));
    check("RD0716", replaced("FORMAT.md", "zzz"));
    check("RD0716", replaced("FORMAT.md", "checkpoint"));
    check("RD0710", replaced("\"path\":\"FORMAT.md\",", ""));
    let other = SigningKey::from_seed(&log_origin(ORIGIN, 1), &[8; 32]).unwrap();
    let mut note = Note::new(&good).unwrap();
    note.sign(&other).unwrap();
    assert_eq!(
        code(Head::read(&note.to_bytes(), &trust()).err().unwrap()),
        "RD0643"
    );
}
