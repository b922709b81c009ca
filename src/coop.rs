//! The state that an operation shares with the goroutine that runs it: budget, wait note, worker.
//!
//! Channels and locks work on any executor. On a gopark worker they also spend from a budget, and
//! note where they wait. Outside a worker everything here is a no-op.

use std::cell::Cell;
use std::future::poll_fn;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use crate::clock;
pub(crate) use crate::header::Reason;
use crate::header::{Header, Keeper, Note};
use crate::panics::contain;
#[cfg(feature = "sim")]
use crate::simulated;

/// The number of operations that may complete in one poll before the goroutine must let others run.
pub(crate) const BUDGET: u32 = 128;

/// The budget outside goroutines: no limit.
const UNLIMITED: u32 = u32::MAX;

/// Maximum number of budgets in a row that a goroutine gets in one poll because no other goroutine
/// can run. It is limited because an abort, a shutdown, and the retirement of a processor wait for
/// the end of the poll.
const EXTENSIONS: u32 = 15;

/// The state of this module on one thread.
struct Local {
    /// Completions left in this poll.
    budget: Cell<u32>,
    /// The waker with which the running goroutine is polled; null outside its poll. Its address
    /// identifies it, because another waker may have the same data.
    waker: Cell<*const Waker>,
    /// The running goroutine's header; null outside a worker.
    header: Cell<*const Header>,
    /// The id of the running goroutine if it has woken others while it unwound, otherwise 0.
    unwinding: Cell<u64>,
    /// The id of the processor that this thread holds.
    worker: Cell<Option<usize>>,
    /// The result of [`caller`], if that is another thread's number; otherwise 0.
    caller: Cell<usize>,
    /// The header of the main that this thread polls itself, or of the job that it runs, or null.
    local_main: Cell<*const Header>,
    /// The main in `local_main` has a budget, because goroutines run next to it on its thread.
    main_gives_way: Cell<bool>,
    /// On a worker, the hooks of its executor, and how often `is_alone` may still renew the budget.
    hooks: Cell<Option<&'static Hooks>>,
    extensions: Cell<u32>,
}

// Blocking operations work in destructors of thread-locals, where a thread-local with a destructor
// may already have been destroyed.
const _: () = assert!(!std::mem::needs_drop::<Local>());

thread_local! {
    static LOCAL: Local = const {
        Local {
            budget: Cell::new(UNLIMITED),
            waker: Cell::new(ptr::null()),
            header: Cell::new(ptr::null()),
            unwinding: Cell::new(0),
            worker: Cell::new(None),
            caller: Cell::new(0),
            local_main: Cell::new(ptr::null()),
            main_gives_way: Cell::new(false),
            hooks: Cell::new(None),
            extensions: Cell::new(EXTENSIONS),
        }
    };
}

/// The functions of the executor that this module calls on its workers.
pub(crate) struct Hooks {
    /// Returns true if no other goroutine can run, so that one that is out of budget may continue.
    pub(crate) is_alone: fn() -> bool,
    /// Called when the running goroutine wakes others while it unwinds: it may be about to crash
    /// the runtime.
    pub(crate) unwinding: fn(&Header),
    /// Called when the goroutine of that id has caught its panic, or its poll has ended.
    pub(crate) unwound: fn(u64),
    /// Calls the function. If the running goroutine may have been freed, nothing refers to it
    /// meanwhile.
    pub(crate) outside: fn(&mut dyn FnMut()),
    /// Calls the function, which blocks the thread until another one wakes it.
    pub(crate) blocked: fn(&mut dyn FnMut()),
}

/// Makes this thread a worker of the executor with these hooks.
pub(crate) fn set_executor(hooks: &'static Hooks) {
    LOCAL.with(|l| l.hooks.set(Some(hooks)));
}

