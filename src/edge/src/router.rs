//! Which request goes where.

use dormouse_domain::problem::{Code, Problem};
use serde::Serialize;
use worker::{Context, Env, Method, Request, Response};

use crate::http::{Refusal, json};
use crate::{api, instruments, settings, socket_io};

/// Everything there is to ask for, apart from `/socket.io/`.
enum Route<'a> {
    Health,
    Push,
    List,
    Counts,
    PresenceOfUser(&'a str),
    PutTemplate(&'a str),
    GetTemplate(&'a str),
    DeleteTemplate(&'a str),
    RenderTemplate(&'a str),
    PutType(&'a str),
    #[cfg(feature = "instruments")]
    Instruments(&'a [&'a str]),
}

impl<'a> Route<'a> {
    /// What is asked for.
    ///
    /// # Errors
    /// When there is nothing at `path`, or nothing by `method`.
    fn parse(path: &'a [&'a str], method: &Method) -> Result<Self, Refusal> {
        #[cfg(feature = "instruments")]
        if let ["__test", rest @ ..] = path {
            return Ok(Self::Instruments(rest));
        }
        let there = Self::at(path);
        if there.is_empty() {
            return Err(Problem::new(Code::NotFound).into());
        }
        let (mut asked, others): (Vec<_>, Vec<_>) =
            there.into_iter().partition(|(allowed, _)| allowed == method);
        asked.pop().map(|(_, route)| route).ok_or_else(|| {
            Refusal::MethodNotAllowed(others.into_iter().map(|(allowed, _)| allowed).collect())
        })
    }

    /// What there is at `path`, by method.
    fn at(path: &'a [&'a str]) -> Vec<(Method, Self)> {
        match path {
            ["healthz"] => vec![(Method::Get, Self::Health)],
            ["v1", "notifications"] => vec![(Method::Post, Self::Push)],
            ["v1", "me", "notifications"] => vec![(Method::Get, Self::List)],
            ["v1", "me", "notifications", "unread-count"] => vec![(Method::Get, Self::Counts)],
            ["v1", "presence", "users", user] => vec![(Method::Get, Self::PresenceOfUser(user))],
            ["v1", "templates", key] => vec![
                (Method::Get, Self::GetTemplate(key)),
                (Method::Put, Self::PutTemplate(key)),
                (Method::Delete, Self::DeleteTemplate(key)),
            ],
            ["v1", "templates", key, "render"] => vec![(Method::Post, Self::RenderTemplate(key))],
            ["v1", "types", id] => vec![(Method::Put, Self::PutType(id))],
            _ => Vec::new(),
        }
    }
}

/// Answers `request`.
///
/// # Errors
/// When not even a refusal can be made.
pub(crate) async fn route(request: Request, env: Env, context: Context) -> worker::Result<Response> {
    instruments::count(instruments::Unit::WorkerRequests, 1);
    answer(request, &env, &context)
        .await
        .or_else(Refusal::into_response)
}

async fn answer(request: Request, env: &Env, context: &Context) -> Result<Response, Refusal> {
    let path = request.path();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    if let ["socket.io", _, ..] = segments.as_slice() {
        return socket_io::answer(request, env, context).await;
    }
    #[cfg(feature = "conformance")]
    if let ["engine.io", _, ..] = segments.as_slice() {
        return socket_io::answer(request, env, context).await;
    }
    match Route::parse(&segments, &request.method())? {
        Route::Health => health(env),
        Route::Push => api::notifications::push(request, env).await,
        Route::List => api::me::list(&request, env).await,
        Route::Counts => api::me::counts(&request, env).await,
        Route::PresenceOfUser(user) => api::presence::user(&request, env, user).await,
        Route::PutTemplate(key) => api::templates::put(request, env, key).await,
        Route::GetTemplate(key) => api::templates::get(&request, env, key).await,
        Route::DeleteTemplate(key) => api::templates::delete(&request, env, key).await,
        Route::RenderTemplate(key) => api::templates::render(request, env, key).await,
        Route::PutType(id) => api::templates::put_type(request, env, id).await,
        #[cfg(feature = "instruments")]
        Route::Instruments(rest) => instruments::routes::answer(&request, env, rest).await,
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
