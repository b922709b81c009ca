//! Panics that no join handle returns: the policy, the report, and how a crash ends calls of
//! `block_on`.

use std::io::{self, Write};
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::coop;
use crate::header::Header;
use crate::local_queue::{LocalQueue, Polled};
use crate::panics::{Caught, lock};
use crate::platform::heavy_fence;
#[cfg(feature = "sim")]
use crate::simulated;
use crate::waker::TaskWaker;

/// The policy for a panic that no join handle returns.
///
/// A panic in a goroutine whose [`JoinHandle`](crate::JoinHandle) is alive is the handle's result.
/// Every other panic is unrecovered: the panic hook has printed it, one more line reports the
/// goroutine and where it was spawned, and then this policy applies.
///
/// # Examples
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
    /// Go's rule: every [`block_on`](crate::block_on) of the runtime cancels its main and resumes
    /// the panic on its caller; if none is in progress, the process aborts. The process also aborts
    /// if no call has resumed the panic within
    /// [`Builder::crash_grace`](crate::Builder::crash_grace) because a main blocks its thread.
    ///
    /// If a goroutine without a handle wakes others while it unwinds, a main that returns before
    /// the unwinding ends waits for its end, for at most half a second. While the panic hook still
    /// prints, the goroutine has woken no other yet: a main that returns then does not wait.
    #[default]
    Crash,
    /// The goroutine ends, and all others continue.
    Isolate,
}

/// The policy for a deadlock. Go: "all goroutines are asleep - deadlock!".
///
/// There is a deadlock if, for a second, every [`block_on`](crate::block_on) in progress waits, no
/// goroutine can run, no timer is armed that would wake one, and every blocking call is *blocked*:
/// it waits in a `block_on`, or in the blocking form of an operation, without a limit.
///
/// A deadlock is judged over all runtimes of the process. It is *proved* if every thread of the
/// process belongs to this crate or is blocked, no task waits for a socket or another descriptor,
/// and every goroutine waits in an operation of this crate, or for a future of another crate that
/// has not cloned its waker: then nothing can wake them. If there are other threads, one of them
/// may wake a goroutine. Threads can be counted only on Linux; elsewhere no deadlock is proved.
///
/// Polls do not record whether a future of another crate has cloned the waker. If only this is
/// missing for a proof, the goroutines that wait for such futures are polled once more to find out.
/// A goroutine that wakes itself in that poll is asked at most three times, and then the deadlock
/// is not proved. A `select!` or a join counts as an operation of this crate if one of its waits
/// does. The main of a [`block_on_local`](crate::block_on_local) that waits for such a future is
/// not asked, and then the deadlock is not proved.
///
/// # Examples
///
/// ```
/// use gopark::{OnDeadlock, Runtime};
///
/// let rt = Runtime::builder().on_deadlock(OnDeadlock::Crash).build().unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDeadlock {
    /// A proved deadlock is reported on stderr, once until a goroutine runs again.
    #[default]
    Default,
    /// A deadlock that is not proved is reported as well: its report says "nothing inside the
    /// runtime can wake them".
    Report,
    /// A proved deadlock is an unrecovered panic of the runtime, whose text is the report: under
    /// [`OnPanic::Crash`] each `block_on` resumes it. A deadlock that is not proved is not
    /// reported.
    Crash,
    /// No deadlock is reported.
    Ignore,
}

/// The calls of `block_on` in progress, and the policy for unrecovered panics, which may end them.
///
/// A call ends early in the same way whichever thread polls its main: the crash is stored in the
/// [`Call`], the main is woken, and its next poll sees the crash ([`UntilCrash`]).
#[derive(Debug, Default)]
pub(crate) struct BlockOnCalls {
    list: Mutex<List>,
    /// Notified when a goroutine no longer unwinds, or has crashed the runtime.
    unwound: Condvar,
}

/// The default of [`Builder::crash_grace`](crate::Builder::crash_grace).
pub(crate) const CRASH_GRACE: Duration = Duration::from_secs(1);

/// How long the end of a main waits for goroutines that unwind. It is limited because a destructor
/// may compute or block without end.
const UNWINDING_GRACE: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct List {
    on_panic: OnPanic,
    on_deadlock: OnDeadlock,
    /// How long a crash waits for mains that are being polled.
    grace: Duration,
    /// How long a crash has waited for a call to end with it; `None` if there is no such crash.
    waited: Option<Duration>,
    calls: Vec<Arc<Call>>,
    /// The polls of the mains of calls that have ended.
    polls_of_ended: u32,
    last_key: u64,
    unwinding: Vec<Unwinding>,
}

