//! Where the coordinator is.

use std::{fmt, str::FromStr};

use reqwest::Url;

/// Port of workers unless the address says otherwise.
const DEFAULT_PORT: u16 = 9090;

/// The coordinator's worker port: scheme, host and port, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Url);

/// A text that is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no coordinator address: {reason}; write host:9090, http://host:9090 or https://host")]
pub struct Error {
    text: String,
    reason: String,
}

impl Address {
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// `host:port`, for people.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        format!("{host}:{}", self.0.port_or_known_default().unwrap_or(DEFAULT_PORT))
    }

    /// A URL of the coordinator: absolute as it is, or a path on the worker port.
    ///
    /// # Errors
    /// It is neither.
    pub(crate) fn resolve(&self, reference: &str) -> Result<Url, String> {
        self.0.join(reference).map_err(|error| format!("{reference:?} is no URL: {error}"))
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |reason: &str| Error { text: text.to_owned(), reason: reason.to_owned() };
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(wrong("it is empty"));
        }
        let bare = !trimmed.contains("://");
        let whole = if bare { format!("http://{trimmed}") } else { trimmed.to_owned() };
        let mut url = Url::parse(&whole).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("only http and https are spoken"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("it names no host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("it holds a user name; a token goes into TVARR_AUTH_TOKEN"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it must end after the port"));
        }
        // `Url` forgets a port that is the scheme's default: it must not become another one.
        let names_port = trimmed.rsplit_once(']').map_or(trimmed, |(_, rest)| rest).contains(':');
        if bare && !names_port {
            url.set_port(Some(DEFAULT_PORT)).map_err(|()| wrong("it takes no port"))?;
        }
        Ok(Self(url))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_written_in_several_ways() {
        for (text, url, authority) in [
            ("farm:9090", "http://farm:9090", "farm:9090"),
            ("farm", "http://farm:9090", "farm:9090"),
            ("10.0.0.7:80", "http://10.0.0.7", "10.0.0.7:80"),
            ("http://farm:9090/", "http://farm:9090", "farm:9090"),
            ("https://farm.example", "https://farm.example", "farm.example:443"),
            ("[::1]:9090", "http://[::1]:9090", "[::1]:9090"),
            ("[::1]", "http://[::1]:9090", "[::1]:9090"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(
                (address.to_string().as_str(), address.authority().as_str()),
                (url, authority),
                "{text}"
            );
        }
        assert!("https://farm".parse::<Address>().unwrap().is_tls());
    }

    #[test]
    fn what_cannot_be_dialled_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("ftp://farm", "http"),
            ("http://", "host"),
            ("http://farm:9090/api", "after the port"),
            ("http://user:pw@farm", "TVARR_AUTH_TOKEN"),
            ("farm:port", "port"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn relative_urls_are_resolved_against_what_was_dialled() {
        let address: Address = "farm:9090".parse().unwrap();
        assert_eq!(address.resolve("/objects/a?sig=1").unwrap().as_str(), "http://farm:9090/objects/a?sig=1");
        assert_eq!(address.resolve("https://s3/x").unwrap().as_str(), "https://s3/x");
    }
}
