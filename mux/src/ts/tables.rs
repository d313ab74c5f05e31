//! PAT and PMT: what they say and how they are written.

use bytes::Bytes;

use super::{MAX_TRACKS, NULL_PID, PAT_PID};
use crate::{Codec, Program, Track};

/// Bytes of a section before its table's own fields, and of the checksum behind them (2.4.4.11).
const HEADER: usize = 8;
const CHECKSUM: usize = 4;

/// A section of a PAT or PMT has at most so many bytes behind its length (2.4.4.9).
const LONGEST: usize = 1021;

const PAT: u8 = 0;
const PMT: u8 = 2;

/// The program that is written.
const PROGRAM: u16 = 1;

/// Descriptors (table 2-45; ETSI EN 300 468, table 12).
mod descriptor {
    pub(super) const REGISTRATION: u8 = 0x05;
    pub(super) const AC3: u8 = 0x6a;
    pub(super) const ENHANCED_AC3: u8 = 0x7a;
}

/// Kinds of elementary streams (table 2-34; ATSC A/53 part 3; ANSI/SCTE 35).
mod stream_type {
    pub(super) const MPEG1_VIDEO: u8 = 0x01;
    pub(super) const MPEG2_VIDEO: u8 = 0x02;
    pub(super) const MPEG1_AUDIO: u8 = 0x03;
    pub(super) const MPEG2_AUDIO: u8 = 0x04;
    pub(super) const PRIVATE_SECTIONS: u8 = 0x05;
    pub(super) const PRIVATE: u8 = 0x06;
    pub(super) const AAC: u8 = 0x0f;
    pub(super) const DSM_CC_FIRST: u8 = 0x0a;
    pub(super) const DSM_CC_LAST: u8 = 0x0d;
    pub(super) const DOWNLOAD: u8 = 0x14;
    pub(super) const METADATA_SECTIONS: u8 = 0x16;
    pub(super) const H264: u8 = 0x1b;
    pub(super) const HEVC: u8 = 0x24;
    pub(super) const AC3: u8 = 0x81;
    pub(super) const SPLICE: u8 = 0x86;
    pub(super) const ENHANCED_AC3: u8 = 0x87;
}

/// CRC-32 of MPEG-2 (annex A): of a whole section with its checksum it is 0.
pub(super) fn checksum(section: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = (index as u32) << 24;
            let mut bit = 0;
            while bit < 8 {
                value = if value >> 31 == 1 { value << 1 ^ 0x04c1_1db7 } else { value << 1 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    section.iter().fold(u32::MAX, |crc, &byte| crc << 8 ^ TABLE[((crc >> 24) as u8 ^ byte) as usize])
}

/// Whether such a stream comes as sections, not as PES packets.
pub(super) const fn in_sections(codec: Codec) -> bool {
    use stream_type::{DOWNLOAD, DSM_CC_FIRST, DSM_CC_LAST, METADATA_SECTIONS, PRIVATE_SECTIONS, SPLICE};
    matches!(
        codec,
        Codec::Other(PRIVATE_SECTIONS | DSM_CC_FIRST..=DSM_CC_LAST | DOWNLOAD | METADATA_SECTIONS | SPLICE)
    )
}

/// Tag and contents of each.
fn descriptors(mut rest: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[tag, length], behind) = rest.split_first_chunk()?;
        let (contents, next) = behind.split_at_checked(usize::from(length))?;
        rest = next;
        Some((tag, contents))
    })
}

fn codec(stream_type: u8, with: &[u8]) -> Codec {
    match stream_type {
        stream_type::MPEG1_VIDEO | stream_type::MPEG2_VIDEO => Codec::Mpeg2Video,
        stream_type::MPEG1_AUDIO | stream_type::MPEG2_AUDIO => Codec::Mp3,
        stream_type::AAC => Codec::Aac,
        stream_type::H264 => Codec::H264,
        stream_type::HEVC => Codec::Hevc,
        stream_type::AC3 => Codec::Ac3,
        stream_type::ENHANCED_AC3 => Codec::Eac3,
        stream_type::PRIVATE => descriptors(with)
            .find_map(|(tag, contents)| match (tag, contents) {
                (descriptor::AC3, _) | (descriptor::REGISTRATION, [b'A', b'C', b'-', b'3', ..]) => {
                    Some(Codec::Ac3)
                }
                (descriptor::ENHANCED_AC3, _) | (descriptor::REGISTRATION, [b'E', b'A', b'C', b'3', ..]) => {
                    Some(Codec::Eac3)
                }
                _ => None,
            })
            .unwrap_or(Codec::Other(stream_type)),
        other => Codec::Other(other),
    }
}

