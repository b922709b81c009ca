use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::pin;
use std::task::{Context, Waker};

use super::{Acquired, Acquisition, Request, Resource};
use crate::coop::{Object, Reason};
use crate::wait::queue::OwnWaiter;

/// A resource whose `enqueue` panics before the waiter is linked.
#[derive(Clone, Copy)]
struct Broken;

impl Resource<'static, ()> for Broken {
    fn try_acquire(self) -> bool {
        false
    }

    fn extra(self) {}

    fn object(self) -> Option<&'static Object> {
        None
    }

    fn enqueue(self, _: OwnWaiter<'_, 'static, ()>) -> bool {
        panic!("in enqueue")
    }

    fn look(self, _: OwnWaiter<'_, 'static, ()>, _: &mut Context<'_>) -> bool {
        unreachable!("it is not linked")
    }

    fn cancel(self, _: OwnWaiter<'_, 'static, ()>) {
        unreachable!("it is not linked")
    }
}

impl Request<'static, ()> for Broken {
    type Resource = Self;
    type Output = ();

    fn resource(self) -> Self {
        self
    }

    fn reason(self) -> Reason {
        Reason::Semaphore
    }

    fn output(self, _: Acquired<Self, ()>) {}
}

/// A bug: the drop tried to remove the waiter from a queue, and panicked.
#[test]
fn a_waiter_that_was_not_linked_is_not_removed() {
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let acquisition = pin!(Acquisition::new(Broken, Location::caller()));
        acquisition.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }));
    assert_eq!(*polled.unwrap_err().downcast::<&str>().unwrap(), "in enqueue");
}
