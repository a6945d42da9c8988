//! A place to die or to fail before each change on disk, for tests only.
//!
//! Compiled to nothing without the feature `crash`. With it, `REDRESS_CRASH=fileset:N` kills the process (SIGKILL)
//! before its N-th change, and `REDRESS_FAULT=fileset:N:ERRNO` lets the N-th change fail with that error.

use rustix::io;

/// Passed before every change on disk.
#[cfg(not(any(test, feature = "crash")))]
#[inline(always)]
pub(super) fn step() -> io::Result<()> {
    Ok(())
}

/// Passed before every change on disk.
#[cfg(any(test, feature = "crash"))]
pub(super) fn step() -> io::Result<()> {
    armed::step()
}

#[cfg(any(test, feature = "crash"))]
pub(super) mod armed {
    use std::cell::Cell;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::io::{self, Errno};
    use rustix::process::{Signal, getpid, kill_process};

    thread_local! {
        /// How many more changes of this thread succeed, and how the one after them fails.
        static FAILS: Cell<Option<(u64, Errno)>> = const { Cell::new(None) };
    }

    #[derive(Clone, Copy)]
    enum Does {
        Kill,
        Fail(Errno),
    }

    fn orders() -> &'static [(u64, Does)] {
        static ORDERS: OnceLock<Vec<(u64, Does)>> = OnceLock::new();
        ORDERS.get_or_init(|| {
            let read = |name: &str| -> Option<(u64, Option<i32>)> {
                let text = std::env::var(name).ok()?;
                let mut parts = text.strip_prefix("fileset:")?.split(':');
                let at = parts.next()?.parse().ok()?;
                Some((at, parts.next().and_then(|errno| errno.parse().ok())))
            };
            let kill = read("REDRESS_CRASH").map(|(at, _)| (at, Does::Kill));
            let fail = read("REDRESS_FAULT")
                .and_then(|(at, errno)| Some((at, Does::Fail(Errno::from_raw_os_error(errno?)))));
            kill.into_iter().chain(fail).collect()
        })
    }

    pub(in super::super) fn step() -> io::Result<()> {
        static PASSED: AtomicU64 = AtomicU64::new(0);
        let passed = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
        for (at, does) in orders() {
            match does {
                _ if *at != passed => {}
                Does::Kill => {
                    let _ = kill_process(getpid(), Signal::KILL);
                }
                Does::Fail(errno) => return Err(*errno),
            }
        }
        FAILS.with(|fails| match fails.get() {
            None => Ok(()),
            Some((0, errno)) => {
                fails.set(None);
                Err(errno)
            }
            Some((more, errno)) => {
                fails.set(Some((more - 1, errno)));
                Ok(())
            }
        })
    }

    /// Lets this thread's change number `at` (from 0) fail once; whether it came to that is what [`disarm`] says.
    #[cfg(test)]
    pub(in super::super) fn fail_at(at: u64, errno: Errno) {
        FAILS.with(|fails| fails.set(Some((at, errno))));
    }

    /// Takes the order back; true when it was carried out.
    #[cfg(test)]
    pub(in super::super) fn disarm() -> bool {
        FAILS.with(Cell::take).is_none()
    }
}
