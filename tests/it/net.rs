//! Sockets.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use gopark::net::{TcpListener, TcpStream, UdpSocket, UnixStream};
use gopark::{Runtime, go, select};

use crate::util::no_hang;

/// Two ends of a connection.
async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    let (server, _) = listener.accept().await?;
    Ok((client, server))
}

#[test]
fn an_echo_comes_back() {
    no_hang(|| {
        gopark::block_on(async {
            let (client, server) = pair().await.unwrap();
            go(async move {
                let mut buffer = [0; 16];
                loop {
                    let n = server.read(&mut buffer).await.unwrap();
                    if n == 0 {
                        return;
                    }
                    server.write_all(&buffer[..n]).await.unwrap();
                }
            });
            for i in 0..10_000u32 {
                client.write_all(&i.to_le_bytes()).await.unwrap();
                let mut back = [0; 4];
                client.read_exact(&mut back).await.unwrap();
                assert_eq!(u32::from_le_bytes(back), i);
            }
        });
    });
}

#[test]
fn an_echo_comes_back_at_each_setting() {
    no_hang(|| {
        for procs in [1, 2, 4] {
            let rt = Runtime::builder().gomaxprocs(procs).build().unwrap();
            rt.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                go(async move {
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        go(async move {
                            let mut buffer = [0; 64];
                            while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                                stream.write_all(&buffer[..n]).await.unwrap();
                            }
                        });
                    }
                });
                let clients = (0..50).map(|i: u8| {
                    go(async move {
                        let stream = TcpStream::connect(address).await.unwrap();
                        for _ in 0..200 {
                            stream.write_all(&[i; 64]).await.unwrap();
                            let mut back = [0; 64];
                            stream.read_exact(&mut back).await.unwrap();
                            assert_eq!(back, [i; 64]);
                        }
                    })
                });
                for client in clients.collect::<Vec<_>>() {
                    client.await.unwrap();
                }
            });
        }
    });
}

#[test]
fn the_end_that_comes_with_the_last_bytes_is_seen() {
    no_hang(|| {
        gopark::block_on(async {
            for _ in 0..200 {
                let (client, server) = pair().await.unwrap();
                // The server waits, and then makes a short read.
                let reader = go(async move {
                    let mut buffer = [0; 64];
                    let mut total = 0;
                    loop {
                        match server.read(&mut buffer).await.unwrap() {
                            0 => return total,
                            n => total += n,
                        }
                    }
                });
                gopark::gosched().await;
                client.write_all(b"last words").await.unwrap();
                drop(client);
                assert_eq!(reader.await.unwrap(), 10);
            }
        });
    });
}

#[test]
fn a_refused_connect_is_an_error() {
    no_hang(|| {
        gopark::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            let error = TcpStream::connect(address).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        });
    });
}

#[test]
fn a_reset_is_an_error_of_the_reader() {
    no_hang(|| {
        gopark::block_on(async {
            let (client, server) = pair().await.unwrap();
            let reader = go(async move { server.read(&mut [0; 8]).await });
            gopark::gosched().await;
            client.set_linger(Some(Duration::ZERO)).unwrap();
            drop(client);
            assert_eq!(reader.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        });
    });
}

#[test]
fn a_half_close_leaves_the_other_direction_open() {
    no_hang(|| {
        gopark::block_on(async {
            let (client, server) = pair().await.unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
            server.write_all(b"still").await.unwrap();
            let mut buffer = [0; 5];
            client.read_exact(&mut buffer).await.unwrap();
            assert_eq!(&buffer, b"still");
        });
    });
}

#[test]
fn a_default_makes_the_system_call() {
    no_hang(|| {
        gopark::block_on(async {
            let (client, server) = pair().await.unwrap();
            let mut buffer = [0; 8];
            let nothing = select! {
                n = server.read(&mut buffer) => n.unwrap(),
                default => 100,
            };
            assert_eq!(nothing, 100);
            client.write_all(b"now").await.unwrap();
            // The poller may not have seen the event yet.
            let mut got = 100;
            while got == 100 {
                got = select! {
                    n = server.read(&mut buffer) => n.unwrap(),
                    default => 100,
                };
            }
            assert_eq!(&buffer[..got], b"now");
        });
    });
}

#[test]
fn a_read_that_loses_a_select_loses_no_byte() {
    no_hang(|| {
        gopark::block_on(async {
            let (client, server) = pair().await.unwrap();
            let (tx, rx) = gopark::chan::unbuffered::<()>();
            go(async move { while tx.send(()).await.is_ok() {} });
            let writer = go(async move {
                for i in 0..2_000u16 {
                    client.write_all(&i.to_le_bytes()).await.unwrap();
                }
            });
            let mut all = Vec::new();
            let mut buffer = [0; 16];
            while all.len() < 4_000 {
                select! {
                    n = server.read(&mut buffer) => all.extend_from_slice(&buffer[..n.unwrap()]),
                    _ = rx.recv() => {}
                }
            }
            writer.await.unwrap();
            let numbers: Vec<u16> =
                all.chunks(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]])).collect();
            assert_eq!(numbers, (0..2_000).collect::<Vec<_>>());
        });
    });
}

