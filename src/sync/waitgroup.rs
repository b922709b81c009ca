//! Floor 3: waits for a number of goroutines to be done.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use super::event::{Event, Listener};
use crate::coop::{self, Reason};
use crate::executor::Executor;
use crate::runtime;

/// Waits for a collection of goroutines to be done. Go: `sync.WaitGroup`.
///
/// A `WaitGroup` is a handle: clones count together. [`go`](Self::go) does the counting by itself; [`add`](Self::add)
/// and [`done`](Self::done) are for other arrangements.
///
/// Use it to wait for goroutines whose results do not matter, or go elsewhere; to collect results await their
/// [`JoinHandle`](crate::JoinHandle)s or receive them from a channel. On plain threads `std::thread::scope` does this job.
///
/// # Reuse
///
/// A wait belongs to the round in which it began: it ends when the counter next reaches zero, whatever is added
/// afterwards. (Go forbids to add to a counter of zero while somebody still waits, and detects it at best.)
///
/// # Memory ordering
///
/// A call of `done` synchronizes before the return of every wait that it ends.
///
/// ```
/// use gopark::sync::WaitGroup;
///
/// gopark::block_on(async {
///     let wg = WaitGroup::new();
///     for i in 0..3 {
///         wg.go(async move { println!("goroutine {i}") });
///     }
///     wg.wait().await;
/// });
/// ```
#[derive(Clone, Default)]
pub struct WaitGroup {
    shared: Arc<Shared>,
}

/// | `count` | meaning | left by |
/// |---|---|---|
/// | n | n goroutines are not done | `add`: n + k; `done`: n − 1, which on 0 notifies all who listen |
struct Shared {
    count: AtomicUsize,
    zero: Event,
}

impl Default for Shared {
    fn default() -> Self {
        Self { count: AtomicUsize::new(0), zero: Event::new() }
    }
}

impl WaitGroup {
    /// A group with a counter of zero.
    ///
    /// ```
    /// assert_eq!(gopark::sync::WaitGroup::new().count(), 0);
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `n` to the counter. Go: `wg.Add(n)`.
    ///
    /// # Panics
    ///
    /// If the counter exceeds `isize::MAX`.
    ///
    /// ```
    /// let wg = gopark::sync::WaitGroup::new();
    /// wg.add(2);
    /// assert_eq!(wg.count(), 2);
    /// # wg.done();
    /// # wg.done();
    /// ```
    #[doc(alias = "Add")]
    #[track_caller]
    pub fn add(&self, n: usize) {
        let before = self.shared.count.fetch_add(n, Ordering::SeqCst);
        assert!(
            before.checked_add(n).is_some_and(|sum| sum <= isize::MAX as usize),
            "sync: WaitGroup counter overflow"
        );
    }

    /// Takes one from the counter; at zero every wait ends. Go: `wg.Done()`.
    ///
    /// # Panics
    ///
    /// If the counter is zero: "sync: negative WaitGroup counter".
    ///
    /// ```
    /// let wg = gopark::sync::WaitGroup::new();
    /// wg.add(1);
    /// wg.done();
    /// gopark::block_on(wg.wait());
    /// ```
    #[doc(alias = "Done")]
    #[inline]
    #[track_caller]
    pub fn done(&self) {
        // SeqCst: pairs with `Event::listen`; also Release for the waits that this ends.
        match self.shared.count.fetch_sub(1, Ordering::SeqCst) {
            1 => self.reached_zero(),
            0 => self.went_negative(),
            _ => {}
        }
    }

