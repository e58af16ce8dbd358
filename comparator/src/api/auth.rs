//! Bearer tokens: who asks, and what that one may do.
//!
//! viewer < operator < approver; `service` stands apart: it opens `/internal/*` and the fronts' stream, and
//! nothing else does, but for the log, which whoever may look may read.

use crate::api::Refused;
use crate::config::Token;
use crate::service::Parts;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, StatusCode, request};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use wire::words::Permission;

/// Whoever sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of the token.
    pub name: String,
    /// What it may do.
    pub permission: Permission,
}

impl Caller {
    fn of(headers: &HeaderMap, tokens: &[Token]) -> Result<Self, Refused> {
        let refuse = |detail: &str| Refused::new(StatusCode::UNAUTHORIZED, "NotAuthenticated", detail);
        let given = host::http::bearer(headers)
            .ok_or_else(|| refuse("send a token of [[comparator.tokens]] as `Authorization: Bearer …`"))?;
        let token = tokens.iter().find(|token| token.secret.matches(given));
        let token = token.ok_or_else(|| refuse("this token is none of [[comparator.tokens]]"))?;
        Ok(Self { name: token.name.clone(), permission: token.permission })
    }

    /// Whether what `wanted` may do may be done.
    pub fn may(&self, wanted: Permission) -> bool {
        match (self.permission, wanted) {
            (Permission::Service, wanted) => wanted == Permission::Service,
            (_, Permission::Service) => false,
            (has, wanted) => has >= wanted,
        }
    }

    /// Refuses what this caller may not do.
    ///
    /// # Errors
    /// 403.
    pub fn needs(&self, wanted: Permission, what: &str) -> Result<(), Refused> {
        if self.may(wanted) {
            return Ok(());
        }
        let detail =
            format!("{what} takes a token with permission `{wanted}`; `{}` is `{}`", self.name, self.permission);
        Err(Refused::new(StatusCode::FORBIDDEN, "NotAuthorised", detail))
    }
}

/// Declares what a handler's caller has to be allowed.
macro_rules! callers {
    ($($(#[$about:meta])* $name:ident = $permission:ident,)+) => {
        $(
            $(#[$about])*
            pub struct $name(pub Caller);

            impl FromRequestParts<Arc<Parts>> for $name {
                type Rejection = Refused;

                async fn from_request_parts(head: &mut request::Parts, parts: &Arc<Parts>) -> Result<Self, Refused> {
                    let caller = Caller::of(&head.headers, &parts.config.tokens)?;
                    caller.needs(Permission::$permission, "this")?;
                    Ok(Self(caller))
                }
            }
        )+
    };
}

callers! {
    /// Somebody who may look.
    Viewer = Viewer,
    /// Somebody who may change what needs no second pair of eyes.
    Operator = Operator,
    /// A part of Crossfade.
    Service = Service,
}

/// Lets whoever has any token pass: the log may be read by people and by parts.
pub async fn any_token(State(parts): State<Arc<Parts>>, request: Request, next: Next) -> Result<Response, Refused> {
    Caller::of(request.headers(), &parts.config.tokens)?;
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_permission_includes_the_ones_before_it_and_service_stands_apart() {
        use Permission::{Approver, Operator, Service, Viewer};
        let table = [
            (Viewer, [true, false, false, false]),
            (Operator, [true, true, false, false]),
            (Approver, [true, true, true, false]),
            (Service, [false, false, false, true]),
        ];
        for (permission, allowed) in table {
            let caller = Caller { name: "x".into(), permission };
            for (wanted, allowed) in [Viewer, Operator, Approver, Service].into_iter().zip(allowed) {
                assert_eq!(caller.may(wanted), allowed, "{permission} asks for {wanted}");
            }
        }
    }
}
