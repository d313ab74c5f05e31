//! Leave to watch: a token in the URL, for one stream (and perhaps one profile of it), until a time.
//!
//! Whoever holds the URL holds the leave, as players and caches can send nothing else. The one clock that there is for its
//! end is the coordinator's wall clock: set back, it lets a token live longer. A stream that is removed and made anew under
//! the same name takes the tokens of the old one.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

use super::super::problem::Error;
use crate::{access::Caller, storage::sign::Signer};

/// Who may watch.
#[derive(Clone)]
pub(crate) struct Viewers {
    mac: Hmac<Sha256>,
    audience: Audience,
}

/// Who may watch without a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Everybody.
    Everybody,
    /// Who holds an API key for it; while there are no keys, whoever may use the API.
    Callers,
    /// Who holds an API key for it, and nobody while there are none.
    Holders,
}

impl Audience {
    /// As `TVARR_LIVE_TOKENS` has it.
    pub(crate) fn of(tokens: Option<bool>) -> Self {
        match tokens {
            Some(true) => Self::Holders,
            Some(false) => Self::Everybody,
            None => Self::Callers,
        }
    }
}

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leave<'a> {
    pub(super) stream: &'a str,
    /// `None`: all of them.
    pub(super) profile: Option<&'a str>,
    /// Seconds since the Unix epoch.
    pub(super) expires: i64,
}

impl Viewers {
    pub(crate) fn new(signer: &Signer, audience: Audience) -> Self {
        Self { mac: signer.derived("viewer tokens"), audience }
    }

    /// `EXPIRES.SCOPE.SIGNATURE`; the scope is `p` for one profile, `s` for the whole stream.
    pub(super) fn token(&self, leave: Leave<'_>) -> String {
        let signature = URL_SAFE_NO_PAD.encode(self.mac_of(leave).finalize().into_bytes());
        let scope = if leave.profile.is_some() { 'p' } else { 's' };
        format!("{}.{scope}.{signature}", leave.expires)
    }

    fn mac_of(&self, Leave { stream, profile, expires }: Leave<'_>) -> Hmac<Sha256> {
        // Neither name holds a line feed that was signed: streams' and profiles' names are checked when they are made.
        let scope = profile.map_or_else(String::new, |profile| format!("\n{profile}"));
        let mut mac = self.mac.clone();
        mac.update(format!("{expires}\n{stream}{scope}").as_bytes());
        mac
    }

    /// `profiles`: the one that is asked for, and the ladders that it is a rendition of; none: what is about all of them.
    /// `watches`: whether the caller may watch this stream with what it presented.
    ///
    /// # Errors
    /// A token is needed, and this is none for that.
    pub(super) fn check(
        &self,
        caller: &Caller,
        watches: bool,
        token: Option<&str>,
        stream: &str,
        profiles: &[&str],
        now: Timestamp,
    ) -> Result<(), Error> {
        let without = match (self.audience, caller) {
            (Audience::Everybody, _) => true,
            (Audience::Callers, _) => watches,
            (Audience::Holders, Caller::Open) => false,
            (Audience::Holders, _) => watches,
        };
        if without {
            return Ok(());
        }
        let Some(token) = token else {
            return Err(refused("it needs a token, or an API key with the scope view"));
        };
        match self.find(token, stream, profiles) {
            None => Err(refused("the token is not good for it")),
            Some(leave) if leave.expires <= now.as_second() => Err(refused("the token has expired")),
            Some(_) => Ok(()),
        }
    }