/// Makes this thread temporarily a worker of the executor with these hooks, which holds the
/// processor with the id `slot`. Returns the argument for [`restore_executor`].
#[cfg(feature = "sim")]
pub(crate) fn replace_executor(
    hooks: &'static Hooks,
    slot: usize,
) -> (Option<&'static Hooks>, Option<usize>) {
    LOCAL.with(|l| (l.hooks.replace(Some(hooks)), l.worker.replace(Some(slot))))
}

#[cfg(feature = "sim")]
pub(crate) fn restore_executor((hooks, slot): (Option<&'static Hooks>, Option<usize>)) {
    LOCAL.with(|l| {
        l.hooks.set(hooks);
        l.worker.set(slot);
    });
}

/// Begins the poll of a goroutine on this thread, which is a worker, in that
/// [epoch](crate::clock::coarse_epoch).
///
/// # Safety
///
/// `header` stays valid until [`leave`].
#[inline(always)]
pub(crate) unsafe fn enter(header: *const Header, epoch: u32) {
    LOCAL.with(|l| {
        l.budget.set(BUDGET);
        l.extensions.set(EXTENSIONS);
        l.header.set(header);
    });
    // SAFETY: the caller ensures that it is valid.
    unsafe { &*header }.begin_poll(epoch);
}

/// Runs `poll`, which polls the goroutine, with an empty budget, so that each operation asks
/// [`simulated::goes_on`].
#[cfg(feature = "sim")]
pub(crate) fn simulate<R>(header: &Header, epoch: u32, poll: impl FnOnce() -> R) -> R {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            leave();
        }
    }
    let _leave = Leave;
    // SAFETY: `header` is valid until `leave`, which is called before this function returns.
    unsafe { enter(header, epoch) };
    LOCAL.with(|l| l.budget.set(0));
    poll()
}

/// Records that the goroutine's future is polled with this waker, which does not move until
/// [`leave`] or [`forget_waker`].
#[inline(always)]
pub(crate) fn polled_with(waker: &Waker) {
    LOCAL.with(|l| l.waker.set(waker));
}

/// Forgets the waker before the goroutine's future is dropped: the waker may have been dropped, and
/// a waker in a destructor may have its address.
#[inline(always)]
pub(crate) fn forget_waker() {
    LOCAL.with(|l| l.waker.set(ptr::null()));
}

/// Runs `f`, which may poll or drop another goroutine, within the poll of the running one.
pub(crate) fn keep_waker<R>(f: impl FnOnce() -> R) -> R {
    let waker = LOCAL.with(|l| l.waker.get());
    let result = f();
    LOCAL.with(|l| l.waker.set(waker));
    result
}

/// Ends the poll that [`enter`] has begun.
#[inline(always)]
pub(crate) fn leave() {
    LOCAL.with(|l| {
        l.waker.set(ptr::null());
        l.header.set(ptr::null());
        if l.unwinding.get() != 0 {
            end_unwinding();
        }
    });
}

/// Runs `f`, a foreign waker that waits for a goroutine. When it is called the goroutine has ended,
/// and perhaps has been freed, but its poll goes on.
pub(crate) fn outside(f: impl FnOnce()) {
    let mut f = Some(f);
    let mut call = || f.take().into_iter().for_each(|f| f());
    match LOCAL.with(|l| l.hooks.get()) {
        Some(hooks) => (hooks.outside)(&mut call),
        None => call(),
    }
}

/// Runs `f`, which blocks this thread until another one wakes it.
pub(crate) fn blocked(mut f: impl FnMut()) {
    match LOCAL.with(|l| l.hooks.get()) {
        Some(hooks) => (hooks.blocked)(&mut f),
        None => f(),
    }
}

/// Runs `f`, which must not unwind, as if no goroutine was polled.
pub(crate) fn without_header(f: impl FnOnce()) {
    let header = LOCAL.with(|l| l.header.replace(ptr::null()));
    f();
    LOCAL.with(|l| l.header.set(header));
}

