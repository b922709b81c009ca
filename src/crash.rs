//! Panics that no join handle returns: the policy, the report, and how a crash ends the calls of
//! `block_on`.

use std::any::Any;
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
use crate::panics::{contain, lock, panic_text};
use crate::platform::heavy_fence;
#[cfg(feature = "sim")]
use crate::simulated;
use crate::threads;
use crate::waker::TaskWaker;

/// What to do about a panic that nobody will see.
///
/// A panic in a goroutine whose [`JoinHandle`](crate::JoinHandle) is alive is the handle's result.
/// Every other panic is unrecovered: the panic hook has printed it, one more line names the
/// goroutine and where it was spawned, and then this decides.
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
    /// the panic on its caller; if none is in progress, the process aborts. It also aborts if that
    /// takes longer than [`Builder::crash_grace`](crate::Builder::crash_grace) because a main
    /// blocks its thread.
    ///
    /// A main that returns meanwhile waits for a goroutine without a handle that has woken others
    /// while it unwinds, but for at most half a second. While the panic hook still prints, nothing
    /// has been woken yet, and main wins.
    #[default]
    Crash,
    /// The goroutine ends, the rest goes on.
    Isolate,
}

/// What to do when all goroutines are asleep: every [`block_on`](crate::block_on) in progress
/// waits, no goroutine can run, no timer is armed that would wake one, and no blocking call runs,
/// for a second. Go: "all goroutines are asleep - deadlock!".
///
/// It is judged over all runtimes of the process. It is *proved* if every thread of the process is
/// one of this crate's or waits in a `block_on`, and every goroutine waits in an operation of this
/// crate, or for a future of another crate that has not cloned its waker: then nothing can wake
/// them. Where other threads exist, one of them may. Threads can be counted on Linux; elsewhere
/// nothing is proved.
///
/// Whether a future of another crate has cloned the waker is not recorded in each poll. When all
/// else would prove a deadlock, the goroutines that wait for such futures are polled once more to
/// find out; one that wakes itself in that poll is asked three times at most, and leaves it
/// unproved. A `select!` or a join is an operation of this crate if one of the waits in it is. The
/// main of a [`block_on_local`](crate::block_on_local) is not asked, and leaves it unproved.
///
/// ```
/// use gopark::{OnDeadlock, Runtime};
///
/// let rt = Runtime::builder().on_deadlock(OnDeadlock::Crash).build().unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDeadlock {
    /// A proved deadlock is reported on stderr, once, until something moves.
    #[default]
    Default,
    /// One that is not proved is reported as well: then the report says "nothing inside the runtime
    /// can wake them".
    Report,
    /// A proved deadlock is an unrecovered panic of the runtime, whose text is the report: under
    /// [`OnPanic::Crash`] each `block_on` raises it. Others are not reported.
    Crash,
    /// Nothing is reported.
    Ignore,
}

/// The payload of a panic.
pub(crate) type Payload = Box<dyn Any + Send>;

/// The calls of `block_on` in progress, and the policy that decides whether an unrecovered panic
/// ends them.
///
/// A call ends early in one way, whichever thread polls its main: the crash is noted in the
/// [`Call`], the main's waker is called, and the main's next poll sees the note ([`UntilCrash`]).
#[derive(Debug, Default)]
pub(crate) struct BlockOnCalls {
    list: Mutex<List>,
    /// Notified when a goroutine does not unwind any more, or has crashed.
    unwound: Condvar,
}

/// The default of [`Builder::crash_grace`](crate::Builder::crash_grace).
pub(crate) const CRASH_GRACE: Duration = Duration::from_secs(1);

/// How long the end of a main waits for goroutines that unwind: a destructor in there may compute,
/// or block, for ever.
const UNWINDING_GRACE: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct List {
    on_panic: OnPanic,
    on_deadlock: OnDeadlock,
    /// How long a crash waits for mains that are being polled.
    grace: Duration,
    /// How long the crash of some calls has waited; `None` if one has ended with it.
    waited: Option<Duration>,
    calls: Vec<Arc<Call>>,
    /// Of the calls that have ended.
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
    /// The latest call then. A later one has not ended because of it.
    last_key: u64,
}

/// A call of `block_on`.
#[derive(Debug)]
struct Call {
    key: u64,
    /// Which thread calls, and whether it is one of this crate's.
    caller: usize,
    is_own: bool,
    /// The id of the main.
    main: AtomicU64,
    /// Of a main that its own thread polls.
    local: Option<LocalMain>,
    /// Counts the begins and the ends of the main's polls: odd while it is being polled.
    polls: AtomicU32,
    /// There is, or was, a crash in `end`. Lets a main's poll do without the lock.
    crashed: AtomicBool,
    /// Locked under the list's lock, or alone.
    end: Mutex<End>,
}

