use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::{Job, Roused, Spares};
use crate::clock::Time;
use crate::parker::Parker;

const LONG: Duration = Duration::from_secs(60);

/// Creates the spares of a runtime with `procs` processors, at most `most` threads, and `threads`
/// of them.
fn spares(procs: usize, most: usize, threads: usize) -> Arc<Spares<u32>> {
    let spares = Arc::new(Spares::new());
    spares.set_procs(procs);
    spares.set_most_threads(most);
    for _ in 0..threads {
        assert!(!spares.call());
        assert_eq!(spares.begin_starts().len(), 1);
        spares.arrive();
        assert!(spares.take_wish());
    }
    spares.check();
    spares
}

/// Returns what a worker does that does not park.
fn at_once(spares: &Spares<u32>, for_jobs: bool) -> Roused<u32> {
    spares.park(&Arc::new(Parker::new()), Time::NEVER, Time::now(), for_jobs)
}

/// Parks a worker on a new thread, until the next timer if that is given. The thread returns the
/// result of parking.
fn parked(spares: &Arc<Spares<u32>>, earliest: Time) -> thread::JoinHandle<Roused<u32>> {
    let before = spares.parked();
    let theirs = spares.clone();
    let worker =
        thread::spawn(move || theirs.park(&Arc::new(Parker::new()), earliest, Time::NEVER, false));
    while spares.parked() == before {
        thread::yield_now();
    }
    spares.check();
    worker
}

fn job(roused: Roused<u32>) -> u32 {
    if let Roused::Job(job) = roused { job.work } else { panic!("{roused:?}") }
}

#[test]
fn the_worker_that_parked_last_is_called_first_and_the_sleeper_last() {
    let spares = spares(1, 10, 4);
    let first = parked(&spares, Time::NEVER);
    let sleeper = parked(&spares, Time::now().after(LONG));
    // There is already a sleeper for an earlier timer.
    let third = parked(&spares, Time::now().after(2 * LONG));
    assert!(spares.sleeps_until() != Time::NEVER);
    for worker in [third, first, sleeper] {
        assert!(!worker.is_finished());
        assert!(spares.call());
        assert!(matches!(worker.join().unwrap(), Roused::Called));
        spares.check();
    }
    assert!(spares.sleeps_until() == Time::NEVER);
    assert!(!spares.call(), "none is parked: the monitor must look");
    assert!(
        matches!(at_once(&spares, false), Roused::Called),
        "a worker that is about to park fulfils the wish"
    );
    assert!(matches!(at_once(&spares, false), Roused::Timeout));
}

#[test]
fn a_worker_that_sleeps_until_an_earlier_timer_becomes_the_sleeper() {
    let spares = spares(1, 10, 3);
    let late = parked(&spares, Time::now().after(2 * LONG));
    let until = spares.sleeper().unwrap().1;
    let early = parked(&spares, Time::now().after(LONG));
    assert!(spares.sleeper().unwrap().1 < until);
    // The worker that sleeps until the earlier timer is called last now.
    assert!(spares.call());
    assert!(matches!(late.join().unwrap(), Roused::Called));
    assert!(spares.sleeps_until() != Time::NEVER);
    spares.end();
    assert!(matches!(early.join().unwrap(), Roused::End));
    assert!(spares.sleeps_until() == Time::NEVER);
    assert!(matches!(at_once(&spares, true), Roused::End));
}

#[test]
fn a_job_is_handed_to_a_parked_worker_or_left_to_the_thread_that_is_started_for_it() {
    let spares = spares(1, 3, 1);
    let worker = parked(&spares, Time::NEVER);
    assert!(spares.submit(1, None));
    assert_eq!(job(worker.join().unwrap()), 1);
    assert!(!spares.submit(2, None), "none is parked: the monitor must look");
    assert!(spares.has_wish());
    // The worker has just run goroutines, and there is room for a thread.
    assert!(matches!(at_once(&spares, false), Roused::Timeout));
    assert_eq!(spares.begin_starts().len(), 1);
    assert_eq!(spares.begin_starts().len(), 0, "the thread is starting");
    spares.arrive();
    assert_eq!(job(at_once(&spares, true)), 2);
    assert!(!spares.has_wish());
    // Two of three threads run jobs: the other jobs wait.
    assert!(!spares.submit(3, None) && !spares.submit(4, None));
    assert_eq!(spares.begin_starts().len(), 0);
    assert!(matches!(at_once(&spares, true), Roused::Timeout));
    spares.finish_job(1, None);
    assert_eq!(job(at_once(&spares, true)), 3, "in their order");
    spares.finish_job(2, None);
    assert_eq!(spares.take_jobs().into_iter().map(|job| job.work).collect::<Vec<_>>(), [4]);
    spares.check();
}

