//! Connections: a bounded number. No client can hold one without progress, and no peer can take all.
//!
//! [`places`] decides who is let in, before anything is read; [`visit`] decides how long a client is waited for.

pub(super) mod places;
pub(super) mod visit;

mod watched;

mod wire;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use millstream_engine::task;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::problem::Problem;
use places::{Guest, Places};
use visit::{Patience, Peer};
use watched::Watched;
use wire::Wire;

/// Larger heads are answered 431. The library's buffer has the same size, but is checked between two reads, so that a
/// head of up to twice the size passes now and then. Bodies are read through the buffer: a much smaller one would cost
/// more calls per body.
const HEAD_BYTES_MAX: usize = 128 << 10;
/// Pause after an error of `accept`, which usually means that descriptors have run out: some will be closed by then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Interval of checks of a connection while the process stops, which has a few seconds for it.
const STOP_TICK: Duration = Duration::from_millis(200);
/// The paths that the kept places are for.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// When connections are to end.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    /// After the present request.
    pub(super) stop: CancellationToken,
    /// At once.
    pub(super) abort: CancellationToken,
}

/// Accepts until told to stop.
pub(super) async fn accept(
    listener: TcpListener,
    router: Router,
    places: Arc<Places>,
    patience: Patience,
    ends: Ends,
    tasks: TaskTracker,
) {
    loop {
        let next = async {
            places.settle().await;
            listener.accept().await
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = ends.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                let Some(guest) = places.admit(Peer::of(address.ip())) else { continue };
                let connection = serve(stream, guest, Arc::clone(&places), router.clone(), patience, ends.clone());
                drop(task::spawn("http connection", tasks.track_future(connection)));
            }
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                places.give_one_up();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, guest: Guest, places: Arc<Places>, router: Router, patience: Patience, ends: Ends) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "answers may wait for the client's acknowledgements");
    }
    let guest = Arc::new(guest);
    let visit = Arc::clone(&guest.visit);
    let wire = Wire::new(stream, Arc::clone(&visit), patience.discard_bytes_max);
    let router = TowerToHyperService::new(router);
    let answer = service_fn(|request| {
        let guest = Arc::clone(&guest);
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(&guest, &router, request).await) }
    });
    let connection = http1::Builder::new()
        // The visit has both limits, and distinguishes an idle connection from a slow head.
        .header_read_timeout(None)
        // A client may shut its sending side once it has asked: this does not mean that it has lost interest.
        .half_close(true)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(wire), answer);
    let mut connection = pin!(connection);
    let mut is_stopping = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = visit.leave.cancelled() => return,
            () = ends.stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                visit.stops();
                connection.as_mut().graceful_shutdown();
            }
            () = ends.abort.cancelled() => return,
            () = tokio::time::sleep(if is_stopping { STOP_TICK } else { patience.tick() }) => {
                if is_stopping && visit.may_end() {
                    return;
                }
                if let Some(end) = visit.overdue(&patience) {
                    places.count(end);
                    return;
                }
            }
        }
    };
    if let Err(error) = ended {
        // The client went away or spoke nonsense: nothing that an operator could act upon.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Answers one request, as far as its place allows it and as long as the client is there to read it.
async fn answer(guest: &Guest, router: &TowerToHyperService<Router>, request: Request<Incoming>) -> Response {
    let visit = &guest.visit;
    visit.asked();
    let is_placed = guest.is_placed();
    let refusal = if head_bytes(&request) > HEAD_BYTES_MAX {
        Some(Problem::head_too_large())
    } else {
        (!is_placed && !PROBES.contains(&request.uri().path())).then(no_place)
    };
    if let Some(refusal) = refusal {
        if !request.body().is_end_stream() {
            visit.left_unread();
        }
        visit.answered();
        return closing(refusal.into_response());
    }
    // A request that only reads ends with its client; a change is finished, and reported if the client still listens.
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut request = request.map(|body| Watched::new(body, Arc::clone(visit)));
    request.extensions_mut().insert(Arc::clone(visit));
    let answering = router.call(request);
    let response = tokio::select! {
        response = answering => response.unwrap_or_else(|never| match never {}),
        () = visit.gone(), if only_reads => gone().into_response(),
    };
    visit.answered();
    // A connection ends after a body that is not read: a client that is not told would send its next request into it.
    if is_placed && !visit.is_unread() { response } else { closing(response) }
}

/// As the client sent it, but for white space.
fn head_bytes(request: &Request<Incoming>) -> usize {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let headers = request.headers().iter();
    target + headers.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum::<usize>()
}

fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn no_place() -> Problem {
    let detail = "every place for a connection is in use; send again, over fewer connections that are kept open";
    Problem::unavailable("no-place", "too many connections", detail).retry_after(1)
}

fn gone() -> Problem {
    let detail = "a question that takes longer than a second is answered only as long as the client keeps its side of the connection open";
    Problem::new(StatusCode::REQUEST_TIMEOUT, "client-gone", "the client has left", detail)
}
