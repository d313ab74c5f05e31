//! What is watched, as it is configured.

use std::{fmt, str::FromStr};

use common::spec::Spec;

use crate::{access::MAX_OWNER, storage::address::Address};

/// A folder or bucket prefix, what becomes of its files, where that goes, and in whose name. As text: `PLACE PRESET`, then
/// `TARGET` and `owner=NAME` if there are any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub place: Address,
    pub preset: String,
    pub target: Option<Address>,
    /// Whose jobs they are; `None`: nobody's.
    pub owner: Option<String>,
}

/// A text that says nothing to watch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} says nothing to watch: {reason}; write a folder or bucket, a preset and, if you like, where to deliver to and \
     in whose name: s3://camera/in/ h264 s3://website/out/ owner=ann"
)]
pub struct BadRule {
    text: String,
    reason: String,
}

impl FromStr for Rule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let bad = |reason: &str| BadRule { text: text.to_owned(), reason: reason.to_owned() };
        let mut words = text.split_whitespace();
        let (Some(place), Some(preset)) = (words.next(), words.next()) else {
            return Err(bad("a place and a preset are needed"));
        };
        let (mut target, mut owner) = (None, None);
        for word in words {
            match word.strip_prefix("owner=") {
                Some("") => return Err(bad("the owner has no name")),
                Some(name) if name.len() > MAX_OWNER || name.chars().any(char::is_control) => {
                    return Err(bad("that is no owner's name"));
                }
                Some(name) if owner.is_none() => owner = Some(name.to_owned()),
                None if target.is_none() => target = Some(address(word).map_err(|reason| bad(&reason))?),
                Some(_) | None => {
                    return Err(bad("it says more than a place, a preset, a target and an owner"));
                }
            }
        }
        let place = address(place).map_err(|reason| bad(&reason))?;
        if target.as_ref().is_some_and(|target| place.holds(target)) {
            return Err(bad("what is delivered there would be found and encoded again"));
        }
        Ok(Self { place, preset: preset.to_owned(), target, owner })
    }
}

/// An address, or an absolute path.
fn address(text: &str) -> Result<Address, String> {
    let text = if text.starts_with('/') { format!("file://{text}") } else { text.to_owned() };
    let address: Address = text.parse().map_err(|error| format!("{error}"))?;
    Ok(Address { folder: true, ..address })
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place, self.preset)
    }
}

impl Rule {
    /// A bucket by its name, or an address, as other systems' variables have it.
    ///
    /// # Errors
    /// It is neither.
    pub fn of_buckets(input: &str, output: Option<&str>, preset: &str) -> Result<Self, BadRule> {
        let bucket = |text: &str| match text.contains("://") {
            true => text.to_owned(),
            false => format!("s3://{text}"),
        };
        let target = output.map(bucket).unwrap_or_default();
        format!("{} {preset} {target}", bucket(input)).parse()
    }

    /// Where what comes of `object` is delivered to: as deep below the target as the object is below the place; what is
    /// more than one file in a folder of its own.
    pub(super) fn target_of(&self, object: &str, spec: &Spec) -> Option<String> {
        let target = self.target.as_ref()?;
        let (folder, name) = object.rsplit_once('/').unwrap_or(("", object));
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let below = match spec {
            Spec::File(_) => folder.to_owned(),
            _ if folder.is_empty() => stem.to_owned(),
            _ => format!("{folder}/{stem}"),
        };
        let to = if below.is_empty() { target.clone() } else { target.join(&below) };
        Some(Address { folder: true, ..to }.to_string())
    }
}

#[cfg(test)]
mod tests {
    use common::preset::Presets;

    use super::*;

    #[test]
    fn a_rule_is_a_place_a_preset_and_a_target() {
        let rule: Rule = " s3://in/a  h264 s3://out".parse().unwrap();
        assert_eq!((rule.place.to_string().as_str(), rule.preset.as_str()), ("s3://in/a/", "h264"));
        assert_eq!(rule.target.unwrap().to_string(), "s3://out/");
        let rule: Rule = "/srv/drop proxy".parse().unwrap();
        assert_eq!(
            (rule.place.to_string().as_str(), rule.target, rule.owner),
            ("file:///srv/drop/", None, None)
        );
        for text in ["s3://in h264 s3://out owner=ann", "s3://in h264 owner=ann s3://out"] {
            let rule: Rule = text.parse().unwrap();
            assert_eq!((rule.owner.as_deref(), rule.target.unwrap().bucket.as_str()), (Some("ann"), "out"));
            // Who it is for is no part of what is remembered: nothing is found again because of that.
            assert_eq!(format!("{}", text.parse::<Rule>().unwrap()), "s3://in/ h264");
        }
        for bad in [
            "",
            "s3://in",
            "in h264",
            "s3://in h264 out",
            "s3://in h264 s3://out x",
            "s3://in h264 s3://out s3://other",
            "s3://in h264 owner=",
            "s3://in h264 owner=ann owner=bob",
            "s3://in h264 s3://in/out",
        ] {
            assert!(bad.parse::<Rule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_names_are_buckets_of_s3() {
        let rule = Rule::of_buckets("camera", Some("gs://website/videos"), "h264").unwrap();
        assert_eq!(rule.place.to_string(), "s3://camera/");
        assert_eq!(rule.target.unwrap().to_string(), "gs://website/videos/");
        assert!(Rule::of_buckets("one", Some("one"), "h264").is_err());
    }

    #[test]
    fn what_is_made_lies_as_what_it_was_made_of() {
        let presets = Presets::builtin();
        let rule: Rule = "s3://in h264 s3://out/x".parse().unwrap();
        let target =
            |object, preset: &str| rule.target_of(object, &presets.get(preset).unwrap().spec).unwrap();
        assert_eq!(target("a.mov", "h264"), "s3://out/x/");
        assert_eq!(target("2026/05/a.mov", "h264"), "s3://out/x/2026/05/");
        assert_eq!(target("a.mov", "hls-ladder"), "s3://out/x/a/");
        assert_eq!(target("2026/a.b.mov", "hls-ladder"), "s3://out/x/2026/a.b/");
    }
}
