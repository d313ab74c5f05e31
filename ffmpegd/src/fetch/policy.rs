//! Which addresses a source may have, and in which words they are refused.

use common::reach::{Reach, http::Refusal};
use reqwest::Url;

/// Who named the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The coordinator: its own signed URLs on the worker port.
    Coordinator,
    /// A user, who may not be trusted.
    User,
}

/// Whether the URL may be read. `reach`: `None` for what the coordinator says.
pub(super) fn check(url: &Url, reach: Option<&Reach>) -> Result<(), Refusal> {
    reach.unwrap_or(&Reach::anywhere()).check_url(url)
}

/// The refusal, and what could be done about it.
pub(super) fn words(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Scheme(_) => refusal.to_string(),
        Refusal::Address(address) => format!(
            "{address}; a worker reads public addresses only, and what its TVARR_SOURCE_ALLOW names (networks, or any)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_refused_with_the_way_to_allow_it() {
        let url: Url = "http://10.0.0.1/x".parse().unwrap();
        let refusal = check(&url, Some(&Reach::default())).unwrap_err();
        let text = words(&refusal);
        assert!(
            text.starts_with("10.0.0.1 is a private address;") && text.contains("TVARR_SOURCE_ALLOW"),
            "{text}"
        );
        assert_eq!(check(&url, None), Ok(()), "the coordinator is believed");
        assert!(check(&"file:///etc/passwd".parse().unwrap(), None).is_err());
    }
}
