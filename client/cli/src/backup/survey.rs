//! What a backup holds: its header and footer, and reading it from front to back with everything checked.
//!
//! A partition that is begun anew makes what there was of it void, and a flush what there was of its table. Whoever restores
//! must know that beforehand, so a backup is read twice: once to learn this and that it is whole, once to take its entries.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;

use firn_wire::ids::{ClusterId, GroupId, MapVersion, PartitionId, TableId, TableName, Version};
use firn_wire::key::KeyInteger;
use firn_wire::limits::{PARTITIONS_MAX, TABLES_MAX};
use firn_wire::map::TablePolicy;
use firn_wire::record::{Effect, Effects};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::frame::{FileError, Frame, Kind, Reader};

/// Bytes of a partition's id in front of a frame.
pub(crate) const ID_BYTES: usize = 4;

/// The first frame, JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// No other backup has it.
    pub(crate) backup: String,
    /// Of which cluster.
    pub(crate) cluster: ClusterId,
    /// By which of its maps.
    pub(crate) map: MapVersion,
    /// How keys found their partition there.
    pub(crate) key_integer: KeyInteger,
    /// When it was begun, Unix milliseconds.
    pub(crate) taken_at_ms: u64,
    /// The firn that took it.
    pub(crate) firn: String,
    /// What was to be in it.
    pub(crate) tables: Vec<Table>,
}

/// A table as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) id: TableId,
    pub(crate) name: TableName,
    /// For `name-ranges`: a first byte that finds its partition.
    pub(crate) first_byte: u8,
    pub(crate) policy: TablePolicy,
    pub(crate) group: GroupId,
    /// The first of its partitions.
    pub(crate) from: u16,
    /// The one after the last.
    pub(crate) to: u16,
}

impl Table {
    /// Whether a partition holds some of it.
    pub(crate) fn is_in(&self, partition: PartitionId) -> bool {
        self.group == partition.group && (self.from..self.to).contains(&partition.number)
    }
}

impl Header {
    /// All partitions that hold some of its tables, ascending.
    pub(crate) fn partitions(&self) -> Vec<PartitionId> {
        let of = |table: &Table| {
            let group = table.group;
            (table.from..table.to).map(move |number| PartitionId { group, number })
        };
        let all: BTreeSet<PartitionId> = self.tables.iter().flat_map(of).collect();
        all.into_iter().collect()
    }

    /// Whether a cluster can have what it names.
    fn is_sound(&self) -> bool {
        let fits = |table: &Table| table.from <= table.to && table.to <= PARTITIONS_MAX;
        self.tables.len() <= TABLES_MAX && self.tables.iter().all(fits)
    }

    /// A table by its id.
    pub(crate) fn table(&self, id: TableId) -> Option<&Table> {
        self.tables.iter().find(|table| table.id == id)
    }
}

/// What follows the partition's id in the frame that ends it, JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    /// The last record of the partition that is in the backup.
    pub(crate) at: Version,
    /// The entries of each table then, expired ones included.
    pub(crate) entries: Vec<(TableId, u64)>,
}

/// The last frame, JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Footer {
    /// When the last entry had been read, Unix milliseconds.
    pub(crate) ended_at_ms: u64,
    /// Frames before this one.
    pub(crate) frames: u64,
    /// The checksum of all bytes before this frame.
    pub(crate) sum: u32,
    /// Puts in all frames.
    pub(crate) puts: u64,
    /// Bytes of all frames before they were compressed.
    pub(crate) raw_bytes: u64,
}

/// A frame of JSON.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("it has text for keys and nothing that fails")
}

/// The bytes of a partition's id.
pub(crate) fn id_bytes(partition: PartitionId) -> [u8; ID_BYTES] {
    let ([a, b], [c, d]) = (partition.group.0.to_le_bytes(), partition.number.to_le_bytes());
    [a, b, c, d]
}

