//! Who asks for media, as far as a request tells.

use std::{convert::Infallible, net::IpAddr};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, Method, header, request::Parts},
};

use super::{super::access::FORWARDED, query::Query};
use crate::{
    live::presence::Player,
    serve::{Connection, Peer},
};

/// A request besides its URL.
pub(super) struct Asker {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    peer: Option<IpAddr>,
    /// `None`: it came another way than over the network.
    pub(super) connection: Option<Connection>,
}

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            method: parts.method.clone(),
            headers: parts.headers.clone(),
            peer: parts.extensions.get::<Peer>().map(|peer| peer.0.ip()),
            connection: parts.extensions.get().cloned(),
        })
    }
}

impl Asker {
    /// Players are told apart by address, program and token, and by a name where they say one. It is for counting them: what a
    /// proxy says of the address is taken as it is.
    pub(super) fn player(&self, query: &Query) -> Player {
        let said = |name| self.headers.get(name).map(|value| value.as_bytes());
        Player::known_by((
            self.peer,
            FORWARDED.map(said),
            said(header::USER_AGENT),
            &query.token,
            &query.viewer,
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::http::Request;

    use super::*;

    async fn player(peer: &str, headers: &[(&'static str, &str)], query: &Query) -> Player {
        let mut request = Request::new(());
        request.extensions_mut().insert(Peer(peer.parse::<SocketAddr>().unwrap()));
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (mut parts, ()) = request.into_parts();
        Asker::from_request_parts(&mut parts, &()).await.unwrap().player(query)
    }

    #[tokio::test]
    async fn requests_of_one_player_are_known_and_told_from_others() {
        let no = Query::default();
        let vlc = [("user-agent", "VLC/3.0"), ("range", "bytes=0-")];
        let one = player("192.0.2.1:4000", &vlc, &no).await;
        assert_eq!(one, player("192.0.2.1:4001", &vlc[..1], &no).await, "another connection");
        let token = Query { token: Some("a".into()), ..Query::default() };
        let viewer = Query { viewer: Some("a".into()), ..Query::default() };
        let others = [
            player("192.0.2.2:4000", &vlc, &no).await,
            player("192.0.2.1:4000", &[("user-agent", "Lavf/59")], &no).await,
            player("192.0.2.1:4000", &[vlc[0], ("x-forwarded-for", "198.51.100.7")], &no).await,
            player("192.0.2.1:4000", &[vlc[0], ("x-real-ip", "198.51.100.7")], &no).await,
            player("192.0.2.1:4000", &vlc, &token).await,
            player("192.0.2.1:4000", &vlc, &viewer).await,
        ];
        for (place, other) in others.iter().enumerate() {
            assert_ne!(*other, one, "{place}");
            assert!(!others[..place].contains(other), "{place}");
        }
    }
}
