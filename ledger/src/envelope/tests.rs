//! Tries envelopes: forged, countersigned, and signed by OpenSSH.

use super::*;
use crate::decision::Purpose;
use crate::key::Role;
use crate::testing::{decision, key, trust};
use serde_json::json;

fn signed() -> Envelope {
    sign(&decision(), &key("alice")).unwrap()
}

/// Replaces the payload and signs it anew, as somebody with a trusted key could.
fn around(payload: &[u8]) -> Envelope {
    let mut envelope = signed();
    envelope.payload = Base64::encode_string(payload);
    let signature = key("alice").sign(&pae(PAYLOAD_TYPE, payload));
    envelope.signatures[0].sig = Base64::encode_string(&signature);
    envelope
}

#[test]
fn what_was_signed_is_what_is_read() {
    let mut envelope = signed();
    envelope.countersign(&key("bob")).unwrap();
    let verified = envelope.verify(&trust()).unwrap();
    assert_eq!(verified.decision, decision());
    let who: Vec<_> = verified
        .signers
        .iter()
        .map(|signer| (signer.principal.as_str(), signer.role))
        .collect();
    assert_eq!(who, [("alice", Role::Sovereign), ("bob", Role::Reviewer)]);
    assert_eq!(envelope.peek().unwrap(), decision());
    let value = envelope.to_value();
    assert_eq!(Envelope::from_value(&value).unwrap(), envelope);
    assert_eq!(serde_json::to_value(&envelope).unwrap(), value);
    let text = value.to_string();
    assert_eq!(Envelope::from_json(text.as_bytes()).unwrap(), envelope);
}

