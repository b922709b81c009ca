//! Duplicate suppression: concurrent calls with the same key share one execution.

// A [`Call`] has one permit, the turn to do the work. The first participant acquires it and leads;
// the others queue for it. A leader that is dropped releases the turn, so the next participant
// leads with its own future. A leader that completes leaves a result for each of the others and
// opens the semaphore to all.
//
// Keys are compared outside of the lock, because the comparison is user code: a bucket of the map
// is copied, searched, and then changed only if it is still the same.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::panic::{AssertUnwindSafe, Location};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_lite::FutureExt;

use super::semaphore::Semaphore;
use crate::coop::Reason;
use crate::maps;
use crate::panics::{Caught, Payload, catch, lock};
use crate::wait::case::{Case, async_wait};

/// Runs work once for all concurrent calls with the same key.
///
/// Go: `golang.org/x/sync/singleflight`. Overlapping calls with the same key share one execution
/// and its result. No result is cached: a call that begins after that execution has ended runs the
/// work again.
///
/// # When to use something else
///
/// Use an [`OnceValue`](crate::sync::OnceValue), or `std::sync::OnceLock`, to keep the value. Use a
/// goroutine that receives requests from a channel if work for different keys must not overlap
/// either.
///
/// # Memory ordering
///
/// The end of the work synchronizes before the return of every call that shares it.
///
/// # Examples
///
/// ```
/// use gopark::sync::SingleFlight;
///
/// gopark::block_on(async {
///     let lookups = SingleFlight::new();
///     let (address, shared) = lookups.work("example.org", async { "192.0.2.1" }).await;
///     assert_eq!((address, shared), ("192.0.2.1", false));
/// });
/// ```
#[doc(alias = "Group")]
#[doc(alias = "singleflight")]
pub struct SingleFlight<K, V> {
    hasher: RandomState,
    /// The calls in flight, by the hash of the key. A lock of std, because the map and its buckets
    /// allocate under it.
    calls: Mutex<HashMap<u64, Bucket<K, V>>>,
}

/// Calls whose keys have the same hash; nearly always one.
type Bucket<K, V> = Vec<Arc<Call<K, V>>>;

struct Call<K, V> {
    key: K,
    hash: u64,
    turn: Semaphore,
    /// The number of participants: the leader and the waiting calls. Changed under the lock of the
    /// map; when it reaches 0, the call has been removed from the map.
    participants: AtomicUsize,
    /// `None` until the work is done: until then the participant that has the turn leads. Then a
    /// value for each waiting call, or a panic for all.
    outcome: Mutex<Option<Result<Vec<V>, Payload>>>,
}

impl<K: Eq + Hash, V: Clone> SingleFlight<K, V> {
    /// Creates a `SingleFlight` with no calls in flight.
    ///
    /// # Examples
    ///
    /// ```
    /// let flights = gopark::sync::SingleFlight::<String, u32>::new();
    /// # let _ = flights;
    /// ```
    pub fn new() -> Self {
        SingleFlight { hasher: RandomState::new(), calls: Mutex::new(HashMap::new()) }
    }

