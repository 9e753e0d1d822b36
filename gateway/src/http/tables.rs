//! `/v1/tables`: the tables of the cluster and their policies.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use bytes::Bytes;
use firn_wire::command::{Command, TableCommand};
use firn_wire::ids::TableName;
use firn_wire::map::TablePolicy;
use firn_wire::registry::TableMade;
use firn_wire::reply::Reply;

use super::call::Call;
use super::door::{no_such_table, table_name};
use super::limits::POLICY_BYTES_MAX;
use super::object;
use super::problem::{Kind, Problem};

async fn read_policy(call: &mut Call<'_>) -> Result<Bytes, Problem> {
    call.body.read(POLICY_BYTES_MAX, Kind::BodyTooLong).await
}

/// `GET /v1/tables`
pub(super) fn list(call: &Call<'_>) -> Result<HttpResponse, Problem> {
    call.params(&[])?;
    let map = call.door.execute.map();
    Ok(HttpResponse::Ok().json(serde_json::json!({ "tables": map.tables })))
}

/// `GET /v1/tables/{table}`
pub(super) async fn get(call: &mut Call<'_>, table: &str) -> Result<HttpResponse, Problem> {
    call.params(&[])?;
    let id = call.door.table(table).await?;
    let map = call.door.execute.map();
    let row = map.table_by_id(id).ok_or_else(|| no_such_table(table))?;
    Ok(HttpResponse::Ok().json(row))
}

/// `PUT /v1/tables/{table}`: the body is the policy; none is the policy that says nothing.
pub(super) async fn create(call: &mut Call<'_>, table: &str) -> Result<HttpResponse, Problem> {
    let params = call.params(&["first_byte"])?;
    let name: TableName =
        table.parse().map_err(|error| Problem::new(Kind::InvalidTableName, format!("{error}")))?;
    let first_byte = params.number("first_byte", "a byte, 0 to 255")?;
    let body = read_policy(call).await?;
    let policy = if body.is_empty() {
        TablePolicy::default()
    } else {
        object::read(&body).map_err(|problem| problem.table(table))?
    };
    let command = TableCommand::Create {
        name: &name,
        first_byte: first_byte.unwrap_or(name.as_str().as_bytes()[0]),
        policy,
    };
    made(call, &name, command).await
}

/// `PATCH /v1/tables/{table}`: the body is a JSON merge patch (RFC 7396) of the policy.
pub(super) async fn alter(call: &mut Call<'_>, table: &str) -> Result<HttpResponse, Problem> {
    call.params(&[])?;
    let name = table_name(table)?;
    let body = read_policy(call).await?;
    object::read::<serde_json::Map<String, serde_json::Value>>(&body)
        .map_err(|problem| problem.table(table))?;
    let patch = std::str::from_utf8(&body).expect("checked to be JSON, which is UTF-8");
    made(call, &name, TableCommand::Alter { name: &name, patch }).await
}

/// Runs a change that leaves a table, and answers its row: 201 where it was made now.
async fn made(
    call: &mut Call<'_>,
    name: &TableName,
    command: TableCommand<'_>,
) -> Result<HttpResponse, Problem> {
    let named = |problem: Problem| problem.table(name.as_str());
    let changed = call.ask(Command::Table(command), |reply| match reply {
        Reply::Table { created, .. } => Some(*created),
        _ => None,
    });
    let created = changed.await.map_err(named)?;
    let execute = &call.door.execute;
    if execute.map().table(name).is_none() {
        execute.find_table(name).await; // made at the uplink a moment ago: the map may be on its way
    }
    let map = execute.map();
    let row = map.table(name).ok_or_else(|| {
        named(Problem::new(Kind::Unavailable, "the table was changed, but the map with it is late"))
    })?;
    let made = TableMade { table: row.clone(), created, version: map.version };
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(HttpResponse::build(status).json(made))
}

/// `DELETE /v1/tables/{table}`: the table goes with all it holds.
pub(super) async fn remove(call: &mut Call<'_>, table: &str) -> Result<HttpResponse, Problem> {
    call.params(&[])?;
    let name = table_name(table)?;
    let command = Command::Table(TableCommand::Drop { name: &name });
    let dropped = call.ask(command, |reply| match reply {
        Reply::Done(dropped) => Some(*dropped),
        _ => None,
    });
    match dropped.await.map_err(|problem| problem.table(table))? {
        true => Ok(HttpResponse::NoContent().finish()),
        false => Err(no_such_table(table)),
    }
}
