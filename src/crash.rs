//! Panics that no join handle returns: the policy, the report, and how a crash ends the calls of `block_on`.

use std::any::Any;
use std::io::{self, Write};
use std::panic::Location;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::header::Header;
use crate::panics::{contain, lock, panic_text};
use crate::platform::heavy_fence;
use crate::waker::TaskWaker;

/// What to do about a panic that nobody will see.
///
/// A panic in a goroutine whose [`JoinHandle`](crate::JoinHandle) is alive is the handle's result. Every other panic is
/// unrecovered: the panic hook has printed it, one more line names the goroutine and where it was spawned, and then
/// this decides.
///
/// ```
/// use gopark::{OnPanic, Runtime};
///
/// let rt = Runtime::builder().on_panic(OnPanic::Isolate).build().unwrap();
/// rt.block_on(async {
///     gopark::go(async { panic!("noticed, and survived") });
///     gopark::gosched().await;
/// });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnPanic {
    /// Go's rule: every [`block_on`](crate::block_on) of the runtime cancels its main and resumes the panic on its
    /// caller; if none is in progress, the process aborts. It also aborts if that takes longer than
    /// [`Builder::crash_grace`](crate::Builder::crash_grace) because a main blocks its thread.
    ///
    /// A main that returns meanwhile waits for a goroutine without a handle that has woken others while it unwinds, but for at
    /// most half a second. While the panic hook still prints, nothing has been woken yet, and main wins.
    #[default]
    Crash,
    /// The goroutine ends, the rest goes on.
    Isolate,
}

/// The calls of `block_on` in progress, and the policy that decides whether an unrecovered panic ends them.
///
/// A call ends early in one way, whichever thread polls its main: the crash is noted in the call's entry, the main's
/// waker is called, and the main's next poll sees the note ([`CrashSignal`]).
#[derive(Debug)]
pub(crate) struct BlockOnCalls {
    list: Mutex<List>,
    /// Entries with a crash; written under the lock. Lets a main's poll do without the lock.
    crashed: AtomicUsize,
    /// Notified when a goroutine does not unwind any more, or has crashed.
    unwound: Condvar,
}

/// The default of [`Builder::crash_grace`](crate::Builder::crash_grace).
pub(crate) const CRASH_GRACE: Duration = Duration::from_secs(1);

/// How long the end of a main waits for goroutines that unwind: a destructor in there may compute, or block, for ever.
const UNWINDING_GRACE: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct List {
    on_panic: OnPanic,
    /// How long a crash waits for mains that are being polled.
    grace: Duration,
    /// How long the crash of some entries has waited; `None` if a call has ended with it.
    waited: Option<Duration>,
    entries: Vec<Entry>,
    last_key: u64,
    unwinding: Vec<Unwinding>,
}

/// A goroutine that has woken others while it unwinds. If it has no handle, it may be about to crash the runtime.
#[derive(Debug)]
struct Unwinding {
    goroutine: u64,
    detached: bool,
    /// The latest call then. A later one has not ended because of it.
    last_key: u64,
}

#[derive(Debug)]
struct Entry {
    key: u64,
    /// The main's, once it has been polled.
    waker: Option<TaskWaker>,
    /// The payload that the call resumes.
    crash: Option<Box<dyn Any + Send>>,
    /// The main is being polled.
    polling: Arc<AtomicBool>,
}