/// `None`: it is not carried in MPEG-TS here.
fn stream_type(track: &Track) -> Option<u8> {
    // DVB names these by descriptors, ATSC by the stream type.
    let named = |tag| descriptors(&track.descriptors).any(|(of, _)| of == tag);
    Some(match track.codec {
        Codec::Mpeg2Video => stream_type::MPEG2_VIDEO,
        Codec::Mp3 => stream_type::MPEG1_AUDIO,
        Codec::Aac => stream_type::AAC,
        Codec::H264 => stream_type::H264,
        Codec::Hevc => stream_type::HEVC,
        Codec::Ac3 if named(descriptor::AC3) => stream_type::PRIVATE,
        Codec::Ac3 => stream_type::AC3,
        Codec::Eac3 if named(descriptor::ENHANCED_AC3) => stream_type::PRIVATE,
        Codec::Eac3 => stream_type::ENHANCED_AC3,
        Codec::Other(other) => other,
        Codec::Av1 => return None,
    })
}

/// Fills in length and checksum of a section whose other bytes are there.
fn seal(mut section: Vec<u8>) -> Vec<u8> {
    let length = section.len() - 3 + CHECKSUM;
    section[1] = 0xb0 | (length >> 8) as u8;
    section[2] = length as u8;
    let crc = checksum(&section);
    section.extend(crc.to_be_bytes());
    section
}

/// A PAT with the one program.
pub(super) fn pat(pmt_pid: u16) -> Vec<u8> {
    let [pid_high, pid_low] = pmt_pid.to_be_bytes();
    let [high, low] = PROGRAM.to_be_bytes();
    const STREAM: u8 = 1;
    seal(vec![PAT, 0, 0, 0, STREAM, 0xc1, 0, 0, high, low, 0xe0 | pid_high, pid_low])
}

/// A PMT. A track that cannot be carried, or that there is no room for, is left out.
pub(super) fn pmt(program: &Program, version: u8, pcr_pid: u16, pid: impl Fn(usize) -> u16) -> Vec<u8> {
    let [high, low] = PROGRAM.to_be_bytes();
    let [pcr_high, pcr_low] = pcr_pid.to_be_bytes();
    let mut section =
        vec![PMT, 0, 0, high, low, 0xc1 | version << 1, 0, 0, 0xe0 | pcr_high, pcr_low, 0xf0, 0];
    if program.tracks.iter().any(|track| track.codec == Codec::Other(stream_type::SPLICE)) {
        // Nobody looks for splice information without it (ANSI/SCTE 35, 8.1).
        section[11] = 6;
        section.extend([descriptor::REGISTRATION, 4, b'C', b'U', b'E', b'I']);
    }
    for (index, track) in program.tracks.iter().enumerate().take(MAX_TRACKS) {
        let Some(kind) = stream_type(track) else { continue };
        let room = LONGEST + 3 - CHECKSUM - section.len();
        if room < 5 + track.descriptors.len() {
            continue;
        }
        let [pid_high, pid_low] = pid(index).to_be_bytes();
        let length = track.descriptors.len();
        section.extend([kind, 0xe0 | pid_high, pid_low, 0xf0 | (length >> 8) as u8, length as u8]);
        section.extend_from_slice(&track.descriptors);
    }
    seal(section)
}

/// Why a section was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// Another table, or one for later.
    Foreign,
    Broken,
}

/// The checked contents of a section behind its header: with the number behind the length (program or stream) and the
/// section's own.
fn open(section: &[u8], table: u8) -> Result<(u16, u8, &[u8]), Unread> {
    const CURRENT: u8 = 1;
    if section.first() != Some(&table) {
        return Err(Unread::Foreign);
    }
    if section.len() < HEADER + CHECKSUM || checksum(section) != 0 {
        return Err(Unread::Broken);
    }
    if section[5] & CURRENT == 0 {
        return Err(Unread::Foreign);
    }
    let number = u16::from_be_bytes([section[3], section[4]]);
    Ok((number, section[6], &section[HEADER..section.len() - CHECKSUM]))
}

const fn pid(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high & 0x1f, low])
}

/// A program of a PAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) number: u16,
    pub(super) pmt_pid: u16,
}