/// A goroutine that has woken others while it unwinds. If it has no handle, it may be about to
/// crash the runtime.
#[derive(Debug)]
struct Unwinding {
    goroutine: u64,
    detached: bool,
    /// The latest call at that time. The goroutine cannot have caused the end of a later one.
    last_key: u64,
}

/// A call of `block_on`.
#[derive(Debug)]
struct Call {
    key: u64,
    /// The calling thread.
    caller: usize,
    /// The id of the main.
    main: AtomicU64,
    /// Set if the calling thread polls the main itself.
    local: Option<LocalMain>,
    /// Counts the starts and the ends of the main's polls: odd while it is being polled.
    polls: AtomicU32,
    /// There is, or was, a crash in `end`. This flag spares a main's poll the lock.
    crashed: AtomicBool,
    /// Locked under the list's lock, or alone.
    end: Mutex<End>,
}

/// A main that its own thread polls.
#[derive(Debug)]
pub(crate) struct LocalMain {
    /// The header in which the main's waits are noted.
    pub(crate) header: Header,
    /// The goroutines that run next to it, on its thread.
    pub(crate) queue: Arc<LocalQueue>,
}

/// How a call ends early.
#[derive(Debug, Default)]
struct End {
    /// The main's waker, once it has been polled.
    waker: Option<TaskWaker>,
    /// The payload that the call resumes.
    crash: Option<Caught>,
}

impl Call {
    #[cold]
    fn register(&self, cx: &Context<'_>) {
        let waker = Some(TaskWaker::new(cx.waker()));
        lock(&self.end).waker = waker;
    }

    fn is_polled(&self) -> bool {
        self.polls.load(Ordering::Relaxed) % 2 == 1
    }

