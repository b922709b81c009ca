//! `GOPARK_DEBUG`, read once. Go: `GODEBUG`.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::Duration;

use crate::crash::OnDeadlock;

/// What `GOPARK_DEBUG` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Instead of the `Builder`'s.
    pub(super) deadlock: Option<OnDeadlock>,
    pub(super) leaks: Leaks,
    pub(super) dump: bool,
    pub(super) sched: Option<Duration>,
}

/// What to do about goroutines that are still parked when the last `block_on` returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Leaks {
    #[default]
    Off,
    Report,
    Crash,
}

/// The settings of this process.
pub(super) fn get() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let text = std::env::var_os("GOPARK_DEBUG").unwrap_or_default();
        let text = text.to_string_lossy();
        let (settings, wrong) = parse(&text);
        for word in wrong {
            // A closed stderr is no reason to panic.
            let _ = writeln!(io::stderr(), "gopark: GOPARK_DEBUG: {word:?} ignored: {WORDS}");
        }
        settings
    })
}

const WORDS: &str =
    "the settings are deadlock=report|crash|off, leaks=report|crash|off, locks=on|off, dump=on|off, sched=MILLISECONDS";

/// The settings, and the words that are none.
fn parse(text: &str) -> (Settings, Vec<&str>) {
    let mut settings = Settings::default();
    let is_wrong = |word: &&str| !apply(&mut settings, word);
    let wrong = text.split(',').map(str::trim).filter(|word| !word.is_empty()).filter(is_wrong).collect();
    (settings, wrong)
}

/// False if there is no such setting.
fn apply(settings: &mut Settings, word: &str) -> bool {
    let on = |value| match value {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    };
    match word.split_once('=') {
        Some(("deadlock", "report")) => settings.deadlock = Some(OnDeadlock::Report),
        Some(("deadlock", "crash")) => settings.deadlock = Some(OnDeadlock::Crash),
        Some(("deadlock", "off")) => settings.deadlock = Some(OnDeadlock::Ignore),
        Some(("leaks", "report")) => settings.leaks = Leaks::Report,
        Some(("leaks", "crash")) => settings.leaks = Leaks::Crash,
        Some(("leaks", "off")) => settings.leaks = Leaks::Off,
        // Read by `holders`, which comes before any runtime.
        Some(("locks", value)) => return on(value).is_some(),
        Some(("dump", value)) if on(value).is_some() => settings.dump = on(value) == Some(true),
        Some(("sched", millis)) => match millis.parse() {
            Ok(millis @ 1..) => settings.sched = Some(Duration::from_millis(millis)),
            _ => return false,
        },
        _ => return false,
    }
    true
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
