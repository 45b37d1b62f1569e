//! Which request goes where, and on whose behalf.

use dormouse_domain::auth::Identity;
use dormouse_domain::command::Mark;
use dormouse_domain::operation::{
    Access, Operation, PublicOperation, RouteError, ServiceOperation, UserOperation,
};
use dormouse_domain::problem::{Code, Problem};
use dormouse_domain::service_key::{self, Caller};
use serde::Serialize;
use worker::{Context, Env, Request, Response};

use crate::cors::Cors;
use crate::http::{Refusal, harden, header, json};
use crate::log::{At, Outcome, PREFLIGHT, Trace};
use crate::{api, clock, entropy, identity, instruments, keys, limits, settings, socket_io};

/// Answers `request`.
///
/// # Errors
/// When not even a refusal can be made.
pub(crate) async fn route(request: Request, env: Env, context: Context) -> worker::Result<Response> {
    instruments::count(instruments::Unit::WorkerRequests, 1);
    let path = request.path();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    #[cfg(feature = "instruments")]
    if let ["__test", rest @ ..] = segments.as_slice() {
        let answer = instruments::routes::answer(&request, &env, rest).await;
        return answer.or_else(|refusal| refusal.into_response(&path, ""));
    }
    let trace = Trace::begin(request_id(&request)?);
    let response = if is_engine(&segments) {
        socket_io::answer(request, &env, &context, &trace)
            .await
            .or_else(|refusal| refusal.into_response(&path, trace.request_id()))
    } else {
        call(request, &env, &path, &segments, &trace).await
    };
    let status = response.as_ref().map_or(500, Response::status_code);
    trace.end(&env, At::Request, Outcome::Status(status));
    response
}

