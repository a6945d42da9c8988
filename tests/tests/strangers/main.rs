//! Strangers' software agrees with us about a ledger that sagas wrote, that was sealed and exported.
//!
//! Each stranger is one test. It is installed by the test itself where that can be done, and otherwise left out with
//! one line on standard error that begins with `SKIPPED`. `REDRESS_LONG=1` makes a ledger of 100,000 records.
//!
//! | stranger | says |
//! |---|---|
//! | Go, `sumdb/note` and `sumdb/tlog` | the log signed its heads, holds the records, and continues its older head |
//! | OpenSSL | the log's key signed a head; a key file opens, and signs for us |
//! | `pymerkle` | root, inclusion and consistency over our entries |
//! | `securesystemslib` | a decision's envelope is DSSE and signed |
//! | `rfc8785` | the bytes of each record are its canonical form |
//! | `verify.py` | the export of a real database is VERIFIED |
//! | OpenSSH | its signature counts as a decision, and ours as one of its own |
//!
//! **Not here:** damage beyond a flipped byte; `redress-ledger` tries some 370 kinds against two verifiers.

mod find;
mod gopher;
mod ground;
mod openssh;
mod openssl;
mod snake;
