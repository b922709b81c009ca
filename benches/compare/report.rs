//! The results: the rows, the table, and the figures behind it. `chart` draws the charts from them.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::common::figures::spread;
use crate::common::peers::root;
use crate::spec::{CONTENDERS, Case, How, Unit};

/// The figures of one measurement, one for each part of the case; or why there are none.
pub(crate) type Outcome = Result<Vec<f64>, String>;

/// The figures of one contender, in ascending order; or why there are none.
pub(crate) type Cell = Result<Vec<f64>, String>;

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) case: &'static Case,
    pub(crate) part: usize,
    /// 0 if the number does not matter.
    pub(crate) procs: usize,
    /// One for each of [`CONTENDERS`].
    pub(crate) cells: Vec<Cell>,
}

impl Row {
    pub(crate) fn title(&self) -> String {
        match self.case.parts[self.part] {
            "" => self.case.title.to_owned(),
            part => format!("{}, {part}", self.case.title),
        }
    }

    /// The contenders that have figures.
    pub(crate) fn found(&self) -> impl Iterator<Item = (usize, &[f64])> {
        self.cells.iter().enumerate().filter_map(|(at, cell)| Some((at, cell.as_deref().ok()?)))
    }

    /// Whether the worst round of this one is better than the best round of any other.
    fn wins(&self, at: usize) -> bool {
        let others = self.found().filter(|(other, _)| *other != at).map(|(_, sorted)| sorted[0]);
        let second = others.min_by(f64::total_cmp);
        self.cells[at]
            .as_ref()
            .is_ok_and(|sorted| second.is_some_and(|second| sorted[sorted.len() - 1] < second))
    }
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) rows: Vec<Row>,
    pub(crate) quick: bool,
    pub(crate) cores: usize,
    /// See [`origin`].
    pub(crate) origin: String,
}

/// The result of the rounds for one part of a case. A contender that failed in one of them has no
/// figure.
pub(crate) fn cell(outcomes: &[Outcome], part: usize) -> Cell {
    let figures: Result<Vec<f64>, String> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().map(|parts| parts[part]).map_err(Clone::clone))
        .collect();
    figures.map(|mut figures| {
        figures.sort_unstable_by(f64::total_cmp);
        figures
    })
}

