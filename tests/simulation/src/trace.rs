//! What happened, as a running hash of everything and, when asked for, as text.

use crate::clock::Moment;

/// Two runs with the same hash did the same.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// Nothing has happened. With `keep` every event is kept as a line of text.
    pub fn new(keep: bool) -> Self {
        Self { hash: 0xCBF2_9CE4_8422_2325, events: 0, lines: keep.then(Vec::new) }
    }

    /// Something happened: the numbers go into the hash, the text into the lines.
    pub fn note(&mut self, at: Moment, facts: &[u64], text: impl FnOnce() -> String) {
        self.events += 1;
        self.mix(at.0);
        facts.iter().for_each(|fact| self.mix(*fact));
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>10.3} ms  {}", at.0 as f64 / 1_000.0, text()));
        }
    }

    fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23);
    }

    /// What all that happened comes to.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How much happened.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The text so far; empty when it is not kept.
    pub fn take_lines(&mut self) -> Vec<String> {
        self.lines.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

/// Bytes as one number for a trace.
pub fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(bytes.len() as u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3)
    })
}
