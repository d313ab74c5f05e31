//! From the coded picture to the picture that is encoded: deinterlacing, size, tone mapping, pixel format.

use std::collections::BTreeSet;

use super::args::number;
use crate::{
    failure::{Failure, FailureKind},
    media::{MediaInfo, StreamInfo, VideoInfo},
    spec::{Size, SizeMode},
};

/// Largest edge that is encoded; wider pictures are reduced. H.264 level 6.2 and AV1 level 6.3 end here.
const MAX_EDGE: u32 = 16384;

/// Largest edge of a source that is believed; ffmpeg's decoders end at half of it.
const MAX_SOURCE_EDGE: u32 = 65535;

/// The first video stream that is no cover art.
pub(super) fn main_video<'a>(
    input: &'a MediaInfo,
    what: &str,
) -> Result<(&'a StreamInfo, &'a VideoInfo), Failure> {
    // A stream with the container's default flag wins over one that merely comes first.
    let found = input
        .video()
        .filter(|(stream, video)| {
            let real = |edge: u32| (1..=MAX_SOURCE_EDGE).contains(&edge);
            !stream.codec.is_empty() && real(video.width) && real(video.height)
        })
        .min_by_key(|(stream, _)| (!stream.default, stream.index));
    found.ok_or_else(|| {
        let has = if input.audio().next().is_some() { "only audio" } else { "no video" };
        Failure::new(
            FailureKind::InvalidSpec,
            format!(
                "{what} needs video and the input has {has}; use the preset audio-only, or another input"
            ),
        )
    })
}

/// Size in square pixels as a viewer sees it, made sane: an absurd sample aspect ratio is ignored.
pub(super) fn upright(video: &VideoInfo) -> (u32, u32) {
    let (num, den) = video.sample_aspect_ratio;
    let ratio = if den == 0 { 1.0 } else { f64::from(num) / f64::from(den) };
    if (0.1..=10.0).contains(&ratio) {
        video.display_size()
    } else {
        VideoInfo { sample_aspect_ratio: (1, 1), ..video.clone() }.display_size()
    }
}

/// How a picture comes to its final size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fit {
    /// Final size.
    pub(super) width: u32,
    pub(super) height: u32,
    /// Size of the picture itself, before cropping or in front of bars.
    pub(super) inner: (u32, u32),
    pub(super) mode: SizeMode,
    /// The encoder takes nothing as small as the source.
    pub(super) enlarged: bool,
}

/// The nearest even number, down on a tie, so that 65 becomes 64: a picture is not made larger for parity. 4:2:2 would
/// allow odd heights, but tone mapping and overlays go through 4:2:0.
fn even(value: f64) -> u32 {
    let pairs = (value / 2.0 - 0.5).ceil().max(1.0);
    (pairs * 2.0) as u32
}

