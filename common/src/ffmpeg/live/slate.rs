//! A picture and silence while a source is away.

use super::{Context, output};
use crate::{
    ffmpeg::args::Args,
    live::{Container, Slate},
};

/// Longer texts do not fit into the picture.
const MAX_TEXT: usize = 80;

/// Made in software whatever the encoder of the stream is: it costs next to nothing and works everywhere.
pub(super) fn lower(args: &mut Args, context: &Context<'_>, slate: &Slate) {
    // The same limits as a profile's picture.
    let even = |edge: u32| edge.clamp(160, 8192) / 2 * 2;
    let (width, height) = (even(slate.width), even(slate.height));
    let (num, den) = match slate.frame_rate {
        (num, den) if num > 0 && den > 0 && num / den <= 120 => (num, den),
        _ => (25, 1),
    };
    let mut picture = format!("color=c=0x202428:s={width}x{height}:r={num}/{den},format=yuv420p");
    let text = plain(&slate.text);
    if context.text && !text.is_empty() && context.capabilities.filters.contains("drawtext") {
        picture.push_str(&format!(
            ",drawtext=expansion=none:text='{text}':fontcolor=white:fontsize={}:x=(w-text_w)/2:y=(h-text_h)/2",
            (height / 14).max(12)
        ));
    }
    args.all(["-re", "-f", "lavfi", "-i", &picture]);
    args.all(["-re", "-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo"]);
    args.all(["-map", "0:v:0", "-map", "1:a:0", "-c:v:0", "libx264", "-preset", "veryfast"]);
    args.all(["-tune", "zerolatency", "-profile:v:0", "high", "-threads:v:0", "1"]);
    args.pair("-g", (num / den).max(1).to_string());
    args.all(["-sc_threshold", "0", "-c:a:0", "aac", "-b:a:0", "64000"]);
    output(args, Container::MpegTs, false);
}

/// Letters and digits of any script, and a little more: nothing that a filter graph reads as its own.
fn plain(text: &str) -> String {
    let kept = |c: char| if c.is_alphanumeric() || matches!(c, '.' | '!' | '?' | '-') { c } else { ' ' };
    let text: String = text.chars().take(MAX_TEXT).map(kept).collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_no_part_of_the_filter_graph() {
        assert_eq!(plain("Gleich geht's weiter!"), "Gleich geht s weiter!");
        assert_eq!(plain("x',movie=/etc/passwd[a];%{pts}\\:"), "x  movie  etc passwd a    pts");
        assert_eq!(plain("Zürich – 放送"), "Zürich   放送");
    }
}
