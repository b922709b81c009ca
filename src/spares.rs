//! The workers without a processor, the jobs that they run, and the wishes for more workers.
//!
//! A wake that needs a worker *calls* one: it unparks a parked worker or, if none is parked,
//! records a *wish*. The next worker that is about to park fulfils the wish, or the monitor does so
//! by starting a thread. One lock is held for a few pointer moves, so a wake never waits for the
//! start of a thread or for the scheduler's lock.
//!
//! A job is code that blocks its thread. It is handed to a parked worker; if there is none, the
//! monitor starts a thread; at the limit, the job is queued. As many threads as there are
//! processors are reserved for goroutines, but one job may always run. A job that waits for the
//! runtime, in `block_on` or for nested jobs, does not count: it *lends* its thread, and one other
//! job may run meanwhile. Otherwise jobs that wait for jobs could occupy all threads.
//!
//! At the limit a job waits for a worker that parks. If none does, because goroutines keep the
//! processors busy, the job *starves*, and the monitor takes the processor from a worker. That one
//! runs the job; its processor belongs to the next worker that parks, or to itself again.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::thread::{JoinHandle, ThreadId};

use crate::clock::Time;
use crate::loom::sync::{Mutex, MutexGuard};
use crate::parker::Parker;

/// The workers without a processor, the queued jobs, and the open wishes of a runtime.
#[derive(Debug)]
pub(crate) struct Spares<J> {
    state: Mutex<State<J>>,
}

/// The state of [`Spares`], under its lock. If a worker is parked, no wish is open.
#[derive(Debug)]
struct State<J> {
    parked: Vec<Arc<Parker>>,
    /// The parked worker that sleeps only until the next timer, and that time.
    sleeper: Option<(Arc<Parker>, Time)>,
    /// Workers that have been unparked to run a job, each with its job.
    handed: Vec<(Arc<Parker>, Job<J>)>,
    wishes: usize,
    jobs: VecDeque<Job<J>>,
    /// The number of the job that was submitted last.
    last_job: u64,
    /// The first queued job at the monitor's last check, and whether it starves.
    waited: Option<u64>,
    starves: bool,
    /// The jobs that lend their threads.
    lenders: Vec<Lender>,
    /// The number of jobs that run or were handed to a worker.
    running: usize,
    /// The number of threads, including those that are starting.
    threads: usize,
    /// The number of threads that have not begun to run yet.
    starting: usize,
    handles: HashMap<ThreadId, JoinHandle<()>>,
    /// Threads whose thread-locals have been dropped, and the number of those that are being
    /// joined.
    left: Vec<ThreadId>,
    joining: usize,
    /// The system has refused a thread.
    refuses: bool,
    limits: Limits,
    /// Every worker must end.
    ending: bool,
}

/// Code that blocks its thread.
#[derive(Debug)]
pub(crate) struct Job<J> {
    pub(crate) work: J,
    pub(crate) number: u64,
    /// The number of the job that waits for this one.
    pub(crate) outer: Option<u64>,
}

/// A job that lends its thread, once for any number of waits.
#[derive(Debug)]
struct Lender {
    job: u64,
    waits: usize,
}

/// The maximum number of threads, and how many of them are reserved for goroutines.
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    threads: usize,
    procs: usize,
}

/// The result of parking a worker.
#[derive(Debug)]
pub(crate) enum Roused<J> {
    /// It was called, to search for work.
    Called,
    /// It has a job to run.
    Job(Job<J>),
    /// The time until which it may sleep has come.
    Timeout,
    /// The thread must end.
    End,
}

impl<J> State<J> {
    fn new() -> Self {
        Self {
            parked: Vec::new(),
            sleeper: None,
            handed: Vec::new(),
            wishes: 0,
            jobs: VecDeque::new(),
            last_job: 0,
            waited: None,
            starves: false,
            lenders: Vec::new(),
            running: 0,
            threads: 0,
            starting: 0,
            handles: HashMap::new(),
            left: Vec::new(),
            joining: 0,
            refuses: false,
            limits: Limits::default(),
            ending: false,
        }
    }

    /// The number of threads that no longer run.
    fn ended(&self) -> usize {
        self.left.len() + self.joining
    }

    fn room_for_threads(&self) -> usize {
        self.limits.threads.saturating_add(self.lenders.len()).saturating_sub(self.threads)
    }

    fn room_for_jobs(&self) -> usize {
        let most = self
            .limits
            .threads
            .saturating_sub(self.limits.procs)
            .max(1)
            .saturating_add(self.lenders.len());
        most.saturating_sub(self.running)
    }