/// A main that its own thread polls.
#[derive(Debug)]
pub(crate) struct LocalMain {
    /// What it notes.
    pub(crate) header: Header,
    /// The goroutines beside it.
    pub(crate) queue: Arc<LocalQueue>,
}

/// How a call ends early.
#[derive(Debug, Default)]
struct End {
    /// The main's, once it has been polled.
    waker: Option<TaskWaker>,
    /// The payload that the call resumes.
    crash: Option<Payload>,
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

    /// A poll of the main begins, or ends.
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

    /// What to do about a deadlock. `None` if there is no call, which would wait.
    pub(crate) fn on_deadlock(&self) -> Option<OnDeadlock> {
        let list = lock(&self.list);
        (!list.calls.is_empty()).then_some(list.on_deadlock)
    }

    /// Calls `f` with the id of each call's main, and with which thread calls, unless it is one of
    /// this crate's.
    pub(crate) fn each(&self, mut f: impl FnMut(u64, Option<usize>)) {
        let list = lock(&self.list);
        list.calls.iter().for_each(|call| {
            f(call.main.load(Ordering::Relaxed), (!call.is_own).then_some(call.caller));
        });
    }

    /// Calls `f` with each main that its own thread polls, and whether it is being polled.
    pub(crate) fn each_local(&self, mut f: impl FnMut(&Header, bool)) {
        let list = lock(&self.list);
        for call in &list.calls {
            call.local.iter().for_each(|local| f(&local.header, call.is_polled()));
        }
    }

    /// Calls `queued` with each goroutine that waits for the poll of such a thread, and `polled`
    /// with each that is in one.
    pub(crate) fn each_local_goroutine(
        &self,
        mut queued: impl FnMut(&Header),
        mut polled: impl FnMut(Polled),
    ) {
        let list = lock(&self.list);
        let locals = list.calls.iter().filter_map(|call| call.local.as_ref());
        locals.for_each(|local| local.queue.inspect(&mut queued).into_iter().for_each(&mut polled));
    }

    /// The goroutines of the innermost call on this thread, if that polls its main.
    pub(crate) fn local_queue(&self) -> Option<Arc<LocalQueue>> {
        let list = lock(&self.list);
        let mut queues =
            list.calls.iter().rev().filter_map(|call| Some(&call.local.as_ref()?.queue));
        queues.find(|queue| queue.is_here()).cloned()
    }

    /// Changes with each poll of a main.
    pub(crate) fn polls(&self) -> u32 {
        let list = lock(&self.list);
        let begun = list.polls_of_ended.wrapping_add(list.last_key as u32);
        list.calls
            .iter()
            .fold(begun, |sum, call| sum.wrapping_add(call.polls.load(Ordering::Relaxed)))
    }

    /// True if a main is being polled, or its thread has goroutines to poll.
    pub(crate) fn is_polled(&self) -> bool {
        let has_work = |local: &LocalMain| local.queue.has_work();
        lock(&self.list)
            .calls
            .iter()
            .any(|call| call.is_polled() || call.local.as_ref().is_some_and(has_work))
    }

    /// True if an unrecovered panic ends the calls.
    pub(crate) fn crashes(&self) -> bool {
        lock(&self.list).on_panic == OnPanic::Crash
    }

    /// True if there are none, and no crash may be on its way.
    #[cfg(all(test, not(gopark_loom)))]
    pub(crate) fn is_empty(&self) -> bool {
        let list = lock(&self.list);
        list.calls.is_empty() && list.unwinding.is_empty()
    }

    /// The goroutine, which runs on this thread, wakes others while it unwinds.
    pub(crate) fn begin_unwinding(&self, header: &Header) {
        let mut list = lock(&self.list);
        header.set_unwinding();
        // Either this sees that the handle is gone, or the handle that goes sees the flag, and
        // calls `detached` after this.
        let detached = !heavy_fence() || header.is_detached();
        let last_key = list.last_key;
        list.unwinding.push(Unwinding { goroutine: header.id(), detached, last_key });
    }

    /// The handle of a goroutine that perhaps unwinds is gone.
    #[cold]
    pub(crate) fn detached(&self, goroutine: u64) {
        let mut list = lock(&self.list);
        list.unwinding
            .iter_mut()
            .filter(|one| one.goroutine == goroutine)
            .for_each(|one| one.detached = true);
    }

    /// The goroutine does not unwind any more: it has crashed the runtime, or will not.
    pub(crate) fn end_unwinding(&self, goroutine: u64) {
        lock(&self.list).unwinding.retain(|one| one.goroutine != goroutine);
        self.unwound.notify_all();
    }

