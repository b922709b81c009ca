//! `load KIND PORT PID CONNECTIONS IDLE WARM_MS RUN_MS`: the client of every contender, one
//! thread with a closed loop on each connection. Prints what it measured, and what the server PID
//! used meanwhile.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use super::machine;
use super::serve::Kind;

/// A server without an answer for this long hangs.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
    pub(crate) pid: u32,
    pub(crate) connections: usize,
    /// Additional connections that send one request, and then stay open.
    pub(crate) idle: usize,
    pub(crate) warm: Duration,
    pub(crate) run: Duration,
}

impl Load {
    /// The words of a command line, which [`Load::read`] reads.
    pub(crate) fn words(&self) -> [String; 7] {
        [
            self.kind.to_string(),
            self.port.to_string(),
            self.pid.to_string(),
            self.connections.to_string(),
            self.idle.to_string(),
            self.warm.as_millis().to_string(),
            self.run.as_millis().to_string(),
        ]
    }

    pub(crate) fn read(words: &[String]) -> Result<Self, String> {
        fn number<T: FromStr>(word: &str) -> Result<T, String> {
            word.parse().map_err(|_| format!("{word} is no such number"))
        }
        let [kind, port, pid, connections, idle, warm, run] = words else {
            return Err("load KIND PORT PID CONNECTIONS IDLE WARM_MS RUN_MS".to_owned());
        };
        Ok(Self {
            kind: kind.parse()?,
            port: number(port)?,
            pid: number(pid)?,
            connections: number(connections)?,
            idle: number(idle)?,
            warm: Duration::from_millis(number(warm)?),
            run: Duration::from_millis(number(run)?),
        })
    }

    pub(crate) fn run(&self) -> Result<(), String> {
        let figures = match self.kind {
            Kind::Mem => self.park().map(|bytes| println!("bytes {bytes}")),
            Kind::Accept => self.come_and_go().and_then(|window| window.print()),
            _ => self.ask().and_then(|window| window.print()),
        };
        figures.map_err(|error| error.to_string())
    }

    fn request(&self) -> &'static [u8] {
        match self.kind {
            Kind::Http => b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
            _ => &[7; 64],
        }
    }

    /// A connection that leaves nothing in the system when it is closed.
    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        Ok(stream)
    }

    /// One that has been served. All answers are as long as the first one.
    fn served(&self, answer: &mut Vec<u8>) -> io::Result<TcpStream> {
        let mut stream = self.connect()?;
        stream.write_all(self.request())?;
        if answer.is_empty() {
            while match self.kind {
                Kind::Http => !answer.ends_with(b"hello, world"),
                _ => answer.len() < self.request().len(),
            } {
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                answer.extend(byte);
            }
        } else {
            stream.read_exact(answer)?;
        }
        Ok(stream)
    }

    fn many_served(&self, n: usize, answer: &mut Vec<u8>) -> io::Result<Vec<TcpStream>> {
        (0..n).map(|_| self.served(answer)).collect()
    }

    /// The bytes that the server needs for one of `idle` connections, which wait for a request.
    /// Other connections come before them, so that whatever starts late has started.
    fn park(&self) -> io::Result<u64> {
        let answer = &mut Vec::new();
        let _first = self.many_served(self.connections, answer)?;
        let settled = || {
            thread::sleep(self.warm);
            machine::resident(self.pid)
        };
        let before = settled()?;
        let _parked = self.many_served(self.idle, answer)?;
        Ok(settled()?.saturating_sub(before) / self.idle as u64)
    }

    /// Sends a request on each connection, and the next one when the answer has arrived.
    fn ask(&self) -> io::Result<Window> {
        let answer = &mut Vec::new();
        let _idle = self.many_served(self.idle, answer)?;
        let mut poll = Poll::new()?;
        let mut asking = Vec::new();
        for (at, stream) in self.many_served(self.connections, answer)?.into_iter().enumerate() {
            asking.push(Asking::start(stream, &poll, at)?);
        }
        let mut window = Window::new(self);
        for connection in &mut asking {
            connection.ask(self.request())?;
        }
        let mut events = Events::with_capacity(256);
        let mut buffer = [0; 4096];
        while window.is_open()? {
            wait(&mut poll, &mut events)?;
            for event in &events {
                let connection = &mut asking[event.token().0];
                connection.got += match connection.stream.read(&mut buffer) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    read => read?,
                };
                // No more than that is in flight, so nothing was left in the buffer.
                if connection.got == answer.len() {
                    window.record(connection.sent.elapsed());
                    connection.ask(self.request())?;
                }
            }
        }
        Ok(window)
    }

    /// This many connections at a time, each of which ends when it was greeted.
    fn come_and_go(&self) -> io::Result<Window> {
        let mut poll = Poll::new()?;
        let start = |at, poll: &Poll| {
            let sent = Instant::now();
            Ok::<_, io::Error>(Asking { sent, ..Asking::start(self.connect()?, poll, at)? })
        };
        let mut coming = Vec::new();
        for at in 0..self.connections {
            coming.push(start(at, &poll)?);
        }
        let mut window = Window::new(self);
        let mut events = Events::with_capacity(256);
        while window.is_open()? {
            wait(&mut poll, &mut events)?;
            for event in &events {
                let at = event.token().0;
                let read = coming[at].stream.read(&mut [0]);
                if read.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                    continue;
                }
                read?;
                window.record(coming[at].sent.elapsed());
                coming[at] = start(at, &poll)?;
            }
        }
        Ok(window)
    }
}

