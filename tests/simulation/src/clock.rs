//! Simulated time, and what a machine's clocks make of it.

use firn_store::time::Now;

/// Unix milliseconds at which every simulated world begins.
const BEGINNING_UNIX_MS: u64 = 1_790_000_000_000;
/// How fast a process' Unix clock may follow the machine's that was set, in thousandths.
const SLEW_PERMILLE: u64 = 10;

/// A moment: microseconds since the world began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// So many microseconds later.
    pub fn plus_us(self, us: u64) -> Self {
        Self(self.0 + us)
    }

    /// So many milliseconds later.
    pub fn plus_ms(self, ms: u64) -> Self {
        self.plus_us(ms * 1_000)
    }
}

/// A machine's clocks: one that ticks at a rate of its own and is never set, and one that is set now and then.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its ticks in a million of true ones.
    rate_ppm: u64,
    /// How far its Unix time is ahead of its own ticks, in milliseconds; may be behind.
    unix_offset_ms: i64,
}

impl Machine {
    /// A machine whose clocks tick so many times in a million true microseconds.
    pub fn new(rate_ppm: u64) -> Self {
        Self { rate_ppm, unix_offset_ms: 0 }
    }

    /// Sets the Unix clock forwards or backwards.
    pub fn jump(&mut self, ms: i64) {
        self.unix_offset_ms += ms;
    }

    /// Milliseconds of the clock that is never set. It does not begin at 0, as no machine's does.
    pub fn lease_ms(&self, at: Moment) -> u64 {
        100_000 + self.ticks_us(at) / 1_000
    }

    /// How long, truly, so many of its milliseconds take, in microseconds.
    pub fn true_us(&self, ms: u64) -> u64 {
        ms * 1_000 * 1_000_000 / self.rate_ppm
    }

    fn ticks_us(&self, at: Moment) -> u64 {
        (u128::from(at.0) * u128::from(self.rate_ppm) / 1_000_000) as u64
    }

    fn unix_ms(&self, at: Moment) -> u64 {
        BEGINNING_UNIX_MS
            .checked_add_signed((self.ticks_us(at) / 1_000) as i64 + self.unix_offset_ms)
            .expect("jumps are small")
    }
}

/// The clocks of one process: its Unix time is the machine's at its start and follows it slowly, never back.
#[derive(Debug, Clone)]
pub struct Clock {
    unix_ms: u64,
    read_at_ms: u64,
    /// Slewed, in thousandths of a millisecond.
    fraction: u64,
}

impl Clock {
    /// The clocks of a process that starts.
    pub fn start(machine: &Machine, at: Moment) -> Self {
        Self { unix_ms: machine.unix_ms(at), read_at_ms: machine.lease_ms(at), fraction: 0 }
    }

    /// Reads both.
    pub fn read(&mut self, machine: &Machine, at: Moment) -> Now {
        let lease_ms = machine.lease_ms(at);
        let passed = lease_ms - self.read_at_ms;
        let wanted = machine.unix_ms(at);
        let slewed = match wanted.cmp(&(self.unix_ms + passed)) {
            std::cmp::Ordering::Equal => 1_000,
            std::cmp::Ordering::Greater => 1_000 + SLEW_PERMILLE,
            std::cmp::Ordering::Less => 1_000 - SLEW_PERMILLE,
        };
        self.fraction += passed * slewed;
        self.unix_ms += self.fraction / 1_000;
        self.fraction %= 1_000;
        self.read_at_ms = lease_ms;
        Now { lease_ms, unix_ms: self.unix_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_is_followed_slowly() {
        let mut machine = Machine::new(1_000_000);
        let mut clock = Clock::start(&machine, Moment(0));
        machine.jump(-50);
        let mut before = clock.read(&machine, Moment(0)).unix_ms;
        for ms in 1..10_000 {
            let now = clock.read(&machine, Moment(ms * 1_000)).unix_ms;
            assert!((before..=before + 2).contains(&now), "{now} after {before}");
            before = now;
        }
        assert!(before.abs_diff(machine.unix_ms(Moment(9_999_000))) <= 1);
    }

    #[test]
    fn a_fast_machine_counts_more() {
        let machine = Machine::new(1_100_000);
        let lease = |seconds: u64| machine.lease_ms(Moment(seconds * 1_000_000));
        assert_eq!(lease(10) - lease(0), 11_000);
        assert_eq!(machine.true_us(1_100), 1_000_000);
    }
}