    #[cold]
    #[inline(never)]
    fn reached_zero(&self) {
        self.shared.zero.notify_all();
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn went_negative(&self) {
        self.shared.count.fetch_add(1, Ordering::SeqCst);
        panic!("sync: negative WaitGroup counter");
    }

    /// The counter, at this moment.
    ///
    /// ```
    /// let wg = gopark::sync::WaitGroup::new();
    /// wg.add(3);
    /// assert_eq!(wg.count(), 3);
    /// # for _ in 0..3 { wg.done() }
    /// ```
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::Acquire)
    }

    /// Waits until the counter is zero. Go: `wg.Wait()`.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled again after it has completed.
    ///
    /// # Cancellation
    ///
    /// Dropping the future changes no counter.
    ///
    /// ```
    /// use gopark::sync::WaitGroup;
    ///
    /// gopark::block_on(async {
    ///     let wg = WaitGroup::new();
    ///     wg.add(1);
    ///     let other = wg.clone();
    ///     gopark::go(async move { other.done() });
    ///     wg.wait().await;
    /// });
    /// ```
    #[doc(alias = "Wait")]
    #[track_caller]
    pub fn wait(&self) -> Wait<'_> {
        Wait { shared: &self.shared, site: Location::caller(), stage: Stage::First }
    }

    /// Adds one, starts a goroutine, and counts it done when it has ended and its future is dropped. Go: `wg.Go(f)`.
    ///
    /// A goroutine that is aborted is done as well. One that panics is done under
    /// [`OnPanic::Isolate`](crate::OnPanic::Isolate); under `Crash` it is not, so that nobody who waits can go on while the
    /// crash is on its way.
    ///
    /// ```
    /// use gopark::sync::WaitGroup;
    ///
    /// gopark::block_on(async {
    ///     let wg = WaitGroup::new();
    ///     wg.go(async { gopark::gosched().await });
    ///     wg.wait().await;
    /// });
    /// ```
    #[doc(alias = "Go")]
    #[track_caller]
    pub fn go<F>(&self, future: F)
    where
        F: Future + Send + 'static,
    {
        self.go_at(future, Location::caller());
    }

    pub(super) fn go_at<F>(&self, future: F, site: &'static Location<'static>)
    where
        F: Future + Send + 'static,
    {
        self.add(1);
        drop(runtime::go_at(Counted { future, group: Membership { group: self.clone(), in_poll: false } }, site));
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitGroup").field("count", &self.count()).finish()
    }
}

/// A goroutine of a group. The future goes first, then it is done.
struct Counted<F> {
    future: F,
    group: Membership,
}

struct Membership {
    group: WaitGroup,
    /// Still true on drop if the poll unwound.
    in_poll: bool,
}

impl<F: Future> Future for Counted<F> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: `future` is pinned with `self`, and never moved; `group` is not pinned.
        let (future, group) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), &mut this.group)
        };
        group.in_poll = true;
        let polled = future.poll(cx);
        group.in_poll = false;
        polled.map(drop)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if !(self.in_poll && Executor::crashes()) {
            self.group.done();
        }
    }
}

/// A pending [`WaitGroup::wait`].
///
/// # Cancellation
///
/// Dropping it changes no counter.
#[must_use = "a wait does nothing unless awaited"]
pub struct Wait<'a> {
    shared: &'a Shared,
    site: &'static Location<'static>,
    stage: Stage<'a>,
}

enum Stage<'a> {
    First,
    Listening(Listener<'a>),
    Over,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: the listener in `stage` is pinned with `self`; it is dropped in place, never moved.
        let this = unsafe { self.get_unchecked_mut() };
        if let Stage::First = this.stage {
            if !coop::poll_ready(cx) {
                return Poll::Pending;
            }
            if this.shared.count.load(Ordering::SeqCst) != 0 {
                this.stage = Stage::Listening(this.shared.zero.listen());
            }
            // Again: the counter may have reached zero before this listened. SeqCst, as `Event::listen` says.
            if this.shared.count.load(Ordering::SeqCst) == 0 {
                this.stage = Stage::Over;
                coop::spend();
                return Poll::Ready(());
            }
        }
        match &mut this.stage {
            // SAFETY: as above.
            Stage::Listening(listener) => match unsafe { Pin::new_unchecked(listener) }.poll(cx) {
                Poll::Ready(_) => {
                    this.stage = Stage::Over;
                    Poll::Ready(())
                }
                Poll::Pending => {
                    coop::park_at(this.site, Reason::WaitGroupWait);
                    Poll::Pending
                }
            },
            Stage::First | Stage::Over => panic!("gopark: WaitGroup::wait polled after completion"),
        }
    }
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").finish_non_exhaustive()
    }
}
