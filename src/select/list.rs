//! The list of the cases of one `select!`, each with its own type.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::wait::case::{Case, ChannelCase, OptionCase, Sealed};

/// The cases of one select, numbered from 0.
#[doc(hidden)]
pub trait Cases {
    /// The output of the case that won, and which case that is.
    type Output;

    fn count(&self) -> usize;

    /// Calls `f` for each case in order, with the number of the case, its role, which `f` may
    /// change, and its channel operation, if it is one. The first case gets the number `first`.
    fn each(
        self: Pin<&mut Self>,
        first: usize,
        f: &mut impl FnMut(usize, &mut Role, Option<Pin<&dyn ChannelCase>>),
    );

    /// Polls case `index`, unless it is switched off.
    fn poll_case(self: Pin<&mut Self>, index: usize, cx: &mut Context<'_>) -> Poll<Self::Output>;

    fn raw(self: Pin<&mut Self>, index: usize) -> Option<Pin<&dyn ChannelCase>>;

    /// Takes the output of case `index`, a channel operation that won.
    fn won(self: Pin<&mut Self>, index: usize) -> Self::Output;

    /// Returns true if a case is a channel operation with a limit. For most lists this is a
    /// constant.
    #[inline(always)]
    fn has_limits(&self) -> bool {
        false
    }

    /// Polls the limit of case `index`, if it has one.
    fn poll_limit(self: Pin<&mut Self>, _: usize, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// Gives up case `index`, which is in no queue, because its limit was reached.
    fn limited(self: Pin<&mut Self>, _: usize) -> Self::Output {
        unreachable!("the case has no limit")
    }

    /// Returns true if dropping the cases now would have no effect.
    fn drop_is_noop(&self) -> bool;

    /// Returns true if a case may go off later, or if there is an action for when all are off. For
    /// most lists this is a constant, so selects without such cases pay nothing for it.
    #[inline(always)]
    fn may_go_off(&self) -> bool {
        false
    }

    /// Returns true if case `index` is off.
    fn is_off(self: Pin<&mut Self>, index: usize) -> bool;

    /// Takes the output of a select whose cases are all off, if there is one.
    #[inline(always)]
    fn all_off(self: Pin<&mut Self>) -> Option<Self::Output> {
        None
    }
}

/// A function that [`Cases::each`] calls for each case.
type Visitor<'a> = dyn FnMut(usize, &mut Role, Option<Pin<&dyn ChannelCase>>) + 'a;

/// How a select treats a case.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The case was switched off, or went off.
    Off,
    /// The case is polled. Before the select starts, each case has this role unless it is off.
    Other,
    /// A channel operation that had not been polled when the select began.
    Channel,
}

pin_project! {
    /// A list of one case, and its role.
    #[doc(hidden)]
    #[derive(Debug)]
    pub struct One<C> {
        #[pin]
        case: C,
        role: Role,
    }
}

pin_project! {
    /// Like [`One`], for an arm `Some(..)`: the case goes off when its output is `None`.
    #[doc(hidden)]
    #[derive(Debug)]
    pub struct OneSome<C> {
        #[pin]
        case: C,
        role: Role,
    }
}

/// The list of the `else` arm, which has no case. Its output is that of a select whose cases are
/// all off.
#[doc(hidden)]
#[derive(Debug)]
pub struct Else;

pin_project! {
    /// Two lists in one. A `select!` nests these, so that each case keeps its type.
    #[doc(hidden)]
    #[derive(Debug)]
    pub struct Both<A, B> {
        #[pin]
        first: A,
        #[pin]
        rest: B,
    }
}

pin_project! {
    /// A group of eight cases, used by a select with more than sixteen. The code of its methods is
    /// not inlined, but compiled once for all groups of the same type. The price is an indirect
    /// call per case.
    #[doc(hidden)]
    #[derive(Debug)]
    pub struct Group<C> {
        #[pin]
        cases: C,
    }
}

/// A list without cases.
#[doc(hidden)]
#[derive(Debug)]
pub struct Nil;

/// The output of a [`Both`]: which of the two lists has the case that won.
#[doc(hidden)]
#[derive(Debug)]
pub enum Which<A, B> {
    First(A),
    Rest(B),
}

/// The uninhabited output of a list without cases.
#[doc(hidden)]
#[derive(Debug)]
pub enum Never {}

impl<C: Case> One<C> {
    #[inline(always)]
    pub fn new(enabled: bool, case: C) -> Self {
        Self { case, role: if enabled { Role::Other } else { Role::Off } }
    }
}

impl<C: Case> Cases for One<C> {
    type Output = C::Output;

