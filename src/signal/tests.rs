//! What subscriptions leave behind.

use super::{STATE, Signal, notify, notify_context};
use crate::context::Context;
use crate::panics::lock;

/// A bug: a subscription stayed until its signal arrived, which for most signals is never; that of
/// a context kept the context, and a context between it and its parent.
#[test]
fn a_subscription_that_has_ended_is_forgotten() {
    let (parent, _cancel) = Context::background().with_cancel();
    for _ in 0..100 {
        drop(notify(&[Signal::HUP]));
        let (ctx, stop) = notify_context(&parent, &[Signal::HUP]);
        stop.cancel();
        assert!(ctx.err().is_some());
        assert!(format!("{parent:?}").contains("children: 0"), "{parent:?}");
    }
    // Tests that run at the same time may have some.
    assert!(lock(&STATE).subscriptions.len() < 50);
}
