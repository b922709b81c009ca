//! Functions that the tests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// A sanitizer makes everything slower: `GOPARK_TEST_PATIENCE=10` allows ten times as long.
fn patience() -> u32 {
    std::env::var("GOPARK_TEST_PATIENCE").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// Runs `body` on a thread of its own and fails, with the test's name, if it takes longer than
/// `limit`, times `patience`.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    body: impl FnOnce() -> T + Send + 'static,
) -> T {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let limit = limit * patience();
    let (done, result) = mpsc::channel();
    let thread = thread::Builder::new().name(name.clone()).spawn(move || {
        let value = body();
        let _ = done.send(());
        value
    });
    let thread = thread.expect("a thread for the test");
    match result.recv_timeout(limit) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{name} hangs: not done after {limit:?}"),
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
            thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
        }
    }
}

/// `within` a time that only a hang exceeds.
pub(crate) fn no_hang<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    within(Duration::from_secs(120), body)
}

/// Fails if `attempt` takes `limit` or longer in each of ten attempts, and in all attempts of two
/// seconds. A bug that makes it wait does so in every attempt; a busy machine delays some attempts,
/// and rarely all.
#[track_caller]
pub(crate) fn in_time(limit: Duration, mut attempt: impl FnMut() -> Duration) {
    let (mut attempts, start) = (Vec::new(), Instant::now());
    while attempts.len() < 10 || start.elapsed() < Duration::from_secs(2) {
        let took = attempt();
        if took < limit {
            return;
        }
        attempts.push(took);
    }
    panic!("not within {limit:?}: it took {attempts:?}");
}

/// Fails unless one of ten attempts has the expected result. For an order that a worker keeps as long
/// as the monitor does not take its processor, which it does if a busy machine stops the thread for
/// more than 10 ms.
#[track_caller]
pub(crate) fn undisturbed<T: PartialEq + std::fmt::Debug>(
    expected: T,
    mut attempt: impl FnMut() -> T,
) {
    let mut last = attempt();
    for _ in 1..10 {
        if last == expected {
            return;
        }
        last = attempt();
    }
    assert_eq!(last, expected, "the last of ten attempts");
}

/// A waker that counts its wakes.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::new(Self::default());
        (wakes.clone(), Waker::from(wakes))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The name of the running test, as the command line of a test binary takes it.
fn test_name() -> String {
    let thread = thread::current();
    thread.name().expect("a test's thread has the test's name").to_owned()
}

const CHILD: &str = "GOPARK_TEST_CHILD";

/// How a child process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stderr: String,
}

/// Runs the calling test once more, in a process of its own, with `env`. There this returns `None`,
/// and the test does its work. In the parent it returns how the child ended. A child that hangs is
/// killed after two minutes.
pub(crate) fn in_child(env: &[(&str, &str)]) -> Option<Ended> {
    use std::io::Read;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let name = test_name();
    let mut command = Command::new(std::env::current_exe().expect("the test binary"));
    command
        .args([&name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .env_remove("RUST_BACKTRACE");
    command
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("a child process");
    let mut pipe = child.stderr.take().expect("piped");
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let deadline = Instant::now() + Duration::from_secs(120) * patience();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child's status") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "{name} hangs in its child process; it had printed:\n{}",
                reader.join().unwrap_or_default()
            );
        }
        thread::sleep(Duration::from_millis(2)); // asleep: between two looks at another process
    };
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal = None;
    Some(Ended { code: status.code(), signal, stderr: reader.join().unwrap_or_default() })
}

/// Runs `body` in a process of its own; it must return.
pub(crate) fn isolated(body: impl FnOnce()) {
    match in_child(&[]) {
        None => body(),
        Some(ended) => assert!(ended.code == Some(0), "the child failed: {ended:#?}"),
    }
}

/// Counts drops.
#[derive(Clone, Default, Debug)]
pub(crate) struct Drops(Arc<AtomicUsize>);

/// A value whose drop is counted.
#[derive(Debug)]
pub(crate) struct Counted(Drops);

impl Drops {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One more value to be counted.
    pub(crate) fn one(&self) -> Counted {
        Counted(self.clone())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A runtime with `n` processors.
pub(crate) fn rt(n: usize) -> gopark::Runtime {
    gopark::Runtime::builder().gomaxprocs(n).build().expect("a runtime")
}

/// A closure that runs when this is dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Lets the other threads run until `ready` returns true.
pub(crate) fn spin_until(ready: impl Fn() -> bool) {
    while !ready() {
        thread::yield_now();
    }
}