    /// Counts the start or the end of a poll of the main.
    #[inline(always)]
    fn count_poll(&self) {
        self.polls.store(self.polls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    fn has_crashed(&self) -> bool {
        self.crashed.load(Ordering::Relaxed)
    }
}

impl BlockOnCalls {
    pub(crate) fn set_policy(&self, on_panic: OnPanic, grace: Duration, on_deadlock: OnDeadlock) {
        let mut list = lock(&self.list);
        (list.on_panic, list.grace, list.on_deadlock) = (on_panic, grace, on_deadlock);
    }

    /// Returns the policy for a deadlock. `None` if no call waits.
    pub(crate) fn on_deadlock(&self) -> Option<OnDeadlock> {
        let list = lock(&self.list);
        (!list.calls.is_empty()).then_some(list.on_deadlock)
    }

    /// Calls `f` with the id of each call's main.
    pub(crate) fn each(&self, mut f: impl FnMut(u64)) {
        let list = lock(&self.list);
        list.calls.iter().for_each(|call| f(call.main.load(Ordering::Relaxed)));
    }

    /// Calls `f` with each main that its calling thread polls, and whether it is being polled.
    pub(crate) fn each_local(&self, mut f: impl FnMut(&Header, bool)) {
        let list = lock(&self.list);
        for call in &list.calls {
            call.local.iter().for_each(|local| f(&local.header, call.is_polled()));
        }
    }

    /// Calls `queued` with each goroutine in the queue of such a thread, and `polled` with each
    /// that such a thread polls.
    pub(crate) fn each_local_goroutine(
        &self,
        mut queued: impl FnMut(&Header),
        mut polled: impl FnMut(Polled),
    ) {
        let list = lock(&self.list);
        let locals = list.calls.iter().filter_map(|call| call.local.as_ref());
        locals.for_each(|local| local.queue.inspect(&mut queued).into_iter().for_each(&mut polled));
    }

    /// Wakes each thread that polls a main, because the runtime shuts down.
    pub(crate) fn wake_local(&self) {
        let list = lock(&self.list);
        let locals = list.calls.iter().filter_map(|call| call.local.as_ref());
        locals.for_each(|local| local.queue.wake_thread());
    }

    /// Returns the queue of the innermost call on this thread, if the thread polls its main.
    pub(crate) fn local_queue(&self) -> Option<Arc<LocalQueue>> {
        let list = lock(&self.list);
        let mut queues =
            list.calls.iter().rev().filter_map(|call| Some(&call.local.as_ref()?.queue));
        queues.find(|queue| queue.is_here()).cloned()
    }

    /// Returns a number that changes with each poll of a main.
    pub(crate) fn polls(&self) -> u32 {
        let list = lock(&self.list);
        let begun = list.polls_of_ended.wrapping_add(list.last_key as u32);
        list.calls
            .iter()
            .fold(begun, |sum, call| sum.wrapping_add(call.polls.load(Ordering::Relaxed)))
    }

    /// Returns whether a calling thread polls its main, or a goroutine. `None` if such a thread has
    /// more to poll.
    pub(crate) fn is_polled(&self) -> Option<bool> {
        let list = lock(&self.list);
        let mut is_polled = false;
        for call in &list.calls {
            if let Some(local) = &call.local {
                is_polled |= local.queue.is_polled()? || call.is_polled();
            }
        }
        Some(is_polled)
    }

    /// Returns true if an unrecovered panic ends the calls.
    pub(crate) fn crashes(&self) -> bool {
        lock(&self.list).on_panic == OnPanic::Crash
    }

    /// Returns true if there are no calls, and no goroutine unwinds.
    #[cfg(all(test, not(gopark_loom)))]
    pub(crate) fn is_empty(&self) -> bool {
        let list = lock(&self.list);
        list.calls.is_empty() && list.unwinding.is_empty()
    }

    /// Records that the goroutine that runs on this thread wakes others while it unwinds.
    pub(crate) fn begin_unwinding(&self, header: &Header) {
        let mut list = lock(&self.list);
        header.set_unwinding();
        // Either this sees that the handle was dropped, or the drop of the handle sees the flag,
        // and calls `detached` after this.
        let detached = !heavy_fence() || header.is_detached();
        let last_key = list.last_key;
        list.unwinding.push(Unwinding { goroutine: header.id(), detached, last_key });
    }

    /// Records that the handle of a goroutine that may be unwinding was dropped.
    #[cold]
    pub(crate) fn detached(&self, goroutine: u64) {
        let mut list = lock(&self.list);
        list.unwinding
            .iter_mut()
            .filter(|one| one.goroutine == goroutine)
            .for_each(|one| one.detached = true);
    }

    /// Records that the goroutine no longer unwinds: it has crashed the runtime, or will not.
    pub(crate) fn end_unwinding(&self, goroutine: u64) {
        lock(&self.list).unwinding.retain(|one| one.goroutine != goroutine);
        self.unwound.notify_all();
    }

    /// Begins a call, before its main can run, because a goroutine that the main spawns may crash
    /// at once.
    ///
    /// `local` must be set if the calling thread polls the main itself.
    pub(crate) fn enter(&'static self, local: Option<LocalMain>) -> BlockOnCall {
        let mut list = lock(&self.list);
        list.last_key += 1;
        let (polls, crashed, end) = Default::default();
        let (key, caller) = (list.last_key, coop::caller());
        let main = AtomicU64::new(local.as_ref().map_or(0, |local| local.header.id()));
        let call = Arc::new(Call { key, caller, main, local, polls, crashed, end });
        list.calls.push(call.clone());
        BlockOnCall { calls: self, call }
    }

    /// Called by the monitor, which last called this `period` ago. Returns true while a crash waits
    /// for a call to end with it. Aborts the process if no call has done so in time because the
    /// poll of its main does not end: the main blocks its thread or computes.
    pub(crate) fn check_grace(&self, period: Duration) -> bool {
        let mut list = lock(&self.list);
        let grace = list.grace;
        let Some(waited) = &mut list.waited else { return false };
        *waited = waited.saturating_add(period);
        // A main that is not being polled sees the crash in its next poll.
        if *waited >= grace
            && grace != Duration::MAX
            && list.calls.iter().any(|call| call.has_crashed() && call.is_polled())
        {
            let _ = writeln!(
                io::stderr(),
                "gopark: no `block_on` took the panic within {grace:?}: its main blocks its thread"
            );
            process::abort();
        }
        true
    }

    /// Reports a panic that no join handle returns, and applies the policy. If the goroutine's
    /// runtime is shut down (`is_over`), it only reports.
    #[cold]
    pub(crate) fn unrecovered(
        &self,
        goroutine: u64,
        spawned_at: &Location<'_>,
        payload: Caught,
        is_over: impl FnOnce() -> bool,
    ) {
        report(goroutine, spawned_at);
        let mut list = lock(&self.list);
        if list.on_panic == OnPanic::Isolate || is_over() {
            return;
        }
        if list.calls.is_empty() {
            process::abort();
        }
        let text = payload.text().to_owned();
        list.waited.get_or_insert_default();
        let mut payload = Some(payload);
        let mut wakers = Vec::new();
        for call in &list.calls {
            let mut end = lock(&call.end);
            if end.crash.is_none() {
                end.crash =
                    Some(payload.take().unwrap_or_else(|| Caught::new(Box::new(text.clone()))));
                call.crashed.store(true, Ordering::Relaxed);
            }
            // One wake is enough: from now on each poll of the main sees the crash.
            wakers.extend(end.waker.take());
        }
        drop(list);
        self.unwound.notify_all();
        wakers.into_iter().for_each(TaskWaker::wake);
    }
}

/// A call of `block_on` in progress. Dropping it ends the call.
#[derive(Debug)]
pub(crate) struct BlockOnCall {
    calls: &'static BlockOnCalls,
    call: Arc<Call>,
}

fn report(goroutine: u64, spawned_at: &Location<'_>) {
    #[cfg(feature = "sim")]
    if simulated::is_quiet() {
        return;
    }
    let (file, line, column) = (spawned_at.file(), spawned_at.line(), spawned_at.column());
    let text = format!(
        "gopark: unrecovered panic in goroutine {goroutine}, spawned at {file}:{line}:{column}"
    );
    // A closed stderr must not cause a second panic.
    let _ = writeln!(io::stderr(), "{text}");
}

impl BlockOnCall {
    /// Wraps the call's main, so that a crash ends it.
    pub(crate) fn until_crash<F>(
        &self,
        main: F,
        observer: Option<&'static Observer>,
    ) -> UntilCrash<F> {
        UntilCrash { main, call: self.call.clone(), observer, registered: false }
    }

    /// Runs `poll`, of a goroutine on the main's thread, and counts it as a poll of the main.
    pub(crate) fn count_poll(&self, poll: impl FnOnce()) {
        self.call.count_poll();
        poll();
        self.call.count_poll();
    }

    /// Returns true if a crash ends the call.
    #[cfg(feature = "sim")]
    pub(crate) fn has_crashed(&self) -> bool {
        self.call.has_crashed()
    }

    /// Sets the goroutine that is the main.
    pub(crate) fn set_main(&self, header: &Header) {
        self.call.main.store(header.id(), Ordering::Relaxed);
    }

    /// Ends the call. A crash before this returns wins against the main's own result. So this waits
    /// for goroutines that may be about to crash the runtime, but not for long.
    pub(crate) fn end(self) -> Ended {
        let may_crash = |list: &mut List| {
            list.on_panic == OnPanic::Crash
                && list.unwinding.iter().any(|one| one.detached && one.last_key >= self.call.key)
                && !self.call.has_crashed()
        };
        drop(self.calls.unwound.wait_timeout_while(
            lock(&self.calls.list),
            UNWINDING_GRACE,
            may_crash,
        ));
        self.leave()
    }

    /// Removes the call from the list, unless that was done.
    fn leave(&self) -> Ended {
        let mut list = lock(&self.calls.list);
        let calls = list.calls.len();
        list.calls.retain(|call| !Arc::ptr_eq(call, &self.call));
        if list.calls.len() < calls {
            list.polls_of_ended =
                list.polls_of_ended.wrapping_add(self.call.polls.load(Ordering::Relaxed));
        }
        let crash = lock(&self.call.end).crash.take();
        if crash.is_some() {
            list.waited = None;
        }
        Ended { crash, is_last: list.calls.is_empty() }
    }
}

impl Drop for BlockOnCall {
    fn drop(&mut self) {
        drop(self.leave());
    }
}

/// How a call of `block_on` has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The payload of the crash that has ended it.
    pub(crate) crash: Option<Caught>,
    /// No other call is in progress. Of calls that end at the same time, exactly one is the last.
    pub(crate) is_last: bool,
}

/// Functions that are called at each poll of a main: when the poll begins, when the main completes
/// in that poll, and when the poll ends.
#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) begins: fn(),
    pub(crate) returns: fn(),
    pub(crate) ends: fn(),
}

