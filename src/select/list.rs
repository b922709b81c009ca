//! Floor 4: the cases of one `select!`, each with its own type.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::case::{Case, Private, RawCase};

/// The cases of one select, by number.
#[doc(hidden)]
pub trait Cases {
    /// Which case won, and its result.
    type Output;

    fn count(&self) -> usize;

    fn enabled(&self, index: usize) -> bool;

    /// Tries case `index`, keeping its result.
    fn poll_case(self: Pin<&mut Self>, index: usize, cx: &mut Context<'_>) -> bool;

    fn raw(&self, index: usize) -> Option<&dyn RawCase>;

    /// The result of case `index`, which won: kept, or still in the operation.
    fn output(self: Pin<&mut Self>, index: usize) -> Self::Output;
}

/// The first case of a list and the others. A `select!` is a nest of these, so that each case keeps its type.
#[doc(hidden)]
#[derive(Debug)]
pub struct Cons<C: Case, R> {
    case: C,
    enabled: bool,
    output: Option<C::Output>,
    rest: R,
}

/// The end of a list.
#[doc(hidden)]
#[derive(Debug)]
pub struct Nil;

/// Which case of a list won.
#[doc(hidden)]
#[derive(Debug)]
pub enum Which<T, R> {
    This(T),
    Rest(R),
}

/// None of none.
#[doc(hidden)]
#[derive(Debug)]
pub enum Never {}

impl<C: Case, R: Cases> Cons<C, R> {
    #[inline(always)]
    pub fn new(enabled: bool, case: C, rest: R) -> Self {
        Self { case, enabled, output: None, rest }
    }

    #[inline(always)]
    fn project(self: Pin<&mut Self>) -> (Pin<&mut C>, &mut Option<C::Output>, Pin<&mut R>) {
        // SAFETY: `case` and `rest` are pinned with `self` and never moved; `output` is not pinned.
        unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.case), &mut this.output, Pin::new_unchecked(&mut this.rest))
        }
    }
}

impl<C: Case, R: Cases> Cases for Cons<C, R> {
    type Output = Which<C::Output, R::Output>;

    #[inline(always)]
    fn count(&self) -> usize {
        1 + self.rest.count()
    }

    #[inline(always)]
    fn enabled(&self, index: usize) -> bool {
        if index == 0 { self.enabled } else { self.rest.enabled(index - 1) }
    }

    #[inline(always)]
    fn poll_case(self: Pin<&mut Self>, index: usize, cx: &mut Context<'_>) -> bool {
        let (case, output, rest) = self.project();
        if index != 0 {
            return rest.poll_case(index - 1, cx);
        }
        match case.poll_case(cx) {
            Poll::Ready(value) => {
                *output = Some(value);
                true
            }
            Poll::Pending => false,
        }
    }

    #[inline(always)]
    fn raw(&self, index: usize) -> Option<&dyn RawCase> {
        if index == 0 { self.case.raw(Private::HERE) } else { self.rest.raw(index - 1) }
    }

    #[inline(always)]
    fn output(self: Pin<&mut Self>, index: usize) -> Self::Output {
        let (case, output, rest) = self.project();
        if index != 0 {
            return Which::Rest(rest.output(index - 1));
        }
        Which::This(output.take().unwrap_or_else(|| case.won()))
    }
}

impl Cases for Nil {
    type Output = Never;

    fn count(&self) -> usize {
        0
    }

    fn enabled(&self, _: usize) -> bool {
        unreachable!("no case")
    }

    fn poll_case(self: Pin<&mut Self>, _: usize, _: &mut Context<'_>) -> bool {
        unreachable!("no case")
    }

    fn raw(&self, _: usize) -> Option<&dyn RawCase> {
        unreachable!("no case")
    }

    fn output(self: Pin<&mut Self>, _: usize) -> Never {
        unreachable!("no case")
    }
}
