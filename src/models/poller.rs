//! Models of the worker that sleeps in the poller: the claim, the parker's wait there, and the
//! wakes that must reach it.
//!
//! The parker, the claim, the poller's lock and the list of parked workers are those that ship. The
//! system's part of the poller is `netpoll/model.rs`, and the steps of a worker are those of
//! `acquire_processor`, `deliver` and `replace_poller` in the executor.

use std::sync::Arc;

use loom::thread;

use super::explore;
use crate::clock::Time;
use crate::idle::Idle;
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::loom::sync::{Condvar, Mutex};
use crate::netpoll::Netpoll;
use crate::parker::{Claim, Parker};
use crate::spares::{Roused, Spares};

/// A runtime with one processor, a queue and a poller. It ends after a number of goroutines has
/// run. A lost wake shows as a deadlock, because then it does not end.
struct Machine {
    /// The scheduler's lock: true if the processor is idle.
    is_idle: Mutex<bool>,
    idle: Idle,
    spares: Spares<()>,
    queue: AtomicUsize,
    netpoll: Arc<Netpoll>,
    /// The number of workers in the poller.
    sleepers: AtomicUsize,
    finished: Mutex<usize>,
    has_finished: Condvar,
    ends_after: usize,
}

impl Machine {
    /// Returns a machine whose workers have not parked yet.
    fn new(ends_after: usize) -> Arc<Self> {
        let this = Self {
            is_idle: Mutex::new(true),
            idle: Idle::new(),
            spares: Spares::new(),
            queue: AtomicUsize::new(0),
            netpoll: Arc::new(Netpoll::new().unwrap()),
            sleepers: AtomicUsize::new(0),
            finished: Mutex::new(0),
            has_finished: Condvar::new(),
            ends_after,
        };
        this.idle.transition_to_idle();
        Arc::new(this)
    }

    fn has_work(&self) -> bool {
        self.queue.load(Ordering::Relaxed) > 0
    }

    fn call_worker(&self) {
        // If no worker is parked, the wish stays for a worker that is about to park.
        let _ = self.spares.call();
    }

    fn notify(&self) {
        if self.idle.should_notify() && self.idle.try_begin_notify() {
            self.call_worker();
        }
    }

    fn push(&self) {
        self.queue.fetch_add(1, Ordering::Relaxed);
        self.notify();
    }

    /// Takes the current events and wakes a goroutine for each.
    fn harvest(&self) {
        let events = self.netpoll.look(false).len();
        if events > 0 {
            self.idle.begin_search();
            self.queue.fetch_add(events, Ordering::Relaxed);
            if self.idle.end_search() && self.has_work() {
                self.notify();
            }
        }
    }

    fn stop_searching(&self, searching: &mut bool) {
        if std::mem::take(searching) && self.idle.end_search() {
            self.notify();
        }
    }

