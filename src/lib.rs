//! Go's concurrency for async Rust: goroutines on a small work-stealing scheduler, channels as
//! await points, and a [`select!`] that chooses as Go's does.
//!
//! ```
//! use gopark::{chan, go, select};
//!
//! gopark::block_on(async {
//!     let (tx, rx) = chan::unbuffered();
//!     go(async move { tx.send("hello").await });
//!     select! {
//!         greeting = rx.recv() => assert_eq!(greeting, Some("hello")),
//!     }
//! });
//! ```
//!
//! # What there is
//!
//! | | |
//! |---|---|
//! | [`go`](crate::go()), [`go!`], [`go_named`], [`go_local`], [`JoinHandle`], [`JoinSet`] | start a goroutine, a stackless future; join or abort it, or several |
//! | [`block_on`], [`block_on_local`] | run a main, and wait for it |
#![cfg_attr(
    feature = "macros",
    doc = "| [`#[gopark::main]`](macro@main), [`#[gopark::test]`](macro@test) | a main, a test that are `async` |"
)]
//! | [`chan`] | channels with or without a buffer, [`Sender`](chan::Sender) and [`Receiver`](chan::Receiver) |
//! | [`select!`], [`select::Select`] | wait for several operations, take exactly one |
//! | [`sync`] | `WaitGroup`, `Mutex`, `RwMutex`, `Cond`, `Monitor`, `Once`, `OnceValue`, `OnceCell`, `Pool`, `Semaphore`, `ErrGroup`, `SingleFlight`, `Notify`, `Barrier`, `oneshot`, `watch`, `broadcast` |
//! | [`time`] | `now`, `sleep`, `timeout`, `Timer`, `Ticker`, `rate::Limiter` |
//! | [`context`] | deadlines, cancellation and values for a tree of goroutines |
//! | [`gosched`], [`gomaxprocs`], [`num_goroutine`], [`num_cpu`] | package runtime |
//! | [`unconstrained`] | leaves a future out of the budget |
//! | [`unblock`], [`block_in_place`] | code that blocks its thread |
#![cfg_attr(
    feature = "net",
    doc = "| [`net`] | sockets: `TcpListener`, `TcpStream`, `TcpSocket`, `UdpSocket`, `Unix…`, `lookup_host` |"
)]
#![cfg_attr(
    feature = "net",
    doc = "| [`io`] | any other descriptor, `copy`, `copy_bidirectional` |"
)]
#![cfg_attr(
    feature = "net",
    doc = "| [`signal`] | the operating system's signals: `notify`, `ctrl_c`, `notify_context` |"
)]
#![cfg_attr(feature = "sim", doc = "| [`sim`] | deterministic simulation, for tests |")]
//! | [`Runtime`], [`Handle`], [`Builder`], [`OnPanic`] | schedulers of one's own, and what becomes of panics |
//!
//! Channels, [`select!`], locks and contexts work on any executor; channels and locks have blocking
//! forms for threads. What starts a goroutine starts it on the runtime of the goroutine that does
//! so, elsewhere on a global one, which begins with its first use. A process that was
//! [forked](Runtime#forking) from one with a runtime has none.
//!
//! # What you can rely on
//!
//! A `select!` commits exactly one case. Dropping a pending operation loses no value and no
//! wake-up; every wait says under *Cancellation* what its drop means. A value that is handed to a
//! receive which is dropped after the channel was closed comes back to the channel, after others
//! may have seen its end: what must have every value keeps a receiver until the last receive has
//! settled, and [`try_recv`](chan::Receiver::try_recv) finds the value. What waits on a channel is
//! served in the order of arrival. A goroutine that blocks its thread keeps nobody else waiting for
//! long. A panic is the [`JoinError`] of whoever joins, else [`OnPanic`] decides. Wakers,
//! destructors and your code run outside every lock.
//!
//! # Where to go on
//!
//! The guide: [from Go](guide::from_go), [from tokio](guide::from_tokio),
//! [cancellation](guide::cancellation), [blocking](guide::blocking), [panics](guide::panics),
//! [choosing a primitive](guide::choosing), [beside tokio](guide::beside_tokio),
//! [tuning](guide::tuning).
#![cfg_attr(feature = "net", doc = "Sockets: [the network](guide::network).")]

// Floor by floor, from below; a file uses only what stands on a lower floor.
mod caught;
mod clock;
mod fork;
mod header;
mod holders;
mod lock;
mod loom;
#[cfg(feature = "net")]
mod netpoll;
mod panics;
mod parker;
mod platform;
mod random;
#[cfg(feature = "sim")]
mod simulated;
mod threads;

mod coop;
mod debug;
mod waker;

mod crash;
mod idle;
mod ids;
mod local_queue;
mod processor;
#[cfg(feature = "net")]
mod readiness;
mod registry;
mod rest;
mod run_next;
mod run_queue;
mod running;
#[cfg(feature = "net")]
mod sources;
mod spares;
mod table;
mod timer;
mod wait;
mod watched;

