//! Runs each measurement in a process of its own, and builds the smallest programs.

#[cfg(target_os = "linux")]
use std::cell::OnceCell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::figures::median;
use crate::common::peers::{self, root};
use crate::report::Outcome;
#[cfg(target_os = "linux")]
use crate::sockets::{cases, sample};
use crate::spec::{Case, How};

/// A measurement is given up after this time; a quick one earlier, a build later.
const PATIENCE: Duration = Duration::from_secs(15);
const QUICK_PATIENCE: Duration = Duration::from_secs(3);
const BUILD_PATIENCE: Duration = Duration::from_secs(600);

/// The programs and folders that the measurements need besides this program.
#[derive(Debug)]
pub(crate) struct Bench {
    me: PathBuf,
    /// The program of Go's cases, or why there is none.
    go: Result<PathBuf, String>,
    /// The directory of the builds.
    dir: PathBuf,
    builds: bool,
    /// The seconds that the builds took, or why one failed. Each is a build from nothing.
    built: RefCell<BTreeMap<String, Result<f64, String>>>,
    patience: Duration,
    /// The servers and the client of the network's cases, once one is wanted.
    #[cfg(target_os = "linux")]
    sockets: OnceCell<Result<sample::Bench, String>>,
    #[cfg(target_os = "linux")]
    quick: bool,
}

/// The directories of the results and of the builds.
pub(crate) fn scratch() -> PathBuf {
    peers::scratch("compare")
}

impl Bench {
    pub(crate) fn new(builds: bool, quick: bool) -> Self {
        let dir = scratch();
        fs::create_dir_all(&dir).expect("the target directory can be written");
        let go = peers::build_go("./compare", &dir.join("go-cases"));
        let patience = if quick { QUICK_PATIENCE } else { PATIENCE };
        Self {
            me: peers::me(),
            go,
            dir,
            builds,
            built: RefCell::default(),
            patience,
            #[cfg(target_os = "linux")]
            sockets: OnceCell::new(),
            #[cfg(target_os = "linux")]
            quick,
        }
    }

    pub(crate) fn measure(&self, case: &Case, contender: &str, procs: usize, n: u64) -> Outcome {
        match case.how {
            How::Run => self.run(case, contender, procs, n),
            How::Sockets => self.network(case.name, contender, procs, n),
            How::Start => self.starts(contender, procs, n),
            How::Build if !self.builds => Err("only with `--build`".to_owned()),
            How::Build => self.smallest(case.name, contender),
        }
    }

    fn command(&self, contender: &str, procs: usize, words: &[&str]) -> Result<Command, String> {
        let procs_word = procs.to_string();
        let mut command = match contender {
            "go" => Command::new(self.go.as_ref().map_err(Clone::clone)?),
            _ => Command::new(&self.me),
        };
        match contender {
            "go" => command.env("GOMAXPROCS", procs_word),
            _ => command.args(["measure", contender, &procs_word]),
        };
        command.args(words).stdin(Stdio::null());
        Ok(command)
    }

    fn run(&self, case: &Case, contender: &str, procs: usize, n: u64) -> Outcome {
        let mut command = self.command(contender, procs, &[case.name, &n.to_string()])?;
        let said = say(&mut command, self.patience)?;
        if let Some(reason) = said.strip_prefix("none: ") {
            return Err(reason.trim().to_owned());
        }
        let figures: Result<Vec<f64>, _> = said.split_whitespace().map(str::parse).collect();
        figures
            .ok()
            .filter(|figures| figures.len() == case.parts.len())
            .ok_or_else(|| format!("said {said:?}"))
    }

    #[cfg(target_os = "linux")]
    fn network(&self, case: &str, contender: &str, procs: usize, n: u64) -> Outcome {
        match contender {
            "flume" | "kanal" | "crossfire" => {
                return Err("a channel only: what it runs on is tokio's".to_owned());
            }
            "may" => return Err("not written: its sockets".to_owned()),
            _ => {}
        }
        let case = cases::CASES.iter().find(|known| known.name == case).expect("it is listed");
        let length = sample::Length { run: Duration::from_millis(n), quick: self.quick };
        let bench = self.sockets.get_or_init(sample::Bench::new).as_ref().map_err(Clone::clone)?;
        let figures = bench.quiet_sample(case, contender, procs, length)?;
        let figure = figures.get("bytes").or_else(|| figures.get("time"));
        Ok(vec![*figure.ok_or_else(|| format!("said {figures:?}"))?])
    }

    #[cfg(not(target_os = "linux"))]
    fn network(&self, _case: &str, _contender: &str, _procs: usize, _n: u64) -> Outcome {
        Err("only on Linux".to_owned())
    }

    /// The median of this many starts of a program that does nothing, in milliseconds.
    fn starts(&self, contender: &str, procs: usize, n: u64) -> Outcome {
        let mut took = Vec::new();
        for _ in 0..n {
            let mut command = self.command(contender, procs, &["nothing", "0"])?;
            let start = Instant::now();
            let said = say(&mut command, self.patience)?;
            took.push(start.elapsed().as_secs_f64() * 1e3);
            if let Some(reason) = said.strip_prefix("none: ") {
                return Err(reason.trim().to_owned());
            }
        }
        Ok(vec![median(&mut took)])
    }

