//! A billing system of a test: says what it is told to say, and remembers what it was asked.

use super::log::DEADLINE;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response};
use host::task::Shutdown;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What is said.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Status(u16, String),
    Replayed(u16, String),
    /// Nothing, for ever.
    Hang,
}

type Script = dyn FnMut(&Seen) -> Reply + Send;

/// See the module. It goes down when it is dropped.
pub(super) struct SmallSystem {
    address: SocketAddr,
    desk: Desk,
    shutdown: Shutdown,
}

#[derive(Clone)]
struct Desk {
    script: Arc<Mutex<Box<Script>>>,
    seen: watch::Sender<Vec<Seen>>,
}

/// A port that is taken, with nobody listening: whoever connects is refused.
pub(super) struct Down {
    socket: TcpSocket,
    address: SocketAddr,
}

impl Down {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = socket.local_addr().unwrap();
        Self { socket, address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Somebody listens from now on.
    pub fn up(self, script: impl FnMut(&Seen) -> Reply + Send + 'static) -> SmallSystem {
        SmallSystem::on(self.socket.listen(128).unwrap(), script)
    }
}

impl SmallSystem {
    pub async fn start(script: impl FnMut(&Seen) -> Reply + Send + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    fn on(listener: TcpListener, script: impl FnMut(&Seen) -> Reply + Send + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let desk = Desk { script: Arc::new(Mutex::new(Box::new(script))), seen: watch::Sender::new(Vec::new()) };
        let router = Router::new().fallback(answer).with_state(desk.clone());
        let shutdown = Shutdown::new();
        tokio::spawn(host::http::serve_router(listener, router, shutdown.clone()));
        Self { address, desk, shutdown }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it says something else.
    pub fn now_says(&self, script: impl FnMut(&Seen) -> Reply + Send + 'static) {
        *self.desk.script.lock().unwrap() = Box::new(script);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.desk.seen.borrow().clone()
    }

    /// Waits until it was asked something.
    pub async fn until<T>(&self, what: &str, found: impl Fn(&[Seen]) -> Option<T>) -> T {
        let mut changes = self.desk.seen.subscribe();
        let wait = async {
            loop {
                if let Some(found) = found(&changes.borrow_and_update()) {
                    return found;
                }
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("it never sees {what}"))
    }
}

impl Drop for SmallSystem {
    fn drop(&mut self) {
        self.shutdown.stop();
    }
}

async fn answer(State(desk): State<Desk>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let seen = Seen {
        method: head.method.to_string(),
        path: head.uri.to_string(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let reply = (desk.script.lock().unwrap())(&seen);
    desk.seen.send_modify(|all| all.push(seen));
    let (status, body, replayed) = match reply {
        Reply::Status(status, body) => (status, body, false),
        Reply::Replayed(status, body) => (status, body, true),
        Reply::Hang => pending().await,
    };
    let mut response = Response::builder().status(status).header("content-type", "application/json");
    if replayed {
        response = response.header("idempotency-replayed", "true");
    }
    response.body(Body::from(body)).unwrap()
}

/// A transaction that was applied.
pub(super) fn applied(id: &str, source: &str, destination: &str) -> String {
    format!(
        r#"{{"transactionId":"{id}","status":"completed","source":{{"accountId":"{source}","movement":"-1"}},"destination":{{"accountId":"{destination}","movement":"1"}}}}"#
    )
}

/// A refusal.
pub(super) fn refused(status: u16, code: &str) -> String {
    format!(r#"{{"type":"urn:x","title":"","status":{status},"code":"{code}","detail":""}}"#)
}
