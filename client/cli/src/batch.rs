//! `firn batch`: the lines of `POST /v1/batch`, any number of them, answered by the same lines.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;

use firn_gateway::http::limits::BATCH_BYTES_MAX;
use firn_wire::limits::BATCH_OPERATIONS_MAX;
use serde::Deserialize;

use crate::exit::{Exit, Problem};
use crate::options;
use crate::output::Output;
use crate::store::Store;

/// Bytes read ahead; about as many lines make one round to the workers.
const BUFFER_BYTES: usize = 256 * 1024;

/// Runs the lines that are there to read, prints their answers, and goes on until the end.
pub(crate) async fn run(
    store: &mut Store<'_>,
    options: &options::Batch,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, open(&options.file)?);
    let mut count = Count::default();
    loop {
        let (lines, ended) = read(&mut reader)?;
        let answer = store.batch(&lines).await;
        count.add(&answer);
        to.out.write_all(&answer)?;
        to.out.flush()?;
        if ended {
            return count.verdict();
        }
    }
}

fn open(path: &Path) -> Result<Box<dyn Read>, Problem> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(path).map_err(|error| {
        Problem::usage(format_args!("the file {} cannot be read: {error}", path.display()))
    })?;
    Ok(Box::new(file))
}

/// Reads lines, empty ones left out, until none is at hand without waiting or a batch is full. True at the end.
fn read(reader: &mut BufReader<impl Read>) -> Result<(Vec<Vec<u8>>, bool), Problem> {
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        let most = BATCH_BYTES_MAX as u64 + 1;
        let ended = reader.by_ref().take(most).read_until(b'\n', &mut line)? == 0;
        if line.len() > BATCH_BYTES_MAX {
            let message = format!("a line is longer than {BATCH_BYTES_MAX} bytes");
            return Err(Problem::new(Exit::Refused, message));
        }
        if !line.trim_ascii().is_empty() {
            lines.push(line.trim_ascii().to_vec());
        }
        if ended || reader.buffer().is_empty() || lines.len() == BATCH_OPERATIONS_MAX {
            return Ok((lines, ended));
        }
    }
}

/// What became of the lines.
#[derive(Debug, Default)]
struct Count {
    lines: u64,
    not_done: u64,
    worst: Option<Exit>,
}

impl Count {
    fn add(&mut self, answer: &[u8]) {
        #[derive(Deserialize)]
        struct Answered {
            status: u16,
        }
        for line in answer.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let answered: Answered = serde_json::from_slice(line).expect("each line has a status");
            self.lines += 1;
            if let Some(exit) = exit_of(answered.status) {
                self.not_done += 1;
                self.worst = Some(self.worst.map_or(exit, |worst| worst.max(exit)));
            }
        }
    }

    fn verdict(&self) -> Result<(), Problem> {
        let Self { lines, not_done, worst } = self;
        match worst {
            None => Ok(()),
            Some(worst) => Err(Problem::new(
                *worst,
                format_args!(
                    "{not_done} of {lines} operations were not done; their answers say why"
                ),
            )),
        }
    }
}

/// How a status of `/v1` counts; None is done.
fn exit_of(status: u16) -> Option<Exit> {
    match status {
        ..400 => None,
        404 | 412 => Some(Exit::NotThere),
        503 => Some(Exit::Unreachable),
        504 => Some(Exit::Unknown),
        _ => Some(Exit::Refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(input: &[u8], buffer: usize) -> Vec<usize> {
        let mut reader = BufReader::with_capacity(buffer, input);
        let mut counts = Vec::new();
        loop {
            let (lines, ended) = read(&mut reader).unwrap();
            assert!(lines.iter().all(|line| line == b"{}"), "{lines:?}");
            counts.push(lines.len());
            if ended {
                return counts;
            }
        }
    }

    #[test]
    fn lines_at_hand_make_a_batch_within_its_bound() {
        assert_eq!(batches(b"", 64), [0]);
        assert_eq!(batches(b"{}\r\n\n {}\n{}", 64), [3, 0]);
        assert_eq!(batches(&b"{}\n".repeat(2_500), 64 * 1024), [1_000, 1_000, 500, 0]);
        assert_eq!(batches(&b"{}\n".repeat(4), 6), [2, 2, 0]);
    }

    #[test]
    fn the_worst_that_happened_is_the_code() {
        let mut count = Count::default();
        count.add(b"{\"status\":201}\n{\"status\":204}\n");
        assert_eq!(count.verdict(), Ok(()));
        count.add(b"{\"status\":404,\"type\":\"x\"}\n");
        assert_eq!(count.verdict().unwrap_err().exit, Exit::NotThere);
        count.add(b"{\"status\":504}\n{\"status\":400}\n");
        let problem = count.verdict().unwrap_err();
        assert_eq!(problem.exit, Exit::Unknown);
        assert!(problem.to_string().starts_with("3 of 5 operations"), "{problem}");
    }
}
