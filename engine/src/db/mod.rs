//! Connections to PostgreSQL: where the server is, the way there, and a pool whose sessions keep its notices.
//!
//! **Invariant:** a session belongs to one user at a time, and what an adapter left in it (settings, temporary
//! tables, advisory locks) is gone before the next one gets it.
//!
//! **What can go wrong:** a warning at COMMIT (01000: the wait for a standby was cancelled) is not an error to the
//! driver; [`Session::take_warning`] hands it to the phase, which treats it as in doubt.
//!
//! **Not here:** which statement is sent when; that is each module's own business.

mod dial;
mod failure;
mod manager;
mod session;
mod statement;
mod target;
#[cfg(feature = "tls")]
mod tls;
mod value;
mod verdict;

pub use dial::{HostFailure, NotConnected, Reason};
pub use failure::{DbError, Sqlstate, class_of_sqlstate};
pub(crate) use manager::side_pool;
pub use manager::{Manager, Pool, connect, pool, pool_of};
pub use session::{Held, Pooler, Session};
pub use statement::{Asked, Column, Question, Statement};
pub use target::{SslMode, Target, TargetError, masked};
pub use value::{TextParam, ValueError, column_is_kept, row_to_value};
