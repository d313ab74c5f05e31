//! Which hardware a worker's owner lets be used.

use std::{collections::BTreeSet, fmt, str::FromStr};

use common::media::EncoderFamily;

/// `TVARR_HWACCEL`: `auto`, `none`, or a list of families (`nvenc,vaapi`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HwAccel {
    /// Whatever works.
    #[default]
    Auto,
    None,
    Families(BTreeSet<EncoderFamily>),
}

impl HwAccel {
    #[must_use]
    pub fn allows(&self, family: EncoderFamily) -> bool {
        match self {
            Self::Auto => true,
            Self::None => !family.is_hardware(),
            Self::Families(families) => !family.is_hardware() || families.contains(&family),
        }
    }
}

impl FromStr for HwAccel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [] | ["auto"] => Ok(Self::Auto),
            ["none"] => Ok(Self::None),
            families => {
                families.iter().map(|word| family(word)).collect::<Result<_, _>>().map(Self::Families)
            }
        }
    }
}

fn family(word: &str) -> Result<EncoderFamily, String> {
    word.parse().ok().filter(|family: &EncoderFamily| family.is_hardware()).ok_or_else(|| {
        let known: Vec<&str> = EncoderFamily::ALL
            .iter()
            .filter(|family| family.is_hardware())
            .map(|family| family.as_str())
            .collect();
        format!(
            "{word:?} is no hardware family; write auto, none, or a list with commas of: {}",
            known.join(", ")
        )
    })
}

impl fmt::Display for HwAccel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::None => f.pad("none"),
            Self::Families(families) => {
                let words: Vec<&str> = families.iter().map(|family| family.as_str()).collect();
                f.pad(&words.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_lists_are_read() {
        assert_eq!("auto".parse(), Ok(HwAccel::Auto));
        assert_eq!("".parse(), Ok(HwAccel::Auto));
        assert_eq!("none".parse(), Ok(HwAccel::None));
        let list: HwAccel = "vaapi, nvenc".parse().unwrap();
        assert!(list.allows(EncoderFamily::Vaapi) && list.allows(EncoderFamily::Software));
        assert!(!list.allows(EncoderFamily::Qsv));
        assert_eq!(list.to_string(), "nvenc,vaapi");
    }

    #[test]
    fn an_unknown_family_and_software_are_refused_with_the_known_ones() {
        for text in ["cuda", "software", "auto,nvenc"] {
            let error = text.parse::<HwAccel>().unwrap_err();
            assert!(error.contains("nvenc, qsv, vaapi"), "{error}");
        }
    }
}
