//! Models of the idle word, the requests for workers, jobs, the end of a runtime, the run-next
//! slot, and the inspection of running goroutines.

use std::panic::Location;
use std::sync::Arc;

use loom::thread;

use super::explore;
use crate::clock::Time;
use crate::header::Header;
use crate::idle::Idle;
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::loom::sync::Mutex;
use crate::parker::Parker;
use crate::run_next::RunNext;
use crate::running::Running;
use crate::spares::{Roused, Spares};

#[test]
fn a_push_is_seen_by_the_second_look_or_wakes_a_worker() {
    explore(3, || {
        let (idle, queue) = (Arc::new(Idle::new()), Arc::new(AtomicUsize::new(0)));
        // One worker, which searches and has found nothing.
        idle.transition_to_idle();
        assert!(idle.try_begin_notify());
        idle.acquire_processor();
        let pushers: Vec<_> = (0..2)
            .map(|_| {
                let (idle, queue) = (idle.clone(), queue.clone());
                thread::spawn(move || {
                    queue.fetch_add(1, Ordering::Relaxed);
                    idle.should_notify() && idle.try_begin_notify()
                })
            })
            .collect();
        idle.end_search();
        idle.transition_to_idle();
        let seen = queue.load(Ordering::Relaxed) > 0;
        let woken =
            pushers.into_iter().map(|pusher| pusher.join().unwrap()).filter(|woken| *woken).count();
        assert!(seen || woken > 0, "a goroutine is queued, and all workers sleep");
        assert!(woken <= 1, "two were woken for one idle processor");
    });
}

#[test]
fn the_last_searcher_knows_that_it_is_the_last() {
    explore(3, || {
        let idle = Arc::new(Idle::new());
        assert!(idle.try_begin_search(4) && idle.try_begin_search(4));
        assert!(!idle.try_begin_search(4), "at most half of the busy processors may search");
        let other = {
            let idle = idle.clone();
            thread::spawn(move || idle.end_search())
        };
        let last = [idle.end_search(), other.join().unwrap()];
        assert_eq!(last.into_iter().filter(|last| *last).count(), 1);
    });
}

/// A submitter calls a parked worker, or leaves a wish. A worker fulfils the wish instead of
/// parking, or the monitor starts a thread for it. Either way one worker is counted, and the
/// goroutine is found.
#[test]
fn a_wish_for_a_worker_is_fulfilled_by_the_one_that_parks_or_by_a_thread() {
    explore(3, || {
        let (idle, spares) = (Arc::new(Idle::new()), Arc::new(Spares::<()>::new()));
        spares.set_most_threads(2);
        idle.transition_to_idle();
        let (queue, started) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let pusher = {
            let (idle, spares, queue, started) =
                (idle.clone(), spares.clone(), queue.clone(), started.clone());
            thread::spawn(move || {
                queue.fetch_add(1, Ordering::Relaxed);
                if idle.should_notify() && idle.try_begin_notify() && !spares.call() {
                    // The role of the monitor.
                    started.fetch_add(spares.begin_starts().len(), Ordering::Relaxed);
                }
                // Ends the runtime, so that the model ends.
                spares.end()
            })
        };
        let parker = Arc::new(Parker::new());
        let roused = spares.park(&parker, Time::NEVER, Time::NEVER, false);
        // A started thread would fulfil the wish, unless the worker has done so.
        let come = usize::from(matches!(roused, Roused::Called)) + pusher.join().unwrap();
        let started = started.load(Ordering::Relaxed);
        assert_eq!(come, 1, "{roused:?}, {started} started");
        assert!(idle.is_searched() && !idle.try_reset());
        assert!(idle.end_search() && idle.try_reset());
    });
}

