//! The cursor of a listing, as a client keeps it: 32 hex digits of table, place and check. Another table's, a cut or a
//! changed one is refused.

use firn_wire::command::Cursor;
use firn_wire::ids::TableId;

use super::problem::{Kind, Problem};

const DIGITS: usize = 32;

/// FNV-1a: against mistakes, not against anybody; a forged cursor is only another place in the same table.
fn check(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// A cursor's text.
pub(super) fn write(table: TableId, cursor: Cursor) -> String {
    let place = u128::from(table.0) << 64 | u128::from(cursor.to_u64());
    let check = check(&place.to_be_bytes());
    format!("{:032x}", place << 32 | u128::from(check))
}

/// Reads a cursor of `table`, whose partitions are below `partitions`.
pub(super) fn read(text: &str, table: TableId, partitions: u16) -> Result<Cursor, Problem> {
    let parse = || {
        let well = text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| well)?;
        let place = number >> 32;
        let sound = check(&place.to_be_bytes()) == number as u32;
        let cursor = Cursor::from_u64(place as u64);
        let here = (place >> 64) as u32 == table.0 && cursor.partition < partitions;
        (sound && here).then_some(cursor)
    };
    parse().ok_or_else(|| {
        Problem::new(
            Kind::InvalidCursor,
            "this is no cursor of this table; take the one of the last answer, or start without",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_cursor_of_the_same_table_is_read() {
        let place = Cursor { partition: 1_023, position: Cursor::POSITION_END - 1 };
        let text = write(TableId(7), place);
        assert_eq!(read(&text, TableId(7), 1_024).unwrap(), place);
        assert!(read(&text, TableId(8), 1_024).is_err(), "another table");
        assert!(read(&text, TableId(7), 1_023).is_err(), "beyond the last partition");
        for end in 0..text.len() {
            assert!(read(&text[..end], TableId(7), 1_024).is_err(), "cut at {end}");
            let mut changed = text.clone().into_bytes();
            changed[end] = if changed[end] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(read(&changed, TableId(7), 1_024).is_err(), "changed at {end}");
        }
        for bad in ["", "0", "+1", &"f".repeat(32), &"é".repeat(16)] {
            assert!(read(bad, TableId(7), 1_024).is_err(), "{bad}");
        }
    }
}
