//! Rules that no compiler checks: the floors, the maximum lengths, the lists that must be complete.
//!
//! A failure says what to do. If a rule prevents a better layout, change the table here in the same
//! commit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The units of a floor, and the units that each uses.
type Units = &'static [(&'static str, &'static [&'static str])];

/// The floors of `src/`, the lowest first. A unit is a folder or a top-level file. It uses exactly
/// the units that its row names, each of which has a row above it. A named unit that is not used is
/// an error as well. The files of a folder use each other without a cycle. Tests and models may use
/// anything.
const FLOORS: &[(&str, Units)] = &[
    (
        "the platform",
        &[
            ("loom", &[]),
            ("header", &["loom"]),
            ("simulated", &["header"]),
            ("platform", &["loom"]),
            ("clock", &["simulated", "platform"]),
            ("fork", &["platform"]),
            ("panics", &[]),
            ("maps", &[]),
            ("netpoll", &["clock", "loom", "platform"]),
            ("lock", &["loom", "platform"]),
            ("caught", &["panics", "platform"]),
            ("random", &["loom"]),
            ("threads", &["fork", "panics"]),
            ("blocked", &["threads"]),
            ("parker", &["blocked", "clock", "loom", "netpoll"]),
            ("table", &["panics"]),
            ("ids", &["header"]),
            ("coop", &["panics", "clock", "header", "simulated"]),
            ("waker", &["panics", "coop"]),
            ("debug", &[]),
            ("holders", &["simulated", "panics", "coop", "debug"]),
        ],
    ),
    (
        "waiting, timers, queues",
        &[
            ("wait", &["simulated", "clock", "loom", "lock", "parker", "coop", "waker", "holders"]),
            ("readiness", &["loom", "netpoll", "coop", "waker", "wait"]),
            (
                "sources",
                &["clock", "fork", "netpoll", "panics", "platform", "readiness", "wait", "waker"],
            ),
            (
                "timer",
                &[
                    "fork", "panics", "parker", "clock", "loom", "lock", "platform", "waker",
                    "threads", "wait",
                ],
            ),
            ("run_next", &["loom", "platform"]),
            ("run_queue", &["panics", "loom", "lock", "platform", "header"]),
            ("running", &["loom", "platform", "header"]),
            ("idle", &["loom", "platform"]),
            ("rest", &["clock"]),
            ("registry", &["panics"]),
            ("local_queue", &["header", "coop", "panics", "parker", "registry"]),
            (
                "crash",
                &["header", "simulated", "panics", "platform", "coop", "waker", "local_queue"],
            ),
            ("spares", &["clock", "loom", "parker"]),
            ("processor", &["clock", "header", "registry", "run_queue", "table", "timer"]),
            ("watched", &["clock", "lock", "platform", "processor"]),
        ],
    ),
    (
        "the scheduler, channels",
        &[
            (
                "executor",
                &[
                    "clock",
                    "fork",
                    "loom",
                    "platform",
                    "lock",
                    "panics",
                    "random",
                    "header",
                    "simulated",
                    "coop",
                    "holders",
                    "crash",
                    "idle",
                    "run_next",
                    "run_queue",
                    "running",
                    "rest",
                    "registry",
                    "ids",
                    "spares",
                    "processor",
                    "watched",
                    "table",
                    "parker",
                    "timer",
                    "threads",
                    "local_queue",
                    "netpoll",
                    "sources",
                ],
            ),
            (
                "chan",
                &[
                    "simulated",
                    "panics",
                    "fork",
                    "clock",
                    "loom",
                    "lock",
                    "coop",
                    "waker",
                    "holders",
                    "wait",
                ],
            ),
        ],
    ),
    (
        "goroutines, select",
        &[
            ("alarm", &["clock", "waker", "timer", "executor"]),
            (
                "goroutine",
                &[
                    "loom",
                    "panics",
                    "platform",
                    "clock",
                    "header",
                    "coop",
                    "wait",
                    "local_queue",
                    "executor",
                ],
            ),
            ("join", &["panics", "ids", "coop", "waker", "wait", "goroutine"]),
            ("select", &["clock", "loom", "lock", "random", "coop", "waker", "wait", "chan"]),
            (
                "inspect",
                &[
                    "simulated",
                    "blocked",
                    "caught",
                    "clock",
                    "platform",
                    "panics",
                    "maps",
                    "threads",
                    "header",
                    "ids",
                    "coop",
                    "waker",
                    "debug",
                    "holders",
                    "wait",
                    "timer",
                    "crash",
                    "executor",
                    "chan",
                    "sources",
                    "alarm",
                ],
            ),
            (
                "runtime",
                &[
                    "simulated",
                    "fork",
                    "panics",
                    "threads",
                    "header",
                    "coop",
                    "wait",
                    "crash",
                    "local_queue",
                    "executor",
                    "goroutine",
                    "join",
                    "inspect",
                ],
            ),
            ("unconstrained", &["coop", "wait"]),
        ],
    ),
    (
        "packages sync, context, time",
        &[
            ("context", &["clock", "loom", "panics", "coop", "waker", "wait", "chan", "alarm"]),
            (
                "time",
                &[
                    "fork", "panics", "clock", "coop", "waker", "wait", "timer", "chan", "alarm",
                    "runtime", "context",
                ],
            ),
            (
                "sync",
                &[
                    "simulated",
                    "clock",
                    "loom",
                    "lock",
                    "holders",
                    "platform",
                    "panics",
                    "maps",
                    "coop",
                    "waker",
                    "wait",
                    "executor",
                    "chan",
                    "join",
                    "runtime",
                    "context",
                ],
            ),
        ],
    ),
    (
        "the network",
        &[
            ("io", &["fork", "platform", "coop", "wait", "readiness", "sources", "runtime"]),
            ("net", &["coop", "wait", "readiness", "sources", "runtime", "time", "io"]),
            (
                "signal",
                &[
                    "caught", "panics", "platform", "fork", "threads", "wait", "chan", "context",
                    "sync",
                ],
            ),
        ],
    ),
    (
        "simulation",
        &[(
            "sim",
            &[
                "header",
                "simulated",
                "clock",
                "fork",
                "panics",
                "random",
                "coop",
                "waker",
                "executor",
                "goroutine",
                "inspect",
                "runtime",
                "time",
            ],
        )],
    ),
    ("text", &[("guide", &[])]),
];

