//! Go's concurrency for async Rust: goroutines on a small work-stealing scheduler, channels as
//! await points, and a [`select!`] that chooses as Go's does.
//!
//! # Getting started
//!
//! Add `gopark = "0.1"` to the dependencies in `Cargo.toml`, and run this:
//!
//! ```
//! use std::time::Duration;
//!
//! use gopark::{chan, go, select, time};
//!
//! gopark::block_on(async {
//!     let (tx, rx) = chan::unbuffered();
//!     go(async move { tx.send("hello").await });
//!     select! {
//!         greeting = rx.recv() => assert_eq!(greeting, Some("hello")),
//!         _ = time::sleep(Duration::from_secs(60)) => unreachable!("the send does not wait"),
//!     }
//! });
//! ```
//!
//! [`block_on`] runs a future as the program's main goroutine. [`go`](crate::go()) starts another
//! one, which runs concurrently. The two meet at the channel. The runtime starts with the first
//! use; there is nothing to set up.
//!
//! # What there is
//!
//! * [`go`](crate::go()), [`go!`], [`go_named`], [`go_local`]: start a goroutine, a stackless
//!   future. A [`JoinHandle`] joins or aborts it, a [`JoinSet`] several.
//! * [`block_on`], [`block_on_local`]: run a main goroutine, and wait until it completes.
#![cfg_attr(
    feature = "macros",
    doc = "* [`#[gopark::main]`](macro@main), [`#[gopark::test]`](macro@test): \
           a main or a test that is an `async fn`."
)]
//! * [`chan`]: channels with or without a buffer, [`Sender`](chan::Sender) and
//!   [`Receiver`](chan::Receiver).
//! * [`select!`], [`select::Select`]: wait for several operations, and complete exactly one.
//! * [`sync`]: Go's `WaitGroup`, `Mutex`, `RwMutex`, `Cond`, `Once`, `OnceValue`, `Pool`; of
//!   `x/sync` `Semaphore`, `ErrGroup`, `SingleFlight`; and `OnceCell`, `Monitor`, `Notify`,
//!   `Barrier`, `oneshot`, `watch`, `broadcast`.
//! * [`time`]: `now`, `sleep`, `timeout`, `Timer`, `Ticker`, `rate::Limiter`.
//! * [`context`]: cancellation, deadlines and values for a tree of goroutines.
//! * [`unblock`], [`block_in_place`]: run code that blocks its thread.
//! * [`gosched`], [`gomaxprocs`], [`num_goroutine`], [`num_cpu`]: Go's package `runtime`.
//!   [`unconstrained`] exempts a future from the budget.
#![cfg_attr(
    feature = "net",
    doc = "* [`net`]: sockets, as `TcpListener`, `TcpStream`, `UdpSocket`, `UnixStream`."
)]
#![cfg_attr(feature = "net", doc = "* [`io`]: any other descriptor, `copy`, `copy_bidirectional`.")]
#![cfg_attr(
    feature = "net",
    doc = "* [`signal`]: the operating system's signals: `notify`, `ctrl_c`, `notify_context`."
)]
#![cfg_attr(feature = "sim", doc = "* [`sim`]: deterministic simulation, for tests.")]
//! * [`inspect`]: lists goroutines and finds leaked ones. [`OnDeadlock`] says what a deadlock does.
//! * [`Runtime`], [`Builder`], [`Handle`]: a runtime with its own threads and settings. [`OnPanic`]
//!   says what an unrecovered panic does.
//!
//! Features: `macros`, on by default, adds the two attributes; `net` adds sockets and signals;
//! `hyper` and `tokio-io` add the traits of hyper and tokio to the sockets; `sim` adds
//! deterministic simulation.
//!
//! # Which runtime
//!
//! Inside a goroutine, [`go`](crate::go()) starts goroutines on that goroutine's runtime;
//! elsewhere on a global one, which starts on first use. So does every function that starts a
//! goroutine. Channels, [`select!`], locks and contexts work on any executor; channels and locks
//! also have blocking forms for threads. A process that was [forked](Runtime#forking) from one with
//! a runtime has none.
//!
//! # What you can rely on
//!
//! * A `select!` commits exactly one case. (See [`select!`] for a send inside another future.)
//! * Dropping a pending operation loses no value and no wake-up. Every wait says under
//!   *Cancellation* what dropping it means.
//! * A value that was handed to a receive returns to the channel if the receive is dropped. If the
//!   channel was closed meanwhile, other receivers may have seen its end before. To receive every
//!   value, keep a receiver until the last receive has completed or was dropped:
//!   [`try_recv`](chan::Receiver::try_recv) then finds the value.
//! * Channels serve their waiters in the order of arrival.
//! * If a goroutine blocks its thread, the goroutines queued behind it soon run on another thread.
//! * A panic is returned as a [`JoinError`] to the holder of the [`JoinHandle`]; otherwise
//!   [`OnPanic`] decides.
//! * Wakers, destructors and your code run outside every lock.
//!
//! # Where to go on
//!
//! The guide: [from Go](guide::from_go), [from tokio](guide::from_tokio),
//! [cancellation](guide::cancellation), [blocking](guide::blocking), [panics](guide::panics),
//! [when it hangs](guide::when_it_hangs), [choosing a primitive](guide::choosing),
//! [with tokio](guide::beside_tokio), [tuning](guide::tuning).
#![cfg_attr(feature = "net", doc = "Sockets: [the network](guide::network).")]
#![cfg_attr(feature = "sim", doc = "Simulation: [test it](guide::test_it).")]
// On docs.rs an item shows the feature that it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

// Floor by floor, lowest first: a file uses only files of lower floors.
mod blocked;
mod caught;
mod clock;
mod fork;
mod header;
mod holders;
mod lock;
mod loom;
#[forbid(unsafe_code)]
mod maps;
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

// In the documentation only. The package in `tests/guide` runs its examples, which use other crates
// as well.
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

/// Turns an `async fn main` into the program's main, which [`block_on`] runs. tokio:
/// `#[tokio::main]`.
///
/// It is short for a `fn main` that calls [`block_on`]. If something must happen before the runtime
/// starts or after main returns, write that `fn main` instead. The function takes no arguments and
/// returns what a main may return.
///
/// * `gomaxprocs = n` calls [`gomaxprocs`] first. 0 keeps the default.
/// * `local` is for a main that is not [`Send`]: [`block_on_local`] runs it.
/// * `crate = path` names the crate gopark if it is not `::gopark`: `crate = my_crate::gopark`.
///
/// Requires the feature `macros`, which is on by default.
///
/// # Panics
///
/// As [`block_on`].
///
/// # Examples
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
/// Turns an `async fn` into a test. tokio: `#[tokio::test]`. Go: `func TestX(t *testing.T)`.
///
/// Each test runs on a [`Runtime`] of its own, whose goroutines end with it, or in a simulation.
/// The function takes no arguments and returns what a test may return. Other attributes, such as
/// `#[should_panic]` and `#[ignore]`, mean what they mean on any test.
///
/// * `gomaxprocs = n` sets how many goroutines may run at once: [`Builder::gomaxprocs`].
/// * `local` is for a test that is not [`Send`]: [`Runtime::block_on_local`] runs it.
/// * `sim` simulates the test a thousand times, or `runs = n` times, each with another seed: it is
///   the main of `sim::Config::check`. Go: `synctest.Test`. Requires the feature `sim`.
/// * `crate = path` names the crate gopark if it is not `::gopark`.
///
/// Requires the feature `macros`, which is on by default.
///
/// # Examples
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
/// A simulated test looks the same:
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

/// Runs the README's examples as doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
