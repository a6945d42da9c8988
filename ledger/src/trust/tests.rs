//! Tries the trust file: what it may say, and that nothing in it is passed over.

use super::*;
use crate::key::SigningKey;

fn vkey(name: &str, seed: u8) -> Vkey {
    let key = SigningKey::from_seed(name, &[seed; 32]).unwrap();
    key.vkey().clone()
}

#[test]
fn a_trust_file_is_read_with_comments_and_logs() {
    let (alice, second, bob) = (vkey("alice", 1), vkey("alice", 2), vkey("bob", 3));
    let log = vkey("redress.example/log", 4);
    let text = format!(
        "# roots\n\nkey sovereign {alice}\r\n  key reviewer {second}\n\
         key reviewer {bob}\nlog {log} https://log.example/\n"
    );
    let trust = Trust::parse(&text).unwrap();
    assert_eq!(trust.keys().count(), 3);
    let found = trust.lookup(alice.id()).unwrap();
    assert_eq!((found.principal(), found.role), ("alice", Role::Sovereign));
    assert_eq!(trust.logs(), std::slice::from_ref(&log));
    assert!(trust.lookup(log.id()).is_none(), "a log signs no decisions");
    let lines: String = trust.keys().map(|key| key.line() + "\n").collect();
    assert_eq!(Trust::parse(&lines).unwrap().keys().count(), 3);
    assert!(Trust::parse("# nobody\n").unwrap().is_empty());
}

#[test]
fn a_line_that_is_not_understood_refuses_the_file() {
    let (alice, mallory) = (vkey("alice", 1), vkey("mallory", 1));
    let check = |second: String, expected: TrustFault| {
        let text = format!("key sovereign {alice}\n{second}\n");
        let (line, fault) = match Trust::parse(&text) {
            Err(TrustError::Line { line, fault }) => (line, fault),
            other => panic!("{second}: {other:?}"),
        };
        assert_eq!((line, fault), (2, expected), "{second}");
    };
    let id = |vkey: &Vkey| vkey.id().clone();
    check("trust everybody".into(), TrustFault::Keyword);
    check("key sovereign".into(), TrustFault::Words);
    check(format!("key sovereign {alice} x"), TrustFault::Words);
    check(
        format!("key root {mallory}"),
        KeyError::Role("root".into()).into(),
    );
    check("key sovereign nobody".into(), KeyError::Vkey.into());
    check(
        format!("key reviewer {alice}"),
        TrustFault::KeyTwice(id(&alice)),
    );
    check(
        format!("key reviewer {mallory}"),
        TrustFault::KeyTwice(id(&mallory)),
    );
    check(format!("log {mallory}"), TrustFault::KeyTwice(id(&mallory)));
    // The identity point: it verifies what nobody signed.
    let weak = "weak+00000000+AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    check(format!("key sovereign {weak}"), KeyError::Weak.into());
    assert!(Trust::parse(&" ".repeat(TRUST_BYTES_MAX + 1)).is_err());
}

/// A trust file with the people of the other tests and these lines.
fn with(lines: &str) -> Result<Trust, TrustError> {
    let (alice, dave) = (vkey("alice", 1), vkey("dave", 5));
    let bob = vkey("bob", 3);
    Trust::parse(&format!(
        "key sovereign {alice}\nkey sovereign {dave}\nkey reviewer {bob}\n{lines}"
    ))
}

#[test]
fn a_root_line_says_the_threshold_and_whose_keys() {
    let (alice, dave, bob) = (vkey("alice", 1), vkey("dave", 5), vkey("bob", 3));
    assert_eq!(with("").unwrap().root(), None);
    let root = with("root 2\n").unwrap().root().cloned().unwrap();
    assert_eq!((root.threshold, root.keys.len()), (2, 0));
    let both = format!("root 99 {} {} {}\n", alice.id(), dave.id(), alice.id());
    let root = with(&both).unwrap().root().cloned().unwrap();
    assert_eq!((root.threshold, root.keys.len()), (99, 2));
    assert_eq!(with("").unwrap().sovereigns().count(), 2);
    let check = |lines: &str| {
        let error = with(lines).unwrap_err();
        assert_eq!(error.code(), "RD0530", "{lines}: {error}");
    };
    check("root\n");
    for count in ["0", "02", "100", "+1", "1.0", "x", "99999999999999999999"] {
        check(&format!("root {count}\n"));
    }
    check("root 1\nroot 1\n");
    check(&format!("root 1 {}\n", bob.id()));
    check("root 1 nobody+00000000\n");
    check("root 1 nobody\n");
}

