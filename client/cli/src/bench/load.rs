//! What a run sends and when: pure, and the same for the same seed.

use std::time::Duration;

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Read the key of this number.
    Get(u64),
    /// Write it.
    Put(u64),
}

/// Random numbers from a seed (SplitMix64: Steele, Lea, Flood, OOPSLA 2014). For choosing keys, never for secrets.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Evenly from `0..bound` (Lemire's multiplication; its bias is below bound / 2^64).
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Evenly from 0 up to, but not, 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The requests of one connection.
#[derive(Debug, Clone)]
pub(crate) enum Actions {
    /// Evenly drawn keys, reads and writes mixed; without end.
    Drawn(Draw),
    /// Each key of a range written once.
    Fill(std::ops::Range<u64>),
}

/// How requests are drawn.
#[derive(Debug, Clone)]
pub(crate) struct Draw {
    random: Random,
    keys: u64,
    ratio: f64,
}

impl Actions {
    /// Keys from `0..keys`, the share `ratio` of them read.
    pub(crate) fn drawn(seed: u64, keys: u64, ratio: f64) -> Self {
        assert!(keys > 0 && (0.0..=1.0).contains(&ratio), "{keys} keys, ratio {ratio}");
        Self::Drawn(Draw { random: Random(seed), keys, ratio })
    }

    /// The part of writing `0..keys` that falls to one of `connections`.
    pub(crate) fn fill(keys: u64, connection: u64, connections: u64) -> Self {
        assert!(connection < connections, "connection {connection} of {connections}");
        let bound = |n: u64| (u128::from(keys) * u128::from(n) / u128::from(connections)) as u64;
        Self::Fill(bound(connection)..bound(connection + 1))
    }
}

impl Iterator for Actions {
    type Item = Action;
    fn next(&mut self) -> Option<Action> {
        match self {
            Self::Fill(keys) => keys.next().map(Action::Put),
            Self::Drawn(draw) => {
                let key = draw.random.below(draw.keys);
                let read = draw.random.fraction() < draw.ratio;
                Some(if read { Action::Get(key) } else { Action::Put(key) })
            }
        }
    }
}

/// When the requests of one connection are to start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// Closed loop: as soon as there is room in the pipeline. A slow answer delays what comes after it, so latencies are
    /// those of a client that waits.
    Closed,
    /// Open loop: at fixed times, whatever became of earlier ones. A latency counts from the intended time, so a pause of
    /// the server is felt by every request it delayed ("coordinated omission" is what leaving them out is called: Gil
    /// Tene, How NOT to Measure Latency).
    Open {
        /// The first one's time, from the start of the run.
        offset: Duration,
        /// Between two; not 0.
        every: Duration,
    },
}

impl Pace {
    /// The pace of one of `connections` which together send `rate` requests a second; None is as fast as can be.
    pub(crate) fn of(rate: Option<f64>, connection: u64, connections: u64) -> Self {
        match rate {
            None => Self::Closed,
            Some(rate) => Self::Open {
                offset: Duration::from_secs_f64(connection as f64 / rate),
                every: Duration::from_secs_f64(connections as f64 / rate)
                    .max(Duration::from_nanos(1)),
            },
        }
    }

    /// When request number `n` is to start, from the start of the run; None: now.
    pub(crate) fn intended(self, n: u64) -> Option<Duration> {
        match self {
            Self::Closed => None,
            Self::Open { offset, every } => {
                let after_ns = every.as_nanos().saturating_mul(u128::from(n));
                Some(offset + Duration::from_nanos(u64::try_from(after_ns).unwrap_or(u64::MAX)))
            }
        }
    }

    /// How many requests are to start before `end`; None: as many as there is time for.
    pub(crate) fn planned(self, end: Duration) -> Option<u64> {
        match self {
            Self::Closed => None,
            Self::Open { offset, every } => {
                let span_ns = end.saturating_sub(offset).as_nanos();
                let planned = span_ns.div_ceil(every.as_nanos());
                Some(u64::try_from(planned).unwrap_or(u64::MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fill_writes_every_key_once() {
        for connections in [1, 3, 7, 50] {
            let keys: Vec<_> = (0..connections)
                .flat_map(|connection| Actions::fill(20, connection, connections))
                .collect();
            assert_eq!(keys, (0..20).map(Action::Put).collect::<Vec<_>>());
        }
    }

    #[test]
    fn drawn_requests_keep_to_the_ratio_and_reach_all_keys() {
        let drawn: Vec<_> = Actions::drawn(1, 10, 0.8).take(10_000).collect();
        let reads = drawn.iter().filter(|action| matches!(action, Action::Get(_))).count();
        assert!((7_700..8_300).contains(&reads), "{reads} reads of 10,000");
        for key in 0..10 {
            assert!(drawn.contains(&Action::Get(key)) && drawn.contains(&Action::Put(key)));
        }
        assert!(drawn.iter().all(|a| matches!(a, Action::Get(k) | Action::Put(k) if *k < 10)));
        assert!(Actions::drawn(1, 10, 0.8).take(10_000).eq(drawn), "the same seed, the same run");
        assert!(Actions::drawn(2, 1, 1.0).take(1_000).all(|action| action == Action::Get(0)));
        assert!(Actions::drawn(2, 1, 0.0).take(1_000).all(|action| action == Action::Put(0)));
    }

    #[test]
    fn an_open_loop_spreads_its_rate_over_the_connections() {
        let second = Duration::from_secs(1);
        let mut times: Vec<_> = (0..4)
            .flat_map(|connection| {
                let pace = Pace::of(Some(100.0), connection, 4);
                let planned = pace.planned(second).unwrap();
                (0..planned).map(move |n| pace.intended(n).unwrap())
            })
            .collect();
        times.sort();
        assert_eq!(times.len(), 100);
        for (n, time) in times.iter().enumerate() {
            let want = n as f64 / 100.0;
            assert!((time.as_secs_f64() - want).abs() < 1e-6, "{n}: {time:?}");
        }
    }

    #[test]
    fn a_closed_loop_has_no_plan() {
        let pace = Pace::of(None, 0, 1);
        assert_eq!((pace.intended(5), pace.planned(Duration::from_secs(1))), (None, None));
    }
}
