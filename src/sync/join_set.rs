//! Sets of goroutines whose results are taken in the order of completion.

// When the future of a goroutine has been dropped, the goroutine reports its key to the set. The
// set then joins it through its handle, which is ready by then, or will be in a moment.

use std::fmt;
use std::mem;
use std::panic::{Location, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use concurrent_queue::ConcurrentQueue;
use pin_project_lite::pin_project;

use super::raw_notify::{RawNotify, Until};
use crate::coop::Reason;
use crate::join::{AbortHandle, JoinError, JoinHandle};
use crate::runtime;
use crate::wait::case::{Case, async_wait, future_case, option_case};

/// A set of goroutines whose results are taken in the order of completion.
///
/// Dropping the set aborts the goroutines that are left in it.
///
/// tokio: `task::JoinSet`. In Go it is a channel of results and a context.
///
/// # When to use something else
///
/// Use a [`WaitGroup`](crate::sync::WaitGroup) if there are no results, an
/// [`ErrGroup`](crate::sync::ErrGroup) if the results are only errors, or
/// [`JoinHandle`](crate::JoinHandle)s to take the results in the order of the starts.
///
/// # Memory ordering
///
/// Everything that a goroutine did synchronizes before the return of its result.
///
/// # Examples
///
/// ```
/// use gopark::JoinSet;
///
/// gopark::block_on(async {
///     let mut squares = JoinSet::new();
///     for i in 1..=3 {
///         squares.go(async move { i * i });
///     }
///     let mut sum = 0;
///     while let Some(square) = squares.join_next().await {
///         sum += square.unwrap();
///     }
///     assert_eq!(sum, 14);
/// });
/// ```
pub struct JoinSet<T> {
    ended: Arc<Ended>,
    members: Members<T>,
}

/// The keys of goroutines that have ended.
struct Ended {
    keys: ConcurrentQueue<usize>,
    notify: RawNotify,
}

impl Ended {
    fn new() -> Self {
        Ended { keys: ConcurrentQueue::unbounded(), notify: RawNotify::new() }
    }

    /// Waits for the next goroutine to end and returns its key. Returns `None` if `is_empty`.
    fn poll_next(
        &self,
        until: Pin<&mut Until<'_>>,
        cx: &mut Context<'_>,
        is_empty: bool,
    ) -> Poll<Option<usize>> {
        until.poll(cx, || if is_empty { Some(None) } else { self.keys.pop().ok().map(Some) })
    }
}

/// Goroutines by their keys.
struct Members<T> {
    handles: Vec<Option<JoinHandle<T>>>,
    /// Keys that no goroutine has.
    free: Vec<usize>,
    /// The key of the goroutine that is being joined.
    joining: Option<usize>,
}

impl<T> Members<T> {
    /// An empty set with as many places or fewer keeps their memory.
    const FEW: usize = 64;

    fn new() -> Self {
        Members { handles: Vec::new(), free: Vec::new(), joining: None }
    }

    /// Removes a goroutine that has been joined.
    fn remove(&mut self, key: usize) {
        self.joining = None;
        self.handles[key] = None;
        self.free.push(key);
        if self.len() == 0 && self.handles.len() > Self::FEW {
            // No goroutine is left that will report a key.
            *self = Members::new();
        }
    }

    fn len(&self) -> usize {
        self.handles.len() - self.free.len()
    }

    fn iter(&self) -> impl Iterator<Item = &JoinHandle<T>> {
        self.handles.iter().flatten()
    }
}

impl<T> JoinSet<T> {
    /// Creates an empty set.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(gopark::JoinSet::<()>::new().is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        JoinSet { ended: Arc::new(Ended::new()), members: Members::new() }
    }

    /// Starts a goroutine in the set, as [`go`](crate::go()) does.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let mut set = gopark::JoinSet::new();
    ///     let abort = set.go(std::future::pending::<()>());
    ///     abort.abort();
    ///     assert!(set.join_next().await.unwrap().unwrap_err().is_aborted());
    /// });
    /// ```
    #[track_caller]
    #[doc(alias = "spawn")]
    pub fn go<F>(&mut self, future: F) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        // First, because it panics if no goroutine can be started.
        let executor = runtime::current();
        let Members { handles, free, .. } = &mut self.members;
        let key = free.pop().unwrap_or_else(|| {
            handles.push(None);
            handles.len() - 1
        });
        let end = End { ended: self.ended.clone(), key };
        let member = Member { future, _end: end };
        let (handle, abort) = runtime::go_abortable(executor, member, Location::caller());
        handles[key] = Some(handle);
        abort
    }

    /// Waits until a goroutine ends and returns its result. Returns `None` if the set is empty.
    ///
    /// # Cancellation
    ///
    /// Dropping the future has no effect: no result is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let mut set = gopark::JoinSet::new();
    ///     set.go(async { "done" });
    ///     assert_eq!(set.join_next().await.unwrap().unwrap(), "done");
    ///     assert!(set.join_next().await.is_none());
    /// });
    /// ```
    #[track_caller]
    pub fn join_next(&mut self) -> JoinNext<'_, T> {
        let JoinSet { ended, members } = self;
        let until = Until::new(&ended.notify, Location::caller(), Reason::JoinSet);
        JoinNext { ended, members, until }
    }

    /// Waits for all goroutines and returns their results in the order of completion.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the set, which aborts the remaining goroutines.
    ///
    /// # Panics
    ///
    /// If a goroutine has panicked, with its panic; or if a goroutine was aborted. The remaining
    /// goroutines are aborted then.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let mut set = gopark::JoinSet::new();
    ///     (0..3).for_each(|i| drop(set.go(async move { i })));
    ///     assert_eq!(set.join_all().await.iter().sum::<i32>(), 3);
    /// });
    /// ```
    #[track_caller]
    pub fn join_all(mut self) -> impl Future<Output = Vec<T>> + Case<Output = Vec<T>> {
        let site = Location::caller();
        async_wait(async move {
            let mut results = Vec::with_capacity(self.len());
            loop {
                let JoinSet { ended, members } = &mut self;
                let until = Until::new(&ended.notify, site, Reason::JoinSet);
                match (JoinNext { ended, members, until }).await {
                    None => return results,
                    Some(Ok(result)) => results.push(result),
                    Some(Err(error)) if error.is_panic() => resume_unwind(error.into_panic()),
                    Some(Err(error)) => panic!("gopark: {error}"),
                }
            }
        })
    }

    /// Aborts all goroutines. They stay in the set until they are joined.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let mut set = gopark::JoinSet::new();
    ///     set.go(std::future::pending::<()>());
    ///     set.abort_all();
    ///     assert!(set.join_next().await.unwrap().is_err());
    /// });
    /// ```
    pub fn abort_all(&mut self) {
        self.members.iter().for_each(JoinHandle::abort);
    }

    /// Removes all goroutines from the set without aborting them.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut set = gopark::JoinSet::new();
    /// set.go(async {});
    /// set.detach_all();
    /// assert!(set.is_empty());
    /// ```
    pub fn detach_all(&mut self) {
        // A new set replaces this one, because the detached goroutines still report their keys.
        mem::take(self).members.handles.clear();
    }

    /// Returns the number of goroutines in the set, including those that have ended and have not
    /// been joined.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut set = gopark::JoinSet::new();
    /// set.go(async {});
    /// assert_eq!(set.len(), 1);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns true if the set has no goroutines.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(gopark::JoinSet::<()>::new().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Default for JoinSet<T> {
    fn default() -> Self {
        JoinSet::new()
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.abort_all();
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet").field("len", &self.len()).finish_non_exhaustive()
    }
}

