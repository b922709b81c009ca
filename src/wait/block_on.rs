//! Blocks a thread until a future is ready: the one way in which the blocking forms wait.
//!
//! It works wherever the lock and the condition variable of `std` work: in the destructor of a thread-local, in an `atexit`
//! handler, and inside itself, in a poll or a waker that another call runs. So it keeps nothing in a thread-local. Each
//! call allocates a parker, which its waker and the clones of that share, because a clone may outlive the call. The
//! blocking forms try without waiting first, and allocate only to wait.

use std::mem::replace;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::coop::Noted;

use crate::loom::sync::{Condvar, Mutex, MutexGuard};

/// What the thread of a parker does. Changed under the parker's lock.
///
/// | state | meaning | left by |
/// |---|---|---|
/// | `Running` | polls, and has not been woken since the poll began | a wake, or the thread, which parks |
/// | `Parked` | waits for the condition variable, or is on its way there | a wake |
/// | `Woken` | must poll again | the thread |
#[derive(PartialEq)]
enum State {
    Running,
    Parked,
    Woken,
}

struct Parker {
    state: Mutex<State>,
    woken: Condvar,
}

impl Parker {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a wake, if there has been none since the last call. Only for the thread that made the parker.
    fn park(&self) {
        let mut state = self.state();
        while *state != State::Woken {
            *state = State::Parked;
            state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        *state = State::Running;
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let was = replace(&mut *self.state(), State::Woken);
        if was == State::Parked {
            self.woken.notify_one();
        }
    }
}

/// Polls `future` on this thread until it is ready, and blocks the thread in between.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let parker = Arc::new(Parker { state: Mutex::new(State::Running), woken: Condvar::new() });
    let waker = Waker::from(Arc::clone(&parker));
    let mut cx = Context::from_waker(&waker);
    // In a goroutine it notes what blocks the thread, until it returns.
    let noted = Noted::now();
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => {
                noted.restore();
                return output;
            }
            Poll::Pending => parker.park(),
        }
    }
}