    /// Runs the goroutines, and gives up the processor. Returns true if it has acquired it again.
    fn run(&self, searching: &mut bool) -> bool {
        if self.netpoll.has_found() {
            self.harvest();
        }
        let pop = |queued: usize| queued.checked_sub(1);
        while self.queue.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pop).is_ok() {
            self.stop_searching(searching);
            let mut finished = self.finished.lock().unwrap();
            *finished += 1;
            let is_last = *finished == self.ends_after;
            drop(finished);
            self.has_finished.notify_all();
            if is_last {
                self.end();
            }
        }
        {
            let mut is_idle = self.is_idle.lock().unwrap();
            if std::mem::take(searching) {
                self.idle.end_search();
            }
            *is_idle = true;
            self.idle.transition_to_idle();
        }
        !self.idle.is_searched() && self.has_work() && self.try_acquire()
    }

    fn try_acquire(&self) -> bool {
        let mut is_idle = self.is_idle.lock().unwrap();
        let was_idle = std::mem::replace(&mut *is_idle, false);
        if was_idle {
            self.idle.acquire_processor();
        }
        was_idle
    }

    /// Acquires the processor, or claims the poller if the processor is idle.
    fn acquire_or_claim(&self, searching: bool) -> Option<Claim> {
        let mut is_idle = self.is_idle.lock().unwrap();
        let has_events = self.netpoll.has_found();
        let is_needed = || searching || has_events || !self.idle.is_searched() && self.has_work();
        if *is_idle && is_needed() {
            *is_idle = false;
            self.idle.acquire_processor();
            return None;
        }
        Some(Claim::new(is_idle.then(|| self.netpoll.clone())))
    }

    /// Runs a worker until the runtime ends.
    fn work(&self, mut run_job: impl FnMut()) {
        let (parker, mut searching) = (Arc::new(Parker::new()), false);
        loop {
            searching = searching || self.spares.take_wish();
            let Some(claim) = self.acquire_or_claim(searching) else {
                while self.run(&mut searching) {}
                continue;
            };
            self.stop_searching(&mut searching);
            let sleep = |parker: &Parker, until: Time| {
                let sleepers = self.sleepers.fetch_add(claim.is_held().into(), Ordering::Relaxed);
                assert!(sleepers == 0 || !claim.is_held(), "two workers are in the poller");
                claim.park(parker, until);
                self.sleepers.fetch_sub(claim.is_held().into(), Ordering::Relaxed);
            };
            let never = (Time::NEVER, Time::NEVER);
            match self.spares.park_by(&parker, never, false, claim.is_held(), sleep) {
                Roused::Called => searching = true,
                Roused::Job(job) => {
                    let was_held = claim.is_held();
                    drop(claim);
                    if was_held {
                        self.idle.begin_search();
                        self.call_worker();
                    }
                    run_job();
                    self.spares.finish_job(job.number, job.outer);
                }
                // There are events.
                Roused::Timeout => {}
                Roused::End => return,
            }
        }
    }

    fn wait_until_finished(&self, goroutines: usize) {
        let mut finished = self.finished.lock().unwrap();
        while *finished < goroutines {
            finished = self.has_finished.wait(finished).unwrap();
        }
    }

    fn end(&self) {
        (0..self.spares.end()).for_each(|_| _ = self.idle.end_search());
    }

    fn start_workers<const N: usize>(self: &Arc<Self>) -> [thread::JoinHandle<()>; N] {
        std::array::from_fn(|_| {
            let machine = self.clone();
            thread::spawn(move || machine.work(|| unreachable!("there is no job")))
        })
    }

    /// Starts a thread that checks the poller once, as the monitor does.
    fn start_check(self: &Arc<Self>) -> thread::JoinHandle<()> {
        let machine = self.clone();
        thread::spawn(move || machine.harvest())
    }

    fn join<const N: usize>(&self, threads: [thread::JoinHandle<()>; N]) {
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.end();
        assert!(self.idle.try_reset(), "a search that does not happen is counted");
        assert!(!self.netpoll.is_claimed(), "the claim was not released");
    }
}

/// The wake comes at any moment: before the worker parks, between its claim and its sleep, or when
/// it sleeps.
#[test]
fn a_push_reaches_the_worker_that_sleeps_in_the_poller() {
    explore(3, || {
        let machine = Machine::new(1);
        let workers = machine.start_workers::<1>();
        machine.push();
        machine.join(workers);
    });
}

/// A thread that checks the poller, such as the monitor, takes all events. It must not take the
/// interruption that is meant for the worker.
#[test]
fn a_check_of_the_poller_takes_no_interruption() {
    explore(3, || {
        let machine = Machine::new(1);
        let workers = machine.start_workers::<1>();
        let monitor = machine.start_check();
        machine.push();
        monitor.join().unwrap();
        machine.join(workers);
    });
}

/// The event is taken by the worker that sleeps in the poller, or by the thread that checks it. In
/// both cases its goroutine runs.
#[test]
fn an_event_reaches_a_worker_whichever_thread_takes_it() {
    explore(3, || {
        let machine = Machine::new(1);
        let workers = machine.start_workers::<1>();
        let monitor = machine.start_check();
        machine.netpoll.occur(1);
        monitor.join().unwrap();
        machine.join(workers);
    });
}

/// Two workers pass the claim on while goroutines are pushed and an event occurs.
#[test]
fn one_worker_at_a_time_is_in_the_poller_and_no_wake_is_lost() {
    explore(2, || {
        let machine = Machine::new(2);
        let workers = machine.start_workers::<2>();
        machine.push();
        machine.netpoll.occur(1);
        machine.join(workers);
    });
}

/// The job waits for a goroutine that waits for an event. If the worker with the claim runs the
/// job, another one must sleep in the poller meanwhile.
#[test]
fn a_worker_that_leaves_the_poller_for_a_job_is_replaced() {
    explore(2, || {
        let machine = Machine::new(2);
        machine.spares.set_most_threads(2);
        machine.spares.set_procs(1);
        // There are two threads.
        assert!(!machine.spares.call() && !machine.spares.call());
        assert_eq!(machine.spares.begin_starts().len(), 2);
        assert!(machine.spares.take_wish() && machine.spares.take_wish());
        (0..2).for_each(|_| machine.spares.arrive());
        let workers = [0, 1].map(|_| {
            let machine = machine.clone();
            thread::spawn(move || {
                machine.work(|| {
                    machine.netpoll.occur(1);
                    machine.wait_until_finished(1);
                    machine.push();
                })
            })
        });
        let _ = machine.spares.submit((), None);
        machine.join(workers);
    });
}
