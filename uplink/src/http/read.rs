//! Queries and bodies, read strictly: an unknown name, a name twice, a wrong type are refused.

use actix_web::web::Query;
use firn_wire::ids::MapVersion;
use firn_wire::json;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::gate::Passed;
use super::problem::Refused;

/// No query at all: a name that means nothing here was meant to mean something.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoQuery {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MapQuery {
    pub(super) after: Option<MapVersion>,
    pub(super) wait: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateQuery {
    pub(super) first_byte: Option<u8>,
}

pub(super) fn query<T: DeserializeOwned>(passed: &Passed) -> Result<T, Refused> {
    let read = Query::<T>::from_query(&passed.query);
    read.map(Query::into_inner).map_err(|error| Refused::bad_request(error.to_string()))
}

/// A body that is a JSON object. Said apart since serde also reads a struct from an array of its members' values.
pub(super) fn object<T: DeserializeOwned>(passed: &Passed) -> Result<T, Refused> {
    if !passed.body.trim_ascii_start().starts_with(b"{") {
        return Err(Refused::bad_request("the body must be a JSON object"));
    }
    body(passed)
}

pub(super) fn body<T: DeserializeOwned>(passed: &Passed) -> Result<T, Refused> {
    json::read(&passed.body).map_err(|error| Refused::bad_request(error.to_string()))
}