/// The example of the DSSE specification.
#[test]
fn the_signed_bytes_are_those_of_dsse() {
    assert_eq!(
        pae("http://example.com/HelloWorld", b"hello world"),
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
}

/// F87, F88, F93.
#[test]
fn a_forged_envelope_is_refused_by_its_own_name() {
    let check = |code: &str, edit: fn(&mut Envelope)| {
        let mut envelope = signed();
        edit(&mut envelope);
        let error = envelope.verify(&trust()).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    };
    check("RD0544", |envelope| envelope.payload_type.push('x'));
    check("RD0540", |envelope| envelope.payload.push('='));
    check("RD0545", |envelope| envelope.signatures.clear());
    check("RD0545", |envelope| {
        envelope.signatures = vec![envelope.signatures[0].clone(); SIGNATURES_MAX + 1];
    });
    check("RD0546", |envelope| {
        envelope.signatures.push(envelope.signatures[0].clone());
    });
    check("RD0547", |envelope| {
        envelope.signatures[0].keyid = key("eve").id().clone();
    });
    check("RD0547", |envelope| {
        envelope.countersign(&key("eve")).unwrap()
    });
    check("RD0548", |envelope| {
        envelope.signatures[0].keyid = key("bob").id().clone();
    });
    check("RD0548", |envelope| envelope.signatures[0].sig.clear());
    check("RD0548", |envelope| {
        envelope.signatures[0].sig.insert(0, '*')
    });
    check("RD0548", |envelope| {
        let another = Decision {
            generation: 2,
            ..decision()
        };
        envelope.payload = sign(&another, &key("alice")).unwrap().payload;
    });
    // A key that claims Alice's name but is another one.
    check("RD0547", |envelope| {
        let false_alice = SigningKey::from_seed("alice", &[9; 32]).unwrap();
        *envelope = sign(&decision(), &false_alice).unwrap();
    });
}

#[test]
fn a_log_key_signs_no_decisions() {
    let mut trust = trust();
    let log = key("log.example");
    trust.add_log(log.vkey().clone()).unwrap();
    let envelope = sign(&decision(), &log).unwrap();
    assert!(matches!(
        envelope.verify(&trust),
        Err(DecisionError::UnknownKey(_))
    ));
}

#[test]
fn a_payload_that_is_not_exactly_a_decision_is_refused_although_it_is_signed() {
    let check = |code: &str, payload: Vec<u8>| {
        let error = around(&payload).verify(&trust()).unwrap_err();
        let text = String::from_utf8_lossy(&payload);
        assert_eq!(error.code(), code, "{text}: {error}");
    };
    let value = serde_json::to_value(decision()).unwrap();
    let edited = |edit: fn(&mut Value)| {
        let mut value = value.clone();
        edit(&mut value);
        to_canonical(&value).unwrap()
    };
    check("RD0540", edited(|value| value["more"] = json!(1)));
    check("RD0540", edited(|value| value["purpose"] = json!("erase")));
    check("RD0540", edited(|value| value["plan"] = json!("AB")));
    check(
        "RD0540",
        edited(|value| {
            value.as_object_mut().unwrap().remove("hold");
        }),
    );
    check(
        "RD0541",
        edited(|value| {
            let upper = value["id"].as_str().unwrap().replace('-', "");
            value["id"] = json!(upper);
        }),
    );
    check("RD0542", edited(|value| value["run"] = json!(null)));
    check("RD0541", serde_json::to_vec_pretty(&value).unwrap());
    check("RD0541", b"{\"id\":1,\"id\":1}".to_vec());
    check("RD0541", Vec::new());
    check("RD0543", vec![b'1'; PAYLOAD_BYTES_MAX + 1]);
}

#[test]
fn what_would_be_refused_is_not_signed() {
    let bad = Decision {
        purpose: Purpose::HoldRelease,
        ..decision()
    };
    assert_eq!(sign(&bad, &key("alice")), Err(DecisionError::Field("hold")));
    let long = Decision {
        reason: "x".repeat(PAYLOAD_BYTES_MAX),
        ..decision()
    };
    assert!(matches!(
        sign(&long, &key("alice")),
        Err(DecisionError::TooLong(_))
    ));
    let twice = signed().countersign(&key("alice"));
    assert!(matches!(twice, Err(DecisionError::SignedTwice(_))));
    assert!(Envelope::from_json(&vec![b' '; 1 << 20]).is_err());
    assert!(Envelope::from_json(b"{\"payloadType\":\"x\"}").is_err());
}

/// Alice signs as `ssh-keygen -Y sign` would; `sshsig` is tried against the tool itself.
fn armored(envelope: &Envelope, name: &str) -> String {
    let message = envelope.to_be_signed().unwrap();
    let signature = SshSignature::sign(&message, &key(name)).unwrap();
    signature.to_armored()
}

#[test]
fn a_decision_signed_by_openssh_counts_like_ours() {
    let mut envelope = Envelope::unsigned(&decision()).unwrap();
    let none = envelope.verify(&trust());
    assert_eq!(none, Err(DecisionError::SignatureCount(0)));
    let text = armored(&envelope, "alice");
    envelope.attach_sshsig(key("alice").vkey(), &text).unwrap();
    envelope.countersign(&key("bob")).unwrap();
    let verified = envelope.verify(&trust()).unwrap();
    let plain = {
        let mut envelope = signed();
        envelope.countersign(&key("bob")).unwrap();
        envelope.verify(&trust()).unwrap()
    };
    assert_eq!(verified, plain);
    let value = envelope.to_value();
    assert_eq!(value["signatures"][0]["format"], "sshsig");
    assert!(value["signatures"][1].get("format").is_none());
    assert_eq!(serde_json::to_value(&envelope).unwrap(), value);
    assert_eq!(Envelope::from_value(&value).unwrap(), envelope);
    let bytes = value.to_string().into_bytes();
    assert_eq!(Envelope::from_json(&bytes).unwrap(), envelope);
}

/// F87, F88. One form does not pass for the other, nor a signature for another decision or key.
#[test]
fn an_openssh_signature_that_is_not_this_one_is_refused_by_its_own_name() {
    let check = |code: &str, edit: fn(&mut Envelope)| {
        let mut envelope = Envelope::unsigned(&decision()).unwrap();
        let text = armored(&envelope, "alice");
        envelope.attach_sshsig(key("alice").vkey(), &text).unwrap();
        edit(&mut envelope);
        let error = envelope.verify(&trust()).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    };
    check("RD0548", |envelope| {
        envelope.signatures[0].format = SignatureFormat::Plain;
    });
    check("RD0548", |envelope| envelope.signatures[0].sig.push('*'));
    check("RD0548", |envelope| {
        let another = Decision {
            generation: 2,
            ..decision()
        };
        envelope.payload = Envelope::unsigned(&another).unwrap().payload;
    });
    check("RD0580", |envelope| envelope.signatures[0].sig.clear());
    check("RD0580", |envelope| {
        envelope.signatures = signed().signatures;
        envelope.signatures[0].format = SignatureFormat::Sshsig;
    });
    check("RD0583", |envelope| {
        envelope.signatures[0].keyid = key("bob").id().clone();
    });
    check("RD0547", |envelope| {
        envelope.signatures[0].keyid = key("eve").id().clone();
    });
    check("RD0546", |envelope| {
        envelope.signatures.extend(signed().signatures);
    });
}

#[test]
fn only_a_signature_that_verifies_is_attached() {
    let mut envelope = signed();
    let before = envelope.clone();
    let text = armored(&envelope, "bob");
    let (alice, bob) = (key("alice"), key("bob"));
    let code = |error: DecisionError| error.code();
    let mut attach = |vkey: &Vkey, text: &str| envelope.attach_sshsig(vkey, text).map_err(code);
    assert_eq!(attach(alice.vkey(), &text), Err("RD0583"));
    assert_eq!(attach(bob.vkey(), "no signature"), Err("RD0580"));
    let another = Envelope::unsigned(&Decision {
        generation: 2,
        ..decision()
    });
    let other = armored(&another.unwrap(), "bob");
    assert_eq!(attach(bob.vkey(), &other), Err("RD0548"));
    let twice = armored(&before, "alice");
    assert_eq!(attach(alice.vkey(), &twice), Err("RD0546"));
    assert_eq!(attach(bob.vkey(), &text), Ok(()));
    assert_eq!(
        envelope.signatures.len(),
        2,
        "what was refused left nothing"
    );
}

#[test]
fn the_form_of_a_signature_is_written_in_one_way() {
    let read = |format: Value| {
        let mut value = signed().to_value();
        value["signatures"][0]["format"] = format;
        Envelope::from_value(&value).is_ok()
    };
    assert!(read(json!("sshsig")));
    for format in [
        json!("plain"),
        json!("SSHSIG"),
        json!(""),
        json!(null),
        json!(0),
    ] {
        assert!(!read(format.clone()), "{format}");
    }
}
