//! One track out of several.

use bytes::Bytes;

use super::boxes::{Reader, Writer};
use crate::TrackId;

/// What [`super::init`] or [`super::fragment`] wrote (one after the other, too), with one of its tracks only: DASH wants
/// each track by itself. `None`: the track is not in it, or it was not written by these.
#[must_use]
pub fn select(bytes: &[u8], track: TrackId) -> Option<Bytes> {
    let number = u32::from(track.0) + 1;
    let mut w = Writer::with_capacity(bytes.len());
    let mut found = false;
    let mut rest = Reader(bytes);
    while !rest.0.is_empty() {
        let at = rest.0;
        let (kind, body) = next(&mut rest)?;
        match &kind {
            b"moov" => {
                found |= header(&mut w, body, number);
            }
            b"moof" => found |= fragment(&mut w, at, body, number)?,
            b"mdat" => {}
            _ => w.boxed(&kind, |w| w.put(body.0)),
        }
    }
    found.then(|| w.bytes.freeze())
}

fn next<'a>(from: &mut Reader<'a>) -> Option<([u8; 4], Reader<'a>)> {
    let size = from.u32()? as usize;
    let kind = from.take(4)?.try_into().ok()?;
    Some((kind, Reader(from.take(size.checked_sub(8)?)?)))
}

fn header(w: &mut Writer, moov: Reader<'_>, number: u32) -> bool {
    let mut found = false;
    w.boxed(b"moov", |w| {
        for (kind, body) in moov.boxes() {
            let of_track = match &kind {
                b"trak" => body.child(b"tkhd").and_then(|mut tkhd| {
                    tkhd.take(12)?;
                    tkhd.u32()
                }),
                _ => Some(number),
            };
            if of_track != Some(number) {
                continue;
            }
            found |= &kind == b"trak";
            if &kind != b"mvex" {
                w.boxed(&kind, |w| w.put(body.0));
                continue;
            }
            w.boxed(b"mvex", |w| {
                for (kind, mut body) in body.boxes() {
                    let whole = body.0;
                    if body.take(4).and_then(|_| body.u32()) == Some(number) {
                        w.boxed(&kind, |w| w.put(whole));
                    }
                }
            });
        }
    });
    found
}

/// `moof`, and of the data behind it what belongs to the track. A fragment without the track is left out.
fn fragment(w: &mut Writer, from_moof: &[u8], moof: Reader<'_>, number: u32) -> Option<bool> {
    let of_track = |traf: Reader<'_>| {
        let mut tfhd = traf.child(b"tfhd")?;
        tfhd.take(4)?;
        tfhd.u32()
    };
    let mut trafs = moof.boxes().filter(|(kind, _)| kind == b"traf").map(|(_, body)| body);
    let Some(traf) = trafs.find(|traf| of_track(*traf) == Some(number)) else { return Some(false) };
    let (start, length) = data(traf)?;
    let data = from_moof.get(start..start.checked_add(length)?)?;

    let moof_start = w.bytes.len();
    let mut offset = None;
    w.boxed(b"moof", |w| {
        if let Some(mfhd) = moof.child(b"mfhd") {
            w.boxed(b"mfhd", |w| w.put(mfhd.0));
        }
        w.boxed(b"traf", |w| {
            for (kind, body) in traf.boxes() {
                if &kind == b"trun" {
                    // Header of the box, version, number of samples.
                    offset = Some(w.bytes.len() + 8 + 4 + 4);
                }
                w.boxed(&kind, |w| w.put(body.0));
            }
        });
    });
    let moof_length = w.bytes.len() - moof_start;
    w.set_u32(offset?, u32::try_from(moof_length + 8).ok()?);
    w.boxed(b"mdat", |w| w.put(data));
    Some(true)
}

/// Where the data of a track is, counted from the `moof`, and its length.
fn data(traf: Reader<'_>) -> Option<(usize, usize)> {
    let mut trun = traf.child(b"trun")?;
    let (_, flags) = trun.version()?;
    let count = trun.u32()?;
    let start = trun.u32()? as usize;
    let video = flags & 0xc00 != 0;
    let mut length = 0_usize;
    for _ in 0..count {
        trun.u32()?;
        length = length.checked_add(trun.u32()? as usize)?;
        if video {
            trun.take(8)?;
        }
    }
    Some((start, length))
}
