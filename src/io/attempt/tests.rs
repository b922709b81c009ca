//! An operation of many system calls.

use std::io;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::{Attempts, Called, Operation};
use crate::readiness::{Direction, Readiness};
use crate::runtime::{Runtime, go};

/// Each system call succeeds, and transfers a part.
struct Parts<'a> {
    direction: &'a Direction,
    left: usize,
}

impl<'a> Operation<'a> for Parts<'a> {
    type Output = ();

    fn direction(&self) -> &'a Direction {
        self.direction
    }

    fn call(&mut self) -> io::Result<Called<()>> {
        self.left -= 1;
        Ok(Called::once(()))
    }

    fn needs_another(&self) -> bool {
        self.left > 0
    }
}

/// A `read_exact` made all of its system calls for one unit of the budget.
#[test]
fn an_operation_of_many_system_calls_gives_way() {
    let rt = Runtime::builder().gomaxprocs(1).build().unwrap();
    let has_run = rt.block_on(async {
        let reads = go(async {
            let sibling = Arc::new(AtomicBool::new(false));
            let runs = sibling.clone();
            go(async move { runs.store(true, SeqCst) });
            let readiness = Readiness::new();
            let parts = Parts { direction: &readiness.read, left: 1_000 };
            Attempts::new(parts, Location::caller()).await.unwrap();
            sibling.load(SeqCst)
        });
        reads.await.unwrap()
    });
    assert!(has_run);
}
