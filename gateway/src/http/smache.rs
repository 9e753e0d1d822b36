//! Smache's interface: `GET /`, `GET /healthcheck`, `GET` and `POST /api`, on the table `default`.
//!
//! The record's key is the key's text: `1` and `"1"` are one key. A JSON string is stored as its bytes, so that other
//! doors see plain text; any other JSON as its text, marked by its content type. What other doors wrote reads as a string.

use std::borrow::Cow;

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use firn_wire::command::{Command, Condition, Expiry, Op, Set};
use firn_wire::ids::TableId;
use firn_wire::json;
use firn_wire::key::literal_text;
use firn_wire::reply::{Reply, Value};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::call::Call;
use super::key::{At, check_key};
use super::limits::{SMACHE_BYTES_MAX, SMACHE_EXTRA_BYTES};
use super::meta::Meta;
use super::object;
use super::problem::{Kind, Problem};
use super::query::pairs;

const JSON: &str = "application/json";

/// What a body usually takes beside the data.
const BODY_EXTRA_BYTES: usize = 160;

/// `{}`
pub(super) fn health() -> HttpResponse {
    HttpResponse::Ok().content_type(JSON).body("{}")
}

/// A request's key and data, from wherever they came. The outer None: not given; the inner: null.
#[derive(Debug, Default)]
struct Given<'a> {
    key: Option<Option<Cow<'a, [u8]>>>,
    data: Option<Data<'a>>,
}

/// What is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Data<'a> {
    /// A JSON string, decoded.
    Text(Cow<'a, [u8]>),
    /// Other JSON, as it was sent.
    Json(&'a str),
}

fn bad(detail: &'static str) -> Problem {
    Problem::new(Kind::InvalidRequest, detail)
}

impl<'a> Given<'a> {
    /// Reads a query or a form. A name without `=` is null.
    fn read_pairs(text: &'a str) -> Result<Self, Problem> {
        let mut given = Self::default();
        for pair in pairs(text) {
            let (name, value) = pair.ok_or_else(|| bad("not well percent-encoded"))?;
            let twice = match &*name {
                b"key" => given.key.replace(value).is_some(),
                b"data" => {
                    let data = value.map_or(Data::Json("null"), Data::Text);
                    given.data.replace(data).is_some()
                }
                _ => false,
            };
            if twice {
                return Err(bad("key and data are given once"));
            }
        }
        Ok(given)
    }

    fn read_json(body: &'a [u8]) -> Result<Self, Problem> {
        let members: Members<'a> = object::read(body)?;
        Ok(Self {
            key: members.key.map(key_of).transpose()?,
            data: members.data.map(|raw| data_of(raw.get())),
        })
    }

    /// What both say, the body before the query.
    fn or(self, query: Self) -> Self {
        Self { key: self.key.or(query.key), data: self.data.or(query.data) }
    }

    fn key(&self) -> Result<&[u8], Problem> {
        match &self.key {
            None => Err(bad("key is missing")),
            Some(None) => Err(Problem::plain(Kind::KeyNull)),
            Some(Some(key)) => check_key(key).map(|()| &**key),
        }
    }
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    key: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

/// Keeps `null` apart from a member that is not there.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// A string's bytes; None where the JSON is none.
fn string(raw: &str) -> Option<Cow<'_, [u8]>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let text: Option<Text<'_>> =
        raw.starts_with('"').then(|| serde_json::from_str(raw).expect("checked to be JSON"));
    text.map(|Text(text)| match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    })
}

/// The key's text: a string's bytes, an integer's digits.
fn key_of(raw: &RawValue) -> Result<Option<Cow<'_, [u8]>>, Problem> {
    let text = raw.get();
    if text == "null" {
        return Ok(None);
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(Some(Cow::Borrowed(text.as_bytes())));
    }
    string(text).map(Some).ok_or_else(|| bad("key is neither a string nor an integer"))
}

fn data_of(raw: &str) -> Data<'_> {
    string(raw).map_or(Data::Json(raw), Data::Text)
}

/// Appends a stored value as JSON.
fn write_value(value: &Value<'_>, out: &mut Vec<u8>) {
    let marked = !value.meta.is_empty()
        && Meta::decode(value.meta).content_type.is_some_and(|kind| media_type(kind) == JSON);
    // Checked again: another door may have written any bytes under this content type.
    if marked && json::check(value.bytes).is_ok() {
        out.extend_from_slice(value.bytes.trim_ascii());
    } else {
        write_string(value.bytes, out);
    }
}

/// Appends a JSON string; what is no UTF-8 is replaced.
fn write_string(bytes: &[u8], out: &mut Vec<u8>) {
    serde_json::to_writer(out, &String::from_utf8_lossy(bytes)).expect("written to memory");
}

