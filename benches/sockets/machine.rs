//! What the system reports about processes, and the cores that they run on.

use std::fs;
use std::io;
use std::mem;

/// Runs `f` with this thread on these cores. The threads and processes that it starts stay there.
pub(crate) fn on_cores<T>(cores: &[usize], f: impl FnOnce() -> T) -> io::Result<T> {
    let size = mem::size_of::<libc::cpu_set_t>();
    // SAFETY: zeros are an empty set.
    let (mut before, mut wanted): (libc::cpu_set_t, libc::cpu_set_t) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    for core in cores {
        // SAFETY: the call checks the number against the size of the set.
        unsafe { libc::CPU_SET(*core, &mut wanted) };
    }
    let set = |set: &libc::cpu_set_t| {
        // SAFETY: 0 is this thread, and the size is that of the set.
        check(unsafe { libc::sched_setaffinity(0, size, set) })
    };
    // SAFETY: 0 is this thread, and the size is that of the set.
    check(unsafe { libc::sched_getaffinity(0, size, &mut before) })?;
    set(&wanted)?;
    let result = f();
    set(&before)?;
    Ok(result)
}

/// Raises the limit of open files of this process, and of those that it starts, to the maximum.
pub(crate) fn many_files() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a whole value of that type, which the call writes.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is to a whole value of that type, which the call reads.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The nanoseconds that the threads of a process have run.
pub(crate) fn run_time(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        // It may have ended since.
        let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
        sum += first_number(&text);
    }
    Ok(sum)
}

/// The resident bytes of a process.
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    // SAFETY: the call only reads a property of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    Ok(text.split_once(' ').map_or(0, |(_, rest)| first_number(rest)) * page)
}

/// The nanoseconds that all processors together were busy, in steps of ten milliseconds.
pub(crate) fn busy() -> io::Result<u64> {
    const IDLE: [usize; 2] = [3, 4];
    let text = fs::read_to_string("/proc/stat")?;
    let all = text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    let busy =
        all.enumerate().filter(|(at, _)| !IDLE.contains(at)).map(|(_, ticks)| first_number(ticks));
    Ok(busy.sum::<u64>() * 10_000_000)
}

fn first_number(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default()
}