/// The size that comes out. `smallest` is what the encoder takes at least.
pub(super) fn fit(source: (u32, u32), size: Option<Size>, smallest: (u32, u32)) -> Fit {
    let (w, h) = (f64::from(source.0.max(1)), f64::from(source.1.max(1)));
    let scaled = |scale: f64| (even(w * scale), even(h * scale));
    let size = size.unwrap_or(Size { width: MAX_EDGE, height: MAX_EDGE, mode: SizeMode::Within });
    match size.mode {
        SizeMode::Within => {
            // The box turns with the picture: 1920x1080 means 1080x1920 for a portrait one.
            let (box_w, box_h) = if (w < h) == (size.width < size.height) || size.width == size.height {
                (size.width, size.height)
            } else {
                (size.height, size.width)
            };
            let shrink = (f64::from(box_w) / w).min(f64::from(box_h) / h).min(1.0);
            let (mut width, mut height) = scaled(shrink);
            let enlarged = width < smallest.0 || height < smallest.1;
            if enlarged {
                let grow = (f64::from(smallest.0) / w).max(f64::from(smallest.1) / h);
                let cap = f64::from(MAX_EDGE);
                width = even((w * grow).min(cap)).max(smallest.0.next_multiple_of(2));
                height = even((h * grow).min(cap)).max(smallest.1.next_multiple_of(2));
            }
            Fit { width, height, inner: (width, height), mode: SizeMode::Within, enlarged }
        }
        SizeMode::Crop | SizeMode::BlurPad => {
            let (width, height) = (even(f64::from(size.width)), even(f64::from(size.height)));
            let (sx, sy) = (f64::from(width) / w, f64::from(height) / h);
            let (mode, scale) = match size.mode {
                SizeMode::Crop => (SizeMode::Crop, sx.max(sy)),
                SizeMode::BlurPad | SizeMode::Within => (SizeMode::BlurPad, sx.min(sy)),
            };
            let (mut inner_w, mut inner_h) = scaled(scale);
            if mode == SizeMode::Crop {
                (inner_w, inner_h) = (inner_w.max(width), inner_h.max(height));
            } else {
                (inner_w, inner_h) = (inner_w.min(width), inner_h.min(height));
            }
            let exact = (inner_w, inner_h) == (width, height);
            let mode = if exact { SizeMode::Within } else { mode };
            Fit { width, height, inner: (inner_w, inner_h), mode, enlarged: false }
        }
    }
}

const fn is_interlaced(field_order: &str) -> bool {
    matches!(field_order.as_bytes(), b"tt" | b"bb" | b"tb" | b"bt")
}

fn needs_tone_mapping(video: &VideoInfo, bit_depth: u8) -> bool {
    bit_depth == 8 && video.is_hdr()
}

fn is_rgb(pixel_format: &str) -> bool {
    ["rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8", "x2rgb", "x2bgr"]
        .iter()
        .any(|prefix| pixel_format.starts_with(prefix))
}

/// Filters that are needed for this picture and not in `filters`. An empty set means that nobody knows.
pub(super) fn missing_filters(video: &VideoInfo, bit_depth: u8, filters: &BTreeSet<String>) -> Vec<String> {
    if filters.is_empty() {
        return Vec::new();
    }
    let mut missing = Vec::new();
    if needs_tone_mapping(video, bit_depth) {
        missing.extend(["zscale", "tonemap"].into_iter().filter(|name| !filters.contains(*name)));
    }
    if video.field_order.as_deref().is_some_and(is_interlaced)
        && !filters.contains("bwdif")
        && !filters.contains("yadif")
    {
        missing.push("bwdif");
    }
    missing.into_iter().map(str::to_owned).collect()
}

/// Deinterlacing, one frame for each frame, when the source says that it has fields.
pub(super) fn deinterlace(video: &VideoInfo, filters: &BTreeSet<String>) -> Option<String> {
    let order = video.field_order.as_deref().filter(|order| is_interlaced(order))?;
    // ffprobe's second letter is the field that is shown first.
    let parity = if order.ends_with('t') { "tff" } else { "bff" };
    let name = if filters.is_empty() || filters.contains("bwdif") { "bwdif" } else { "yadif" };
    Some(format!("{name}=mode=send_frame:parity={parity}:deint=all"))
}

/// Scaling to square pixels and limited range.
fn scale(video: &VideoInfo, (width, height): (u32, u32)) -> String {
    // swscale takes BT.601 for RGB unless told.
    let matrix = if is_rgb(&video.pixel_format) { ":out_color_matrix=bt709" } else { "" };
    format!("scale={width}:{height}:flags=lanczos:out_range=tv{matrix}")
}

/// PQ or HLG to BT.709 SDR, through linear light at 100 nits.
fn tone_map(video: &VideoInfo) -> String {
    let transfer = video.color_transfer.as_deref().unwrap_or("smpte2084");
    let primaries = known(video.color_primaries.as_deref(), "bt2020");
    let matrix = known(video.color_space.as_deref(), "bt2020nc");
    format!(
        "zscale=tin={transfer}:pin={primaries}:min={matrix}:rin=tv:t=linear:npl=100,format=gbrpf32le,\
         zscale=p=bt709,tonemap=tonemap=hable:desat=0,zscale=t=bt709:p=bt709:m=bt709:r=tv"
    )
}