    /// Begins a wait of a running job.
    fn lend(&mut self, job: u64) {
        match self.lenders.iter_mut().find(|lender| lender.job == job) {
            Some(lender) => lender.waits += 1,
            None => self.lenders.push(Lender { job, waits: 1 }),
        }
    }

    /// Ends a wait of a job, unless the job has ended.
    fn end_wait(&mut self, job: u64) {
        if let Some(at) = self.lenders.iter().position(|lender| lender.job == job) {
            self.lenders[at].waits -= 1;
            if self.lenders[at].waits == 0 {
                self.lenders.swap_remove(at);
            }
        }
    }

    fn take_parked(&mut self) -> Option<Arc<Parker>> {
        let worker = self.parked.pop()?;
        self.sleeper.take_if(|(sleeper, _)| Arc::ptr_eq(sleeper, &worker));
        Some(worker)
    }

    fn take_job(&mut self) -> Option<Job<J>> {
        let job = if self.room_for_jobs() > 0 { self.jobs.pop_front() } else { None };
        self.running += usize::from(job.is_some());
        job
    }

    /// Hands jobs to parked workers, as long as there are both.
    fn hand_jobs(&mut self) {
        while !self.parked.is_empty() {
            let Some(job) = self.take_job() else { break };
            let worker = self.take_parked().expect("some are parked");
            worker.unpark();
            self.handed.push((worker, job));
        }
    }
}