/// A worker is called while the runtime ends. It answers the call or ends, and the count of
/// searching workers is correct in both cases.
#[test]
fn a_worker_that_is_called_as_the_runtime_ends_is_not_counted_forever() {
    explore(3, || {
        let (idle, spares) = (Arc::new(Idle::new()), Arc::new(Spares::<()>::new()));
        idle.transition_to_idle();
        let late = {
            let (idle, spares) = (idle.clone(), spares.clone());
            thread::spawn(move || idle.should_notify() && idle.try_begin_notify() && spares.call())
        };
        let monitor = {
            let spares = spares.clone();
            thread::spawn(move || spares.end())
        };
        let parker = Arc::new(Parker::new());
        while let Roused::Called = spares.park(&parker, Time::NEVER, Time::NEVER, false) {
            idle.end_search();
        }
        late.join().unwrap();
        for _ in 0..monitor.join().unwrap() + spares.end() {
            idle.end_search();
        }
        assert!(idle.try_reset(), "a call without an answer is counted");
    });
}

/// The state of the only processor of a [`Machine`].
#[derive(Debug, PartialEq)]
enum Place {
    Idle,
    Held,
}

/// A runtime with one processor and a queue. Its methods are the steps that workers and submitters
/// take in `Executor`.
struct Machine {
    place: Mutex<Place>,
    /// The data of the processor: loom reports if it has two holders.
    processor: UnsafeCell<usize>,
    idle: Idle,
    spares: Spares<()>,
    queue: AtomicUsize,
    started: AtomicUsize,
    finished: AtomicUsize,
    closing: AtomicBool,
    /// The runtime ends after this number of goroutines has run.
    ends_after: usize,
}

// SAFETY: this is what the models check.
unsafe impl Sync for Machine {}
// SAFETY: as above.
unsafe impl Send for Machine {}

impl Machine {
    /// Returns a machine in which a worker holds the processor and searches, as after a call.
    fn new(ends_after: usize) -> Arc<Self> {
        let this = Self {
            place: Mutex::new(Place::Held),
            processor: UnsafeCell::new(0),
            idle: Idle::new(),
            spares: Spares::new(),
            queue: AtomicUsize::new(0),
            started: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            ends_after,
        };
        this.idle.begin_search();
        Arc::new(this)
    }

    fn has_work(&self) -> bool {
        self.queue.load(Ordering::Relaxed) > 0
    }

    fn notify(&self) {
        if self.idle.should_notify() && self.idle.try_begin_notify() {
            // If no worker is parked, the wish stays for a worker that is about to park.
            let _ = self.spares.call();
        }
    }

    fn push(&self) {
        self.queue.fetch_add(1, Ordering::Relaxed);
        self.notify();
    }

    fn stop_searching(&self, searching: &mut bool) {
        if std::mem::take(searching) && self.idle.end_search() {
            self.notify();
        }
    }

    /// Runs all queued goroutines, and gives up the processor. Returns true if it has acquired it
    /// again.
    fn run(&self, searching: &mut bool) -> bool {
        let pop = |queued: usize| queued.checked_sub(1);
        while self.queue.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pop).is_ok() {
            self.stop_searching(searching);
            // SAFETY: checked by loom.
            self.processor.with_mut(|touched| unsafe { *touched += 1 });
            if self.finished.fetch_add(1, Ordering::Release) + 1 == self.ends_after {
                self.end();
            }
        }
        {
            let mut place = self.place.lock().unwrap();
            if std::mem::take(searching) {
                self.idle.end_search();
            }
            *place = Place::Idle;
            self.idle.transition_to_idle();
        }
        if self.idle.is_searched() || !self.has_work() {
            return false;
        }
        self.try_acquire()
    }

    fn try_acquire(&self) -> bool {
        let mut place = self.place.lock().unwrap();
        let is_idle = *place == Place::Idle;
        if is_idle {
            *place = Place::Held;
            self.idle.acquire_processor();
        }
        is_idle
    }

    /// Runs a worker until the runtime ends.
    fn work(&self, mut holds: bool) {
        let (parker, mut searching) = (Arc::new(Parker::new()), holds);
        loop {
            while holds {
                holds = self.run(&mut searching);
            }
            searching = searching || self.spares.take_wish();
            if (searching || self.has_work()) && self.try_acquire() {
                holds = true;
                continue;
            }
            self.stop_searching(&mut searching);
            match self.spares.park(&parker, Time::NEVER, Time::NEVER, false) {
                Roused::Called => searching = true,
                Roused::End => return,
                roused => unreachable!("{roused:?}"),
            }
        }
    }

    fn end(&self) {
        (0..self.spares.end()).for_each(|_| _ = self.idle.end_search());
    }
}

