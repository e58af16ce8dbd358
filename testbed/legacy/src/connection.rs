//! The routes as a server has them that closes connections without an answer when it is told to.
//!
//! A service that fails is how hyper is told to close a connection: nothing of an answer was written then.

use axum::Router;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use std::future::Future;
use std::pin::Pin;
use tower::ServiceExt;

/// The connection is closed on purpose.
#[derive(Debug, thiserror::Error)]
#[error("a fault closes the connection")]
pub(crate) struct Dropped;

/// Marks what stands in the place of an answer where there is to be none.
#[derive(Clone)]
struct NoAnswer;

/// In the place of an answer: the connection is closed, and nothing was written to it.
pub(crate) fn dropped() -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(NoAnswer);
    response
}

/// Serves the routes of a router.
#[derive(Clone)]
pub(crate) struct Service(Router);

impl Service {
    pub(crate) fn new(router: Router) -> Self {
        Self(router)
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response;
    type Error = Dropped;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Dropped>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let router = self.0.clone();
        Box::pin(async move {
            let Ok(response) = router.oneshot(request).await;
            if response.extensions().get::<NoAnswer>().is_some() { Err(Dropped) } else { Ok(response) }
        })
    }
}