    #[inline(always)]
    fn count(&self) -> usize {
        1
    }

    #[inline(always)]
    fn each(
        self: Pin<&mut Self>,
        first: usize,
        f: &mut impl FnMut(usize, &mut Role, Option<Pin<&dyn ChannelCase>>),
    ) {
        let this = self.project();
        f(first, this.role, this.case.into_ref().raw(Sealed::TOKEN));
    }

    #[inline(always)]
    fn poll_case(self: Pin<&mut Self>, _: usize, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if *this.role == Role::Off { Poll::Pending } else { this.case.poll_case(cx) }
    }

    #[inline(always)]
    fn raw(self: Pin<&mut Self>, _: usize) -> Option<Pin<&dyn ChannelCase>> {
        self.project().case.into_ref().raw(Sealed::TOKEN)
    }

    #[inline(always)]
    fn won(self: Pin<&mut Self>, _: usize) -> Self::Output {
        self.project().case.won()
    }

    #[inline(always)]
    fn has_limits(&self) -> bool {
        self.case.has_limit(Sealed::TOKEN)
    }

    fn poll_limit(self: Pin<&mut Self>, _: usize, cx: &mut Context<'_>) -> Poll<()> {
        self.project().case.poll_limit(cx, Sealed::TOKEN)
    }

    fn limited(self: Pin<&mut Self>, _: usize) -> Self::Output {
        self.project().case.limited(Sealed::TOKEN)
    }

    #[inline(always)]
    fn is_off(self: Pin<&mut Self>, _: usize) -> bool {
        *self.project().role == Role::Off
    }

    #[inline(always)]
    fn drop_is_noop(&self) -> bool {
        self.case.drop_is_noop(Sealed::TOKEN)
    }
}

impl<C: OptionCase> OneSome<C> {
    #[inline(always)]
    pub fn new(enabled: bool, case: C) -> Self {
        Self { case, role: if enabled { Role::Other } else { Role::Off } }
    }
}

impl<C: OptionCase> Cases for OneSome<C> {
    type Output = C::Value;

    #[inline(always)]
    fn count(&self) -> usize {
        1
    }

    #[inline(always)]
    fn each(
        self: Pin<&mut Self>,
        first: usize,
        f: &mut impl FnMut(usize, &mut Role, Option<Pin<&dyn ChannelCase>>),
    ) {
        let this = self.project();
        f(first, this.role, this.case.into_ref().raw_some(Sealed::TOKEN));
    }

