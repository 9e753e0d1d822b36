//! Reading JSON from strangers (RFC 8259): what serde_json lets pass and we do not is a second value under one name and
//! nesting deeper than [`JSON_DEPTH_MAX`]. Not-a-number, numbers beyond a double, lone surrogates, invalid UTF-8 and
//! trailing bytes it refuses itself.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use crate::limits::JSON_DEPTH_MAX;

/// Why bytes are not the JSON that was wanted.
#[derive(Debug, thiserror::Error)]
#[error("not valid JSON: {0}")]
pub struct BadJson(#[from] serde_json::Error);

/// Checks that `bytes` are one JSON value.
pub fn check(bytes: &[u8]) -> Result<(), BadJson> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Checked { depth: 0 }.deserialize(&mut reader)?;
    Ok(reader.end()?)
}

/// Reads one JSON value as `T`, after [`check`].
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadJson> {
    check(bytes)?;
    Ok(serde_json::from_slice(bytes)?)
}

#[derive(Clone, Copy)]
struct Checked {
    depth: usize,
}

impl Checked {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == JSON_DEPTH_MAX {
            return Err(E::custom(format_args!("nested deeper than {JSON_DEPTH_MAX}")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = ();
    fn deserialize<D: de::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inside = self.deeper()?;
        while items.next_element_seed(inside)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inside = self.deeper()?;
        let mut seen = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if seen.contains(&name) {
                return Err(de::Error::custom(format_args!("{name:?} is there twice")));
            }
            seen.insert(name);
            members.next_value_seed(inside)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_json_is_refused() {
        let deep = "[".repeat(JSON_DEPTH_MAX + 1) + &"]".repeat(JSON_DEPTH_MAX + 1);
        let bad: Vec<&[u8]> = vec![
            b"",
            b"NaN",
            b"Infinity",
            b"1e999",
            b"{\"a\":1,\"a\":2}",
            b"[{\"a\":1,\"\\u0061\":2}]",
            b"\"\xff\"",
            b"\"\\ud800\"",
            b"1 2",
            b"{} x",
            b"[1,]",
            deep.as_bytes(),
        ];
        for bytes in bad {
            assert!(check(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        let deepest = "[".repeat(JSON_DEPTH_MAX) + &"]".repeat(JSON_DEPTH_MAX);
        for good in
            ["null", " {\"a\":[1,2.5,true,null,\"\\ud83d\\ude00\"]} ", "-0", deepest.as_str()]
        {
            assert!(check(good.as_bytes()).is_ok(), "{good}");
        }
    }
}