    /// The first request for a contender builds; the others use what was built.
    fn smallest(&self, what: &str, contender: &str) -> Outcome {
        let dir = self.dir.join(contender);
        let mut built = self.built.borrow_mut();
        let seconds = built
            .entry(contender.to_owned())
            .or_insert_with(|| self.build(&dir, contender))
            .clone()?;
        let figure = match (what, contender) {
            ("compile", _) => seconds,
            ("crates", "go") => 0.0,
            ("crates", _) => {
                let tree = say(
                    cargo(&dir).args([
                        "tree",
                        "--offline",
                        "--edges",
                        "normal",
                        "--prefix",
                        "none",
                    ]),
                    BUILD_PATIENCE,
                )?;
                let mut crates: Vec<&str> =
                    tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
                crates.sort_unstable();
                crates.dedup();
                (crates.len() - 1) as f64
            }
            _ => {
                let program =
                    if contender == "go" { "smallest" } else { "target/release/smallest" };
                fs::metadata(dir.join(program)).map_err(|error| error.to_string())?.len() as f64
            }
        };
        Ok(vec![figure])
    }

    /// The seconds that it takes to build the smallest program from nothing.
    fn build(&self, dir: &Path, contender: &str) -> Result<f64, String> {
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir.join("src")).map_err(|error| error.to_string())?;
        let mut command = if contender == "go" {
            self.go.as_ref().map_err(Clone::clone)?;
            write(&dir.join("go.mod"), "module smallest\n")?;
            write(&dir.join("main.go"), "package main\n\nfunc main() {}\n")?;
            let mut go = Command::new("go");
            // A cache of its own, so that its standard library is built as well.
            go.args(["build", "-o", "smallest", "."])
                .current_dir(dir)
                .env("GOCACHE", dir.join("cache"));
            go
        } else {
            write_smallest(dir, contender)?;
            let mut cargo = cargo(dir);
            cargo.args(["build", "--release", "--offline", "--quiet"]);
            cargo
        };
        let start = Instant::now();
        say(&mut command, BUILD_PATIENCE)?;
        Ok(start.elapsed().as_secs_f64())
    }
}

/// Runs a command to its end, and returns what it printed. It is killed when it takes too long.
fn say(command: &mut Command, patience: Duration) -> Result<String, String> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let said = listen(child.stdout.take().expect("it is piped"));
    let complained = listen(child.stderr.take().expect("it is piped"));
    // The reading ends when the process does.
    let start = Instant::now();
    while !said.is_finished() {
        if start.elapsed() > patience {
            child.kill().map_err(|error| error.to_string())?;
            child.wait().map_err(|error| error.to_string())?;
            // A thread that waits for one that has panicked does not end either.
            let reason =
                gist(&ended(complained)).map(|gist| format!(": {gist}")).unwrap_or_default();
            return Err(format!("did not end in {} s{reason}", patience.as_secs()));
        }
        // Frequent polling would disturb the process, rare polling would make a start look long.
        thread::sleep(Duration::from_micros(if start.elapsed().as_millis() < 20 {
            50
        } else {
            5000
        }));
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    let said = ended(said);
    if status.success() {
        return Ok(said);
    }
    Err(format!("{status}: {}", gist(&ended(complained)).unwrap_or("says nothing")))
}

/// The first line of an error. Before it, a panic prints its location.
fn gist(complaint: &str) -> Option<&str> {
    complaint.lines().find(|line| !line.trim().is_empty() && !line.starts_with("thread '"))
}

fn listen(mut to: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = Vec::new();
        // The output until then counts.
        let _ = to.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    })
}

fn ended(listener: thread::JoinHandle<String>) -> String {
    listener.join().expect("does not panic")
}

fn cargo(dir: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(dir).env("CARGO_TARGET_DIR", dir.join("target"));
    command
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| error.to_string())
}

/// A program that starts a runtime to do nothing, with the dependencies that the cases need of the
/// contender.
fn write_smallest(dir: &Path, contender: &str) -> Result<(), String> {
    let root = root();
    let tokio = "tokio = { version = \"1\", \
                 features = [\"macros\", \"rt-multi-thread\", \"sync\", \"time\"] }\n";
    let on_tokio = "#[tokio::main]\nasync fn main() {}\n";
    let (needs, program) = match contender {
        "gopark" => (
            format!("gopark = {{ path = {root:?} }}\n"),
            "fn main() {\n    gopark::block_on(async {});\n}\n",
        ),
        "async-executor" => (
            "async-executor = \"1\"\nasync-channel = \"2\"\nasync-lock = \"3\"\nasync-io = \"2\"\n"
                .to_owned(),
            "fn main() {\n    \
             async_io::block_on(async_executor::Executor::new().run(async {}));\n}\n",
        ),
        "may" => {
            ("may = \"0.3\"\n".to_owned(), "fn main() {\n    may::go!(|| {}).join().unwrap();\n}\n")
        }
        "flume" => (
            format!(
                "{tokio}flume = {{ version = \"0.12\", default-features = false, \
                 features = [\"async\"] }}\n"
            ),
            on_tokio,
        ),
        "kanal" => (format!("{tokio}kanal = \"0.1\"\n"), on_tokio),
        "crossfire" => (format!("{tokio}crossfire = \"3.1\"\n"), on_tokio),
        _ => (tokio.to_owned(), on_tokio),
    };
    let manifest = format!(
        "[package]\nname = \"smallest\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [workspace]\n\n[dependencies]\n{needs}\n\
         [profile.release]\nlto = \"fat\"\ncodegen-units = 1\nstrip = true\n"
    );
    write(&dir.join("Cargo.toml"), &manifest)?;
    write(&dir.join("src/main.rs"), program)?;
    // The versions that the benches use, which are on this machine.
    let _ = fs::copy(root.join("Cargo.lock"), dir.join("Cargo.lock"));
    Ok(())
}
