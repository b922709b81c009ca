//! A counter of goroutines, and a wait until all of them are done.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::coop::{self, Object, Reason};
use crate::executor::Executor;
use crate::runtime;
use crate::wait::case::future_case;
use crate::wait::event::{Event, Listener};

/// Waits until a group of goroutines is done. Go: `sync.WaitGroup`.
///
/// A `WaitGroup` is a handle: its clones share one counter. [`go`](Self::go) counts its goroutine
/// itself; [`add`](Self::add) and [`done`](Self::done) are for everything else.
///
/// # When to use something else
///
/// Use a channel, or the goroutines' [`JoinHandle`](crate::JoinHandle)s, to collect results. Use an
/// [`ErrGroup`](crate::sync::ErrGroup) if the goroutines can fail. On plain threads, use
/// `std::thread::scope`.
///
/// # Reuse
///
/// A wait belongs to the round in which it began: it ends when the counter next reaches zero,
/// whatever is added afterwards. (Go forbids adding to a counter of zero while a wait is pending,
/// and does not always detect it.)
///
/// # Memory ordering
///
/// A call of `done` synchronizes before the return of every wait that it ends.
///
/// # Examples
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

/// One word, so that a round ends in the same instant as its counter reaches zero. A wait that
/// begins after that belongs to the next round, although the notification of the ended round may
/// still be on its way.
///
/// | `word` | meaning | left by |
/// |---|---|---|
/// | (round, n) | n goroutines of this round run | `add`: (round, n + k); `done`: (round, n − 1) |
/// | (round, 1) | the last one runs | `done`: (round + 1, 0); then it notifies all listeners |
#[derive(Debug)]
struct Shared {
    word: AtomicU64,
    zero: Event,
    object: Object,
}

const ROUND: u64 = 1 << 32;

fn count(word: u64) -> usize {
    (word % ROUND) as usize
}

fn round(word: u64) -> u64 {
    word / ROUND
}

impl Default for Shared {
    fn default() -> Self {
        Self { word: AtomicU64::new(0), zero: Event::new(), object: Object::new() }
    }
}

impl WaitGroup {
    /// Creates a group whose counter is zero.
    ///
    /// # Examples
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
    /// If the counter exceeds 2^31 − 1: "sync: WaitGroup counter overflow".
    ///
    /// # Examples
    ///
    /// ```
    /// let wg = gopark::sync::WaitGroup::new();
    /// wg.add(2);
    /// assert_eq!(wg.count(), 2);
    /// # wg.done();
    /// # wg.done();
    /// ```
    #[doc(alias = "Add")]
    #[inline]
    #[track_caller]
    pub fn add(&self, n: usize) {
        // One atomic update, not a check and then an addition: concurrent additions in between
        // would carry into the round.
        let add = |word| {
            let sum = (count(word) as u64).checked_add(n as u64)?;
            (sum < ROUND / 2).then(|| word + n as u64)
        };
        let added = self.shared.word.fetch_update(Ordering::SeqCst, Ordering::Relaxed, add);
        assert!(added.is_ok(), "sync: WaitGroup counter overflow");
    }

    /// Subtracts one from the counter. When it reaches zero, every pending wait ends. Go:
    /// `wg.Done()`.
    ///
    /// # Panics
    ///
    /// If the counter is zero: "sync: negative WaitGroup counter".
    ///
    /// # Examples
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
        // Another task may read the counter without being woken.
        coop::note_unwinding();
        let lower = |word| match count(word) {
            0 => None,
            1 => Some(word.wrapping_add(ROUND - 1)),
            _ => Some(word - 1),
        };
        // SeqCst: pairs with `Event::listen`; it is also the Release for the waits that this ends.
        match self.shared.word.fetch_update(Ordering::SeqCst, Ordering::Relaxed, lower) {
            Ok(before) if count(before) == 1 => drop(self.shared.zero.notify_all()),
            Ok(_) => {}
            Err(_) => panic!("sync: negative WaitGroup counter"),
        }
    }

    /// Returns the current value of the counter.
    ///
    /// # Examples
    ///
    /// ```
    /// let wg = gopark::sync::WaitGroup::new();
    /// wg.add(3);
    /// assert_eq!(wg.count(), 3);
    /// # for _ in 0..3 { wg.done() }
    /// ```
    pub fn count(&self) -> usize {
        count(self.shared.word.load(Ordering::Acquire))
    }

    /// Waits until the counter is zero. Go: `wg.Wait()`.
    ///
    /// # Cancellation
    ///
    /// Dropping the future does not change the counter.
    ///
    /// # Panics
    ///
    /// If the future is polled after it has completed.
    ///
    /// # Examples
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
        Wait {
            shared: &self.shared,
            site: Location::caller(),
            round: 0,
            over: false,
            listener: None,
        }
    }

    /// Adds one to the counter and starts a goroutine, which is done when its future has been
    /// dropped. Go: `wg.Go(f)`.
    ///
    /// An aborted goroutine is done as well. A goroutine that panics is done under
    /// [`OnPanic::Isolate`](crate::OnPanic::Isolate). Under `Crash` it is not, so that no waiter
    /// continues while the crash is on its way.
    ///
    /// # Examples
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

    #[track_caller]
    pub(super) fn go_at<F>(&self, future: F, site: &'static Location<'static>)
    where
        F: Future + Send + 'static,
    {
        self.add(1);
        self.go_added(future, site);
    }

    /// As [`go_at`](Self::go_at), but the caller has already added one to the counter.
    #[track_caller]
    pub(super) fn go_added<F>(&self, future: F, site: &'static Location<'static>)
    where
        F: Future + Send + 'static,
    {
        drop(runtime::go_at(
            Counted { future, group: Membership { group: self.clone(), in_poll: false } },
            site,
        ));
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitGroup").field("count", &self.count()).finish()
    }
}

