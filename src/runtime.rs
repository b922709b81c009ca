//! [`Runtime`], and the free functions that start goroutines and mains.

mod builder;
mod handle;
mod local;
mod macros;

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::mem::{self, ManuallyDrop};
use std::num::NonZeroUsize;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;
use std::time::Duration;
use std::{env, io, ptr, thread};

use crate::coop::{self, Reason};
use crate::crash::{CRASH_GRACE, Ended, LocalMain, OnDeadlock, OnPanic};
use crate::executor::{Executor, SHUTDOWN_GRACE, Settings};
use crate::fork;
use crate::goroutine::{self, Remote};
use crate::header::Header;
use crate::inspect;
use crate::join::{AbortHandle, JoinHandle};
use crate::local_queue::LocalQueue;
use crate::panics::{Caught, catch, contain, drop_flat, lock};
#[cfg(feature = "sim")]
use crate::simulated::{self, Outside};
use crate::threads;
use crate::wait::case::{Case, async_wait};

pub use builder::Builder;
pub use handle::{Handle, TryCurrentError};
pub use local::go_local;

/// Calls `$call`, after it has moved the future to the heap if it is large. `async_task` moves it
/// there as well, but in a debug build each call on the way copies the future, and the copies
/// together may overflow the thread's stack.
macro_rules! box_large {
    ($future:ident: $type:ty => $call:expr) => {
        if const { size_of::<$type>() < $crate::runtime::LARGE } {
            $call
        } else {
            let $future = Box::pin($future);
            $call
        }
    };
}
use box_large;

/// The size in bytes from which a future is large. tokio boxes from the same sizes.
const LARGE: usize = if cfg!(debug_assertions) { 2048 } else { 16 * 1024 };

// ------------------------------------------------------------------------------------------------
// free functions

/// Starts a goroutine. Go: `go f()`.
///
/// Inside a goroutine, or in a [`Runtime::block_on_local`], the new goroutine runs on the workers
/// of the same runtime; elsewhere on those of the global one, which starts on first use. It runs
/// next on this processor, once the current goroutine gives way.
///
/// Dropping the [`JoinHandle`] detaches the goroutine, as in Go. For a future that is not [`Send`]
/// use [`go_local`].
///
/// # Panics
///
/// If this call starts the global runtime and the operating system gives no thread.
///
/// # Examples
///
/// ```
/// gopark::block_on(async {
///     let answer = gopark::go(async { 6 * 7 }).await;
///     assert_eq!(answer.unwrap(), 42);
/// });
/// ```
#[doc(alias = "spawn")]
#[doc(alias = "goroutine")]
#[inline]
#[track_caller]
// The compiler quotes the comment on the bound in its error for a future that is not `Send`.
pub fn go<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static, // else: `go_local`
    F::Output: Send + 'static,
{
    spawn_on(current(), future, Location::caller())
}

/// Starts a goroutine with a name that reports show from its first poll on. tokio:
/// `task::Builder::name`.
///
/// It is [`go`](crate::go()) of an [`inspect::named`](crate::inspect::named) future. Go does not
/// name goroutines, but labels them for profiles.
///
/// # Panics
///
/// As [`go`](crate::go()).
///
/// # Examples
///
/// ```
/// use gopark::inspect;
///
/// gopark::block_on(async {
///     let acceptor = gopark::go_named("acceptor", async { inspect::goroutines() });
///     let all = acceptor.await.unwrap();
///     assert!(all.iter().any(|goroutine| goroutine.to_string().contains("acceptor")));
/// });
/// ```
#[track_caller]
pub fn go_named<F>(name: impl Into<Arc<str>>, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    spawn_on(current(), inspect::named(name, future), Location::caller())
}

/// [`go`](crate::go()), with `site` as the spawn site.
#[track_caller]
pub(crate) fn go_at<F>(future: F, site: &'static Location<'static>) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    spawn_on(current(), future, site)
}

/// As [`go_at`], on the given runtime, and returns a handle that aborts as well.
pub(crate) fn go_abortable<F>(
    executor: &'static Executor,
    future: F,
    site: &'static Location<'static>,
) -> (JoinHandle<F::Output>, AbortHandle)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    box_large!(future: F => go_small_abortable(executor, future, site))
}

