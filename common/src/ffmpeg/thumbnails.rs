//! Poster, sprite sheets and the times that the WebVTT track is made from, in one decode.

use super::{
    Context, Expected, ExpectedVideo, Finish, Lowered, SpriteTrack,
    args::{Args, number},
    file, picture,
};
use crate::{
    failure::Failure,
    spec::{Size, SizeMode, ThumbnailsSpec},
};

pub(super) const POSTER: &str = "poster.jpg";
pub(super) const TRACK: &str = "thumbnails.vtt";
/// Where ffmpeg writes the times of the tiles; removed when the track is made.
pub(super) const TIMES: &str = "tiles.framecrc";

pub(super) fn lower(context: &Context<'_>, spec: &ThumbnailsSpec) -> Result<Lowered, Failure> {
    let (stream, info) = picture::main_video(context.input, "a set of thumbnails")?;
    let duration = file::duration(context.input, Some(stream), std::iter::empty());
    let upright = picture::upright(info);
    let fit = |width: u32| {
        // The box of a thumbnail is its width, however the picture is turned; a ribbon does not become a tower.
        let height = (f64::from(width) * f64::from(upright.1) / f64::from(upright.0)).ceil().max(1.0);
        let height = (height as u32).min(width.saturating_mul(4));
        // `within` turns its box with the picture: hand it over as it will be used.
        let turned = (upright.1 > upright.0) != (height > width);
        let (width, height) = if turned { (height, width) } else { (width, height) };
        picture::fit(upright, Some(Size { width, height, mode: SizeMode::Within }), (2, 2))
    };
    let (poster, tile) = (fit(spec.poster_width), fit(spec.tile_width));
    let max_tiles = spec.max_tiles.max(1);
    let interval = duration.map_or(spec.interval, |d| spec.interval.max(d / f64::from(max_tiles)));
    // Away from a black first frame, and early enough to give nothing away.
    let poster_at = duration.map_or(0.0, |d| d * 0.1);

    let head: String = picture::deinterlace(info, &context.capabilities.filters)
        .map(|filter| format!("{filter},"))
        .unwrap_or_default();
    let every = number(interval);
    // Tone mapping and scaling are done on the few frames that are chosen, never on all.
    let jpeg = "scale=out_range=pc,format=yuvj420p";
    let graph = format!(
        "[0:{index}]{head}split=2[all][film];\
         [all]trim=start={poster_at},thumbnail=n=25,{poster_shape},{jpeg}[poster];\
         [film]select='(isnan(prev_selected_t)+gte(floor((t+1e-6)/{every}),floor((prev_selected_t+1e-6)/{every})+1))\
         *lt(selected_n,{max_tiles})',{tile_shape},{jpeg},split=2[tiles][times];\
         [tiles]tile={columns}x{rows}[sheet]",
        index = stream.index,
        poster_at = number(poster_at),
        poster_shape = picture::shape(info, &poster, 8),
        tile_shape = picture::shape(info, &tile, 8),
        columns = spec.columns,
        rows = spec.rows,
    );
    let mut args = Args::with_input(context, &[]);
    args.pair("-filter_complex", graph);
    args.all([
        "-map",
        "[poster]",
        "-frames:v",
        "1",
        "-c:v",
        "mjpeg",
        "-q:v",
        "2",
        "-fps_mode",
        "passthrough",
    ]);
    args.all(["-f", "image2", "-update", "1"]).output(context.output_dir.join(POSTER));
    args.all(["-map", "[sheet]", "-c:v", "mjpeg", "-q:v", "4", "-fps_mode", "passthrough", "-f", "image2"]);
    args.output(context.output_dir.join("sprite_%03d.jpg"));
    args.all(["-map", "[times]", "-c:v", "rawvideo", "-fps_mode", "passthrough", "-f", "framecrc"]);
    args.output(context.output_dir.join(TIMES));

    let picture = |path: &str, width: u32, height: u32| Expected {
        path: path.to_owned(),
        video: Some(ExpectedVideo {
            codec: "mjpeg".to_owned(),
            width,
            height,
            pixel_format: None,
            timing: None,
        }),
        audio: Vec::new(),
        subtitles: 0,
    };
    Ok(Lowered {
        argv: args.into_vec(),
        duration,
        expected: vec![
            picture(POSTER, poster.width, poster.height),
            picture("sprite_001.jpg", tile.width * spec.columns, tile.height * spec.rows),
            Expected { path: TRACK.to_owned(), video: None, audio: Vec::new(), subtitles: 1 },
        ],
        produced: Vec::new(),
        finish: Finish::Sprites(SpriteTrack {
            tile: (tile.width, tile.height),
            columns: spec.columns,
            rows: spec.rows,
            interval,
            duration,
        }),
        warnings: Vec::new(),
    })
}
