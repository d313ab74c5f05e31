//! Which addresses a source may have.
//!
//! Every request and every redirect passes here twice: its URL, with the address in it if there is one, before anything is
//! sent, and the addresses that its name stands for when it is resolved. A connection is made to an address that was looked
//! at, so a name that stands for another one a moment later changes nothing.

use std::{fmt, net::SocketAddr};

use common::reach::{OutOfReach, Reach};
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// Who named the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The coordinator: its own signed URLs on the worker port.
    Coordinator,
    /// A user, who may not be trusted.
    User,
}

/// Why an address may not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{0} is not supported; give an http or https URL")]
    Scheme(String),
    #[error(
        "{0}; a worker reads public addresses only, and what its TVARR_SOURCE_ALLOW names (networks, or any)"
    )]
    Address(#[from] OutOfReach),
}

/// Whether the URL may be read. `reach`: `None` for what the coordinator says.
pub(super) fn check(url: &Url, reach: Option<&Reach>) -> Result<(), Refusal> {
    match url.scheme() {
        "http" | "https" => {}
        scheme => return Err(Refusal::Scheme(scheme.to_owned())),
    }
    let address = match url.host() {
        Some(url::Host::Ipv4(address)) => address.into(),
        Some(url::Host::Ipv6(address)) => address.into(),
        Some(url::Host::Domain(_)) | None => return Ok(()),
    };
    reach.map_or(Ok(()), |reach| Ok(reach.check(address)?))
}

/// The addresses of a name that may be reached.
pub(super) struct Resolver<L> {
    pub(super) reach: Reach,
    pub(super) lookup: L,
}

impl<L> fmt::Debug for Resolver<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("reach", &self.reach).finish_non_exhaustive()
    }
}

/// As the system resolves names.
pub(super) async fn system(name: String) -> std::io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.collect())
}

impl<L, F> Resolve for Resolver<L>
where
    L: Fn(String) -> F + Send + Sync + 'static,
    F: Future<Output = std::io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, found) = (self.reach.clone(), (self.lookup)(name.as_str().to_owned()));
        Box::pin(async move {
            let within = within(&reach, found.await?)?;
            Ok::<Addrs, _>(Box::new(within.into_iter()))
        })
    }
}

/// Those that may be reached. None of them: why the first may not.
fn within(reach: &Reach, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refusal> {
    let mut refused = None;
    let mut within = Vec::new();
    for address in found {
        match reach.check(address.ip()) {
            Ok(()) => within.push(address),
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    match refused {
        Some(why) if within.is_empty() => Err(why.into()),
        Some(_) | None => Ok(within),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_is_read() {
        for (url, allowed) in [
            ("http://a/x", true),
            ("https://a/x", true),
            ("file:///etc/passwd", false),
            ("ftp://a/x", false),
            ("concat:a|b", false),
        ] {
            assert_eq!(check(&url.parse().unwrap(), Some(&Reach::default())).is_ok(), allowed, "{url}");
        }
    }

    #[test]
    fn an_address_in_a_url_is_judged_however_it_is_written() {
        for url in [
            "http://127.0.0.1/x",
            "http://127.1/x",
            "http://2130706433/x",
            "http://0x7f.0.0.1/x",
            "http://0177.0.0.1/x",
            "http://[::1]:8080/x",
            "http://[::ffff:127.0.0.1]/x",
            "http://①②⑦.⓪.⓪.①/x",
            "https://169.254.169.254/latest/meta-data/",
            "http://user@10.0.0.1/x",
        ] {
            let url: Url = url.parse().unwrap();
            assert!(
                matches!(check(&url, Some(&Reach::default())), Err(Refusal::Address(_))),
                "{url} would be read"
            );
            assert_eq!(check(&url, None), Ok(()), "{url} of the coordinator");
        }
    }

    #[test]
    fn a_name_leads_only_to_what_is_within_reach() {
        let parse = |addresses: &[&str]| -> Vec<SocketAddr> {
            addresses.iter().map(|address| address.parse().unwrap()).collect()
        };
        let both = parse(&["10.0.0.1:0", "1.1.1.1:0"]);
        assert_eq!(within(&Reach::default(), both).unwrap(), parse(&["1.1.1.1:0"]));
        let refused = within(&Reach::default(), parse(&["10.0.0.1:0", "[::1]:0"])).unwrap_err();
        assert!(refused.to_string().starts_with("10.0.0.1 is a private address;"), "{refused}");
        assert_eq!(within(&Reach::default(), Vec::new()).unwrap(), []);
    }
}
