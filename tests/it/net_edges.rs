//! Readiness that is not there: full peers, idle streams, empty buffers, forked processes.

use std::io::{self, IoSlice, IoSliceMut};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_lite::future::poll_once;
use gopark::inspect::GoroutineState;
use gopark::io::{AsyncRead, AsyncWrite};
use gopark::net::{TcpListener, TcpSocket, TcpStream, UnixDatagram, UnixListener, UnixStream};
use gopark::{Runtime, time};
use socket2::{Domain, SockRef, Socket, Type};

use crate::hostile::{Moment, hooked};
use crate::net::pair;
use crate::net_bad_days::exhaust;
use crate::util::{Wakes, isolated, no_hang, spin_until};

/// A path for a socket of the test.
fn path(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("gopark-{name}-{}", std::process::id()))
}

/// A bug: a `sendto` that finds the peer's queue full frees its buffer, and the system reports that
/// the sender can be written. The operation was woken, tried again, caused the next event, and so
/// on: it used a whole core.
#[test]
fn a_send_to_a_full_peer_tries_a_few_times() {
    no_hang(|| {
        gopark::block_on(async {
            let path = path("full-peer");
            let peer = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
            peer.set_nonblocking(true).unwrap();
            let socket = UnixDatagram::unbound().unwrap();
            while socket.try_send_to(b"x", &path).is_ok() {}

            let polls = AtomicUsize::new(0);
            let mut send = pin!(socket.send_to(b"y", &path));
            let counts = std::future::poll_fn(|cx| {
                polls.fetch_add(1, Relaxed);
                send.as_mut().poll(cx)
            });
            assert!(time::timeout(Duration::from_millis(100), counts).await.is_err());
            assert!(polls.load(Relaxed) < 50, "{polls:?} polls");
            gopark::select! {
                _ = socket.send_to(b"z", &path) => panic!("there is no room"),
                default => {}
            }

            // Once there is room, it sends.
            let received = || {
                std::iter::from_fn(|| {
                    let mut byte = [0];
                    peer.recv(&mut byte).ok().map(|_| byte)
                })
            };
            assert!(received().all(|byte| byte == *b"x"));
            assert_eq!(send.await.unwrap(), 1);
            assert!(received().eq([*b"y"]));
            std::fs::remove_file(&path).unwrap();
        });
    });
}

/// A bug: the child of a fork accepted a connection and registered it with the poller that it
/// shares with its parent. So the parent got events of a stream that it does not have.
#[test]
fn a_forked_child_accepts_no_connection() {
    isolated(|| {
        Runtime::new().block_on(async {
            let path = path("fork-accept");
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let unix = UnixListener::bind(&path).unwrap();
            let _clients = (
                std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap(),
                std::os::unix::net::UnixStream::connect(&path).unwrap(),
            );
            let refuses = |error: io::Error| error.kind() == io::ErrorKind::Unsupported;
            // SAFETY: the child makes a few system calls, and ends.
            match unsafe { libc::fork() } {
                0 => {
                    let refused = tcp.try_accept().is_err_and(refuses)
                        && unix.try_accept().is_err_and(refuses);
                    // SAFETY: as above.
                    unsafe { libc::_exit(i32::from(!refused)) }
                }
                child => {
                    let mut status = 0;
                    // SAFETY: `status` is valid for the result.
                    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                    assert_eq!(status, 0);
                }
            }
            // Both connections are still there.
            tcp.try_accept().unwrap();
            unix.try_accept().unwrap();
            std::fs::remove_file(path).unwrap();
        });
    });
}

/// A bug: before the first event the crate takes every socket for ready, and `readable` believed
/// it.
#[test]
fn a_new_idle_stream_is_not_readable() {
    no_hang(|| {
        gopark::block_on(async {
            let (a, b) = UnixStream::pair().unwrap();
            let mut readable = pin!(b.readable());
            assert!(poll_once(readable.as_mut()).await.is_none());
            a.write_all(b"x").await.unwrap();
            readable.await.unwrap();
            // It consumes nothing.
            b.readable().await.unwrap();
            assert_eq!(b.try_read(&mut [0; 8]).unwrap(), 1);
            assert!(poll_once(b.readable()).await.is_none());
            b.writable().await.unwrap();
        });
    });
}

/// A bug: as above, so a connect in progress looked like one that had succeeded.
#[test]
fn a_connect_in_progress_is_not_writable() {
    no_hang(|| {
        gopark::block_on(async {
            let new = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let listener = new();
            listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            listener.listen(0).unwrap();
            let address = listener.local_addr().unwrap();
            // The listener's queue is full after a few of them: the last one is not answered.
            let mut clients: Vec<_> = std::iter::repeat_with(|| {
                let client = new();
                client.set_nonblocking(true).unwrap();
                let error = client.connect(&address).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS));
                client
            })
            .take(8)
            .collect();
            let client = TcpStream::from_std(clients.pop().unwrap().into()).unwrap();
            let mut writable = pin!(client.writable());
            assert!(poll_once(writable.as_mut()).await.is_none());
            // The system tries again, and is refused.
            drop(listener);
            writable.await.unwrap();
            let error = client.take_error().unwrap().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        });
    });
}

