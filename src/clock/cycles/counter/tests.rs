//! Tests with a simulated counter of 2.5 GHz and a simulated clock.

use super::*;

const CYCLES_IN_MS: u64 = 2_500_000;
/// Nanoseconds of 2^32 cycles.
const TRUE_PACE: u64 = (2 << 32) / 5;
const MS: u64 = 1_000_000;

/// A machine with a thread that runs on the CPU `cpu`.
struct Machine {
    cpu: u64,
    cycles: u64,
    nanos: u64,
}

impl Machine {
    fn new() -> Self {
        Self { cpu: 0, cycles: 1 << 40, nanos: 5 }
    }

    fn run(&mut self, millis: u64) {
        self.cycles += millis * CYCLES_IN_MS;
        self.nanos += millis * MS;
    }

    /// Suspends the machine: the clock stops, and the counter continues.
    fn suspend(&mut self, millis: u64) {
        self.cycles += millis * CYCLES_IN_MS;
    }

    fn count(&self) -> Count {
        Count { cpu: self.cpu, cycles: self.cycles }
    }

    /// Looks at the clock. This takes 100 cycles, 40 nanoseconds, and the clock is read in the
    /// middle.
    fn look(&mut self) -> Look {
        let before = self.count();
        let time = Time::from_nanos(self.nanos + 20);
        self.cycles += 100;
        self.nanos += 40;
        Look { before, time, after: self.count() }
    }
}

/// Adds looks until the measurement is complete. Calls `happens` before each one.
fn measured(machine: &mut Machine, mut happens: impl FnMut(&mut Machine, usize)) -> u64 {
    let mut measurement = Measurement::NEW;
    for n in 0..1000 {
        happens(machine, n);
        if let Some(pace) = measurement.add(machine.look()) {
            return pace;
        }
    }
    panic!("no pace was measured");
}

/// Asserts that the pace is exact, apart from the duration of a look, and the quarter that is added
/// for a slewed clock.
fn assert_exact(pace: u64) {
    let least = TRUE_PACE / 4 * 5;
    assert!((least..least + least / 1000).contains(&pace), "{pace} instead of {least}");
}

#[test]
fn the_pace_is_rounded_up() {
    assert_exact(measured(&mut Machine::new(), |machine, _| machine.run(4)));
    assert_exact(measured(&mut Machine::new(), |machine, _| machine.run(99)));
}

/// A bug: the counter continued while the machine was suspended between the first two sleeps, and
/// all deadlines of the process were early.
#[test]
fn a_suspension_while_the_pace_is_measured_makes_no_deadline_early() {
    for suspended in 0..6 {
        for millis in [1, 900, 3_600_000] {
            assert_exact(measured(&mut Machine::new(), |machine, n| {
                machine.run(5);
                if n == suspended {
                    machine.suspend(millis);
                }
            }));
        }
    }
}

/// A bug: a thread was interrupted between the reads of the counter and of the clock. For 50 µs all
/// its time-outs were late by as long as the interruption.
#[test]
fn a_pause_in_the_middle_of_a_look_makes_no_deadline_early() {
    for clock_is_read_first in [false, true] {
        let (mut machine, mut measurement) = (Machine::new(), Measurement::NEW);
        let pace = std::iter::from_fn(|| {
            machine.run(5);
            let mut look = machine.look();
            machine.run(1);
            if !clock_is_read_first {
                look.time = Time::from_nanos(machine.nanos);
            }
            look.after = machine.count();
            Some(measurement.add(look))
        });
        let pace = pace.take(10).find_map(|pace| pace).unwrap();
        // Only five of six milliseconds were counted.
        let (least, most) = (TRUE_PACE / 4 * 5, TRUE_PACE / 4 * 6);
        assert!((least..most + most / 1000).contains(&pace), "{pace}, not {least} to {most}");
    }
}

#[test]
fn looks_that_are_rare_measure_nothing() {
    // There may have been a suspension in each interval.
    let (mut machine, mut measurement) = (Machine::new(), Measurement::NEW);
    for _ in 0..100 {
        machine.run(101);
        assert_eq!(measurement.add(machine.look()), None);
    }
}

#[test]
fn nothing_is_measured_between_two_cpus() {
    let (mut machine, mut measurement) = (Machine::new(), Measurement::NEW);
    for _ in 0..100 {
        machine.run(5);
        machine.cpu ^= 1;
        assert_eq!(measurement.add(machine.look()), None);
    }
    assert_exact(measured(&mut machine, |machine, n| {
        machine.run(5);
        if n == 2 {
            // The counters of the two CPUs do not agree.
            machine.cpu ^= 1;
            machine.cycles -= CYCLES_IN_MS;
        }
    }));
}

#[test]
fn a_counter_that_is_set_back_or_stops_measures_nothing() {
    assert_exact(measured(&mut Machine::new(), |machine, n| {
        machine.run(5);
        match n {
            1 => machine.cycles = 7,
            3 => machine.cycles -= 5 * CYCLES_IN_MS - CYCLES_IN_MS / 100,
            _ => {}
        }
    }));
}

#[test]
fn a_moment_is_not_before_now_though_the_clock_is_slewed() {
    // The pace was measured while the kernel slowed the clock down as far as it does, and now it
    // speeds it up as far.
    let pace = TRUE_PACE / 100 * 89 / 4 * 5;
    let count = Count { cpu: 1, cycles: u64::MAX - 5 };
    let look = Look { before: count, time: Time::from_nanos(MS), after: count };
    for age in [0, 1, 1000, FRESH - 1] {
        let now = Count { cpu: 1, cycles: count.cycles.wrapping_add(age) };
        let time = look.at(now, pace).unwrap().as_nanos();
        let passed = age as f64 * 0.4;
        assert!(time as f64 >= MS as f64 + passed * 1.11, "after {age} cycles it is early");
        assert!(
            time as f64 <= MS as f64 + passed * 1.25 + OUT_OF_ORDER as f64,
            "after {age} cycles it is late"
        );
    }
}

#[test]
fn nothing_is_counted_from_long_ago_from_another_cpu_or_from_before_the_counter_began_anew() {
    let count = Count { cpu: 1, cycles: 1 << 40 };
    let look = Look { before: count, time: Time::from_nanos(MS), after: count };
    let at = |cpu, cycles| look.at(Count { cpu, cycles }, TRUE_PACE);
    assert_eq!(at(1, count.cycles + FRESH), None);
    assert_eq!(at(1, count.cycles - 1), None);
    assert_eq!(at(1, 0), None);
    assert_eq!(at(2, count.cycles + 1), None);
    assert!(at(1, count.cycles + 1).is_some());
}

#[test]
fn the_slowest_pace_fits() {
    assert!(SLOWEST.checked_add(SLOWEST / 4).and_then(|pace| pace.checked_mul(FRESH)).is_some());
}
