//! `/__test/...`: how tests arm fail points, plant faults and read the ledger.

use dormouse_domain::id::UserId;
use dormouse_domain::problem::{Code, Problem};
use dormouse_domain::switchboard::SwitchboardName;
use worker::{Env, Method, Request, Response};

use super::fail_points::Armed;
use super::{FailPoint, Fault, counters, fail_points, faults, time};
use crate::http::{Refusal, json, json_body};
use crate::hub_rpc::{HubCall, HubRequest};
use crate::switchboard_rpc::{SwitchboardCall, SwitchboardRequest};

/// Answers a request below `/__test/`.
pub(crate) async fn answer(request: &Request, env: &Env, path: &[&str]) -> Result<Response, Refusal> {
    let mut request = request.clone_mut()?;
    match (request.method(), path) {
        (Method::Put, ["fail-points", name]) => {
            let point: FailPoint = parse(&format!("\"{name}\""))?;
            let armed: Armed = parse(&json_body(&mut request, 1_000).await?)?;
            fail_points::arm(point, armed);
            Ok(Response::empty()?)
        }
        (Method::Get, ["fail-points"]) => Ok(json(200, &fail_points::armed())?),
        (Method::Delete, ["fail-points"]) => {
            fail_points::clear();
            Ok(Response::empty()?)
        }
        (Method::Put, ["faults", name]) => {
            let fault: Fault = parse(&format!("\"{name}\""))?;
            faults::plant(fault);
            Ok(Response::empty()?)
        }
        (Method::Get, ["ledger"]) => Ok(json(200, &counters::counted())?),
        (Method::Get, ["points"]) => Ok(json(200, &counters::points())?),
        (Method::Delete, ["ledger"]) => {
            counters::reset();
            Ok(Response::empty()?)
        }
        (Method::Put, ["clock", ms]) => {
            time::put_forward(parse(ms)?);
            Ok(Response::empty()?)
        }
        (Method::Get, ["hub", user]) => {
            let user = crate::api::percent_decoded(user)
                .and_then(|user| UserId::parse(&user).ok())
                .ok_or_else(|| Problem::new(Code::NotFound))?;
            Ok(HubRequest::new(user, HubCall::Info).send(env).await?)
        }
        (Method::Get, ["switchboard", index, count]) => {
            let name = SwitchboardName::parse(&format!("{index}/{count}"))
                .ok_or_else(|| Problem::new(Code::NotFound))?;
            let request = SwitchboardRequest::new(name, SwitchboardCall::Info);
            Ok(request.send(env).await?)
        }
        _ => Err(Problem::new(Code::NotFound).into()),
    }
}

fn parse<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, Refusal> {
    serde_json::from_str(json).map_err(|error| {
        Problem::new(Code::InvalidRequest)
            .detail(error.to_string())
            .into()
    })
}