/// Must be called before the running goroutine wakes a task, or has an effect that other tasks see
/// without a wake. If the goroutine unwinds, it may be about to crash the runtime, and the crash
/// must win against a main that returns because of this effect.
#[inline(always)]
pub(crate) fn note_unwinding() {
    if std::thread::panicking() {
        note_unwinding_slow();
    }
}

// `extern "C"`, because such a function does not unwind: then a wake needs no landing pad, which
// would keep its task in memory.
#[cold]
extern "C" fn note_unwinding_slow() {
    LOCAL.with(|l| {
        let noted = l.unwinding.get() != 0;
        if let (Some(hooks), false) = (l.hooks.get(), noted) {
            with_header(|header| {
                l.unwinding.set(header.id());
                (hooks.unwinding)(header);
            });
        }
    });
}

/// Called when the running goroutine has caught a panic. If it had woken others while it unwound,
/// reports that it no longer unwinds, and so will not crash the runtime because of this panic.
pub(crate) fn note_caught() {
    if LOCAL.with(|l| l.unwinding.get() != 0) && !std::thread::panicking() {
        end_unwinding();
    }
}

#[cold]
#[inline(never)]
fn end_unwinding() {
    LOCAL.with(|l| {
        let id = l.unwinding.take();
        if let Some(hooks) = l.hooks.get() {
            (hooks.unwound)(id);
        }
    });
}

/// Records that this thread holds the processor with that id, or none.
pub(crate) fn set_worker(slot: Option<usize>) {
    LOCAL.with(|l| l.worker.set(slot));
}

/// Returns the id of the processor that this thread holds.
#[inline]
pub(crate) fn worker_index() -> Option<usize> {
    LOCAL.with(|l| l.worker.get())
}

/// Returns a nonzero number of this thread, which is unique as long as the thread lives.
pub(crate) fn thread() -> usize {
    LOCAL.with(|l| ptr::from_ref(l).addr())
}

/// Returns the nonzero number of the thread for which this one runs: its own number or, in the poll
/// of a main, that of the thread that called `block_on`.
pub(crate) fn caller() -> usize {
    LOCAL.with(|l| if l.caller.get() == 0 { thread() } else { l.caller.get() })
}

/// Runs `poll`, which polls a main, on behalf of the thread `caller`, which waits for the main. If
/// `caller` is this thread, the main is not a goroutine, and `local` is its header. A job runs in
/// the same way.
pub(crate) fn on_behalf_of<R>(
    caller: usize,
    local: Option<&Header>,
    poll: impl FnOnce() -> R,
) -> R {
    struct Restore(usize, *const Header);
    impl Drop for Restore {
        fn drop(&mut self) {
            LOCAL.with(|l| {
                l.caller.set(self.0);
                l.local_main.set(self.1);
            });
        }
    }
    let header = local.map_or(ptr::null(), ptr::from_ref);
    let _restore = LOCAL.with(|l| {
        if local.is_some() && l.main_gives_way.get() {
            l.budget.set(BUDGET);
        }
        Restore(l.caller.replace(caller), l.local_main.replace(header))
    });
    local.into_iter().for_each(|header| header.begin_poll(clock::coarse_epoch()));
    poll()
}

/// Gives the main that this thread polls a budget, because a goroutine runs next to it from now on.
pub(crate) fn let_main_give_way() {
    LOCAL.with(|l| {
        if !l.main_gives_way.replace(true) && l.header.get().is_null() {
            l.budget.set(l.budget.get().min(BUDGET));
        }
    });
}

/// Sets whether the main that this thread polls, or is about to poll, has a budget. Returns the
/// previous setting.
pub(crate) fn set_main_gives_way(gives_way: bool) -> bool {
    LOCAL.with(|l| l.main_gives_way.replace(gives_way))
}

/// Returns true if the operation that was called at `site` may begin. If it returns false, the
/// budget is spent, and the task has been woken: the caller must return `Pending` without having
/// registered anything.
#[inline(always)]
pub(crate) fn poll_ready<'a>(
    cx: &mut Context<'_>,
    site: impl Into<Option<&'static Location<'static>>>,
    reason: Reason,
    object: impl Into<Option<&'a Object>>,
) -> bool {
    has_budget() || out_of_budget(cx, site.into(), reason, object.into())
}

