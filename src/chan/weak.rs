//! Weak references, which do not keep a channel open.
//!
//! The values of a channel are dropped with its last receiver, and a weak reference keeps only the
//! memory of the channel itself, like a `std::sync::Weak`.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::core::Side;
use super::handle::Weak;
use super::{Receiver, Sender};
use crate::wait::watch::Watch;

/// Defines the weak reference of one side.
macro_rules! weak {
    ($(#[$attributes:meta])* $weak:ident, $end:ident, $side:expr $(, $watch:ident)?) => {
        $(#[$attributes])*
        pub struct $weak<T> {
            /// None for a nil channel.
            core: Option<Weak<T>>,
        }

        impl<T> $end<T> {
            /// Returns a weak reference to this end, which does not keep the channel open. Go has
            /// none; tokio: `downgrade`.
            ///
            /// # Examples
            ///
            /// ```
            /// let (tx, rx) = gopark::chan::bounded::<u8>(1);
            #[doc = concat!("let weak = ", weak!(@end $end), ".downgrade();")]
            #[doc = concat!("assert_eq!(weak.upgrade().as_ref(), Some(&", weak!(@end $end), "));")]
            /// assert_eq!((tx.sender_count(), rx.receiver_count()), (1, 1));
            /// ```
            pub fn downgrade(&self) -> $weak<T> {
                $weak { core: self.handle.downgrade() }
            }
        }

        impl<T> $weak<T> {
            /// Returns a new handle of this side, or `None` if the side has no handles left.
            ///
            /// It also works on a closed channel. The upgrade of a nil reference is nil.
            ///
            /// # Examples
            ///
            /// ```
            /// let (tx, rx) = gopark::chan::bounded::<u8>(1);
            #[doc = concat!("let weak = ", weak!(@end $end), ".downgrade();")]
            /// assert!(weak.upgrade().is_some());
            #[doc = concat!("drop(", weak!(@end $end), ");")]
            /// assert!(weak.upgrade().is_none());
            /// ```
            pub fn upgrade(&self) -> Option<$end<T>> {
                let Some(core) = &self.core else { return Some($end::nil()) };
                Some($end { handle: core.upgrade($side)? $(, $watch: Watch::NONE)? })
            }
        }

        impl<T> UnwindSafe for $weak<T> {}
        impl<T> RefUnwindSafe for $weak<T> {}

        impl<T> Clone for $weak<T> {
            fn clone(&self) -> Self {
                Self { core: self.core.clone() }
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
    /// Use it for code that sends only as long as other senders exist, such as a timer in a service
    /// that ends with its last client.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan::{self, WeakSender};
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// let weak: WeakSender<&str> = tx.downgrade();
    /// assert!(weak.upgrade().is_some_and(|tx| tx.try_send("tick").is_ok()));
    /// drop(tx);
    /// assert!(weak.upgrade().is_none() && rx.is_closed());
    /// ```
    WeakSender, Sender, Side::Send
}

weak! {
    /// A receiver that does not keep the channel open, made by [`Receiver::downgrade`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan::{self, WeakReceiver};
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// let weak: WeakReceiver<u8> = rx.downgrade();
    /// tx.try_send(1).unwrap();
    /// assert!(weak.upgrade().is_some_and(|rx| rx.try_recv() == Ok(1)));
    /// drop(rx);
    /// assert!(weak.upgrade().is_none() && tx.is_closed());
    /// ```
    WeakReceiver, Receiver, Side::Receive, watch
}
