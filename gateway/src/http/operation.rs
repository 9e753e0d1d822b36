//! `POST /v1/kv/{table}/{key}?op=…`: changes that are not "write this".

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_TYPE, ETAG, HeaderValue};
use firn_wire::command::{Expiry, Op};
use firn_wire::ids::Version;
use firn_wire::reply::Reply;

use super::call::Call;
use super::condition::Preconditions;
use super::key::{At, key};
use super::problem::{Kind, Problem};
use super::query::{Params, pairs};
use super::{change, etag, lifetime};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Increment(i64),
    Append,
    Touch(Expiry),
    GetDelete,
}

impl Operation {
    /// Reads a query: `op` decides which other parameters there may be.
    fn read(query: &str) -> Result<Self, Problem> {
        let op = pairs(query).flatten().find(|(name, _)| &**name == b"op");
        let params = |known: &[&'static str]| Params::read(Some(query), known);
        match op.and_then(|(_, value)| value).as_deref() {
            Some(b"incr") => {
                let by = params(&["op", "by"])?.number("by", "an integer of 64 bits")?;
                Ok(Self::Increment(by.unwrap_or(1)))
            }
            Some(b"append") => params(&["op"]).map(|_| Self::Append),
            Some(b"touch") => {
                let params = params(&["op", "ttl"])?;
                let ttl = params.text("ttl")?.ok_or_else(|| {
                    Problem::new(Kind::InvalidTtl, "touch needs ?ttl=, like 30s or never")
                })?;
                lifetime::ttl(ttl).map(Self::Touch)
            }
            Some(b"getdel") => params(&["op"]).map(|_| Self::GetDelete),
            _ => {
                let detail = "POST needs ?op=incr, append, touch or getdel; PUT writes a value";
                Err(Problem::new(Kind::UnknownOperation, detail))
            }
        }
    }
}

/// Answers POST.
pub(super) async fn post(
    call: &mut Call<'_>,
    table: &str,
    raw: &str,
) -> Result<HttpResponse, Problem> {
    let operation = Operation::read(call.request.uri().query().unwrap_or_default())?;
    if operation != Operation::Append {
        call.no_body()?;
    }
    if operation == Operation::GetDelete {
        let old = change::remove(call, table, raw, true).await?;
        let old = old.ok_or_else(Problem::odd_reply)?;
        return Ok(HttpResponse::Ok().content_type("application/octet-stream").body(old));
    }
    if Preconditions::of(call.request.headers())?.are_given() {
        let detail = "only GET, PUT, DELETE and getdel take If-Match and If-None-Match";
        return Err(Problem::new(Kind::ConditionNotSupported, detail));
    }
    let key = key(raw)?;
    let at = At { table: call.door.table(table).await?, key: &key };
    let done = match operation {
        Operation::Increment(by) => increment(call, at, by).await,
        Operation::Append => append(call, at).await,
        Operation::Touch(expiry) => touch(call, at, expiry).await,
        Operation::GetDelete => unreachable!("answered above"),
    };
    done.map_err(|problem| problem.table(table).key(&key))
}

async fn increment(call: &mut Call<'_>, at: At<'_>, by: i64) -> Result<HttpResponse, Problem> {
    let command = change::command(at, Op::Increment { by }, change::token(call.request)?);
    let (value, version) = call
        .ask(command, |reply| match reply {
            Reply::Number { value, version } => Some((*value, *version)),
            _ => None,
        })
        .await?;
    Ok(number(itoa::Buffer::new().format(value), Some(version)))
}

async fn append(call: &mut Call<'_>, at: At<'_>) -> Result<HttpResponse, Problem> {
    let limit = call.door.value_bytes_limit(at.table);
    let value = call.body.read(limit, Kind::ValueTooLong).await?;
    let token = change::token(call.request)?;
    let command = change::command(at, Op::Append { value: &value }, token);
    let (length, version) = call
        .ask(command, |reply| match reply {
            Reply::Length { length, version } => Some((*length, *version)),
            _ => None,
        })
        .await?;
    Ok(number(itoa::Buffer::new().format(length), version))
}

async fn touch(call: &mut Call<'_>, at: At<'_>, expiry: Expiry) -> Result<HttpResponse, Problem> {
    let command = change::command(at, lifetime::touch_op(expiry), change::token(call.request)?);
    let there = call
        .ask(command, |reply| match reply {
            Reply::Done(there) => Some(*there),
            Reply::Value(_) => Some(true),
            Reply::Nil => Some(false),
            _ => None,
        })
        .await?;
    if !there {
        return Err(Problem::plain(Kind::NoSuchKey));
    }
    Ok(HttpResponse::NoContent().finish())
}

/// A number as GET would give it.
fn number(text: &str, version: Option<Version>) -> HttpResponse {
    let mut response = HttpResponse::Ok().body(text.to_owned());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Some(version) = version {
        headers.insert(ETAG, etag::header(version));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_takes_only_its_own_parameters() {
        let good = [
            ("op=incr", Operation::Increment(1)),
            ("by=-5&op=incr", Operation::Increment(-5)),
            ("op=append", Operation::Append),
            ("op=touch&ttl=2s", Operation::Touch(Expiry::After(2_000))),
            ("op=touch&ttl=never", Operation::Touch(Expiry::Never)),
            ("op=getdel", Operation::GetDelete),
        ];
        for (query, want) in good {
            assert_eq!(Operation::read(query).ok(), Some(want), "{query}");
        }
        for bad in [
            "",
            "op",
            "op=",
            "op=decr",
            "op=incr&ttl=1s",
            "op=incr&by=x",
            "op=touch",
            "op=append&by=1",
            "op=incr&op=append",
        ] {
            assert!(Operation::read(bad).is_err(), "{bad}");
        }
    }
}
