//! References to a channel that do not keep it open.
//!
//! The ends of a channel are counted, and weak references are not: the channel is freed with its
//! last end. So they share a link to it, allocated by the first of them, which is cut before the
//! channel is freed.

use std::fmt;
use std::sync::Arc;

use super::core::{Core, Extras, Side};
use super::handle::Handle;
use super::link::Link;
use super::{Receiver, Sender};
use crate::wait::watch::Watch;

/// The link of the handle's channel; none if that is nil.
fn link_of<T>(handle: &Handle<T>) -> Option<Arc<Link<Core<T>>>> {
    let (core, raw) = (handle.core()?, handle.raw()?);
    let known = core.held().extras.as_ref().and_then(|extras| extras.link.clone());
    Some(known.unwrap_or_else(|| {
        // Allocated, and freed if another one comes first, outside the lock.
        let (fresh, mut extras) = (Arc::new(Link::new(raw)), Some(Extras::boxed()));
        let mut st = core.held();
        let extras = st.extras_or(|| extras.take().expect("asked for once"));
        extras.link.get_or_insert_with(|| fresh.clone()).clone()
    }))
}

/// One more handle of that side, if there is one.
fn upgrade<T>(link: &Link<Core<T>>, side: Side) -> Option<Handle<T>> {
    // SAFETY: the channel is freed after the link has been cut, which waits for this look.
    link.look(|core| unsafe { Handle::one_more(core, side) })
}

/// A weak reference from one side.
macro_rules! weak {
    ($(#[$attributes:meta])* $weak:ident, $end:ident, $side:expr $(, $watch:ident)?) => {
        $(#[$attributes])*
        pub struct $weak<T> {
            /// None for a nil channel.
            link: Option<Arc<Link<Core<T>>>>,
        }

        impl<T> $end<T> {
            /// A reference to this end that does not count as one: the channel closes as if it were
            /// not there. Go has none; tokio: `downgrade`.
            ///
            /// ```
            /// let (tx, rx) = gopark::chan::bounded::<u8>(1);
            #[doc = concat!("let weak = ", weak!(@end $end), ".downgrade();")]
            #[doc = concat!("assert_eq!(weak.upgrade().as_ref(), Some(&", weak!(@end $end), "));")]
            /// assert_eq!((tx.sender_count(), rx.receiver_count()), (1, 1));
            /// ```
            pub fn downgrade(&self) -> $weak<T> {
                $weak { link: link_of(&self.handle) }
            }
        }

        impl<T> $weak<T> {
            /// The end, if the channel has one of this side still; a closed channel has too. From a
            /// nil one a nil one.
            ///
            /// ```
            /// let (tx, rx) = gopark::chan::bounded::<u8>(1);
            #[doc = concat!("let weak = ", weak!(@end $end), ".downgrade();")]
            /// assert!(weak.upgrade().is_some());
            #[doc = concat!("drop(", weak!(@end $end), ");")]
            /// assert!(weak.upgrade().is_none());
            /// ```
            pub fn upgrade(&self) -> Option<$end<T>> {
                let Some(link) = &self.link else { return Some($end::nil()) };
                Some($end { handle: upgrade(link, $side)? $(, $watch: Watch::NONE)? })
            }
        }

        impl<T> Clone for $weak<T> {
            fn clone(&self) -> Self {
                Self { link: self.link.clone() }
            }
        }

        impl<T> fmt::Debug for $weak<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($weak)).finish_non_exhaustive()
            }
        }
    };
    (@end Sender) => {
        "tx"
    };
    (@end Receiver) => {
        "rx"
    };
}

weak! {
    /// A sender that does not keep the channel open, made by [`Sender::downgrade`].
    ///
    /// For what may send if others still do, as a timer of a service that ends with its last
    /// client.
    WeakSender, Sender, Side::Send
}

weak! {
    /// A receiver that does not keep the channel open, made by [`Receiver::downgrade`].
    WeakReceiver, Receiver, Side::Receive, watch
}
