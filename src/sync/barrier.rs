//! A barrier: a rendezvous of a fixed number of goroutines.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::raw_notify::{RawNotify, Until};
use crate::coop::{self, Reason};
use crate::loom::const_fn;
use crate::wait::case::future_case;

/// Lets a fixed number of goroutines wait for each other, round after round.
///
/// tokio: `sync::Barrier`. Go has no barrier; there a [`WaitGroup`](crate::sync::WaitGroup) and a
/// channel do it for one round.
///
/// # When to use something else
///
/// Use a [`WaitGroup`](crate::sync::WaitGroup) if some goroutines wait and others arrive. Use
/// `std::sync::Barrier` on plain threads.
///
/// # Memory ordering
///
/// Each arrival synchronizes before the return of every wait of its round.
///
/// # Examples
///
/// ```
/// use gopark::sync::{Barrier, WaitGroup};
/// use std::sync::Arc;
///
/// gopark::block_on(async {
///     let (barrier, wg) = (Arc::new(Barrier::new(3)), WaitGroup::new());
///     for i in 0..3 {
///         let barrier = barrier.clone();
///         wg.go(async move {
///             println!("{i} is ready");
///             if barrier.wait().await.is_leader() {
///                 println!("all are");
///             }
///         });
///     }
///     wg.wait().await;
/// });
/// ```
pub struct Barrier {
    n: u64,
    /// | `word` | meaning | left by |
    /// |---|---|---|
    /// | (round, k) | k waits have arrived | an arrival: (round, k + 1); a drop: (round, k − 1) |
    /// | (round, n − 1) | one is missing | the last arrival: (round + 1, 0); then it notifies all |
    word: AtomicU64,
    notify: RawNotify,
}

const ROUND: u64 = 1 << 32;

impl Barrier {
    const_fn! {
        /// Creates a barrier for `n` waits. With 0 it acts as with 1: it never waits.
        ///
        /// # Panics
        ///
        /// If `n` is more than 2^31.
        ///
        /// # Examples
        ///
        /// ```
        /// static START: gopark::sync::Barrier = gopark::sync::Barrier::new(1);
        /// assert!(gopark::block_on(START.wait()).is_leader());
        /// ```
        pub const fn new(n: usize) -> Self {
            let n = n as u64;
            assert!(n <= ROUND / 2, "gopark: a Barrier is for at most 2^31 waits");
            Barrier { n, word: AtomicU64::new(0), notify: RawNotify::new() }
        }
    }

    /// Waits until `n` waits have arrived. Exactly one of them, the last to arrive, is the leader.
    ///
    /// # Cancellation
    ///
    /// Dropping the future before all have arrived withdraws its arrival: another one is needed
    /// instead. (In tokio it stays counted.) In a `select!` with a `default`, a wait arrives only
    /// if it is the last one.
    ///
    /// # Panics
    ///
    /// If the future is polled after it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// let barrier = gopark::sync::Barrier::new(1);
    /// gopark::block_on(async { assert!(barrier.wait().await.is_leader()) });
    /// ```
    #[track_caller]
    pub fn wait(&self) -> BarrierWait<'_> {
        let until = Until::new(&self.notify, Location::caller(), Reason::Barrier);
        BarrierWait { barrier: self, until, stage: Stage::New }
    }

    fn round(&self) -> u64 {
        self.word.load(Ordering::Acquire) / ROUND
    }

    /// Returns the word after the last arrival of a round, if the next arrival is the last.
    fn next_round(&self, word: u64) -> Option<u64> {
        (word % ROUND + 1 >= self.n).then(|| (word / ROUND + 1).wrapping_mul(ROUND))
    }

    /// Counts an arrival. Returns the round for whose end the caller must wait, or `None` if this
    /// was the round's last arrival.
    fn arrive(&self) -> Option<u64> {
        let arrive = |word| Some(self.next_round(word).unwrap_or(word + 1));
        let before = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, arrive)
            .expect("always some");
        if self.next_round(before).is_some() {
            self.notify.notify_all();
            return None;
        }
        Some(before / ROUND)
    }

    /// Arrives if this is the round's last arrival. Returns true if it was.
    fn try_arrive(&self) -> bool {
        let arrive = |word| self.next_round(word);
        let arrived = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, arrive).is_ok();
        if arrived {
            self.notify.notify_all();
        }
        arrived
    }

    /// Withdraws an arrival of `round`. Returns false if that round has ended.
    fn give_up(&self, round: u64) -> bool {
        let leave = |word: u64| (word / ROUND == round).then(|| word - 1);
        self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, leave).is_ok()
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrived = self.word.load(Ordering::Relaxed) % ROUND;
        f.debug_struct("Barrier").field("n", &self.n).field("arrived", &arrived).finish()
    }
}