/// Answers a call of the API.
async fn call(
    request: Request,
    env: &Env,
    path: &str,
    segments: &[&str],
    trace: &Trace,
) -> worker::Result<Response> {
    let cors = Cors::of(&request)?;
    let response = answer(request, env, segments, &cors, trace)
        .await
        .or_else(|refusal| refusal.into_response(path, trace.request_id()))?;
    // What a hub answered has headers that can't be changed.
    let headers = response.headers().clone();
    headers.set("x-request-id", trace.request_id())?;
    harden(&headers)?;
    if let Ok(config) = settings::load(env) {
        cors.allow(&headers, &config.handshake)?;
    }
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

async fn answer(
    request: Request,
    env: &Env,
    segments: &[&str],
    cors: &Cors,
    trace: &Trace,
) -> Result<Response, Refusal> {
    // As the client wrote it: to the `worker` crate a method it does not know is GET.
    let method = request.inner().method();
    let route = match Operation::parse(&method, segments) {
        Ok(route) => route,
        Err(RouteError::NotFound) => return Err(Problem::new(Code::NotFound).into()),
        Err(RouteError::MethodNotAllowed(allowed)) if method == "OPTIONS" => {
            trace.operation(PREFLIGHT);
            return Ok(cors.preflight(&allowed.join(", "))?);
        }
        Err(RouteError::MethodNotAllowed(allowed)) => return Err(Refusal::MethodNotAllowed(allowed)),
    };
    trace.operation(route.endpoint.id);
    match route.operation {
        Operation::Public(PublicOperation::Health) => health(env),
        Operation::Public(PublicOperation::OpenApi) => api::openapi::document(),
        Operation::Service(operation) => {
            let caller = authorize_service(&request, env, route.endpoint.access).await?;
            limits::service(env, &caller.id).await?;
            serve_service(request, env, operation, &caller).await
        }
        Operation::User(operation) => {
            let user = authorize_user(&request, env).await?;
            trace.user(&user.user);
            serve_user(request, env, operation, user).await
        }
    }
}

/// The service a request is from, when it may do what is asked for.
async fn authorize_service(request: &Request, env: &Env, access: Access) -> Result<Caller, Refusal> {
    let authorization = header(request.headers(), "authorization")?;
    let config = keys::ready(env, authorization.as_deref().unwrap_or_default()).await?;
    let caller = service_key::authenticate(
        clock::now(),
        &config.service_keys,
        &config.token_keys,
        authorization.as_deref(),
    );
    let caller = caller.map_err(Problem::from)?;
    match access.check(&caller) {
        Ok(()) => Ok(caller),
        Err(Some(error)) => Err(Problem::from(error).into()),
        Err(None) => Err(Problem::new(Code::Forbidden).into()),
    }
}

/// The user a request is from: a bearer token, or the cookie from an allowed origin.
async fn authorize_user(request: &Request, env: &Env) -> Result<Identity, Refusal> {
    let identity = identity::of_request(request, env, None).await?;
    Ok(identity.map_err(Problem::from)?)
}

async fn serve_service(
    request: Request,
    env: &Env,
    operation: ServiceOperation<'_>,
    caller: &Caller,
) -> Result<Response, Refusal> {
    match operation {
        ServiceOperation::Push => api::notifications::push(request, env, caller).await,
        ServiceOperation::Retract(id) => api::notifications::retract(env, id, caller).await,
        ServiceOperation::Retry(id) => api::notifications::retry(env, id, caller).await,
        ServiceOperation::DeadLetters => api::dead_letters::list(&request, env).await,
        ServiceOperation::ReplayDeadLetter(id) => api::dead_letters::replay(env, id, caller).await,
        ServiceOperation::DeleteDeadLetter(id) => api::dead_letters::delete(env, id).await,
        ServiceOperation::EmitEvent => api::events::emit(request, env).await,
        ServiceOperation::PutMember { room, user } => api::rooms::put_member(env, room, user).await,
        ServiceOperation::DeleteMember { room, user } => api::rooms::delete_member(env, room, user).await,
        ServiceOperation::ChangeMembers(room) => api::rooms::change_members(request, env, room).await,
        ServiceOperation::PresenceOfUser(user) => api::presence::user(env, user).await,
        ServiceOperation::QueryPresence => api::presence::users(request, env).await,
        ServiceOperation::PresenceInRoom(room) => api::presence::room(&request, env, room).await,
        ServiceOperation::CountPresence => api::presence::count(env).await,
        ServiceOperation::Metrics => api::metrics::answer(env).await,
        ServiceOperation::DisconnectUser(user) => {
            api::users::disconnect(request, env, user, &caller.id).await
        }
        ServiceOperation::ExportUser(user) => api::users::export(&request, env, user).await,
        ServiceOperation::EraseUser(user) => api::users::erase(env, user, &caller.id).await,
        ServiceOperation::PushBatch => api::notifications::batch(request, env, caller).await,
        ServiceOperation::Status(id) => api::notifications::status(env, id).await,
        ServiceOperation::Recipients(id) => api::notifications::recipients(&request, env, id).await,
        ServiceOperation::PutTemplate(key) => api::templates::put(request, env, key).await,
        ServiceOperation::Template(key) => api::templates::get(&request, env, key).await,
        ServiceOperation::DeleteTemplate(key) => api::templates::delete(env, key).await,
        ServiceOperation::RenderTemplate(key) => api::templates::render(request, env, key).await,
        ServiceOperation::PutType(id) => api::templates::put_type(request, env, id).await,
    }
}

async fn serve_user(
    request: Request,
    env: &Env,
    operation: UserOperation,
    user: Identity,
) -> Result<Response, Refusal> {
    match operation {
        UserOperation::List => api::me::list(&request, env, user).await,
        UserOperation::Counts => api::me::counts(&request, env, user).await,
        UserOperation::Mark(id, Mark::Delete) => api::me::delete(env, user, id).await,
        UserOperation::Mark(id, mark) => api::me::mark(env, user, id, mark).await,
        UserOperation::ReadAll => api::me::read_all(request, env, user).await,
        UserOperation::Seen => api::me::seen(request, env, user).await,
        UserOperation::Preferences => api::me::preferences(env, user).await,
        UserOperation::PutPreferences => api::me::set_preferences(request, env, user).await,
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
