//! Whether something stands between us and the server, and whether that is what the URL says.
//!
//! Two connections are open at once. Where they meet the same server process, or one of them meets two, processes are
//! lent for a transaction at a time: what is left in a session is met by somebody else.

use redress::db::{Pooler, Session, Target, pool_of};

use super::ask::rows_of;
use super::model::Check;
use crate::place::open;

/// Looks for a pooler.
pub async fn look(target: &Target, first: &Session) -> Check {
    let second = match open(target).await {
        Ok(second) => second,
        Err(fail) => return Check::unknown(NAME, fail.to_string(), "ask again"),
    };
    match is_shared(first, &second).await {
        // An engine's sessions come with settings, which a look does not need.
        Ok(false) => match as_engines_do(target).await {
            Err(why) if why.contains("startup parameter") => lets_none_in(why),
            _ => judge(first.pooler(), false),
        },
        Ok(true) => judge(first.pooler(), true),
        Err(why) => Check::unknown(NAME, why, "ask again"),
    }
}

async fn as_engines_do(target: &Target) -> Result<(), String> {
    let pool = pool_of(target.clone(), 1).map_err(|error| error.to_string())?;
    let session = pool.get().await;
    session.map(drop).map_err(|error| error.to_string())
}

/// Whether two open connections are lent the same server process, or one of them different ones.
async fn is_shared(first: &Session, second: &Session) -> Result<bool, String> {
    let before = process(first).await?;
    // The first one's process is kept busy by the second, if it is lent to it.
    rows_of(second, "begin").await?;
    let beside = process(second).await;
    let after = process(first).await;
    rows_of(second, "rollback").await?;
    let (beside, after) = (beside?, after?);
    Ok(before == beside || before != after)
}

async fn process(session: &Session) -> Result<String, String> {
    let rows = rows_of(session, "select pg_backend_pid() as pid").await?;
    let row = rows.first().ok_or("no row")?;
    Ok(row.text("pid").to_owned())
}

fn lets_none_in(why: String) -> Check {
    Check::fail(
        NAME,
        why,
        "it lets no engine in: nothing is started, driven or recovered this way",
        "add pooler=transaction to the URL, or `ignore_startup_parameters = options` to a pooler that keeps sessions",
    )
    .code("RD0801")
}

fn judge(told: Pooler, shared: bool) -> Check {
    match (told, shared) {
        (Pooler::None, false) => Check::ok(NAME, "none, or one that keeps sessions"),
        (Pooler::Transaction, true) => Check::ok(
            NAME,
            "in transaction mode, and the URL says so (pooler=transaction)",
        ),
        (Pooler::None, true) => Check::fail(
            NAME,
            "server processes are lent for a transaction, and the URL does not say so",
            "prepared statements get lost between transactions, and what one session sets another one meets",
            "add pooler=transaction to the URL, or connect to the server directly",
        ),
        (Pooler::Transaction, false) => Check::warn(
            NAME,
            "the URL says pooler=transaction, and each connection has a server process of its own",
            "it works, and slower than it could",
            "leave pooler=transaction out if nothing stands between (a busy pooler can look like this)",
        ),
    }
}

const NAME: &str = "pooler";

#[cfg(test)]
mod tests {
    use super::super::model::State;
    use super::*;

    #[test]
    fn a_pooler_that_the_url_does_not_name_fails() {
        let check = |told, shared, state| assert_eq!(judge(told, shared).state, state);
        check(Pooler::None, false, State::Ok);
        check(Pooler::None, true, State::Fail);
        check(Pooler::Transaction, true, State::Ok);
        check(Pooler::Transaction, false, State::Warn);
    }
}