pin_project! {
    /// A goroutine of a set. The future is dropped first, then `_end` reports the key to the set.
    struct Member<F> {
        #[pin]
        future: F,
        _end: End,
    }
}

impl<F: Future> Future for Member<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

struct End {
    ended: Arc<Ended>,
    key: usize,
}

impl Drop for End {
    fn drop(&mut self) {
        let _ = self.ended.keys.push(self.key);
        self.ended.notify.notify_all();
    }
}

pin_project! {
    /// The future of [`JoinSet::join_next`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::JoinSet;
    /// use gopark::sync::futures::JoinNext;
    ///
    /// async fn next_or_zero(next: JoinNext<'_, u32>) -> u32 {
    ///     next.await.map_or(0, |joined| joined.unwrap_or(0))
    /// }
    ///
    /// gopark::block_on(async {
    ///     let mut set = JoinSet::new();
    ///     set.go(async { 7 });
    ///     assert_eq!(next_or_zero(set.join_next()).await, 7);
    ///     assert_eq!(next_or_zero(set.join_next()).await, 0); // The set is empty.
    /// });
    /// ```
    #[must_use = "futures do nothing unless awaited"]
    pub struct JoinNext<'a, T> {
        ended: &'a Ended,
        members: &'a mut Members<T>,
        #[pin]
        until: Until<'a>,
    }
}

future_case!(JoinNext<'a, T>, 'a, T);
option_case!(['a, T] JoinNext<'a, T> => Result<T, JoinError>);

impl<T> Future for JoinNext<'_, T> {
    type Output = Option<Result<T, JoinError>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (ended, members) = (*this.ended, this.members);
        let key = match members.joining {
            Some(key) => key,
            None => match ended.poll_next(this.until, cx, members.len() == 0) {
                Poll::Ready(Some(key)) => *members.joining.insert(key),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            },
        };
        let handle = members.handles[key].as_mut().expect("it has not been joined");
        let Poll::Ready(result) = Pin::new(handle).poll(cx) else { return Poll::Pending };
        members.remove(key);
        Poll::Ready(Some(result))
    }
}

impl<T> fmt::Debug for JoinNext<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinNext").field("len", &self.members.len()).finish_non_exhaustive()
    }
}

#[cfg(all(test, gopark_loom))]
mod models;
#[cfg(all(test, not(gopark_loom)))]
mod tests;
