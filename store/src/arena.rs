//! Memory for entries: slots of fixed sizes in pages, found by a 32-bit handle (slab allocation, Bonwick 1994).
//!
//! An allocator's pointer is 64 bits and its bookkeeping more; a handle is 32 bits and a free slot keeps its own list.
//! Sizes rise by 8 bytes to 256, then by an eighth of the last power of two to 8 KiB; a longer entry has a page of its
//! own and exact size.
//!
//! Invariants:
//! - A page is in its class's `open` list exactly when it has a free slot.
//! - A page without used slots is given back to the allocator, unless it is the last open one of its class.

const PAGE_BYTES: usize = 64 * 1024;
const SLOT_BYTES_MIN: usize = 32;
const SLOT_BYTES_MAX: usize = 8 * 1024;
const FINE_BYTES_MAX: usize = 256;
const FINE_STEP: usize = 8;
const FINE_CLASSES: usize = (FINE_BYTES_MAX - SLOT_BYTES_MIN) / FINE_STEP + 1;
const COARSE_STEPS: usize = 8;
const CLASSES: usize = FINE_CLASSES + 5 * COARSE_STEPS;

const SLOT_BITS: u32 = 12;
const PAGES_MAX: usize = 1 << (u32::BITS - SLOT_BITS);
/// The end of a page's list of free slots.
const NONE: u16 = u16::MAX;

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle(u32);

impl Handle {
    fn new(page: usize, slot: u16) -> Self {
        Self((page as u32) << SLOT_BITS | u32::from(slot))
    }
    fn page(self) -> usize {
        (self.0 >> SLOT_BITS) as usize
    }
    fn slot(self) -> usize {
        (self.0 & ((1 << SLOT_BITS) - 1)) as usize
    }
}

/// No more pages: 64 GiB of small entries, or a million long ones, in one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Debug)]
struct Page {
    bytes: Vec<u8>,
    slot_bytes: usize,
    /// Its class; None for a page of one long entry.
    class: Option<usize>,
    used: u16,
    /// Slots from here on were never used.
    fresh: u16,
    /// First of the freed slots, each naming the next in its first two bytes.
    free: u16,
    /// Its place in the class's open list, if it has a free slot.
    open_at: Option<usize>,
}

impl Page {
    fn slots(&self) -> u16 {
        (self.bytes.len() / self.slot_bytes) as u16
    }
    fn is_full(&self) -> bool {
        self.used == self.slots()
    }
    fn slot(&self, slot: usize) -> &[u8] {
        &self.bytes[slot * self.slot_bytes..][..self.slot_bytes]
    }
    fn slot_mut(&mut self, slot: usize) -> &mut [u8] {
        &mut self.bytes[slot * self.slot_bytes..][..self.slot_bytes]
    }

    fn take_slot(&mut self) -> u16 {
        assert!(!self.is_full(), "a full page in the open list");
        self.used += 1;
        if self.free == NONE {
            self.fresh += 1;
            return self.fresh - 1;
        }
        let slot = self.free;
        let link = self.slot(usize::from(slot));
        self.free = u16::from_le_bytes([link[0], link[1]]);
        slot
    }

    fn give_slot(&mut self, slot: usize) {
        let link = self.free.to_le_bytes();
        self.slot_mut(slot)[..2].copy_from_slice(&link);
        self.free = slot as u16;
        self.used -= 1;
    }
}

/// The memory of one shard's entries.
#[derive(Debug)]
pub(crate) struct Arena {
    pages: Vec<Page>,
    /// Numbers of pages that were given back.
    vacant: Vec<usize>,
    /// For each class its pages with a free slot.
    open: Vec<Vec<usize>>,
    bytes: usize,
}

fn class_of(bytes: usize) -> usize {
    if bytes <= FINE_BYTES_MAX {
        return bytes.saturating_sub(SLOT_BYTES_MIN).div_ceil(FINE_STEP);
    }
    let doubling = (bytes - 1).ilog2();
    let base = 1usize << doubling;
    let step = base / COARSE_STEPS;
    let within = (bytes - base).div_ceil(step);
    FINE_CLASSES + (doubling - FINE_BYTES_MAX.ilog2()) as usize * COARSE_STEPS + within - 1
}

fn slot_bytes_of(class: usize) -> usize {
    if class < FINE_CLASSES {
        return SLOT_BYTES_MIN + class * FINE_STEP;
    }
    let coarse = class - FINE_CLASSES;
    let base = FINE_BYTES_MAX << (coarse / COARSE_STEPS);
    base + (coarse % COARSE_STEPS + 1) * (base / COARSE_STEPS)
}

/// Bytes an entry of that length takes.
pub(crate) fn bytes_taken(length: usize) -> usize {
    if length > SLOT_BYTES_MAX { length } else { slot_bytes_of(class_of(length)) }
}