    /// Returns the result of `future`, or of the future that is already running for `key`; and
    /// whether other calls share that result. Go: `Do`.
    ///
    /// The future runs inside this call. If the future of another call runs instead, `future` is
    /// dropped unpolled at the end.
    ///
    /// # Cancellation
    ///
    /// Dropping a call while its own future runs stops that future, and the next call in the queue
    /// runs its own. Dropping a call while it waits only removes it from the queue.
    ///
    /// # Panics
    ///
    /// If the future that runs for `key` panics. This call panics with the original payload if the
    /// future is its own, otherwise with a copy of the message.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::SingleFlight;
    /// use std::sync::Arc;
    ///
    /// async fn slow() -> &'static str {
    ///     gopark::gosched().await;
    ///     "slow"
    /// }
    ///
    /// gopark::block_on(async {
    ///     let flights = Arc::new(SingleFlight::new());
    ///     let other = flights.clone();
    ///     let handle = gopark::go(async move { other.work(1, slow()).await.0 });
    ///     flights.work(1, slow()).await;
    ///     assert_eq!(handle.await.unwrap(), "slow");
    /// });
    /// ```
    #[track_caller]
    #[doc(alias = "Do")]
    #[doc(alias = "DoChan")]
    pub fn work<'a, F>(
        &'a self,
        key: K,
        future: F,
    ) -> impl Future<Output = (V, bool)> + Case<Output = (V, bool)> + use<'a, F, K, V>
    where
        F: Future<Output = V>,
    {
        let site = Location::caller();
        async_wait(async move {
            let joined = self.join(key);
            let call = &*joined.call.clone();
            let acquire = pin!(call.turn.acquire_at(1, site, Reason::SingleFlight));
            let _turn;
            // Declared after the turn, so dropped before it: the next leader must not count a
            // participant that has left.
            let _member = joined;
            _turn = acquire.await;
            if let Some(outcome) = call.outcome() {
                return (outcome.unwrap_or_else(|payload| payload.raise()), true);
            }
            // This participant leads. If it is dropped from here on, the turn goes to the next.
            let end = AssertUnwindSafe(future).catch_unwind().await.map_err(Caught::new);
            // After its removal no caller can join the call.
            let (off, others) = {
                let mut calls = lock(&self.calls);
                (self.remove_call(&mut calls, call), call.participants.load(Ordering::Relaxed) - 1)
            };
            drop(off);
            let copied = end.and_then(|value| {
                let copy = || (0..others).map(|_| value.clone()).collect();
                catch(copy).map(|copies| (copies, value))
            });
            match copied {
                Ok((copies, value)) => {
                    call.finish(Ok(copies));
                    (value, others > 0)
                }
                Err(caught) => {
                    call.finish(Err(Payload::copy_of(&caught)));
                    caught.resume()
                }
            }
        })
    }

    /// Makes the next [`work`](Self::work) call for `key` start a new execution, even if one is in
    /// flight. Go: `Forget`.
    ///
    /// Calls that wait for the execution in flight still get its result.
    ///
    /// # Examples
    ///
    /// ```
    /// let flights = gopark::sync::SingleFlight::<&str, u32>::new();
    /// flights.forget(&"key");
    /// ```
    #[doc(alias = "Forget")]
    pub fn forget(&self, key: &K) {
        let hash = self.hasher.hash_one(key);
        let bucket = lock(&self.calls).get(&hash).cloned().unwrap_or_default();
        if let Some(call) = bucket.iter().find(|call| call.key == *key) {
            drop(self.remove_call(&mut lock(&self.calls), call));
        }
    }

    /// Joins the call for `key`, or creates it.
    fn join(&self, key: K) -> Participant<'_, K, V> {
        let hash = self.hasher.hash_one(&key);
        let own = Arc::new(Call {
            key,
            hash,
            turn: Semaphore::new(1),
            participants: AtomicUsize::new(0),
            outcome: Mutex::new(None),
        });
        loop {
            let seen = lock(&self.calls).get(&hash).cloned().unwrap_or_default();
            let found = seen.iter().find(|call| call.key == own.key);
            let mut calls = lock(&self.calls);
            let now = calls.get(&hash).into_iter().flatten();
            if !now.map(Arc::as_ptr).eq(seen.iter().map(Arc::as_ptr)) {
                continue;
            }
            if found.is_none() {
                calls.entry(hash).or_default().push(own.clone());
            }
            let call = found.unwrap_or(&own);
            call.participants.fetch_add(1, Ordering::Relaxed);
            return Participant { flights: self, call: call.clone() };
        }
    }
}

impl<K, V> SingleFlight<K, V> {
    /// Removes the call from the map, if it is there. The result must be dropped outside of the
    /// lock.
    fn remove_call(
        &self,
        calls: &mut HashMap<u64, Bucket<K, V>>,
        call: &Call<K, V>,
    ) -> Option<Arc<Call<K, V>>> {
        let bucket = calls.get_mut(&call.hash)?;
        let at = bucket.iter().position(|other| std::ptr::eq(&**other, call))?;
        let off = bucket.swap_remove(at);
        if bucket.is_empty() {
            maps::remove(calls, &call.hash);
        }
        Some(off)
    }
}

impl<K, V> Call<K, V> {
    /// Takes the outcome for one participant. The caller has the turn.
    fn outcome(&self) -> Option<Result<V, Payload>> {
        Some(match lock(&self.outcome).as_mut()? {
            Ok(values) => Ok(values.pop().expect("a value for each waiting call")),
            Err(payload) => Err(payload.clone()),
        })
    }

    fn finish(&self, outcome: Result<Vec<V>, Payload>) {
        *lock(&self.outcome) = Some(outcome);
        self.turn.open();
    }
}

impl<K: Eq + Hash, V: Clone> Default for SingleFlight<K, V> {
    fn default() -> Self {
        SingleFlight::new()
    }
}

impl<K, V> fmt::Debug for SingleFlight<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_flight: usize = lock(&self.calls).values().map(Vec::len).sum();
        f.debug_struct("SingleFlight").field("in_flight", &in_flight).finish_non_exhaustive()
    }
}

/// A caller that takes part in a call.
struct Participant<'a, K, V> {
    flights: &'a SingleFlight<K, V>,
    call: Arc<Call<K, V>>,
}

impl<K, V> Drop for Participant<'_, K, V> {
    fn drop(&mut self) {
        let mut calls = lock(&self.flights.calls);
        let last = self.call.participants.fetch_sub(1, Ordering::Relaxed) == 1;
        // The last participant leaves no call that others could join.
        let off = if last { self.flights.remove_call(&mut calls, &self.call) } else { None };
        drop(calls);
        drop(off);
    }
}