/// Three significant digits; thousands in groups.
pub(crate) fn short(figure: f64) -> String {
    let decimals = match figure.abs() {
        f if f >= 99.95 => 0,
        f if f >= 9.995 => 1,
        _ => 2,
    };
    let digits = format!("{figure:.decimals$}");
    if decimals != 0 {
        return digits;
    }
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at != 0 && (digits.len() - at) % 3 == 0 {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// `charts` has the text of each chart by its file name.
pub(crate) fn write(run: &Run, charts: &[(String, String)], dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let names: Vec<&str> = charts.iter().map(|(name, _)| name.as_str()).collect();
    fs::write(dir.join("compare.md"), markdown(run, &names))?;
    fs::write(dir.join("compare.csv"), csv(run))?;
    for (name, svg) in charts {
        fs::write(dir.join(name), svg)?;
    }
    Ok(())
}

fn csv(run: &Run) -> String {
    let mut text = format!("# {}\n", run.origin);
    text.push_str("group,case,part,unit,gomaxprocs,contender,rounds,median,least,most,note\n");
    for row in &run.rows {
        for (contender, cell) in CONTENDERS.iter().zip(&row.cells) {
            let (case, part) = (row.case, row.case.parts[row.part]);
            let _ = write!(
                text,
                "{},{},{part},{},{},{contender},",
                case.group, case.name, case.unit, row.procs
            );
            let _ = match cell {
                Ok(sorted) => {
                    let [least, median, most] = spread(sorted);
                    writeln!(text, "{},{median:.3},{least:.3},{most:.3},", sorted.len())
                }
                Err(reason) => writeln!(text, "0,,,,\"{}\"", reason.replace('"', "'")),
            };
        }
    }
    text
}

fn markdown(run: &Run, charts: &[&str]) -> String {
    let mut text = "# gopark compared with its peers\n\n".to_owned();
    let _ = writeln!(
        text,
        "Written by `cargo bench --bench compare`; `../README.md` says how to read it.\n"
    );
    if run.quick {
        text.push_str(
            "**A quick run, with small numbers instead of those in the titles: it shows that the \
             bench works, not which contender is fast.**\n\n",
        );
    }
    text.push_str(&surroundings(run));
    let mut notes = Notes::default();
    let procs: &[usize] = if run.cores == 1 { &[1] } else { &[1, run.cores] };
    for &procs in procs {
        let rows: Vec<&Row> = run.rows.iter().filter(|row| row.procs == procs).collect();
        table(&mut text, &format!("gomaxprocs {procs}"), &rows, &mut notes);
    }
    let rows: Vec<&Row> = run.rows.iter().filter(|row| row.case.how == How::Build).collect();
    table(&mut text, "The smallest program", &rows, &mut notes);
    text.push_str(&notes.text());
    if !charts.is_empty() {
        text.push_str("\n## Charts\n\n");
        for chart in charts {
            let _ = writeln!(text, "![{}]({chart})\n", chart.trim_end_matches(".svg"));
        }
    }
    text
}

fn table(text: &mut String, title: &str, rows: &[&Row], notes: &mut Notes) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n## {title}\n\n| | | {} |", CONTENDERS.join(" | "));
    let _ = writeln!(text, "|---|---|{}", "--:|".repeat(CONTENDERS.len()));
    let mut group = "";
    for row in rows {
        if row.case.group != group {
            group = row.case.group;
            let _ = writeln!(text, "| **{group}** | |{}", " |".repeat(CONTENDERS.len()));
        }
        let _ = write!(text, "| {} | {} |", row.title(), row.case.unit);
        for (at, cell) in row.cells.iter().enumerate() {
            let _ = match cell {
                Ok(sorted) if row.wins(at) => {
                    write!(text, " **{}** |", show(row.case.unit, sorted))
                }
                Ok(sorted) => write!(text, " {} |", show(row.case.unit, sorted)),
                Err(reason) => write!(text, " –{} |", notes.mark(CONTENDERS[at], reason)),
            };
        }
        text.push('\n');
    }
}

/// The median, and the range if there is one.
fn show(unit: Unit, sorted: &[f64]) -> String {
    let digits = |figure| if unit == Unit::Crates { format!("{figure:.0}") } else { short(figure) };
    let [least, median, most] = spread(sorted).map(digits);
    if least == most { median } else { format!("{median} ({least}–{most})") }
}

/// Reasons why a cell is empty, numbered in the order of the table, with the contenders that they
/// concern.
#[derive(Default)]
struct Notes {
    notes: Vec<(String, Vec<String>)>,
}

impl Notes {
    fn mark(&mut self, contender: &str, reason: &str) -> String {
        let at = self.notes.iter().position(|(known, _)| known == reason).unwrap_or_else(|| {
            self.notes.push((reason.to_owned(), Vec::new()));
            self.notes.len() - 1
        });
        let of = &mut self.notes[at].1;
        if !of.iter().any(|known| known == contender) {
            of.push(contender.to_owned());
        }
        format!("<sup>{}</sup>", at + 1)
    }

    fn text(&self) -> String {
        let mut text = "\n## Notes\n\n".to_owned();
        text.push_str(
            "Less is better everywhere: the median of the rounds, with the minimum and the maximum \
             in brackets. A bold contender was better in each of its rounds than any other in any \
             round. At gomaxprocs 1 tokio is its `current_thread`, and async-executor runs on the \
             thread that waits.\n\n\
             * tokio, async-channel and crossfire have no rendezvous: in a row that says \
             unbuffered they have capacity 1, and run the same program as in the row of capacity 1. \
             flume has capacity 1 in an unbuffered select, because a dropped receive breaks its \
             rendezvous.\n\
             * crossfire's channel is its `spsc` for one sender and one receiver, its `mpsc` in \
             skynet, otherwise its `mpmc`.\n\
             * The peers' select is `tokio::select!`, which starts at a random case and takes the \
             first ready one.\n\
             * tokio's cond is `Notify::notify_waiters`, which has no lock. may's close is a flag \
             that is raised.\n\
             * may's channels are unbounded: in ping-pong, ring and skynet its senders never wait. \
             Each of its stacks needs two mappings, of which Linux allows a process 65 530: about \
             30 000 coroutines are its limit. It keeps a thousand of them ready, which exist \
             before the parked ones are counted.\n\
             * The group net is the first figure of the bench `net`: the time, or the bytes. \
             async-executor has async-io's sockets.\n\
             * Memory is counted in pages: of 10 goroutines one page is 410 bytes each, of 100 it \
             is 41.\n\
             * Of each sleep 990 ns are the last one's 99 ms, in a full run.\n\
             * Late is a message that a thread outside of the runtime sends to a channel. Go has \
             no such threads: its goroutine reads a pipe that another process writes, through the \
             network poller, which a busy processor checks only when the monitor does, every \
             10 ms.\n\n",
        );
        for (at, (reason, of)) in self.notes.iter().enumerate() {
            let _ = writeln!(text, "{}. {}: {reason}", at + 1, of.join(", "));
        }
        text
    }
}

/// The output of a program that is run in the repository's root, if it can be run.
fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).current_dir(root()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What was measured, when, and how often: the heading of each file that a run writes.
pub(crate) fn origin(rounds: usize, quick: bool) -> String {
    const MEASURED: [&str; 7] = [
        "Cargo.toml",
        "src",
        "benches/Cargo.toml",
        "benches/common",
        "benches/compare",
        "benches/sockets",
        "benches/go",
    ];
    let changed =
        said("git", &[&["status", "--porcelain", "--untracked-files=no"], &MEASURED[..]].concat());
    let changes =
        if changed.is_some_and(|changed| !changed.is_empty()) { " and changes" } else { "" };
    let commit =
        said("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let date = said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]).unwrap_or_else(|| "no date".to_owned());
    let kind = if quick { "quick " } else { "" };
    format!(
        "gopark {} at {commit}{changes}, {date}, {kind}rounds: {rounds}",
        env!("CARGO_PKG_VERSION")
    )
}

/// The machine and the versions.
fn surroundings(run: &Run) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("\t: unknown");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap_or_default();
    let version = |name: &str| {
        let after = lock.split(&format!("name = \"{name}\"\nversion = \"")).nth(1);
        format!("{name} {}", after.and_then(|rest| rest.split('"').next()).unwrap_or("?"))
    };
    let peers = [
        "tokio",
        "async-executor",
        "async-channel",
        "async-lock",
        "flume",
        "kanal",
        "crossfire",
        "may",
    ];
    let or_none = |what: Option<String>| what.unwrap_or_else(|| "none".to_owned());
    let mut text = String::new();
    let _ = writeln!(text, "* {}; each measurement a process of its own", run.origin);
    let _ = writeln!(
        text,
        "* Machine: {}, {} cores, Linux {}",
        cpu.trim_start_matches(['\t', ' ', ':']).trim(),
        run.cores,
        kernel.trim()
    );
    let _ = writeln!(text, "* Peers: {}", peers.map(version).join(", "));
    let rustc = or_none(said("rustc", &["--version"]));
    let go = or_none(said("go", &["version"]));
    let _ = writeln!(text, "* Compilers: {rustc}; {go}");
    text
}