    /// What the token is good for, if that includes what is asked for.
    fn find<'a>(&self, token: &str, stream: &'a str, profiles: &[&'a str]) -> Option<Leave<'a>> {
        let (expires, rest) = token.split_once('.')?;
        let (scope, signature) = rest.split_once('.')?;
        let expires = expires.parse().ok()?;
        let scopes: Vec<_> = match scope {
            "s" => vec![None],
            "p" => profiles.iter().copied().map(Some).collect(),
            _ => return None,
        };
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let mut leaves = scopes.into_iter().map(|profile| Leave { stream, profile, expires });
        leaves.find(|leave| self.mac_of(*leave).verify_slice(&signature).is_ok())
    }
}

fn refused(problem: &str) -> Error {
    Error::Token { problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_000_000;

    fn viewers(audience: Audience) -> Viewers {
        Viewers::new(&Signer::new(&[7; 32]), audience)
    }

    const NOBODY: Caller = Caller::Nobody("", "");

    fn may(viewers: &Viewers, token: Option<&str>, stream: &str, profile: Option<&str>, now: i64) -> bool {
        let now = Timestamp::from_second(now).unwrap();
        viewers.check(&NOBODY, false, token, stream, profile.as_slice(), now).is_ok()
    }

    #[test]
    fn a_token_opens_its_stream_until_it_expires() {
        let viewers = viewers(Audience::Holders);
        let token = viewers.token(Leave { stream: "news", profile: None, expires: NOW });
        let token = Some(token.as_str());
        assert!(may(&viewers, token, "news", Some("h264-720p"), NOW - 1));
        assert!(may(&viewers, token, "news", None, NOW - 1));
        assert!(!may(&viewers, token, "news", Some("h264-720p"), NOW));
        assert!(!may(&viewers, token, "sports", Some("h264-720p"), NOW - 1));
        assert!(!may(&viewers, None, "news", None, NOW - 1));
    }

    #[test]
    fn a_token_of_one_profile_opens_no_other() {
        let viewers = viewers(Audience::Holders);
        let token = viewers.token(Leave { stream: "news", profile: Some("audio-aac"), expires: NOW });
        let token = Some(token.as_str());
        assert!(may(&viewers, token, "news", Some("audio-aac"), 0));
        assert!(!may(&viewers, token, "news", Some("h264-720p"), 0));
        assert!(!may(&viewers, token, "news", None, 0));
    }

    #[test]
    fn a_token_of_a_ladder_opens_its_renditions() {
        let viewers = viewers(Audience::Holders);
        let token = viewers.token(Leave { stream: "news", profile: Some("ladder"), expires: NOW });
        let now = Timestamp::from_second(0).unwrap();
        let check = |profiles| viewers.check(&NOBODY, false, Some(&token), "news", profiles, now);
        assert_eq!(check(&["h264-720p", "ladder"]), Ok(()));
        assert!(check(&["h264-720p", "other"]).is_err());
    }

    #[test]
    fn a_token_that_was_changed_opens_nothing() {
        let viewers = viewers(Audience::Holders);
        let token = viewers.token(Leave { stream: "news", profile: Some("a"), expires: NOW });
        let later = token.replace(&NOW.to_string(), &(NOW + 1).to_string());
        let wider = token.replace(".p.", ".s.");
        let other = Viewers::new(&Signer::new(&[8; 32]), Audience::Holders).token(Leave {
            stream: "news",
            profile: Some("a"),
            expires: NOW,
        });
        for wrong in
            [&later, &wider, &other, "", "..", "1.s.", &token[..token.len() - 1], &format!("{token}A")]
        {
            assert!(!may(&viewers, Some(wrong), "news", Some("a"), 0), "{wrong}");
        }
    }

    #[test]
    fn who_watches_without_a_token_is_configured() {
        let now = Timestamp::from_second(0).unwrap();
        for (tokens, caller, watches, may) in [
            (Some(false), &NOBODY, false, true),
            (None, &NOBODY, false, false),
            (None, &Caller::Open, true, true),
            (None, &Caller::Operator, true, true),
            (Some(true), &NOBODY, false, false),
            (Some(true), &Caller::Open, true, false),
            (Some(true), &Caller::Operator, true, true),
            (Some(true), &Caller::Operator, false, false),
        ] {
            let allowed =
                viewers(Audience::of(tokens)).check(caller, watches, None, "news", &[], now).is_ok();
            assert_eq!(allowed, may, "{tokens:?} {caller:?} {watches}");
        }
    }
}
