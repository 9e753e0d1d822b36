//! Replies as bytes, in RESP2 and RESP3.

/// The protocol a connection has agreed on (`HELLO`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Dialect {
    /// What every connection starts with.
    #[default]
    Resp2,
    /// With maps, sets, verbatim strings and a null of its own.
    Resp3,
}

impl Dialect {
    /// Its number in `HELLO` and `CLIENT INFO`.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

fn head(out: &mut Vec<u8>, kind: u8, number: impl itoa::Integer) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// A status; `text` is ours and has no line end.
pub(super) fn simple(out: &mut Vec<u8>, text: &str) {
    out.push(b'+');
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// An error. Line ends in it become blanks, and it is cut at a NUL: error texts may quote what a client sent.
pub(super) fn error(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'-');
    let shown = text.split(|byte| *byte == 0).next().unwrap_or_default();
    out.extend(shown.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
    out.extend_from_slice(b"\r\n");
}

/// A number.
pub(super) fn integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    head(out, b':', number);
}

/// A string of any bytes.
pub(super) fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    head(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// A text for people: a verbatim string where there is such a thing.
pub(super) fn verbatim(out: &mut Vec<u8>, dialect: Dialect, text: &[u8]) {
    match dialect {
        Dialect::Resp2 => bulk(out, text),
        Dialect::Resp3 => {
            head(out, b'=', text.len() + 4);
            out.extend_from_slice(b"txt:");
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Nothing, where a string could be.
pub(super) fn null(out: &mut Vec<u8>, dialect: Dialect) {
    out.extend_from_slice(match dialect {
        Dialect::Resp2 => b"$-1\r\n".as_slice(),
        Dialect::Resp3 => b"_\r\n",
    });
}

/// Nothing, where an array could be.
pub(super) fn null_array(out: &mut Vec<u8>, dialect: Dialect) {
    out.extend_from_slice(match dialect {
        Dialect::Resp2 => b"*-1\r\n".as_slice(),
        Dialect::Resp3 => b"_\r\n",
    });
}

/// The start of an array of `length` replies.
pub(super) fn array(out: &mut Vec<u8>, length: usize) {
    head(out, b'*', length);
}

/// The start of a map of `length` pairs of replies.
pub(super) fn map(out: &mut Vec<u8>, dialect: Dialect, length: usize) {
    match dialect {
        Dialect::Resp2 => head(out, b'*', 2 * length),
        Dialect::Resp3 => head(out, b'%', length),
    }
}

/// The start of a set of `length` replies.
pub(super) fn set(out: &mut Vec<u8>, dialect: Dialect, length: usize) {
    match dialect {
        Dialect::Resp2 => head(out, b'*', length),
        Dialect::Resp3 => head(out, b'~', length),
    }
}
