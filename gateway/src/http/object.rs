//! JSON objects: one read from a stranger, and the media type of many.

use firn_wire::json;
use serde::Deserialize;

use super::problem::{Kind, Problem};

/// The media type of JSON objects one a line.
pub(super) const NDJSON: &str = "application/x-ndjson";

/// Reads one strict JSON object (see [`firn_wire::json`]); serde alone would take an array for one, member by member.
pub(super) fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Problem> {
    json::check(bytes).map_err(|error| not_json(error.to_string()))?;
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(not_json("a JSON object is wanted, { … }".to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|error| not_json(error.to_string()))
}

fn not_json(detail: String) -> Problem {
    Problem::new(Kind::InvalidJson, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::map::TablePolicy;

    #[test]
    fn only_an_object_with_known_members_is_read() {
        let policy: TablePolicy = read(br#" {"ttl_ms":5} "#).unwrap();
        assert_eq!(policy.ttl_ms, Some(5));
        for bad in ["[]", "null", "", "{", r#"{"ttl":5}"#, r#"{"ttl_ms":5,"ttl_ms":6}"#, "{}x"] {
            assert!(read::<TablePolicy>(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