    #[inline(always)]
    fn poll_case(self: Pin<&mut Self>, _: usize, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if *this.role == Role::Off {
            return Poll::Pending;
        }
        match this.case.poll_some(cx, Sealed::TOKEN) {
            Poll::Ready(Some(value)) => Poll::Ready(value),
            Poll::Ready(None) => {
                *this.role = Role::Off;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    #[inline(always)]
    fn raw(self: Pin<&mut Self>, _: usize) -> Option<Pin<&dyn ChannelCase>> {
        self.project().case.into_ref().raw_some(Sealed::TOKEN)
    }

    #[inline(always)]
    fn won(self: Pin<&mut Self>, _: usize) -> Self::Output {
        self.project().case.won().expect("a case that is off does not win")
    }

    #[inline(always)]
    fn is_off(self: Pin<&mut Self>, _: usize) -> bool {
        *self.project().role == Role::Off
    }

    #[inline(always)]
    fn drop_is_noop(&self) -> bool {
        self.case.drop_is_noop(Sealed::TOKEN)
    }

    #[inline(always)]
    fn may_go_off(&self) -> bool {
        true
    }
}

impl<A: Cases, B: Cases> Both<A, B> {
    #[inline(always)]
    pub fn new(first: A, rest: B) -> Self {
        Self { first, rest }
    }
}

impl<A: Cases, B: Cases> Cases for Both<A, B> {
    type Output = Which<A::Output, B::Output>;

    #[inline(always)]
    fn count(&self) -> usize {
        self.first.count() + self.rest.count()
    }

    #[inline(always)]
    fn each(
        self: Pin<&mut Self>,
        first: usize,
        f: &mut impl FnMut(usize, &mut Role, Option<Pin<&dyn ChannelCase>>),
    ) {
        let this = self.project();
        let rest = first + this.first.count();
        this.first.each(first, f);
        this.rest.each(rest, f);
    }

    // Not `Poll::map`, which would copy the output once more in a debug build.
    #[inline(always)]
    fn poll_case(self: Pin<&mut Self>, index: usize, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let count = this.first.count();
        if index < count {
            match this.first.poll_case(index, cx) {
                Poll::Ready(output) => Poll::Ready(Which::First(output)),
                Poll::Pending => Poll::Pending,
            }
        } else {
            match this.rest.poll_case(index - count, cx) {
                Poll::Ready(output) => Poll::Ready(Which::Rest(output)),
                Poll::Pending => Poll::Pending,
            }
        }
    }

    #[inline(always)]
    fn raw(self: Pin<&mut Self>, index: usize) -> Option<Pin<&dyn ChannelCase>> {
        let this = self.project();
        let count = this.first.count();
        if index < count { this.first.raw(index) } else { this.rest.raw(index - count) }
    }

    #[inline(always)]
    fn won(self: Pin<&mut Self>, index: usize) -> Self::Output {
        let this = self.project();
        let count = this.first.count();
        if index < count {
            Which::First(this.first.won(index))
        } else {
            Which::Rest(this.rest.won(index - count))
        }
    }

    #[inline(always)]
    fn has_limits(&self) -> bool {
        self.first.has_limits() || self.rest.has_limits()
    }

    fn poll_limit(self: Pin<&mut Self>, index: usize, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let count = this.first.count();
        if index < count {
            this.first.poll_limit(index, cx)
        } else {
            this.rest.poll_limit(index - count, cx)
        }
    }

    fn limited(self: Pin<&mut Self>, index: usize) -> Self::Output {
        let this = self.project();
        let count = this.first.count();
        if index < count {
            Which::First(this.first.limited(index))
        } else {
            Which::Rest(this.rest.limited(index - count))
        }
    }

    #[inline(always)]
    fn is_off(self: Pin<&mut Self>, index: usize) -> bool {
        let this = self.project();
        let count = this.first.count();
        if index < count { this.first.is_off(index) } else { this.rest.is_off(index - count) }
    }

    #[inline(always)]
    fn drop_is_noop(&self) -> bool {
        self.first.drop_is_noop() && self.rest.drop_is_noop()
    }

    #[inline(always)]
    fn may_go_off(&self) -> bool {
        self.first.may_go_off() || self.rest.may_go_off()
    }

    #[inline(always)]
    fn all_off(self: Pin<&mut Self>) -> Option<Self::Output> {
        let this = self.project();
        match this.first.all_off() {
            Some(output) => Some(Which::First(output)),
            None => this.rest.all_off().map(Which::Rest),
        }
    }
}

impl<C: Cases> Group<C> {
    #[inline(always)]
    pub fn new(cases: C) -> Self {
        Self { cases }
    }

    #[inline(never)]
    fn each_by_call(self: Pin<&mut Self>, first: usize, f: &mut Visitor<'_>) {
        self.project().cases.each(first, &mut |index, role, raw| f(index, role, raw));
    }
}

impl<C: Cases> Cases for Group<C> {
    type Output = C::Output;

    #[inline(always)]
    fn count(&self) -> usize {
        self.cases.count()
    }

    #[inline(always)]
    fn each(
        self: Pin<&mut Self>,
        first: usize,
        f: &mut impl FnMut(usize, &mut Role, Option<Pin<&dyn ChannelCase>>),
    ) {
        self.each_by_call(first, f);
    }

    #[inline(never)]
    fn poll_case(self: Pin<&mut Self>, index: usize, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().cases.poll_case(index, cx)
    }

    #[inline(never)]
    fn raw(self: Pin<&mut Self>, index: usize) -> Option<Pin<&dyn ChannelCase>> {
        self.project().cases.raw(index)
    }

    #[inline(never)]
    fn won(self: Pin<&mut Self>, index: usize) -> Self::Output {
        self.project().cases.won(index)
    }

    #[inline(always)]
    fn has_limits(&self) -> bool {
        self.cases.has_limits()
    }

    fn poll_limit(self: Pin<&mut Self>, index: usize, cx: &mut Context<'_>) -> Poll<()> {
        self.project().cases.poll_limit(index, cx)
    }

    fn limited(self: Pin<&mut Self>, index: usize) -> Self::Output {
        self.project().cases.limited(index)
    }

    fn is_off(self: Pin<&mut Self>, index: usize) -> bool {
        self.project().cases.is_off(index)
    }

    fn drop_is_noop(&self) -> bool {
        false
    }

    #[inline(always)]
    fn may_go_off(&self) -> bool {
        self.cases.may_go_off()
    }
}

impl Cases for Else {
    type Output = ();

    #[inline(always)]
    fn count(&self) -> usize {
        0
    }

    #[inline(always)]
    fn each(
        self: Pin<&mut Self>,
        _: usize,
        _: &mut impl FnMut(usize, &mut Role, Option<Pin<&dyn ChannelCase>>),
    ) {
    }

    fn poll_case(self: Pin<&mut Self>, _: usize, _: &mut Context<'_>) -> Poll<()> {
        unreachable!("a list without cases")
    }

    fn raw(self: Pin<&mut Self>, _: usize) -> Option<Pin<&dyn ChannelCase>> {
        unreachable!("a list without cases")
    }

    fn won(self: Pin<&mut Self>, _: usize) {}

    fn is_off(self: Pin<&mut Self>, _: usize) -> bool {
        unreachable!("a list without cases")
    }

    #[inline(always)]
    fn drop_is_noop(&self) -> bool {
        true
    }

    #[inline(always)]
    fn may_go_off(&self) -> bool {
        true
    }

    #[inline(always)]
    fn all_off(self: Pin<&mut Self>) -> Option<()> {
        Some(())
    }
}

impl Cases for Nil {
    type Output = Never;

    #[inline(always)]
    fn count(&self) -> usize {
        0
    }

    #[inline(always)]
    fn each(
        self: Pin<&mut Self>,
        _: usize,
        _: &mut impl FnMut(usize, &mut Role, Option<Pin<&dyn ChannelCase>>),
    ) {
    }

    fn poll_case(self: Pin<&mut Self>, _: usize, _: &mut Context<'_>) -> Poll<Never> {
        unreachable!("a list without cases")
    }

    fn raw(self: Pin<&mut Self>, _: usize) -> Option<Pin<&dyn ChannelCase>> {
        unreachable!("a list without cases")
    }

    fn won(self: Pin<&mut Self>, _: usize) -> Never {
        unreachable!("a list without cases")
    }

    fn is_off(self: Pin<&mut Self>, _: usize) -> bool {
        unreachable!("a list without cases")
    }

    #[inline(always)]
    fn drop_is_noop(&self) -> bool {
        true
    }
}