/// The partition of a frame, and what follows it.
pub(crate) fn split_id(body: &[u8]) -> Option<(PartitionId, &[u8])> {
    let ([a, b, c, d], rest) = body.split_first_chunk()?;
    let group = GroupId(u16::from_le_bytes([*a, *b]));
    Some((PartitionId { group, number: u16::from_le_bytes([*c, *d]) }, rest))
}

/// A place among the changes of a backup: a frame, and a change in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    frame: u64,
    effect: u64,
}

/// What is known of a backup that was read from front to back.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) header: Header,
    pub(crate) footer: Footer,
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// Entries of each table when its partitions were read, in the order of the header.
    pub(crate) entries: Vec<u64>,
    begun: HashMap<PartitionId, u64>,
    flushed: HashMap<(PartitionId, TableId), Place>,
}

impl Survey {
    /// Reads a backup and checks all of it. `progress` is told how far it is in the file.
    pub(crate) fn of(input: impl Read, progress: impl FnMut(u64)) -> Result<Self, FileError> {
        Surveyor::new(Reader::new(input)?)?.read(progress)
    }

    /// The changes of a data frame that still count, each with its table.
    pub(crate) fn live<'f>(
        &'f self,
        frame: &'f Frame,
    ) -> impl Iterator<Item = (TableId, Effect<'f>)> {
        let (partition, effects) = split_id(&frame.body).unwrap_or_default();
        Effects::of(effects).flatten().enumerate().filter_map(move |(number, effect)| {
            let place = Place { frame: frame.number, effect: number as u64 };
            let table = table_of(&effect)?;
            self.counts(partition, table, place).then_some((table, effect))
        })
    }

    /// Whether a change still counts: nothing after it made it void.
    fn counts(&self, partition: PartitionId, table: TableId, place: Place) -> bool {
        let is_begun = self.begun.get(&partition).is_some_and(|begun| *begun < place.frame);
        let is_kept = self.flushed.get(&(partition, table)).is_none_or(|flushed| *flushed < place);
        is_begun && is_kept
    }
}

/// Reads a backup.
struct Surveyor<R> {
    reader: Reader<R>,
    header: Header,
    /// The partitions that should be in it, ascending, and whether each is whole.
    partitions: Vec<(PartitionId, bool)>,
    begun: HashMap<PartitionId, u64>,
    flushed: HashMap<(PartitionId, TableId), Place>,
    entries: Vec<u64>,
    puts: u64,
    raw_bytes: u64,
}

impl<R: Read> Surveyor<R> {
    fn new(mut reader: Reader<R>) -> Result<Self, FileError> {
        let at = reader.at();
        let frame = reader.next()?.ok_or(FileError::Cut(at))?;
        if frame.kind != Kind::Header {
            return Err(FileError::damaged(at, "the first frame is no header"));
        }
        let header: Header = read_json(&frame, &frame.body)?;
        if !header.is_sound() {
            return Err(FileError::damaged(at, "the header names more than a cluster can have"));
        }
        Ok(Self {
            partitions: header.partitions().into_iter().map(|id| (id, false)).collect(),
            entries: vec![0; header.tables.len()],
            raw_bytes: frame.body.len() as u64,
            header,
            reader,
            begun: HashMap::new(),
            flushed: HashMap::new(),
            puts: 0,
        })
    }

    fn read(mut self, mut progress: impl FnMut(u64)) -> Result<Survey, FileError> {
        loop {
            let Some(frame) = self.reader.next()? else {
                return Err(FileError::Cut(self.reader.at()));
            };
            if frame.kind == Kind::Footer {
                return self.end(&frame);
            }
            self.take(&frame).map_err(|what| FileError::damaged(frame.at, what))?;
            self.raw_bytes += frame.body.len() as u64;
            progress(self.reader.at());
        }
    }

