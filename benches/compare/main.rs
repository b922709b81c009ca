//! gopark compared with its peers, by one command: `cargo bench --bench compare`. `../README.md`
//! says how to read the results.
//!
//! The flow: `spec` says what to measure, this file requests each measurement in turn, `processes`
//! runs it in a process of its own (which is this program again, in `contenders`, `coroutines` or
//! `../sockets`), `report` and `chart` write the results.

#[path = "../common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
#[path = "../sockets/mod.rs"]
mod sockets;

mod answer;
mod chart;
mod contenders;
mod coroutines;
mod processes;
mod report;
mod spec;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Instant;

use processes::Bench;
use report::{Outcome, Row, Run};
use spec::{CASES, CONTENDERS, Case, How};

#[derive(Debug)]
struct Options {
    rounds: usize,
    quick: bool,
    build: bool,
    out: PathBuf,
    words: Vec<String>,
}

const HELP: &str = "\
cargo bench --bench compare -- [OPTIONS] [WORD…]

WORD        only cases with one of the words in their name or group
--rounds R  the number of measurements of each, whose median counts (5)
--quick     small numbers, one round: to check that it works
--build     also builds the smallest program of each, for its size and the time
--out DIR   the directory of the results (compare in the target directory; the published ones are
            in benches/results)
--list      the names of the cases
";

fn options(args: &[String]) -> Result<Options, String> {
    let out = processes::scratch();
    let mut options = Options { rounds: 0, quick: false, build: false, out, words: Vec::new() };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--bench" => {}
            "--quick" => options.quick = true,
            "--build" => options.build = true,
            "--rounds" => {
                options.rounds =
                    value()?.parse().map_err(|_| "--rounds needs a number".to_owned())?
            }
            // cargo starts a bench in the directory of its package.
            "--out" => options.out = common::peers::root().join(value()?),
            _ if arg.starts_with('-') => return Err(format!("{arg} is unknown\n\n{HELP}")),
            _ => options.words.push(arg.clone()),
        }
    }
    if let Some(word) =
        options.words.iter().find(|word| spec::wanted(std::slice::from_ref(word)).is_empty())
    {
        return Err(format!("no case has {word} in its name: --list gives the names"));
    }
    if options.rounds == 0 {
        options.rounds = if options.quick { 1 } else { 5 };
    }
    Ok(options)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| args.iter().any(|arg| arg == word);
    #[cfg(target_os = "linux")]
    if let Some(result) = sockets::command(&args) {
        return result.unwrap_or_else(|error| fail(&error));
    }
    match &args[..] {
        [word, contender, procs, case, n] if word == "measure" => {
            return answer(
                contender,
                case,
                procs.parse().expect("a number"),
                n.parse().expect("a number"),
            );
        }
        _ if has("--help") => return print!("{HELP}"),
        _ if has("--list") => {
            return CASES.iter().for_each(|case| println!("{}: benchmark", case.name));
        }
        // `cargo test` only checks that it starts.
        _ if !common::measures() => return,
        _ => {}
    }
    match options(&args) {
        Ok(options) => compare(&options),
        Err(error) => fail(&error),
    }
}

fn fail(error: &str) {
    eprintln!("{error}");
    std::process::exit(2);
}

/// The other end of [`Bench::measure`].
fn answer(contender: &str, case: &str, procs: usize, n: u64) {
    if case == "nothing" {
        if !contenders::start(contender, procs) {
            println!("none: a channel only: what it runs on is tokio's");
        }
        return;
    }
    match contenders::measure(contender, case, procs, n) {
        Ok(figures) => {
            println!("{}", figures.iter().map(f64::to_string).collect::<Vec<_>>().join(" "))
        }
        Err(reason) => println!("none: {reason}"),
    }
    // Goroutines that still wait need not be stopped and freed.
    std::process::exit(0);
}

/// One measurement of a round: the case, with this many processors.
type Place = (usize, usize);

fn compare(options: &Options) {
    let cases = spec::wanted(&options.words);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut places: Vec<Place> = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        match case.how {
            How::Build => places.push((at, 0)),
            _ if cores == 1 => places.push((at, 1)),
            _ => places.extend([(at, 1), (at, cores)]),
        }
    }
    // Read now, because the tree may change while this runs.
    let origin = report::origin(options.rounds, options.quick);
    let bench = Bench::new(options.build, options.quick);
    let mut progress = Progress::new(options.rounds * places.len() * CONTENDERS.len());
    let mut found: BTreeMap<(Place, usize), Vec<Outcome>> = BTreeMap::new();
    for round in 0..options.rounds {
        for &place in &places {
            let case: &Case = cases[place.0];
            let n = if options.quick { case.quick } else { case.n };
            for turn in 0..CONTENDERS.len() {
                // The order changes from round to round.
                let column = (turn + round) % CONTENDERS.len();
                let outcomes = found.entry((place, column)).or_default();
                progress.step(case.name, CONTENDERS[column], place.1);
                // A build takes the same time in each round, and what fails once fails again.
                let once = case.how == How::Build || outcomes.last().is_some_and(Result::is_err);
                if outcomes.is_empty() || !once {
                    outcomes.push(bench.measure(case, CONTENDERS[column], place.1, n));
                }
            }
        }
    }
    progress.end();
    let row = |place: &Place, part: usize| Row {
        case: cases[place.0],
        part,
        procs: place.1,
        cells: (0..CONTENDERS.len())
            .map(|column| report::cell(&found[&(*place, column)], part))
            .collect(),
    };
    let rows: Vec<Row> = places
        .iter()
        .flat_map(|place| (0..cases[place.0].parts.len()).map(move |part| row(place, part)))
        .collect();
    let run = Run { rows, quick: options.quick, cores, origin };
    report::write(&run, &chart::all(&run), &options.out).unwrap_or_else(|error| {
        eprintln!("{}: {error}", options.out.display());
        std::process::exit(1);
    });
    eprintln!("{}", options.out.join("compare.md").display());
}

/// A progress bar on a terminal; elsewhere a line now and then.
struct Progress {
    done: usize,
    all: usize,
    start: Instant,
    terminal: bool,
}

impl Progress {
    fn new(all: usize) -> Self {
        Self { done: 0, all, start: Instant::now(), terminal: std::io::stderr().is_terminal() }
    }

    fn step(&mut self, case: &str, contender: &str, procs: usize) {
        let (done, all) = (self.done, self.all);
        self.done += 1;
        let left = self.start.elapsed().as_secs_f64() / done.max(1) as f64 * (all - done) as f64;
        let left = if done < 10 {
            "…".to_owned()
        } else {
            format!("{}:{:02}", left as u64 / 60, left as u64 % 60)
        };
        let now = format!("{done}/{all}, {left} left: {case}, {contender}, {procs}");
        if self.terminal {
            const WIDTH: usize = 30;
            let full = WIDTH * done / all;
            eprint!("\r\x1b[K[{}{}] {now}", "#".repeat(full), "-".repeat(WIDTH - full));
            let _ = std::io::stderr().flush();
        } else if done * 20 / all != (done + 1) * 20 / all {
            eprintln!("{now}");
        }
    }

    fn end(&self) {
        let took = self.start.elapsed().as_secs();
        eprintln!(
            "{}{} measurements in {}:{:02}",
            if self.terminal { "\r\x1b[K" } else { "" },
            self.all,
            took / 60,
            took % 60
        );
    }
}