impl BlockOnCalls {
    pub(crate) fn new() -> Self {
        Self {
            list: Mutex::new(List {
                on_panic: OnPanic::Crash,
                grace: CRASH_GRACE,
                waited: None,
                entries: Vec::new(),
                last_key: 0,
                unwinding: Vec::new(),
            }),
            crashed: AtomicUsize::new(0),
            unwound: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        lock(&self.list)
    }

    pub(crate) fn set_policy(&self, on_panic: OnPanic, grace: Duration) {
        let mut list = self.lock();
        (list.on_panic, list.grace) = (on_panic, grace);
    }

    /// True if an unrecovered panic ends the calls.
    pub(crate) fn crashes(&self) -> bool {
        self.lock().on_panic == OnPanic::Crash
    }

    /// True if there are none, and no crash may be on its way.
    #[cfg(all(test, not(gopark_loom)))]
    pub(crate) fn is_empty(&self) -> bool {
        let list = self.lock();
        list.entries.is_empty() && list.unwinding.is_empty()
    }

    /// The goroutine, which runs on this thread, wakes others while it unwinds.
    pub(crate) fn begin_unwinding(&self, header: &Header) {
        let mut list = self.lock();
        header.set_unwinding();
        // Either this sees that the handle is gone, or the handle that goes sees the flag, and calls `detached` after this.
        let detached = !heavy_fence() || header.is_detached();
        let last_key = list.last_key;
        list.unwinding.push(Unwinding { goroutine: header.id(), detached, last_key });
    }

    /// The handle of a goroutine that perhaps unwinds is gone.
    #[cold]
    pub(crate) fn detached(&self, goroutine: u64) {
        let mut list = self.lock();
        list.unwinding.iter_mut().filter(|one| one.goroutine == goroutine).for_each(|one| one.detached = true);
    }

    /// The goroutine does not unwind any more: it has crashed the runtime, or will not.
    pub(crate) fn end_unwinding(&self, goroutine: u64) {
        self.lock().unwinding.retain(|one| one.goroutine != goroutine);
        self.unwound.notify_all();
    }

    /// Enters a call, before its main can run: what the main spawns may crash at once.
    pub(crate) fn enter(&'static self) -> BlockOnCall {
        let mut list = self.lock();
        list.last_key += 1;
        let key = list.last_key;
        let polling = Arc::new(AtomicBool::new(false));
        list.entries.push(Entry { key, waker: None, crash: None, polling: polling.clone() });
        BlockOnCall { calls: self, key, polling }
    }

    fn remove(&self, key: u64) -> Option<Entry> {
        let mut list = self.lock();
        let at = list.entries.iter().position(|entry| entry.key == key)?;
        let entry = list.entries.swap_remove(at);
        if entry.crash.is_some() {
            self.crashed.fetch_sub(1, Ordering::Relaxed);
            list.waited = None;
        }
        Some(entry)
    }

    /// The monitor has waited for so long: a crash waits for calls of `block_on`. Aborts the process if none has ended with it in
    /// time, and the poll of a main has not ended: the main blocks its thread, or computes. True while a crash waits.
    pub(crate) fn check_grace(&self, period: Duration) -> bool {
        if self.crashed.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut list = self.lock();
        let grace = list.grace;
        let Some(waited) = &mut list.waited else { return false };
        *waited = waited.saturating_add(period);
        // A main whose next poll begins sees the crash.
        if *waited >= grace
            && grace != Duration::MAX
            && list.entries.iter().any(|entry| entry.crash.is_some() && entry.polling.load(Ordering::Relaxed))
        {
            let _ = writeln!(
                io::stderr(),
                "gopark: no `block_on` took the panic within {grace:?}: its main blocks its thread"
            );
            process::abort();
        }
        true
    }

    /// Reports a panic that no join handle returns, and acts on it. If the goroutine's runtime is shut down
    /// (`is_over`), the report is all.
    #[cold]
    pub(crate) fn unrecovered(
        &self,
        goroutine: u64,
        spawned_at: &Location<'_>,
        payload: Box<dyn Any + Send>,
        is_over: impl FnOnce() -> bool,
    ) {
        // If stderr is closed, that is no reason for a second panic.
        let _ = writeln!(
            io::stderr(),
            "gopark: unrecovered panic in goroutine {goroutine}, spawned at {}:{}:{}",
            spawned_at.file(),
            spawned_at.line(),
            spawned_at.column()
        );
        let mut list = self.lock();
        if list.on_panic == OnPanic::Isolate || is_over() {
            drop(list);
            contain(|| drop(payload));
            return;
        }
        if list.entries.is_empty() {
            process::abort();
        }
        let text = panic_text(&*payload).to_owned();
        list.waited.get_or_insert_default();
        let mut payload = Some(payload);
        let mut wakers = Vec::new();
        for entry in &mut list.entries {
            if entry.crash.is_none() {
                entry.crash = Some(payload.take().unwrap_or_else(|| Box::new(text.clone())));
                self.crashed.fetch_add(1, Ordering::Relaxed);
            }
            // Once is enough: from here on each poll of the main sees the crash.
            wakers.extend(entry.waker.take());
        }
        drop(list);
        self.unwound.notify_all();
        wakers.into_iter().for_each(TaskWaker::wake);
        contain(|| drop(payload));
    }
}

/// A call of `block_on` in progress. Dropping it ends the call.
#[derive(Debug)]
pub(crate) struct BlockOnCall {
    calls: &'static BlockOnCalls,
    key: u64,
    polling: Arc<AtomicBool>,
}

impl BlockOnCall {
    /// By which the call's main sees a crash.
    pub(crate) fn signal(&self) -> CrashSignal {
        CrashSignal { calls: self.calls, key: self.key, registered: false, polling: self.polling.clone() }
    }

    /// Ends the call. A crash that comes before this returns wins against main's own result, and one that may be on its way is
    /// waited for, but not for long.
    pub(crate) fn end(self) -> Option<Box<dyn Any + Send>> {
        let may_crash = |list: &mut List| {
            list.on_panic == OnPanic::Crash
                && list.unwinding.iter().any(|one| one.detached && one.last_key >= self.key)
                && list.entries.iter().any(|entry| entry.key == self.key && entry.crash.is_none())
        };
        drop(self.calls.unwound.wait_timeout_while(self.calls.lock(), UNWINDING_GRACE, may_crash));
        self.calls.remove(self.key)?.crash
    }
}

impl Drop for BlockOnCall {
    fn drop(&mut self) {
        drop(self.calls.remove(self.key));
    }
}

/// Tells a main that a crash has ended its call.
#[derive(Debug)]
pub(crate) struct CrashSignal {
    calls: &'static BlockOnCalls,
    key: u64,
    registered: bool,
    polling: Arc<AtomicBool>,
}

impl CrashSignal {
    /// Polls the main, unless a crash has ended its call.
    #[inline(always)]
    pub(crate) fn until_crash<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<Option<T>> {
        if self.poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        self.polling.store(true, Ordering::Relaxed);
        let polled = poll(cx);
        self.polling.store(false, Ordering::Relaxed);
        polled.map(Some)
    }

    /// `Ready` if a crash has ended the call. The first poll registers the waker, which must be the main's own.
    #[inline(always)]
    fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        // Relaxed: the lock in `look`, or the wake, orders it after the crash that this must see.
        if self.registered && self.calls.crashed.load(Ordering::Relaxed) == 0 {
            return Poll::Pending;
        }
        self.look(cx)
    }

    #[cold]
    #[inline(never)]
    fn look(&mut self, cx: &Context<'_>) -> Poll<()> {
        let mut waker = (!self.registered).then(|| TaskWaker::new(cx.waker()));
        self.registered = true;
        let mut list = self.calls.lock();
        let Some(entry) = list.entries.iter_mut().find(|entry| entry.key == self.key) else { return Poll::Pending };
        if waker.is_some() {
            entry.waker = waker.take();
        }
        if entry.crash.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