/// The only files with `unsafe` in them; each has some. Tests and models may have it too.
const UNSAFE: &[&str] = &[
    "lock",
    "platform",
    "table",
    "header",
    "coop",
    "waker",
    "wait/list",
    "wait/waiter",
    "wait/queue",
    "wait/event",
    "wait/acquire",
    "net/hyper",
    "timer/shard",
    "running",
    "executor",
    "goroutine",
    "chan/buffer",
    "chan/core",
    "chan/handle",
    "chan/op",
    "select/driver",
    "sync/typed_lock",
    "context/tree",
];

/// The only modules that name the `Waker` of std, which may be another executor's and panic in each
/// of its functions. All others use a `TaskWaker` made from it, whose functions do not unwind.
const WAKERS: &[(&str, &str)] = &[
    ("waker", "contains the panics of all others"),
    ("coop", "compares wakers, and wakes the running task with its panic contained"),
    ("header", "has the wakers of goroutines, which are async-task's"),
    ("goroutine", "registers its own waker"),
    ("local_queue", "keeps the wakers of local goroutines, which are async-task's"),
    ("wait/block_on", "makes a waker of its parker"),
    ("runtime/local", "makes a waker of its queue, and registers the goroutines' own"),
    ("netpoll/system", "has an interruption of mio's, which has that name"),
    ("wait/event", "makes the proxies that event-listener gets in place of wakers"),
];

/// The crates that use the waker of a poll, and the modules that poll their futures. async-task
/// aborts the process if the waker panics; event-listener calls it under a lock.
const POLLED: &[(&str, &[&str])] =
    &[("async_task", &["header", "executor", "goroutine"]), ("event_listener", &["wait/event"])];

/// The maximum number of lines of a file in `src/`; divide a longer one. The scheduler is one file.
const CAP: usize = 1000;
const CAP_EXECUTOR: usize = 1450;
/// An example shows one idea. (The tour shows many.)
const CAP_EXAMPLE: usize = 95;
/// An example in a directory of its own is a program; this is for each of its files.
const CAP_PROGRAM: usize = 170;

/// Columns that a line of `src/` may have. rustfmt leaves comments, strings and macros as they are.
const COLUMNS: usize = 100;
/// Lines that an unsafe block may have: each proof is about one step.
const CAP_UNSAFE: usize = 8;

/// The reason of an `unsafe` must begin within this many lines above it.
const REASON_WITHIN: usize = 10;

