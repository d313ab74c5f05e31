//! What a viewer's URL says besides the file.

use serde::Deserialize;

use super::super::problem::Error;
use crate::live::service::Accept;

/// Codecs that a viewer may name: more there are not.
const MAX_ACCEPT: usize = 16;
/// Characters of a viewer's name that playlists carry on.
const MAX_VIEWER: usize = 64;

/// The query of everything below `/live/`. Other parameters are for others: players and caches add some.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Query {
    /// `hevc,h264,aac`
    pub(super) accept: Option<String>,
    pub(super) token: Option<String>,
    /// A name that a player has chosen for itself, to be told from others at the same address.
    pub(super) viewer: Option<String>,
    #[serde(rename = "_HLS_msn")]
    pub(super) msn: Option<String>,
    #[serde(rename = "_HLS_part")]
    pub(super) part: Option<String>,
}

impl Query {
    pub(super) fn accept(&self) -> Result<Accept, Error> {
        let Some(text) = &self.accept else { return Ok(Accept::default()) };
        let names: Vec<_> =
            text.split(',').filter(|name| !name.is_empty()).map(str::to_ascii_lowercase).collect();
        let is_name = |name: &String| {
            name.len() <= 16 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if names.len() > MAX_ACCEPT || !names.iter().all(is_name) {
            return Err(Error::Malformed {
                problem: "accept is no list of codecs".to_owned(),
                remedy: "write the codecs that can be played, separated by commas: hevc,h264,aac".to_owned(),
            });
        }
        Ok(Accept(names))
    }

    /// What the URIs in a playlist carry on, so that all requests of a viewer mean the same variant and may have it. Call
    /// [`Query::accept`] first.
    pub(super) fn carried(&self) -> String {
        // No other characters are in any token, so nothing has to be encoded.
        let is_plain =
            |value: &&str| value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let token = self.token.as_deref().filter(is_plain);
        let viewer = self.viewer.as_deref().filter(|viewer| viewer.len() <= MAX_VIEWER).filter(is_plain);
        let pairs: Vec<_> = [("accept", self.accept.as_deref()), ("token", token), ("viewer", viewer)]
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", value.filter(|value| !value.is_empty())?)))
            .collect();
        if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
    }

    /// The segment and part that a playlist has to have before it is sent (RFC 8216bis, 6.2.5.2).
    pub(super) fn reload(&self) -> Result<Option<(u64, Option<u32>)>, Error> {
        fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, Error> {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits).ok_or_else(|| nonsense(format!("{name} is no number")))
        }
        match (&self.msn, &self.part) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(nonsense("_HLS_part needs _HLS_msn".to_owned())),
            (Some(msn), part) => {
                let part = part.as_deref().map(|part| number("_HLS_part", part)).transpose()?;
                Ok(Some((number("_HLS_msn", msn)?, part)))
            }
        }
    }
}

pub(super) fn nonsense(problem: String) -> Error {
    Error::Malformed { problem, remedy: "ask for a segment that follows those in the playlist".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_viewer_says_goes_on_in_every_uri() {
        let query =
            Query { accept: Some("hevc,AAC".into()), token: Some("a.b-c_d".into()), ..Query::default() };
        assert_eq!(query.accept().unwrap(), Accept(vec!["hevc".into(), "aac".into()]));
        assert_eq!(query.carried(), "?accept=hevc,AAC&token=a.b-c_d");
        assert_eq!(Query::default().carried(), "");
        let named = Query { viewer: Some("tab-1".into()), ..Query::default() };
        assert_eq!(named.carried(), "?viewer=tab-1");
        for hostile in ["\"\n#EXT".to_owned(), "a".repeat(100_000) + "\n"] {
            let hostile = Query { token: Some(hostile.clone()), viewer: Some(hostile), ..Query::default() };
            assert_eq!(hostile.carried(), "");
        }
        assert_eq!(Query { viewer: Some("a".repeat(65)), ..Query::default() }.carried(), "");
        for wrong in ["h 264", "\"", "a&b=c", &"a,".repeat(17), &"a".repeat(17)] {
            assert!(
                Query { accept: Some(wrong.to_owned()), ..Query::default() }.accept().is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_blocking_reload_names_a_segment_and_perhaps_a_part() {
        let reload = |msn: Option<&str>, part: Option<&str>| {
            let own = |text: &str| text.to_owned();
            Query { msn: msn.map(own), part: part.map(own), ..Query::default() }.reload().ok()
        };
        assert_eq!(reload(None, None), Some(None));
        assert_eq!(reload(Some("7"), None), Some(Some((7, None))));
        assert_eq!(reload(Some("7"), Some("2")), Some(Some((7, Some(2)))));
        for (msn, part) in [
            (None, Some("1")),
            (Some("-1"), None),
            (Some("+1"), None),
            (Some(""), None),
            (Some("1"), Some("x")),
        ] {
            assert_eq!(reload(msn, part), None, "{msn:?} {part:?}");
        }
    }
}
