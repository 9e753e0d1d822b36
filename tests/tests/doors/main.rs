//! One table of cases through every door, and from door to door across workers.

mod across;
mod cases;
mod http;
mod lines;
mod resp;

use firn_tests::Process;

/// What a client wants, in no protocol's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask<'a> {
    /// Write where nothing is there as far as the client knows: by whichever write the protocol has.
    Write(&'a [u8], &'a [u8]),
    /// Write over what is there.
    Overwrite(&'a [u8], &'a [u8]),
    /// Write if nothing is there.
    WriteNew(&'a [u8], &'a [u8]),
    /// Read.
    Get(&'a [u8]),
    /// Remove.
    Delete(&'a [u8]),
}

/// What came of it, in no protocol's words.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// Written, or removed, or not needed: not every protocol tells these apart.
    Done,
    /// The value.
    Value(Vec<u8>),
    /// The key is not there.
    Nil,
    /// The table is not there.
    NoTable,
    /// An error, with all its text.
    Refused(String),
}

/// A door of a worker, with one connection.
trait Door {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Makes a table, or finds that it is there; false where the door has only `default`.
    fn create(&mut self, table: &str) -> bool;

    /// Asks; None where its protocol has no words for this.
    fn ask(&mut self, table: &str, ask: Ask<'_>) -> Option<Answer>;
}

/// Every door of a worker.
fn doors(worker: &Process) -> Vec<Box<dyn Door>> {
    vec![
        Box::new(http::Native::connect(worker.http())),
        Box::new(http::Smache::connect(worker.http())),
        Box::new(resp::Resp::connect(worker.resp())),
        Box::new(lines::Boutique::connect(worker.boutique())),
        Box::new(lines::Winter::connect(worker.winter())),
    ]
}
