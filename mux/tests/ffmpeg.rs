//! What ffmpeg writes and reads.

#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use bytes::BytesMut;
use mux::{
    Codec, Event, Kind, Program, Ticks, Unit,
    codec::{self, Parameters},
    ts::{Demuxer, Muxer},
};

const VIDEO: &[&str] = &["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=3"];
const AUDIO: &[&str] = &["-f", "lavfi", "-i", "sine=r=48000:d=3"];

/// A notice of x265, which ffmpeg's level does not reach.
const NOISE: &[&str] = &["x265 ["];

fn pipe(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    support::pipe(program, arguments, input, NOISE)
}

fn media(arguments: &[&str]) -> Vec<u8> {
    pipe("ffmpeg", &[arguments, &["-f", "mpegts", "-"]].concat(), &[])
}

/// Stream, PTS, DTS, size, whether it is a key frame; by streams.
type Packet = (u8, i64, i64, usize, bool);

fn probed(stream: &[u8]) -> Vec<Packet> {
    let show = "packet=stream_index,pts,dts,size,flags";
    let text = pipe("ffprobe", &["-f", "mpegts", "-show_entries", show, "-of", "csv=p=0", "-"], stream);
    let mut packets: Vec<Packet> = String::from_utf8(text)
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let fields: Vec<_> = line.split(',').collect();
            let number = |index: usize| fields[index].parse::<i64>().unwrap();
            (number(0) as u8, number(1), number(2), number(3) as usize, fields[4].starts_with('K'))
        })
        .collect();
    packets.sort_by_key(|packet| packet.0);
    packets
}

fn read(stream: &[u8], contiguous: bool, piece: usize) -> (Vec<Program>, Vec<Unit>) {
    let (mut demuxer, mut events) = (Demuxer::new(contiguous), Vec::new());
    for piece in stream.chunks(piece) {
        demuxer.push(piece, &mut events);
    }
    demuxer.finish(&mut events);
    let statistics = demuxer.statistics();
    assert_eq!((statistics.gaps, statistics.skipped, statistics.broken), (0, 0, 0));
    let (mut programs, mut units) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            Event::Program(program) => programs.push(program),
            Event::Unit(unit) => units.push(unit),
        }
    }
    (programs, units)
}

/// As ffprobe shows them: frame by frame.
fn packets(program: &Program, units: &[Unit]) -> Vec<Packet> {
    let frames =
        units.iter().flat_map(|unit| codec::frames(program.codec(unit.track).unwrap(), unit.clone()));
    let mut packets: Vec<Packet> =
        frames.map(|unit| (unit.track.0, unit.pts.0, unit.dts.0, unit.data.len(), unit.key)).collect();
    packets.sort_by_key(|packet| packet.0);
    packets
}

/// ffmpeg's parsers take the first zero of a start code for the end of the frame before.
fn same(found: &Packet, expected: &Packet) -> bool {
    let other = |packet: &Packet| (packet.0, packet.1, packet.2, packet.4);
    found.3.abs_diff(expected.3) <= 1 && other(found) == other(expected)
}

fn remux(program: &Program, units: &[Unit]) -> BytesMut {
    let (mut muxer, mut out) = (Muxer::new(program), BytesMut::new());
    for unit in units {
        if unit.key && program.codec(unit.track).unwrap().kind() == Kind::Video || out.is_empty() {
            muxer.tables(&mut out);
        }
        muxer.unit(unit, false, &mut out);
    }
    out
}