/// zscale's words for what a stream may be tagged with; anything else counts as `default`.
fn known<'a>(tag: Option<&'a str>, default: &'a str) -> &'a str {
    match tag {
        Some(tag @ ("bt709" | "bt2020" | "bt2020nc" | "bt2020c" | "smpte432")) => tag,
        _ => default,
    }
}

/// The filters that bring a picture to `fit`, tone-mapped where needed, in square pixels; the pixel format follows.
pub(super) fn shape(video: &VideoInfo, fit: &Fit, bit_depth: u8) -> String {
    let tone =
        if needs_tone_mapping(video, bit_depth) { format!(",{}", tone_map(video)) } else { String::new() };
    let (width, height) = (fit.width, fit.height);
    match fit.mode {
        SizeMode::Within => format!("{}{tone},setsar=1", scale(video, (width, height))),
        SizeMode::Crop => format!("{}{tone},crop={width}:{height},setsar=1", scale(video, fit.inner)),
        SizeMode::BlurPad => {
            // Blurred at an eighth of the size: cheap, and it must not be sharp.
            let small = ((width / 8).max(8), (height / 8).max(8));
            // overlay's word and the pixel format's name for the same.
            let (overlay, pixel) =
                if bit_depth == 8 { ("yuv420", "yuv420p") } else { ("yuv420p10", "yuv420p10le") };
            format!(
                "{scale}{tone},setsar=1,format={pixel},split=2[front][back];\
                 [back]scale={sw}:{sh}:force_original_aspect_ratio=increase,crop={sw}:{sh},gblur=sigma=4,\
                 scale={width}:{height},setsar=1[blurred];\
                 [blurred][front]overlay=x=(W-w)/2:y=(H-h)/2:format={overlay}",
                scale = scale(video, fit.inner),
                sw = small.0,
                sh = small.1,
            )
        }
    }
}

/// What the encoded picture must be tagged with where ffmpeg would not know: after tone mapping, for HDR that stays HDR
/// and for RGB sources.
pub(super) fn color_args(video: &VideoInfo, bit_depth: u8) -> Vec<String> {
    let tags = |primaries: &str, transfer: &str, matrix: &str| {
        ["-color_primaries", primaries, "-color_trc", transfer, "-colorspace", matrix, "-color_range", "tv"]
            .map(str::to_owned)
            .to_vec()
    };
    if needs_tone_mapping(video, bit_depth) || is_rgb(&video.pixel_format) {
        tags("bt709", "bt709", "bt709")
    } else if video.is_hdr() {
        tags("bt2020", video.color_transfer.as_deref().unwrap_or("smpte2084"), "bt2020nc")
    } else {
        Vec::new()
    }
}

/// Timestamps of this stream lie on no constant grid.
pub(super) fn is_variable(video: &VideoInfo) -> bool {
    if video.field_order.as_deref().is_some_and(is_interlaced) {
        return false;
    }
    let rate = |(num, den): (u32, u32)| (num > 0 && den > 0).then(|| f64::from(num) / f64::from(den));
    match (rate(video.frame_rate), rate(video.base_frame_rate)) {
        (Some(average), Some(base)) => (base / average - 1.0).abs() > 0.005,
        _ => true,
    }
}