mod executor;

mod alarm;
mod goroutine;
mod join;
mod runtime;
#[forbid(unsafe_code)]
mod unconstrained;

pub mod chan;
pub mod context;
pub mod inspect;
#[cfg(feature = "net")]
pub mod io;
#[cfg(feature = "net")]
pub mod net;
pub mod select;
#[cfg(feature = "net")]
pub mod signal;
#[cfg(feature = "sim")]
pub mod sim;
pub mod sync;
pub mod time;

// For the documentation alone. The package in `tests/guide` runs its examples, which use other
// crates as well.
#[cfg(all(doc, not(doctest)))]
pub mod guide;

#[cfg(all(gopark_loom, not(feature = "_loom")))]
compile_error!(
    "`--cfg gopark_loom` needs `--features _loom` as well: CONTRIBUTING.md has the command"
);
#[cfg(all(test, gopark_loom))]
mod models;

pub use crash::{OnDeadlock, OnPanic};
pub use ids::GoroutineId;
pub use join::{AbortHandle, AbortOnDrop, JoinError, JoinHandle};
pub use runtime::{
    Builder, Handle, Runtime, TryCurrentError, block_in_place, block_on, block_on_local, go,
    go_local, go_named, gomaxprocs, gosched, num_cpu, num_goroutine, unblock,
};
pub use sync::join_set::JoinSet;
pub use unconstrained::{Unconstrained, unconstrained};

/// Makes an `async fn main` the program's main: it runs by [`block_on`]. tokio: `#[tokio::main]`.
///
/// It is short for a `fn main` that calls [`block_on`]. Where something comes before the runtime,
/// or after it, write that. The function has no arguments, and returns what a main may return.
///
/// * `gomaxprocs = n` calls [`gomaxprocs`] first. 0 leaves the default.
/// * `local` is for a main that is not [`Send`]: it runs by [`block_on_local`].
/// * `crate = path` is where gopark is, if not at `::gopark`: `crate = my_crate::gopark`.
///
/// With the feature `macros`, which is on by default.
///
/// # Panics
///
/// As [`block_on`].
///
/// ```
/// use gopark::{chan, go};
///
/// #[gopark::main(gomaxprocs = 2)]
/// async fn main() -> Result<(), std::num::ParseIntError> {
///     let (tx, rx) = chan::unbuffered();
///     go(async move { tx.send("42").await });
///     let answer: i32 = rx.recv().await.unwrap_or_default().parse()?;
///     assert_eq!(answer, 42);
///     Ok(())
/// }
/// ```
#[cfg(feature = "macros")]
#[doc(inline)]
pub use gopark_macros::main;
/// Makes an `async fn` a test. tokio: `#[tokio::test]`. Go: `func TestX(t *testing.T)`.
///
/// Each test has a [`Runtime`] of its own, whose goroutines end with it, or is simulated. The
/// function has no arguments, and returns what a test may return. Other attributes, as
/// `#[should_panic]` and `#[ignore]`, mean what they mean at any test.
///
/// * `gomaxprocs = n` is how many goroutines may run at once: [`Builder::gomaxprocs`].
/// * `local` is for a test that is not [`Send`]: it runs by [`Runtime::block_on_local`].
/// * `sim` simulates it, a thousand times or `runs = n` times, each with another seed: it is the
///   main of `sim::Config::check`. Go: `synctest.Test`. With the feature `sim`.
/// * `crate = path` is where gopark is, if not at `::gopark`.
///
/// With the feature `macros`, which is on by default.
///
/// ```
/// use gopark::sync::Mutex;
/// use std::sync::Arc;
///
/// #[gopark::test]
/// async fn none_is_lost() {
///     let total = Arc::new(Mutex::new(0));
///     let adders = [1, 2].map(|n| gopark::go!([total] async { *total.lock().await += n }));
///     for adder in adders {
///         adder.await.unwrap();
///     }
///     assert_eq!(*total.lock().await, 3);
/// }
///
/// #[gopark::test(gomaxprocs = 1)]
/// async fn what_fails_may_return() -> Result<(), std::num::ParseIntError> {
///     let one: i32 = "1".parse()?;
///     assert_eq!(one, 1);
///     Ok(())
/// }
/// ```
///
/// One that is simulated looks the same:
///
/// ```
/// # #[cfg(feature = "sim")]
/// #[gopark::test(sim, runs = 100)]
/// async fn in_any_order() {
///     let (tx, rx) = gopark::chan::bounded(2);
///     for name in ["a", "b"] {
///         gopark::go!([tx] async { tx.send(name).await });
///     }
///     assert_ne!(rx.recv().await, rx.recv().await);
/// }
/// ```
#[cfg(feature = "macros")]
#[doc(inline)]
pub use gopark_macros::test;

/// What the README shows is tested, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
