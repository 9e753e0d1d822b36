//! Named values in a sled database, changed all at once or not at all, also where the database fails half way through a
//! change and keeps a part of it. This is shadow paging (R. Lorie, "Physical integrity in a large segmented database",
//! ACM TODS 2(1), 1977): a value is written once, under a key of its own, together with a list of the key each name has.
//! The newest list whose keys are all there is what is stored. What it does not name goes with the next change.
//!
//! ```text
//!  key  │ sequence │ name │      the value
//!       │ sequence │             a list: JSON, {name: sequence}        sequence: 8 bytes, big-endian
//! ```

use std::collections::BTreeMap;

use crate::chunks::Change;

const SEQUENCE_BYTES: usize = 8;

/// Of which change the value of each name is.
type List = BTreeMap<String, u64>;
/// The value of each name.
pub(super) type Values = BTreeMap<String, Vec<u8>>;

/// The values of one database. They are in memory too, so that a database which has failed need not be read.
#[derive(Debug)]
pub(super) struct Shadow {
    database: sled::Db,
    list: List,
    /// Of which change the list is.
    sequence: u64,
    values: Values,
    /// Keys that are of nothing that is stored.
    stale: Vec<Vec<u8>>,
    /// A number no change had yet, also none that failed.
    next: u64,
}

impl Shadow {
    /// Reads what is stored.
    pub(super) fn open(database: sled::Db) -> sled::Result<Self> {
        let keys = database.iter().keys().map(|key| key.map(|key| key.to_vec()));
        let stale: Vec<Vec<u8>> = keys.collect::<Result<_, _>>()?;
        let sequences: Vec<u64> =
            stale.iter().filter_map(|key| split(key)).map(|(sequence, _)| sequence).collect();
        let next = sequences.iter().max().map_or(1, |last| last.saturating_add(1));
        let (list, values) = (List::new(), Values::new());
        let mut shadow = Self { database, list, sequence: 0, values, stale, next };
        for sequence in sequences.into_iter().rev() {
            if let Some((list, values)) = shadow.read(sequence)? {
                shadow.stale.retain(|key| !is_named(&list, sequence, key));
                (shadow.list, shadow.sequence, shadow.values) = (list, sequence, values);
                break;
            }
        }
        Ok(shadow)
    }

    /// The list of a change, and the values that it names; None: one of them is not there.
    fn read(&self, sequence: u64) -> sled::Result<Option<(List, Values)>> {
        let bytes = self.database.get(key(sequence, ""))?;
        let list = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Some(list): Option<List> = list else { return Ok(None) };
        let mut values = Values::new();
        for (name, sequence) in &list {
            let Some(value) = self.database.get(key(*sequence, name))? else { return Ok(None) };
            values.insert(name.clone(), value.to_vec());
        }
        Ok(Some((list, values)))
    }

    /// All names with their values.
    pub(super) fn values(&self) -> &Values {
        &self.values
    }

    /// Writes a change. After an error this has the values of before, and the database, opened anew, these or those after it.
    pub(super) fn change(&mut self, change: &Change) -> sled::Result<()> {
        let mut list = self.list.clone();
        list.retain(|name, _| !change.deletes.contains(name));
        list.extend(change.puts.keys().map(|name| (name.clone(), self.next)));

        let mut batch = sled::Batch::default();
        self.stale.iter().for_each(|key| batch.remove(key.as_slice()));
        for (name, value) in &change.puts {
            batch.insert(key(self.next, name), value.as_slice());
        }
        let json = serde_json::to_vec(&list).expect("names and numbers are plain data");
        batch.insert(key(self.next, ""), json);
        self.database.apply_batch(batch)?;
        self.database.flush()?;

        let superseded = self.list.iter().filter(|(name, of)| list.get(*name) != Some(*of));
        self.stale = superseded.map(|(name, of)| key(*of, name)).collect();
        self.stale.push(key(self.sequence, ""));
        self.values.retain(|name, _| list.contains_key(name));
        self.values.extend(change.puts.clone());
        (self.list, self.sequence) = (list, self.next);
        self.next += 1;
        Ok(())
    }

    /// Leaves a database that has failed to itself. It is not dropped: sled may wait in there for ever for a page it could not
    /// write, and makes every other database of the process wait with it.
    pub(super) fn give_up(self) -> Values {
        std::mem::forget(self.database);
        self.values
    }
}