fn go_small_abortable<F>(
    executor: &'static Executor,
    future: F,
    site: &'static Location<'static>,
) -> (JoinHandle<F::Output>, AbortHandle)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (handle, abort) = executor.spawn_with(site, |header| {
        let id = header.id();
        let (task, handle) = goroutine::allocate(header, future);
        let abort = AbortHandle::new(id, Remote::direct(&task));
        (task, (handle, abort))
    });
    (JoinHandle::new(handle), abort)
}

/// Runs `main` as a goroutine of the global runtime and waits for it. Go: `func main`.
///
/// Unlike [`go`](crate::go()), it may borrow from the caller, because it returns only once `main`
/// has been dropped. `main` runs on the workers, so switching between it and a goroutine costs no
/// more than switching between two goroutines. Other goroutines go on in the background after
/// `main` has returned, until the process ends.
///
/// # Panics
///
/// * With the panic of `main`; under [`OnPanic::Crash`] also with the panic of any goroutine
///   without a [`JoinHandle`].
/// * Inside a goroutine, also in [`block_in_place`]: await there, or use [`unblock`], whose closure
///   may call it.
/// * In the code of a waker that a timer calls.
/// * If this call starts the global runtime and the operating system gives no thread.
///
/// # Examples
///
/// ```
/// let mut list = vec![1, 2, 3];
/// gopark::block_on(async { list.push(4) });
/// assert_eq!(list, [1, 2, 3, 4]);
/// ```
#[doc(alias = "main")]
#[track_caller]
pub fn block_on<F>(main: F) -> F::Output
where
    F: Future + Send,
    F::Output: Send,
{
    let executor = current();
    assert_may_block();
    run_main(executor, executor.start_outside(Location::caller(), true), main)
}

/// Runs a `main` that is not [`Send`], on the calling thread, and waits for it.
///
/// Otherwise it is as [`block_on`]; goroutines run on the workers meanwhile. In `main`,
/// [`go_local`] starts goroutines that are not [`Send`], on this thread.
///
/// # Panics
///
/// As [`block_on`].
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
///
/// let greeting = Rc::new("hello");
/// let length = gopark::block_on_local(async {
///     gopark::gosched().await;
///     greeting.len()
/// });
/// assert_eq!(length, 5);
/// ```
#[track_caller]
pub fn block_on_local<F: Future>(main: F) -> F::Output {
    run_main_locally(current(), main, Location::caller())
}

/// Yields: the goroutine is queued behind all runnable goroutines. Go: `runtime.Gosched`.
///
/// # Cancellation
///
/// Dropping it loses nothing.
///
/// # Examples
///
/// ```
/// gopark::block_on(async {
///     let other = gopark::go(async { "ran" });
///     gopark::gosched().await;
///     assert_eq!(other.await.unwrap(), "ran");
/// });
/// ```
#[doc(alias = "Gosched")]
#[doc(alias = "yield_now")]
pub async fn gosched() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        if coop::trusts(cx.waker()) {
            Executor::yield_now();
        }
        coop::wake_current(cx);
        Poll::Pending
    })
    .await;
}

/// Sets the number of processors of the current runtime, and returns the previous number. Go:
/// `runtime.GOMAXPROCS`.
///
/// Each processor runs one goroutine at a time. 0 only returns the number. A change takes effect
/// while goroutines run: processors are added or retired, and the queue of a retired one moves to
/// the others. The default is the environment variable `GOMAXPROCS`, else [`num_cpu`]. The maximum
/// is 1024; a larger value means 1024.
///
/// # Examples
///
/// ```
/// let before = gopark::gomaxprocs(3);
/// assert_eq!(gopark::gomaxprocs(0), 3);
/// gopark::gomaxprocs(before);
/// ```
#[doc(alias = "GOMAXPROCS")]
#[track_caller]
pub fn gomaxprocs(n: usize) -> usize {
    #[cfg(feature = "sim")]
    if let Some(before) = simulated::gomaxprocs(n) {
        return before;
    }
    current().set_gomaxprocs(n)
}