#[test]
fn the_sleeper_gets_a_job_last_and_leaves_its_timer_to_the_monitor() {
    let spares = spares(1, 4, 2);
    let sleeper = parked(&spares, Time::now().after(LONG));
    let other = parked(&spares, Time::NEVER);
    assert!(spares.submit(1, None));
    assert_eq!((job(other.join().unwrap()), spares.sleeps_until() != Time::NEVER), (1, true));
    assert!(!spares.submit(2, None), "the monitor must look");
    assert_eq!((job(sleeper.join().unwrap()), spares.sleeps_until() != Time::NEVER), (2, false));
}

#[test]
fn a_job_whose_thread_is_refused_is_a_parked_workers() {
    let spares = spares(1, 3, 1);
    assert!(!spares.submit(1, None));
    assert_eq!(spares.begin_starts().len(), 1);
    // The worker leaves the job to the thread, which does not start.
    let worker = parked(&spares, Time::NEVER);
    spares.refused();
    assert_eq!(job(worker.join().unwrap()), 1);
    // From now on each worker that parks runs jobs, until a thread has been started.
    spares.finish_job(1, None);
    assert!(!spares.submit(2, None));
    assert_eq!(job(at_once(&spares, false)), 2);
    assert_eq!(spares.counts(), (0, 1));
}

/// Thread B leaves a job to thread C, which is started for it. When C starts, it finds a goroutine
/// instead, and there is no room for another thread.
#[test]
fn a_job_whose_thread_has_become_a_goroutines_is_a_parked_workers_at_the_limit() {
    let spares = spares(1, 2, 1);
    assert!(!spares.submit(1, None));
    let worker = parked(&spares, Time::NEVER);
    assert_eq!(spares.begin_starts().len(), 1);
    assert!(!worker.is_finished(), "the thread will do it");
    spares.arrive();
    assert_eq!(spares.begin_starts().len(), 0);
    assert_eq!(job(worker.join().unwrap()), 1);
}

#[test]
fn there_are_no_more_threads_than_the_limit_and_each_that_ends_makes_room() {
    let spares = spares(1, 2, 1);
    assert!(spares.can_call());
    for _ in 0..5 {
        assert!(!spares.call());
    }
    assert_eq!(spares.begin_starts().len(), 1);
    assert!(!spares.can_call(), "no thread would come for another call");
    assert_eq!(spares.begin_starts().len(), 0);
    spares.arrive();
    let thread = thread::spawn(|| ());
    let id = thread.thread().id();
    spares.started(thread);
    spares.leave(id);
    spares.join_left();
    assert_eq!(spares.begin_starts().len(), 1);
    assert_eq!((0..6).filter(|_| spares.take_wish()).count(), 5);
    spares.arrive();
    assert_eq!(spares.end(), 0);
    assert!(!spares.call());
    assert_eq!(spares.begin_starts().len(), 0, "all end");
    assert_eq!((spares.end(), spares.end()), (1, 0), "a late call is given back");
    spares.reset();
    assert_eq!((spares.counts(), spares.has_wish()), ((0, 0), false));
}

#[test]
fn one_job_runs_though_the_processors_need_every_thread() {
    for most in [0, 1, 4] {
        let spares = spares(4, most, 1);
        assert!(!spares.submit(1, None) && !spares.submit(2, None));
        // At the limit a worker runs the job although it has just run goroutines.
        if most < 2 {
            assert_eq!(job(at_once(&spares, false)), 1);
        } else {
            assert_eq!(job(at_once(&spares, true)), 1);
        }
        assert!(matches!(at_once(&spares, true), Roused::Timeout));
        spares.set_procs(1);
        assert_eq!(
            matches!(at_once(&spares, true), Roused::Job(Job { work: 2, .. })),
            most == 4,
            "three are left to jobs now"
        );
    }
}

#[test]
fn another_thread_may_take_the_place_of_one_whose_job_waits() {
    let spares = spares(1, 2, 1);
    assert!(!spares.submit(1, None));
    assert_eq!(spares.begin_starts().len(), 1);
    spares.arrive();
    assert_eq!(job(at_once(&spares, true)), 1);
    assert!(!spares.submit(2, None));
    assert!(matches!(at_once(&spares, true), Roused::Timeout));
    assert_eq!(spares.begin_starts().len(), 0);
    spares.lend_thread(1, true);
    assert_eq!(spares.begin_starts().len(), 1);
    spares.arrive();
    assert_eq!(job(at_once(&spares, true)), 2);
    spares.lend_thread(1, false);
    // Two jobs run, but the limit is one.
    spares.finish_job(2, None);
    assert!(!spares.submit(3, None));
    assert!(matches!(at_once(&spares, true), Roused::Timeout));
    spares.finish_job(1, None);
    assert_eq!(job(at_once(&spares, true)), 3);
}