    /// Enters a call, before its main can run: what the main spawns may crash at once.
    ///
    /// `local` is of a main that its own thread polls.
    pub(crate) fn enter(&'static self, local: Option<LocalMain>) -> BlockOnCall {
        let mut list = lock(&self.list);
        list.last_key += 1;
        let (polls, crashed, end) = Default::default();
        let (key, caller, is_own) = (list.last_key, coop::caller(), threads::is_own());
        let main = AtomicU64::new(local.as_ref().map_or(0, |local| local.header.id()));
        let call = Arc::new(Call { key, caller, is_own, main, local, polls, crashed, end });
        list.calls.push(call.clone());
        BlockOnCall { calls: self, call }
    }

    /// The monitor has waited for so long: a crash waits for calls of `block_on`. Aborts the
    /// process if none has ended with it in time, and the poll of a main has not ended: the main
    /// blocks its thread, or computes. True while a crash waits.
    pub(crate) fn check_grace(&self, period: Duration) -> bool {
        let mut list = lock(&self.list);
        let grace = list.grace;
        let Some(waited) = &mut list.waited else { return false };
        *waited = waited.saturating_add(period);
        // A main whose next poll begins sees the crash.
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

    /// Reports a panic that no join handle returns, and acts on it. If the goroutine's runtime is
    /// shut down (`is_over`), the report is all.
    #[cold]
    pub(crate) fn unrecovered(
        &self,
        goroutine: u64,
        spawned_at: &Location<'_>,
        payload: Payload,
        is_over: impl FnOnce() -> bool,
    ) {
        report(goroutine, spawned_at);
        let mut list = lock(&self.list);
        if list.on_panic == OnPanic::Isolate || is_over() {
            drop(list);
            contain(|| drop(payload));
            return;
        }
        if list.calls.is_empty() {
            process::abort();
        }
        let text = panic_text(&*payload).to_owned();
        list.waited.get_or_insert_default();
        let mut payload = Some(payload);
        let mut wakers = Vec::new();
        for call in &list.calls {
            let mut end = lock(&call.end);
            if end.crash.is_none() {
                end.crash = Some(payload.take().unwrap_or_else(|| Box::new(text.clone())));
                call.crashed.store(true, Ordering::Relaxed);
            }
            // Once is enough: from here on each poll of the main sees the crash.
            wakers.extend(end.waker.take());
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
    // If stderr is closed, that is no reason for a second panic.
    let _ = writeln!(io::stderr(), "{text}");
}

impl BlockOnCall {
    /// The call's main, which a crash ends.
    pub(crate) fn until_crash<F>(
        &self,
        main: F,
        observer: Option<&'static Observer>,
    ) -> UntilCrash<F> {
        UntilCrash { main, call: self.call.clone(), observer, registered: false }
    }

    /// Runs `poll`, of a goroutine beside the main, as a poll of the main.
    pub(crate) fn count_poll(&self, poll: impl FnOnce()) {
        self.call.count_poll();
        poll();
        self.call.count_poll();
    }

    /// True if a crash ends the call.
    #[cfg(feature = "sim")]
    pub(crate) fn has_crashed(&self) -> bool {
        self.call.has_crashed()
    }

    /// The main is that goroutine.
    pub(crate) fn set_main(&self, header: &Header) {
        self.call.main.store(header.id(), Ordering::Relaxed);
    }

    /// Ends the call. A crash that comes before this returns wins against main's own result, and
    /// one that may be on its way is waited for, but not for long.
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

    /// Leaves the list, unless that is done.
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
    pub(crate) crash: Option<Payload>,
    /// No other call is in progress. Of calls that end together one is the last.
    pub(crate) is_last: bool,
}

/// What is called at each poll of a main: when it begins, when the main returns in it, and when it
/// ends.
#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) begins: fn(),
    pub(crate) returns: fn(),
    pub(crate) ends: fn(),
}

/// A poll of a main.
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
    /// A main that ends with `None` when a crash has ended its call of `block_on`. It must be
    /// polled with the main's own waker.
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
        // Relaxed: the lock in `register`, or the wake, orders it after the crash that this must
        // see.
        if this.call.has_crashed() {
            return Poll::Ready(None);
        }
        this.call.count_poll();
        let observed = this.observer.map(Observed::begin);
        let local = this.call.local.as_ref().map(|local| &local.header);
        let polled = coop::on_behalf_of(this.call.caller, local, || this.main.poll(cx));
        this.call.count_poll();
        if polled.is_ready() {
            // A goroutine says so itself.
            local.into_iter().for_each(Header::set_ended);
            observed.iter().for_each(Observed::returns);
        }
        polled.map(Some)
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
