//! The conditions of a request, made of entity tags (RFC 9110 §13).

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use firn_wire::command::Condition;
use firn_wire::ids::Version;

use super::etag::{self, Tag};
use super::problem::{Kind, Problem};

/// The value of `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    /// `*`
    Any,
    /// A list, from all lines of the header.
    List(Vec<Tag>),
}

impl Tags {
    fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Problem> {
        if !headers.contains_key(name) {
            return Ok(None);
        }
        let lines = headers.get_all(name).map(HeaderValue::as_bytes);
        Self::read(lines).map(Some)
    }

    /// `*`, or lists that count as one.
    fn read<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Self, Problem> {
        let mut list = Vec::new();
        for line in lines {
            let line = line.trim_ascii();
            if line == b"*" {
                return Ok(Self::Any);
            }
            etag::read_list(line, &mut list).ok_or_else(|| {
                Problem::new(
                    Kind::InvalidRequest,
                    "a condition is neither * nor a list of entity tags",
                )
            })?;
        }
        Ok(Self::List(list))
    }

    /// Weak comparison counts weak tags too, strong comparison does not.
    fn matches(&self, current: Option<Version>, weakly: bool) -> bool {
        let Some(current) = current else { return false };
        match self {
            Self::Any => true,
            Self::List(list) => {
                list.iter().any(|tag| tag.version == Some(current) && (weakly || !tag.weak))
            }
        }
    }
}

/// What the conditions of a GET or HEAD come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadVerdict {
    /// Send it.
    Send,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// The conditions of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Preconditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

impl Preconditions {
    /// Reads them from a request's headers.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            if_match: Tags::of(headers, &IF_MATCH)?,
            if_none_match: Tags::of(headers, &IF_NONE_MATCH)?,
        })
    }

    /// Reads them from texts as the headers would have them.
    pub(super) fn of_texts(
        if_match: Option<&str>,
        if_none_match: Option<&str>,
    ) -> Result<Self, Problem> {
        let read = |text: &str| Tags::read(std::iter::once(text.as_bytes()));
        Ok(Self {
            if_match: if_match.map(read).transpose()?,
            if_none_match: if_none_match.map(read).transpose()?,
        })
    }

    /// Whether there are any.
    pub(super) fn are_given(&self) -> bool {
        self.if_match.is_some() || self.if_none_match.is_some()
    }

    /// In the order of RFC 9110 §13.2.2.
    pub(super) fn for_read(&self, current: Version) -> ReadVerdict {
        let current = Some(current);
        if self.if_match.as_ref().is_some_and(|tags| !tags.matches(current, false)) {
            return ReadVerdict::Failed;
        }
        if self.if_none_match.as_ref().is_some_and(|tags| tags.matches(current, true)) {
            return ReadVerdict::NotModified;
        }
        ReadVerdict::Send
    }

    /// Whether a write may happen where the record has this version (None: is absent).
    pub(super) fn allow_write(&self, current: Option<Version>) -> bool {
        self.if_match.as_ref().is_none_or(|tags| tags.matches(current, false))
            && self.if_none_match.as_ref().is_none_or(|tags| !tags.matches(current, true))
    }

    /// As one condition of the store; None where the current version must be looked at first.
    pub(super) fn as_condition(&self) -> Option<Condition<'static>> {
        match (&self.if_match, &self.if_none_match) {
            (None, None) => Some(Condition::Always),
            (None, Some(Tags::Any)) => Some(Condition::Absent),
            (Some(Tags::Any), None) => Some(Condition::Present),
            (Some(Tags::List(list)), None) => match list.as_slice() {
                [Tag { weak: false, version: Some(version) }] => Some(Condition::Version(*version)),
                _ => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(lines: &[(HeaderName, &'static str)]) -> Result<Preconditions, Problem> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        Preconditions::of(&headers)
    }

    #[test]
    fn simple_conditions_need_no_look() {
        let cases = [
            (vec![], Condition::Always),
            (vec![(IF_NONE_MATCH, "*")], Condition::Absent),
            (vec![(IF_MATCH, " * ")], Condition::Present),
            (vec![(IF_MATCH, "\"1f\"")], Condition::Version(Version(0x1f))),
            (vec![(IF_MATCH, ", \"1f\" ,")], Condition::Version(Version(0x1f))),
        ];
        for (lines, want) in cases {
            assert_eq!(given(&lines).unwrap().as_condition(), Some(want), "{lines:?}");
        }
    }

    #[test]
    fn others_are_decided_by_the_current_version() {
        let (one, two) = (Some(Version(1)), Some(Version(2)));
        let list = given(&[(IF_MATCH, "\"1\", \"3\""), (IF_MATCH, "\"x\"")]).unwrap();
        assert_eq!(list.as_condition(), None);
        assert!(list.allow_write(one) && !list.allow_write(two) && !list.allow_write(None));
        let weak = given(&[(IF_MATCH, "W/\"1\"")]).unwrap();
        assert!(weak.as_condition().is_none() && !weak.allow_write(one));
        let not = given(&[(IF_NONE_MATCH, "W/\"1\"")]).unwrap();
        assert!(!not.allow_write(one) && not.allow_write(two) && not.allow_write(None));
        let both = given(&[(IF_MATCH, "*"), (IF_NONE_MATCH, "\"1\"")]).unwrap();
        assert!(!both.allow_write(one) && both.allow_write(two) && !both.allow_write(None));
    }

    #[test]
    fn a_read_checks_if_match_before_if_none_match() {
        let conditions = given(&[(IF_MATCH, "\"2\""), (IF_NONE_MATCH, "\"1\"")]).unwrap();
        assert_eq!(conditions.for_read(Version(1)), ReadVerdict::Failed);
        assert_eq!(conditions.for_read(Version(2)), ReadVerdict::Send);
        let fresh = given(&[(IF_NONE_MATCH, "\"9\", W/\"1\"")]).unwrap();
        assert_eq!(fresh.for_read(Version(1)), ReadVerdict::NotModified);
        assert_eq!(fresh.for_read(Version(2)), ReadVerdict::Send);
    }

    #[test]
    fn what_is_no_list_of_tags_is_refused_and_foreign_tags_match_nothing() {
        for bad in ["1", "\"1", "\"1\" \"2\"", "W/1", "w/\"1\"", "\"a b\"", "*, \"1\""] {
            assert!(given(&[(IF_MATCH, bad)]).is_err(), "{bad}");
        }
        for foreign in ["\"0a\"", "\"A\"", "\"\"", "\"+a\"", "\"zz\""] {
            let conditions = given(&[(IF_MATCH, foreign)]).unwrap();
            assert!(!conditions.allow_write(Some(Version(10))), "{foreign}");
        }
    }
}
