//! Blocks a thread until a future is ready. All blocking forms of operations wait here.
//!
//! This must work in the destructor of a thread-local, in an `atexit` handler, and recursively, in
//! a poll or a waker that another call runs. So it uses no thread-local. Each call allocates a
//! parker, shared by its waker and the clones of that, because a clone may outlive the call. The
//! blocking forms first try without waiting, and allocate only to wait.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::clock::Time;
use crate::coop;
use crate::parker::Parker;

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.unpark();
    }
}

/// Polls `future` on this thread until it is ready, and blocks the thread in between.
#[cfg_attr(feature = "sim", track_caller)]
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    block_until(pin!(future), Time::NEVER).expect("there is no limit")
}

/// Like [`block_on`], but at most until the given time. Returns `None` if the future is not ready
/// then, after a last poll.
#[cfg_attr(feature = "sim", track_caller)]
pub(crate) fn block_until<F: Future>(mut future: Pin<&mut F>, until: Time) -> Option<F::Output> {
    #[cfg(feature = "sim")]
    crate::simulated::leaves(crate::simulated::Outside::Blocking);
    let parker = Arc::new(Parker::new());
    let waker = Waker::from(Arc::clone(&parker));
    let mut cx = Context::from_waker(&waker);
    // In a goroutine this notes what blocks the thread, until the future is ready.
    coop::without_note(|| {
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return Some(output);
            }
            if until != Time::NEVER && Time::now() >= until {
                return match coop::last_poll(future) {
                    Poll::Ready(output) => Some(output),
                    Poll::Pending => None,
                };
            }
            if until == Time::NEVER {
                coop::blocked(|| parker.block());
            } else {
                parker.park(until);
            }
        }
    })
}
