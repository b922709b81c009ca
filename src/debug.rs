//! The environment variable `GOPARK_DEBUG`, which is read once. Go: `GODEBUG`.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::Duration;

/// The settings in `GOPARK_DEBUG`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Overrides the setting of the `Builder`.
    pub(crate) deadlock: Option<Action>,
    pub(crate) leaks: Action,
    /// Whether locks and channels are recorded; by default in builds with debug assertions.
    pub(crate) locks: Option<bool>,
    pub(crate) dump: bool,
    pub(crate) sched: Option<Duration>,
}

/// What to do if a problem is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Action {
    #[default]
    Off,
    Report,
    Crash,
}

/// Returns the settings of this process.
pub(crate) fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let text = std::env::var_os("GOPARK_DEBUG").unwrap_or_default();
        let text = text.to_string_lossy();
        let (settings, wrong) = parse(&text);
        for word in wrong {
            // A closed stderr must not cause a panic.
            let _ = writeln!(io::stderr(), "gopark: GOPARK_DEBUG: {word:?} ignored: {WORDS}");
        }
        settings
    })
}

const WORDS: &str = "the settings are deadlock=report|crash|off, leaks=report|crash|off, \
    locks=on|off, dump=on|off, sched=MILLISECONDS";

/// Returns the settings, and the words that are not settings.
fn parse(text: &str) -> (Settings, Vec<&str>) {
    let mut settings = Settings::default();
    let is_wrong = |word: &&str| !apply(&mut settings, word);
    let wrong =
        text.split(',').map(str::trim).filter(|word| !word.is_empty()).filter(is_wrong).collect();
    (settings, wrong)
}

/// Applies one word. Returns false if there is no such setting.
fn apply(settings: &mut Settings, word: &str) -> bool {
    let Some((name, value)) = word.split_once('=') else { return false };
    let on = match value {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    };
    let action = match value {
        "report" => Some(Action::Report),
        "crash" => Some(Action::Crash),
        "off" => Some(Action::Off),
        _ => None,
    };
    match (name, on, action) {
        ("deadlock", _, Some(action)) => settings.deadlock = Some(action),
        ("leaks", _, Some(action)) => settings.leaks = action,
        ("locks", Some(on), _) => settings.locks = Some(on),
        ("dump", Some(on), _) => settings.dump = on,
        ("sched", ..) => match value.parse() {
            Ok(millis @ 1..) => settings.sched = Some(Duration::from_millis(millis)),
            _ => return false,
        },
        _ => return false,
    }
    true
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
