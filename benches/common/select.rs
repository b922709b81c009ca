//! Waiting for one of several channels.

use std::time::{Duration, Instant};

use gopark::chan;

use super::{
    AsyncChannel, Channel, CrossfireSpsc, Executor, FlumeOnTokio, Ours, OursOnTokio, Sent,
    TokioMpsc,
};

/// Channels with a way to wait for several of them.
pub(crate) trait Choosing: Channel {
    /// Whether the senders of `select_among` select as well: then `feed` does it.
    const SENDS_IN_SELECT: bool;

    /// The index of the channel that gave a value.
    fn of_two(
        one: &mut Self::Receiver,
        two: &mut Self::Receiver,
    ) -> impl Future<Output = usize> + Send;
    /// Receives from any of them; there are 2, 4 or 16.
    fn any(of: &mut [Self::Receiver]) -> impl Future<Output = ()> + Send;
    /// Sends, as one case of a select next to a stop, if that is possible without loss.
    fn feed(
        to: &mut Self::Sender,
        stop: &chan::Receiver<()>,
        value: usize,
    ) -> impl Future<Output = bool> + Send;
    /// The four selects of one case and a default: on an empty channel, a full one, one with a
    /// value, one with room.
    fn looks(
        empty: &mut Self::Receiver,
        full: &Self::Sender,
        ready: &mut Self::Receiver,
        room: &Self::Sender,
    );
    fn try_send(to: &Self::Sender, value: usize) -> bool;
}

macro_rules! ours {
    ($name:ident) => {
        impl Choosing for $name {
            const SENDS_IN_SELECT: bool = true;

            #[inline(always)]
            async fn of_two(one: &mut Self::Receiver, two: &mut Self::Receiver) -> usize {
                gopark::select! { _ = one.recv() => 0, _ = two.recv() => 1 }
            }

            #[inline(always)]
            async fn any(of: &mut [Self::Receiver]) {
                let value = match of {
                    [a, b] => {
                        gopark::select! { v = a.recv() => v, v = b.recv() => v }
                    }
                    [a, b, c, d] => {
                        gopark::select! {
                            v = a.recv() => v,
                            v = b.recv() => v,
                            v = c.recv() => v,
                            v = d.recv() => v,
                        }
                    }
                    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] => {
                        gopark::select! {
                            v = a.recv() => v,
                            v = b.recv() => v,
                            v = c.recv() => v,
                            v = d.recv() => v,
                            v = e.recv() => v,
                            v = f.recv() => v,
                            v = g.recv() => v,
                            v = h.recv() => v,
                            v = i.recv() => v,
                            v = j.recv() => v,
                            v = k.recv() => v,
                            v = l.recv() => v,
                            v = m.recv() => v,
                            v = n.recv() => v,
                            v = o.recv() => v,
                            v = p.recv() => v,
                        }
                    }
                    _ => unreachable!(),
                };
                assert!(value.is_some());
            }

            #[inline(always)]
            async fn feed(to: &mut Self::Sender, stop: &chan::Receiver<()>, value: usize) -> bool {
                gopark::select! { sent = to.send(value) => sent.is_ok(), _ = stop.recv() => false }
            }

            #[inline(always)]
            fn looks(
                empty: &mut Self::Receiver,
                full: &Self::Sender,
                ready: &mut Self::Receiver,
                room: &Self::Sender,
            ) {
                gopark::select! { _ = empty.recv() => unreachable!(), default => {} }
                gopark::select! { _ = full.send(0) => unreachable!(), default => {} }
                gopark::select! { _ = room.send(0) => {}, default => unreachable!() }
                gopark::select! { _ = ready.recv() => {}, default => unreachable!() }
            }

            fn try_send(to: &Self::Sender, value: usize) -> bool {
                to.try_send(value).is_ok()
            }
        }
    };
}

ours!(Ours);

ours!(OursOnTokio);

/// With tokio's macro; `$recv` makes the future. For a select of one case and a default these
/// crates have try-operations.
macro_rules! theirs {
    ($name:ident, $recv:ident) => {
        impl Choosing for $name {
            const SENDS_IN_SELECT: bool = false;

            #[inline(always)]
            async fn of_two(one: &mut Self::Receiver, two: &mut Self::Receiver) -> usize {
                tokio::select! { _ = one.$recv() => 0, _ = two.$recv() => 1 }
            }

            #[inline(always)]
            async fn any(of: &mut [Self::Receiver]) {
                match of {
                    [a, b] => {
                        tokio::select! { _ = a.$recv() => {}, _ = b.$recv() => {} }
                    }
                    [a, b, c, d] => {
                        tokio::select! {
                            _ = a.$recv() => {}
                            _ = b.$recv() => {}
                            _ = c.$recv() => {}
                            _ = d.$recv() => {}
                        }
                    }
                    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] => {
                        tokio::select! {
                            _ = a.$recv() => {}
                            _ = b.$recv() => {}
                            _ = c.$recv() => {}
                            _ = d.$recv() => {}
                            _ = e.$recv() => {}
                            _ = f.$recv() => {}
                            _ = g.$recv() => {}
                            _ = h.$recv() => {}
                            _ = i.$recv() => {}
                            _ = j.$recv() => {}
                            _ = k.$recv() => {}
                            _ = l.$recv() => {}
                            _ = m.$recv() => {}
                            _ = n.$recv() => {}
                            _ = o.$recv() => {}
                            _ = p.$recv() => {}
                        }
                    }
                    _ => unreachable!(),
                }
            }

            #[inline(always)]
            async fn feed(to: &mut Self::Sender, _: &chan::Receiver<()>, value: usize) -> bool {
                Self::send(to, value).await.sent()
            }

            #[inline(always)]
            fn looks(
                empty: &mut Self::Receiver,
                full: &Self::Sender,
                ready: &mut Self::Receiver,
                room: &Self::Sender,
            ) {
                assert!(empty.try_recv().is_err() && full.try_send(0).is_err());
                assert!(room.try_send(0).is_ok() && ready.try_recv().is_ok());
            }

            fn try_send(to: &Self::Sender, value: usize) -> bool {
                to.try_send(value).is_ok()
            }
        }
    };
}

theirs!(TokioMpsc, recv);

theirs!(FlumeOnTokio, recv_async);

theirs!(AsyncChannel, recv);
theirs!(CrossfireSpsc, recv);

/// One goroutine selects over this many receives, as many others send; `stoppable` ones select as
/// well. One operation is one value.
pub(crate) async fn select_among<C: Choosing, const CHANNELS: usize>(
    on: C::On,
    n: u64,
    capacity: usize,
    stoppable: bool,
) -> (u64, Duration) {
    let each = n.div_ceil(CHANNELS as u64);
    let (_stop, stopped) = chan::unbuffered();
    let start = Instant::now();
    let mut of = [(); CHANNELS].map(|()| {
        let (mut sender, receiver) = C::new(capacity);
        let stopped = stopped.clone();
        on.go(async move {
            for i in 0..each as usize {
                assert!(if stoppable {
                    C::feed(&mut sender, &stopped, i).await
                } else {
                    C::send(&mut sender, i).await.sent()
                });
            }
            // The channel must not close, because a closed one is ready.
            super::for_ever().await;
            drop(sender);
        });
        receiver
    });
    let receiving = on.join(async move {
        for _ in 0..CHANNELS as u64 * each {
            C::any(&mut of).await;
        }
    });
    receiving.await;
    (CHANNELS as u64 * each, start.elapsed())
}