/// Returns the number of live goroutines of the current runtime, including mains and blocked
/// goroutines. Go: `runtime.NumGoroutine`.
///
/// # Examples
///
/// ```
/// let rt = gopark::Runtime::new();
/// assert_eq!(rt.block_on(async { gopark::num_goroutine() }), 1);
/// ```
#[doc(alias = "NumGoroutine")]
#[track_caller]
pub fn num_goroutine() -> usize {
    current().live()
}

/// Returns how many threads this process can run in parallel, by its CPUs, affinity and quota. Go:
/// `runtime.NumCPU`.
///
/// # Examples
///
/// ```
/// assert!(gopark::num_cpu() >= 1);
/// ```
#[doc(alias = "NumCPU")]
pub fn num_cpu() -> usize {
    #[cfg(feature = "sim")]
    if simulated::is_on() {
        return simulated::CPUS;
    }
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Runs blocking code on a thread that holds no processor, and waits for its result.
///
/// The runtime has up to [`Builder::max_threads`] threads. `gomaxprocs` of them are reserved for
/// goroutines; if all others are busy, `f` waits for one. `f` may call [`block_on`] and start
/// another `unblock`. While it waits for these, its thread does not count, and one other closure
/// may run in its place. So closures that wait for closures make progress. If every thread runs a
/// goroutine and none of these waits, one of the threads runs `f` nevertheless, and the goroutines
/// share the others meanwhile.
///
/// # Cancellation
///
/// Dropping the future before `f` has started may cancel `f`. Once started, `f` runs to its end.
///
/// # Panics
///
/// With the panic of `f`. Also if the runtime shuts down before `f` has started and the future is
/// awaited elsewhere.
///
/// # Examples
///
/// ```
/// gopark::block_on(async {
///     let text = gopark::unblock(|| std::fs::read_to_string("Cargo.toml")).await;
///     assert!(text.unwrap().contains("gopark"));
/// });
/// ```
#[track_caller]
pub fn unblock<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = T> + Case<Output = T> {
    unblock_at(Location::caller(), f)
}

/// [`unblock`], called at `site`.
pub(crate) fn unblock_at<T: Send + 'static>(
    site: &'static Location<'static>,
    f: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = T> + Case<Output = T> {
    /// Drops its value with panics contained. If no task waits for the job any longer, the job's
    /// thread drops the value, and a panic of its destructor must not crash the runtime.
    struct Contained<V>(Option<V>);
    impl<V> Contained<V> {
        fn take(mut self) -> V {
            self.0.take().expect("taken once")
        }
    }
    impl<V> Drop for Contained<V> {
        fn drop(&mut self) {
            let value = self.0.take();
            contain(|| drop(value));
        }
    }

    /// Aborts the job when it is dropped: a job without a waiting task need not start.
    struct Job<T>(JoinHandle<T>);
    impl<T> Drop for Job<T> {
        fn drop(&mut self) {
            self.0.abort();
        }
    }

    async_wait(async move {
        #[cfg(feature = "sim")]
        if simulated::leaves_at(Outside::Unblock, site) {
            return f();
        }
        let f = Contained(Some(f));
        let run = async move { Contained(Some(catch(|| f.take()()))) };
        let executor = current();
        let (job, handle) = goroutine::allocate(executor.start_outside(site, false), run);
        executor.submit_outside(job, true);
        let mut job = Job(JoinHandle::new(handle));
        let mut is_over = false;
        let result = poll_fn(|cx| {
            if is_over {
                return Poll::Pending;
            }
            let polled = coop::without_note(|| Pin::new(&mut job.0).poll(cx));
            if matches!(polled, Poll::Ready(Err(_))) {
                // A shutdown of this runtime is about to drop this goroutine as well.
                let is_here = Executor::current().is_some_and(|here| ptr::eq(here, executor));
                is_over = is_here && coop::trusts(cx.waker());
            }
            if is_over || polled.is_pending() {
                coop::park_at(cx, site, Reason::Blocking);
                return Poll::Pending;
            }
            polled
        });
        match result.await.map(Contained::take) {
            Ok(Ok(value)) => value,
            Ok(Err(caught)) => caught.resume(),
            Err(_) => {
                panic!("gopark: the runtime was shut down before the closure of `unblock` started")
            }
        }
    })
}

/// Runs blocking code here, after handing this thread's processor to another thread, so that no
/// goroutine waits behind it.
///
/// Cheaper than [`unblock`] when `f` is short, and `f` may borrow. But the other futures of this
/// goroutine (those of a `select!` or a join) make no progress meanwhile. Outside a goroutine it
/// only runs `f`.
///
/// # Examples
///
/// ```
/// gopark::block_on(async {
///     let line = String::from("borrowed");
///     assert_eq!(gopark::block_in_place(|| line.len()), 8);
/// });
/// ```
#[cfg_attr(feature = "sim", track_caller)]
pub fn block_in_place<T>(f: impl FnOnce() -> T) -> T {
    #[cfg(feature = "sim")]
    simulated::leaves(Outside::BlockInPlace);
    Executor::block_in_place(|| {
        let _in_place = InPlace::set(true);
        f()
    })
}

thread_local! {
        /// True while this thread runs the closure of a [`block_in_place`].
    static IN_PLACE: Cell<bool> = const { Cell::new(false) };
}

/// Restores the previous value of [`IN_PLACE`] when it is dropped.
struct InPlace(bool);

impl InPlace {
    fn set(in_place: bool) -> Self {
        Self(IN_PLACE.replace(in_place))
    }
}

impl Drop for InPlace {
    fn drop(&mut self) {
        IN_PLACE.set(self.0);
    }
}

/// The default of [`Builder::max_threads`].
const MAX_THREADS: usize = 512;

/// Returns the runtime of the goroutine that runs on this thread, else the global one.
#[inline(always)]
#[track_caller]
pub(crate) fn current() -> &'static Executor {
    match Executor::current() {
        Some(executor) => executor,
        None => global(),
    }
}

