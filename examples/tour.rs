//! A tour of Go's concurrency in Rust, program by program: `cargo run --release --example tour`.
//!
//! Each program has a heading and a few words on what it shows. Its output follows. Some outputs
//! differ from run to run, and the text then says why. Name chapters to run only those:
//! `cargo run --release --example tour -- channels select`.

use std::process::ExitCode;
use std::time::Instant;

#[path = "tour/channels.rs"]
mod channels;
#[path = "tour/context.rs"]
mod context;
#[path = "tour/golang.rs"]
mod golang;
#[path = "tour/goroutines.rs"]
mod goroutines;
#[path = "tour/inspect.rs"]
mod inspect;
#[path = "tour/net.rs"]
mod net;
#[path = "tour/select.rs"]
mod select;
#[path = "tour/sync.rs"]
mod sync;

struct Chapter {
    name: &'static str,
    about: &'static str,
    run: fn(),
}

const CHAPTERS: &[Chapter] = &[
    Chapter {
        name: "goroutines",
        about: "start, join, share; what a goroutine and a switch cost, next to Go",
        run: goroutines::chapter,
    },
    Chapter {
        name: "sync",
        about: "WaitGroup, Mutex, RwMutex, Cond, Once, Pool",
        run: sync::chapter,
    },
    Chapter {
        name: "channels",
        about: "directions, buffers, close, nil channels, ownership, values that come back",
        run: channels::chapter,
    },
    Chapter {
        name: "select",
        about: "uniform choice, time-outs, default, loops, arms that are switched off",
        run: select::chapter,
    },
    Chapter {
        name: "context",
        about: "cancellation, deadlines, causes, values",
        run: context::chapter,
    },
    Chapter { name: "net", about: "a server, and the latency of its requests", run: net::chapter },
    Chapter { name: "inspect", about: "dumps of all goroutines, and leaks", run: inspect::chapter },
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) =
        wanted.iter().find(|name| !CHAPTERS.iter().any(|chapter| chapter.name == **name))
    {
        let names: Vec<_> = CHAPTERS.iter().map(|chapter| chapter.name).collect();
        eprintln!("no chapter {unknown:?}; the chapters are: {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    contents();
    let start = Instant::now();
    for Chapter { name, run, .. } in CHAPTERS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("\n{0}\n{name}\n{0}", "=".repeat(name.len()));
            run();
        }
    }
    println!("\n(the tour took {:.1} s)", start.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}

/// Prints the table of contents.
fn contents() {
    println!("A tour of Go's concurrency in Rust. The chapters:\n");
    for Chapter { name, about, .. } in CHAPTERS {
        println!("    {name:<12} {about}");
    }
    println!("\nTo run one of them: cargo run --release --example tour -- channels");
}

/// Functions that the chapters share.
mod page {
    use std::io::{IsTerminal, Write, stderr};

    /// Prints a program's heading, and what the program shows.
    pub(crate) fn heading(title: &str, about: &str) {
        println!("\n--- {title} {}", "-".repeat(100 - title.len()));
        text(about);
        println!();
    }

    /// Prints prose, indented to set it apart from the programs' output.
    pub(crate) fn text(text: &str) {
        for line in text.lines() {
            println!("{}", format!("    {line}").trim_end());
        }
    }

    /// Shows on a terminal that a long program is still running. Prints nothing elsewhere.
    pub(crate) struct Progress(bool);

    impl Progress {
        pub(crate) fn new() -> Self {
            Self(stderr().is_terminal())
        }

        pub(crate) fn show(&self, text: &str) {
            if self.0 {
                eprint!("\r\x1b[2K    … {text}");
                let _ = stderr().flush();
            }
        }

        pub(crate) fn clear(&self) {
            if self.0 {
                eprint!("\r\x1b[2K");
                let _ = stderr().flush();
            }
        }
    }

    /// Formats 1234567 as "1 234 567".
    pub(crate) fn grouped(n: usize) -> String {
        let digits = n.to_string();
        let mut out = String::new();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i) % 3 == 0 {
                out.push(' ');
            }
            out.push(digit);
        }
        out
    }
}
