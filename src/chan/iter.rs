//! Iterators over the values of a channel: blocking ones for plain threads, and one that never
//! waits.

use super::Receiver;

impl<T> Receiver<T> {
    /// Iterates over the values until the channel is closed and drained, blocking the thread. Go:
    /// `for v := range ch`.
    ///
    /// It is for plain threads: each step is a [`recv_blocking`](Self::recv_blocking).
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan;
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// gopark::go(async move {
    ///     for i in 0..4 {
    ///         tx.send(i).await.unwrap();
    ///     }
    /// });
    /// assert_eq!(rx.iter_blocking().sum::<i32>(), 6);
    /// ```
    pub fn iter_blocking(&self) -> IterBlocking<'_, T> {
        IterBlocking { rx: self }
    }

    /// Like [`iter_blocking`](Self::iter_blocking), but the iterator owns the receiver.
    ///
    /// So a thread can return the iterator, or keep it in a struct.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan;
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// let sum = std::thread::spawn(|| rx.into_iter_blocking().sum::<i32>());
    /// for i in 0..4 {
    ///     tx.send_blocking(i).unwrap();
    /// }
    /// drop(tx);
    /// assert_eq!(sum.join().unwrap(), 6);
    /// ```
    pub fn into_iter_blocking(self) -> IntoIterBlocking<T> {
        IntoIterBlocking { rx: self }
    }

    /// Iterates over the values that are in the channel, without waiting. Go: a `for` around a
    /// `select` with `default`.
    ///
    /// The iterator ends when [`try_recv`](Self::try_recv) returns an error. A later call of `next`
    /// may find a value again.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan;
    ///
    /// let (tx, rx) = chan::bounded(2);
    /// tx.try_send(1).unwrap();
    /// tx.try_send(2).unwrap();
    /// assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1, 2]);
    /// assert!(!rx.is_closed());
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { rx: self }
    }
}

/// A blocking iterator over the values of a channel, made by [`Receiver::iter_blocking`].
///
/// # Examples
///
/// ```
/// use gopark::chan::{self, IterBlocking};
///
/// fn evens(numbers: IterBlocking<'_, u32>) -> Vec<u32> {
///     numbers.filter(|number| number % 2 == 0).collect()
/// }
///
/// let (tx, rx) = chan::bounded(4);
/// (1..=4).for_each(|number| tx.try_send(number).unwrap());
/// drop(tx);
/// assert_eq!(evens(rx.iter_blocking()), [2, 4]);
/// ```
#[derive(Debug)]
pub struct IterBlocking<'a, T> {
    rx: &'a Receiver<T>,
}

impl<T> Iterator for IterBlocking<'_, T> {
    type Item = T;

    // In a `for` loop the caller is the loop.
    #[cfg_attr(feature = "sim", track_caller)]
    fn next(&mut self) -> Option<T> {
        self.rx.recv_blocking()
    }
}

/// A blocking iterator that owns the receiver, made by [`Receiver::into_iter_blocking`].
///
/// # Examples
///
/// ```
/// use gopark::chan::{self, IntoIterBlocking};
///
/// struct Log {
///     lines: IntoIterBlocking<&'static str>,
/// }
///
/// let (tx, rx) = chan::bounded(1);
/// tx.try_send("started").unwrap();
/// drop(tx);
/// let mut log = Log { lines: rx.into_iter_blocking() };
/// assert_eq!((log.lines.next(), log.lines.next()), (Some("started"), None));
/// ```
#[derive(Debug)]
pub struct IntoIterBlocking<T> {
    rx: Receiver<T>,
}

impl<T> Iterator for IntoIterBlocking<T> {
    type Item = T;

    // In a `for` loop the caller is the loop.
    #[cfg_attr(feature = "sim", track_caller)]
    fn next(&mut self) -> Option<T> {
        self.rx.recv_blocking()
    }
}

/// An iterator over the values that are in a channel, made by [`Receiver::try_iter`].
///
/// # Examples
///
/// ```
/// use gopark::chan::{self, TryIter};
///
/// let (tx, rx) = chan::bounded(1);
/// let mut values: TryIter<'_, u8> = rx.try_iter();
/// assert_eq!(values.next(), None);
/// tx.try_send(1).unwrap();
/// assert_eq!(values.next(), Some(1));
/// ```
#[derive(Debug)]
pub struct TryIter<'a, T> {
    rx: &'a Receiver<T>,
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    // In a `for` loop the caller is the loop.
    #[cfg_attr(feature = "sim", track_caller)]
    fn next(&mut self) -> Option<T> {
        self.rx.try_recv().ok()
    }
}