pin_project! {
    /// A goroutine of a group. The future is dropped before `group`, which then counts it done.
    struct Counted<F> {
        #[pin]
        future: F,
        group: Membership,
    }
}

struct Membership {
    group: WaitGroup,
    /// True during a poll; so still true on drop if the poll unwound.
    in_poll: bool,
}

impl<F: Future> Future for Counted<F> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.group.in_poll = true;
        let polled = this.future.poll(cx);
        this.group.in_poll = false;
        polled.map(drop)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if !(self.in_poll && panic_crashes()) {
            self.group.done();
        }
    }
}

/// Returns true if an unrecovered panic of this goroutine ends the runtime's `block_on` calls.
pub(super) fn panic_crashes() -> bool {
    Executor::current().is_some_and(|executor| executor.block_on_calls().crashes())
}

pin_project! {
    /// The future of [`WaitGroup::wait`].
    ///
    /// # Cancellation
    ///
    /// Dropping it does not change the counter.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::select;
    /// use gopark::sync::WaitGroup;
    /// use std::pin::pin;
    ///
    /// gopark::block_on(async {
    ///     let wg = WaitGroup::new();
    ///     wg.add(1);
    ///     let mut waiting = pin!(wg.wait());
    ///     select! {
    ///         _ = waiting.as_mut() => unreachable!("the counter is 1"),
    ///         default => wg.done(),
    ///     }
    ///     waiting.await;
    ///     assert_eq!(wg.count(), 0);
    /// });
    /// ```
    #[derive(Debug)]
    #[must_use = "a wait does nothing unless awaited"]
    pub struct Wait<'a> {
        shared: &'a Shared,
        site: &'static Location<'static>,
        // The round whose end this waits for.
        round: u64,
        over: bool,
        #[pin]
        listener: Option<Listener<'a>>,
    }
}

future_case!(Wait<'a>, 'a);

impl Future for Wait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        assert!(!*this.over, "gopark: WaitGroup::wait polled after completion");
        if this.listener.is_none() {
            if !coop::poll_ready(cx, *this.site, Reason::WaitGroupWait, &this.shared.object) {
                return Poll::Pending;
            }
            let word = this.shared.word.load(Ordering::SeqCst);
            if count(word) == 0 {
                *this.over = true;
                coop::spend();
                return Poll::Ready(());
            }
            *this.round = round(word);
            this.listener.set(Some(this.shared.zero.listen()));
        }
        loop {
            // Checked after `listen` and after each notification. SeqCst: `Event::listen` says why.
            if round(this.shared.word.load(Ordering::SeqCst)) != *this.round {
                *this.over = true;
                this.listener.set(None);
                coop::spend();
                return Poll::Ready(());
            }
            match this
                .listener
                .as_mut()
                .as_pin_mut()
                .map_or(Poll::Pending, |listener| listener.poll(cx))
            {
                // The notification may be that of the round before this one.
                Poll::Ready(_) => this.listener.set(Some(this.shared.zero.listen())),
                Poll::Pending => {
                    coop::park_at(cx, *this.site, Reason::WaitGroupWait);
                    return Poll::Pending;
                }
            }
        }
    }
}
