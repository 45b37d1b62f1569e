//! The parsed configuration, once per isolate. Only the keys in it change.

use std::cell::RefCell;
use std::rc::Rc;

use dormouse_domain::config::Config;
use dormouse_domain::problem::{Code, Problem};
use worker::{Env, console_error};

use crate::bindings;

thread_local! {
    static CONFIG: RefCell<Parsed> = const { RefCell::new(Parsed::NotYet) };
}

/// What the isolate knows of the settings.
#[derive(Clone)]
enum Parsed {
    /// Nobody has asked.
    NotYet,
    /// There are mistakes in them.
    Wrong,
    /// They are these.
    Right(Rc<Config>),
}

/// The configuration at this moment: after waiting for anything there may be another.
///
/// # Errors
/// [`Code::Misconfigured`] when a setting is wrong; each mistake is logged once per isolate.
pub(crate) fn load(env: &Env) -> Result<Rc<Config>, Problem> {
    CONFIG.with_borrow_mut(|parsed| {
        if matches!(parsed, Parsed::NotYet) {
            *parsed = parse(env);
        }
        match parsed {
            Parsed::Right(config) => Ok(Rc::clone(config)),
            Parsed::NotYet | Parsed::Wrong => {
                Err(Problem::new(Code::Misconfigured).detail("see the service's log"))
            }
        }
    })
}

/// Puts a changed copy in the place of the configuration; `None` while there is none.
pub(crate) fn change<T>(edit: impl FnOnce(&mut Config) -> T) -> Option<T> {
    CONFIG.with_borrow_mut(|parsed| match parsed {
        Parsed::Right(config) => Some(edit(Rc::make_mut(config))),
        Parsed::NotYet | Parsed::Wrong => None,
    })
}

fn parse(env: &Env) -> Parsed {
    match Config::parse(|name| bindings::setting(env, name)) {
        #[cfg(feature = "conformance")]
        Ok(mut config) => {
            dormouse_domain::conformance::configure(&mut config);
            Parsed::Right(Rc::new(config))
        }
        #[cfg(not(feature = "conformance"))]
        Ok(config) => Parsed::Right(Rc::new(config)),
        Err(errors) => {
            for error in errors {
                console_error!("configuration: {error}");
            }
            Parsed::Wrong
        }
    }
}
