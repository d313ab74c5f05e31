//! Master playlists: what there is to choose from, without any of it being encoded for that.

use common::{
    media::VideoCodec,
    profile::{Profiles, Rendition},
    stream::VariantView,
};
use mux::{
    Ticks,
    codec::Parameters,
    hls::{Master, Variant},
};

use super::name::File;
use crate::live::service::Accept;

/// What a source without a measured bit rate is taken to have: a broadcast in high definition.
const USUAL_BITRATE: u64 = 8_000_000;

/// One profile as it is on offer.
#[derive(Debug, Clone)]
pub(super) struct Offer<'a> {
    pub(super) profile: &'a str,
    /// `None`: the source as it is.
    pub(super) rendition: Option<&'a Rendition>,
    /// As it runs now.
    pub(super) running: Option<&'a VariantView>,
    /// Of the tracks, where it runs.
    pub(super) parameters: Vec<Parameters>,
}

/// `folder`: what comes before the names of profiles in URIs; `source_bitrate`: 0 where it is not known; `accept`: of the
/// viewer, who may get the source in place of any of them.
pub(super) fn master(
    offers: &[Offer<'_>],
    folder: &str,
    source_bitrate: u64,
    accept: &Accept,
    carried: &str,
) -> Master {
    let variants = offers.iter().map(|offer| variant(offer, folder, source_bitrate, carried)).collect();
    // What is encoded has its key frames where segments begin; where the source has them nobody knows before.
    let independent = accept.0.is_empty() && offers.iter().all(|offer| offer.rendition.is_some());
    Master { variants, independent }
}

fn variant(offer: &Offer<'_>, folder: &str, source_bitrate: u64, carried: &str) -> Variant {
    let frame = offer.parameters.iter().find_map(|parameters| match parameters {
        Parameters::Video(video) => Some((video.width, video.height, video.frame)),
        Parameters::Audio(_) => None,
    });
    let length = frame.and_then(|(_, _, length)| length).filter(|length| length.0 > 0);
    let measured = offer.running.map(|running| running.bitrate).filter(|bitrate| *bitrate > 0);
    let declared = offer.rendition.map(|rendition| rendition.declared(length.map(|length| length.0)));
    let source = if source_bitrate > 0 { source_bitrate } else { USUAL_BITRATE };
    let (peak, average) = declared
        .as_ref()
        .map_or((source + source / 4, source), |declared| (declared.bandwidth, declared.average_bandwidth));
    let known = offer.parameters.iter().map(|parameters| match parameters {
        Parameters::Video(video) => video.rfc6381.clone(),
        Parameters::Audio(audio) => audio.rfc6381.clone(),
    });
    let mut codecs: Vec<_> = known.collect();
    if codecs.is_empty() {
        codecs = declared.as_ref().map(|declared| declared.codecs.clone()).unwrap_or_default();
    }
    let file = File::Playlist;
    Variant {
        uri: format!("{folder}{}/{file}{carried}", offer.profile),
        bandwidth: peak.max(measured.unwrap_or(0)),
        average_bandwidth: Some(measured.unwrap_or(average).min(peak.max(measured.unwrap_or(0)))),
        codecs,
        resolution: frame
            .map(|(width, height, _)| (width, height))
            .or_else(|| declared.as_ref().and_then(|declared| declared.resolution)),
        frame_rate: length.map(|length| Ticks::PER_SECOND as f64 / length.0 as f64),
    }
}

/// The profiles of a stream's own master playlist: those of the ladder if it is offered, else all renditions that are; of
/// what is no rendition (`copy`) only if there is nothing else.
pub(super) fn offered<'a>(offered: &[String], profiles: &'a Profiles) -> Vec<&'a str> {
    const LADDER: &str = "ladder";
    let is_offered = |name: &str| offered.is_empty() || offered.iter().any(|one| one == name);
    let ladder = profiles.renditions(LADDER);
    if is_offered(LADDER) && !ladder.is_empty() {
        return ladder.into_iter().map(|(name, _)| name).collect();
    }
    let mut found: Vec<&str> = Vec::new();
    for name in profiles.names().filter(|name| is_offered(name)) {
        for (rendition, _) in profiles.renditions(name) {
            if !found.contains(&rendition) {
                found.push(rendition);
            }
        }
    }
    if found.is_empty() {
        found = profiles.names().filter(|name| is_offered(name)).collect();
    }
    found
}

