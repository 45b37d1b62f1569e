//! `/v1/templates` and `/v1/types`: what services define once and then name in a push.

use dormouse_domain::config::MAX_PAYLOAD_BYTES;
use dormouse_domain::notification_type::{self, TypeId};
use dormouse_domain::problem::{Code, Problem};
use dormouse_domain::template::{Lookup, Preview, RenderRequest, Template, TemplateKey, Version};
use worker::{Env, Request, Response};

use super::{percent_decoded, query};
use crate::d1::{Deleted, Put};
use crate::http::{Refusal, json, json_body, no_content};
use crate::{bindings, clock};

/// `PUT /v1/templates/{key}`: 201 for a new version, 200 when the latest says the same.
pub(crate) async fn put(mut request: Request, env: &Env, segment: &str) -> Result<Response, Refusal> {
    let key = key(segment)?;
    let template = Template::parse(&json_body(&mut request, MAX_PAYLOAD_BYTES).await?)?;
    let record = bindings::record(env)?;
    let (version, put) = record.put_template(&key, &template, clock::now()).await?;
    Ok(json(status(put), &version.view())?)
}

/// `GET /v1/templates/{key}?version=`: the latest version unless one is named.
pub(crate) async fn get(request: &Request, env: &Env, segment: &str) -> Result<Response, Refusal> {
    let key = key(segment)?;
    let version = query(&request.url()?, "version")
        .map(|value| Version::parse(&value))
        .transpose()
        .map_err(|error| Problem::parameter("version", error.to_string()))?;
    let found = bindings::record(env)?.template(&key, version).await?;
    Ok(json(200, &found.resource()?.view())?)
}

/// `DELETE /v1/templates/{key}`: every version of it.
pub(crate) async fn delete(env: &Env, segment: &str) -> Result<Response, Refusal> {
    let key = key(segment)?;
    match bindings::record(env)?.delete_template(&key).await? {
        Deleted::Deleted => Ok(no_content()?),
        Deleted::NotThere => Err(Problem::new(Code::NotFound).into()),
    }
}

/// `POST /v1/templates/{key}/render`: what a push would say, and nothing is pushed.
pub(crate) async fn render(mut request: Request, env: &Env, segment: &str) -> Result<Response, Refusal> {
    let key = key(segment)?;
    let wanted = RenderRequest::parse(&json_body(&mut request, MAX_PAYLOAD_BYTES).await?)?;
    let lookup = Lookup {
        template: Some((&key, wanted.version)),
        kind: None,
    };
    let found = bindings::record(env)?.look_up(&[lookup]).await?.pop();
    Ok(json(200, &Preview::new(&wanted, found.unwrap_or_default())?)?)
}

/// `PUT /v1/types/{id}`: 201 for a new one, 200 in place of one.
pub(crate) async fn put_type(mut request: Request, env: &Env, segment: &str) -> Result<Response, Refusal> {
    let id = TypeId::parse(&decoded(segment, "id")?)
        .map_err(|error| Problem::parameter("id", error.to_string()))?;
    let kind = notification_type::parse(id, &json_body(&mut request, MAX_PAYLOAD_BYTES).await?)?;
    let put = bindings::record(env)?.put_type(&kind, clock::now()).await?;
    Ok(json(status(put), &kind)?)
}

/// The key in a path.
fn key(segment: &str) -> Result<TemplateKey, Problem> {
    let key = decoded(segment, "key")?;
    TemplateKey::parse(&key).map_err(|error| Problem::parameter("key", error.to_string()))
}

fn decoded(segment: &str, parameter: &'static str) -> Result<String, Problem> {
    let expected = || Problem::parameter(parameter, "expected percent-encoded UTF-8");
    percent_decoded(segment).ok_or_else(expected)
}

const fn status(put: Put) -> u16 {
    match put {
        Put::New => 201,
        Put::Known => 200,
    }
}
