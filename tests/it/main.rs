//! One binary, one link: a file a subject.

mod bad_wakers;
mod blocking;
mod budget;
mod bytes;
mod cancel;
mod chan;
#[cfg(all(unix, not(miri)))]
mod clocks;
mod cond;
mod context;
mod context_fuzz;
mod errgroup;
mod executor;
#[cfg(all(target_os = "linux", not(miri)))]
mod fork;
mod fuzz;
mod hand;
mod hostile;
mod inspect;
mod interpreter;
mod locks_in_select;
mod model;
mod mutex;
mod once;
mod operation;
mod panics;
mod pool;
mod runtime;
mod rwmutex;
mod select;
mod semaphore;
mod singleflight;
mod streams;
mod sync_fuzz;
mod task;
mod threads;
mod time;
mod unblock;
#[allow(dead_code)]
mod util;
mod waitgroup;