/// Functions that return a future but have no row in the table of `tests/it/budget.rs`: the future
/// is outside of the budget, or waits for real time, or runs on no worker.
const NO_BUDGET: &[&str] = &["unconstrained", "advance", "go_local", "ctrl_c"];

#[test]
fn every_await_is_in_the_table_of_the_budget() {
    let table = fs::read_to_string(root().join("tests/it/budget.rs")).unwrap();
    let sources = sources();
    let sources: Vec<_> =
        sources.iter().filter(|(module, _)| !is_proof(module)).map(|(_, text)| text).collect();
    let word = |text: &str| {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    let mut futures: BTreeSet<_> =
        sources.iter().flat_map(|text| text.split(" Future for ").skip(1)).map(word).collect();
    futures.remove("");
    // The `Receiver` of `oneshot` is a future; functions return receivers of channels, which are
    // not.
    futures.remove("Receiver");
    futures.insert("impl".into());
    let named = [
        "Sending",
        "Receiving",
        "Acquire",
        "AcquireOwned",
        "Lock",
        "LockOwned",
        "RLock",
        "RLockOwned",
        "WLock",
    ];
    let named: Vec<_> = named.into_iter().chain(["WLockOwned", "Done"]).map(String::from).collect();
    let mut complaints = String::new();
    for text in sources {
        for (start, is_async) in [("pub fn ", false), ("pub async fn ", true)] {
            for function in text.split(start).skip(1) {
                let (name, signature) =
                    (word(function), function.split([';', '{']).next().unwrap());
                let output = signature.split("->").last().unwrap().trim();
                let is_future = futures.contains(&word(output)) || named.contains(&word(output));
                let is_await = is_async
                    || is_future && (!output.starts_with("impl") || output.contains("Future<"));
                if is_await
                    && !NO_BUDGET.contains(&&*name)
                    && !table.contains(&format!("\"{name}\" =>"))
                {
                    let _ = writeln!(
                        complaints,
                        "{name} has no row in the table of tests/it/budget.rs"
                    );
                }
            }
        }
    }
    assert!(complaints.is_empty(), "{complaints}");
}

#[test]
fn modules_use_only_lower_floors() {
    let rows: Vec<_> = FLOORS.iter().flat_map(|(_, units)| *units).collect();
    let mut complaints = String::new();
    for (row, (unit, uses)) in rows.iter().enumerate() {
        for used in *uses {
            if !rows[..row].iter().any(|(above, _)| above == used) {
                let _ = writeln!(
                    complaints,
                    "FLOORS: {unit} may not use {used}, which has no row above it"
                );
            }
        }
    }
    let sources = sources();
    let modules: BTreeSet<String> = sources.keys().cloned().collect();
    let mut graph = BTreeMap::new();
    let mut units: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (module, text) in &sources {
        if module == "lib" || is_proof(module) {
            continue;
        }
        let used = uses(module, text, &modules);
        for used in &used {
            if used == "lib" {
                let _ = writeln!(
                    complaints,
                    "{module} uses the crate's root: name the module that has the item"
                );
            } else if unit(used) != unit(module) {
                units.entry(unit(module)).or_default().insert(unit(used).to_owned());
            }
        }
        units.entry(unit(module)).or_default();
        graph.insert(module.as_str(), used);
    }
    for (unit, used) in &units {
        let Some((_, allowed)) = rows.iter().find(|(row, _)| row == unit) else {
            let _ = writeln!(complaints, "{unit} has no row in FLOORS");
            continue;
        };
        for used in used.iter().filter(|used| !allowed.contains(&used.as_str())) {
            let _ = writeln!(complaints, "{unit} uses {used}, which FLOORS does not allow it");
        }
        for unused in allowed.iter().filter(|allowed| !used.contains(**allowed)) {
            let _ = writeln!(complaints, "FLOORS allows {unit} to use {unused}, which it does not");
        }
    }
    for (unit, _) in rows.iter().filter(|(unit, _)| !units.contains_key(unit)) {
        let _ = writeln!(complaints, "FLOORS has a row for {unit}, which is no unit of src/");
    }
    if let Some(path) = any_circle(&graph) {
        let _ = writeln!(complaints, "a circle: {path}");
    }
    assert!(complaints.is_empty(), "\n{complaints}");
}

#[test]
fn the_files_of_a_bench_use_each_other_in_no_circle() {
    let mut found = BTreeMap::new();
    for bench in ["compare", "net"] {
        let mut sources = modules(&format!("benches/{bench}"));
        for shared in ["common", "sockets"] {
            sources.extend(modules(&format!("benches/{shared}")).into_iter().map(
                |(module, text)| match module.as_str() {
                    "mod" => (shared.to_owned(), text),
                    _ => (format!("{shared}/{module}"), text),
                },
            ));
        }
        let modules: BTreeSet<String> = sources.keys().cloned().collect();
        let graph = sources
            .iter()
            .map(|(module, text)| (module.as_str(), uses(module, text, &modules)))
            .collect();
        assert_eq!(any_circle(&graph), None, "of the bench {bench}");
        found.extend(graph.into_iter().map(|(module, used)| (module.to_owned(), used)));
    }
    assert!(
        found["chart"].contains("report")
            && found["common/memory"].contains("common/channels")
            && found["sockets/load"].contains("sockets/serve"),
        "{found:?}"
    );
}

#[test]
fn the_architecture_page_shows_the_floors() {
    let page = read(&root().join("ARCHITECTURE.md"));
    for (number, (_, units)) in FLOORS.iter().enumerate() {
        let start = format!("| {} | ", number + 1);
        let row = page.lines().find_map(|line| line.strip_prefix(&start));
        let names = row.and_then(|row| row.split(" | ").next()).unwrap_or_default();
        let names: Vec<&str> =
            names.split(", ").map(|name| name.trim_matches(['`', '/'])).collect();
        let wanted: Vec<&str> = units.iter().map(|(unit, _)| *unit).collect();
        assert_eq!(names, wanted, "floor {} of ARCHITECTURE.md", number + 1);
    }
}

#[test]
fn the_floors_are_read_as_rust_reads_them() {
    let modules = ["chan", "chan/core", "chan/op", "sync", "sync/event", "prim", "coop"]
        .map(str::to_owned)
        .into();
    let read =
        |module: &str, text: &str| uses(module, text, &modules).into_iter().collect::<Vec<_>>();
    assert_eq!(
        read("chan/op", "use crate::coop::{self, Reason};\nuse super::core::Core;"),
        ["chan/core", "coop"]
    );
    assert_eq!(
        read("chan", "use self::core::{Core, Handle}; // use crate::sync\npub use op::X;"),
        ["chan/core"]
    );
    assert_eq!(
        read("coop", "use crate::{prim::{self, Lock}, chan::{core, op::Op}};"),
        ["chan/core", "chan/op", "prim"]
    );
    assert_eq!(read("coop", "fn f() -> crate::prim::Lock { crate::go() }"), ["lib", "prim"]);
    assert_eq!(
        read("sync/event", "use super::Event;\n#[cfg(test)]\nmod tests { use crate::chan; }"),
        ["sync"]
    );
    assert_eq!(
        read(
            "coop",
            "macro_rules! m { () => { $crate::chan::go() }; }\npub(in crate::chan) fn f() {}"
        ),
        [""; 0]
    );
}

#[test]
fn no_source_outgrows_its_cap() {
    for (module, text) in sources() {
        let cap = if module == "executor" { CAP_EXECUTOR } else { CAP };
        let lines = text.lines().count();
        assert!(lines <= cap, "src/{module}: {lines} lines, at most {cap} are wanted: divide it");
    }
    for path in
        examples().iter().filter(|path| !path.ends_with("tour.rs") && !path.ends_with("main.rs"))
    {
        let lines = read(path).lines().count();
        assert!(
            lines <= CAP_EXAMPLE,
            "{}: {lines} lines, one idea fits in {CAP_EXAMPLE}",
            path.display()
        );
    }
    for main in examples().iter().filter(|path| path.ends_with("main.rs")) {
        for path in files(main.parent().unwrap().to_str().unwrap(), "rs") {
            let lines = read(&path).lines().count();
            assert!(
                lines <= CAP_PROGRAM,
                "{}: {lines} lines, at most {CAP_PROGRAM} are wanted",
                path.display()
            );
        }
    }
}

#[test]
fn no_line_of_src_is_too_long() {
    for (module, text) in sources() {
        for (at, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            assert!(columns <= COLUMNS, "src/{module}, line {}: {columns} columns", at + 1);
        }
    }
}

#[test]
fn unsafe_blocks_are_short() {
    for (module, text) in sources().iter().filter(|(module, _)| !is_proof(module)) {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if !code(line).trim_end().ends_with("unsafe {") {
                continue;
            }
            let indent = line.len() - line.trim_start().len();
            let ends = |line: &&&str| !line.starts_with(&format!("{:indent$}}}", ""));
            let length = 2 + lines[at + 1..].iter().take_while(ends).count();
            assert!(
                length <= CAP_UNSAFE,
                "src/{module}, line {}: an unsafe block of {length} lines, at most {CAP_UNSAFE}",
                at + 1
            );
        }
    }
}

