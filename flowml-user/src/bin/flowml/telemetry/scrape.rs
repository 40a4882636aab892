//! The HTTP server that Prometheus scrapes, on the thread that serves signals.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Metrics cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics at {address}")]
pub(crate) struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// The content type of the answer (OpenMetrics 1.0 §Text Format).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The path of the metrics.
const PATH: &str = "/metrics";

/// Maximum number of connections, and the time limit of a connection. A scraper needs one connection for some
/// milliseconds.
const CONNECTIONS: usize = 16;
const LIMIT: Duration = Duration::from_secs(10);

/// Time until the next attempt to accept a connection after the system had no resources for one.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener for scrapes.
pub(crate) struct Scrapes {
    listener: TcpListener,
}

impl Scrapes {
    /// Listens on `address`. Connections wait until [`Scrapes::serve`].
    ///
    /// # Errors
    /// If the address does not belong to this host, or is in use.
    pub(crate) async fn listen(address: SocketAddr) -> Result<Self, ListenError> {
        let listener = TcpListener::bind(address).await.map_err(|source| ListenError { address, source })?;
        Ok(Self { listener })
    }

    /// The address on which it listens.
    ///
    /// # Errors
    /// If the system cannot report the address.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves the metrics until the returned set is dropped.
    #[must_use]
    pub(crate) fn serve(self, registry: Arc<Registry>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(self.listener, registry));
        tasks
    }
}

async fn accept(listener: TcpListener, registry: Arc<Registry>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let registry = Arc::clone(&registry);
                tokio::spawn(async move {
                    converse(stream, &registry).await;
                    drop(place);
                });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Answers one request. Errors are left to the scraper.
async fn converse(stream: TcpStream, registry: &Registry) {
    let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&request, registry))));
    let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    let _ = timeout(LIMIT, connection).await;
}

fn answer(request: &Request<Incoming>, registry: &Registry) -> Response<Full<Bytes>> {
    let mut body = String::new();
    let status = match (request.uri().path(), request.method()) {
        (PATH, &Method::GET | &Method::HEAD) => match text::encode(&mut body, registry) {
            Ok(()) => StatusCode::OK,
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
        },
        (PATH, _) => StatusCode::METHOD_NOT_ALLOWED,
        _ => StatusCode::NOT_FOUND,
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    if status == StatusCode::OK {
        response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(OPEN_METRICS));
    }
    response
}
