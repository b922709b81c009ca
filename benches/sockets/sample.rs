//! A sample: a server of one contender and its client, each in a process of its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::cases::Case;
use super::load::Load;
use super::machine;
use super::serve::Kind;
use crate::common::peers;

/// The results of a sample, by name.
pub(crate) type Figures = BTreeMap<String, f64>;

/// The figures of a sample, or why there are none.
pub(crate) type Outcome = Result<Figures, String>;

/// A sample is disturbed if other processes used more than this share of a processor meanwhile.
pub(crate) const QUIET: f64 = 0.1;

/// The client's core, which the server shares if it has two processors.
const CLIENT: [usize; 1] = [1];

/// A server that prints nothing for this long has failed to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// A sample that is disturbed is taken again, at most this often.
const ATTEMPTS: usize = 3;

/// The share that other processes used meanwhile. It is unknown if nothing was timed.
pub(crate) fn others(figures: &Figures) -> f64 {
    figures.get("others").copied().unwrap_or_default()
}

/// The length of the samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Length {
    /// What is measured, after half of that to warm up.
    pub(crate) run: Duration,
    /// With few idle connections, and never again: to check that it works.
    pub(crate) quick: bool,
}

/// Runs the samples.
#[derive(Debug)]
pub(crate) struct Bench {
    me: PathBuf,
    go: Result<PathBuf, String>,
}

impl Bench {
    pub(crate) fn new() -> Result<Self, String> {
        machine::many_files().map_err(said)?;
        let dir = peers::scratch("net");
        std::fs::create_dir_all(&dir).map_err(said)?;
        Ok(Self { me: peers::me(), go: peers::build_go("./net", &dir.join("go-server")) })
    }

    /// The least disturbed of some samples.
    pub(crate) fn quiet_sample(
        &self,
        case: &Case,
        contender: &str,
        procs: usize,
        length: Length,
    ) -> Outcome {
        let mut quietest = self.sample(case, contender, procs, length)?;
        for _ in 1..ATTEMPTS {
            if length.quick || others(&quietest) <= QUIET {
                break;
            }
            let again = self.sample(case, contender, procs, length)?;
            if others(&again) < others(&quietest) {
                quietest = again;
            }
        }
        Ok(quietest)
    }

    fn sample(&self, case: &Case, contender: &str, procs: usize, length: Length) -> Outcome {
        let mut server = Server::start(self.server(case.kind, contender, procs)?, procs)?;
        let load = Load {
            kind: case.kind,
            port: server.port,
            pid: server.child.id(),
            connections: case.connections,
            idle: if length.quick { case.idle.min(100) } else { case.idle },
            warm: length.run / 2,
            run: length.run,
        };
        let mut command = Command::new(&self.me);
        command.arg("load").args(load.words());
        let answer = machine::on_cores(&CLIENT, || command.output())
            .and_then(|result| result)
            .map_err(said)?;
        if !answer.status.success() {
            return Err(String::from_utf8_lossy(&answer.stderr).trim().to_owned());
        }
        let mut figures = figures(&String::from_utf8_lossy(&answer.stdout));
        figures.extend(self::figures(&server.end().map_err(said)?));
        Ok(figures)
    }

    fn server(&self, kind: Kind, contender: &str, procs: usize) -> Result<Command, String> {
        let mut command =
            Command::new(if contender == "go" { self.go.as_ref()? } else { &self.me });
        match contender {
            "go" => command.env("GOMAXPROCS", procs.to_string()).arg(kind.to_string()),
            _ => command.args(["serve", &kind.to_string(), contender, &procs.to_string()]),
        };
        Ok(command)
    }
}

fn said(error: std::io::Error) -> String {
    error.to_string()
}

/// Parses `name number name number`.
fn figures(text: &str) -> Figures {
    let words: Vec<&str> = text.split_whitespace().collect();
    words
        .chunks(2)
        .filter_map(|pair| Some((pair[0].to_owned(), pair.get(1)?.parse().ok()?)))
        .collect()
}

/// A running server. It is killed when it is dropped.
struct Server {
    child: Child,
    port: u16,
    says: BufReader<ChildStdout>,
}

impl Server {
    /// With one processor on the core that is not the client's, otherwise on all that the system
    /// has.
    fn start(mut command: Command, procs: usize) -> Result<Self, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let cores: Vec<usize> = (0..procs).collect();
        let mut child = machine::on_cores(&cores, || command.spawn())
            .and_then(|result| result)
            .map_err(said)?;
        let mut says = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = says.read_line(&mut line);
            _ = sender.send(read.map(|_| (line, says)));
        });
        let first = receiver.recv_timeout(PATIENCE).map_err(|error| error.to_string());
        let started = first.and_then(|read| read.map_err(said)).and_then(|(line, says)| {
            let port = line.trim().parse().map_err(|_| format!("said {line:?} for a port"))?;
            Ok((port, says))
        });
        match started {
            Ok((port, says)) => Ok(Self { child, port, says }),
            Err(reason) => {
                kill(&mut child);
                Err(format!("the server does not start: {reason}"))
            }
        }
    }

    /// Ends it, and returns what it prints at the end.
    fn end(&mut self) -> std::io::Result<String> {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        self.says.read_to_string(&mut rest)?;
        Ok(rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

fn kill(child: &mut Child) {
    // It may have ended by itself.
    _ = child.kill();
    _ = child.wait();
}