#[test]
fn unit_tests_have_files_of_their_own() {
    for (module, text) in sources() {
        let inline = text.lines().any(|line| line.trim_start().starts_with("mod tests {"));
        assert!(!inline, "src/{module}: move the module `tests` to src/{module}/tests.rs");
    }
}

#[test]
fn unsafe_stands_in_few_files_and_gives_its_reason() {
    let mut listed: BTreeSet<&str> = UNSAFE.iter().copied().collect();
    for (module, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = code(line);
            if !words(code).any(|word| word == "unsafe") {
                continue;
            }
            let place = format!("src/{module}, line {}", at + 1);
            listed.remove(module.as_str());
            let may = UNSAFE.contains(&module.as_str()) || is_proof(&module);
            assert!(may, "{place}: unsafe, but the module is not in the list UNSAFE");
            // The type of an unsafe function does nothing yet.
            if code.contains("unsafe fn(") {
                continue;
            }
            // A function documents what its caller must guarantee. The trait documents that for a
            // trait's method.
            let (reason, reach) = if code.contains("unsafe fn ") {
                ("Safety", 30)
            } else {
                ("SAFETY:", REASON_WITHIN)
            };
            let above = &lines[at.saturating_sub(reach)..=at];
            assert!(
                above.iter().any(|line| line.contains(reason) || line.contains("SAFETY:")),
                "{place}: no `{reason}` within the {reach} lines above"
            );
        }
    }
    assert!(listed.is_empty(), "UNSAFE lists modules without unsafe: {listed:?}");
}