/// The witness of a name, and its line under a note.
fn witness(name: &str, seed: u8) -> (String, impl Fn(&str, u64) -> String) {
    let key = SigningKey::from_seed(name, &[seed; 32]).unwrap();
    let public = *key.vkey().key();
    let head = [name.as_bytes(), b"\n\x04", public.as_bytes()].concat();
    let hash = crate::hash::Hash::of(&head).as_bytes()[..4].to_vec();
    let encoded = |bytes: &[u8]| <base64ct::Base64 as base64ct::Encoding>::encode_string(bytes);
    let bytes = [&[4], public.as_bytes().as_slice()].concat();
    let vkey = format!("{name}+{}+{}", hex::encode(&hash), encoded(&bytes));
    let name = name.to_owned();
    let line = move |text: &str, seconds: u64| {
        let message = format!("cosignature/v1\ntime {seconds}\n{text}");
        let signature = key.sign(message.as_bytes());
        let bytes = [&hash, seconds.to_be_bytes().as_slice(), &signature].concat();
        format!("\u{2014} {name} {}\n", encoded(&bytes))
    };
    (vkey, line)
}

#[test]
fn a_quorum_of_witnesses_is_met_by_their_lines_only() {
    let (one, line_one) = witness("w.example/1", 21);
    let (two, line_two) = witness("w.example/2", 22);
    let (three, _) = witness("w.example/3", 23);
    let text = "log\n1\nroot\n";
    let check = |rules: &str, lines: &[String], expected: Result<bool, &str>| {
        let witnesses = format!("witness a {one} https://a\nwitness b {two}\nwitness c {three}\n");
        let trust = with(&(witnesses + rules)).unwrap();
        let other = "\u{2014} other AAAAAAA=\n";
        let note = Note::parse(format!("{text}\n{}{other}", lines.concat()).as_bytes()).unwrap();
        let found = trust.is_witnessed(&note);
        assert_eq!(found.map_err(|error| error.code()), expected, "{rules}");
    };
    let (a, b) = (line_one(text, 7), line_two(text, 8));
    check("", &[], Ok(true));
    check("quorum none\n", &[], Ok(true));
    check("quorum a\n", &[], Ok(false));
    check("quorum a\n", std::slice::from_ref(&a), Ok(true));
    check("quorum a\n", std::slice::from_ref(&b), Ok(false));
    check(
        "group g any a b\nquorum g\n",
        std::slice::from_ref(&b),
        Ok(true),
    );
    check(
        "group g all a b\nquorum g\n",
        std::slice::from_ref(&b),
        Ok(false),
    );
    check(
        "group g 2 a b c\nquorum g\n",
        &[a.clone(), b.clone()],
        Ok(true),
    );
    check(
        "group g 2 a b\ngroup h all g c\nquorum h\n",
        &[a.clone(), b.clone()],
        Ok(false),
    );
    // Over another text, or with a time that no clock has: the line is there and does not hold.
    check("", &[line_one("log\n2\nroot\n", 7)], Err("RD0644"));
    check("", &[line_one(text, 1 << 63)], Err("RD0644"));
}

#[test]
fn a_policy_that_could_mean_two_things_is_refused() {
    let ((one, _), (two, _)) = (witness("w.example/1", 21), witness("w.example/2", 22));
    let both = format!("witness a {one}\nwitness b {two}\n");
    let check = |code: &str, lines: String| {
        let error = with(&lines).unwrap_err();
        assert_eq!(error.code(), code, "{lines}: {error}");
    };
    check("RD0530", format!("witness a {one} url more\n"));
    check("RD0530", format!("{both}witness a {two}\n"));
    check("RD0530", format!("witness none {one}\n"));
    check("RD0531", format!("{both}witness c {one}\n"));
    check("RD0508", format!("witness c {}\n", vkey("c", 9)));
    check("RD0530", format!("{both}group g any\n"));
    check("RD0530", format!("{both}group a any b\n"));
    check("RD0530", format!("{both}group g any a a\n"));
    check("RD0530", format!("{both}group g any a\ngroup h any a\n"));
    check("RD0530", format!("{both}group g any x\n"));
    for needed in ["0", "3", "01", "some"] {
        check("RD0530", format!("{both}group g {needed} a b\n"));
    }
    check("RD0530", format!("{both}quorum g\n"));
    check("RD0530", format!("{both}quorum a\nquorum a\n"));
    // A chain of groups as long as the file allows is decided without a deep stack.
    let mut lines = both.clone() + "group g0 any a\n";
    for n in 1..20_000 {
        lines += &format!("group g{n} any g{}\n", n - 1);
    }
    lines += "quorum g19999\n";
    let note = Note::parse("x\n\n\u{2014} other AAAAAAA=\n".as_bytes()).unwrap();
    assert_eq!(with(&lines).unwrap().is_witnessed(&note), Ok(false));
}