impl Arena {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { pages: Vec::new(), vacant: Vec::new(), open: vec![Vec::new(); CLASSES], bytes: 0 }
    }

    /// Bytes of all pages.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A slot of at least `length` bytes, their content arbitrary.
    pub(crate) fn take(&mut self, length: usize) -> Result<Handle, Full> {
        if length > SLOT_BYTES_MAX {
            let page = self.add_page(length, length, None)?;
            return Ok(Handle::new(page, self.pages[page].take_slot()));
        }
        let class = class_of(length);
        let page = match self.open[class].last() {
            Some(page) => *page,
            None => {
                let slot_bytes = slot_bytes_of(class);
                let page =
                    self.add_page(PAGE_BYTES / slot_bytes * slot_bytes, slot_bytes, Some(class))?;
                self.enter_open(page, class);
                page
            }
        };
        let slot = self.pages[page].take_slot();
        if self.pages[page].is_full() {
            self.leave_open(page, class);
        }
        Ok(Handle::new(page, slot))
    }

    /// Gives a slot back.
    pub(crate) fn give(&mut self, handle: Handle) {
        let at = handle.page();
        let page = &mut self.pages[at];
        page.give_slot(handle.slot());
        let (empty, was_full) = (page.used == 0, page.open_at.is_none());
        match page.class {
            None => self.drop_page(at),
            Some(class) => {
                if was_full {
                    self.enter_open(at, class);
                }
                if empty && self.open[class].len() > 1 {
                    self.leave_open(at, class);
                    self.drop_page(at);
                }
            }
        }
    }

    /// The slot's bytes; an entry knows its own length.
    #[inline]
    pub(crate) fn get(&self, handle: Handle) -> &[u8] {
        self.pages[handle.page()].slot(handle.slot())
    }

    /// The slot's bytes, to be written.
    #[inline]
    pub(crate) fn get_mut(&mut self, handle: Handle) -> &mut [u8] {
        self.pages[handle.page()].slot_mut(handle.slot())
    }

    fn add_page(
        &mut self,
        bytes: usize,
        slot_bytes: usize,
        class: Option<usize>,
    ) -> Result<usize, Full> {
        let page = Page {
            bytes: vec![0; bytes],
            slot_bytes,
            class,
            used: 0,
            fresh: 0,
            free: NONE,
            open_at: None,
        };
        let at = match self.vacant.pop() {
            Some(at) => {
                self.pages[at] = page;
                at
            }
            None if self.pages.len() == PAGES_MAX => return Err(Full),
            None => {
                self.pages.push(page);
                self.pages.len() - 1
            }
        };
        self.bytes += bytes;
        Ok(at)
    }

    fn drop_page(&mut self, at: usize) {
        self.bytes -= self.pages[at].bytes.len();
        self.pages[at].bytes = Vec::new();
        self.vacant.push(at);
    }

    fn enter_open(&mut self, page: usize, class: usize) {
        self.pages[page].open_at = Some(self.open[class].len());
        self.open[class].push(page);
    }

    fn leave_open(&mut self, page: usize, class: usize) {
        let at = self.pages[page].open_at.take().expect("only an open page leaves");
        self.open[class].swap_remove(at);
        if let Some(moved) = self.open[class].get(at) {
            self.pages[*moved].open_at = Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_length_has_the_smallest_class_that_holds_it() {
        for length in 1..=SLOT_BYTES_MAX {
            let class = class_of(length);
            assert!(class < CLASSES, "{length}");
            assert!(slot_bytes_of(class) >= length, "{length}");
            assert!(class == 0 || slot_bytes_of(class - 1) < length, "{length}");
        }
        assert_eq!(slot_bytes_of(CLASSES - 1), SLOT_BYTES_MAX);
    }

    #[test]
    fn memory_returns_when_entries_go() {
        let mut arena = Arena::new();
        let handles: Vec<Handle> =
            (0..100_000).map(|n| arena.take(40 + n % 300).unwrap()).collect();
        let long = arena.take(10_000_000).unwrap();
        assert!(arena.bytes() > 20_000_000);
        for handle in handles {
            arena.give(handle);
        }
        arena.give(long);
        assert!(arena.bytes() <= CLASSES * PAGE_BYTES, "{} bytes are left", arena.bytes());
    }

    proptest! {
        /// Against a map of what was written: no slot is given twice, no byte of one reaches another.
        #[test]
        fn slots_do_not_overlap(steps in proptest::collection::vec((any::<bool>(), 1usize..20_000), 1..400)) {
            let mut arena = Arena::new();
            let mut kept: Vec<(Handle, usize, u8)> = Vec::new();
            for (n, (take, size)) in steps.into_iter().enumerate() {
                if take || kept.is_empty() {
                    let handle = arena.take(size).unwrap();
                    let mark = n as u8;
                    arena.get_mut(handle)[..size].fill(mark);
                    kept.push((handle, size, mark));
                } else {
                    let (handle, size, mark) = kept.swap_remove(size % kept.len());
                    prop_assert!(arena.get(handle)[..size].iter().all(|b| *b == mark));
                    arena.give(handle);
                }
            }
            for (handle, size, mark) in kept {
                prop_assert!(arena.get(handle)[..size].iter().all(|b| *b == mark));
            }
        }
    }
}