/// Returns true if an operation may begin without further checks.
#[inline(always)]
pub(crate) fn has_budget() -> bool {
    LOCAL.with(|l| l.budget.get() != 0)
}

/// The object of an operation: a channel or a lock. It is empty except in a build for simulations,
/// where it records the simulation that used it.
#[derive(Debug)]
pub(crate) struct Object {
    #[cfg(feature = "sim")]
    user: simulated::User,
}

impl Object {
    pub(crate) const fn new() -> Self {
        Self {
            #[cfg(feature = "sim")]
            user: simulated::User::new(),
        }
    }

    /// Makes the object a new one, with no use.
    #[cfg(feature = "net")]
    #[inline]
    pub(crate) fn reset(&self) {
        #[cfg(feature = "sim")]
        self.user.reset();
    }

    /// Records a use at that place, without a wait.
    #[cfg(feature = "sim")]
    pub(crate) fn tried(&self, site: &Location<'_>) {
        if simulated::is_on() {
            self.user.set(Some(site), None);
        }
    }
}

#[cold]
#[inline(never)]
#[cfg_attr(not(feature = "sim"), expect(unused_variables, reason = "a simulation shows them"))]
fn out_of_budget(
    cx: &mut Context<'_>,
    site: Option<&'static Location<'static>>,
    reason: Reason,
    object: Option<&Object>,
) -> bool {
    note_caught();
    LOCAL.with(|l| {
        let gives_way = l.main_gives_way.get() && !l.local_main.get().is_null();
        if l.header.get().is_null() && !gives_way {
            // Not a goroutine, so there are no others to be fair to.
            l.budget.set(UNLIMITED);
            return true;
        }
        if cx.waker().data().is_null() {
            // A waker without a task: this poll is a single attempt (`now_or_never`) and is not
            // repeated. It may spend one unit, so that the goroutine gives way afterwards.
            l.budget.set(1);
            return true;
        }
        #[cfg(feature = "sim")]
        if let Some(goes_on) = goes_on_simulated(cx, site, reason, object) {
            return goes_on;
        }
        if !ptr::eq(l.waker.get(), cx.waker()) {
            // An executor inside the goroutine (a nested `block_on`, a `FuturesUnordered`) polls.
            // It yields once per budget, and then may continue: only the goroutine itself can end
            // this poll.
            l.budget.set(BUDGET);
        } else if l.extensions.get() > 0 && l.hooks.get().is_some_and(|hooks| (hooks.is_alone)()) {
            l.extensions.set(l.extensions.get() - 1);
            l.budget.set(BUDGET);
            return true;
        } else {
            l.extensions.set(0);
        }
        wake_current(cx);
        false
    })
}

/// In a simulation, decides whether the operation continues, or its goroutine gives way first.
#[cfg(feature = "sim")]
fn goes_on_simulated(
    cx: &mut Context<'_>,
    site: Option<&'static Location<'static>>,
    reason: Reason,
    object: Option<&Object>,
) -> Option<bool> {
    if !simulated::is_on() {
        return None;
    }
    if reason == Reason::Foreign {
        // A wait that polls others is not an operation itself: the inner ones ask.
        return Some(true);
    }
    // A poll that is not repeated cannot give way.
    let operation = simulated::Operation { site, reason, is_own: trusts(cx.waker()) };
    let goes_on = is_passing(cx) || simulated::goes_on(operation);
    if goes_on {
        object.into_iter().for_each(|object| object.user.set(site, Some(reason)));
        LOCAL.with(|l| l.budget.set(1));
    } else {
        wake_current(cx);
    }
    Some(goes_on)
}

/// Called when an operation waits. In a simulation, the next operation in the same poll, for
/// example in a join, must ask as well.
#[cfg(feature = "sim")]
fn let_next_ask() {
    if simulated::is_on() {
        LOCAL.with(|l| {
            if l.budget.get() == 1 {
                l.budget.set(0);
            }
        });
    }
}