/// Constant frame rate for a presentation that needs one: the source's own, or the nearest of the field's rates for a
/// variable one, at most `max`.
pub(super) fn constant_rate(video: &VideoInfo, max: f64) -> (u32, u32) {
    const RATES: [(u32, u32); 8] =
        [(24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (50, 1), (60000, 1001), (60, 1)];
    let fps = video.fps().filter(|fps| (0.5..=1000.0).contains(fps));
    let Some(fps) = fps else { return (30, 1) };
    let value = |(num, den): (u32, u32)| f64::from(num) / f64::from(den);
    if fps > max * 1.001 {
        // Whole fractions of the source's rate keep the motion even: 120 becomes 60, 50 becomes 25 under 30.
        let divisor = (fps / (max * 1.001)).ceil().max(1.0) as u32;
        let (num, den) = video.frame_rate;
        return (num, den.saturating_mul(divisor).max(1));
    }
    if !is_variable(video) {
        return video.frame_rate;
    }
    RATES
        .into_iter()
        .filter(|rate| value(*rate) <= max * 1.001)
        .min_by(|a, b| (value(*a) - fps).abs().total_cmp(&(value(*b) - fps).abs()))
        .unwrap_or((30, 1))
}

/// Reduces frame rates above `max`; leaves all others, variable ones too, as they are.
pub(super) fn limit_rate(video: &VideoInfo, max: Option<f64>) -> Option<String> {
    let max = max?;
    let fps = video.fps()?;
    (fps > max * 1.01).then(|| {
        let (num, den) = constant_rate(video, max);
        if f64::from(num) / f64::from(den) >= 0.5 {
            format!("fps={num}/{den}")
        } else {
            format!("fps={}", number(max))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: (u32, u32) = (2, 2);

    fn within(width: u32, height: u32) -> Option<Size> {
        Some(Size { width, height, mode: SizeMode::Within })
    }

    fn size(fit: Fit) -> (u32, u32) {
        (fit.width, fit.height)
    }

    #[test]
    fn odd_sizes_lose_a_row_and_a_column() {
        assert_eq!(size(fit((65, 47), None, ANY)), (64, 46));
    }

    #[test]
    fn nothing_is_made_larger_to_fill_a_box() {
        assert_eq!(size(fit((640, 360), within(1920, 1080), ANY)), (640, 360));
        assert_eq!(size(fit((3840, 2160), within(1920, 1080), ANY)), (1920, 1080));
    }

    #[test]
    fn the_box_turns_with_the_picture() {
        assert_eq!(size(fit((2160, 3840), within(1920, 1080), ANY)), (1080, 1920));
    }

    #[test]
    fn a_picture_below_the_encoders_smallest_is_enlarged_evenly() {
        let fit = fit((65, 47), None, (256, 120));
        assert_eq!((size(fit), fit.enlarged), ((256, 186), true));
    }

    #[test]
    fn crop_covers_the_box_and_pad_stays_within() {
        let square = |mode| Some(Size { width: 1080, height: 1080, mode });
        assert_eq!(fit((1920, 1080), square(SizeMode::Crop), ANY).inner, (1920, 1080));
        assert_eq!(fit((1920, 1080), square(SizeMode::BlurPad), ANY).inner, (1080, 608));
        assert_eq!(fit((500, 500), square(SizeMode::BlurPad), ANY).mode, SizeMode::Within);
    }

    #[test]
    fn a_phones_variable_rate_is_seen_and_rounded_where_a_constant_one_is_needed() {
        let video =
            VideoInfo { frame_rate: (299_800, 10_000), base_frame_rate: (90_000, 1), ..VideoInfo::default() };
        assert!(is_variable(&video));
        assert_eq!(constant_rate(&video, 60.0), (30000, 1001));
        let fast = VideoInfo { frame_rate: (120, 1), base_frame_rate: (120, 1), ..video };
        assert_eq!(constant_rate(&fast, 60.0), (120, 2));
        assert_eq!(limit_rate(&fast, Some(30.0)).as_deref(), Some("fps=120/4"));
    }

    #[test]
    fn hdr_needs_zscale_only_where_it_becomes_sdr() {
        let hdr = VideoInfo { color_transfer: Some("smpte2084".to_owned()), ..VideoInfo::default() };
        let filters = BTreeSet::from(["scale".to_owned(), "tonemap".to_owned()]);
        assert_eq!(missing_filters(&hdr, 8, &filters), ["zscale"]);
        assert!(missing_filters(&hdr, 10, &filters).is_empty());
    }
}
