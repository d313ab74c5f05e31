//! The few ISO BMFF boxes that are read here: the sample entry of an initialisation segment, for the CODECS attribute of
//! RFC 6381, and the outer boxes of a segment, to see whether it is whole.

/// One box: its type and what is in it.
type Found<'a> = ([u8; 4], &'a [u8]);

/// The boxes of `data`, until one does not fit.
fn boxes(mut data: &[u8]) -> impl Iterator<Item = Found<'_>> {
    std::iter::from_fn(move || {
        let size = u32::from_be_bytes(data.get(..4)?.try_into().ok()?) as usize;
        let kind: [u8; 4] = data.get(4..8)?.try_into().ok()?;
        let (header, size) = match size {
            0 => (8, data.len()),
            1 => (16, usize::try_from(u64::from_be_bytes(data.get(8..16)?.try_into().ok()?)).ok()?),
            size => (8, size),
        };
        let content = data.get(header..size)?;
        data = data.get(size..)?;
        Some((kind, content))
    })
}

fn child<'a>(data: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    boxes(data).find(|(found, _)| found == kind).map(|(_, content)| content)
}

/// The RFC 6381 codec of the first track of an initialisation segment; `None` for what is not known here.
pub(super) fn codec(init: &[u8]) -> Option<String> {
    let mut at = init;
    for kind in [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"] {
        at = child(at, kind)?;
    }
    let (format, entry) = boxes(at.get(8..)?).next()?;
    // Fixed fields of a visual and of an audio sample entry come before their boxes.
    let visual = |kind: &[u8; 4]| child(entry.get(78..)?, kind);
    let audio = |kind: &[u8; 4]| child(entry.get(28..)?, kind);
    match &format {
        b"avc1" | b"avc3" => {
            let config = visual(b"avcC")?;
            let name = std::str::from_utf8(&format).ok()?;
            Some(format!("{name}.{:02X}{:02X}{:02X}", config.get(1)?, config.get(2)?, config.get(3)?))
        }
        b"hvc1" | b"hev1" => hevc(std::str::from_utf8(&format).ok()?, visual(b"hvcC")?),
        b"av01" => {
            let config = visual(b"av1C")?;
            let (first, second) = (config.get(1)?, config.get(2)?);
            let tier = if second & 0x80 == 0 { 'M' } else { 'H' };
            let depth = match (second & 0x40 != 0, second & 0x20 != 0) {
                (false, _) => 8,
                (true, false) => 10,
                (true, true) => 12,
            };
            Some(format!("av01.{}.{:02}{tier}.{depth:02}", first >> 5, first & 0x1f))
        }
        b"vp09" => {
            let config = visual(b"vpcC")?.get(4..)?;
            Some(format!("vp09.{:02}.{:02}.{:02}", config.first()?, config.get(1)?, config.get(2)? >> 4))
        }
        b"mp4a" => mp4a(audio(b"esds")?),
        b"Opus" => Some("opus".to_owned()),
        b"fLaC" => Some("fLaC".to_owned()),
        b"ac-3" => Some("ac-3".to_owned()),
        b"ec-3" => Some("ec-3".to_owned()),
        _ => None,
    }
}

/// ISO/IEC 14496-15, annex E.
fn hevc(name: &str, config: &[u8]) -> Option<String> {
    let first = *config.get(1)?;
    let space = ["", "A", "B", "C"][usize::from(first >> 6)];
    let tier = if first & 0x20 == 0 { 'L' } else { 'H' };
    let compatibility = u32::from_be_bytes(config.get(2..6)?.try_into().ok()?).reverse_bits();
    let level = config.get(12)?;
    let mut text = format!("{name}.{space}{}.{compatibility:X}.{tier}{level}", first & 0x1f);
    let constraints = config.get(6..12)?;
    let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..used] {
        text.push_str(&format!(".{byte:X}"));
    }
    Some(text)
}

