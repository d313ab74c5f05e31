//! Which addresses a source may have.
//!
//! Every request and every redirect passes here. Today the scheme is checked; checks of the network address belong here
//! too, and know from [`Origin`] whose address it is.

use reqwest::Url;

/// Who named the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The coordinator: its own signed URLs on the worker port.
    Coordinator,
    /// A user, who may not be trusted.
    User,
}

/// Whether the address may be read; why not, in words.
pub(super) fn check(url: &Url, _origin: Origin) -> Result<(), String> {
    match url.scheme() {
        "http" | "https" => Ok(()),
        scheme => Err(format!("{scheme} is not supported; give an http or https URL")),
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
            assert_eq!(check(&url.parse().unwrap(), Origin::User).is_ok(), allowed, "{url}");
        }
    }
}
