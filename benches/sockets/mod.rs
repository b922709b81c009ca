//! The servers and the client of the network's cases, which `net` and `compare` measure.
//! `../README.md` describes each case.
//!
//! `cases` lists them. `sample` runs a server and a client, each in a process of its own, which is
//! the bench's own program again: `serve`, over the sockets of `contenders`, and `load`.

#![allow(dead_code)] // each bench uses a part of it

pub(crate) mod cases;
pub(crate) mod contenders;
pub(crate) mod load;
pub(crate) mod machine;
pub(crate) mod sample;
pub(crate) mod serve;

pub(crate) const HELP: &str = "\
serve KIND CONTENDER PROCS    a server of the kind echo, mem, hogs, yields, pingpong, accept, http
load KIND PORT PID CONNECTIONS IDLE WARM_MS RUN_MS    its client
";

/// Runs a command of [`HELP`], if the arguments are one.
pub(crate) fn command(args: &[String]) -> Option<Result<(), String>> {
    match args {
        [word, kind, contender, procs] if word == "serve" => Some(kind.parse().and_then(|kind| {
            let procs = procs.parse().map_err(|_| format!("{procs} processors?"))?;
            serve::serve(kind, contender, procs)
        })),
        [word, rest @ ..] if word == "load" => {
            Some(load::Load::read(rest).and_then(|load| load.run()))
        }
        _ => None,
    }
}
