//! Encoder rules: the operator's answer to buggy drivers. They come from the configuration file, as `[[encoder_rules]]`.

use common::media::{EncoderFamily, VideoCodec};
use serde::Deserialize;
use wildmatch::WildMatch;

use super::Worker;

/// Where its conditions hold, `forbid` takes an encoder away and `force` leaves no other for the codec.
///
/// ```toml
/// [[encoder_rules]]
/// codec = "hevc"           # optional: h264, hevc, av1, vp9, prores, dnxhd
/// family = "vaapi"         # optional: nvenc, qsv, vaapi, amf, v4l2m2m, videotoolbox, jetson, software
/// gpu = "*Radeon*"         # optional: pattern of the GPU's name, any case
/// cpu = "*N100*"           # optional: pattern of the processor's name, any case
/// forbid = "hevc_vaapi"    # or "*" for every encoder that the conditions describe
/// # force = "libx265"      # instead of forbid
/// reason = "green frames with driver 23.1"
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderRule {
    pub codec: Option<VideoCodec>,
    pub family: Option<EncoderFamily>,
    pub gpu: Option<String>,
    pub cpu: Option<String>,
    pub force: Option<String>,
    pub forbid: Option<String>,
    /// For people.
    pub reason: Option<String>,
}

/// A rule that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("encoder_rules: {0}")]
    Syntax(#[from] toml::de::Error),
    #[error("encoder_rules, rule {number}: set exactly one of force and forbid")]
    Action { number: usize },
    #[error(
        "encoder_rules, rule {number}: force needs a codec, or every other codec would be left without encoders"
    )]
    ForceWithoutCodec { number: usize },
}

/// Reads the `encoder_rules` section.
///
/// # Errors
/// Unknown keys or words, a rule with no action or two.
pub fn parse_rules(section: toml::Value) -> Result<Vec<EncoderRule>, Error> {
    let rules: Vec<EncoderRule> = section.try_into()?;
    for (index, rule) in rules.iter().enumerate() {
        let number = index + 1;
        if rule.force.is_some() == rule.forbid.is_some() {
            return Err(Error::Action { number });
        }
        if rule.force.is_some() && rule.codec.is_none() {
            return Err(Error::ForceWithoutCodec { number });
        }
    }
    Ok(rules)
}

/// One way in which a worker could encode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer<'a> {
    pub codec: VideoCodec,
    pub encoder: &'a str,
    pub family: EncoderFamily,
    /// `None` for software.
    pub gpu: Option<u32>,
}

/// The rule that keeps `worker` from encoding so, if there is one.
pub(super) fn forbidding<'a>(
    rules: &'a [EncoderRule],
    worker: &Worker,
    offer: Offer<'_>,
) -> Option<&'a EncoderRule> {
    rules.iter().find(|rule| {
        if rule.codec.is_some_and(|codec| codec != offer.codec)
            || !matches(rule.cpu.as_deref(), &worker.identity.capabilities.machine.cpu)
        {
            return false;
        }
        match (&rule.force, &rule.forbid) {
            (Some(forced), _) => {
                // The conditions of `force` describe the machine: it has such a GPU, or an encoder of that family.
                let gpu = rule.gpu.is_none()
                    || worker
                        .identity
                        .capabilities
                        .gpus
                        .iter()
                        .any(|gpu| matches(rule.gpu.as_deref(), &gpu.name));
                let family = rule.family.is_none_or(|family| {
                    worker.identity.capabilities.encoders.iter().any(|encoder| encoder.family == family)
                });
                gpu && family && forced != offer.encoder
            }
            (None, Some(forbidden)) => {
                // The conditions of `forbid` describe the offer itself.
                let gpu =
                    rule.gpu.is_none()
                        || worker.identity.capabilities.gpus.iter().any(|gpu| {
                            Some(gpu.index) == offer.gpu && matches(rule.gpu.as_deref(), &gpu.name)
                        });
                let family = rule.family.is_none_or(|family| family == offer.family);
                gpu && family && (forbidden == "*" || forbidden == offer.encoder)
            }
            (None, None) => false,
        }
    })
}

/// Whether a name fits a pattern of `*` and `?`, in any case. No pattern fits everything.
fn matches(pattern: Option<&str>, name: &str) -> bool {
    pattern.is_none_or(|pattern| WildMatch::new_case_insensitive(pattern).matches(name))
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn rules(text: &str) -> Result<Vec<EncoderRule>, Error> {
        let table: toml::Table = text.parse().unwrap();
        parse_rules(table["encoder_rules"].clone())
    }

    fn offer(encoder: &str) -> Offer<'_> {
        let family = EncoderFamily::of_encoder(encoder);
        Offer { codec: VideoCodec::H264, encoder, family, gpu: family.is_hardware().then_some(0) }
    }

    #[test]
    fn a_forbidden_encoder_is_not_used_on_the_gpu_that_the_pattern_names() {
        let rules = rules("[[encoder_rules]]\ngpu = '*RTX 40*'\nforbid = 'h264_nvenc'").unwrap();
        let mut worker = gpu_worker(1, 1, None);
        worker.identity.capabilities.gpus[0].name = "NVIDIA GeForce rtx 4090".to_owned();
        assert!(forbidding(&rules, &worker, offer("h264_nvenc")).is_some());
        assert!(forbidding(&rules, &worker, offer("libx264")).is_none());
        worker.identity.capabilities.gpus[0].name = "NVIDIA A10".to_owned();
        assert!(forbidding(&rules, &worker, offer("h264_nvenc")).is_none());
    }

    #[test]
    fn a_forced_encoder_leaves_no_other() {
        let rules = rules("[[encoder_rules]]\ncodec = 'h264'\ncpu = '*N100*'\nforce = 'libx264'").unwrap();
        let mut worker = gpu_worker(1, 1, None);
        worker.identity.capabilities.machine.cpu = "Intel(R) N100".to_owned();
        assert!(forbidding(&rules, &worker, offer("h264_nvenc")).is_some());
        assert!(forbidding(&rules, &worker, offer("libx264")).is_none());
    }

    #[test]
    fn a_rule_needs_exactly_one_action_and_known_words() {
        assert!(matches!(rules("[[encoder_rules]]\ncodec = 'h264'"), Err(Error::Action { number: 1 })));
        assert!(matches!(
            rules("[[encoder_rules]]\nforce = 'libx264'"),
            Err(Error::ForceWithoutCodec { .. })
        ));
        assert!(matches!(rules("[[encoder_rules]]\nvendor = 'x'\nforbid = '*'"), Err(Error::Syntax(_))));
    }
}