/// A lost goroutine shows as a deadlock: both workers are parked, and the runtime does not end.
#[test]
fn a_processor_has_one_holder_and_no_goroutine_is_lost_when_it_changes_hands() {
    for (goroutines, preemptions) in [(1, 3), (2, 2)] {
        explore(preemptions, move || {
            let machine = Machine::new(goroutines);
            let workers = [true, false].map(|holds| {
                let machine = machine.clone();
                thread::spawn(move || machine.work(holds))
            });
            (0..goroutines).for_each(|_| machine.push());
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            machine.end();
            assert_eq!(*machine.place.lock().unwrap(), Place::Idle);
            assert!(machine.idle.try_reset(), "a search that does not happen is counted");
        });
    }
}

/// A goroutine that is spawned while the runtime ends has finished before the executor is given to
/// another runtime. So has the wake for it.
#[test]
fn a_spawn_during_a_shutdown_is_refused_or_the_runtime_ends_after_it() {
    explore(3, || {
        let machine = Machine::new(usize::MAX);
        let worker = {
            let machine = machine.clone();
            thread::spawn(move || machine.work(true))
        };
        let spawner = {
            let machine = machine.clone();
            thread::spawn(move || {
                {
                    let _sched = machine.place.lock().unwrap();
                    if machine.closing.load(Ordering::Relaxed) {
                        return false;
                    }
                    machine.started.fetch_add(1, Ordering::Relaxed);
                }
                machine.push();
                true
            })
        };
        {
            let _sched = machine.place.lock().unwrap();
            machine.closing.store(true, Ordering::SeqCst);
        }
        // The role of the monitor, which checks again and again.
        let live = || {
            let finished = machine.finished.load(Ordering::Acquire);
            machine.started.load(Ordering::Acquire) - finished
        };
        while live() != 0 {
            thread::yield_now();
        }
        machine.end();
        worker.join().unwrap();
        while !machine.idle.try_reset() {
            thread::yield_now();
            machine.end();
        }
        let finished = machine.finished.load(Ordering::Relaxed);
        assert!(!machine.has_work(), "a goroutine is left in the queue of the next runtime");
        // The wake for the goroutine may come only now.
        let spawned = spawner.join().unwrap();
        assert_eq!(finished, usize::from(spawned));
        assert!(
            !machine.idle.is_searched() && machine.spares.end() == 0,
            "the next runtime has an extra call"
        );
    });
}

/// A job is submitted while a worker, which may be called for a goroutine, parks, and the monitor
/// starts a thread or fails to. A lost job shows as a deadlock.
#[test]
fn a_job_is_done_once_by_a_worker_that_parks_or_by_a_thread_that_is_started_for_it() {
    /// Runs a worker until the job is done.
    fn work(spares: &Spares<()>, done: &AtomicUsize, mut for_jobs: bool) {
        let parker = Arc::new(Parker::new());
        loop {
            for_jobs = match spares.park(&parker, Time::NEVER, Time::NEVER, for_jobs) {
                Roused::Job(job) => {
                    done.fetch_add(1, Ordering::Relaxed);
                    spares.finish_job(job.number, job.outer);
                    spares.end();
                    true
                }
                Roused::End => return,
                Roused::Called | Roused::Timeout => false,
            }
        }
    }

    for refused in [false, true] {
        explore(3, move || {
            let (spares, done) = (Arc::new(Spares::<()>::new()), Arc::new(AtomicUsize::new(0)));
            spares.set_most_threads(2);
            spares.set_procs(1);
            // There is one thread.
            assert!(!spares.call() && spares.begin_starts().len() == 1);
            spares.arrive();
            assert!(spares.take_wish());
            let worker = {
                let (spares, done) = (spares.clone(), done.clone());
                thread::spawn(move || work(&spares, &done, false))
            };
            let caller = {
                let spares = spares.clone();
                thread::spawn(move || spares.call())
            };
            if !spares.submit((), None) {
                // The role of the monitor.
                for _ in spares.begin_starts() {
                    if refused {
                        spares.refused();
                    } else {
                        spares.arrive();
                        work(&spares, &done, true);
                    }
                }
            }
            worker.join().unwrap();
            caller.join().unwrap();
            assert_eq!(done.load(Ordering::Relaxed), 1);
            assert!(spares.take_jobs().is_empty());
        });
    }
}

