//! Kills the own process at a named point, so that a test can die before and after each durable step.
//!
//! Compiled to nothing without the feature `crash`. With it, `REDRESS_CRASH=NAME[:N]` kills at the N-th passage of
//! the point NAME (SIGKILL: no destructor runs, no ROLLBACK is sent), `REDRESS_CRASH_STOP=NAME[:N]` stops it
//! (SIGSTOP: a zombie that can be continued).

/// Names a point at which a test may end the process.
#[cfg(not(feature = "crash"))]
#[inline(always)]
pub(crate) fn point(_name: &str) {}

/// Names a point at which a test may end the process.
#[cfg(feature = "crash")]
pub(crate) fn point(name: &str) {
    use rustix::process::{Signal, getpid, kill_process};
    use std::collections::HashMap;
    use std::sync::{Mutex, OnceLock, PoisonError};

    static ARMED: OnceLock<[Option<(String, u64)>; 2]> = OnceLock::new();
    static PASSED: OnceLock<Mutex<HashMap<String, u64>>> = OnceLock::new();
    let armed = ARMED.get_or_init(|| ["REDRESS_CRASH", "REDRESS_CRASH_STOP"].map(read));
    if armed.iter().flatten().all(|(at, _)| at != name) {
        return;
    }
    let mut passed = PASSED
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let count = passed.entry(name.to_owned()).or_default();
    *count += 1;
    for (armed, signal) in armed.iter().zip([Signal::KILL, Signal::STOP]) {
        if armed
            .as_ref()
            .is_some_and(|(at, n)| at == name && n == count)
        {
            let _ = kill_process(getpid(), signal);
        }
    }
}

#[cfg(feature = "crash")]
fn read(variable: &str) -> Option<(String, u64)> {
    let value = std::env::var(variable).ok()?;
    match value.split_once(':') {
        Some((name, n)) => Some((name.to_owned(), n.parse().ok()?)),
        None => Some((value, 1)),
    }
}

/// Whether a point is armed; then what is sent in one flight otherwise is sent apart, so that the test can die between.
#[cfg(not(feature = "crash"))]
#[inline(always)]
pub(crate) fn armed(_name: &str) -> bool {
    false
}

/// Whether a point is armed; then what is sent in one flight otherwise is sent apart, so that the test can die between.
#[cfg(feature = "crash")]
pub(crate) fn armed(name: &str) -> bool {
    ["REDRESS_CRASH", "REDRESS_CRASH_STOP"]
        .into_iter()
        .filter_map(read)
        .any(|(at, _)| at == name)
}

/// Awaits a flight; when the point is armed, passes it once the flight has left and before its answer is looked at.
#[cfg(not(feature = "crash"))]
#[inline(always)]
pub(crate) async fn after_sending<F: Future>(
    _name: &str,
    flight: std::pin::Pin<&mut F>,
) -> F::Output {
    flight.await
}

/// Awaits a flight; when the point is armed, passes it once the flight has left and before its answer is looked at.
#[cfg(feature = "crash")]
pub(crate) async fn after_sending<F: Future>(
    name: &str,
    mut flight: std::pin::Pin<&mut F>,
) -> F::Output {
    /// Enough for the connection's task to write what was queued.
    const LEFT: std::time::Duration = std::time::Duration::from_millis(5);
    if armed(name) {
        if let std::task::Poll::Ready(answer) = futures_util::poll!(flight.as_mut()) {
            return answer;
        }
        tokio::time::sleep(LEFT).await;
        point(name);
    }
    flight.await
}
