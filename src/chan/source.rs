//! Where the values of a timer's channel come from.

/// Where the values of a timer's channel come from. Nobody sends them: whether there is one is decided when somebody looks,
/// under the channel's lock. So a value that nobody wants any more can still be taken back.
pub(crate) trait Source<T>: Send {
    /// Whether there is a value now.
    fn is_ready(&mut self) -> bool;

    /// The value that there is now.
    fn take(&mut self) -> Option<T>;

    /// Somebody waits: sees to it that [`Core::serve`] is called once there is a value.
    fn arm(&mut self);

    /// A value that was taken comes back, for nobody had it.
    fn give_back(&mut self, value: T);
}