/// A bug: less than a second became zero, with which a close discards unsent data and resets the
/// connection; a time of many years wrapped.
#[test]
fn a_linger_is_rounded_up_and_capped() {
    no_hang(|| {
        gopark::block_on(async {
            let (stream, _peer) = pair().await.unwrap();
            let socket = TcpSocket::new_v4().unwrap();
            let check = |set: Option<Duration>, got: Option<Duration>| {
                stream.set_linger(set).unwrap();
                assert_eq!(stream.linger().unwrap(), got, "{set:?}");
                socket.set_linger(set).unwrap();
                assert_eq!(socket.linger().unwrap(), got, "{set:?}");
            };
            let seconds = |n| Some(Duration::from_secs(n));
            check(Some(Duration::from_millis(900)), seconds(1));
            check(Some(Duration::from_millis(2_001)), seconds(3));
            check(seconds(0), seconds(0));
            check(Some(Duration::MAX), seconds(32_767));
            check(seconds(1 << 32), seconds(32_767));
            check(None, None);
        });
    });
}

/// A bug: an accept that waited for a free descriptor did not see the close of its listener.
#[test]
fn an_accept_without_descriptors_sees_the_close() {
    isolated(|| {
        gopark::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let _all = exhaust();
            let (wakes, waker) = Wakes::new();
            let mut cx = Context::from_waker(&waker);
            let mut accept = pin!(listener.accept());
            assert!(accept.as_mut().poll(&mut cx).is_pending());
            // The delay has just begun.
            let before = wakes.count();
            listener.close();
            assert!(wakes.count() > before, "the close wakes nothing");
            let Poll::Ready(Err(error)) = accept.poll(&mut cx) else { panic!("not closed") };
            assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        });
    });
}

/// A bug: a report showed a sleep at a line of this crate.
#[test]
fn a_report_shows_where_an_accept_waits_for_a_descriptor() {
    isolated(|| {
        gopark::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let _all = exhaust();
            let accept = gopark::go(async move { listener.accept().await });
            let at = loop {
                let all = gopark::inspect::goroutines();
                let found = all.iter().find(|goroutine| goroutine.id == accept.id());
                match found.map(|goroutine| goroutine.state) {
                    Some(GoroutineState::Waiting { at, .. }) => break at,
                    _ => gopark::gosched().await,
                }
            };
            assert!(at.is_some_and(|at| at.file().ends_with("net_edges.rs")), "{at:?}");
            accept.abort();
        });
    });
}

/// A bug: the first question came after the idle time, and the others after 75 seconds each, so
/// that a peer that had vanished was found after eleven minutes.
#[test]
fn keepalive_asks_again_soon() {
    no_hang(|| {
        gopark::block_on(async {
            let (stream, _peer) = pair().await.unwrap();
            let seconds = Duration::from_secs;
            for (idle, interval) in [(15, 15), (5, 5), (3600, 15)] {
                stream.set_keepalive_time(Some(seconds(idle))).unwrap();
                assert_eq!(stream.keepalive_time().unwrap(), Some(seconds(idle)));
                let options = SockRef::from(&stream);
                assert_eq!(options.tcp_keepalive_interval().unwrap(), seconds(interval));
            }
        });
    });
}

/// A bug: a read into an empty buffer waited for bytes that it could not take, and a write of
/// nothing for room that it did not need.
#[test]
fn a_transfer_of_nothing_does_not_wait() {
    no_hang(|| {
        gopark::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (_served, _) = listener.accept().await.unwrap();
            let (mut unix, _other) = UnixStream::pair().unwrap();
            macro_rules! check {
                ($stream:ident) => {
                    // Nothing can be read.
                    $stream.try_read(&mut [0]).unwrap_err();
                    let none: &mut [u8] = &mut [];
                    assert_eq!($stream.try_read(none).unwrap(), 0);
                    assert_eq!(poll_once($stream.read(none)).await.unwrap().unwrap(), 0);
                    let buffers: &mut [IoSliceMut<'_>] = &mut [IoSliceMut::new(none)];
                    let read = poll_once($stream.read_vectored(buffers)).await;
                    assert_eq!(read.unwrap().unwrap(), 0);
                    let read = std::future::poll_fn(|cx| {
                        Poll::Ready(Pin::new(&mut $stream).poll_read(cx, &mut []))
                    });
                    assert!(matches!(read.await, Poll::Ready(Ok(0))));
                    // Nothing can be written.
                    while $stream.try_write(&[0; 1 << 16]).is_ok() {}
                    assert_eq!($stream.try_write(&[]).unwrap(), 0);
                    assert_eq!(poll_once($stream.write(&[])).await.unwrap().unwrap(), 0);
                    let written = poll_once($stream.write_vectored(&[IoSlice::new(&[])])).await;
                    assert_eq!(written.unwrap().unwrap(), 0);
                    let written = std::future::poll_fn(|cx| {
                        Poll::Ready(Pin::new(&mut $stream).poll_write(cx, &[]))
                    });
                    assert!(matches!(written.await, Poll::Ready(Ok(0))));
                };
            }
            check!(tcp);
            assert_eq!(poll_once(tcp.peek(&mut [])).await.unwrap().unwrap(), 0);
            check!(unix);
        });
    });
}

