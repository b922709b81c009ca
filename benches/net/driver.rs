//! The command line, the cases, and the samples.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::common::{measures, peers};
use crate::load::Load;
use crate::machine;
use crate::report::{self, Figures, Outcome, QUIET, Row};
use crate::serve::{self, Kind};

/// The others are compared with tokio.
const CONTENDERS: [&str; 4] = ["tokio", "gopark", "async-io", "go"];

/// The client's core, which the server shares if it has two processors.
const CLIENT: [usize; 1] = [1];

/// A server that prints nothing for this long has failed to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// A sample that is disturbed is taken again, at most this often.
const ATTEMPTS: usize = 3;

#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    kind: Kind,
    connections: usize,
    idle: usize,
}

const CASES: [Case; 11] = [
    Case { name: "http_64", kind: Kind::Http, connections: 64, idle: 0 },
    Case { name: "echo_1", kind: Kind::Echo, connections: 1, idle: 0 },
    Case { name: "echo_100", kind: Kind::Echo, connections: 100, idle: 0 },
    Case { name: "echo_1000", kind: Kind::Echo, connections: 1000, idle: 0 },
    Case { name: "echo_50", kind: Kind::Echo, connections: 50, idle: 0 },
    Case { name: "echo_50_of_10000", kind: Kind::Echo, connections: 50, idle: 9950 },
    Case { name: "hogs_8", kind: Kind::Hogs, connections: 8, idle: 0 },
    Case { name: "yielding_hogs_8", kind: Kind::Yields, connections: 8, idle: 0 },
    Case { name: "ping_pong_64", kind: Kind::PingPong, connections: 64, idle: 0 },
    Case { name: "accept_16", kind: Kind::Accept, connections: 16, idle: 0 },
    Case { name: "parked_8000", kind: Kind::Mem, connections: 200, idle: 8000 },
];

const HELP: &str = "\
cargo bench --bench net -- [OPTIONS] [WORD…]     samples of all cases, as a table
net serve KIND CONTENDER PROCS                   a server of the kind echo, mem, hogs, yields,
                                                 pingpong, accept or http
net load KIND PORT PID CONNECTIONS IDLE WARM_MS RUN_MS    its client

WORD           only cases with one of the words in their name, and contenders of that name
--procs P      only with this number of processors
--rounds R     the number of samples of each (5)
--ms MS        the duration of a sample, after half of that to warm up (600)
--quick        one round of short samples, with few idle connections: to check that it works
";

#[derive(Debug)]
struct Options {
    words: Vec<String>,
    procs: Vec<usize>,
    rounds: usize,
    run: Duration,
    quick: bool,
}

fn options(args: &[String]) -> Result<Options, String> {
    let run = Duration::from_millis(600);
    let mut options =
        Options { words: Vec::new(), procs: vec![1, 2], rounds: 5, run, quick: !measures() };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut number = || {
            let word = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
            word.parse().map_err(|_| format!("{arg} needs a number"))
        };
        match arg.as_str() {
            "--bench" | "--test" => {}
            "--quick" => options.quick = true,
            "--procs" => options.procs = vec![number()?],
            "--rounds" => options.rounds = number()?,
            "--ms" => options.run = Duration::from_millis(number()? as u64),
            _ if arg.starts_with('-') => return Err(format!("{arg} is unknown\n\n{HELP}")),
            _ => options.words.push(arg.clone()),
        }
    }
    if options.quick {
        options.rounds = 1;
        options.run = Duration::from_millis(20);
    }
    Ok(options)
}

pub(crate) fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match &args[..] {
        [word, kind, contender, procs] if word == "serve" => (kind.parse()).and_then(|kind| {
            serve::serve(
                kind,
                contender,
                procs.parse().map_err(|_| format!("{procs} processors?"))?,
            )
        }),
        [word, rest @ ..] if word == "load" => Load::read(rest).and_then(|load| load.run()),
        _ if args.iter().any(|arg| arg == "--help") => {
            print!("{HELP}");
            Ok(())
        }
        _ => options(&args).and_then(|options| compare(&options)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn compare(options: &Options) -> Result<(), String> {
    let named = |name: &str| options.words.iter().any(|word| name.contains(word.as_str()));
    // Words that name no case, or no contender, exclude none.
    let wanted = |name: &str, among: &[&str]| named(name) || !among.iter().any(|name| named(name));
    let cases: Vec<&Case> =
        CASES.iter().filter(|case| wanted(case.name, &CASES.each_ref().map(|c| c.name))).collect();
    let contenders: Vec<&str> =
        CONTENDERS.into_iter().filter(|name| wanted(name, &CONTENDERS)).collect();
    machine::many_files().map_err(|error| error.to_string())?;
    let bench = Bench::new().map_err(|error| error.to_string())?;
    println!("{}", report::HEAD);
    for case in cases {
        for &procs in &options.procs {
            let mut outcomes: BTreeMap<&str, Vec<Outcome>> = BTreeMap::new();
            for round in 0..options.rounds {
                // The first one comes last in the next round.
                let mut turn = contenders.clone();
                if round % 2 == 1 {
                    turn.reverse();
                }
                for contender in turn {
                    outcomes
                        .entry(contender)
                        .or_default()
                        .push(bench.quiet_sample(case, contender, procs, options));
                }
            }
            let rows =
                contenders.iter().map(|name| Row { contender: name, outcomes: &outcomes[name] });
            println!("{}", report::rows(case.name, procs, &rows.collect::<Vec<_>>()));
        }
    }
    Ok(())
}

/// Runs the samples.
struct Bench {
    me: PathBuf,
    go: Result<PathBuf, String>,
}

impl Bench {
    fn new() -> std::io::Result<Self> {
        let dir = peers::scratch("net");
        std::fs::create_dir_all(&dir)?;
        Ok(Self { me: peers::me(), go: peers::build_go("./net", &dir.join("go-server")) })
    }

    /// The least disturbed of some samples.
    fn quiet_sample(
        &self,
        case: &Case,
        contender: &str,
        procs: usize,
        options: &Options,
    ) -> Outcome {
        let mut quietest = self.sample(case, contender, procs, options)?;
        for _ in 1..ATTEMPTS {
            if options.quick || report::others(&quietest) <= QUIET {
                break;
            }
            let again = self.sample(case, contender, procs, options)?;
            if report::others(&again) < report::others(&quietest) {
                quietest = again;
            }
        }
        Ok(quietest)
    }

    fn sample(&self, case: &Case, contender: &str, procs: usize, options: &Options) -> Outcome {
        let mut server = Server::start(self.server(case.kind, contender, procs)?, procs)?;
        let load = Load {
            kind: case.kind,
            port: server.port,
            pid: server.child.id(),
            connections: case.connections,
            idle: if options.quick { case.idle.min(100) } else { case.idle },
            warm: options.run / 2,
            run: options.run,
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
