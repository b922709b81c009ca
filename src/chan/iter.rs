//! The values of a channel as iterators: for plain threads, and for what is there now.

use super::Receiver;

impl<T> Receiver<T> {
    /// Iterates over the values until the channel is closed and drained, blocking the thread for
    /// each as [`recv_blocking`](Self::recv_blocking) does. Go: `for v := range ch`, for plain
    /// threads.
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

    /// As [`iter_blocking`](Self::iter_blocking), by an iterator that owns the receiver: for a
    /// thread that returns it, or keeps it in a struct.
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

    /// Iterates over the values that are there, without waiting: it ends where
    /// [`try_recv`](Self::try_recv) receives nothing. A later call of `next` may find a value
    /// again. Go: a `for` around a `select` with `default`.
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

/// The values of a channel for a plain thread, made by [`Receiver::iter_blocking`].
#[derive(Debug)]
pub struct IterBlocking<'a, T> {
    rx: &'a Receiver<T>,
}

impl<T> Iterator for IterBlocking<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.rx.recv_blocking()
    }
}

/// The values of a channel for a plain thread, made by [`Receiver::into_iter_blocking`].
#[derive(Debug)]
pub struct IntoIterBlocking<T> {
    rx: Receiver<T>,
}

impl<T> Iterator for IntoIterBlocking<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.rx.recv_blocking()
    }
}

/// The values that are in a channel, made by [`Receiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'a, T> {
    rx: &'a Receiver<T>,
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.rx.try_recv().ok()
    }
}