impl<J> Spares<J> {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::new()) }
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the maximum number of threads, which is at least one.
    pub(crate) fn set_most_threads(&self, threads: usize) {
        self.lock().limits.threads = threads.max(1);
    }

    pub(crate) fn set_procs(&self, procs: usize) {
        let mut state = self.lock();
        state.limits.procs = procs;
        state.hand_jobs();
        // Each worker checks whether there are too many now.
        state.parked.iter().for_each(|worker| worker.unpark());
    }

    // ---------------------------------------------------------- for threads that need a worker

    /// Wakes a parked worker, or records a wish for one. Returns false if the monitor must check
    /// the wishes.
    #[must_use = "wake the monitor if no worker was"]
    pub(crate) fn call(&self) -> bool {
        let mut state = self.lock();
        let Some(worker) = state.take_parked() else {
            state.wishes += 1;
            return false;
        };
        drop(state);
        worker.unpark();
        true
    }

    /// Returns true if a call would find a worker, now or once a thread has started.
    pub(crate) fn can_call(&self) -> bool {
        let state = self.lock();
        state.parked.len() + state.starting + state.room_for_threads() > state.wishes
    }

    /// Hands a job, for which the job `outer` waits, to a parked worker, or queues it. Returns
    /// false if the monitor must check the jobs or the timers.
    #[must_use = "wake the monitor if no worker was"]
    pub(crate) fn submit(&self, work: J, outer: Option<u64>) -> bool {
        let mut state = self.lock();
        let (had_sleeper, any_parked) = (state.sleeper.is_some(), !state.parked.is_empty());
        outer.into_iter().for_each(|outer| state.lend(outer));
        state.last_job += 1;
        let number = state.last_job;
        state.jobs.push_back(Job { work, number, outer });
        state.hand_jobs();
        any_parked && had_sleeper == state.sleeper.is_some()
    }

    // ---------------------------------------------------------------------------- for workers

    /// Records that a started thread has arrived.
    pub(crate) fn arrive(&self) {
        self.lock().starting -= 1;
    }

    /// Fulfils a wish, if one is open. Returns whether one was.
    pub(crate) fn take_wish(&self) -> bool {
        let mut state = self.lock();
        let is_open = state.wishes > 0;
        state.wishes -= usize::from(is_open);
        is_open
    }

    /// Parks the worker `me` by calling `sleep`, until the worker is called, is handed a job, or
    /// the time `until` has come. If no parked worker sleeps until the next timer, which is due at
    /// `earliest`, this one does. If `is_last`, other parked workers are called before this one.
    ///
    /// Without `for_jobs`, the worker takes no queued job if a thread can be started for it,
    /// because the worker has just run goroutines.
    pub(crate) fn park_by(
        &self,
        me: &Arc<Parker>,
        (earliest, until): (Time, Time),
        for_jobs: bool,
        is_last: bool,
        sleep: impl FnOnce(&Parker, Time),
    ) -> Roused<J> {
        let mut state = self.lock();
        if state.ending {
            return Roused::End;
        }
        if state.wishes > 0 {
            state.wishes -= 1;
            return Roused::Called;
        }
        if for_jobs || state.refuses || state.room_for_threads() == 0 {
            if let Some(job) = state.take_job() {
                return Roused::Job(job);
            }
        }
        let (mut until, mut is_last) = (until, is_last);
        if earliest != Time::NEVER && state.sleeper.as_ref().is_none_or(|(_, at)| earliest < *at) {
            state.sleeper = Some((me.clone(), earliest));
            (until, is_last) = (earliest, true);
        }
        let at = if is_last { 0 } else { state.parked.len() };
        state.parked.insert(at, me.clone());
        drop(state);
        sleep(me, until);
        let mut state = self.lock();
        // A thread that calls a worker removes it from `parked`.
        if let Some(at) = state.parked.iter().position(|other| Arc::ptr_eq(other, me)) {
            state.parked.remove(at);
            state.sleeper.take_if(|(sleeper, _)| Arc::ptr_eq(sleeper, me));
            return if state.ending { Roused::End } else { Roused::Timeout };
        }
        match state.handed.iter().position(|(other, _)| Arc::ptr_eq(other, me)) {
            Some(at) => Roused::Job(state.handed.swap_remove(at).1),
            None => Roused::Called,
        }
    }

    /// Records that all thread-locals of a thread have been dropped.
    pub(crate) fn leave(&self, thread: ThreadId) {
        self.lock().left.push(thread);
    }

    /// Takes the job that starves, if the monitor has found one.
    pub(crate) fn take_starving_job(&self) -> Option<Job<J>> {
        let mut state = self.lock();
        if std::mem::take(&mut state.starves) { state.take_job() } else { None }
    }

    /// Records that a job has ended.
    pub(crate) fn finish_job(&self, number: u64, outer: Option<u64>) {
        let mut state = self.lock();
        state.running -= 1;
        outer.into_iter().for_each(|outer| state.end_wait(outer));
        // Nested jobs for which it no longer waits may be left.
        state.lenders.retain(|lender| lender.job != number);
    }

    /// Records that a running job begins to wait for the runtime, or no longer waits.
    pub(crate) fn lend_thread(&self, job: u64, lend: bool) {
        let mut state = self.lock();
        if lend {
            state.lend(job);
            state.hand_jobs();
        } else {
            state.end_wait(job);
        }
    }

    /// Returns the numbers of parked workers and of threads.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.parked.len(), state.threads)
    }

    /// Returns the number of parked workers.
    pub(crate) fn parked(&self) -> usize {
        self.lock().parked.len()
    }

    /// Returns the time until which a parked worker sleeps for the next timer; never if none does.
    pub(crate) fn sleeps_until(&self) -> Time {
        self.lock().sleeper.as_ref().map_or(Time::NEVER, |(_, until)| *until)
    }

    // ---------------------------------------------------------------------------- for the monitor

    /// Returns the numbers, for their names, of the threads that must be started, as far as the
    /// limit allows. From now on they count as threads. At the limit, the queued jobs are handed to
    /// parked workers, because a thread that was started for a job may run goroutines now.
    pub(crate) fn begin_starts(&self) -> Range<usize> {
        let mut state = self.lock();
        if state.room_for_threads() + state.starting == 0 {
            state.hand_jobs();
        }
        let wanted = state.wishes + state.jobs.len().min(state.room_for_jobs());
        let room = if state.ending { 0 } else { state.room_for_threads() };
        let count = wanted.saturating_sub(state.starting).min(room);
        state.refuses &= count == 0;
        state.starting += count;
        state.threads += count;
        state.threads - count..state.threads
    }

    /// Checks the queued jobs. Returns true if one starves: it has waited since the last check, it
    /// may run, and no thread comes for it.
    pub(crate) fn is_starving(&self) -> bool {
        let mut state = self.lock();
        let first = state.jobs.front().map(|job| job.number);
        let has_waited = first.is_some() && std::mem::replace(&mut state.waited, first) == first;
        let comes_none = state.parked.is_empty()
            && state.starting == 0
            && (state.refuses || state.room_for_threads() == 0);
        state.starves = has_waited && comes_none && state.room_for_jobs() > 0;
        state.starves
    }

    /// Records that the system has refused a thread. The wish for it remains open. If it was to run
    /// a job, a parked worker runs that job.
    pub(crate) fn refused(&self) {
        let mut state = self.lock();
        state.refuses = true;
        state.starting -= 1;
        state.threads -= 1;
        state.hand_jobs();
    }

    /// Records that a thread has been started.
    pub(crate) fn started(&self, thread: JoinHandle<()>) {
        self.lock().handles.insert(thread.thread().id(), thread);
    }

    /// Joins the threads that have left. Until then they count. Only the thread that starts the
    /// others may call this.
    pub(crate) fn join_left(&self) {
        loop {
            let thread = {
                let mut state = self.lock();
                let Some(thread) = state.left.pop() else { return };
                state.joining += 1;
                state.handles.remove(&thread).expect("a thread that has left was started")
            };
            // A panic is not possible, and would have been printed already.
            let _ = thread.join();
            let mut state = self.lock();
            state.joining -= 1;
            state.threads -= 1;
        }
    }

    /// Waits until all threads have ended.
    pub(crate) fn join_all(&self) {
        let threads = std::mem::take(&mut self.lock().handles);
        // As above.
        threads.into_values().for_each(|thread| _ = thread.join());
        let mut state = self.lock();
        state.left.clear();
        state.threads = 0;
    }

    /// Returns true if every thread has ended. The monitor may not have joined them all.
    pub(crate) fn all_left(&self) -> bool {
        let state = self.lock();
        state.ended() == state.threads
    }

    /// Returns true if every thread has been joined.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().threads == 0
    }

    /// Returns true if a worker was called, or a job submitted, and no worker has taken the wish or
    /// the job.
    pub(crate) fn has_wish(&self) -> bool {
        let state = self.lock();
        state.wishes > 0 || !state.jobs.is_empty()
    }

    /// Calls `f` with each queued job, under the lock, which is held for at most `most` of them at
    /// a time. A job may be seen twice, and one that begins meanwhile may be missed.
    pub(crate) fn each_job(&self, most: usize, mut f: impl FnMut(&J)) {
        let (mut seen, mut more) = (0, true);
        while more {
            let state = self.lock();
            // Jobs leave at the front, so places are counted from the end.
            let end = state.jobs.len().saturating_sub(seen);
            let start = end.saturating_sub(most);
            state.jobs.range(start..end).for_each(|job| f(&job.work));
            (seen, more) = (seen + most, start > 0);
        }
        self.lock().handed.iter().for_each(|(_, job)| f(&job.work));
    }

    /// Returns the number of threads that are not parked. `None` if a wish or a job is open.
    pub(crate) fn unparked(&self) -> Option<usize> {
        let state = self.lock();
        (state.wishes + state.starting + state.jobs.len() == 0)
            .then(|| state.threads - state.parked.len() - state.ended())
    }

    /// Takes all queued jobs.
    pub(crate) fn take_jobs(&self) -> VecDeque<Job<J>> {
        std::mem::take(&mut self.lock().jobs)
    }

    /// Makes every worker end, because no more work will come. Returns the number of workers that
    /// were called and will not come.
    pub(crate) fn end(&self) -> usize {
        let (parked, wishes) = {
            let mut state = self.lock();
            state.ending = true;
            (state.parked.clone(), std::mem::take(&mut state.wishes))
        };
        parked.iter().for_each(|worker| worker.unpark());
        wishes
    }

    /// Resets `self` to the state of a new `Spares`.
    pub(crate) fn reset(&self) {
        *self.lock() = State::new();
    }
}