/// A guard for an observed poll of a main.
struct Observed(&'static Observer);

impl Observed {
    fn begin(observer: &'static Observer) -> Self {
        (observer.begins)();
        Self(observer)
    }

    fn returns(&self) {
        (self.0.returns)();
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        (self.0.ends)();
    }
}

pin_project! {
    /// A main that returns `None` once a crash has ended its call of `block_on`. It must be polled
    /// with the main's own waker.
    pub(crate) struct UntilCrash<F> {
        #[pin]
        main: F,
        call: Arc<Call>,
        observer: Option<&'static Observer>,
        registered: bool,
    }
}

impl<F: Future> Future for UntilCrash<F> {
    type Output = Option<F::Output>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let this = self.project();
        if !mem::replace(this.registered, true) {
            this.call.register(cx);
        }
        // Relaxed: the lock in `register`, or the wake, orders the load after a crash that this
        // must see.
        if this.call.has_crashed() {
            return Poll::Ready(None);
        }
        this.call.count_poll();
        let observed = this.observer.map(Observed::begin);
        let local = this.call.local.as_ref().map(|local| &local.header);
        let polled = coop::on_behalf_of(this.call.caller, local, || this.main.poll(cx));
        this.call.count_poll();
        if polled.is_ready() {
            // A main that is a goroutine records its end itself.
            local.into_iter().for_each(Header::set_ended);
            observed.iter().for_each(Observed::returns);
        }
        polled.map(Some)
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
