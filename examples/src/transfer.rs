//! Double-entry postings with revert: a payment with a fee, settled or reversed.
//!
//! [`saga`] is built with the typed builder and has the same digest as [`SAGA_YAML`]; a test holds this. The tables of
//! postings come with the adapter (`redress postings up`); the example's own table stands in [`UP`].
//!
//! ```
//! let saga = redress_examples::transfer::saga();
//! assert_eq!(saga.phases.len(), 2);
//! ```

use std::time::Duration;

use redress::definition::builder::{Phase, Query, Saga};
use redress::definition::{Authority, Compensation, Definition, HoldScope, Retry};
use serde_json::{Value, json};

/// The saga file, as in `examples/transfer/saga.yaml`.
pub const SAGA_YAML: &str = include_str!("../transfer/saga.yaml");
/// What books money that comes in.
pub const DEPOSIT_YAML: &str = include_str!("../transfer/deposit.yaml");
/// What reverses one transaction.
pub const REFUND_YAML: &str = include_str!("../transfer/refund.yaml");
/// The example's own schema.
pub const UP: &str = include_str!("../transfer/sql/lifecycle/0001_settlements.up.sql");
/// What takes it away.
pub const DOWN: &str = include_str!("../transfer/sql/lifecycle/0001_settlements.down.sql");

const TABLES: [&str; 5] = [
    "postings.account",
    "postings.balance",
    "postings.transaction",
    "postings.posting",
    "postings.metadata",
];

/// The saga `transfer`.
///
/// # Panics
/// When the builder refuses it, which a test would have found.
pub fn saga() -> Definition {
    let built = Saga::new("transfer", 1)
        .description("Pay from one account to another with a fee, and announce the settlement.")
        .input(input())
        .subject("/input/reference")
        .exclusive()
        .snapshot(
            Query::new(
                "standing",
                "select count(*) from postings.transaction as t \
                 where t.reference = $1 and not exists (select 1 from postings.transaction as r where r.reverses = t.id)",
            )
            .params(["/input/reference"])
            .baseline(),
        )
        .snapshot(
            Query::new("sum", "select coalesce(sum(input - output), 0) from postings.balance").expect("0"),
        )
        .authority("soft_revert", Authority::Auto)
        .on_unrecovered(HoldScope::Subject, false)
        .phase(
            Phase::new("post", "postings")
                .writes(TABLES)
                .compensation(Compensation::SoftRevert)
                .residue(TABLES)
                .retry(Retry {
                    attempts: 3,
                    backoff_ms: 50,
                    max_ms: Duration::from_secs(1).as_millis() as u64,
                })
                .with(post()),
        )
        .phase(
            Phase::new("settle", "sql")
                .writes(["transfer.settlement"])
                .compensation(Compensation::SoftRevert)
                .residue(["transfer.settlement"])
                .retry(Retry {
                    attempts: 1,
                    ..Retry::default()
                })
                .with(settle()),
        )
        .build();
    built.expect("the example is a sound definition")
}

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["reference", "payer", "payee", "amount", "fee"],
        "properties": {
            "reference": {
                "description": "Used once; the same payment again is the same transaction.",
                "type": "string", "minLength": 1, "maxLength": 200,
            },
            "payer": {"type": "string"},
            "payee": {"type": "string"},
            "amount": {"description": "Cents as digits.", "type": "string"},
            "fee": {"description": "Cents as digits.", "type": "string"},
        },
    })
}

fn post() -> Value {
    let line = |destination: &str, amount: &str| json!({"source": "/input/payer", "destination": destination, "asset": "EUR/2", "amount": amount});
    json!({
        "accounts": ["/input/payer", "/input/payee", "fees"],
        "keys": ["order", "reason"],
        "transactions": [{
            "as": "payment",
            "reference": "/input/reference",
            "postings": [line("/input/payee", "/input/amount"), line("fees", "/input/fee")],
            "metadata": {"order": "/input/reference"},
        }],
        "compensation": {"metadata": {"reason": "/plan/reason"}, "force": "/decision/principal"},
    })
}

fn settle() -> Value {
    json!({
        "apply": [{
            "sql": "insert into transfer.settlement (run, transaction, reference, payee) \
                    select $1::uuid, $2::uuid, $3::text, $4::text \
                    where not exists (select 1 from transfer.blocked as b where b.account = $4::text)",
            "params": ["/run/id", "/phases/post/payment/0/id", "/input/reference", "/input/payee"],
            "rows": 1,
        }],
        "guard": [{
            "sql": "select state = 'announced' from transfer.settlement where run = $1 for update",
            "params": ["/run/id"],
            "rows": 1,
        }],
        "revert": [{
            "sql": "update transfer.settlement set state = 'withdrawn' where run = $1 and state = 'announced'",
            "params": ["/run/id"],
            "rows": 1,
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use redress::definition::load_yaml;

    #[test]
    fn the_file_and_the_builder_give_one_digest() {
        let file = load_yaml(SAGA_YAML.as_bytes(), "saga.yaml", None);
        let (file, _) = file.expect("a sound file");
        assert_eq!(file, saga());
        assert_eq!(
            file.digest().expect("canonical"),
            saga().digest().expect("canonical")
        );
    }
}