/// Returns the runtime for sockets that are made here. In a simulation that allows sockets it is
/// the global one, which has threads.
#[cfg(feature = "net")]
#[cfg_attr(not(feature = "sim"), expect(unused_variables, reason = "a simulation shows it"))]
pub(crate) fn current_for_sockets(site: &'static Location<'static>) -> &'static Executor {
    #[cfg(feature = "sim")]
    if simulated::leaves_at(Outside::Socket, site) {
        return global();
    }
    current()
}

#[cold]
#[track_caller]
fn global() -> &'static Executor {
    fork::refuse();
    try_global().expect("gopark: cannot start a thread")
}

fn try_global() -> io::Result<&'static Executor> {
    static GLOBAL: OnceLock<&'static Executor> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());

    // One thread starts it; the others wait.
    let _starting = GLOBAL.get().is_none().then(|| lock(&STARTING));
    if let Some(global) = GLOBAL.get() {
        return Ok(global);
    }
    let global = Executor::start(Runtime::builder().settings())?;
    Ok(GLOBAL.get_or_init(|| global))
}

/// Returns `GOMAXPROCS` of the environment, else [`num_cpu`]. A bad value is reported once and
/// ignored.
fn default_procs() -> usize {
    static DEFAULT: OnceLock<Option<usize>> = OnceLock::new();
    let from_environment = DEFAULT.get_or_init(|| {
        let value = env::var_os("GOMAXPROCS").filter(|value| !value.is_empty())?;
        match value.to_str().and_then(|text| text.trim().parse().ok()) {
            Some(n) if n > 0 => Some(n),
            _ => {
                use io::Write;
                // Ignored because stderr may be closed.
                let _ = writeln!(
                    io::stderr(),
                    "gopark: GOMAXPROCS={value:?} ignored: not a positive number"
                );
                None
            }
        }
    });
    from_environment.unwrap_or_else(num_cpu)
}

#[inline(always)]
fn spawn_on<F>(
    executor: &'static Executor,
    future: F,
    site: &'static Location<'static>,
) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    box_large!(future: F => spawn_small(executor, future, site))
}

#[inline(always)]
fn spawn_small<F>(
    executor: &'static Executor,
    future: F,
    site: &'static Location<'static>,
) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    JoinHandle::new(executor.spawn_with(site, |header| goroutine::allocate(header, future)))
}

/// Returns the handle of a goroutine that was aborted before its first poll; drops the future here.
fn go_aborted<F>(
    executor: &'static Executor,
    future: F,
    site: &'static Location<'static>,
) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (task, handle) = goroutine::allocate(executor.start_outside(site, false), future);
    executor.discard(task);
    JoinHandle::new(handle)
}