/// Wakes the task that is being polled, so that it is polled again.
pub(crate) fn wake_current(cx: &Context<'_>) {
    // A foreign waker may panic, but that must not end this poll.
    contain(|| cx.waker().wake_by_ref());
}

/// Spends one unit for an operation that completed without waiting. No foreign code has run since
/// [`poll_ready`] returned true for it, so the budget is not empty.
#[inline(always)]
pub(crate) fn spend_one() {
    LOCAL.with(|l| l.budget.set(l.budget.get().wrapping_sub(1)));
}

/// Spends one unit for an operation that completed without waiting.
#[inline(always)]
pub(crate) fn spend() {
    LOCAL.with(|l| l.budget.set(l.budget.get().saturating_sub(1)));
}

/// Spends the rest of the budget: the goroutine's next operation lets others run.
pub(crate) fn spend_all() {
    LOCAL.with(|l| {
        if !l.header.get().is_null() && l.budget.get() <= BUDGET {
            l.budget.set(0);
        }
    });
}

/// A guard: until it is dropped, the thread has another budget. The drop restores the previous one.
pub(crate) struct Lent(u32);

impl Lent {
    #[inline]
    fn new(budget: u32) -> Self {
        Lent(LOCAL.with(|l| l.budget.replace(budget)))
    }

    #[inline]
    pub(crate) fn unlimited() -> Self {
        Self::new(UNLIMITED)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        LOCAL.with(|l| l.budget.set(self.0));
    }
}

/// Returns a future for an operation that has nothing to wait for, so that it spends from the
/// budget as well.
pub(crate) fn spent(site: &'static Location<'static>, reason: Reason) -> impl Future<Output = ()> {
    poll_fn(move |cx| {
        if !poll_ready(cx, site, reason, None) {
            return Poll::Pending;
        }
        spend();
        Poll::Ready(())
    })
}

/// A goroutine's waker, lent to one poll. It records in the goroutine's header whether it is
/// cloned.
pub(crate) struct Witness<'a> {
    waker: &'a Waker,
    header: &'a Header,
}

