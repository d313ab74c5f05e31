//! The worker token, checked on every call.

use common::{config::Secret, proto::AUTHORIZATION};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tonic::{Request, Status, metadata::MetadataMap, service::Interceptor};

use crate::serve::Peer;

/// Lets calls with the right token through; all of them when there is none to present (loopback only).
#[derive(Clone)]
pub(crate) struct Auth {
    expected: Option<[u8; 32]>,
}

impl Auth {
    pub(crate) fn new(token: Option<&Secret>) -> Self {
        Self { expected: token.map(|token| digest(token.expose())) }
    }

    /// Takes the same time whatever is wrong with the token, its length included: digests are compared.
    fn allows(&self, metadata: &MetadataMap) -> bool {
        let Some(expected) = &self.expected else { return true };
        let header = metadata.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| header.split_once(' '));
        let presented = match token {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => digest(token),
            _ => digest(""),
        };
        bool::from(presented.ct_eq(expected)) && token.is_some()
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

impl Interceptor for Auth {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        if self.allows(request.metadata()) {
            return Ok(request);
        }
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0.to_string()).unwrap_or_default();
        tracing::warn!(peer, "a worker with a wrong token, or none, was turned away");
        Err(Status::unauthenticated(
            "the worker token is missing or wrong: set TVARR_AUTH_TOKEN to the coordinator's TVARR_GRPC_AUTH_TOKEN",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(token: Option<&str>, header: Option<&'static str>) -> bool {
        let mut metadata = MetadataMap::new();
        if let Some(header) = header {
            metadata.insert(AUTHORIZATION, header.parse().unwrap());
        }
        Auth::new(token.map(Secret::new).as_ref()).allows(&metadata)
    }

    #[test]
    fn only_the_exact_token_opens() {
        assert!(allowed(Some("secret"), Some("Bearer secret")));
        assert!(allowed(Some("secret"), Some("bearer secret")));
        for header in [
            "secret",
            "Bearer",
            "Bearer ",
            "Bearer secre",
            "Bearer secret ",
            "Bearer secretx",
            "Basic secret",
        ] {
            assert!(!allowed(Some("secret"), Some(header)), "{header}");
        }
        assert!(!allowed(Some("secret"), None));
        assert!(allowed(None, None));
    }
}