/// Starts a goroutine that [`Executor::start_in`] has counted. If the runtime has begun to shut
/// down since, a worker drops the future, not this thread, which may be a service thread.
pub(crate) fn go_counted<F>(
    executor: &'static Executor,
    header: Header,
    future: F,
) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (task, handle) = goroutine::allocate(header, future);
    executor.push_global(task);
    JoinHandle::new(handle)
}

/// A runtime on which a goroutine is started later: an executor, and the generation that tells this
/// runtime from later ones of the same executor.
#[derive(Clone, Copy)]
pub(crate) struct Later {
    executor: &'static Executor,
    generation: usize,
}

impl Later {
    /// Captures the current runtime. If that is the global one it is started now, because a timer
    /// that fires later must not fail because no thread can be had.
    #[track_caller]
    pub(crate) fn here() -> Self {
        Self::on(current())
    }

    /// Captures the runtime that the executor runs now, which must be alive.
    fn on(executor: &'static Executor) -> Self {
        Self { executor, generation: executor.generation() }
    }

    /// True on a thread whose current runtime is this one.
    fn is_here(self) -> bool {
        Executor::current().is_some_and(|here| ptr::eq(here, self.executor))
            && self.executor.generation() == self.generation
    }

    /// Starts the goroutine. If the runtime has ended or is shutting down, returns the future.
    fn try_go<F>(
        self,
        future: F,
        site: &'static Location<'static>,
    ) -> Result<JoinHandle<F::Output>, F>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        if self.is_here() {
            return Ok(spawn_on(self.executor, future, site));
        }
        let Some(header) = self.executor.start_in(self.generation, site, false) else {
            return Err(future);
        };
        Ok(go_counted(self.executor, header, future))
    }

    /// Starts the goroutine. If the runtime has ended or is shutting down, drops the future.
    pub(crate) fn go<F>(self, future: F, site: &'static Location<'static>)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let Err(future) = self.try_go(future, site) else { return };
        // A service thread must not run a user's destructor: a goroutine of the global runtime
        // does.
        match if threads::is_service() { try_global().ok() } else { None } {
            Some(global) => drop(spawn_on(global, async move { drop(future) }, site)),
            // It may cancel a context, whose functions end here as well.
            None => drop_flat(future),
        }
    }
}

/// Panics if this thread must not block: a goroutine, or other work that depends on this thread,
/// could be what the call would wait for.
#[track_caller]
pub(crate) fn assert_may_block() {
    let in_goroutine = Executor::is_polling();
    assert!(
        !(in_goroutine && IN_PLACE.get()),
        "gopark: block_on called inside a goroutine, in `block_in_place`: \
         await the future outside of it, or use `unblock`, whose closure may call block_on"
    );
    assert!(
        !in_goroutine,
        "gopark: block_on called inside a goroutine: await the future there instead, \
         or wrap blocking code in `unblock`"
    );
    assert!(
        !(Executor::holds_processor() || threads::is_service()),
        "gopark: block_on called in a waker, on a thread that fires timers: \
         wake a task that calls it, or start a goroutine"
    );
}