#[test]
fn one_file_reads_the_clock_and_one_draws() {
    let places = [
        ("Instant::now", "clock"),
        ("SystemTime", "clock"),
        (".elapsed()", "clock"),
        ("fastrand", "random"),
    ];
    for (module, text) in sources().iter().filter(|(module, _)| !is_proof(module)) {
        for (at, line) in text.lines().enumerate() {
            for (what, place) in places {
                let found = code(line).contains(what) && module != place;
                assert!(
                    !found,
                    "src/{module}, line {}: {what}; use what src/{place}.rs has",
                    at + 1
                );
            }
        }
    }
}

/// The payload of a panic has a destructor that may panic as well; `Caught` contains it.
#[test]
fn one_file_catches_panics() {
    for (module, text) in sources().iter().filter(|(module, _)| !is_proof(module)) {
        for (at, line) in text.lines().enumerate() {
            let code = code(line);
            let found = words(code).any(|word| word == "catch_unwind") && module != "panics";
            assert!(
                !found || code.contains(".catch_unwind()"),
                "src/{module}, line {}: catch_unwind; use `catch` of src/panics.rs",
                at + 1
            );
        }
    }
}

#[test]
fn wakers_are_called_in_few_files() {
    let mut listed: BTreeSet<&str> = WAKERS.iter().map(|(module, _)| *module).collect();
    for (module, text) in sources().into_iter().filter(|(module, _)| !is_proof(module)) {
        for (at, line) in text.lines().enumerate() {
            let (code, place) = (code(line), format!("src/{module}, line {}", at + 1));
            let mut names =
                words(code).filter(|word| ["Waker", "wake_by_ref"].contains(word)).peekable();
            if names.peek().is_some()
                || code.contains("waker().") && !code.contains("waker().will_wake(")
            {
                listed.remove(module.as_str());
                let may = WAKERS.iter().any(|(listed, _)| *listed == module);
                assert!(
                    may,
                    "{place}: make a TaskWaker of the waker, or pass its context on; see WAKERS"
                );
            }
            for (dependency, modules) in POLLED {
                let path = format!("{dependency}::");
                let used = code.match_indices(&path).any(|(at, _)| {
                    !code[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c))
                });
                assert!(
                    !used || modules.contains(&module.as_str()),
                    "{place}: {dependency} polls with wakers; see POLLED"
                );
            }
        }
    }
    assert!(listed.is_empty(), "WAKERS lists modules that name no waker: {listed:?}");
}

