//! A billing system that answers as a test tells it to, and remembers what it was asked.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Asked {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// What it does about a request.
#[derive(Debug, Clone)]
pub enum Reply {
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: Bytes,
    },
    /// Never answers.
    Hang,
    /// Answers that once the gate is opened.
    Later(Arc<Semaphore>, Box<Reply>),
    /// Breaks the connection off without an answer.
    Break,
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        let kind = if status < 400 { "application/json" } else { "application/problem+json" };
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        Reply::Answer { status, headers, body: Bytes::from(body.to_string()) }
    }

    pub fn code(status: u16, code: &str) -> Self {
        Self::json(status, &json!({ "code": code, "status": status }))
    }
}

type Handler = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// The system.
#[derive(Clone)]
pub struct Stub {
    address: SocketAddr,
    handler: Arc<Mutex<Handler>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Stub {
    /// One that applies every write.
    pub async fn start(name: &'static str) -> Self {
        let listener = host::net::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let handler: Handler = Arc::new(move |asked| applied(name, asked));
        let stub = Self { address, handler: Arc::new(Mutex::new(handler)), asked: Arc::default() };
        tokio::spawn(host::http::serve(listener, Service(stub.clone()), host::task::Shutdown::new()));
        stub
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers by this from now on.
    pub fn answers(&self, handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) {
        *self.handler.lock().unwrap() = Arc::new(handler);
    }

    pub fn always(&self, reply: Reply) {
        self.answers(move |_| reply.clone());
    }

    /// Answers what it otherwise would once the gate is opened.
    pub fn waits_for(&self, gate: &Arc<Semaphore>) {
        let (before, gate) = (self.handler.lock().unwrap().clone(), gate.clone());
        self.answers(move |asked| Reply::Later(gate.clone(), Box::new(before(asked))));
    }

    /// Everything it was asked.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The writes among it.
    pub fn writes(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.method != Method::GET).collect()
    }

    pub fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// What a system of that name answers when it applies a request.
pub fn applied(name: &str, asked: &Asked) -> Reply {
    let Ok(body) = serde_json::from_slice::<Value>(&asked.body) else {
        return if asked.method == Method::GET {
            Reply::json(200, &json!({ "system": name, "path": asked.path }))
        } else {
            Reply::code(400, "MalformedRequest")
        };
    };
    if asked.path == "/accounts" {
        return Reply::json(201, &json!({ "system": name, "accountId": body["accountId"] }));
    }
    let key = body["idempotencyKey"].as_str().unwrap_or("none");
    Reply::json(
        200,
        &json!({
            "system": name, "transactionId": format!("{name}-{key}"), "trackingId": key, "status": "completed",
            "source": { "accountId": body["sourceAccountId"], "movement": "-1.5" },
            "destination": { "accountId": body["destinationAccountId"], "movement": "1.5", "balanceAfter": "1.5" },
        }),
    )
}

#[derive(Clone)]
struct Service(Stub);

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Full<Bytes>>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let stub = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let path = head.uri.path_and_query().unwrap().as_str().to_owned();
            let asked = Asked { method: head.method, path, headers: head.headers, body };
            let handler = stub.handler.lock().unwrap().clone();
            stub.asked.lock().unwrap().push(asked.clone());
            let mut reply = handler(&asked);
            loop {
                match reply {
                    Reply::Hang => std::future::pending().await,
                    Reply::Break => return Err("broken off".into()),
                    Reply::Later(gate, then) => {
                        gate.acquire().await?.forget();
                        reply = *then;
                    }
                    Reply::Answer { status, headers, body } => {
                        let mut response = Response::builder().status(status);
                        for (name, value) in headers {
                            response = response.header(name, value);
                        }
                        return Ok(response.body(Full::new(body))?);
                    }
                };
            }
        })
    }
}