/// What a viewer can play of it; everything, if that is nothing.
pub(super) fn playable<'a>(offers: Vec<Offer<'a>>, accept: &Accept) -> Vec<Offer<'a>> {
    let plays = |offer: &Offer<'_>| {
        let video = offer.rendition.and_then(|rendition| rendition.video.as_ref());
        accept.0.is_empty() || video.is_none_or(|video| accept.0.iter().any(|name| is(video.codec, name)))
    };
    if offers.iter().any(plays) { offers.into_iter().filter(plays).collect() } else { offers }
}

fn is(codec: VideoCodec, name: &str) -> bool {
    match codec {
        VideoCodec::H264 => matches!(name, "h264" | "avc" | "avc1"),
        VideoCodec::Hevc => matches!(name, "hevc" | "h265" | "hvc1"),
        VideoCodec::Av1 => matches!(name, "av1" | "av01"),
        VideoCodec::Vp9 => name == "vp9",
        VideoCodec::ProRes | VideoCodec::DnxHr => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(profiles: &Profiles) -> Vec<Offer<'_>> {
        let one = |(profile, rendition)| Offer {
            profile,
            rendition: Some(rendition),
            running: None,
            parameters: Vec::new(),
        };
        ["ladder", "hevc-1080p"].into_iter().flat_map(|name| profiles.renditions(name)).map(one).collect()
    }

    #[test]
    fn segments_are_promised_to_be_independent_where_all_of_them_are_encoded_here() {
        let profiles = Profiles::builtin();
        let says = |offers: &[Offer<'_>], accept: &Accept| master(offers, "", 0, accept, "").independent;
        let (encoded, nothing) = (offers(&profiles), Accept::default());
        assert!(says(&encoded, &nothing));
        assert!(!says(&encoded, &Accept(vec!["h264".to_owned()])));
        let copy = Offer { profile: "copy", rendition: None, running: None, parameters: Vec::new() };
        assert!(!says(&[encoded, vec![copy]].concat(), &nothing));
    }

    #[test]
    fn a_master_playlist_says_what_profiles_give_before_they_run() {
        let profiles = Profiles::builtin();
        let text = master(&offers(&profiles), "../", 0, &Accept::default(), "?token=t").text();
        assert!(text.contains("RESOLUTION=1920x1080") && text.contains("avc1.6400"), "{text}");
        assert!(text.contains("\n../h264-720p/index.m3u8?token=t\n"), "{text}");
        let playlist = m3u8(&text);
        assert!(playlist.iter().all(|(bandwidth, average)| bandwidth >= average && *average > 0), "{text}");
    }

    fn m3u8(text: &str) -> Vec<(u64, u64)> {
        let number = |line: &str, name: &str| {
            let at = line.find(name).unwrap() + name.len();
            line[at..].split(',').next().unwrap().parse().unwrap()
        };
        let lines = text.lines().filter(|line| line.starts_with("#EXT-X-STREAM-INF"));
        lines.map(|line| (number(line, ":BANDWIDTH="), number(line, ",AVERAGE-BANDWIDTH="))).collect()
    }

    #[test]
    fn a_viewer_is_not_offered_what_it_cannot_play() {
        let profiles = Profiles::builtin();
        let names = |accept: &[&str]| {
            let accept = Accept(accept.iter().map(|name| (*name).to_owned()).collect());
            playable(offers(&profiles), &accept).into_iter().map(|offer| offer.profile).collect::<Vec<_>>()
        };
        assert!(names(&["h264", "aac"]).iter().all(|name| name.starts_with("h264")));
        assert_eq!(names(&["hevc"]), ["hevc-1080p"]);
        assert_eq!(names(&["vp8"]).len(), names(&[]).len());
    }

    #[test]
    fn a_stream_offers_its_ladder_or_what_it_has() {
        let profiles = Profiles::builtin();
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(offered(&[], &profiles).contains(&"h264-480p"));
        assert_eq!(offered(&own(&["hevc-1080p", "copy"]), &profiles), ["hevc-1080p"]);
        assert_eq!(offered(&own(&["copy"]), &profiles), ["copy"]);
    }
}
