//! The poller in the scheduler: which threads check it for events, and which one sleeps there.
//!
//! * A busy worker checks the poller when it must check its timers, if the last check is [`AGE`]
//!   old. If goroutines are in its local queue it takes only a few events: events that are left in
//!   the kernel are served in turn, but goroutines that overflow into the global queue starve.
//! * A worker that has found nothing to run checks before it parks, and repeats that for a short
//!   time if it is likely to pay.
//! * The last idle worker sleeps in the poller, the others in their parkers: these are cheaper to
//!   wake, and are woken first. The worker claims the poller before it is listed as parked.
//! * The monitor checks if no worker has done so for a while, because all are in long polls, or
//!   their queues are full.
//!
//! Go: `netpoll.go`, `findRunnable`, `sysmon`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Executor, Ordering, Processor, Sched};
use crate::clock;
use crate::netpoll::{Event, FEW};
use crate::parker::Claim;
use crate::processor::LOCAL_QUEUE;
use crate::sources::{SocketInfo, Sources};

/// A busy worker checks the poller if the last check is at least this old.
const AGE: Duration = Duration::from_micros(200);
/// The monitor checks the poller if the last check is at least this old.
const MONITOR_AGE: Duration = Duration::from_millis(1);
/// How long a worker checks the poller before a sleep that may be short.
const SPIN: Duration = Duration::from_micros(30);
/// The number of pauses between two of these checks: about half a microsecond. An event is seen
/// hardly later, for a third of the system calls.
const PAUSES: u32 = 16;

/// The descriptors of a runtime that shuts down.
pub(super) struct Ending(Option<Arc<Sources>>);

impl Ending {
    /// Ends them: from now on, operations fail.
    pub(super) fn end(self) {
        self.0.iter().for_each(|sources| sources.end());
    }
}

impl Executor {
    /// Returns the descriptors of the runtime. The first call creates its poller.
    ///
    /// # Errors
    ///
    /// Fails if the system refuses a poller, or if the runtime is shutting down.
    pub(crate) fn sources(&self) -> io::Result<Arc<Sources>> {
        let (sources, is_new) = self.io.open(|| self.is_closing())?;
        if is_new {
            // If all workers are parked, none sleeps in the poller.
            self.idle.begin_search();
            self.call_worker();
        }
        Ok(sources)
    }

    /// Checks for events in a busy worker, if that is due and its queue has room for them. Returns
    /// true if there were some.
    // Not inlined, because the loop of a worker keeps all its state in registers.
    #[inline(never)]
    pub(super) fn look_for_events(&'static self, processor: &'static Processor) -> bool {
        // Without room, this does not count as a check, so that the monitor checks.
        self.io.is_open()
            && processor.queue.len() + FEW <= LOCAL_QUEUE
            && self.io.is_due(AGE)
            && self.io.get().is_some_and(|sources| self.harvest(&sources, processor))
    }

    /// Checks for events in a worker that has nothing to run. Returns true if there were some, or
    /// if there is work now.
    #[inline(never)]
    pub(super) fn wait_for_events(&'static self, processor: &'static Processor) -> bool {
        self.io.get().is_some_and(|sources| self.wait_briefly(&sources, processor))
    }

    fn wait_briefly(&'static self, sources: &Sources, processor: &'static Processor) -> bool {
        let netpoll = sources.netpoll();
        if netpoll.is_claimed() {
            return false;
        }
        if !self.idle.is_all_but_one(self.procs.load(Ordering::Relaxed)) {
            // Other workers are busy, and check as well.
            self.io.looked();
            return self.harvest(sources, processor);
        }
        self.io.looked();
        // The sleep in the poller is a check as well, but a worker that sleeps acquires some locks,
        // and gives up its processor.
        let found = self.harvest(sources, processor);
        if !netpoll.spins.may_begin() {
            return found;
        }
        let found = found || self.spin_for_events(sources, processor);
        netpoll.spins.ended(found);
        found
    }

    /// Checks for events and for work for a short time. Returns true if there were some.
    fn spin_for_events(&'static self, sources: &Sources, processor: &'static Processor) -> bool {
        let until = clock::coarse_now().after(SPIN);
        loop {
            if self.spin(PAUSES) || self.harvest(sources, processor) {
                return true;
            }
            if clock::coarse_now() >= until {
                return false;
            }
        }
    }

