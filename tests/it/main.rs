//! All integration tests are one binary, which is linked once. Each file has one subject.

#[cfg(feature = "macros")]
mod attributes;
mod bad_wakers;
mod barrier;
mod blocking;
mod broadcast;
mod budget;
mod bytes;
mod cancel;
mod chan;
mod chan_ends;
mod chan_force;
mod chan_many;
mod chan_reserve;
mod chan_timeout;
#[cfg(all(unix, not(miri)))]
mod clocks;
mod cond;
mod context;
mod context_fuzz;
mod dice;
mod errgroup;
mod executor;
#[cfg(all(target_os = "linux", not(miri)))]
mod fork;
mod fuzz;
mod hand;
mod hostile;
mod inspect;
mod interpreter;
mod join_set;
mod local;
mod locks_in_select;
mod model;
mod monitor;
mod mutex;
#[cfg(feature = "net")]
mod net;
#[cfg(all(feature = "net", target_os = "linux"))]
mod net_bad_days;
#[cfg(all(feature = "net", target_os = "linux"))]
mod net_edges;
mod notify;
mod once;
mod once_cell;
mod oneshot;
mod operation;
mod panics;
mod pool;
mod rate;
mod runtime;
mod rwmutex;
mod select;
mod select_off;
mod semaphore;
#[cfg(all(feature = "net", unix, not(miri)))]
mod signal;
mod singleflight;
#[cfg(all(target_pointer_width = "64", not(feature = "sim")))]
mod sizes;
mod slices;
mod streams;
mod sync_fuzz;
mod task;
mod threads;
mod time;
mod tries;
mod unblock;
#[allow(dead_code)]
mod util;
mod waitgroup;
mod watch;
