//! The census: lists the live goroutines and their activities.
//!
//! A goroutine that has parked once is in its shard's registry. Others are in a queue, or in their
//! first poll. No goroutine is stopped: the census holds a lock for one queue or one block of a
//! registry at a time, and sees each goroutine as it is at that moment. It may miss a goroutine
//! that moves from queue to queue meanwhile, so a census with too few goroutines is repeated.
//!
//! A wake does not mark its goroutine, because that would cost each context switch two stores. So
//! the census inspects the queues first. A goroutine that waits according to its note, and that was
//! in no queue, was parked at some moment of the census, with two exceptions: it moved from queue
//! to queue, or its worker was between two polls at each inspection. Neither happens while a
//! runtime is at rest.

use std::collections::{HashMap, HashSet};
use std::panic::Location;
use std::ptr;
use std::sync::atomic::Ordering;

use super::{EXECUTORS, Executor, Revoked, fork, lock};
use crate::header::{Activity, Header, Keeper, OwnWaker, Reason, Task, WaitNote};
use crate::holders;
use crate::local_queue::Polled;
use crate::registry::BLOCK;
use crate::run_queue::prefetch;
use crate::running::Running;

/// A goroutine as a census has found it.
pub(crate) struct Seen {
    pub(crate) id: u64,
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) executor: &'static Executor,
    pub(crate) does: Does,
    /// Its wait, or its last wait if it was woken since.
    pub(crate) note: Option<WaitNote>,
    /// Whether a future of another crate keeps its waker.
    pub(crate) keeper: Keeper,
    /// The task of a goroutine that waits for a socket, or for a channel if holders are recorded.
    pub(crate) task: Option<Kept>,
}

/// Keeps a goroutine's memory allocated, so that the address identifies this goroutine.
pub(crate) struct Kept(OwnWaker);

impl Kept {
    /// The address that its wakers have.
    pub(crate) fn address(&self) -> usize {
        self.0.address()
    }
}

/// The activity of a goroutine, as a census reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    Runs,
    CanRun,
    /// It waits, as its note says.
    Waits,
    /// It waits for a future of another crate, since that epoch.
    WaitsElsewhere {
        since: u32,
    },
}

impl Does {
    /// The activity of a goroutine that is in no queue. `None` if it has ended.
    fn of(activity: Activity, is_polled: impl FnOnce() -> bool) -> Option<Self> {
        match activity {
            Activity::Ended => None,
            _ if is_polled() => Some(Self::Runs),
            Activity::Unnoted { since } => Some(Self::WaitsElsewhere { since }),
            Activity::Waits(_) => Some(Self::Waits),
        }
    }
}

/// How often a census is taken again if it found fewer goroutines than were counted.
const ATTEMPTS: usize = 3;

impl Seen {
    fn new(header: &Header, does: Does) -> Self {
        let note = if let Activity::Waits(note) = header.activity() { Some(note) } else { None };
        Self {
            id: header.id(),
            spawned_at: header.spawned_at(),
            executor: Executor::of(header),
            does,
            note,
            keeper: header.flags().keeper(),
            task: None,
        }
    }
}

/// The load of a runtime.
pub(crate) struct Load {
    pub(crate) procs: usize,
    pub(crate) idle: usize,
    /// The number of workers, and of parked ones.
    pub(crate) threads: usize,
    pub(crate) parked: usize,
    /// The number of goroutines in the global queue, and in each processor's queue.
    pub(crate) global: usize,
    pub(crate) local: Vec<usize>,
}

impl Executor {
    /// Returns the load at this moment.
    pub(crate) fn load(&self) -> Load {
        let (parked, threads) = self.spares.counts();
        Load {
            procs: self.procs.load(Ordering::Relaxed),
            idle: lock(&self.sched).idle.len(),
            threads,
            parked,
            global: self.global.len(),
            local: self.processors.in_use().map(|processor| processor.queue.len()).collect(),
        }
    }

