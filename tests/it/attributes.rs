//! `#[gopark::main]` and `#[gopark::test]`.

use std::cell::RefCell;
use std::num::ParseIntError;
use std::process::{ExitCode, Termination};
use std::rc::Rc;

use gopark::Handle;

use crate::util::no_hang;

/// Re-exports gopark, and records which functions are called.
mod elsewhere {
    use std::cell::Cell;

    pub(crate) use gopark::{block_on, main};

    thread_local! {
        pub(crate) static PROCS: Cell<usize> = const { Cell::new(0) };
    }

    pub(crate) fn gomaxprocs(n: usize) -> usize {
        PROCS.replace(n)
    }
}

#[gopark::main]
async fn answer() -> i32 {
    gopark::go(async { 6 * 7 }).await.unwrap()
}

#[gopark::main()]
async fn parse(/* nothing */) -> Result<(), ParseIntError> {
    let number: i32 = "no number".parse()?;
    unreachable!("{number}")
}

#[gopark::main]
async fn opaque() -> impl Termination {
    gopark::gosched().await;
    ExitCode::from(3)
}

#[test]
fn a_main_runs_on_the_global_runtime_and_returns_what_it_returns() {
    no_hang(|| {
        assert_eq!(answer(), 42);
        assert!(parse().is_err());
        assert_eq!(opaque().report(), ExitCode::from(3));
    });
}

#[elsewhere::main(crate = elsewhere, gomaxprocs = 1 + 2)]
async fn with_three_processors() {}

#[elsewhere::main(crate = crate::attributes::elsewhere)]
async fn with_as_many_as_there_are() {}

#[test]
fn gomaxprocs_is_set_before_main_runs_where_crate_is() {
    no_hang(|| {
        elsewhere::PROCS.set(7);
        with_as_many_as_there_are();
        assert_eq!(elsewhere::PROCS.get(), 7);
        with_three_processors();
        assert_eq!(elsewhere::PROCS.get(), 3);
    });
}

#[gopark::main(local)]
async fn not_send() -> Vec<i32> {
    let shared = Rc::new(RefCell::new(vec![1]));
    let other = shared.clone();
    gopark::gosched().await;
    other.borrow_mut().push(2);
    shared.take()
}

#[test]
fn a_local_main_need_not_be_send() {
    assert_eq!(no_hang(not_send), [1, 2]);
}

#[gopark::test]
async fn a_test_has_a_runtime_of_its_own() {
    assert_eq!(gopark::num_goroutine(), 1);
    assert!(Handle::try_current().is_ok());
}

#[gopark::test(gomaxprocs = 3)]
async fn a_test_has_the_processors_that_it_wants() {
    assert_eq!(gopark::gomaxprocs(0), 3);
}

#[gopark::test(local, gomaxprocs = 1)]
async fn a_local_test_need_not_be_send() {
    let shared = Rc::new(1);
    gopark::gosched().await;
    assert_eq!(*shared, gopark::gomaxprocs(0) as i32);
}

/// Other attributes are kept.
#[gopark::test]
#[should_panic(expected = "as it should")]
async fn a_test_that_should_panic_does() {
    gopark::gosched().await;
    panic!("as it should");
}

#[cfg(any())]
#[gopark::test]
async fn one_that_is_not_compiled() {
    this_does_not_exist();
}

#[gopark::test]
#[cfg_attr(all(), allow(clippy::unwrap_used, reason = "an attribute in an attribute"))]
pub(crate) async fn a_test_may_return_a_result_and_be_visible() -> Result<(), ParseIntError> {
    let one: i32 = "1".parse()?;
    assert_eq!(one, 1);
    Ok(())
}

#[gopark::test]
async fn r#match() {
    #![allow(unused_variables)]
    let unused = gopark::go(async { 1 }).await;
    assert_eq!(unused.unwrap(), 1);
}

macro_rules! tests {
    ($($(#[$meta:meta])* $vis:vis $name:ident -> $output:ty $body:block)*) => {
        $(
            #[gopark::test]
            $(#[$meta])*
            $vis async fn $name() -> $output $body
        )*
    };
}

tests! {
    pub(crate) a_macro_may_make_a_test -> Result<(), ParseIntError> {
        assert_eq!("1".parse(), Ok(1));
        Ok(())
    }
    /// This item has documentation.
    #[should_panic(expected = "made by a macro")]
    a_macro_may_make_one_that_panics -> () { panic!("made by a macro") }
}
