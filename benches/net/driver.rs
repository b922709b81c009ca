//! The command line, and the order of the samples.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use crate::common::measures;
use crate::report::{self, Row};
use crate::sockets;
use crate::sockets::cases::{CASES, Case};
use crate::sockets::sample::{Bench, Length, Outcome};

/// The others are compared with tokio.
const CONTENDERS: [&str; 4] = ["tokio", "gopark", "async-io", "go"];

const HELP: &str = "\
cargo bench --bench net -- [OPTIONS] [WORD…]     samples of all cases, as a table

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
    let result = sockets::command(&args).unwrap_or_else(|| {
        if args.iter().any(|arg| arg == "--help") {
            print!("{HELP}\nThe parts of a sample alone, after the path of this program:\n");
            print!("{}", sockets::HELP);
            return Ok(());
        }
        options(&args).and_then(|options| compare(&options))
    });
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
    let bench = Bench::new()?;
    let length = Length { run: options.run, quick: options.quick };
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
                        .push(bench.quiet_sample(case, contender, procs, length));
                }
            }
            let rows =
                contenders.iter().map(|name| Row { contender: name, outcomes: &outcomes[name] });
            println!("{}", report::rows(case.name, procs, &rows.collect::<Vec<_>>()));
        }
    }
    Ok(())
}
