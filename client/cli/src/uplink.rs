//! The uplink as operators ask it. The servers `firn` knows may be workers or proxies, which have the map and none of this.

use firn_client::uplink::{Uplink, UplinkError};
use tokio::time::timeout;

use crate::cluster::refused;
use crate::exit::{Exit, Problem};
use crate::options::Global;

/// What a worker's and an older uplink's listener say of a path they do not have.
const NO_SUCH_PATH: [&str; 2] =
    ["urn:firn:problem:no-such-resource", "urn:firn:problem:no-such-path"];

/// Asks the servers in turn until one answers as an uplink does. What is asked may be asked again: an answer may be lost.
pub(crate) async fn ask<T>(
    global: &Global,
    question: impl AsyncFn(&Uplink) -> Result<T, UplinkError>,
) -> Result<T, Problem> {
    let mut passed = Vec::new();
    for server in &global.server {
        let uplink = Uplink::new(server, global.secret()).map_err(Problem::usage)?;
        let late = |_| Err(UplinkError::NoAnswer(format!("{server}: no answer in time")));
        match timeout(global.timeout, question(&uplink)).await.unwrap_or_else(late) {
            Ok(answer) => return Ok(answer),
            Err(UplinkError::NoAnswer(why)) => passed.push(why),
            Err(UplinkError::Absent(problem)) if NO_SUCH_PATH.contains(&&*problem.kind) => {
                passed.push(format!("{server} is no uplink that can do this"));
            }
            Err(error) => return Err(explained(server, &error)),
        }
    }
    let (passed, advice) = (passed.join("; "), "start it again, or name it with --server");
    Err(Problem::new(Exit::Unreachable, format_args!("no uplink answers ({passed}); {advice}")))
}

fn explained(server: &str, error: &UplinkError) -> Problem {
    match error {
        UplinkError::Absent(_) => {
            Problem::new(Exit::NotThere, format_args!("{error}; `firn status` lists what there is"))
        }
        UplinkError::Denied(_) => refused(server, &error.to_string()),
        _ => Problem::new(Exit::Refused, error),
    }
}
