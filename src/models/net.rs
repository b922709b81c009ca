//! Models of the readiness of a descriptor. The kernel's buffer is modelled as a number of bytes,
//! guarded by a lock like the kernel's. An event follows each byte that arrives. See the proof in
//! `readiness.rs`.

use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use loom::sync::Mutex;
use loom::thread;

use super::{explore, poll_once};
use crate::readiness::{Next, Readiness, Wait};
use crate::wait::acquire::Acquisition;
use crate::wait::block_on::block_on;
use crate::wait::queue::KeptWaiter;
use crate::waker::TaskWaker;

/// The reading direction of a socket.
struct Socket {
    readiness: Readiness,
    kernel: Mutex<usize>,
}

impl Socket {
    /// Returns a socket after its first attempt to read: the kernel's buffer is known to be empty.
    fn drained() -> Arc<Self> {
        let socket = Arc::new(Self { readiness: Readiness::new(), kernel: Mutex::new(0) });
        assert!(matches!(socket.readiness.read.next(), Next::Try(_)));
        socket
    }

    /// Makes a byte arrive.
    fn arrive(&self, bits: u8) {
        *self.kernel.lock().unwrap() += 1;
        self.readiness.read.event(bits);
    }

    /// Reads at most `room` bytes, like [`attempt`](crate::io::attempt::attempt). Returns `None` if
    /// the caller must wait.
    fn attempt(&self, room: usize) -> Option<usize> {
        let ready = match self.readiness.read.next() {
            Next::Wait => return None,
            Next::Over | Next::Closed => return Some(0),
            Next::Try(ready) => ready,
        };
        let taken = {
            let mut kernel = self.kernel.lock().unwrap();
            let taken = room.min(*kernel);
            *kernel -= taken;
            taken
        };
        if taken == 0 {
            return None;
        }
        self.readiness.read.give_back(ready, taken == room);
        Some(taken)
    }

    /// Waits until at least one byte was read.
    fn read(&self, room: usize) -> usize {
        loop {
            if let Some(bytes) = self.attempt(room) {
                return bytes;
            }
            let waiting = Acquisition::new(self.readiness.read.wait(), Location::caller());
            block_on(async {
                let mut waiting = std::pin::pin!(waiting);
                std::future::poll_fn(|cx| waiting.as_mut().poll(cx)).await;
            });
        }
    }
}

const READY: u8 = crate::netpoll::READY;
const ENDED: u8 = crate::netpoll::ENDED;

/// Bytes that arrive at any moment are read: no event is lost between a drained read and the wait.
#[test]
fn an_event_between_a_system_call_and_the_wait_is_not_lost() {
    explore(3, || {
        let socket = Socket::drained();
        let other = socket.clone();
        let kernel = thread::spawn(move || {
            other.arrive(READY);
            other.arrive(READY);
        });
        let mut total = 0;
        while total < 2 {
            total += socket.read(64);
        }
        kernel.join().unwrap();
    });
}

/// If a read fills its buffer, another waiter reads the rest without another event.
#[test]
fn what_is_left_is_handed_to_another_reader() {
    explore(2, || {
        let socket = Socket::drained();
        *socket.kernel.lock().unwrap() = 2;
        let others: Vec<_> = (0..2)
            .map(|_| {
                let socket = socket.clone();
                thread::spawn(move || assert_eq!(socket.read(1), 1))
            })
            .collect();
        // One event for both bytes.
        socket.readiness.read.event(READY);
        for other in others {
            other.join().unwrap();
        }
    });
}

/// A wait that is dropped, woken or not, does not prevent the wake of the wait behind it.
#[test]
fn a_wait_that_is_given_up_costs_no_other_its_wake() {
    explore(2, || {
        let socket = Socket::drained();
        let site = Location::caller();
        let first = socket.clone();
        // This wait is in the queue.
        let mut waiting = Box::pin(Acquisition::new(first.readiness.read.wait(), site));
        assert!(poll_once_acquisition(waiting.as_mut()).is_pending());
        let reader = socket.clone();
        let reader = thread::spawn(move || assert_eq!(reader.read(64), 1));
        let kernel = socket.clone();
        let kernel = thread::spawn(move || kernel.arrive(READY));
        drop(waiting);
        kernel.join().unwrap();
        reader.join().unwrap();
    });
}