/// Whether a key is of the change whose list this is, or of a value that it names.
fn is_named(list: &List, of: u64, key: &[u8]) -> bool {
    split(key).is_some_and(|(sequence, name)| match name.is_empty() {
        true => sequence == of,
        false => list.get(name) == Some(&sequence),
    })
}

fn key(sequence: u64, name: &str) -> Vec<u8> {
    [&sequence.to_be_bytes(), name.as_bytes()].concat()
}

/// None: it is not a key of ours.
fn split(key: &[u8]) -> Option<(u64, &str)> {
    let (sequence, name) = key.split_first_chunk::<SEQUENCE_BYTES>()?;
    Some((u64::from_be_bytes(*sequence), std::str::from_utf8(name).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> sled::Db {
        sled::Config::new().temporary(true).open().unwrap()
    }

    fn change(puts: &[(&str, &str)], deletes: &[&str]) -> Change {
        Change {
            expected: None,
            puts: puts.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect(),
            deletes: deletes.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    type Texts = Vec<(String, String)>;

    fn texts(shadow: &Shadow) -> Texts {
        let text = |(name, value): (&String, &Vec<u8>)| {
            (name.clone(), String::from_utf8(value.clone()).unwrap())
        };
        shadow.values().iter().map(text).collect()
    }

    fn two_changes() -> (sled::Db, Texts, Texts) {
        let database = database();
        let mut shadow = Shadow::open(database.clone()).unwrap();
        shadow.change(&change(&[("a", "1"), ("b", "1"), ("c", "1")], &[])).unwrap();
        let first = texts(&shadow);
        shadow.change(&change(&[("a", "2"), ("d", "2")], &["b"])).unwrap();
        let second = texts(&shadow);
        (database, first, second)
    }

    #[test]
    fn changes_are_read_back() {
        let (database, first, second) = two_changes();
        let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(first, [text("a", "1"), text("b", "1"), text("c", "1")]);
        assert_eq!(second, [text("a", "2"), text("c", "1"), text("d", "2")]);
        assert_eq!(texts(&Shadow::open(database).unwrap()), second);
    }

    /// Whichever part of it there is.
    #[test]
    fn a_change_that_is_there_in_part_is_not_there() {
        let (database, first, second) = two_changes();
        let news: Vec<_> = [key(2, ""), key(2, "a"), key(2, "d")].into();
        let values: Vec<_> = news.iter().map(|key| database.get(key).unwrap().unwrap()).collect();
        for part in 0..1 << news.len() {
            for (at, (key, value)) in news.iter().zip(&values).enumerate() {
                match part & (1 << at) {
                    0 => drop(database.remove(key).unwrap()),
                    _ => drop(database.insert(key, value).unwrap()),
                }
            }
            let mut shadow = Shadow::open(database.clone()).unwrap();
            let whole = part == (1 << news.len()) - 1;
            assert_eq!(&texts(&shadow), if whole { &second } else { &first }, "{part:b}");
            if !whole && part > 0 {
                assert!(shadow.next > 2, "the next change would find values of this one");
            }
            // Put back what the next change takes away.
            let stored: Vec<_> = database.iter().map(Result::unwrap).collect();
            shadow.change(&change(&[("e", "3")], &[])).unwrap();
            assert_eq!(texts(&shadow).len(), first.len() + 1);
            database.clear().unwrap();
            stored.into_iter().for_each(|(key, value)| drop(database.insert(key, value).unwrap()));
        }
    }

    #[test]
    fn what_is_not_named_any_more_goes_with_the_next_change() {
        let (database, _, _) = two_changes();
        let mut shadow = Shadow::open(database.clone()).unwrap();
        for number in 0..100 {
            shadow.change(&change(&[("a", &number.to_string())], &[])).unwrap();
        }
        // Three values and a list, and the value and the list before them.
        assert_eq!(database.len(), 6);
        assert_eq!(Shadow::open(database).unwrap().stale.len(), 2);
    }

    #[test]
    fn keys_of_others_are_not_read() {
        let database = database();
        database.insert("version", "\"1.9\"").unwrap();
        database.insert([0xff; 12], "x").unwrap();
        database.insert(key(9, ""), "not a list").unwrap();
        let shadow = Shadow::open(database).unwrap();
        assert!(shadow.values().is_empty());
        assert_eq!(shadow.next, 10);
    }
}
