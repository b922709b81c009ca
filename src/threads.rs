//! The one function that starts threads, and which threads must not wait for a runtime's end.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Mutex;
use std::thread::{self, Builder, JoinHandle, ThreadId};

use crate::fork;
use crate::panics::lock;

thread_local! {
    static SERVICE: Cell<bool> = const { Cell::new(false) };
}

/// Starts a thread. The system may refuse one for a moment, so every caller must have a way to try again.
pub(crate) fn start(name: String, main: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    #[cfg(all(test, not(gopark_loom)))]
    if refusal::applies_to(&name) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    fork::watch();
    Builder::new().name(name).spawn(main)
}

/// Marks this thread as a service thread: a monitor, or the one that fires timers. Many depend on it, so it waits for
/// no runtime and drops no user's future.
pub(crate) fn serve() {
    SERVICE.set(true);
}

/// True on a service thread.
pub(crate) fn is_service() -> bool {
    SERVICE.get()
}

type Left = Box<dyn FnOnce(ThreadId)>;

/// Called with the thread's id when the thread-local is dropped.
struct Leaving(RefCell<Option<Left>>, ThreadId);

thread_local! {
    static LEAVING: Leaving = Leaving(RefCell::new(None), thread::current().id());
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(left) = self.0.take() {
            left(self.1);
        }
    }
}

/// Calls `left` when every other thread-local of this thread has been dropped: then a join does not wait. The thread must
/// not have used one with a destructor before, because they are dropped in the opposite order of their first uses.
pub(crate) fn when_left(left: impl FnOnce(ThreadId) + 'static) {
    LEAVING.with(|leaving| leaving.0.replace(Some(Box::new(left))));
}

/// Runtimes that wait for the end of others, by their indices: a thread of the first is in `shutdown` of the second.
static WAITING: Mutex<Vec<(u16, u16)>> = Mutex::new(Vec::new());

/// This thread waits for the end of a runtime.
pub(crate) struct Waiting {
    /// The runtime whose thread this is.
    home: Option<u16>,
    target: u16,
}

impl Waiting {
    /// `None` if the target's end may depend on this thread, because it is the target's, or through runtimes that wait, or
    /// because it is a service thread.
    pub(crate) fn begin(home: Option<u16>, target: u16) -> Option<Self> {
        if is_service() {
            return None;
        }
        let mut waiting = lock(&WAITING);
        let mut reached = vec![target];
        let mut next = 0;
        while let Some(&from) = reached.get(next) {
            if home == Some(from) {
                return None;
            }
            next += 1;
            for (_, to) in waiting.iter().filter(|(other, _)| *other == from) {
                if !reached.contains(to) {
                    reached.push(*to);
                }
            }
        }
        waiting.extend(home.map(|home| (home, target)));
        Some(Self { home, target })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = lock(&WAITING);
        let is_this = |wait: &(u16, u16)| self.home == Some(wait.0) && self.target == wait.1;
        if let Some(at) = waiting.iter().position(is_this) {
            waiting.swap_remove(at);
        }
    }
}

/// Refuses threads, as a system at its limit does.
#[cfg(all(test, not(gopark_loom)))]
pub(crate) mod refusal {
    use std::sync::{Mutex, MutexGuard};

    struct Rule {
        prefix: &'static str,
        percent: usize,
        count: usize,
    }

    static RULES: Mutex<Vec<Rule>> = Mutex::new(Vec::new());

    fn rules() -> MutexGuard<'static, Vec<Rule>> {
        super::lock(&RULES)
    }

    /// Until it is dropped, `percent` of the threads whose name begins with `prefix` are refused.
    pub(crate) struct Refusal(&'static str);

    pub(crate) fn refuse(prefix: &'static str, percent: usize) -> Refusal {
        rules().push(Rule { prefix, percent, count: 0 });
        Refusal(prefix)
    }

    impl Refusal {
        /// How many were refused.
        pub(crate) fn count(&self) -> usize {
            rules().iter().find(|rule| rule.prefix == self.0).map_or(0, |rule| rule.count)
        }
    }

    impl Drop for Refusal {
        fn drop(&mut self) {
            rules().retain(|rule| rule.prefix != self.0);
        }
    }

    pub(super) fn applies_to(name: &str) -> bool {
        let mut rules = rules();
        let Some(rule) = rules.iter_mut().find(|rule| name.starts_with(rule.prefix)) else { return false };
        let refused = crate::random::below(100) < rule.percent;
        rule.count += usize::from(refused);
        refused
    }
}