fn watches(waiter: &mut KeptWaiter<Socket, ()>, cx: &Context<'_>) -> bool {
    let mut waker = Some(TaskWaker::new(cx.waker()));
    waiter.with(|own, socket| socket.readiness.read.watch(own, &mut waker))
}

/// A poll function's waiter is woken by an event at any moment, and can be used again or dropped
/// while the event is delivered.
#[test]
fn an_event_finds_the_waiter_of_a_poll_function() {
    explore(2, || {
        let socket = Socket::drained();
        let other = socket.clone();
        let kernel = thread::spawn(move || {
            other.arrive(READY);
            other.arrive(READY);
        });
        let mut waiter = KeptWaiter::new(socket.clone(), ());
        let mut total = 0;
        block_on(std::future::poll_fn(|cx| {
            loop {
                match socket.attempt(64) {
                    Some(bytes) => total += bytes,
                    None => {
                        if watches(&mut waiter, cx) {
                            return Poll::Pending;
                        }
                    }
                }
                if total > 0 {
                    return Poll::Ready(());
                }
            }
        }));
        // It may wait for the second byte, or not.
        let waits = total < 2
            && socket.attempt(64).is_none()
            && poll_once(std::pin::pin!(std::future::poll_fn(|cx| {
                match watches(&mut waiter, cx) {
                    true => Poll::Pending,
                    false => Poll::Ready(()),
                }
            })))
            .is_pending();
        waiter.with(|own, socket| socket.readiness.read.unwatch(own));
        drop(waiter);
        kernel.join().unwrap();
        if waits {
            assert_eq!(socket.attempt(64), Some(1));
        }
    });
}

/// The tasks of a slot's last descriptor are woken late, while the next one waits: it waits again.
#[test]
fn a_late_wake_of_a_slots_last_descriptor_costs_the_next_one_nothing() {
    explore(2, || {
        let socket = Socket::drained();
        let last = Acquisition::new(socket.readiness.read.wait(), Location::caller());
        let mut last = Box::pin(last);
        assert!(poll_once_acquisition(last.as_mut()).is_pending());
        assert!(socket.readiness.read.set(READY));
        drop(last);
        let late = socket.clone();
        let late = thread::spawn(move || late.readiness.read.wake_all());
        socket.readiness.reset();
        let other = socket.clone();
        let kernel = thread::spawn(move || other.arrive(READY));
        assert_eq!(socket.read(64), 1);
        kernel.join().unwrap();
        late.join().unwrap();
    });
}

/// The end of the runtime wakes a wait at any moment.
#[test]
fn the_end_of_the_runtime_wakes_a_wait() {
    explore(3, || {
        let socket = Socket::drained();
        let other = socket.clone();
        let end = thread::spawn(move || {
            other.readiness.end();
            other.readiness.wake_all();
        });
        assert_eq!(socket.read(64), 0);
        end.join().unwrap();
    });
}

/// The end of a stream is seen, although no other event follows.
#[test]
fn the_end_of_the_stream_stays() {
    explore(3, || {
        let socket = Socket::drained();
        let other = socket.clone();
        let kernel = thread::spawn(move || other.arrive(READY | ENDED));
        assert_eq!(socket.read(64), 1);
        kernel.join().unwrap();
        assert!(matches!(socket.readiness.read.next(), Next::Try(_)));
    });
}

fn poll_once_acquisition<'a>(waiting: Pin<&mut Acquisition<'a, Wait<'a>, ()>>) -> Poll<()> {
    let mut waiting = waiting;
    poll_once(std::pin::pin!(std::future::poll_fn(|cx| waiting.as_mut().poll(cx))))
}