    /// Makes that spin of a worker that has searched in vain, unless it has not paid lately: what
    /// events make runnable, another worker takes, or the sleeper in the poller.
    pub(super) fn spin_after_search(&self, spin: impl FnOnce() -> bool) -> bool {
        let Some(sources) = self.io.get() else { return spin() };
        let spins = &sources.netpoll().search_spins;
        if !spins.may_begin() {
            return false;
        }
        let found = spin();
        spins.ended(found);
        found
    }

    fn harvest(&'static self, sources: &Sources, processor: &'static Processor) -> bool {
        let events = sources.netpoll().look(!processor.queue.is_empty());
        if events.is_empty() {
            return false;
        }
        self.deliver(sources, &events, || {
            if events.len() > 1 {
                self.requeue_next(processor);
            }
        });
        true
    }

    /// Wakes the goroutines of these events, then at most one worker for all of them: until `done`
    /// has returned, this thread counts as searching.
    fn deliver(&self, sources: &Sources, events: &[Event], done: impl FnOnce()) {
        self.idle.begin_search();
        sources.deliver(events);
        done();
        if self.idle.end_search() && self.has_work() {
            self.notify();
        }
    }

    /// Delivers the events that a sleep in the poller has found.
    #[inline(never)]
    pub(super) fn take_events(&'static self, processor: &'static Processor) -> bool {
        self.io.get().is_some_and(|sources| {
            sources.netpoll().has_found() && self.harvest(&sources, processor)
        })
    }

    /// Returns true if a sleep has found events, which wait for a processor.
    pub(super) fn has_events(&self) -> bool {
        self.io.get().is_some_and(|sources| sources.netpoll().has_found())
    }

    /// Checks for events in the monitor, if no worker has done so for some time and none sleeps in
    /// the poller. The goroutines that it wakes go into the global queue.
    pub(super) fn look_from_monitor(&self) {
        if let Some(sources) = self.io.get().filter(|_| self.io.is_due(MONITOR_AGE)) {
            let events = sources.netpoll().look(false);
            if !events.is_empty() {
                self.deliver(&sources, &events, || ());
            }
        }
    }

    /// Claims the poller for a worker that is about to park, if all processors are idle.
    pub(super) fn claim_poller(&self, sched: &Sched) -> Claim {
        let is_last = sched.idle.len() >= self.procs.load(Ordering::Relaxed);
        let netpoll =
            if is_last { self.io.get() } else { None }.map(|sources| sources.netpoll().clone());
        Claim::new(netpoll)
    }

    /// Calls another worker to sleep in the poller, because the one that slept there runs a job.
    pub(super) fn replace_poller(&self, claim: Claim) {
        let was_held = claim.is_held();
        drop(claim);
        if was_held {
            self.idle.begin_search();
            self.call_worker();
        }
    }

    /// Calls `f` with each socket for which goroutines wait, and the addresses of their tasks.
    pub(crate) fn each_socket(&self, f: impl FnMut(SocketInfo, &[usize])) {
        #[cfg(unix)]
        if let Some(sources) = self.io.get() {
            sources.each_waited_for(f);
        }
        #[cfg(not(unix))]
        let _ = f;
    }

    /// Returns true if a task waits for a descriptor, so that an event may wake it.
    pub(crate) fn waits_for_events(&self) -> bool {
        self.io.get().is_some_and(|sources| sources.is_waited_for())
    }

    /// Returns true if there is a poller, and no worker sleeps there or is about to.
    pub(super) fn is_unwatched(&self) -> bool {
        self.io.get().is_some_and(|sources| !sources.netpoll().is_claimed())
    }

    /// Returns the descriptors of the runtime, which is shutting down. Must be called under the
    /// scheduler's lock: afterwards they may belong to another runtime.
    pub(super) fn end_io(&self) -> Ending {
        Ending(self.io.get_exact())
    }

    #[cfg(all(test, not(gopark_loom)))]
    pub(super) fn has_no_poller(&self) -> bool {
        !self.io.is_open()
    }

    /// Closes the poller after the runtime has ended.
    pub(super) fn retire_io(&self) {
        self.io.close();
    }
}