/// The functions of a [`Witness`], which is the data. A clone is a clone of the goroutine's waker.
static WITNESS: RawWakerVTable = RawWakerVTable::new(
    |data| {
        // SAFETY: this is the data of a `Waker` that `Witness::waker` has returned, and the witness
        // is still borrowed.
        let Witness { waker, header } = unsafe { &*data.cast() };
        header.set_keeper(Keeper::Some);
        let clone = ManuallyDrop::new(Waker::clone(waker));
        RawWaker::new(clone.data(), clone.vtable())
    },
    |_| unreachable!("it is lent, and never consumed"),
    // SAFETY: as above.
    |data| unsafe { (*data.cast::<Witness<'_>>()).waker.wake_by_ref() },
    |_| (),
);

impl<'a> Witness<'a> {
    /// Creates the witness of a poll that begins: so far nothing has cloned the waker.
    pub(crate) fn new(waker: &'a Waker, header: &'a Header) -> Self {
        header.set_keeper(Keeper::None);
        Self { waker, header }
    }

    /// Returns the waker for the poll.
    ///
    /// # Safety
    ///
    /// `self` must not move while the result is used. Only clones of the result may outlive that
    /// use.
    pub(crate) unsafe fn waker(&self) -> ManuallyDrop<Waker> {
        // SAFETY: the caller keeps the data in place; any thread may use both fields.
        ManuallyDrop::new(unsafe { Waker::new(ptr::from_ref(self).cast(), &WITNESS) })
    }
}

/// Returns true if this is the waker of a [`Witness`] and has not been cloned.
#[inline(always)]
fn is_uncloned_witness(waker: &Waker) -> bool {
    #[cold]
    fn is_uncloned() -> bool {
        with_header(|header| header.flags().keeper() == Keeper::None) == Some(true)
    }
    ptr::eq(waker.vtable(), &raw const WITNESS) && is_uncloned()
}

/// Returns true if this is the waker with which the running goroutine is polled. Its clone and drop
/// run no foreign code, so they may happen under a lock. A wrapper may have the same data with
/// functions of its own, so neither a wrapper nor a clone is trusted.
#[inline(always)]
pub(crate) fn trusts(waker: &Waker) -> bool {
    LOCAL.with(|l| ptr::eq(l.waker.get(), waker))
}

/// As [`park_at`], for an operation with a trusted waker.
///
/// # Safety
///
/// In this poll, [`trusts`] returned true for the operation's waker.
#[inline(always)]
pub(crate) unsafe fn park_running(site: &'static Location<'static>, reason: Reason) {
    #[cfg(feature = "sim")]
    let_next_ask();
    // SAFETY: a waker is trusted only within the poll of a goroutine, between `enter` and `leave`,
    // so the header is set and valid.
    unsafe { (*LOCAL.with(|l| l.header.get())).note_park(Some(site), reason) }
}

/// Notes that the running goroutine parks in the operation that was called at `site`, if that is
/// known, and was polled with `cx`.
///
/// If the waker is not the goroutine's own, an executor inside the goroutine polls the operation,
/// and perhaps others that are not noted. So the note says that the goroutine may wait elsewhere as
/// well.
#[inline(always)]
pub(crate) fn park_at(
    cx: &Context<'_>,
    site: impl Into<Option<&'static Location<'static>>>,
    reason: Reason,
) {
    #[cfg(feature = "sim")]
    let_next_ask();
    if trusts(cx.waker()) {
        // SAFETY: as in `park_running`.
        unsafe { (*LOCAL.with(|l| l.header.get())).note_park(site.into(), reason) }
    } else {
        note_untrusted(site.into(), reason);
    }
}

#[cold]
#[inline(never)]
fn note_untrusted(site: Option<&'static Location<'static>>, reason: Reason) {
    if with_header(|header| header.note_park_elsewhere(site, reason)).is_none() {
        local_main().into_iter().for_each(|main| main.note_park(site, reason));
    }
}

/// Calls `f` with the running goroutine's header, if there is one.
fn with_header<R>(f: impl FnOnce(&Header) -> R) -> Option<R> {
    // SAFETY: the header is valid between `enter` and `leave`, and this thread is between the two.
    // At the end it may be freed before `leave`, but then only foreign wakers run, in `outside`.
    LOCAL.with(|l| unsafe { l.header.get().as_ref() }).map(f)
}

/// Returns true if this thread polls a goroutine.
pub(crate) fn is_polling() -> bool {
    LOCAL.with(|l| !l.header.get().is_null())
}

/// Returns the id of the goroutine or of the main that this thread polls.
pub(crate) fn goroutine() -> Option<u64> {
    with_noting(Header::id)
}

/// Calls `f` with the header in which this thread's waits are noted: that of the running goroutine,
/// or else of the main that it polls.
fn with_noting<R>(f: impl Fn(&Header) -> R) -> Option<R> {
    with_header(&f).or_else(|| local_main().map(&f))
}

fn local_main<'a>() -> Option<&'a Header> {
    // SAFETY: `on_behalf_of` borrows it until its poll ends, and this thread is in that poll.
    LOCAL.with(|l| unsafe { l.local_main.get().as_ref() })
}

/// Returns the current note of the running goroutine or main.
fn note() -> Option<Note> {
    with_noting(Header::note)
}

/// Restores an earlier note.
fn restore(note: Option<Note>) {
    note.into_iter().for_each(|note| _ = with_noting(|header| header.set_note(note)));
}

/// Runs `poll`, and then restores the previous note. For a poll of one part of a combined wait,
/// such as a `select!`, which makes its own note, and for a future that is dropped after the poll.
#[inline(never)]
pub(crate) fn without_note<R>(poll: impl FnOnce() -> R) -> R {
    let noted = note();
    let polled = poll();
    restore(noted);
    polled
}

/// The functions of wakers that wake no task. The data distinguishes them.
static NO_TASK: RawWakerVTable =
    RawWakerVTable::new(|data| RawWaker::new(data, &NO_TASK), |_| (), |_| (), |_| ());

const fn no_task(data: usize) -> Waker {
    // SAFETY: none of the functions accesses the data.
    unsafe { Waker::new(ptr::without_provenance(data), &NO_TASK) }
}

// These are statics, because a static has one address; `Waker::noop()` may have another table in
// each crate.
static LAST: Waker = no_task(1);
static ONCE: Waker = no_task(2);

/// Runs `poll` with the context of a `select!` that has a `default`: it tries each case once and
/// does not wait. The budget is unlimited, because an operation that must not wait must not yield
/// either.
pub(crate) fn try_once<R>(poll: impl FnOnce(&mut Context<'_>) -> R) -> R {
    let _unlimited = Lent::unlimited();
    poll(&mut Context::from_waker(&ONCE))
}

/// Returns true if no task waits for the polled future.
pub(crate) fn tries_once(cx: &Context<'_>) -> bool {
    cx.waker().will_wake(&ONCE) || cx.waker().will_wake(Waker::noop())
}

/// Polls a future that will be dropped if it is not ready. A channel operation in it that is not
/// complete leaves the queue, and one that would have to wait does not enter it, so that no other
/// operation finds it between this poll and the drop. So a send either returns that the value was
/// sent, or the value is not received.
///
/// The future may complete at least one operation, even if the budget is spent, because it is not
/// polled again.
pub(crate) fn last_poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    let _one = (!has_budget()).then(|| Lent::new(1));
    without_note(|| future.poll(&mut Context::from_waker(&LAST)))
}

/// Polls `operation` and, if that is pending, `limit`. If `limit` is ready, polls `operation` for
/// the last time, because `operation` may have become ready in between and must not become ready
/// afterwards. Returns `None` if `operation` is still pending then.
///
/// The note is that of the operation or, if it notes nothing, a foreign future at `site`.
// `track_caller`: a join inside takes its call site from here.
#[inline]
#[track_caller]
pub(crate) fn poll_limited<F: Future>(
    mut operation: Pin<&mut F>,
    cx: &mut Context<'_>,
    site: &'static Location<'static>,
    limit: impl FnOnce(&mut Context<'_>) -> Poll<()>,
) -> Poll<Option<F::Output>> {
    let noted = note();
    if let Poll::Ready(output) = operation.as_mut().poll(cx) {
        // A foreign operation has not spent from the budget.
        spend();
        return Poll::Ready(Some(output));
    }
    let is_uncloned = is_uncloned_witness(cx.waker());
    if limit(cx).is_pending() {
        if note() == noted {
            park_at(cx, site, Reason::Foreign);
        }
        // Only the limit has cloned the waker, the operation has not. The operation may have a
        // limit itself, and then has noted its own site.
        if is_uncloned {
            with_header(|header| header.set_keeper(Keeper::None));
        }
        return Poll::Pending;
    }
    restore(noted);
    Poll::Ready(match last_poll(operation) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

/// Returns true in a poll after which the polled future is dropped unless it is ready: in a
/// [`last_poll`] or in [`try_once`].
pub(crate) fn is_passing(cx: &Context<'_>) -> bool {
    is_last(cx.waker()) || cx.waker().will_wake(&ONCE)
}

/// Returns true if no task is woken for another poll: no task waits, or this is a [`last_poll`].
#[cfg(feature = "net")]
pub(crate) fn is_final(cx: &Context<'_>) -> bool {
    tries_once(cx) || is_last(cx.waker())
}

/// Returns true in a [`last_poll`].
pub(crate) fn is_last(waker: &Waker) -> bool {
    waker.will_wake(&LAST)
}