/// The result of [`Barrier::wait`].
///
/// # Examples
///
/// ```
/// use gopark::sync::{Barrier, BarrierWaitResult};
///
/// let alone = Barrier::new(1);
/// let result: BarrierWaitResult = gopark::block_on(alone.wait());
/// assert!(result.is_leader());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BarrierWaitResult {
    is_leader: bool,
}

impl BarrierWaitResult {
    /// Returns true for exactly one wait of each round: the last to arrive.
    ///
    /// # Examples
    ///
    /// ```
    /// let alone = gopark::sync::Barrier::new(1);
    /// assert!(gopark::block_on(alone.wait()).is_leader());
    /// ```
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }
}

pin_project! {
    /// The future of [`Barrier::wait`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::Barrier;
    ///
    /// gopark::block_on(async {
    ///     let barrier = Barrier::new(2);
    ///     let mut first = Box::pin(barrier.wait());
    ///     assert!(futures_lite::future::poll_once(first.as_mut()).await.is_none());
    ///     assert!(barrier.wait().await.is_leader());
    ///     assert!(!first.await.is_leader());
    /// });
    /// ```
    #[must_use = "futures do nothing unless awaited"]
    pub struct BarrierWait<'a> {
        barrier: &'a Barrier,
        #[pin]
        until: Until<'a>,
        stage: Stage,
    }

    impl PinnedDrop for BarrierWait<'_> {
        fn drop(this: Pin<&mut Self>) {
            if let Stage::Arrived { round } = this.stage {
                _ = this.barrier.give_up(round);
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Arrived { round: u64 },
    Over,
}

future_case!(BarrierWait<'a>, 'a);

impl Future for BarrierWait<'_> {
    type Output = BarrierWaitResult;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BarrierWaitResult> {
        let mut this = self.project();
        let (barrier, stage) = (*this.barrier, this.stage);
        assert!(*stage != Stage::Over, "gopark: future polled after completion");
        // If this attempt is not repeated, no other wait may count on the arrival afterwards.
        let is_leader = match *stage {
            Stage::New if coop::is_passing(cx) => Some(barrier.try_arrive().then_some(true)),
            Stage::Arrived { round } if coop::is_last(cx.waker()) => {
                this.until.as_mut().restart();
                *stage = Stage::New;
                Some((!barrier.give_up(round)).then_some(false))
            }
            _ => None,
        };
        if let Some(is_leader) = is_leader {
            let Some(is_leader) = is_leader else { return Poll::Pending };
            *stage = Stage::Over;
            coop::spend();
            return Poll::Ready(BarrierWaitResult { is_leader });
        }
        let polled = this.until.poll(cx, || match *stage {
            Stage::New => match barrier.arrive() {
                None => Some(true),
                Some(round) => {
                    *stage = Stage::Arrived { round };
                    None
                }
            },
            Stage::Arrived { round } => (barrier.round() != round).then_some(false),
            Stage::Over => unreachable!(),
        });
        if polled.is_ready() {
            *stage = Stage::Over;
        }
        polled.map(|is_leader| BarrierWaitResult { is_leader })
    }
}

impl fmt::Debug for BarrierWait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWait").field("stage", &self.stage).finish_non_exhaustive()
    }
}
