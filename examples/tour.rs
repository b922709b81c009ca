//! A tour of Go's concurrency in Rust, program by program: `cargo run --release --example tour`.
//!
//! Each program stands under its heading, with a word on what it shows; what it prints comes below. Some of it differs
//! from run to run: that is then the point. Name chapters to see only those: `… --example tour -- goroutines`.

use std::process::ExitCode;
use std::time::Instant;

#[path = "tour/channels.rs"]
mod channels;
#[path = "tour/context.rs"]
mod context;
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

const CHAPTERS: &[(&str, fn())] = &[
    ("goroutines", goroutines::chapter),
    ("sync", sync::chapter),
    ("channels", channels::chapter),
    ("select", select::chapter),
    ("context", context::chapter),
    ("net", net::chapter),
    ("inspect", inspect::chapter),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) =
        wanted.iter().find(|name| !CHAPTERS.iter().any(|(chapter, _)| chapter == name))
    {
        let names: Vec<_> = CHAPTERS.iter().map(|(name, _)| *name).collect();
        eprintln!("no chapter {unknown:?}; there are: {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    let start = Instant::now();
    for (name, chapter) in CHAPTERS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("{0}\n{name}\n{0}", "=".repeat(name.len()));
            chapter();
        }
    }
    println!("\n(the tour took {:.1} s)", start.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}

/// What the chapters share.
mod page {
    use std::io::{IsTerminal, Write, stderr};

    /// A program's heading, and what it shows.
    pub(crate) fn heading(title: &str, about: &str) {
        println!("\n--- {title} {}", "-".repeat(100 - title.len()));
        text(about);
        println!();
    }

    /// Prose, set apart from what the programs print.
    pub(crate) fn text(text: &str) {
        for line in text.lines() {
            println!("{}", format!("    {line}").trim_end());
        }
    }

    /// Tells a person at a terminal that something is still going on; anybody else sees nothing.
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

    /// 1234567 as "1 234 567".
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
