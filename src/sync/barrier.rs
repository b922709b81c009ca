//! A number of goroutines that go on together.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::raw_notify::{RawNotify, Until};
use crate::coop::Reason;
use crate::loom::const_fn;
use crate::wait::case::future_case;

/// Lets a number of goroutines wait for each other, again and again.
///
/// tokio: `sync::Barrier`. Go has none; there a [`WaitGroup`](crate::sync::WaitGroup) and a channel
/// do it once.
///
/// # When to use something else
///
/// A [`WaitGroup`](crate::sync::WaitGroup) where some wait and others arrive. `std::sync::Barrier`
/// on plain threads.
///
/// # Memory ordering
///
/// The arrival of each synchronizes before the return of all in its round.
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
    /// | (round, k) | k have arrived in this round | one that arrives: (round, k + 1); one that gives up: (round, k − 1) |
    /// | (round, n − 1) | one is missing | the last: (round + 1, 0), and then it notifies all |
    word: AtomicU64,
    notify: RawNotify,
}

const ROUND: u64 = 1 << 32;

impl Barrier {
    const_fn! {
        /// A barrier for `n` at a time. None at all is as one: it never waits.
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
            assert!(n <= ROUND / 2, "gopark: too many for a Barrier");
            Barrier { n, word: AtomicU64::new(0), notify: RawNotify::new() }
        }
    }

    /// Waits until as many wait as the barrier is for. One of them is told that it is the leader:
    /// the last.
    ///
    /// # Cancellation
    ///
    /// Dropping the future before all have arrived takes the arrival back: another one is needed
    /// then. (tokio's stays counted.)
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

    /// One more is there. Returns the round it waits for the end of, or none if that was the last.
    fn arrive(&self) -> Option<u64> {
        let is_last = |word: u64| word % ROUND + 1 >= self.n;
        let arrive = |word: u64| {
            Some(if is_last(word) { (word / ROUND + 1).wrapping_mul(ROUND) } else { word + 1 })
        };
        let before = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, arrive)
            .expect("always some");
        if is_last(before) {
            self.notify.notify_all();
            return None;
        }
        Some(before / ROUND)
    }

    /// One that arrived in that round is not there any more, unless the round is over.
    fn give_up(&self, round: u64) {
        let leave = |word: u64| (word / ROUND == round).then(|| word - 1);
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, leave);
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrived = self.word.load(Ordering::Relaxed) % ROUND;
        f.debug_struct("Barrier").field("n", &self.n).field("arrived", &arrived).finish()
    }
}

/// What [`Barrier::wait`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BarrierWaitResult {
    is_leader: bool,
}

impl BarrierWaitResult {
    /// True of one in each round.
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
                this.barrier.give_up(round);
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
        let this = self.project();
        let (barrier, stage) = (*this.barrier, this.stage);
        assert!(*stage != Stage::Over, "gopark: future polled after completion");
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
