//! Which request goes where.

use dormouse_domain::id::NotificationId;
use dormouse_domain::problem::{Code, Problem};
use serde::Serialize;
use worker::{Context, Env, Method, Request, Response};

use crate::http::{Refusal, json};
use crate::{api, instruments, settings, socket_io};

/// Everything there is to ask for, apart from `/socket.io/`.
enum Route<'a> {
    Health,
    Push,
    PushBatch,
    Notification(NotificationId),
    Recipients(NotificationId),
    List,
    Counts,
    PresenceOfUser(&'a str),
    #[cfg(feature = "instruments")]
    Instruments(&'a [&'a str]),
}

impl<'a> Route<'a> {
    fn parse(path: &'a [&'a str]) -> Option<Self> {
        match path {
            ["healthz"] => Some(Self::Health),
            ["v1", "notifications"] => Some(Self::Push),
            ["v1", "notifications", "batch"] => Some(Self::PushBatch),
            ["v1", "notifications", id] => NotificationId::parse(id).ok().map(Self::Notification),
            ["v1", "notifications", id, "recipients"] => NotificationId::parse(id).ok().map(Self::Recipients),
            ["v1", "me", "notifications"] => Some(Self::List),
            ["v1", "me", "notifications", "unread-count"] => Some(Self::Counts),
            ["v1", "presence", "users", user] => Some(Self::PresenceOfUser(user)),
            #[cfg(feature = "instruments")]
            ["__test", rest @ ..] => Some(Self::Instruments(rest)),
            _ => None,
        }
    }

    fn allows(&self, method: &Method) -> Result<(), Refusal> {
        let allowed: &[Method] = match self {
            Self::Health | Self::List | Self::Counts | Self::PresenceOfUser(_) | Self::Recipients(_) => {
                &[Method::Get]
            }
            Self::Push | Self::PushBatch => &[Method::Post],
            Self::Notification(_) => &[Method::Get, Method::Delete],
            #[cfg(feature = "instruments")]
            Self::Instruments(_) => return Ok(()),
        };
        if allowed.contains(method) {
            Ok(())
        } else {
            Err(Refusal::MethodNotAllowed(allowed.to_vec()))
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
    let Some(route) = Route::parse(&segments) else {
        return Err(Problem::new(Code::NotFound).into());
    };
    route.allows(&request.method())?;
    match route {
        Route::Health => health(env),
        Route::Push => api::notifications::push(request, env).await,
        Route::PushBatch => api::notifications::batch(request, env).await,
        Route::Notification(id) if request.method() == Method::Delete => {
            api::notifications::delete(&request, env, id).await
        }
        Route::Notification(id) => api::notifications::status(&request, env, id).await,
        Route::Recipients(id) => api::notifications::recipients(&request, env, id).await,
        Route::List => api::me::list(&request, env).await,
        Route::Counts => api::me::counts(&request, env).await,
        Route::PresenceOfUser(user) => api::presence::user(&request, env, user).await,
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
