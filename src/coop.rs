//! The few words by which an operation and the goroutine that runs it know of each other.
//!
//! Channels and locks speak to any executor; on a gopark worker they also spend from a budget and
//! leave word of where they wait. Outside a worker everything here is a no-op.

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

/// Operations that may complete in one poll before the goroutine must let others run.
pub(crate) const BUDGET: u32 = 128;

/// The budget of what is outside of it.
const UNLIMITED: u32 = u32::MAX;

/// How often in a row a goroutine gets another budget because there is nobody to give way to. Not
/// for ever: an abort, a shutdown, a processor that is to be retired wait for the end of its poll.
const EXTENSIONS: u32 = 15;

struct Local {
    /// Completions left in this poll.
    budget: Cell<u32>,
    /// The waker that the running goroutine is polled with, null outside its poll. Its address
    /// identifies it: another waker may have the same data.
    waker: Cell<*const Waker>,
    /// The running goroutine's header; null outside a worker.
    header: Cell<*const Header>,
    /// The id of the running goroutine if it has woken others while it unwound, else 0.
    unwinding: Cell<u64>,
    /// The slot of the processor that this thread holds.
    worker: Cell<Option<usize>>,
    /// What [`caller`] returns, if that is another thread's; else 0.
    caller: Cell<usize>,
    /// The header of the main that this thread polls outside of a worker, or null.
    local_main: Cell<*const Header>,
    /// Goroutines run beside that main, on its thread: it has a budget.
    main_gives_way: Cell<bool>,
    /// The executor, on a worker; and how often `is_alone` may be asked before the goroutine gives
    /// way in any case.
    hooks: Cell<Option<&'static Hooks>>,
    extensions: Cell<u32>,
}

// Blocking forms work in destructors of thread-locals, where a thread-local with a destructor may
// be gone.
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

/// What a worker asks of its executor, and tells it.
pub(crate) struct Hooks {
    /// True if a goroutine that is out of budget has no others to give way to.
    pub(crate) is_alone: fn() -> bool,
    /// The running goroutine wakes others while it unwinds: a crash may be on its way.
    pub(crate) unwinding: fn(&Header),
    /// The goroutine of that id has caught its panic, or its poll is over.
    pub(crate) unwound: fn(u64),
}

/// This thread is a worker of the executor with these hooks.
pub(crate) fn set_executor(hooks: &'static Hooks) {
    LOCAL.with(|l| l.hooks.set(Some(hooks)));
}

/// This thread is for a while a worker of an executor with these hooks, and holds the processor of
/// that slot. Returns what is to be given to [`restore_executor`].
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

/// A goroutine is about to be polled on this thread, which is a worker, in that
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
    // SAFETY: the caller's promise.
    unsafe { &*header }.begin_poll(epoch);
}

/// As [`enter`], with a budget of nothing: so that each operation asks [`simulated::goes_on`].
///
/// # Safety
///
/// As of [`enter`].
#[cfg(feature = "sim")]
pub(crate) unsafe fn enter_simulated(header: *const Header, epoch: u32) {
    // SAFETY: passed on to the caller.
    unsafe { enter(header, epoch) };
    LOCAL.with(|l| l.budget.set(0));
}

/// The goroutine's future is being polled with this waker, which stays where it is until [`leave`]
/// or [`forget_waker`].
#[inline(always)]
pub(crate) fn polled_with(waker: &Waker) {
    LOCAL.with(|l| l.waker.set(waker));
}

/// The goroutine's future is about to be dropped. Its waker may be gone, and a waker in a
/// destructor may have its address.
#[inline(always)]
pub(crate) fn forget_waker() {
    LOCAL.with(|l| l.waker.set(ptr::null()));
}

/// Runs `f`, which may end another goroutine, within the running one's poll.
pub(crate) fn keep_waker<R>(f: impl FnOnce() -> R) -> R {
    let waker = LOCAL.with(|l| l.waker.get());
    let result = f();
    LOCAL.with(|l| l.waker.set(waker));
    result
}

/// The poll is over.
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

/// The running goroutine is about to wake somebody, or to do what somebody may see without being
/// woken. If it unwinds, a crash may be on its way, which must win against a main that returns
/// because of this.
#[inline(always)]
pub(crate) fn note_unwinding() {
    if std::thread::panicking() {
        note_unwinding_slow();
    }
}