    /// Returns the executors of all runtimes; none in a forked process, where a lock may never be
    /// released.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        let all = EXECUTORS
            .all()
            .filter(|executor| executor.procs.load(Ordering::Acquire) != 0 && !fork::is_child());
        #[cfg(feature = "sim")]
        let all = all.filter(|executor| executor.is_in_this_world());
        all
    }

    /// Returns a number that identifies this runtime among all of the process.
    pub(crate) fn number(&self) -> u64 {
        self.generation() as u64 * Header::EXECUTORS as u64 + u64::from(self.index)
    }

    /// Calls `f` once with each goroutine that is live during the whole call, and with some that
    /// start or end meanwhile. No lock is held when `f` is called.
    pub(crate) fn census(&'static self, mut f: impl FnMut(Seen)) {
        let mut known = HashSet::new();
        for _ in 0..ATTEMPTS {
            let mut queued = HashMap::new();
            for (seen, is_registered) in self.in_queues() {
                if is_registered {
                    queued.insert(seen.id, seen);
                } else if known.insert(seen.id) {
                    f(seen);
                }
            }
            let mut local = Vec::new();
            self.block_on_calls.each_local(|header, is_polled| {
                // `None`: its thread is about to return.
                local.extend(
                    Does::of(header.activity(), || is_polled).map(|does| Seen::new(header, does)),
                );
            });
            local.into_iter().filter(|seen| known.insert(seen.id)).for_each(&mut f);
            self.each_registered(&mut |seen| {
                if known.insert(seen.id) {
                    f(queued.remove(&seen.id).unwrap_or(seen));
                }
            });
            if known.len() >= self.live() {
                break;
            }
        }
    }

    /// Returns the goroutines in polls and in queues, and whether they are registered.
    fn in_queues(&'static self) -> Vec<(Seen, bool)> {
        // Nothing is allocated under the locks. The next attempt finds the goroutines that do not
        // fit.
        let mut found = Vec::with_capacity(self.live() + BLOCK);
        let mut add = |header: &Header, does| {
            if found.len() < found.capacity() {
                found.push((Seen::new(header, does), header.flags().is_registered()));
            }
        };
        // This visits the queues in the order in which goroutines move from one to the next.
        self.spares.each_job(BLOCK, |task| add(task.metadata(), Does::CanRun));
        self.global.each(BLOCK, |task| add(task.metadata(), Does::CanRun));
        self.each_in_processors(|task| add(task.metadata(), Does::CanRun));
        self.each_running(|header| add(header, Does::Runs));
        let mut polled = Vec::with_capacity(BLOCK);
        self.block_on_calls.each_local_goroutine(
            |header| add(header, Does::CanRun),
            |one| {
                if polled.len() < BLOCK {
                    polled.push(one);
                }
            },
        );
        let runs = |Polled { id, spawned_at }| {
            let (does, note, keeper, task) = (Does::Runs, None, Keeper::Unknown, None);
            // Reported as not registered, because a running goroutine is found only here.
            (Seen { id, spawned_at, executor: self, does, note, keeper, task }, false)
        };
        found.extend(polled.into_iter().map(runs));
        found
    }

    /// Calls `f` with the goroutines that workers poll.
    fn each_running(&self, f: impl FnMut(&Header)) {
        let sched = lock(&self.sched);
        Running::inspect(sched.workers.iter().map(|worker| &worker.running), f);
    }

    /// Calls `f` with the goroutines at processors whose worker is in a poll. A worker that is not
    /// in a poll takes its next goroutine at once.
    fn each_in_processors(&self, mut f: impl FnMut(&Task)) {
        for processor in self.processors.in_use() {
            let sched = lock(&self.sched);
            let Some(mut revoked) = Revoked::take(&sched, processor) else { continue };
            revoked.next.iter().for_each(&mut f);
            revoked.queue.each(prefetch, &mut f);
            drop(revoked);
            drop(sched);
            // A thief that has missed goroutines may be asleep.
            if !processor.queue.is_empty() {
                self.notify();
            }
        }
    }

    /// Calls `f` with the goroutines that have parked once.
    fn each_registered(&'static self, f: &mut dyn FnMut(Seen)) {
        let mut found = Vec::with_capacity(BLOCK);
        let mut unnoted = Vec::with_capacity(BLOCK);
        for shard in self.processors.shards() {
            for at in 0.. {
                let is_there = shard.registry.each_of_block(at, |waker| {
                    let header = waker.header();
                    match header.activity() {
                        Activity::Waits(note) => found.push(Seen {
                            task: (note.reason == Reason::Io
                                || note.reason.is_channel() && holders::is_on())
                            .then(|| Kept(waker.clone())),
                            ..Seen::new(header, Does::Waits)
                        }),
                        Activity::Unnoted { .. } => unnoted.push(waker.clone()),
                        Activity::Ended => {}
                    }
                });
                if !is_there {
                    break;
                }
                found.drain(..).for_each(&mut *f);
                unnoted.drain(..).filter_map(|waker| self.look_again(&waker)).for_each(&mut *f);
            }
        }
    }

    /// Asks the goroutines that wait for futures of other crates whether the futures keep their
    /// wakers: see [`Keeper`]. Returns false if all have been asked, or if they have been asked too
    /// often in this rest.
    pub(crate) fn ask_for_keepers(&'static self) -> bool {
        if !self.may_ask() {
            return false;
        }
        let is_foreign = |activity| match activity {
            Activity::Waits(note) => note.reason == Reason::Foreign,
            Activity::Unnoted { .. } => true,
            Activity::Ended => false,
        };
        let asks = |waker: &OwnWaker| {
            let header = waker.header();
            is_foreign(header.activity()) && header.ask_for_keeper()
        };
        let parked = self.processors.shards().flat_map(|shard| shard.registry.all());
        let asked: Vec<_> = parked.filter(asks).collect();
        if asked.is_empty() {
            return false;
        }
        self.rest_goes_on();
        asked.into_iter().for_each(OwnWaker::wake);
        true
    }

    /// Determines whether a goroutine that has parked once and notes no wait runs, or waits for a
    /// future of another crate.
    fn look_again(&self, waker: &OwnWaker) -> Option<Seen> {
        let header = waker.header();
        loop {
            let activity = header.activity();
            let does = Does::of(activity, || self.is_running(header));
            if header.activity() == activity {
                return does.map(|does| Seen::new(header, does));
            }
        }
    }

    fn is_running(&self, header: &Header) -> bool {
        lock(&self.sched).workers.iter().any(|worker| ptr::eq(worker.running.get(), header))
    }
}