#[test]
fn tests_wait_for_events_not_for_time() {
    let nap = concat!("sle", "ep(");
    for path in files("tests", "rs") {
        for (at, line) in read(&path).lines().enumerate() {
            // gopark's own `sleep` is a subject of tests.
            let line_code = code(line).replace(&format!("time::{nap}"), "");
            let why = line.contains("// asleep:");
            let naps = words(&line_code).zip(line_code.match_indices(nap)).next().is_some();
            assert!(
                !naps || why,
                "{}, line {}: wait for an event, not for time; if sleeping is the subject, say \
                 so in the line: `// asleep: why`",
                path.display(),
                at + 1
            );
        }
    }
}

#[test]
fn no_test_is_left_out() {
    let main = read(&root().join("tests/it/main.rs"));
    for path in files("tests/it", "rs") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            name == "main" || main.lines().any(|line| line.trim() == format!("mod {name};")),
            "tests/it/{name}.rs is never run: tests/it/main.rs lacks `mod {name};`"
        );
    }
    let ignored = concat!("#[ign", "ore");
    for path in files("tests", "rs") {
        assert!(
            !read(&path).contains(ignored),
            "{}: a test that does not run proves nothing",
            path.display()
        );
    }
}

#[test]
fn no_package_is_left_out() {
    let manifest = read(&root().join("Cargo.toml"));
    let list = |key: &str| {
        let line = manifest.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
        line.unwrap_or_else(|| panic!("Cargo.toml has no {key}"))
            .trim_matches(['[', ']'])
            .to_owned()
    };
    let (members, default) = (list("members"), list("default-members"));
    assert_eq!(
        default,
        format!("\".\", {members}"),
        "a package that is no default member is not tested by `cargo test`"
    );
    for path in files("", "toml").iter().filter(|path| path.ends_with("Cargo.toml")) {
        let package = path
            .parent()
            .unwrap()
            .strip_prefix(root())
            .unwrap()
            .to_str()
            .unwrap()
            .replace('\\', "/");
        let known =
            package.is_empty() || package == "fuzz" || members.contains(&format!("{package:?}"));
        assert!(known, "{package} is no member of the workspace");
    }
    // Benches and examples are listed by hand in the manifests.
    for (package, kind) in [("benches", "bench"), ("examples/integrations", "example")] {
        let manifest = read(&root().join(package).join("Cargo.toml"));
        for path in files(package, "rs") {
            let path = path
                .strip_prefix(root().join(package))
                .unwrap()
                .to_str()
                .unwrap()
                .replace('\\', "/");
            let is_root = !path.contains('/') || path.ends_with("/main.rs");
            let listed = manifest.contains(&format!("path = {path:?}"));
            assert!(
                !is_root || listed,
                "{package}/{path} is never built: its package lists no such {kind}"
            );
        }
    }
}

#[test]
fn every_example_is_listed_and_every_link_leads_somewhere() {
    let dir = root().join("examples");
    let list = read(&dir.join("README.md"));
    for path in examples() {
        let name = path.strip_prefix(&dir).unwrap().to_str().unwrap().replace('\\', "/");
        assert!(list.contains(&format!("({name})")), "examples/README.md does not list {name}");
    }
    let pages = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"];
    for text in pages.into_iter().chain(["docs/verification.md", "examples/README.md"]) {
        let text = root().join(text);
        for target in links(&read(&text)) {
            let found = text.with_file_name(&target).exists();
            assert!(found, "{} links to {target}, which does not exist", text.display());
        }
    }
}

#[test]
fn docs_rs_shows_every_feature() {
    let manifest = read(&root().join("Cargo.toml"));
    let section = |title: &str| {
        let text = manifest.split(&format!("\n[{title}]\n")).nth(1).expect("a section").to_owned();
        text.split("\n[").next().unwrap().to_owned()
    };
    let docs = section("package.metadata.docs.rs");
    let shown = docs.lines().find(|line| line.starts_with("features = ")).expect("a list");
    // A name that begins with an underscore is private.
    for line in section("features").lines().filter(|line| !line.starts_with(['#', '_'])) {
        let feature = line.split(" = ").next().unwrap();
        assert!(
            feature.is_empty() || feature == "default" || shown.contains(&format!("{feature:?}")),
            "docs.rs does not show the feature {feature}"
        );
    }
}