/// Runs a main that has been counted as started.
#[track_caller]
fn run_main<F>(executor: &'static Executor, header: Header, main: F) -> F::Output
where
    F: Future + Send,
    F::Output: Send,
{
    box_large!(main: F => run_small_main(executor, header, main))
}

#[track_caller]
fn run_small_main<F>(executor: &'static Executor, header: Header, main: F) -> F::Output
where
    F: Future + Send,
    F::Output: Send,
{
    let call = executor.block_on_calls().enter(None);
    let main = call.until_crash(main, inspect::of_mains());
    call.set_main(&header);
    let (outcome, lent) = goroutine::run_borrowing(header, main, Executor::lend_thread);
    drop(lent);
    finish_main(executor, outcome.into_inner().map_err(|exit| exit.observe()), call.end())
}

#[track_caller]
fn run_main_locally<F: Future>(
    executor: &'static Executor,
    main: F,
    site: &'static Location<'static>,
) -> F::Output {
    assert_may_block();
    let _current = executor.make_current();
    let queue = Arc::new(LocalQueue::new());
    let local = LocalMain { header: executor.start_outside(site, true), queue: queue.clone() };
    let call = executor.block_on_calls().enter(Some(local));
    let local = local::Local { executor, call: &call, queue, site };
    let gave_way = coop::set_main_gives_way(false);
    let lent = Executor::lend_thread();
    let mut result = Ok(None);
    // Its destructor may call `block_on`.
    let dropped = catch(|| {
        let main = pin!(call.until_crash(main, inspect::of_mains()));
        let (polling, _in_place) = (Executor::set_polling(true), InPlace::set(false));
        result = match catch(|| local.run(main)) {
            Ok(ended) => ended.ok_or(None),
            Err(caught) => Err(Some(caught)),
        };
        Executor::set_polling(polling);
    });
    // As in a goroutine: a panic of the destructor counts if the main has not panicked before.
    if let (Ok(_) | Err(None), Err(caught)) = (&result, dropped) {
        let value = mem::replace(&mut result, Err(Some(caught)));
        contain(|| drop(value));
    }
    local.end();
    coop::set_main_gives_way(gave_way);
    drop(lent);
    let ended = call.end();
    executor.finished();
    finish_main(executor, result, ended)
}

/// Ends a call of `block_on` whose main has returned, panicked, was aborted, or was ended by a
/// crash.
#[track_caller]
fn finish_main<T>(
    executor: &'static Executor,
    result: Result<Option<T>, Option<Caught>>,
    Ended { crash, is_last }: Ended,
) -> T {
    if is_last {
        inspect::main_has_returned(executor, crash.is_none() && matches!(result, Ok(Some(_))));
    }
    match (crash, result) {
        (Some(caught), result) => {
            contain(|| drop(result));
            caught.resume()
        }
        (None, Ok(Some(value))) => value,
        (None, Ok(None)) => unreachable!("only a crash ends a main early"),
        (None, Err(Some(caught))) => caught.resume(),
        (None, Err(None)) => panic!("gopark: the runtime was shut down while its main ran"),
    }
}

// ------------------------------------------------------------------------------------------------
// Runtime

/// A runtime: its own processors, threads and goroutines.
///
/// Most programs need none: [`go`](crate::go()) and [`block_on`] use the global one. A separate
/// runtime has its own `gomaxprocs` and panic policy, and dropping it ends all its goroutines.
///
/// # Dropping
///
/// The workers drop every remaining goroutine exactly once; then the threads end and drop their
/// thread-locals. The drop of the runtime waits for this for at most a second;
/// [`shutdown_timeout`](Self::shutdown_timeout) waits for as long as you say, and returns how many
/// goroutines are left. A goroutine that blocks its thread for longer ends in the background. If a
/// runtime is dropped on one of its own threads, the drop does not wait, because it would wait for
/// itself. Nor does it wait if its goroutines, in the drop of another runtime, wait for this
/// thread.
///
/// # Forking
///
/// `fork(2)` copies one thread only. If the crate had started threads before the fork, the child
/// has none of them. In such a child [`go`](crate::go()), [`block_on`], the methods of a runtime
/// and new timers panic, [`Builder::build`] returns an error, and the drop of a runtime does not
/// wait. Channels and locks work as long as no operation has to wait. A goroutine that forks must
/// end the child process, or call `exec`, before it waits; otherwise the child aborts. Fork before
/// the first runtime starts, or call `exec` in the child, as [`Command`](std::process::Command)
/// does. This holds on Linux, macOS and FreeBSD; elsewhere the child is not detected, and hangs.
///
/// # Examples
///
/// ```
/// let rt = gopark::Runtime::builder().gomaxprocs(2).build().unwrap();
/// assert_eq!(rt.block_on(async { 1 + 1 }), 2);
/// ```
pub struct Runtime {
    executor: &'static Executor,
}

impl Runtime {
    /// Starts a runtime with the default settings.
    ///
    /// # Panics
    ///
    /// If the operating system gives no thread; [`Builder::build`] returns the error instead.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = gopark::Runtime::new();
    /// rt.block_on(async {});
    /// ```
    #[expect(
        clippy::new_without_default,
        reason = "starting threads is not what `default()` promises"
    )]
    #[track_caller]
    pub fn new() -> Self {
        fork::refuse();
        Self::builder().build().expect("gopark: cannot start a thread")
    }

    /// Returns a builder for a runtime with other settings.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = gopark::Runtime::builder().thread_name("worker").build().unwrap();
    /// ```
    pub fn builder() -> Builder {
        Builder(Settings {
            procs: 0,
            max_threads: MAX_THREADS,
            thread_name: "gopark".into(),
            hooks: threads::Hooks::default(),
            on_panic: OnPanic::Crash,
            crash_grace: CRASH_GRACE,
            on_deadlock: OnDeadlock::Default,
            observer: inspect::judge,
        })
    }

    /// Starts a goroutine on this runtime, as [`go`](crate::go()) does on the current one.
    ///
    /// If the runtime is shutting down, the future is dropped and the handle gives the aborted
    /// error.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = gopark::Runtime::new();
    /// let handle = rt.go(async { 5 });
    /// assert_eq!(rt.block_on(handle).unwrap(), 5);
    /// ```
    #[track_caller]
    pub fn go<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        #[cfg(feature = "sim")]
        self.executor().refuse_outside(Location::caller());
        spawn_on(self.executor(), future, Location::caller())
    }

    /// Runs `main` as a goroutine of this runtime and waits for it, as [`block_on`] does.
    ///
    /// # Panics
    ///
    /// As [`block_on`].
    ///
    /// # Examples
    ///
    /// ```
    /// let name = String::from("borrowed");
    /// assert_eq!(gopark::Runtime::new().block_on(async { name.len() }), 8);
    /// ```
    #[track_caller]
    pub fn block_on<F>(&self, main: F) -> F::Output
    where
        F: Future + Send,
        F::Output: Send,
    {
        let executor = self.executor();
        assert_may_block();
        run_main(executor, executor.start_outside(Location::caller(), true), main)
    }

    /// Runs a `main` that is not [`Send`] on the calling thread, as [`block_on_local`] does, with
    /// this runtime as the current one.
    ///
    /// # Panics
    ///
    /// As [`block_on`].
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = std::cell::Cell::new(1);
    /// gopark::Runtime::new().block_on_local(async { cell.set(2) });
    /// assert_eq!(cell.get(), 2);
    /// ```
    #[track_caller]
    pub fn block_on_local<F: Future>(&self, main: F) -> F::Output {
        run_main_locally(self.executor(), main, Location::caller())
    }

    /// Sets the number of processors of this runtime, and returns the previous number, as
    /// [`gomaxprocs`] does.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = gopark::Runtime::new();
    /// rt.gomaxprocs(2);
    /// assert_eq!(rt.gomaxprocs(0), 2);
    /// ```
    #[doc(alias = "GOMAXPROCS")]
    #[track_caller]
    pub fn gomaxprocs(&self, n: usize) -> usize {
        self.executor().set_gomaxprocs(n)
    }

    /// Returns the number of live goroutines of this runtime, as [`num_goroutine`] does.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = gopark::Runtime::new();
    /// assert_eq!(rt.num_goroutine(), 0);
    /// ```
    #[doc(alias = "NumGoroutine")]
    #[track_caller]
    pub fn num_goroutine(&self) -> usize {
        self.executor().live()
    }

    /// Shuts the runtime down, waits for its end for at most `patience`, and returns how many
    /// goroutines are left.
    ///
    /// A goroutine is left if its thread is blocked, by the goroutine or by a destructor. It ends
    /// in the background, when the thread is no longer blocked.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let rt = gopark::Runtime::new();
    /// rt.go(std::future::pending::<()>());
    /// assert_eq!(rt.shutdown_timeout(Duration::from_secs(1)), 0);
    /// ```
    #[track_caller]
    pub fn shutdown_timeout(self, patience: Duration) -> usize {
        ManuallyDrop::new(self).executor().shutdown(patience)
    }

    #[track_caller]
    fn executor(&self) -> &'static Executor {
        fork::refuse();
        self.executor
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // In a forked process no thread of the runtime exists to wait for.
        if !fork::is_child() {
            self.executor.shutdown(SHUTDOWN_GRACE);
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("gomaxprocs", &self.executor.set_gomaxprocs(0))
            .field("goroutines", &self.executor.live())
            .field("idle", &self.executor.idle)
            .finish_non_exhaustive()
    }
}
