//! How a figure spreads over its measurements.

use std::fmt;
use std::time::Duration;

/// Measurements of one figure in one unit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spread {
    unit: &'static str,
    digits: usize,
    /// Sorted.
    values: Vec<f64>,
}

impl Spread {
    /// Plain numbers, shown with two digits.
    pub(crate) fn of_numbers(unit: &'static str, values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self { unit, digits: 2, values }
    }

    /// Times, in seconds.
    pub(crate) fn of_seconds(times: impl IntoIterator<Item = Duration>) -> Self {
        Self::of_numbers("s", times.into_iter().map(|time| time.as_secs_f64()))
    }

    /// Times, in milliseconds.
    pub(crate) fn of_milliseconds(times: impl IntoIterator<Item = Duration>) -> Self {
        let times = times.into_iter().map(|time| time.as_secs_f64() * 1000.0);
        Self { digits: 1, ..Self::of_numbers("ms", times) }
    }

    /// The value that `share` of all are not above; 0 when there is none.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let rank = (share * self.values.len() as f64).ceil() as usize;
        self.values.get(rank.max(1) - 1).copied().unwrap_or(0.0)
    }

    /// The middle one.
    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// The smallest.
    pub(crate) fn min(&self) -> f64 {
        self.at(0.0)
    }

    /// The largest.
    pub(crate) fn max(&self) -> f64 {
        self.at(1.0)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, digits) = (self.unit, self.digits);
        let (min, median, max) = (self.min(), self.median(), self.max());
        write!(f, "min {min:.digits$}, median {median:.digits$}, ")?;
        // Of a few the highest is as good as a percentile.
        if self.values.len() >= 50 {
            write!(f, "p99 {:.digits$}, ", self.at(0.99))?;
        }
        write!(f, "max {max:.digits$} {unit} of {}", self.values.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let spread = Spread::of_numbers("s", (1..=200).rev().map(f64::from));
        assert_eq!((spread.min(), spread.median(), spread.max()), (1.0, 100.0, 200.0));
        assert_eq!(spread.at(0.99), 198.0);
        assert_eq!(spread.to_string(), "min 1.00, median 100.00, p99 198.00, max 200.00 s of 200");
        let one = Spread::of_milliseconds([Duration::from_micros(1_250)]);
        assert_eq!(one.to_string(), "min 1.2, median 1.2, max 1.2 ms of 1");
    }
}