#[test]
fn operations_fail_once_their_runtime_has_ended() {
    no_hang(|| {
        let rt = Runtime::new();
        let (client, server) = rt.block_on(pair()).unwrap();
        let waits = std::thread::spawn(move || {
            gopark::block_on(async move {
                let mut buffer = [0; 8];
                let read = go(async move { (server.read(&mut buffer).await, server) });
                let (result, server) = read.await.unwrap();
                assert!(result.unwrap_err().to_string().contains("has ended"));
                assert!(server.write(b"x").await.unwrap_err().to_string().contains("has ended"));
            });
        });
        // So that in most runs the read waits when the runtime ends: another runtime polls it.
        std::thread::sleep(Duration::from_millis(20)); // asleep: either order is right
        drop(rt);
        waits.join().unwrap();
        drop(client);
    });
}

#[test]
fn a_stream_is_read_and_written_by_two_goroutines() {
    no_hang(|| {
        gopark::block_on(async {
            let (client, server) = pair().await.unwrap();
            const TOTAL: usize = 8 << 20;
            let echo = go(async move { gopark::io::copy(&mut &server, &mut &server).await });
            let writer = client.clone();
            go(async move {
                let chunk = vec![7; 100_000];
                let mut left = TOTAL;
                while left > 0 {
                    let n = left.min(chunk.len());
                    writer.write_all(&chunk[..n]).await.unwrap();
                    left -= n;
                }
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut buffer = vec![0; 70_000];
            let mut total = 0;
            loop {
                match client.read(&mut buffer).await.unwrap() {
                    0 => break,
                    n => {
                        assert!(buffer[..n].iter().all(|byte| *byte == 7));
                        total += n;
                    }
                }
            }
            assert_eq!(total, TOTAL);
            assert_eq!(echo.await.unwrap().unwrap(), TOTAL as u64);
        });
    });
}

#[test]
fn each_connection_goes_to_one_of_those_that_accept() {
    no_hang(|| {
        gopark::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let acceptors: Vec<_> = (0..20)
                .map(|_| {
                    let listener = listener.clone();
                    go(async move {
                        for _ in 0..10 {
                            let (stream, _) = listener.accept().await.unwrap();
                            stream.write_all(b"!").await.unwrap();
                        }
                    })
                })
                .collect();
            for _ in 0..200 {
                let stream = TcpStream::connect(address).await.unwrap();
                stream.read_exact(&mut [0]).await.unwrap();
            }
            for acceptor in acceptors {
                acceptor.await.unwrap();
            }
        });
    });
}

#[test]
fn datagrams_come_with_their_senders() {
    no_hang(|| {
        gopark::block_on(async {
            let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = server.local_addr().unwrap();
            go(async move {
                let mut buffer = [0; 64];
                loop {
                    let (n, peer) = server.recv_from(&mut buffer).await.unwrap();
                    server.send_to(&buffer[..n], peer).await.unwrap();
                }
            });
            let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            client.connect(address).await.unwrap();
            for i in 0..1_000u32 {
                client.send(&i.to_le_bytes()).await.unwrap();
                let mut back = [0; 4];
                assert_eq!(client.recv(&mut back).await.unwrap(), 4);
                assert_eq!(u32::from_le_bytes(back), i);
            }
        });
    });
}