/// Object type and audio object type from an elementary stream descriptor.
fn mp4a(esds: &[u8]) -> Option<String> {
    // Past version and flags: ES_Descriptor (3), its DecoderConfigDescriptor (4), its DecoderSpecificInfo (5).
    let (tag, mut at) = descriptor(esds.get(4..)?)?;
    if tag != 3 {
        return None;
    }
    let flags = *at.get(2)?;
    at = at.get(3..)?;
    if flags & 0x80 != 0 {
        at = at.get(2..)?;
    }
    if flags & 0x40 != 0 {
        at = at.get(1 + usize::from(*at.first()?)..)?;
    }
    if flags & 0x20 != 0 {
        at = at.get(2..)?;
    }
    let (tag, config) = descriptor(at)?;
    let object = *config.first().filter(|_| tag == 4)?;
    if object != 0x40 {
        return Some(format!("mp4a.{object:02X}"));
    }
    let specific = descriptor(config.get(13..)?).filter(|(tag, _)| *tag == 5).map(|(_, specific)| specific);
    let kind = specific.and_then(|specific| {
        let first = *specific.first()?;
        match first >> 3 {
            31 => Some(32 + ((first & 7) << 3 | specific.get(1)? >> 5)),
            kind => Some(kind),
        }
    });
    Some(format!("mp4a.40.{}", kind.unwrap_or(2)))
}

/// Tag and content of an MPEG-4 descriptor: the length takes seven bits of each byte.
fn descriptor(data: &[u8]) -> Option<(u8, &[u8])> {
    let tag = *data.first()?;
    let (mut length, mut at) = (0usize, 1);
    loop {
        let byte = *data.get(at)?;
        length = length << 7 | usize::from(byte & 0x7f);
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
        if at > 5 {
            return None;
        }
    }
    Some((tag, data.get(at..(at + length).min(data.len()))?))
}

/// Size and type of the box whose header starts `data` (at least 16 bytes of it, or all there is).
pub(super) fn header(data: &[u8]) -> Option<([u8; 4], u64)> {
    let kind = data.get(4..8)?.try_into().ok()?;
    match u32::from_be_bytes(data.get(..4)?.try_into().ok()?) {
        1 => Some((kind, u64::from_be_bytes(data.get(8..16)?.try_into().ok()?))),
        size => Some((kind, size.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrap(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut data = u32::try_from(content.len() + 8).unwrap().to_be_bytes().to_vec();
        data.extend_from_slice(kind);
        data.extend_from_slice(content);
        data
    }

    fn init(format: &[u8; 4], fixed: usize, config: &[u8; 4], bytes: &[u8]) -> Vec<u8> {
        let mut entry = vec![0; fixed];
        entry.extend(wrap(config, bytes));
        let mut stsd = vec![0, 0, 0, 0, 0, 0, 0, 1];
        stsd.extend(wrap(format, &entry));
        [b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov"]
            .iter()
            .fold(stsd, |inner, kind| wrap(kind, &inner))
    }

    #[test]
    fn codecs_are_named_as_rfc_6381_wants() {
        let avc = init(b"avc1", 78, b"avcC", &[1, 0x64, 0, 0x28]);
        assert_eq!(codec(&avc).as_deref(), Some("avc1.640028"));
        let hvc = init(b"hvc1", 78, b"hvcC", &[1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 120]);
        assert_eq!(codec(&hvc).as_deref(), Some("hvc1.1.6.L120.90"));
        let av1 = init(b"av01", 78, b"av1C", &[0x81, 0x08, 0x0c, 0]);
        assert_eq!(codec(&av1).as_deref(), Some("av01.0.08M.08"));
        let vp9 = init(b"vp09", 78, b"vpcC", &[1, 0, 0, 0, 0, 31, 0x82]);
        assert_eq!(codec(&vp9).as_deref(), Some("vp09.00.31.08"));
        let mut esds = vec![0, 0, 0, 0, 3, 25, 0, 1, 0, 4, 17, 0x40, 0x15];
        esds.extend([0; 11]);
        esds.extend([5, 2, 0x12, 0x10]);
        assert_eq!(codec(&init(b"mp4a", 28, b"esds", &esds)).as_deref(), Some("mp4a.40.2"));
    }

    #[test]
    fn damaged_boxes_give_nothing_and_no_panic() {
        let avc = init(b"avc1", 78, b"avcC", &[1, 0x64, 0, 0x28]);
        for end in 0..avc.len() {
            let _ = codec(&avc[..end]);
        }
        assert_eq!(codec(b"not a box at all"), None);
    }
}