/// Appends the key's integer. Up to 16 bytes or 38 digits it fits 128 bits, which is quick.
fn write_integer(key: &[u8], out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let digits = std::str::from_utf8(key).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
    let number = match digits {
        Some(text) => text.parse::<u128>().ok(),
        None if key.len() <= 16 && !matches!(key[0], b'+' | b'-') => {
            Some(key.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)))
        }
        None => None,
    };
    match number {
        Some(number) => out.extend_from_slice(buffer.format(number).as_bytes()),
        None => out.extend_from_slice(literal_text(key).as_bytes()),
    }
}

/// Appends the name of the worker that owns a key; `null` where nobody does.
fn write_node(call: &Call<'_>, key: &[u8], out: &mut Vec<u8>) {
    let map = call.door.execute.map();
    let partition = map.locate(TableId::DEFAULT, key).and_then(|id| map.partition(id));
    match partition.and_then(|row| row.primary.as_ref()) {
        Some(worker) => {
            out.push(b'"');
            out.extend_from_slice(worker.name.as_str().as_bytes()); // letters, digits, . _ - only
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

fn respond(body: Vec<u8>) -> HttpResponse {
    let mut response = HttpResponse::Ok().body(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

/// `GET /api?key=`
pub(super) async fn get(call: &mut Call<'_>) -> Result<HttpResponse, Problem> {
    let given = Given::read_pairs(call.request.uri().query().unwrap_or_default())?;
    let key = given.key()?;
    let at = At { table: TableId::DEFAULT, key };
    let mut body = call
        .ask(Command::Key(at.op(Op::Get)), |reply| {
            let length = if let Reply::Value(value) = reply { value.bytes.len() } else { 0 };
            let mut body = Vec::with_capacity(length + BODY_EXTRA_BYTES);
            body.extend_from_slice(b"{\"data\":");
            match reply {
                Reply::Nil => body.extend_from_slice(b"null"),
                Reply::Value(value) => write_value(value, &mut body),
                _ => return None,
            }
            Some(body)
        })
        .await?;
    body.extend_from_slice(b",\"key\":");
    write_integer(key, &mut body);
    body.extend_from_slice(b",\"node\":");
    write_node(call, key, &mut body);
    body.push(b'}');
    Ok(respond(body))
}

/// A content type without its parameters.
fn media_type(content_type: &[u8]) -> &str {
    let text = std::str::from_utf8(content_type).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

/// Whether a body of this content type is a form; otherwise it is JSON. Errs for what is neither.
fn is_form(content_type: Option<&HeaderValue>) -> Result<bool, Problem> {
    let Some(value) = content_type else { return Ok(false) };
    let media = media_type(value.as_bytes());
    if media.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Ok(true);
    }
    match media.eq_ignore_ascii_case(JSON) {
        true => Ok(false),
        false => Err(bad("the body is neither application/json nor a urlencoded form")),
    }
}

/// `POST /api`
pub(super) async fn post(call: &mut Call<'_>) -> Result<HttpResponse, Problem> {
    let limit = call.door.value_bytes_limit(TableId::DEFAULT);
    // In JSON or a form a byte of the value takes at most six.
    let body_limit = (6 * limit + SMACHE_EXTRA_BYTES).min(SMACHE_BYTES_MAX);
    let body = call.body.read(body_limit, Kind::BodyTooLong).await?;
    let query = Given::read_pairs(call.request.uri().query().unwrap_or_default())?;
    let given = if body.is_empty() {
        query
    } else if is_form(call.request.headers().get(CONTENT_TYPE))? {
        let text = std::str::from_utf8(&body).map_err(|_| bad("the form is not UTF-8"))?;
        Given::read_pairs(text)?.or(query)
    } else {
        Given::read_json(&body)?.or(query)
    };
    let key = given.key()?;
    let data = given.data.as_ref().ok_or_else(|| bad("data is missing"))?;
    let (value, meta) = match data {
        Data::Text(text) => (&**text, Vec::new()),
        Data::Json(text) => {
            let marked = Meta { content_type: Some(JSON.as_bytes()), ..Meta::default() };
            (text.as_bytes(), marked.encode()?)
        }
    };
    if value.len() > limit {
        let detail = format!("data has {} bytes, more than {limit}", value.len());
        return Err(Problem::new(Kind::ValueTooLong, detail).limit(limit));
    }
    let (expiry, condition) = (Expiry::Default, Condition::Always);
    let set = Op::Set(Set { value, meta: &meta, expiry, condition, want_old: false });
    let at = At { table: TableId::DEFAULT, key };
    let written = |reply: &Reply<'_>| matches!(reply, Reply::Written { .. }).then_some(());
    call.ask(Command::Key(at.op(set)), written).await?;
    let mut answer = b"{\"data\":".to_vec();
    match data {
        Data::Text(text) => write_string(text, &mut answer),
        Data::Json(text) => answer.extend_from_slice(text.as_bytes()),
    }
    answer.push(b'}');
    Ok(respond(answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn integer(key: &[u8]) -> String {
        let mut out = Vec::new();
        write_integer(key, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn integers_are_those_of_smache() {
        let vectors = [
            ("a", "97"),
            ("aa", "24929"),
            ("aaa", "6381921"),
            ("abcd", "1633837924"),
            ("hello", "448378203247"),
            ("é", "50089"),
            ("hello world", "126207244316550804821666916"),
            ("24929", "24929"),
            ("-7", "-7"),
            ("+7", "7"),
            ("007", "7"),
            ("-", "45"),
        ];
        for (key, want) in vectors {
            assert_eq!(integer(key.as_bytes()), want, "{key}");
        }
    }

    proptest! {
        #[test]
        fn the_quick_way_gives_the_same_integer(
            key in prop_oneof![
                proptest::collection::vec(any::<u8>(), 1..=20),
                "[+-]?[0-9]{1,45}".prop_map(String::into_bytes),
            ],
        ) {
            prop_assert_eq!(integer(&key), literal_text(&key));
        }
    }

    fn key_in(body: &str) -> Result<Vec<u8>, Kind> {
        let given = Given::read_json(body.as_bytes()).map_err(|problem| problem.kind())?;
        given.key().map(<[u8]>::to_vec).map_err(|problem| problem.kind())
    }

    #[test]
    fn a_number_and_the_string_of_its_digits_are_one_key() {
        for (body, want) in [
            (r#"{"key":1}"#, "1"),
            (r#"{"key":"1"}"#, "1"),
            (r#"{"key": -12345678901234567890123 }"#, "-12345678901234567890123"),
            (r#"{"key":"\u00e9\n"}"#, "é\n"),
        ] {
            assert_eq!(key_in(body), Ok(want.as_bytes().to_vec()), "{body}");
        }
        for (body, want) in [
            (r#"{"key":null}"#, Kind::KeyNull),
            (r#"{}"#, Kind::InvalidRequest),
            (r#"{"key":1.5}"#, Kind::InvalidRequest),
            (r#"{"key":1e3}"#, Kind::InvalidRequest),
            (r#"{"key":true}"#, Kind::InvalidRequest),
            (r#"{"key":[1]}"#, Kind::InvalidRequest),
            (r#"{"key":""}"#, Kind::KeyEmpty),
            (r#"{"key":1,"key":2}"#, Kind::InvalidJson),
            (r#"["key"]"#, Kind::InvalidJson),
            (r#"{"key":NaN}"#, Kind::InvalidJson),
        ] {
            assert_eq!(key_in(body), Err(want), "{body}");
        }
    }

    #[test]
    fn a_query_gives_strings_and_nulls() {
        let given = Given::read_pairs("key=a%20b&data=1&other=2").unwrap();
        assert_eq!(given.key().unwrap(), b"a b");
        assert_eq!(given.data, Some(Data::Text(Cow::Borrowed(b"1"))));
        let null = Given::read_pairs("key&data").unwrap();
        assert_eq!(null.key().unwrap_err().kind(), Kind::KeyNull);
        assert_eq!(null.data, Some(Data::Json("null")));
        assert!(Given::read_pairs("key=1&key=2").is_err());
    }

    #[test]
    fn data_is_kept_exactly() {
        for text in ["{ \"b\": 1,\"a\":[1.50, 1e40] }", "null", "12345678901234567890.10", "true"] {
            assert_eq!(data_of(text), Data::Json(text));
        }
        assert_eq!(data_of(r#""a\u00e9""#), Data::Text(Cow::Borrowed("aé".as_bytes())));
    }

    #[test]
    fn only_json_that_is_marked_and_well_formed_comes_back_as_json() {
        let marked = Meta { content_type: Some(b"application/json"), ..Meta::default() };
        let marked = marked.encode().unwrap();
        let shown = |bytes: &[u8], meta: &[u8]| {
            let value = Value { bytes, meta, version: None, expires_at: None, now: 0 };
            let mut out = Vec::new();
            write_value(&value, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(b"{ \"a\":1}", &marked), "{ \"a\":1}");
        assert_eq!(shown(b"{ \"a\":1}", b""), r#""{ \"a\":1}""#);
        assert_eq!(shown(b"1} x", &marked), r#""1} x""#);
        assert_eq!(shown(b"a\xff\n", b""), "\"a\u{fffd}\\n\"");
    }
}