/// A package registry shows README.md without the files around it.
#[test]
fn the_readme_has_no_relative_links() {
    for target in targets(&read(&root().join("README.md"))) {
        assert!(target.starts_with("https://"), "README.md links to {target}");
    }
}

/// The rows of README's table of costs: the words, the case of `benches/compare`, the processors,
/// the unit.
const COSTS: &[(&str, &str, &str, &str)] = &[
    ("a message on an unbuffered channel: a context switch", "ctx_switch", "1", " ns"),
    ("the same, two processors", "ctx_switch", "2", " ns"),
    ("a message on a channel of 128", "spsc_128", "1", " ns"),
    ("a goroutine, spawned and joined", "spawn_join", "1", " ns"),
    ("the same, two processors", "spawn_join", "2", " ns"),
    ("a message to a select over four channels", "select_4", "1", " ns"),
    ("a goroutine's turn, when it yields", "yield", "1", " ns"),
    ("a parked goroutine that holds nothing, one of 100 000", "parked_100000", "1", " B"),
];

#[test]
fn the_readme_says_what_was_measured() {
    let results = read(&root().join("benches/results/compare.csv"));
    let median = |case: &str, procs: &str, contender: &str| -> Option<f64> {
        let is = |cells: &Vec<&str>| {
            (cells[1], cells[2], cells[4], cells[5]) == (case, "", procs, contender)
        };
        let mut lines = results
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split(',').collect());
        lines.find(is).and_then(|cells: Vec<&str>| cells[7].parse().ok())
    };
    let readme = read(&root().join("README.md"));
    for (words, case, procs, unit) in COSTS {
        let mut row = format!("| {words} |");
        for contender in ["gopark", "go", "tokio", "kanal", "async-executor"] {
            let figure = median(case, procs, contender);
            let cell = figure.map_or("–".to_owned(), |median| grouped(median) + unit);
            let _ = write!(row, " {cell} |");
        }
        assert!(readme.contains(&row), "README.md has no row\n{row}");
    }
}

#[test]
fn the_tree_speaks_of_no_machine() {
    let paths =
        [concat!("/wo", "rk/"), concat!("/tm", "p/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    for path in files("", "") {
        // A file that is not text names no paths.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (at, line) in text.lines().enumerate() {
            for machine in paths {
                assert!(!line.contains(machine), "{}, line {}: {machine}", path.display(), at + 1);
            }
        }
    }
}

// ------------------------------------------------------------------------------- reading the tree

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below `dir` whose names end in `.ext` (any, if that is empty), without build output
/// and Cargo.lock.
fn files(dir: &str, ext: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name());
            if name == "target" || name == ".git" || name == "Cargo.lock" {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                dirs.push(path);
            } else if ext.is_empty() || path.extension().is_some_and(|found| found == ext) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The programs in `examples/` and in its package: `NAME.rs` and `NAME/main.rs`, not the chapters
/// of the tour nor other modules.
fn examples() -> Vec<PathBuf> {
    let dir = root().join("examples");
    let dirs = [dir.join("integrations"), dir];
    let is_program = |path: &PathBuf| {
        dirs.iter().any(|dir| path.parent() == Some(dir)) || path.ends_with("main.rs")
    };
    files("examples", "rs").into_iter().filter(is_program).collect()
}

/// The modules by their paths in `src/`: "chan" for `src/chan/mod.rs`, "chan/op", "lib".
fn sources() -> BTreeMap<String, String> {
    modules("src")
}

/// The same for any folder of sources.
fn modules(dir: &str) -> BTreeMap<String, String> {
    let name = |path: &Path| {
        let relative = path.strip_prefix(root().join(dir)).unwrap().with_extension("");
        let name = relative.to_str().unwrap().replace('\\', "/");
        name.strip_suffix("/mod").unwrap_or(&name).to_owned()
    };
    files(dir, "rs").iter().map(|path| (name(path), read(path))).collect()
}

/// A line without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// A figure as a whole number, with a space between thousands: "1 272".
fn grouped(figure: f64) -> String {
    let (digits, mut out) = (format!("{figure:.0}"), String::new());
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// The placeholder for the repository's address, which a release replaces in README.md.
const REPOSITORY: &str = "https://example.invalid/gopark/";

/// The address of the guide's pages.
const GUIDE: &str = "https://docs.rs/gopark/latest/gopark/guide/";

/// The targets of a text's links: `[text](target)`, and `[label]: target` at the start of a line.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    let inline = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let lines = text.lines().filter(|line| line.starts_with('['));
    inline.chain(lines.filter_map(|line| line.split_once("]: ")).map(|(_label, target)| target))
}

