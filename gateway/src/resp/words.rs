//! The words of a request: its arguments, borrowed from where they were read or kept for later.

use std::iter::FusedIterator;

/// Where a word stands in its request's bytes. A request is shorter than 4 GiB (see [`super::parse`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    start: u32,
    length: u32,
}

impl Word {
    /// The word `bytes[start..end]`.
    pub(super) fn new(start: usize, end: usize) -> Self {
        let fits = "a request is bounded below 4 GiB";
        Self {
            start: u32::try_from(start).expect(fits),
            length: u32::try_from(end - start).expect(fits),
        }
    }

    fn of(self, bytes: &[u8]) -> &[u8] {
        let start = self.start as usize;
        &bytes[start..start + self.length as usize]
    }
}

/// A request's words; the first is the command's name, and there is always a first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a, 'r> {
    bytes: &'a [u8],
    places: &'r [Word],
}

impl<'a, 'r> Words<'a, 'r> {
    /// The words that stand at `places` of `bytes`.
    pub(super) fn new(bytes: &'a [u8], places: &'r [Word]) -> Self {
        assert!(!places.is_empty(), "a request without words is no request");
        Self { bytes, places }
    }

    /// How many, the name included.
    pub(super) fn len(self) -> usize {
        self.places.len()
    }

    /// Word `at`; the arity check has said that it is there.
    pub(super) fn at(self, at: usize) -> &'a [u8] {
        self.places[at].of(self.bytes)
    }

    /// Word `at`, where there is one.
    pub(super) fn get(self, at: usize) -> Option<&'a [u8]> {
        self.places.get(at).map(|word| word.of(self.bytes))
    }

    /// The words from `at` on.
    pub(super) fn from(self, at: usize) -> impl FusedIterator<Item = &'a [u8]> + Clone + 'r
    where
        'a: 'r,
    {
        let bytes = self.bytes;
        self.places[at.min(self.places.len())..].iter().map(move |word| word.of(bytes))
    }

    /// The words from `at` on as a request of their own; None where there are none.
    pub(super) fn tail(self, at: usize) -> Option<Self> {
        let places = self.places.get(at..).filter(|rest| !rest.is_empty())?;
        Some(Self { bytes: self.bytes, places })
    }
}

/// Requests kept for later, in one allocation for their bytes and one for their places.
#[derive(Debug, Default)]
pub(super) struct Kept {
    bytes: Vec<u8>,
    places: Vec<Word>,
    /// Where in `places` each request ends.
    ends: Vec<usize>,
}

impl Kept {
    /// How many requests.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all words.
    pub(super) fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a word to the request that is being built.
    pub(super) fn push_word(&mut self, word: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(word);
        self.places.push(Word::new(start, self.bytes.len()));
    }

    /// Closes the request that is being built; one of no words is none.
    pub(super) fn finish(&mut self) {
        if self.places.len() > self.ends.last().copied().unwrap_or(0) {
            self.ends.push(self.places.len());
        }
    }

    /// Appends a request.
    pub(super) fn push(&mut self, words: Words<'_, '_>) {
        words.from(0).for_each(|word| self.push_word(word));
        self.finish();
    }

    /// The requests in their order.
    pub(super) fn requests(&self) -> impl Iterator<Item = Words<'_, '_>> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let places = &self.places[start..*end];
            start = *end;
            Words::new(&self.bytes, places)
        })
    }
}
