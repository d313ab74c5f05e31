//! HTTP to addresses that strangers name.
//!
//! A request passes here twice: its URL, with the address in it if there is one ([`Reach::check_url`], for every redirect
//! again), and the addresses that its name stands for when it is resolved ([`Resolver`]). A connection is made to an address
//! that was looked at, so a name that stands for another one a moment later changes nothing.

use std::{error::Error, fmt, io, net::SocketAddr};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

use super::{OutOfReach, Reach};

/// Why an address is not asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0} is not supported; give an http or https URL")]
    Scheme(String),
    #[error(transparent)]
    Address(#[from] OutOfReach),
}

impl Reach {
    /// Whether the URL may be asked, as far as it tells: what its name stands for is for the [`Resolver`].
    ///
    /// # Errors
    /// It is neither http nor https, or names an address that is out of reach.
    pub fn check_url(&self, url: &Url) -> Result<(), Refusal> {
        match url.scheme() {
            "http" | "https" => {}
            scheme => return Err(Refusal::Scheme(scheme.to_owned())),
        }
        match url.host() {
            Some(url::Host::Ipv4(address)) => Ok(self.check(address.into())?),
            Some(url::Host::Ipv6(address)) => Ok(self.check(address.into())?),
            Some(url::Host::Domain(_)) | None => Ok(()),
        }
    }
}

/// The addresses of a name that may be reached.
pub struct Resolver<L> {
    pub reach: Reach,
    pub lookup: L,
}

impl<L> fmt::Debug for Resolver<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("reach", &self.reach).finish_non_exhaustive()
    }
}

/// As the system resolves names.
///
/// # Errors
/// It cannot.
pub async fn system(name: String) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.collect())
}

impl<L, F> Resolve for Resolver<L>
where
    L: Fn(String) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
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

/// A name that stands for addresses that may not be reached, if that is what went wrong.
#[must_use]
pub fn refusal(error: &reqwest::Error) -> Option<&Refusal> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(refusal) = error.downcast_ref() {
            return Some(refusal);
        }
        cause = error.source();
    }
    None
}

/// The cause at the bottom: `Connection refused` instead of `error sending request`.
#[must_use]
pub fn innermost(error: &reqwest::Error) -> String {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        reason = error.to_string();
        cause = error.source();
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_is_asked() {
        for (url, allowed) in [
            ("http://a/x", true),
            ("https://a/x", true),
            ("file:///etc/passwd", false),
            ("ftp://a/x", false),
            ("concat:a|b", false),
        ] {
            assert_eq!(Reach::default().check_url(&url.parse().unwrap()).is_ok(), allowed, "{url}");
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
                matches!(Reach::default().check_url(&url), Err(Refusal::Address(_))),
                "{url} would be asked"
            );
            assert_eq!(Reach::anywhere().check_url(&url), Ok(()), "{url} is allowed");
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
        assert_eq!(refused.to_string(), "10.0.0.1 is a private address");
        assert_eq!(within(&Reach::default(), Vec::new()).unwrap(), []);
    }
}
