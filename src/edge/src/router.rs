//! Which request goes where, and on whose behalf.

use dormouse_domain::auth::Identity;
use dormouse_domain::command::Mark;
use dormouse_domain::operation::{Access, Operation, RouteError};
use dormouse_domain::problem::{Code, Problem};
use serde::Serialize;
use worker::{Context, Env, Request, Response};

use crate::http::{Refusal, header, json};
use crate::{api, entropy, identity, instruments, settings, socket_io};

/// Who makes a request.
pub(crate) enum Caller {
    /// Nobody in particular.
    Anyone,
    /// A service, by the id of its key.
    Service(String),
    /// A user.
    User(Identity),
}

/// Answers `request`.
///
/// # Errors
/// When not even a refusal can be made.
pub(crate) async fn route(request: Request, env: Env, context: Context) -> worker::Result<Response> {
    instruments::count(instruments::Unit::WorkerRequests, 1);
    let path = request.path();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    if is_engine(&segments) {
        return socket_io::answer(request, &env, &context)
            .await
            .or_else(|refusal| refusal.into_response(&path, &entropy::sid()?));
    }
    let id = request_id(&request)?;
    let response = answer(request, &env, &segments)
        .await
        .or_else(|refusal| refusal.into_response(&path, &id))?;
    // What a hub answered has headers that can't be changed.
    let headers = response.headers().clone();
    headers.set("x-request-id", &id)?;
    Ok(response.with_headers(headers))
}

fn is_engine(segments: &[&str]) -> bool {
    match segments {
        ["socket.io", _, ..] => true,
        #[cfg(feature = "conformance")]
        ["engine.io", _, ..] => true,
        _ => false,
    }
}

/// What the platform calls the request, or a name of our own.
fn request_id(request: &Request) -> worker::Result<String> {
    match header(request.headers(), "cf-ray")? {
        Some(ray) => Ok(ray),
        None => entropy::sid(),
    }
}

async fn answer(request: Request, env: &Env, segments: &[&str]) -> Result<Response, Refusal> {
    #[cfg(feature = "instruments")]
    if let ["__test", rest @ ..] = segments {
        return instruments::routes::answer(&request, env, rest).await;
    }
    // As the client wrote it: to the `worker` crate a method it does not know is GET.
    let method = request.inner().method();
    let route = Operation::parse(&method, segments).map_err(|error| match error {
        RouteError::NotFound => Refusal::Problem(Problem::new(Code::NotFound)),
        RouteError::MethodNotAllowed(allowed) => Refusal::MethodNotAllowed(allowed),
    })?;
    let caller = authorize(&request, env, route.endpoint.access)?;
    match (route.operation, caller) {
        (Operation::Health, _) => health(env),
        (Operation::OpenApi, _) => api::openapi::document(),
        (operation, Caller::Service(key)) => serve(request, env, operation, &key).await,
        (operation, Caller::User(user)) => serve_user(request, env, operation, user).await,
        (_, Caller::Anyone) => Err(Problem::new(Code::Unauthenticated).into()),
    }
}

/// Who makes the request, when they may.
fn authorize(request: &Request, env: &Env, access: Access) -> Result<Caller, Refusal> {
    match access {
        Access::Public => Ok(Caller::Anyone),
        Access::Service(scope) => {
            let config = settings::load(env)?;
            let authorization = header(request.headers(), "authorization")?;
            let key = config
                .service_keys
                .authorize(authorization.as_deref(), scope)
                .map_err(Problem::from)?;
            Ok(Caller::Service(key.id.clone()))
        }
        Access::User => {
            let config = settings::load(env)?;
            let identity = identity::of_request(request, &config, None)?;
            Ok(Caller::User(identity.map_err(Problem::from)?))
        }
    }
}

async fn serve(
    request: Request,
    env: &Env,
    operation: Operation<'_>,
    key: &str,
) -> Result<Response, Refusal> {
    match operation {
        Operation::Push => api::notifications::push(request, env, key).await,
        Operation::Retract(id) => api::notifications::retract(env, id).await,
        Operation::Retry(id) => api::notifications::retry(env, id).await,
        Operation::PresenceOfUser(user) => api::presence::user(env, user).await,
        Operation::DisconnectUser(user) => api::users::disconnect(request, env, user, key).await,
        Operation::ExportUser(user) => api::users::export(&request, env, user).await,
        Operation::EraseUser(user) => api::users::erase(env, user, key).await,
        _ => Err(Problem::new(Code::NotFound).into()),
    }
}

async fn serve_user(
    request: Request,
    env: &Env,
    operation: Operation<'_>,
    user: Identity,
) -> Result<Response, Refusal> {
    match operation {
        Operation::List => api::me::list(&request, env, user).await,
        Operation::Counts => api::me::counts(&request, env, user).await,
        Operation::Read(id) => api::me::mark(env, user, id, Mark::Read).await,
        Operation::Unread(id) => api::me::mark(env, user, id, Mark::Unread).await,
        Operation::Archive(id) => api::me::mark(env, user, id, Mark::Archive).await,
        Operation::Unarchive(id) => api::me::mark(env, user, id, Mark::Unarchive).await,
        Operation::DeleteItem(id) => api::me::delete(env, user, id).await,
        Operation::ReadAll => api::me::read_all(request, env, user).await,
        Operation::Seen => api::me::seen(request, env, user).await,
        Operation::Preferences => api::me::preferences(env, user).await,
        Operation::PutPreferences => api::me::set_preferences(request, env, user).await,
        _ => Err(Problem::new(Code::NotFound).into()),
    }
}

fn health(env: &Env) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Health {
        status: &'static str,
    }
    settings::load(env)?;
    Ok(json(200, &Health { status: "ok" })?)
}