    fn take(&mut self, frame: &Frame) -> Result<(), &'static str> {
        let (id, rest) = split_id(&frame.body).ok_or("a frame is shorter than its partition")?;
        let at = self.partitions.binary_search_by_key(&id, |(id, _)| *id);
        let at = at.map_err(|_| "a frame is of a partition the header does not name")?;
        if self.partitions[at].1 {
            return Err("a frame is of a partition that was whole before");
        }
        if frame.kind != Kind::Begin && !self.begun.contains_key(&id) {
            return Err("a frame is of a partition that was not begun");
        }
        match frame.kind {
            Kind::Begin => {
                self.begun.insert(id, frame.number);
                Ok(())
            }
            Kind::Data => self.take_effects(id, frame.number, rest),
            Kind::End => {
                self.partitions[at].1 = true;
                self.take_end(rest)
            }
            Kind::Header | Kind::Footer => Err("a second header"),
        }
    }

    fn take_effects(
        &mut self,
        id: PartitionId,
        frame: u64,
        effects: &[u8],
    ) -> Result<(), &'static str> {
        for (number, effect) in Effects::of(effects).enumerate() {
            let effect = effect.map_err(|_| "an entry does not read")?;
            let table = table_of(&effect).ok_or("a change that no backup has")?;
            if !self.header.table(table).is_some_and(|table| table.is_in(id)) {
                return Err("an entry is of a table that is not there");
            }
            let place = Place { frame, effect: number as u64 };
            match effect {
                Effect::Put(_) => self.puts += 1,
                Effect::Flush { .. } => {
                    self.flushed.insert((id, table), place);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn take_end(&mut self, rest: &[u8]) -> Result<(), &'static str> {
        let end: End =
            serde_json::from_slice(rest).map_err(|_| "the end of a partition does not read")?;
        for (id, entries) in end.entries {
            let at = self.header.tables.iter().position(|table| table.id == id);
            let at = at.ok_or("the end of a partition names a table that is not there")?;
            self.entries[at] = self.entries[at].saturating_add(entries);
        }
        Ok(())
    }

    fn end(mut self, frame: &Frame) -> Result<Survey, FileError> {
        let footer: Footer = read_json(frame, &frame.body)?;
        let wrong = |what| Err(FileError::damaged(frame.at, what));
        if (footer.frames, footer.sum) != (frame.number, frame.sum_before) {
            return wrong("the file does not match the checksum at its end");
        }
        if (footer.puts, footer.raw_bytes) != (self.puts, self.raw_bytes) {
            return wrong("the file does not hold as many entries as its end says");
        }
        if self.partitions.iter().any(|(_, is_whole)| !is_whole) {
            return wrong("a partition is not whole");
        }
        let end = self.reader.at();
        if self.reader.next()?.is_some() {
            return Err(FileError::damaged(end, "something follows its end"));
        }
        let Self { header, begun, flushed, entries, .. } = self;
        Ok(Survey { header, footer, bytes: end, entries, begun, flushed })
    }
}

/// The table a change of entries is about; None: it is no such change.
pub(crate) fn table_of(effect: &Effect<'_>) -> Option<TableId> {
    match effect {
        Effect::Put(put) => Some(put.table),
        Effect::Delete { table, .. } | Effect::Flush { table } => Some(*table),
        Effect::Start | Effect::Digest { .. } | Effect::Once { .. } => None,
    }
}

fn read_json<T: DeserializeOwned>(frame: &Frame, body: &[u8]) -> Result<T, FileError> {
    serde_json::from_slice(body).map_err(|error| {
        FileError::damaged(frame.at, format_args!("its words do not read: {error}"))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::frame::{Packed, Writer};
    use super::*;
    use firn_wire::record::Put;
    use proptest::prelude::*;

    pub(crate) const TABLE: TableId = TableId(3);

    pub(crate) fn partition(number: u16) -> PartitionId {
        PartitionId { group: GroupId(0), number }
    }

    pub(crate) fn header() -> Header {
        let table = Table {
            id: TABLE,
            name: "users".parse().unwrap(),
            first_byte: b'u',
            policy: TablePolicy { ttl_ms: Some(60_000), ..TablePolicy::default() },
            group: GroupId(0),
            from: 0,
            to: 2,
        };
        Header {
            backup: "b1".to_owned(),
            cluster: ClusterId(7),
            map: MapVersion { generation: 1, counter: 9 },
            key_integer: KeyInteger::Crc16,
            taken_at_ms: 1_790_000_000_000,
            firn: "0.1.0".to_owned(),
            tables: vec![table],
        }
    }

    pub(crate) fn put(key: &str, value: &str) -> Vec<u8> {
        let (key, value) = (key.as_bytes(), value.as_bytes());
        let mut out = Vec::new();
        Put { table: TABLE, key, meta: b"", value, expires_at: None }.write(&mut out);
        out
    }

    fn flush() -> Vec<u8> {
        let mut out = Vec::new();
        Effect::Flush { table: TABLE }.write(&mut out);
        out
    }

    fn end(entries: u64) -> Vec<u8> {
        json(&End { at: Version(5), entries: vec![(TABLE, entries)] })
    }

    /// A backup of the header and these frames, with a footer that is right.
    pub(crate) fn file(frames: &[(Kind, u16, Vec<u8>)]) -> Vec<u8> {
        let (mut writer, mut puts, mut raw_bytes) = (Writer::new(Vec::new()).unwrap(), 0, 0);
        let mut write = |kind, raw: Vec<u8>| {
            raw_bytes += raw.len() as u64;
            writer.write(&Packed::new(kind, raw)).unwrap();
        };
        write(Kind::Header, json(&header()));
        for (kind, number, rest) in frames {
            if *kind == Kind::Data {
                let effects = Effects::of(rest).flatten();
                puts += effects.filter(|effect| matches!(effect, Effect::Put(_))).count() as u64;
            }
            write(*kind, [&id_bytes(partition(*number)), &rest[..]].concat());
        }
        let (frames, sum) = (writer.frames(), writer.sum());
        let footer = Footer { ended_at_ms: 1, frames, sum, puts, raw_bytes };
        writer.write(&Packed::new(Kind::Footer, json(&footer))).unwrap();
        writer.into_inner().unwrap()
    }

    pub(crate) fn small() -> Vec<u8> {
        file(&[
            (Kind::Begin, 0, Vec::new()),
            (Kind::Data, 0, put("void", "1")),
            (Kind::Begin, 1, Vec::new()),
            (Kind::Begin, 0, Vec::new()),
            (Kind::Data, 1, [put("gone", "1"), flush(), put("kept", &"x".repeat(100))].concat()),
            (Kind::Data, 0, put("k", "v")),
            (Kind::End, 0, end(1)),
            (Kind::End, 1, end(1)),
        ])
    }

    fn survey(bytes: &[u8]) -> Result<Survey, FileError> {
        Survey::of(bytes, |_| {})
    }

    #[test]
    fn a_whole_file_says_what_is_in_it() {
        let bytes = small();
        let survey = survey(&bytes).unwrap();
        assert_eq!((survey.header.clone(), survey.bytes), (header(), bytes.len() as u64));
        assert_eq!((survey.entries.clone(), survey.footer.puts), (vec![2], 4));
    }

    #[test]
    fn what_was_begun_anew_or_flushed_does_not_count() {
        let bytes = small();
        let (survey, mut keys) = (survey(&bytes).unwrap(), Vec::new());
        let mut reader = Reader::new(&bytes[..]).unwrap();
        while let Some(frame) = reader.next().unwrap() {
            if frame.kind == Kind::Data {
                keys.extend(survey.live(&frame).map(|(table, effect)| match effect {
                    Effect::Put(put) => (table, String::from_utf8_lossy(put.key).into_owned()),
                    other => panic!("{other:?}"),
                }));
            }
        }
        assert_eq!(keys, [(TABLE, "kept".to_owned()), (TABLE, "k".to_owned())]);
    }

    /// What is cut off is never missed without being noticed, wherever the cut is.
    #[test]
    fn a_cut_file_is_never_whole() {
        let bytes = small();
        for end in 0..bytes.len() {
            match survey(&bytes[..end]) {
                Err(FileError::Cut(at)) => assert_eq!(at, end as u64),
                Err(FileError::Foreign) => assert_eq!(end, 0),
                other => panic!("cut at {end}: {other:?}"),
            }
        }
        assert!(survey(&[&bytes[..], b"x"].concat()).is_err());
        assert!(survey(&[&bytes[..], &bytes[8..]].concat()).is_err());
    }

    #[test]
    fn a_flipped_bit_is_found_and_its_place_is_named() {
        let bytes = small();
        for (at, bit) in (0..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            match survey(&flipped) {
                Err(FileError::Foreign) => assert!(at < 7),
                Err(FileError::Form(_)) => assert_eq!(at, 7),
                Err(FileError::Damaged { at: named, .. }) => assert!(named <= at as u64),
                // A length that became longer: the file ends before it.
                Err(FileError::Cut(_)) => {}
                other => panic!("bit {bit} of byte {at}: {other:?}"),
            }
        }
    }

    proptest! {
        /// A checksum is no proof of sense: whoever can write a file can write that too.
        #[test]
        fn arbitrary_frames_never_panic(frames in proptest::collection::vec(frame(), 0..12)) {
            let _ = survey(&file(&frames));
        }

        #[test]
        fn an_arbitrary_header_never_panics(from in any::<u16>(), to in any::<u16>(), body in ".*") {
            let mut header = header();
            (header.tables[0].from, header.tables[0].to) = (from, to);
            for body in [json(&header), body.into_bytes()] {
                let mut writer = Writer::new(Vec::new()).unwrap();
                writer.write(&Packed::new(Kind::Header, body)).unwrap();
                prop_assert!(survey(&writer.into_inner().unwrap()).is_err());
            }
        }
    }

    fn frame() -> impl Strategy<Value = (Kind, u16, Vec<u8>)> {
        let kinds = [Kind::Begin, Kind::Data, Kind::End, Kind::Header, Kind::Footer];
        let rest = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            Just(Vec::new()),
            Just(put("k", "v")),
            Just(flush()),
            Just(end(u64::MAX)),
        ];
        (proptest::sample::select(kinds.to_vec()), 0u16..3, rest)
    }

    #[test]
    fn frames_that_make_no_sense_are_refused() {
        let whole = |number| [(Kind::Begin, number, Vec::new()), (Kind::End, number, end(0))];
        assert!(survey(&file(&[whole(0), whole(1)].concat())).is_ok());
        let other_table = {
            let mut out = Vec::new();
            let table = TableId(4);
            Put { table, key: b"k", meta: b"", value: b"", expires_at: None }.write(&mut out);
            out
        };
        let one_wrong: [&[(Kind, u16, Vec<u8>)]; 7] = [
            &[],
            &[(Kind::Begin, 0, Vec::new())],
            &[(Kind::Data, 1, put("k", "v"))],
            &[(Kind::Begin, 1, Vec::new()), (Kind::Data, 1, other_table)],
            &[(Kind::Begin, 1, Vec::new()), (Kind::Data, 1, b"\xff".to_vec())],
            &[(Kind::Begin, 2, Vec::new())],
            &[(Kind::Begin, 1, Vec::new()), (Kind::End, 1, b"{}".to_vec())],
        ];
        for wrong in one_wrong {
            let bytes = file(&[&whole(0)[..], wrong].concat());
            assert!(matches!(survey(&bytes), Err(FileError::Damaged { .. })), "{wrong:?}");
        }
    }
}
