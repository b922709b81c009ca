//! [`Builder`]: the settings of a runtime before it starts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Runtime, default_procs};
use crate::crash::{OnDeadlock, OnPanic};
use crate::executor::{Executor, Settings};
use crate::fork;
use crate::inspect;
#[cfg(feature = "sim")]
use crate::simulated::{self, Outside};

/// Builds a [`Runtime`] with settings of your own.
///
/// [`Runtime::builder`] returns one.
///
/// # Examples
///
/// ```
/// use gopark::{OnPanic, Runtime};
///
/// let rt = Runtime::builder()
///     .gomaxprocs(1)
///     .thread_name("io")
///     .on_panic(OnPanic::Isolate)
///     .build()
///     .unwrap();
/// assert_eq!(rt.gomaxprocs(0), 1);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing unless built"]
pub struct Builder(pub(super) Settings);

impl Builder {
    /// Sets how many goroutines may run at once, up to 1024.
    ///
    /// 0 means the default: the environment variable `GOMAXPROCS`, else
    /// [`num_cpu`](crate::num_cpu).
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = gopark::Runtime::builder().gomaxprocs(4).build().unwrap();
    /// assert_eq!(rt.gomaxprocs(0), 4);
    /// ```
    #[doc(alias = "GOMAXPROCS")]
    pub fn gomaxprocs(mut self, n: usize) -> Self {
        self.0.procs = n;
        self
    }

    /// Sets the prefix of the threads' names; "gopark" by default.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = gopark::Runtime::builder().thread_name("crunch").build().unwrap();
    /// let name = rt.block_on(async { std::thread::current().name().map(str::to_owned) });
    /// assert!(name.unwrap().starts_with("crunch"));
    /// ```
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.0.thread_name = name.into();
        self
    }

    /// Sets a function that each thread of the runtime calls when it starts. tokio:
    /// `on_thread_start`; Go has no such thing.
    ///
    /// The thread calls it before it polls goroutines or runs closures of
    /// [`unblock`](crate::unblock()). Use it for what each thread needs: a library's context in
    /// thread-locals, a name, an affinity. The runtime starts and ends threads as its load changes.
    /// The thread of a [`block_on_local`](crate::block_on_local), which only polls its own main and
    /// goroutines, does not call it, nor does the runtime's monitor. The function must not wait for
    /// a goroutine. A panic in it is ignored.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    ///
    /// let threads = Arc::new(AtomicUsize::new(0));
    /// let started = threads.clone();
    /// let count = move || _ = started.fetch_add(1, Ordering::SeqCst);
    /// let rt = gopark::Runtime::builder().on_thread_start(count).build().unwrap();
    /// rt.block_on(async { assert_ne!(threads.load(Ordering::SeqCst), 0) });
    /// ```
    pub fn on_thread_start(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.0.hooks.on_start = Some(Arc::new(f));
        self
    }

    /// Sets a function that each thread of the runtime calls before it ends. tokio:
    /// `on_thread_stop`.
    ///
    /// The thread calls it after its last poll or closure.
    /// The rules of [`on_thread_start`](Self::on_thread_start) hold for it too. The thread's
    /// thread-locals are still alive. The drop of the runtime waits for the function, within the
    /// time that it waits for everything else.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// let (tx, rx) = mpsc::channel();
    /// let stops = move || _ = tx.send(std::thread::current().id());
    /// let rt = gopark::Runtime::builder().on_thread_stop(stops).build().unwrap();
    /// let id = rt.block_on(async { std::thread::current().id() });
    /// drop(rt);
    /// assert!(rx.iter().any(|stopped| stopped == id));
    /// ```
    pub fn on_thread_stop(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.0.hooks.on_stop = Some(Arc::new(f));
        self
    }

    /// Sets what an unrecovered panic does; [`OnPanic::Crash`] by default.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = gopark::Runtime::builder().on_panic(gopark::OnPanic::Isolate).build().unwrap();
    /// ```
    pub fn on_panic(mut self, policy: OnPanic) -> Self {
        self.0.on_panic = policy;
        self
    }

    /// Sets what happens when all goroutines are asleep; [`OnDeadlock::Default`] by default.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::{OnDeadlock, Runtime};
    ///
    /// let rt = Runtime::builder().on_deadlock(OnDeadlock::Report).build().unwrap();
    /// ```
    pub fn on_deadlock(mut self, policy: OnDeadlock) -> Self {
        self.0.on_deadlock = policy;
        self
    }

    /// Sets how long an unrecovered panic waits for a main that blocks its thread; a second by
    /// default.
    ///
    /// Under [`OnPanic::Crash`] the panic ends each `block_on` at the end of its main's current
    /// poll. If after this time no call of `block_on` has raised the panic, and a main is still in
    /// that poll, the process aborts. The runtime's monitor measures the time, so time during which
    /// the process is stopped does not count. With [`Duration::MAX`] the panic waits without limit.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let rt = gopark::Runtime::builder().crash_grace(Duration::from_secs(10)).build().unwrap();
    /// ```
    pub fn crash_grace(mut self, grace: Duration) -> Self {
        self.0.crash_grace = grace;
        self
    }

    /// Sets the maximum number of threads, not counting the monitor; 512 by default, at least 1.
    ///
    /// A goroutine that blocks its thread, in a system call or in
    /// [`block_in_place`](crate::block_in_place), costs a thread until it returns, because another
    /// thread takes over its processor. At the limit the processor stays with it, and the
    /// goroutines queued there wait.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = gopark::Runtime::builder().max_threads(16).build().unwrap();
    /// ```
    pub fn max_threads(mut self, n: usize) -> Self {
        self.0.max_threads = n;
        self
    }

    /// Starts the runtime.
    ///
    /// # Errors
    ///
    /// * The operating system's error, if it refuses to start a thread.
    /// * [`InvalidInput`](io::ErrorKind::InvalidInput) if the threads' name contains a zero byte.
    /// * [`Other`](io::ErrorKind::Other) if 4096 runtimes are alive.
    /// * [`Unsupported`](io::ErrorKind::Unsupported) in a [forked process](Runtime#forking).
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = gopark::Runtime::builder().build().unwrap();
    /// ```
    #[cfg_attr(feature = "sim", track_caller)]
    pub fn build(self) -> io::Result<Runtime> {
        #[cfg(feature = "sim")]
        simulated::leaves(Outside::Runtime);
        if fork::is_child() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, fork::REFUSAL));
        }
        Ok(Runtime { executor: Executor::start(self.settings())? })
    }

    pub(super) fn settings(self) -> Settings {
        inspect::serve();
        let procs = if self.0.procs == 0 { default_procs() } else { self.0.procs };
        Settings { procs, ..self.0 }
    }
}