#[test]
fn a_socket_works_on_another_executor() {
    no_hang(|| {
        let (a, b) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            futures_lite::future::block_on(async move {
                let mut buffer = [0; 5];
                a.read_exact(&mut buffer).await.unwrap();
                a.write_all(&buffer).await.unwrap();
            });
        });
        futures_lite::future::block_on(async move {
            b.write_all(b"hello").await.unwrap();
            let mut buffer = [0; 5];
            b.read_exact(&mut buffer).await.unwrap();
            assert_eq!(&buffer, b"hello");
        });
        thread.join().unwrap();
    });
}

#[test]
fn a_timeout_ends_a_read_and_the_next_one_goes_on() {
    no_hang(|| {
        gopark::block_on(async {
            let (client, server) = pair().await.unwrap();
            let mut buffer = [0; 8];
            let limit = Duration::from_millis(5);
            assert!(gopark::time::timeout(limit, server.read(&mut buffer)).await.is_err());
            client.write_all(b"late").await.unwrap();
            assert_eq!(server.read(&mut buffer).await.unwrap(), 4);
        });
    });
}

#[test]
fn a_timer_is_exact_beside_sockets() {
    no_hang(|| {
        let rt = Runtime::builder().gomaxprocs(1).build().unwrap();
        crate::util::in_time(Duration::from_micros(2_400), || {
            rt.block_on(async {
                let _listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let start = std::time::Instant::now();
                gopark::time::sleep(Duration::from_micros(1_500)).await;
                assert!(start.elapsed() >= Duration::from_micros(1_500));
                start.elapsed()
            })
        });
    });
}

#[test]
fn a_thousand_parked_connections_are_all_woken() {
    no_hang(|| {
        gopark::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = go(async move {
                let mut readers = Vec::new();
                for _ in 0..1_000 {
                    let (stream, _) = listener.accept().await.unwrap();
                    readers.push(go(async move { stream.read(&mut [0; 8]).await.unwrap() }));
                }
                for reader in readers {
                    assert_eq!(reader.await.unwrap(), 0);
                }
            });
            let mut clients = Vec::new();
            for _ in 0..1_000 {
                clients.push(TcpStream::connect(address).await.unwrap());
            }
            drop(clients);
            server.await.unwrap();
        });
    });
}

#[cfg(unix)]
#[test]
fn inspect_shows_the_peer_of_a_socket_that_is_waited_for() {
    use gopark::inspect::{self, GoroutineState, WaitReason};

    no_hang(|| {
        let rt = Runtime::new();
        rt.block_on(async {
            let (client, server) = pair().await.unwrap();
            let peer = client.local_addr().unwrap();
            let by_future = gopark::go_named("future", async move { server.read(&mut [0]).await });
            let (other, mut server) = pair().await.unwrap();
            let other_peer = other.local_addr().unwrap();
            let by_poll = gopark::go_named("poll", async move {
                let mut byte = [0];
                std::future::poll_fn(|cx| {
                    gopark::io::AsyncRead::poll_read(std::pin::Pin::new(&mut server), cx, &mut byte)
                })
                .await
            });
            for (name, peer) in [("future", peer), ("poll", other_peer)] {
                let found = loop {
                    let mut all = inspect::goroutines().into_iter();
                    // It has its name after it has run.
                    let waits = |state| {
                        matches!(state, GoroutineState::Waiting { reason: WaitReason::Io, .. })
                    };
                    let is_it = |goroutine: &inspect::GoroutineInfo| {
                        goroutine.name.as_deref() == Some(name)
                    };
                    if let Some(found) =
                        all.find(|goroutine| is_it(goroutine) && waits(goroutine.state))
                    {
                        break found;
                    }
                    gopark::gosched().await;
                };
                assert_eq!(found.socket.and_then(|socket| socket.peer), Some(peer));
                let line = found.to_string();
                assert!(
                    line.contains("[IO wait, ") && line.contains(&format!(", peer {peer}")),
                    "{line}"
                );
            }
            drop((client, other));
            assert_eq!(
                (by_future.await.unwrap().unwrap(), by_poll.await.unwrap().unwrap()),
                (0, 0)
            );
        });
    });
}