/// A bug: the system call was made where the future was created, not where it is first polled.
#[test]
fn a_unix_connect_begins_at_its_first_poll() {
    no_hang(|| {
        gopark::block_on(async {
            let path = path("lazy-connect");
            let listener = UnixListener::bind(&path).unwrap();
            let address = std::os::unix::net::SocketAddr::from_pathname(&path).unwrap();
            let connects = [UnixStream::connect(&path), UnixStream::connect_addr(&address)];
            let error = listener.try_accept().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            for connect in connects {
                let client = connect.await.unwrap();
                let (server, _) = listener.accept().await.unwrap();
                client.write_all(b"x").await.unwrap();
                server.read_exact(&mut [0]).await.unwrap();
            }
            std::fs::remove_file(path).unwrap();
        });
    });
}

#[test]
fn the_sender_of_a_datagram_is_answered_whatever_name_it_has() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    no_hang(|| {
        gopark::block_on(async {
            let path = path("answers");
            let name = format!("gopark-answers-{}", std::process::id());
            let server_address = SocketAddr::from_abstract_name(&name).unwrap();
            let server = UnixDatagram::bind_addr(&server_address).unwrap();
            let client_address = SocketAddr::from_abstract_name(format!("{name}-client")).unwrap();
            let clients = [
                UnixDatagram::bind(&path).unwrap(),
                UnixDatagram::bind_addr(&client_address).unwrap(),
            ];
            for client in clients {
                client.send_to_addr(b"ask", &server_address).await.unwrap();
                let mut buffer = [0; 8];
                let (length, from) = server.recv_from(&mut buffer).await.unwrap();
                assert_eq!(server.send_to_addr(&buffer[..length], &from).await.unwrap(), 3);
                assert_eq!(client.recv(&mut buffer).await.unwrap(), 3);
                assert_eq!(server.try_send_to_addr(b"more", &from).unwrap(), 4);
                assert_eq!(client.recv(&mut buffer).await.unwrap(), 4);
            }
            std::fs::remove_file(path).unwrap();
            let nameless = UnixDatagram::unbound().unwrap().local_addr().unwrap();
            let error = server.try_send_to_addr(b"x", &nameless).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        });
    });
}

#[test]
fn a_socket_of_another_crate_connects() {
    use std::os::fd::{AsFd, AsRawFd};

    no_hang(|| {
        gopark::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let number = other.as_raw_fd();
            let socket = TcpSocket::from_std_stream(other.into()).unwrap();
            assert_eq!((socket.as_raw_fd(), socket.as_fd().as_raw_fd()), (number, number));
            socket.connect(listener.local_addr().unwrap()).await.unwrap();
        });
    });
}

/// A bug: a poll function cloned the task's waker, and dropped that of the task that had waited
/// before, under the lock of the stream's place for tasks. A waker that polled the same stream hung
/// its thread.
#[test]
fn wakers_may_poll_the_stream_when_cloned_woken_or_dropped() {
    no_hang(|| {
        for moment in [Moment::Clone, Moment::Wake, Moment::Drop] {
            let (a, b) = gopark::block_on(async { UnixStream::pair().unwrap() });
            let (b, polls) = (Arc::new(b), Arc::new(AtomicUsize::new(0)));
            let poll = |mut stream: &UnixStream, waker: &Waker| {
                let polled =
                    Pin::new(&mut stream).poll_read(&mut Context::from_waker(waker), &mut [0; 8]);
                polled.map(Result::unwrap)
            };
            let waker = || {
                let (b, polls) = (b.clone(), polls.clone());
                hooked(
                    moment,
                    Arc::new(move || {
                        polls.fetch_add(1, Relaxed);
                        _ = poll(&b, Waker::noop());
                    }),
                )
            };
            // The second task takes the place of the first.
            for waker in [waker(), waker()] {
                assert!(poll(&b, &waker).is_pending());
                assert!(poll(&b, &waker).is_pending());
            }
            assert!(poll(&b, &waker()).is_pending());
            let (wakes, last) = Wakes::new();
            assert!(poll(&b, &last).is_pending());
            if moment == Moment::Wake {
                assert!(poll(&b, &waker()).is_pending());
            }
            a.try_write(b"x").unwrap();
            spin_until(
                || if moment == Moment::Wake { polls.load(Relaxed) } else { wakes.count() } > 0,
            );
            assert_ne!(polls.load(Relaxed), 0);
        }
    });
}