/// The files to which a text links: relative links, those into the repository, and the guide's
/// pages.
fn links(text: &str) -> Vec<String> {
    let file = |target: &str| {
        if let Some(page) = target.strip_prefix(GUIDE) {
            let page = page.split('/').next().unwrap_or(page);
            return Some(format!("src/guide/{page}.md"));
        }
        let path = target.strip_prefix(REPOSITORY).map_or(target, |rest| {
            let path = ["blob/main/", "raw/main/"].iter().find_map(|kind| rest.strip_prefix(kind));
            path.unwrap_or(rest)
        });
        let path = path.split('#').next().unwrap_or(path);
        (!path.is_empty() && !path.contains("://")).then(|| path.to_owned())
    };
    targets(text).filter_map(file).collect()
}

/// The unit of a module: its folder, or itself if it has none.
fn unit(module: &str) -> &str {
    module.split('/').next().unwrap_or(module)
}

/// True for unit tests and models, which are compiled for tests only.
fn is_proof(module: &str) -> bool {
    module.split('/').any(|part| part == "tests" || part == "models")
}

/// The modules that `module` uses by paths from `crate`, `super` or `self`; "lib" is the crate's
/// root.
fn uses(module: &str, text: &str, modules: &BTreeSet<String>) -> BTreeSet<String> {
    // Tests and models, which are at the end of a file, may use anything.
    let shipped = text.split("#[cfg(test)]").next().unwrap_or(text);
    let shipped = shipped.split("#[cfg(all(test").next().unwrap_or(shipped);
    let shipped: String = shipped.lines().flat_map(|line| [code(line), "\n"]).collect();
    let mut found = BTreeSet::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in shipped.match_indices(start) {
            let before = &shipped[..at];
            let inside_a_word =
                before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
            // A folder shows what its files have, as in `pub use self::file::Item`; it does not use
            // it.
            let shows = start == "self::" && before.ends_with("pub use ");
            if inside_a_word || shows || before.ends_with("in ") || before.ends_with("super::") {
                continue;
            }
            let mut base = match start {
                "crate::" => String::new(),
                "super::" => parent(module),
                _ => module.to_owned(),
            };
            let mut rest = &shipped[at + start.len()..];
            while let Some(higher) = rest.strip_prefix("super::") {
                base = parent(&base);
                rest = higher;
            }
            follow(&base, rest, modules, &mut found);
        }
    }
    found.remove(module);
    found
}

/// Follows a path, or each path of a group, down to a module, and records that module.
fn follow(base: &str, path: &str, modules: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    if let Some(group) = path.trim_start().strip_prefix('{') {
        let mut depth = 0;
        let mut start = 0;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                ',' | '}' if depth == 0 => {
                    let part = group[start..at].trim();
                    if !part.is_empty() {
                        follow(base, part, modules, found);
                    }
                    start = at + 1;
                    if c == '}' {
                        return;
                    }
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
        return;
    }
    let word: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let deeper = if base.is_empty() { word.clone() } else { format!("{base}/{word}") };
    if modules.contains(&deeper) {
        match path[word.len()..].strip_prefix("::") {
            Some(rest) => follow(&deeper, rest, modules, found),
            None => _ = found.insert(deeper),
        }
    } else {
        found.insert(if base.is_empty() { "lib".to_owned() } else { base.to_owned() });
    }
}

fn parent(module: &str) -> String {
    module.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned()
}

/// The first cycle in a graph of modules.
fn any_circle(graph: &BTreeMap<&str, BTreeSet<String>>) -> Option<String> {
    graph.keys().find_map(|module| circle(graph, module, &mut Vec::new()))
}

/// A path from `module` back to itself, if there is one.
fn circle<'a>(
    graph: &'a BTreeMap<&'a str, BTreeSet<String>>,
    module: &'a str,
    path: &mut Vec<&'a str>,
) -> Option<String> {
    if path.first() == Some(&module) {
        return Some(format!("{} -> {module}", path.join(" -> ")));
    }
    if path.contains(&module) {
        return None;
    }
    path.push(module);
    let found = graph.get(module)?.iter().find_map(|used| circle(graph, used, path));
    path.pop();
    found
}