// Not of the Rust ABI: it does not unwind, so a wake needs no landing pad, which would keep its
// task in memory.
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

/// If the running goroutine has woken others while it unwound, and does not unwind any more, it has
/// caught the panic: no crash is on its way.
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

/// This thread now holds the processor of that slot, or none.
pub(crate) fn set_worker(slot: Option<usize>) {
    LOCAL.with(|l| l.worker.set(slot));
}

/// The slot of the processor that this thread holds.
#[inline]
pub(crate) fn worker_index() -> Option<usize> {
    LOCAL.with(|l| l.worker.get())
}

/// A number, not 0, of this thread: no other has it as long as this one lives.
pub(crate) fn thread() -> usize {
    LOCAL.with(|l| ptr::from_ref(l).addr())
}

/// A number, not 0, of the thread for which this one runs: its own, or in the poll of a main that
/// of the call of `block_on`.
pub(crate) fn caller() -> usize {
    LOCAL.with(|l| if l.caller.get() == 0 { thread() } else { l.caller.get() })
}

/// Runs `poll` for a thread that waits for it. If that thread is this one, the main is no
/// goroutine, and `local` is its header.
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

/// From here on a goroutine runs beside the main that this thread polls.
pub(crate) fn let_main_give_way() {
    LOCAL.with(|l| {
        if !l.main_gives_way.replace(true) && l.header.get().is_null() {
            l.budget.set(l.budget.get().min(BUDGET));
        }
    });
}

/// Sets whether the main that this thread polls, or is about to poll, has a budget. Returns what
/// was before.
pub(crate) fn set_main_gives_way(gives_way: bool) -> bool {
    LOCAL.with(|l| l.main_gives_way.replace(gives_way))
}

/// An operation that was called at `site` asks whether it may begin. False when the budget is
/// spent: the task has been woken, and the caller returns `Pending` without having registered
/// anything.
#[inline(always)]
pub(crate) fn poll_ready<'a>(
    cx: &mut Context<'_>,
    site: impl Into<Option<&'static Location<'static>>>,
    reason: Reason,
    object: impl Into<Option<&'a Object>>,
) -> bool {
    has_budget() || out_of_budget(cx, site.into(), reason, object.into())
}

/// True as long as an operation need not ask.
#[inline(always)]
pub(crate) fn has_budget() -> bool {
    LOCAL.with(|l| l.budget.get() != 0)
}

/// What an operation is on: a channel, a lock. It is nothing but in a build for simulations, where
/// it knows the first that used it.
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

    /// It is used at that place, without a wait.
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
            // Not a goroutine: there is nobody to be fair to.
            l.budget.set(UNLIMITED);
            return true;
        }
        if cx.waker().data().is_null() {
            // A waker without a task: this poll is a question (`now_or_never`), and is not asked
            // again. What its answer spends is all there is, so that the goroutine gives way
            // afterwards.
            l.budget.set(1);
            return true;
        }
        #[cfg(feature = "sim")]
        if let Some(goes_on) = goes_on_simulated(cx, site, reason, object) {
            return goes_on;
        }
        if !ptr::eq(l.waker.get(), cx.waker()) {
            // An executor inside the goroutine (a nested `block_on`, a `FuturesUnordered`) asks. It
            // gets its turn to yield, once a budget, and then may go on: only the goroutine itself
            // ends this poll.
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

/// In a simulation: whether the operation goes on, or its goroutine gives way before it.
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
        // What polls others is no operation of its own: they ask.
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

/// An operation waits. In a simulation one that begins beside it in the same poll, in a join, asks
/// as well.
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
    // A foreign waker may panic, which is no reason to end this poll.
    contain(|| cx.waker().wake_by_ref());
}

/// An operation completed without waiting. Since [`poll_ready`] said yes to it, no foreign code has
/// run: so there is something left to spend.
#[inline(always)]
pub(crate) fn spend_one() {
    LOCAL.with(|l| l.budget.set(l.budget.get().wrapping_sub(1)));
}

/// An operation completed without waiting.
#[inline(always)]
pub(crate) fn spend() {
    LOCAL.with(|l| l.budget.set(l.budget.get().saturating_sub(1)));
}

