//! Figures as tables and as JSON.

use comfy_table::Table;
use serde_json::{Value, json};

use crate::measure::{Sample, Samples};

/// Whom the ratios are about.
const OURSELVES: &str = "firn";

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Row title → samples.
    pub(crate) rows: Vec<(String, Samples)>,
    /// Contestant → bytes for an entry.
    pub(crate) memory: Vec<(&'static str, f64)>,
}

/// Median and the ends of a figure over the rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> Self {
        let mut values: Vec<f64> = samples.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        assert!(!values.is_empty(), "a row has a sample of each round");
        let median = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
        Self { median, min: values[0], max: values[values.len() - 1] }
    }

    fn shown(self, digits: usize) -> String {
        let Self { median, min, max } = self;
        format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
    }

    fn json(self) -> Value {
        json!({"median": self.median, "min": self.min, "max": self.max})
    }
}

/// The figures of one contestant in one row.
struct Figures {
    throughput: Spread,
    p50_ms: Spread,
    p99_ms: Spread,
    cpu: Spread,
}

impl Figures {
    fn of(samples: &[Sample]) -> Self {
        Self {
            throughput: Spread::of(samples, |sample| sample.traffic.operations_per_second),
            p50_ms: Spread::of(samples, |sample| sample.traffic.p50_ms),
            p99_ms: Spread::of(samples, |sample| sample.traffic.p99_ms),
            cpu: Spread::of(samples, |sample| sample.cpu_seconds_per_million),
        }
    }

    fn json(&self) -> Value {
        json!({
            "operations_per_second": self.throughput.json(),
            "p50_ms": self.p50_ms.json(),
            "p99_ms": self.p99_ms.json(),
            "cpu_seconds_per_million": self.cpu.json(),
        })
    }
}

/// Our processor time over that of `other`.
fn ratio(samples: &Samples, other: &Figures) -> Option<f64> {
    let ours = Figures::of(samples.get(OURSELVES)?);
    Some(ours.cpu.median / other.cpu.median)
}

impl Report {
    /// For people: medians, with least and most, and how much processor time Firn takes for one of theirs.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::ASCII_MARKDOWN);
        table.set_header(["", "who", "op/s", "p50 ms", "p99 ms", "CPU s / 1M op", "firn / this"]);
        for (title, samples) in &self.rows {
            for (name, samples_of_one) in samples {
                let figures = Figures::of(samples_of_one);
                let ratio = ratio(samples, &figures).map(|ratio| format!("{ratio:.2}"));
                table.add_row([
                    title.clone(),
                    name.clone(),
                    figures.throughput.shown(0),
                    figures.p50_ms.shown(3),
                    figures.p99_ms.shown(3),
                    figures.cpu.shown(2),
                    ratio.unwrap_or_default(),
                ]);
            }
        }
        let mut memory = Table::new();
        memory.load_style(comfy_table::presets::ASCII_MARKDOWN);
        memory.set_header(["who", "resident bytes / entry", "above 84 bytes of payload"]);
        for (name, bytes) in &self.memory {
            memory.add_row([
                (*name).to_owned(),
                format!("{bytes:.0}"),
                format!("{:.0}", bytes - 84.0),
            ]);
        }
        format!("{table}\n\n{memory}\n")
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let rows = self.rows.iter().map(|(title, samples)| {
            let all = samples.iter().map(|(name, samples)| (name, Figures::of(samples)));
            let all = all.map(|(name, figures)| {
                let mut value = figures.json();
                value["firn_cpu_ratio"] = json!(ratio(samples, &figures));
                (name.clone(), value)
            });
            (title.clone(), Value::Object(all.collect()))
        });
        let memory = self.memory.iter().map(|(name, bytes)| ((*name).to_owned(), json!(bytes)));
        json!({
            "rows": Value::Object(rows.collect()),
            "memory_bytes_per_entry": Value::Object(memory.collect()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Traffic;

    fn sample(cpu: f64) -> Sample {
        let traffic =
            Traffic { operations: 1e6, operations_per_second: 1e5, p50_ms: 1.0, p99_ms: 2.0 };
        Sample { traffic, cpu_seconds_per_million: cpu }
    }

    #[test]
    fn a_ratio_is_that_of_medians() {
        let mut report = Report::default();
        let samples = Samples::from([
            ("firn".to_owned(), vec![sample(3.0), sample(1.0), sample(2.0)]),
            ("redis-server".to_owned(), vec![sample(5.0), sample(3.0)]),
        ]);
        report.rows.push(("GET".to_owned(), samples));
        let json = report.json();
        assert_eq!(json["rows"]["GET"]["redis-server"]["firn_cpu_ratio"], 0.5);
        assert_eq!(json["rows"]["GET"]["firn"]["cpu_seconds_per_million"]["max"], 3.0);
        assert!(report.table().contains("4.00 (3.00–5.00)"), "{}", report.table());
    }
}