/// A bug: each nested job lent a thread, so there were as many threads as one job submitted jobs.
#[test]
fn a_job_lends_one_thread_whatever_it_waits_for() {
    let spares = spares(1, 2, 1);
    assert!(!spares.submit(0, None));
    assert_eq!(spares.begin_starts().len(), 1);
    spares.arrive();
    assert_eq!(job(at_once(&spares, true)), 0);
    for nested in 1..=300 {
        assert!(!spares.submit(nested, Some(1)));
    }
    spares.lend_thread(1, true);
    assert_eq!(spares.begin_starts().len(), 1);
    spares.arrive();
    assert_eq!(job(at_once(&spares, true)), 1);
    assert!(matches!(at_once(&spares, true), Roused::Timeout));
    // That one waits for another one itself.
    assert!(!spares.submit(301, Some(2)));
    assert_eq!(spares.begin_starts().len(), 1);
    spares.arrive();
    assert_eq!(job(at_once(&spares, true)), 2);
    spares.finish_job(3, Some(1));
    spares.finish_job(2, Some(1));
    assert_eq!(job(at_once(&spares, true)), 3, "again one of the first job's");
    // It ends, and leaves nested jobs behind.
    spares.lend_thread(1, false);
    spares.finish_job(1, None);
    assert!(matches!(at_once(&spares, true), Roused::Timeout));
    spares.finish_job(4, Some(1));
    assert_eq!(job(at_once(&spares, true)), 4);
    assert!(matches!(at_once(&spares, true), Roused::Timeout));
}

#[test]
fn a_job_starves_if_it_waits_at_the_limit_and_no_worker_parks() {
    let spares = spares(1, 1, 1);
    assert!(!spares.is_starving());
    assert!(!spares.submit(1, None) && !spares.submit(2, None));
    assert!(!spares.is_starving(), "since the last check");
    assert!(spares.take_starving_job().is_none());
    assert!(spares.is_starving());
    assert_eq!(spares.take_starving_job().unwrap().work, 1);
    assert!(spares.take_starving_job().is_none());
    assert!(!spares.is_starving());
    assert!(!spares.is_starving(), "there is no room for it");
    spares.finish_job(1, None);
    assert!(spares.is_starving());
    assert_eq!(job(at_once(&spares, false)), 2, "a worker that parks comes first");
    assert!(!spares.is_starving());
    // A thread can be started.
    spares.finish_job(2, None);
    spares.set_most_threads(2);
    assert!(!spares.submit(3, None));
    assert!(!spares.is_starving() && !spares.is_starving());
    assert_eq!(spares.begin_starts().len(), 1);
    assert!(!spares.is_starving(), "it is starting");
    spares.refused();
    assert!(spares.is_starving());
}

#[test]
fn a_thread_counts_until_it_is_joined() {
    let spares = spares(1, 2, 0);
    assert!(spares.is_empty() && spares.all_left());
    assert!(!spares.call());
    assert_eq!(spares.begin_starts(), 0..1);
    assert!(!spares.all_left());
    let thread = thread::spawn(|| ());
    let id = thread.thread().id();
    spares.started(thread);
    spares.join_left();
    assert!(!spares.all_left(), "the thread still runs");
    spares.leave(id);
    assert!(spares.all_left() && !spares.is_empty());
    spares.join_left();
    assert!(spares.all_left() && spares.is_empty());
}

/// A thread that was being joined counted as running again. So a runtime whose shutdown had
/// returned went on for its handles.
#[test]
fn a_thread_that_is_being_joined_has_left() {
    let spares = spares(1, 2, 0);
    assert!(!spares.call());
    assert_eq!(spares.begin_starts(), 0..1);
    let (end, ends) = mpsc::channel::<()>();
    let thread = thread::spawn(move || _ = ends.recv());
    let id = thread.thread().id();
    spares.started(thread);
    spares.leave(id);
    let joining = {
        let spares = spares.clone();
        thread::spawn(move || spares.join_left())
    };
    while !spares.lock().handles.is_empty() {
        thread::yield_now();
    }
    assert!(spares.all_left());
    end.send(()).unwrap();
    joining.join().unwrap();
    assert!(spares.all_left() && spares.is_empty());
}