#[cfg(test)]
impl<J> Spares<J> {
    /// As [`park_by`](Self::park_by), with [`Parker::park`].
    pub(crate) fn park(
        &self,
        me: &Arc<Parker>,
        earliest: Time,
        until: Time,
        for_jobs: bool,
    ) -> Roused<J> {
        self.park_by(me, (earliest, until), for_jobs, false, Parker::park)
    }
}

#[cfg(all(test, not(gopark_loom)))]
impl<J> Spares<J> {
    pub(crate) fn is_ending(&self) -> bool {
        self.lock().ending
    }

    /// Returns an identity of the parked worker that sleeps until the next timer, and that time.
    pub(crate) fn sleeper(&self) -> Option<(*const Parker, Time)> {
        self.lock().sleeper.as_ref().map(|(sleeper, until)| (Arc::as_ptr(sleeper), *until))
    }

    /// Checks the invariants of the state.
    pub(crate) fn check(&self) {
        let state = self.lock();
        assert!(
            state.parked.is_empty() || state.wishes == 0,
            "a worker stays parked while one is wanted"
        );
        assert!(state.parked.len() + state.handed.len() + state.starting <= state.threads);
        if let Some((sleeper, _)) = &state.sleeper {
            assert!(
                state.parked.iter().any(|worker| Arc::ptr_eq(worker, sleeper)),
                "the sleeper is parked"
            );
        }
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
