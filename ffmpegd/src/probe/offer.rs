//! From what ffmpeg lists and what the trials said to what the worker offers.

use common::{
    media::EncoderFamily,
    worker::{Capabilities, Encoder, EncoderDevice, Gpu, RejectedEncoder},
};

use super::{
    listing::Listed,
    trials::{Verdict, is_software},
};

/// What the worker offers and what it turned down.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Offer {
    pub encoders: Vec<Encoder>,
    pub rejected: Vec<RejectedEncoder>,
    pub gpus: Vec<Gpu>,
}

/// Software encoders as ffmpeg lists them; hardware encoders with the devices on which at least one bit depth passed.
/// `gpus` and `turned_down` come from the plan whose candidates got these verdicts.
///
/// A trial that met the session limit says nothing about the encoder: what `before` offered stays, for it may be this
/// worker's own jobs that hold the sessions.
pub(super) fn collect(
    listed: &[Listed],
    gpus: Vec<Gpu>,
    turned_down: Vec<RejectedEncoder>,
    verdicts: Vec<Verdict>,
    before: Option<&Capabilities>,
) -> Offer {
    let mut offer = Offer { encoders: Vec::new(), rejected: turned_down, gpus };
    offer.encoders.extend(listed.iter().filter(|encoder| is_software(&encoder.name)).map(|encoder| {
        Encoder {
            name: encoder.name.clone(),
            codec: encoder.codec.clone(),
            family: EncoderFamily::Software,
            devices: Vec::new(),
        }
    }));
    for Verdict { candidate, mut passed, failed } in verdicts {
        if let Some((bit_depth, failure)) = failed {
            let known = before
                .filter(|_| failure.session_limit)
                .and_then(|before| proven_depths(before, &candidate.encoder, &candidate.path));
            match known {
                Some(depths) => passed = depths.to_vec(),
                None => offer.rejected.push(RejectedEncoder {
                    name: candidate.encoder.clone(),
                    device: candidate.path.clone(),
                    bit_depth,
                    reason: failure.reason,
                }),
            }
        }
        if passed.is_empty() {
            continue;
        }
        let device = EncoderDevice { gpu: candidate.gpu.index, path: candidate.path, bit_depths: passed };
        if offer.gpus.iter().all(|gpu| gpu.index != candidate.gpu.index) {
            offer.gpus.push(candidate.gpu);
        }
        match offer.encoders.iter_mut().find(|encoder| encoder.name == candidate.encoder) {
            Some(encoder) => encoder.devices.push(device),
            None => offer.encoders.push(Encoder {
                name: candidate.encoder,
                codec: candidate.codec.as_str().to_owned(),
                family: candidate.family,
                devices: vec![device],
            }),
        }
    }
    offer.gpus.sort_by_key(|gpu| gpu.index);
    offer
}

/// The bit depths that an encoder was found to have on a device.
fn proven_depths<'a>(before: &'a Capabilities, name: &str, path: &str) -> Option<&'a [u8]> {
    let device = before.encoder(name)?.devices.iter().find(|device| device.path == path)?;
    Some(&device.bit_depths)
}

#[cfg(test)]
mod tests {
    use common::media::VideoCodec;

    use super::{
        super::{trial::Failure, trials::Candidate},
        *,
    };

    fn listed(name: &str, codec: &str) -> Listed {
        Listed { name: name.to_owned(), codec: codec.to_owned(), video: true }
    }

    fn verdict(name: &str, gpu: u32, passed: &[u8], failed: Option<u8>) -> Verdict {
        Verdict {
            candidate: Candidate {
                encoder: name.to_owned(),
                codec: VideoCodec::Hevc,
                family: EncoderFamily::of_encoder(name),
                gpu: Gpu { index: gpu, ..Gpu::default() },
                path: gpu.to_string(),
            },
            passed: passed.to_vec(),
            failed: failed.map(|depth| (depth, Failure { reason: "no".to_owned(), session_limit: false })),
        }
    }

    #[test]
    fn an_encoder_is_offered_on_the_devices_where_it_passed() {
        let verdicts = vec![
            verdict("hevc_nvenc", 0, &[8, 10], None),
            verdict("hevc_nvenc", 1, &[8], Some(10)),
            verdict("hevc_nvenc", 2, &[], Some(8)),
        ];
        let gpus = (0..3).map(|index| Gpu { index, ..Gpu::default() }).collect();
        let offer = collect(&[listed("hevc_nvenc", "hevc")], gpus, Vec::new(), verdicts, None);
        assert_eq!(offer.encoders.len(), 1);
        let devices: Vec<(u32, &[u8])> = offer.encoders[0]
            .devices
            .iter()
            .map(|device| (device.gpu, device.bit_depths.as_slice()))
            .collect();
        assert_eq!(devices, [(0, &[8, 10][..]), (1, &[8])]);
        let rejected: Vec<(&str, u8)> =
            offer.rejected.iter().map(|rejected| (rejected.device.as_str(), rejected.bit_depth)).collect();
        assert_eq!(rejected, [("1", 10), ("2", 8)]);
    }

    #[test]
    fn a_listed_hardware_encoder_without_a_passed_trial_is_not_offered() {
        let all =
            [listed("libx264", "h264"), listed("h264_nvenc", "h264"), listed("prores_ks_vulkan", "prores")];
        let offer = collect(&all, Vec::new(), Vec::new(), vec![verdict("h264_nvenc", 0, &[], Some(8))], None);
        assert_eq!(
            offer.encoders.iter().map(|encoder| encoder.name.as_str()).collect::<Vec<_>>(),
            ["libx264"]
        );
    }

    #[test]
    fn a_gpu_that_only_a_trial_shows_is_listed_once() {
        let verdicts = vec![verdict("h264_nvenc", 0, &[8], None), verdict("hevc_nvenc", 0, &[8], None)];
        assert_eq!(collect(&[], Vec::new(), Vec::new(), verdicts, None).gpus.len(), 1);
        let none = vec![verdict("h264_nvenc", 0, &[], Some(8))];
        assert_eq!(collect(&[], Vec::new(), Vec::new(), none, None).gpus, []);
    }

    #[test]
    fn a_proven_encoder_is_not_lost_because_jobs_hold_its_sessions() {
        let before = Capabilities {
            encoders: collect(
                &[],
                Vec::new(),
                Vec::new(),
                vec![verdict("hevc_nvenc", 0, &[8, 10], None)],
                None,
            )
            .encoders,
            ..Capabilities::default()
        };
        let again = |session_limit: bool| {
            let failure = Failure { reason: "no".to_owned(), session_limit };
            let verdict = Verdict { failed: Some((8, failure)), ..verdict("hevc_nvenc", 0, &[], None) };
            collect(&[], Vec::new(), Vec::new(), vec![verdict], Some(&before))
        };
        assert_eq!(again(true).encoders, before.encoders);
        assert_eq!(again(true).rejected, []);
        assert_eq!(again(false).encoders, []);
        assert_eq!(again(false).rejected.len(), 1);
    }
}
