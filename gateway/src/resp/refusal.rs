//! The texts requests are refused with.

use std::borrow::Cow;

/// Why a request is refused: the text of its error, its code first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) Cow<'static, [u8]>);

impl Refusal {
    pub(super) const SYNTAX: Self = Self::new("ERR syntax error");
    pub(super) const NOT_AN_INTEGER: Self =
        Self::new("ERR value is not an integer or out of range");
    pub(super) const DATABASE: Self = Self::new("ERR DB index is out of range");

    /// A text that quotes nothing.
    pub(super) const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }

    /// A text with something of the request's in it; [`super::write::error`] makes it harmless.
    pub(super) fn quoting(before: &str, quoted: &[u8], after: &str) -> Self {
        Self(Cow::Owned([before.as_bytes(), quoted, after.as_bytes()].concat()))
    }

    /// A wrong number of words.
    pub(super) fn arity(command: &str) -> Self {
        let text = format!("ERR wrong number of arguments for '{command}' command");
        Self(Cow::Owned(text.into_bytes()))
    }

    /// A time to live that is none, or too long.
    pub(super) fn expiry(command: &str) -> Self {
        let text = format!("ERR invalid expire time in '{command}' command");
        Self(Cow::Owned(text.into_bytes()))
    }
}