/// Takes the rest of the budget: the goroutine's next operation lets others run.
pub(crate) fn spend_all() {
    LOCAL.with(|l| {
        if !l.header.get().is_null() && l.budget.get() <= BUDGET {
            l.budget.set(0);
        }
    });
}

/// As long as it is there, there is no budget; then what was left before.
pub(crate) struct Unlimited(u32);

impl Unlimited {
    #[inline]
    pub(crate) fn new() -> Self {
        Unlimited(LOCAL.with(|l| l.budget.replace(UNLIMITED)))
    }
}

impl Drop for Unlimited {
    fn drop(&mut self) {
        LOCAL.with(|l| l.budget.set(self.0));
    }
}

/// What an await of that reason awaits that has nothing to wait for, so that it spends as well.
pub(crate) fn spent(site: &'static Location<'static>, reason: Reason) -> impl Future<Output = ()> {
    poll_fn(move |cx| {
        if !poll_ready(cx, site, reason, None) {
            return Poll::Pending;
        }
        spend();
        Poll::Ready(())
    })
}

/// A goroutine's waker, lent to one poll. The goroutine's header learns whether it is cloned.
pub(crate) struct Witness<'a> {
    waker: &'a Waker,
    header: &'a Header,
}

/// The data is a [`Witness`]. A clone is one of its waker.
static WITNESS: RawWakerVTable = RawWakerVTable::new(
    |data| {
        // SAFETY: the data of a `Waker` that `waker` has returned, whose witness is still borrowed.
        let Witness { waker, header } = unsafe { &*data.cast() };
        header.set_keeper(Keeper::Some);
        let clone = ManuallyDrop::new(Waker::clone(waker));
        RawWaker::new(clone.data(), clone.vtable())
    },
    |_| unreachable!("it is lent, not given"),
    // SAFETY: as above.
    |data| unsafe { (*data.cast::<Witness<'_>>()).waker.wake_by_ref() },
    |_| (),
);

impl<'a> Witness<'a> {
    /// For the poll that begins: so far nothing has cloned the waker.
    pub(crate) fn new(waker: &'a Waker, header: &'a Header) -> Self {
        header.set_keeper(Keeper::None);
        Self { waker, header }
    }

    /// The waker for the poll.
    ///
    /// # Safety
    ///
    /// `self` stays where it is for as long as the result is used. Only clones of that may be given
    /// away.
    pub(crate) unsafe fn waker(&self) -> ManuallyDrop<Waker> {
        // SAFETY: the caller answers for the data; both fields can be used by any thread.
        ManuallyDrop::new(unsafe { Waker::new(ptr::from_ref(self).cast(), &WITNESS) })
    }
}

/// True if this is the waker of a [`Witness`] of which there has been no clone.
#[inline(always)]
fn is_uncloned_witness(waker: &Waker) -> bool {
    #[cold]
    fn is_uncloned() -> bool {
        with_header(|header| header.flags().keeper() == Keeper::None) == Some(true)
    }
    ptr::eq(waker.vtable(), &raw const WITNESS) && is_uncloned()
}

/// True if this is the waker that the running goroutine is polled with. Its clone and drop run no
/// foreign code and may therefore happen under a lock. A wrapper may pass the data on with
/// functions of its own, so neither that nor a clone is trusted.
#[inline(always)]
pub(crate) fn trusts(waker: &Waker) -> bool {
    LOCAL.with(|l| ptr::eq(l.waker.get(), waker))
}

/// As [`park_at`], with a waker that is trusted.
///
/// # Safety
///
/// In this poll [`trusts`] was true of the operation's waker.
#[inline(always)]
pub(crate) unsafe fn park_running(site: &'static Location<'static>, reason: Reason) {
    #[cfg(feature = "sim")]
    let_next_ask();
    // SAFETY: a waker is trusted within the poll of a goroutine, which is between `enter` and
    // `leave`: so there is a header, and it is valid.
    unsafe { (*LOCAL.with(|l| l.header.get())).note_park(Some(site), reason) }
}

/// Notes that the running goroutine parks in the operation that was called at `site`, if that is
/// known, and polled with `cx`.
///
/// If the waker is not the goroutine's own, an executor inside the goroutine polls the operation,
/// and others perhaps, of which the note does not know: so the goroutine may wait elsewhere as
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
    // SAFETY: `enter` promised that it is valid until `leave`, and this thread is between the two.
    LOCAL.with(|l| unsafe { l.header.get().as_ref() }).map(f)
}

/// True if this thread polls a goroutine.
pub(crate) fn is_polling() -> bool {
    LOCAL.with(|l| !l.header.get().is_null())
}

/// The id of the goroutine, or of the main, that this thread polls.
pub(crate) fn goroutine() -> Option<u64> {
    with_noting(Header::id)
}

/// Calls `f` with the header in which this thread's waits are noted: the running goroutine's, else
/// that of the main it polls.
fn with_noting<R>(f: impl Fn(&Header) -> R) -> Option<R> {
    with_header(&f).or_else(|| local_main().map(&f))
}

fn local_main<'a>() -> Option<&'a Header> {
    // SAFETY: `on_behalf_of` has it until its poll ends, and this thread is within that.
    LOCAL.with(|l| unsafe { l.local_main.get().as_ref() })
}

/// What the running goroutine, or main, has noted in its poll.
fn note() -> Option<Note> {
    with_noting(Header::note)
}

/// Forgets what was noted since it was that.
fn restore(note: Option<Note>) {
    note.into_iter().for_each(|note| _ = with_noting(|header| header.set_note(note)));
}

/// Runs `poll`, and forgets what it noted: because it polls a part of a wait that has a note of its
/// own, as a `select!` has, or because the future does not go on waiting.
#[inline(never)]
pub(crate) fn without_note<R>(poll: impl FnOnce() -> R) -> R {
    let noted = note();
    let polled = poll();
    restore(noted);
    polled
}

/// The functions of wakers that wake no task. Their data tells them apart.
static NO_TASK: RawWakerVTable =
    RawWakerVTable::new(|data| RawWaker::new(data, &NO_TASK), |_| (), |_| (), |_| ());

const fn no_task(data: usize) -> Waker {
    // SAFETY: none of the functions looks at the data.
    unsafe { Waker::new(ptr::without_provenance(data), &NO_TASK) }
}

// Statics, because each has one address; `Waker::noop()` may have a table of its own in each crate.
static LAST: Waker = no_task(1);
static ONCE: Waker = no_task(2);

/// Runs `poll` with the context of a `select!` that has a `default`: it tries its cases once, and
/// waits for none. What must not wait must not give way either, so this is outside the budget.
pub(crate) fn try_once<R>(poll: impl FnOnce(&mut Context<'_>) -> R) -> R {
    let _unlimited = Unlimited::new();
    poll(&mut Context::from_waker(&ONCE))
}

/// True if no task waits for what this polls.
pub(crate) fn tries_once(cx: &Context<'_>) -> bool {
    cx.waker().will_wake(&ONCE) || cx.waker().will_wake(Waker::noop())
}

/// Polls a future that will be dropped if it is not ready. A channel operation in it that is not
/// complete takes itself out of the queue, and one that would have to wait does not come in: what
/// happens between this poll and the drop finds nothing. So a send is either told as sent or not
/// received.
pub(crate) fn last_poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    without_note(|| future.poll(&mut Context::from_waker(&LAST)))
}

/// Polls `operation`, and `limit` if it is pending. Once that is ready as well, `operation` is
/// polled for the last time: it may have become ready in between, and must not do so afterwards.
/// `None` if it has not.
///
/// Notes what the operation waits for, or if it notes nothing, a foreign future at `site`.
// A join inside takes its call site from here.
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
        // The operation may be foreign, and then has not.
        spend();
        return Poll::Ready(Some(output));
    }
    let is_uncloned = is_uncloned_witness(cx.waker());
    if limit(cx).is_pending() {
        if note() == noted {
            park_at(cx, site, Reason::Foreign);
        }
        // The limit has cloned the waker, but the operation has not. That may be another one with a
        // limit, which has noted its own site.
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

/// True of a poll after which the polled future is dropped unless it is ready: a [`last_poll`], or
/// one of [`try_once`].
pub(crate) fn is_passing(cx: &Context<'_>) -> bool {
    is_last(cx.waker()) || cx.waker().will_wake(&ONCE)
}

/// True in a [`last_poll`].
pub(crate) fn is_last(waker: &Waker) -> bool {
    waker.will_wake(&LAST)
}