/// A worker whose goroutine submits others while another thread takes its slot. Each submission is
/// a number, in the form of an address.
struct Stuck {
    slot: RunNext,
    /// The data of the processor that is not atomic: loom reports concurrent accesses.
    processor: UnsafeCell<usize>,
    /// The number of times that each submission was found.
    found: [AtomicUsize; 4],
}

// SAFETY: this is what the models check.
unsafe impl Sync for Stuck {}
// SAFETY: as above.
unsafe impl Send for Stuck {}

impl Stuck {
    fn new() -> Arc<Self> {
        let slot = RunNext::new();
        assert!(slot.begin_exclusive());
        Arc::new(Self {
            slot,
            processor: UnsafeCell::new(0),
            found: std::array::from_fn(|_| AtomicUsize::new(0)),
        })
    }

    fn find(&self, next: *mut ()) {
        if !next.is_null() {
            self.found[next.addr()].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Accesses the processor. Only its current holder may call this.
    fn touch_processor(&self) {
        // SAFETY: checked by loom.
        self.processor.with_mut(|touched| unsafe { *touched += 1 });
    }

    /// Submits a goroutine during a poll: it goes into the slot, and the one that was there into
    /// the queue. Without a processor it goes into the global queue.
    fn submit(&self, task: usize) {
        let task = std::ptr::without_provenance_mut(task);
        match self.slot.try_hold() {
            Some(was) => {
                self.touch_processor();
                let old = self.slot.swap(task);
                self.slot.release(was);
                self.find(old);
            }
            None => self.find(task),
        }
    }

    fn assert_each_was_found_once(&self, tasks: std::ops::RangeInclusive<usize>) {
        for task in tasks {
            assert_eq!(self.found[task].load(Ordering::Relaxed), 1, "submission {task}");
        }
    }
}

/// A bug: the thief emptied the slot and returned the processor with two plain stores. On ARM its
/// owner saw the second store without the first, and ran the goroutine too.
#[test]
fn a_thief_of_the_run_next_slot_and_its_owner_take_each_goroutine_once() {
    explore(3, || {
        let stuck = Stuck::new();
        stuck.slot.swap(std::ptr::without_provenance_mut(1));
        stuck.slot.end_exclusive();
        let thief = {
            let stuck = stuck.clone();
            thread::spawn(move || {
                // It takes only the slot, not the processor.
                if let Some(next) = stuck.slot.revoke() {
                    stuck.slot.reinstate();
                    stuck.find(next);
                }
            })
        };
        stuck.submit(2);
        // The poll ends. The owner may see `revoked`, but still has the processor, as the lock
        // would show.
        let asks = !stuck.slot.begin_exclusive();
        let mut thief = Some(thief);
        if asks {
            thief.take().unwrap().join().unwrap();
        }
        stuck.touch_processor();
        stuck.find(stuck.slot.swap(std::ptr::null_mut()));
        if let Some(thief) = thief {
            thief.join().unwrap();
        }
        stuck.assert_each_was_found_once(1..=2);
    });
}

#[test]
fn only_the_new_holder_accesses_a_revoked_processor() {
    explore(3, || {
        let stuck = Stuck::new();
        stuck.slot.swap(std::ptr::without_provenance_mut(1));
        stuck.slot.end_exclusive();
        let monitor = {
            let stuck = stuck.clone();
            thread::spawn(move || {
                let next = stuck.slot.revoke()?;
                // The processor was handed on, and the new holder uses it.
                stuck.touch_processor();
                stuck.find(next);
                stuck.touch_processor();
                Some(())
            })
        };
        stuck.submit(2);
        stuck.submit(3);
        let kept = stuck.slot.begin_exclusive();
        if kept {
            stuck.touch_processor();
            stuck.find(stuck.slot.swap(std::ptr::null_mut()));
        }
        let taken = monitor.join().unwrap().is_some();
        if !kept && !taken {
            // The monitor has given it up again, as the lock shows the owner.
            stuck.find(stuck.slot.swap(std::ptr::null_mut()));
        }
        assert!(!(kept && taken), "both have the processor");
        stuck.assert_each_was_found_once(1..=3);
    });
}

/// A worker's goroutine. A loom cell represents its memory.
struct Looked {
    running: Running,
    memory: UnsafeCell<usize>,
}

// SAFETY: this is what the models check.
unsafe impl Sync for Looked {}
// SAFETY: as above.
unsafe impl Send for Looked {}

/// A goroutine is freed at the end of its poll while another thread inspects it: the inspection
/// ends before that, or skips the goroutine.
#[test]
fn a_look_at_a_running_goroutine_is_over_before_it_is_freed() {
    explore(3, || {
        let header = Arc::new(Header::new(1, 0, 0, Location::caller()));
        let looked = Arc::new(Looked { running: Running::new(), memory: UnsafeCell::new(1) });
        looked.running.begin(Arc::as_ptr(&header));
        let worker = {
            let looked = looked.clone();
            thread::spawn(move || {
                looked.running.release();
                // SAFETY: checked by loom.
                looked.memory.with_mut(|memory| unsafe { *memory = 0 });
                looked.running.end();
            })
        };
        Running::inspect([&looked.running].into_iter(), |header| {
            assert_eq!(header.id(), 1);
            // SAFETY: checked by loom.
            looked.memory.with_mut(|memory| assert_eq!(unsafe { *memory }, 1, "it was freed"));
        });
        worker.join().unwrap();
    });
}

/// A goroutine parks, and another worker polls it to completion and frees it, while the first
/// worker has not left its poll.
#[test]
fn a_look_at_a_goroutine_that_parks_is_over_before_another_worker_frees_it() {
    explore(3, || {
        let header = Arc::new(Header::new(1, 0, 0, Location::caller()));
        let (first, second) = (Arc::new(Running::new()), Arc::new(Running::new()));
        let goroutine = Arc::new(Looked { running: Running::new(), memory: UnsafeCell::new(1) });
        let parked = Arc::new(AtomicBool::new(false));
        first.begin(Arc::as_ptr(&header));
        let parks = {
            let (first, parked) = (first.clone(), parked.clone());
            thread::spawn(move || {
                first.end();
                // `async_task` passes it on.
                parked.store(true, Ordering::Release);
            })
        };
        let ends = {
            let (header, second, goroutine) = (header.clone(), second.clone(), goroutine.clone());
            thread::spawn(move || {
                if parked.load(Ordering::Acquire) {
                    second.begin(Arc::as_ptr(&header));
                    second.release();
                    // SAFETY: checked by loom.
                    goroutine.memory.with_mut(|memory| unsafe { *memory = 0 });
                    second.end();
                }
            })
        };
        Running::inspect([&*first, &*second].into_iter(), |_| {
            // SAFETY: checked by loom.
            goroutine.memory.with(|memory| assert_eq!(unsafe { *memory }, 1, "it was freed"));
        });
        parks.join().unwrap();
        ends.join().unwrap();
    });
}
