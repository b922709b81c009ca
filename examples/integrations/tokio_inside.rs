//! tokio's libraries inside goroutines, without a wrapper: each worker enters a tokio runtime once,
//! when it starts.
//!
//! tokio's threads watch the sockets and the clock. gopark's workers poll the goroutines, and
//! tokio's futures in them.

use std::time::Duration;

use gopark::{Runtime, chan, go};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A runtime whose goroutines are inside tokio. The tokio runtime lives as long as the process.
fn runtime() -> Runtime {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let tokio: &'static tokio::runtime::Runtime =
        Box::leak(Box::new(tokio.expect("a thread for tokio")));
    // The thread stays inside tokio until it ends.
    let enter = || std::mem::forget(tokio.enter());
    Runtime::builder().thread_name("inside").on_thread_start(enter).build().expect("a thread")
}

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n]).await?,
        }
    }
}

async fn example() -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    go(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            go(async move {
                if let Err(error) = echo(stream).await {
                    eprintln!("{peer}: {error}");
                }
            });
        }
    });

    let (heard, replies) = chan::unbuffered();
    for name in ["ann", "bob", "eve"] {
        go!([heard] async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // tokio's timers, as its libraries use them.
            tokio::time::sleep(Duration::from_millis(1)).await;
            stream.write_all(name.as_bytes()).await.unwrap();
            let mut reply = [0; 3];
            stream.read_exact(&mut reply).await.unwrap();
            assert!(std::thread::current().name().unwrap().starts_with("inside"));
            heard.send(String::from_utf8(reply.to_vec()).unwrap()).await.unwrap();
        });
    }
    drop(heard);
    let mut names = Vec::new();
    while let Some(name) = replies.recv().await {
        names.push(name);
    }
    names.sort();
    println!("heard {names:?}");
    assert_eq!(names, ["ann", "bob", "eve"]);
    Ok(())
}

fn main() -> std::io::Result<()> {
    runtime().block_on(example())
}