/// Hashes of all decoded frames and samples.
fn decoded(stream: &[u8]) -> String {
    let output = pipe("ffmpeg", &["-f", "mpegts", "-i", "-", "-map", "0", "-f", "framemd5", "-"], stream);
    String::from_utf8(output)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Everything about a stream of ffmpeg's. Answers the tracks and what they say about themselves.
fn check(arguments: &[&str]) -> (Program, Vec<Option<Parameters>>) {
    let stream = media(arguments);
    let expected = probed(&stream);
    for (contiguous, piece) in [(false, 65_536), (true, 1000)] {
        let (programs, units) = read(&stream, contiguous, piece);
        assert_eq!(programs.len(), 1);
        let found = packets(&programs[0], &units);
        let difference = found.iter().zip(&expected).find(|(found, expected)| !same(found, expected));
        assert_eq!(difference, None, "contiguous: {contiguous}");
        assert_eq!(found.len(), expected.len());
    }
    let (mut programs, units) = read(&stream, true, 188);
    let program = programs.remove(0);
    let again = remux(&program, &units);
    assert_eq!(probed(&again), expected);
    assert_eq!(decoded(&again), decoded(&stream));
    let (programs, same) = read(&again, true, 10_000);
    assert_eq!((&programs[0], &same), (&program, &units));
    let parameters = (0..program.tracks.len()).map(|index| {
        let of_track = units.iter().filter(|unit| usize::from(unit.track.0) == index && unit.key);
        let mut said = of_track.filter_map(|unit| codec::parameters(program.tracks[index].codec, unit));
        let first = said.next();
        assert!(said.all(|other| first.as_ref() == Some(&other)));
        first
    });
    let parameters = parameters.collect();
    (program, parameters)
}

fn video(parameters: &Option<Parameters>) -> (u32, u32, &str, Option<i64>) {
    match parameters {
        Some(Parameters::Video(video)) => {
            (video.width, video.height, &video.rfc6381, video.frame.map(|Ticks(ticks)| ticks))
        }
        other => panic!("no parameters of a video: {other:?}"),
    }
}

fn audio(parameters: &Option<Parameters>) -> (u32, u8, u32, &str) {
    match parameters {
        Some(Parameters::Audio(audio)) => {
            (audio.sample_rate, audio.channels, audio.frame_samples, &audio.rfc6381)
        }
        other => panic!("no parameters of audio: {other:?}"),
    }
}

fn codecs(program: &Program) -> Vec<Codec> {
    program.tracks.iter().map(|track| track.codec).collect()
}

#[test]
fn h264_with_b_frames_and_aac_are_read_as_ffprobe_does() {
    let encoders = ["-c:v", "libx264", "-g", "50", "-bf", "3", "-c:a", "aac"];
    let (program, parameters) = check(&[VIDEO, AUDIO, &encoders].concat());
    assert_eq!(codecs(&program), [Codec::H264, Codec::Aac]);
    assert_eq!(video(&parameters[0]), (320, 180, "avc1.64000c", Some(3600)));
    assert_eq!(audio(&parameters[1]), (48_000, 1, 1024, "mp4a.40.2"));
}

#[test]
fn open_gops_of_h264_have_key_frames() {
    check(&[VIDEO, &["-c:v", "libx264", "-g", "20", "-x264opts", "open-gop=1:scenecut=0"]].concat());
}

#[test]
fn hevc_and_mp3_are_read_as_ffprobe_does() {
    let encoders = ["-c:v", "libx265", "-g", "30", "-x265-params", "log-level=none", "-c:a", "libmp3lame"];
    let (program, parameters) = check(&[VIDEO, AUDIO, &encoders].concat());
    assert_eq!(codecs(&program), [Codec::Hevc, Codec::Mp3]);
    let (width, height, rfc6381, frame) = video(&parameters[0]);
    assert_eq!((width, height, frame), (320, 180, Some(3600)));
    assert!(rfc6381.starts_with("hvc1.1.6.L"), "{rfc6381}");
    assert_eq!(audio(&parameters[1]), (48_000, 1, 1152, "mp4a.40.34"));
}

#[test]
fn mpeg2_video_and_mp2_are_read_as_ffprobe_does() {
    let encoders = ["-c:v", "mpeg2video", "-g", "12", "-bf", "2", "-c:a", "mp2"];
    let (program, parameters) = check(&[VIDEO, AUDIO, &encoders].concat());
    assert_eq!(codecs(&program), [Codec::Mpeg2Video, Codec::Mp3]);
    assert_eq!(video(&parameters[0]), (320, 180, "mp4v.61", Some(3600)));
    assert_eq!(audio(&parameters[1]), (48_000, 1, 1152, "mp4a.40.33"));
}

#[test]
fn ac3_and_eac3_are_read_as_ffprobe_does() {
    let encoders = ["-map", "0", "-map", "0", "-c:a:0", "ac3", "-c:a:1", "eac3", "-ac:a:1", "6"];
    let (program, parameters) = check(&[AUDIO, &encoders].concat());
    assert_eq!(codecs(&program), [Codec::Ac3, Codec::Eac3]);
    assert_eq!(audio(&parameters[0]), (48_000, 1, 1536, "ac-3"));
    assert_eq!(audio(&parameters[1]), (48_000, 6, 1536, "ec-3"));
}

/// The record of a track's parameters is what ffmpeg writes into MP4, byte for byte.
fn assert_recorded(arguments: &[&str], copy: &[&str], boxes: &[&[u8; 4]]) {
    let stream = media(arguments);
    let (programs, units) = read(&stream, true, 10_000);
    let fragmented = ["-c", "copy", "-f", "mp4", "-movflags", "empty_moov+default_base_moof+delay_moov", "-"];
    let mp4 =
        pipe("ffmpeg", &[&["-f", "mpegts", "-i", "-", "-map", "0"], copy, &fragmented].concat(), &stream);
    for (index, kind) in boxes.iter().enumerate() {
        let unit = units.iter().find(|unit| usize::from(unit.track.0) == index && unit.key).unwrap();
        let record = match codec::parameters(programs[0].tracks[index].codec, unit).unwrap() {
            Parameters::Video(video) => video.record,
            Parameters::Audio(audio) => audio.record,
        };
        let at = mp4.windows(4).position(|four| four == *kind).unwrap();
        let length = u32::from_be_bytes(*mp4[at - 4..].first_chunk().unwrap()) as usize;
        let found = &mp4[at + 4..at - 4 + length];
        if **kind == *b"esds" {
            assert!(found.windows(record.len()).any(|bytes| bytes == record), "{record:x?} in {found:x?}");
        } else {
            assert_eq!(found, &record[..], "{}", String::from_utf8_lossy(*kind));
        }
    }
}

#[test]
fn records_are_those_of_ffmpeg() {
    let h264 = ["-c:v", "libx264", "-c:a", "aac"];
    assert_recorded(&[VIDEO, AUDIO, &h264].concat(), &["-bsf:a", "aac_adtstoasc"], &[b"avcC", b"esds"]);
    let deep = ["-c:v", "libx264", "-pix_fmt", "yuv422p10le", "-c:a", "ac3", "-ac", "6"];
    assert_recorded(&[VIDEO, AUDIO, &deep].concat(), &[], &[b"avcC", b"dac3"]);
    let hevc = ["-c:v", "libx265", "-x265-params", "log-level=none", "-c:a", "eac3"];
    assert_recorded(&[VIDEO, AUDIO, &hevc].concat(), &["-tag:v", "hvc1"], &[b"hvcC", b"dec3"]);
}

#[test]
fn av1_is_described_as_ffmpeg_does() {
    let arguments = ["-c:v", "libsvtav1", "-preset", "12", "-g", "25", "-f", "mp4"];
    let movflags = ["-movflags", "frag_every_frame+empty_moov+default_base_moof", "-"];
    // The encoder's own words are no complaints.
    let mut command = Command::new("ffmpeg");
    let command = command.args(["-v", "error"]).args(VIDEO).args(arguments).args(movflags);
    let mp4 = command.output().unwrap().stdout;
    let (mut demuxer, mut events) = (mux::fmp4::Demuxer::default(), Vec::new());
    demuxer.push(&mp4, &mut events).unwrap();
    let keys: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Unit(unit) if codec::is_key(Codec::Av1, &unit.data) => Some(unit),
            _ => None,
        })
        .collect();
    assert_eq!(keys.iter().map(|unit| unit.pts.0).collect::<Vec<_>>(), [0, 90_000, 180_000]);
    let parameters = codec::parameters(Codec::Av1, keys[0]);
    assert_eq!(video(&parameters).0, 320);
    assert_eq!(video(&parameters).1, 180);
    let Some(Parameters::Video(found)) = parameters else { panic!("no parameters") };
    assert!(found.rfc6381.starts_with("av01.0.0") && found.rfc6381.ends_with("M.08"), "{}", found.rfc6381);
    let at = mp4.windows(4).position(|four| four == b"av1C").unwrap();
    // Behind these stands a sequence header: SVT-AV1's one beforehand differs in its tools from that in the stream.
    assert_eq!(mp4[at + 4..at + 8], found.record[..4]);
}