fn wait(poll: &mut Poll, events: &mut Events) -> io::Result<()> {
    poll.poll(events, Some(PATIENCE))?;
    if events.is_empty() { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
}

struct Asking {
    stream: mio::net::TcpStream,
    got: usize,
    sent: Instant,
}

impl Asking {
    fn start(stream: TcpStream, poll: &Poll, at: usize) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(at), Interest::READABLE)?;
        Ok(Self { stream, got: 0, sent: Instant::now() })
    }

    fn ask(&mut self, request: &[u8]) -> io::Result<()> {
        (self.got, self.sent) = (0, Instant::now());
        // So few bytes always fit.
        self.stream.write_all(request)
    }
}

/// The time that is measured, after the warm-up.
struct Window {
    pid: u32,
    warm_until: Instant,
    run: Duration,
    counting: Option<Counting>,
    latencies: Vec<u32>,
    /// Per request, computed at the end.
    used: Used,
}

#[derive(Clone, Copy, Default)]
struct Used {
    wall: f64,
    cpu: f64,
    others: f64,
}

struct Counting {
    since: Instant,
    cpu: u64,
    others: u64,
}

impl Window {
    fn new(load: &Load) -> Self {
        Self {
            pid: load.pid,
            warm_until: Instant::now() + load.warm,
            run: load.run,
            counting: None,
            latencies: Vec::with_capacity(1 << 20),
            used: Used::default(),
        }
    }

    /// The CPU time of the server, and of all processes other than it and this one.
    fn used(&self) -> io::Result<(u64, u64)> {
        let cpu = machine::run_time(self.pid)?;
        let all = machine::busy()?;
        Ok((cpu, all.saturating_sub(cpu + machine::run_time(std::process::id())?)))
    }

    fn is_open(&mut self) -> io::Result<bool> {
        let now = Instant::now();
        match &self.counting {
            None if now < self.warm_until => {}
            None => {
                self.latencies.clear();
                let (cpu, others) = self.used()?;
                self.counting = Some(Counting { since: Instant::now(), cpu, others });
            }
            Some(counting) if now - counting.since < self.run => {}
            Some(counting) => {
                let wall = (now - counting.since).as_nanos() as f64;
                let (cpu, others) = self.used()?;
                self.used = Used {
                    wall,
                    cpu: cpu.saturating_sub(counting.cpu) as f64,
                    others: others.saturating_sub(counting.others) as f64 / wall,
                };
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn record(&mut self, latency: Duration) {
        self.latencies.push(u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX));
    }

    fn print(mut self) -> io::Result<()> {
        let n = self.latencies.len();
        if n == 0 {
            return Err(io::Error::new(ErrorKind::TimedOut, "no answer in the time that counts"));
        }
        self.latencies.sort_unstable();
        let quantile =
            |share: f64| f64::from(self.latencies[((n - 1) as f64 * share) as usize]) / 1e3;
        let each = |nanos: f64| nanos / n as f64 / 1e3;
        let Used { wall, cpu, others } = self.used;
        let (p50, p99) = (quantile(0.5), quantile(0.99));
        println!(
            "time {:.3} p50 {p50} p99 {p99} cpu {:.3} others {others:.2}",
            each(wall),
            each(cpu)
        );
        Ok(())
    }
}