/// Polls `future` at most this many times, each time after it was woken, and then drops it.
async fn limited<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        left -= 1;
        match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(None),
            std::task::Poll::Pending => std::task::Poll::Pending,
        }
    })
    .await
}

/// Sends chunks of these sizes through a stream; each operation on either side is dropped after one
/// to three polls. All bytes arrive once and in order.
macro_rules! drops_at_every_poll {
    ($client:expr, $server:expr) => {{
        const TOTAL: usize = 60_000;
        let (client, server) = ($client, $server);
        let writer = go(async move {
            let mut next = 0usize;
            while next < TOTAL {
                let bytes: Vec<u8> = (next..TOTAL.min(next + fastrand::usize(1..3_000)))
                    .map(|n| (n % 251) as u8)
                    .collect();
                let written = if fastrand::bool() {
                    limited(fastrand::usize(1..=3), client.write(&bytes)).await.map(Result::unwrap)
                } else {
                    let mut stream = &client;
                    let write = std::future::poll_fn(|cx| {
                        gopark::io::AsyncWrite::poll_write(
                            std::pin::Pin::new(&mut stream),
                            cx,
                            &bytes,
                        )
                    });
                    limited(fastrand::usize(1..=3), write).await.map(Result::unwrap)
                };
                match written {
                    Some(n) => next += n,
                    None => gopark::gosched().await,
                }
            }
            client.shutdown(Shutdown::Write).unwrap();
            client
        });
        let mut all = 0usize;
        let mut buffer = vec![0; 4_000];
        loop {
            let room = fastrand::usize(1..buffer.len());
            let read = if fastrand::bool() {
                limited(fastrand::usize(1..=3), server.read(&mut buffer[..room]))
                    .await
                    .map(Result::unwrap)
            } else {
                let mut stream = &server;
                let read = std::future::poll_fn(|cx| {
                    gopark::io::AsyncRead::poll_read(
                        std::pin::Pin::new(&mut stream),
                        cx,
                        &mut buffer[..room],
                    )
                });
                limited(fastrand::usize(1..=3), read).await.map(Result::unwrap)
            };
            match read {
                Some(0) => break,
                Some(n) => {
                    for byte in &buffer[..n] {
                        assert_eq!(*byte, (all % 251) as u8, "byte {all}");
                        all += 1;
                    }
                }
                None => gopark::gosched().await,
            }
        }
        assert_eq!(all, TOTAL);
        writer.await.unwrap();
    }};
}

#[test]
fn operations_that_are_dropped_at_every_poll_lose_no_byte() {
    no_hang(|| {
        for procs in [1, 2, 4] {
            let rt = Runtime::builder().gomaxprocs(procs).build().unwrap();
            rt.block_on(async {
                for _ in 0..5 {
                    let (client, server) = pair().await.unwrap();
                    drops_at_every_poll!(client, server);
                    #[cfg(unix)]
                    {
                        let (client, server) = UnixStream::pair().unwrap();
                        drops_at_every_poll!(client, server);
                    }
                }
            });
        }
    });
}

#[test]
fn accepts_that_are_dropped_at_every_poll_lose_no_connection() {
    no_hang(|| {
        let rt = Runtime::builder().gomaxprocs(2).build().unwrap();
        rt.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let clients = go(async move {
                let mut connected = 0;
                for i in 0..400u32 {
                    // One in four may be dropped.
                    let polls = if i % 4 == 0 { 1 } else { 100 };
                    if let Some(stream) = limited(polls, TcpStream::connect(address)).await {
                        stream.unwrap().write_all(b"!").await.unwrap();
                        connected += 1;
                    }
                }
                connected
            });
            let mut clients = std::pin::pin!(clients);
            let (mut greeted, mut connected) = (0, None);
            while connected != Some(greeted) {
                if connected.is_none() && clients.is_finished() {
                    connected = Some(clients.as_mut().await.unwrap());
                }
                match limited(fastrand::usize(1..=2), listener.accept()).await {
                    None => gopark::gosched().await,
                    Some(accepted) => {
                        let mut byte = [0];
                        greeted += accepted.unwrap().0.read(&mut byte).await.unwrap_or(0);
                    }
                }
            }
        });
    });
}
