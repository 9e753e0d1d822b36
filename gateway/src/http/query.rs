//! The query of a URL, and percent-decoding: each part exactly once.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::problem::{Kind, Problem};

/// Decodes `%XX`; None where a `%` is not followed by two hex digits.
pub(super) fn decode(text: &str) -> Option<Cow<'_, [u8]>> {
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    let well = memchr::memchr_iter(b'%', bytes).all(|at| hex(at + 1) && hex(at + 2));
    well.then(|| percent_decode_str(text).into())
}

/// Decodes a part of a query or form (WHATWG URL, `application/x-www-form-urlencoded`): `+` is a blank.
fn decode_form(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.contains('+') {
        return decode(text);
    }
    let blanks = text.replace('+', " ");
    decode(&blanks).map(|bytes| Cow::Owned(bytes.into_owned()))
}

/// One `name=value` of a query or form, decoded. The value is None where there is no `=`.
pub(super) type Pair<'a> = (Cow<'a, [u8]>, Option<Cow<'a, [u8]>>);

/// The pairs of a query or form, in order; None stands for one that does not decode.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = Option<Pair<'_>>> {
    text.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (part, None),
        };
        let value = match value {
            Some(value) => Some(decode_form(value)?),
            None => None,
        };
        Some((decode_form(name)?, value))
    })
}

/// The parameters of a `/v1` request: each is known, and given once.
#[derive(Debug, Default)]
pub(super) struct Params<'a>(Vec<(&'static str, Cow<'a, [u8]>)>);

impl<'a> Params<'a> {
    /// Reads a query. An unknown parameter is refused, so that a typo in `ttl` cannot make an immortal key.
    pub(super) fn read(query: Option<&'a str>, known: &[&'static str]) -> Result<Self, Problem> {
        let mut params = Vec::new();
        for pair in pairs(query.unwrap_or_default()) {
            let (name, value) = pair.ok_or_else(|| {
                Problem::new(Kind::InvalidRequest, "the query is not well percent-encoded")
            })?;
            let Some(name) = known.iter().find(|known| known.as_bytes() == &*name) else {
                return Err(unknown(&name, known));
            };
            if params.iter().any(|(there, _)| there == name) {
                return Err(Problem::new(
                    Kind::InvalidRequest,
                    format!("the parameter {name} is there twice"),
                ));
            }
            params.push((*name, value.unwrap_or_default()));
        }
        Ok(Self(params))
    }

    /// A parameter's bytes.
    pub(super) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(there, _)| *there == name).map(|(_, value)| &**value)
    }

    /// A parameter as text.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        let wrong = |_| invalid(name, "UTF-8 text");
        self.bytes(name).map(|value| std::str::from_utf8(value).map_err(wrong)).transpose()
    }

    /// A parameter as a number.
    pub(super) fn number<T: std::str::FromStr>(
        &self,
        name: &str,
        wanted: &str,
    ) -> Result<Option<T>, Problem> {
        let strict = |text: &str| if text.starts_with('+') { None } else { text.parse().ok() };
        self.text(name)?.map(|text| strict(text).ok_or_else(|| invalid(name, wanted))).transpose()
    }
}

fn unknown(name: &[u8], known: &[&str]) -> Problem {
    let shown: String = String::from_utf8_lossy(name).chars().take(40).collect();
    let here = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Problem::new(Kind::UnknownParameter, format!("unknown parameter {shown:?}; known here: {here}"))
}

fn invalid(name: &str, wanted: &str) -> Problem {
    Problem::new(Kind::InvalidRequest, format!("the parameter {name} is not {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_decoded_exactly_once() {
        assert_eq!(decode("a%2Fb%252F/../%00%ff").unwrap().as_ref(), b"a/b%2F/../\0\xff");
        for bad in ["%", "%2", "%zz", "a%2", "%%41"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        let all: Vec<_> = pairs("a=1+2&&b&c=%2B=x&=d").map(Option::unwrap).collect();
        let want: [(&[u8], Option<&[u8]>); 4] =
            [(b"a", Some(b"1 2")), (b"b", None), (b"c", Some(b"+=x")), (b"", Some(b"d"))];
        assert!(all.iter().map(|(n, v)| (&**n, v.as_deref())).eq(want));
    }

    #[test]
    fn unknown_doubled_and_malformed_parameters_are_refused() {
        let known = ["ttl", "by"];
        let params = Params::read(Some("by=-7"), &known).unwrap();
        assert_eq!(params.number::<i64>("by", "a number").unwrap(), Some(-7));
        assert_eq!(params.number::<i64>("ttl", "a number").unwrap(), None);
        for bad in ["tlt=30s", "ttl=1s&ttl=2s", "ttl=%zz", "TTL=1s"] {
            assert!(Params::read(Some(bad), &known).is_err(), "{bad}");
        }
        for bad in ["by=", "by", "by=1.5", "by=%2B1", "by=9223372036854775808", "by=%ff"] {
            let params = Params::read(Some(bad), &known).unwrap();
            assert!(params.number::<i64>("by", "a number").is_err(), "{bad}");
        }
    }
}
