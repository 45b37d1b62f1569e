//! The parsed configuration, once per isolate.

use std::cell::OnceCell;
use std::rc::Rc;

use dormouse_domain::config::Config;
use dormouse_domain::problem::{Code, Problem};
use worker::{Env, console_error};

use crate::bindings;

thread_local! {
    static CONFIG: OnceCell<Option<Rc<Config>>> = const { OnceCell::new() };
}

/// The configuration.
///
/// # Errors
/// [`Code::Misconfigured`] when a setting is wrong; each mistake is logged once per isolate.
pub(crate) fn load(env: &Env) -> Result<Rc<Config>, Problem> {
    CONFIG
        .with(|config| config.get_or_init(|| parse(env)).clone())
        .ok_or_else(|| Problem::new(Code::Misconfigured).detail("see the service's log"))
}

fn parse(env: &Env) -> Option<Rc<Config>> {
    match Config::parse(|name| bindings::setting(env, name)) {
        #[cfg(feature = "conformance")]
        Ok(mut config) => {
            dormouse_domain::conformance::configure(&mut config);
            Some(Rc::new(config))
        }
        #[cfg(not(feature = "conformance"))]
        Ok(config) => Some(Rc::new(config)),
        Err(errors) => {
            for error in errors {
                console_error!("configuration: {error}");
            }
            None
        }
    }
}
