//! The edge: what a client sent becomes a request that is safe to forward, or a refusal.
//!
//! Framing, path and headers are checked in this order before a route is looked up. The count of requests is the same on
//! both sides of the gateway, always: whatever could be counted otherwise is refused, and its connection is closed.

mod framing;
mod headers;
mod path;
mod problem;

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::{Body as _, Incoming};
use hyper::http::Uri;
use hyper::http::request::Parts;
use hyper::{Request, Response, Version};

use self::framing::Framing;
use self::headers::Hop;
use crate::forward::{Body, Forwarder, Outbound, Refusal};
use crate::server::hints::Hints;
use crate::table::{AliasView, Table};

/// The edge of a gateway.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) table: Arc<Table>,
    pub(crate) forwarder: Forwarder,
}

/// A request that may be forwarded.
struct Admitted {
    alias: Arc<AliasView>,
    outbound: Outbound,
    body: Incoming,
}

impl Edge {
    /// Answers a request of the client at `peer`. `hints` leads to its connection.
    pub(crate) async fn answer(
        &self,
        peer: SocketAddr,
        hints: Arc<Hints>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let counters = &self.forwarder.counters;
        counters.request();
        let result = match self.admit(peer, hints, request) {
            Ok(admitted) => {
                let Admitted { alias, outbound, body } = admitted;
                let forwarding = self.forwarder.forward(&alias, outbound, body);
                let result = tokio::select! {
                    result = forwarding => result,
                    // The drain time is over: whoever has no response yet learns why.
                    () = self.forwarder.end.cancelled() => Err(Refusal::draining()),
                };
                result.inspect_err(|_| counters.failed())
            }
            Err(refusal) => {
                counters.refused();
                Err(refusal)
            }
        };
        result.unwrap_or_else(|refusal| {
            tracing::debug!(reason = refusal.reason, detail = refusal.detail, "request refused");
            problem::render(&refusal)
        })
    }

    fn admit(&self, peer: SocketAddr, hints: Arc<Hints>, mut request: Request<Incoming>) -> Result<Admitted, Refusal> {
        let options = &self.forwarder.options;
        let on_upgrade = hyper::upgrade::on(&mut request);
        let (mut parts, body) = request.into_parts();
        let framing = framing::check(&parts)?;
        if headers::is_loop(&parts.headers, &options.id) {
            return Err(Refusal::looped());
        }
        let route = path::route(&parts.uri)?;
        let alias = self.alias(&route)?;
        let upgrade = headers::upgrade(&parts.headers).filter(|_| parts.version == Version::HTTP_11);
        let is_trusted = options.trusted_hops.iter().any(|range| range.contains(peer.ip().to_canonical()));
        let hop = Hop { peer: peer.ip(), is_trusted, scheme: &options.scheme, id: &options.id };
        headers::rewrite(&mut parts.headers, hop, framing, &body.size_hint());
        debug_assert!(framing != Framing::None || body.is_end_stream(), "a body without framing has no bytes");
        let hints = (parts.version == Version::HTTP_11).then_some(hints);
        let Parts { method, headers, .. } = parts;
        let uri = Uri::from(route.forwarded);
        let outbound = Outbound { method, uri, headers, upgrade: upgrade.map(|_| on_upgrade), hints };
        Ok(Admitted { alias, outbound, body })
    }

    fn alias(&self, route: &path::Route) -> Result<Arc<AliasView>, Refusal> {
        let service = self.table.lookup(&route.service).ok_or(Refusal::no_route())?;
        service.alias(&route.alias).cloned().ok_or(Refusal::no_route())
    }
}