/// The program to follow: `current` if the section still has it, otherwise the first one. `None`: the section has nothing to
/// say about that.
pub(super) fn read_pat(section: &[u8], current: Option<Entry>) -> Result<Option<Entry>, Unread> {
    let (_, number, entries) = open(section, PAT)?;
    let mut programs = entries
        .chunks_exact(4)
        .map(|entry| Entry {
            number: u16::from_be_bytes([entry[0], entry[1]]),
            pmt_pid: pid(entry[2], entry[3]),
        })
        .filter(|entry| entry.number != 0 && !matches!(entry.pmt_pid, PAT_PID | NULL_PID));
    let same = programs.clone().find(|entry| current.is_some_and(|current| current.number == entry.number));
    Ok(same.or_else(|| programs.next().filter(|_| number == 0 || current.is_none())))
}

/// The tracks of a program with their PIDs.
pub(super) fn read_pmt(section: &[u8], of: Entry) -> Result<Vec<(u16, Track)>, Unread> {
    let (program, _, contents) = open(section, PMT)?;
    if program != of.number {
        return Err(Unread::Foreign);
    }
    let (&[_, _, high, low], rest) = contents.split_first_chunk().ok_or(Unread::Broken)?;
    let length = usize::from(u16::from_be_bytes([high & 0x0f, low]));
    let mut rest = rest.get(length..).ok_or(Unread::Broken)?;
    let mut tracks: Vec<(u16, Track)> = Vec::new();
    while let Some((&[kind, pid_high, pid_low, high, low], behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high & 0x0f, low]));
        let (with, next) = behind.split_at_checked(length).ok_or(Unread::Broken)?;
        rest = next;
        let pid = pid(pid_high, pid_low);
        let taken =
            matches!(pid, PAT_PID | NULL_PID) || pid == of.pmt_pid || tracks.iter().any(|(of, _)| *of == pid);
        if !taken && tracks.len() < MAX_TRACKS {
            tracks.push((pid, Track { codec: codec(kind, with), descriptors: Bytes::copy_from_slice(with) }));
        }
    }
    Ok(tracks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(codec: Codec, descriptors: &'static [u8]) -> Track {
        Track { codec, descriptors: Bytes::from_static(descriptors) }
    }

    #[test]
    fn tables_say_what_was_written() {
        let program = Program {
            tracks: vec![
                track(Codec::H264, &[]),
                track(Codec::Ac3, &[0x6a, 0]),
                track(Codec::Ac3, &[5, 4, b'A', b'C', b'-', b'3']),
                track(Codec::Eac3, &[0x7a, 0]),
                track(Codec::Eac3, &[]),
                track(Codec::Other(0x86), &[]),
                track(Codec::Other(0x06), &[0x56, 0]),
            ],
        };
        let entry = read_pat(&pat(0x1000), None).unwrap().unwrap();
        assert_eq!(entry, Entry { number: 1, pmt_pid: 0x1000 });
        let section = pmt(&program, 3, 0x100, |index| 0x100 + index as u16);
        let tracks = read_pmt(&section, entry).unwrap();
        assert_eq!(
            tracks.iter().map(|(pid, _)| *pid).collect::<Vec<_>>(),
            (0x100..0x107).collect::<Vec<_>>()
        );
        assert_eq!(Program { tracks: tracks.into_iter().map(|(_, track)| track).collect() }, program);
        let mut damaged = section;
        damaged[14] ^= 1;
        assert_eq!(read_pmt(&damaged, entry), Err(Unread::Broken));
    }

    #[test]
    fn a_pmt_never_grows_beyond_a_section() {
        const LONG: &[u8] = &[0xff; 200];
        let program = Program { tracks: vec![track(Codec::Other(6), LONG); 20] };
        let section = pmt(&program, 0, 0x100, |index| index as u16 + 0x100);
        assert!(section.len() <= LONGEST + 3, "{}", section.len());
        assert_eq!(checksum(&section), 0);
    }

    #[test]
    fn the_program_that_is_followed_stays_while_it_is_there() {
        let two = seal(vec![0, 0, 0, 0, 1, 0xc1, 0, 0, 0, 5, 0xe1, 0, 0, 9, 0xe2, 0]);
        let of = |number, pmt_pid| Entry { number, pmt_pid };
        assert_eq!(read_pat(&two, None), Ok(Some(of(5, 0x100))));
        assert_eq!(read_pat(&two, Some(of(9, 0x333))), Ok(Some(of(9, 0x200))));
        assert_eq!(read_pat(&two, Some(of(7, 0x333))), Ok(Some(of(5, 0x100))));
    }
}
