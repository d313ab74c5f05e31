use bytes::Bytes;
use mux::{Codec, Event, TrackId, ts};
use proptest::prelude::*;

use super::{
    super::{
        Format, Window,
        footage::{
            self, AUDIO_FRAME, FRAME, GRID, Picture, START, audio, both, play, program, settings, step,
            stream, video,
        },
        shelf::Pieces,
    },
    *,
};

fn all(buffer: &Buffer) -> Vec<Bytes> {
    let (mut at, mut all) = (0, Vec::new());
    loop {
        match buffer.read(at) {
            Pieces::There(_, pieces) if pieces.is_empty() => return all,
            Pieces::There(next, pieces) => {
                at = next;
                all.extend(pieces);
            }
            Pieces::Evicted => panic!("something was evicted"),
        }
    }
}

fn demux<'a>(pieces: impl IntoIterator<Item = &'a Bytes>) -> Vec<Unit> {
    let mut demuxer = ts::Demuxer::new(true);
    let mut events = Vec::new();
    for piece in pieces {
        demuxer.push(piece, &mut events);
    }
    demuxer.finish(&mut events);
    let found = demuxer.statistics();
    assert_eq!((found.gaps, found.skipped, found.broken), (0, 0, 0));
    let mut units: Vec<Unit> = (events.into_iter())
        .filter_map(|event| match event {
            Event::Unit(unit) => Some(unit),
            Event::Program(_) => None,
        })
        .collect();
    // Each track's are in order; between the tracks a demuxer may give them in another.
    units.sort_by_key(|unit| unit.track);
    units
}

/// What can be compared after the way through 33 bits.
fn seen(units: &[Unit]) -> Vec<(TrackId, u64, u64, bool, Bytes)> {
    (units.iter())
        .map(|unit| (unit.track, unit.pts.wire(), unit.dts.wire(), unit.key, unit.data.clone()))
        .collect()
}

fn by_track(mut units: Vec<Unit>) -> Vec<Unit> {
    units.sort_by_key(|unit| unit.track);
    units
}

fn fill(buffer: &mut Buffer, releases: Vec<Release>) {
    let now = Instant::now();
    for release in releases {
        buffer.release(vec![release], now);
    }
}

fn filled(settings: Settings, releases: Vec<Release>) -> Buffer {
    let mut buffer = Buffer::new(settings);
    fill(&mut buffer, releases);
    buffer
}

fn window(buffer: &mut Buffer) -> Window {
    buffer.window(Format::MpegTs, Instant::now())
}

/// Which of the segments in the playlist can be decoded without those before.
fn independent(buffer: &mut Buffer) -> Vec<bool> {
    window(buffer).segments.iter().map(|segment| segment.independent).collect()
}

#[test]
fn a_segment_that_was_cut_without_a_key_frame_is_not_independent() {
    let begin = Release::Generation { number: 0, program: program(&[Codec::H264]) };
    let frame = |index: i64| {
        let key = [0, 50, 100, 260].contains(&index).then_some(Picture::Small);
        Release::Unit(video(0, START + index * FRAME, 0, key, 2000))
    };
    let mut buffer = filled(settings(), std::iter::once(begin).chain((0..110).map(frame)).collect());
    // Whoever has seen this counts on segments of two seconds.
    assert_eq!(independent(&mut buffer), [true, true, true]);
    fill(&mut buffer, (110..330).map(frame).collect());
    let window = window(&mut buffer);
    for segment in window.segments.iter().filter(|segment| segment.duration.is_some()) {
        let body = buffer.segment(Format::MpegTs, segment.sequence).unwrap();
        assert_eq!(segment.independent, demux(&body.pieces)[0].key, "{segment:?}");
    }
    assert_eq!(independent(&mut buffer)[..6], [true, true, true, false, false, true]);
}

#[test]
fn a_segment_that_begins_with_an_open_gop_is_not_independent() {
    let begin = Release::Generation { number: 0, program: program(&[Codec::H264]) };
    let frames = (0..201).map(|index| {
        let (key, leading) = (index % 50 == 0, index > 50 && (1..3).contains(&(index % 50)));
        // In decoding order I B B P, of which both B are shown before the I.
        let shown_after = if key && index > 0 {
            3 * FRAME
        } else if leading {
            0
        } else {
            FRAME
        };
        Release::Unit(video(0, START + index * FRAME, shown_after, key.then_some(Picture::Small), 2000))
    });
    let mut buffer = filled(settings(), std::iter::once(begin).chain(frames).collect());
    assert_eq!(independent(&mut buffer)[..4], [true, false, false, false]);
}

#[test]
fn a_viewer_gets_every_frame_once() {
    let releases = stream(260, 50);
    let mut buffer = filled(settings(), releases.clone());
    buffer.end("over");
    assert_eq!(seen(&demux(&all(&buffer))), seen(&by_track(footage::units(&releases))));
}

#[test]
fn segments_are_the_pieces_of_the_stream_and_each_can_be_played_alone() {
    let mut buffer = filled(settings(), stream(260, 50));
    buffer.end("over");
    let shown = window(&mut buffer);
    assert_eq!(shown.segments.len(), 6);
    let pieces: Vec<Bytes> = (shown.segments.iter())
        .flat_map(|line| buffer.segment(Format::MpegTs, line.sequence).expect("it is there").pieces)
        .collect();
    assert_eq!(pieces, all(&buffer));
    for line in &shown.segments {
        let body = buffer.segment(Format::MpegTs, line.sequence).expect("it is there");
        assert_eq!(body.pieces[0][..3], [0x47, 0x40, 0], "tables come first");
        let first =
            demux(&body.pieces).into_iter().find(|unit| unit.track == TrackId(0)).expect("it has video");
        assert!(first.key);
        assert_eq!(first.pts.wire(), line.start.wire());
    }
}

#[test]
fn a_playlist_tells_times_and_numbers_of_the_timeline() {
    let mut buffer = filled(settings(), stream(160, 50));
    let shown = window(&mut buffer);
    let lines: Vec<_> = (shown.segments.iter())
        .map(|line| (line.sequence, line.duration, line.program_date_time - 1_700_000_000_000))
        .collect();
    let whole = Some(GRID);
    assert_eq!(lines, [(101, whole, 0), (102, whole, 2000), (103, whole, 4000), (104, None, 6000)]);
    assert_eq!((shown.target_duration, shown.discontinuity_sequence, shown.ended), (2, 7, false));
}

#[test]
fn a_variant_that_begins_later_gives_the_same_time_the_same_number() {
    let settings = settings();
    let mut early = filled(settings.clone(), stream(260, 50));
    let mut releases = stream(260, 50);
    releases.retain(|release| match release {
        Release::Generation { .. } => true,
        Release::Unit(unit) => unit.dts >= Ticks(START + 120 * FRAME),
    });
    let mut late = filled(settings, releases);
    let numbers = |window: Window| -> Vec<_> {
        window.segments.into_iter().map(|line| (line.start, line.sequence)).collect()
    };
    let early = numbers(window(&mut early));
    let late = numbers(window(&mut late));
    assert_eq!(late[..], early[early.len() - late.len()..]);
}

#[test]
fn a_variant_that_begins_in_a_later_generation_counts_the_breaks_before_it() {
    let settings = settings();
    let mut releases = stream(120, 50);
    releases[0] = Release::Generation { number: 4, program: both() };
    let mut buffer = filled(settings, releases);
    let shown = window(&mut buffer);
    assert_eq!((shown.discontinuity_sequence, shown.segments[0].discontinuity), (11, false));
}

#[test]
fn a_new_generation_begins_a_segment_with_a_discontinuity_and_its_audio_waits_for_its_picture() {
    let settings = settings();
    let clock = settings.clock.clone();
    let mut buffer = filled(settings, stream(80, 50));
    let begin = START + 80 * FRAME;
    clock.begin(Ticks(begin), Some(Ticks(begin - FRAME)), 1_800_000_000_000);
    let waiting: Vec<Unit> = (0..5).map(|index| audio(1, begin + index * AUDIO_FRAME, 200)).collect();
    let mut releases = vec![Release::Generation { number: 1, program: both() }];
    releases.extend(waiting.iter().cloned().map(Release::Unit));
    releases.push(Release::Unit(video(0, begin, 0, Some(Picture::Large), 900)));
    fill(&mut buffer, releases);
    buffer.end("over");
    let shown = window(&mut buffer);
    let lines: Vec<_> = (shown.segments.iter())
        .map(|line| (line.sequence, line.duration.map(|length| length.0 / FRAME), line.discontinuity))
        .collect();
    assert_eq!(lines, [(101, Some(50), false), (102, Some(30), false), (103, Some(1), true)]);
    assert_eq!(shown.segments[2].program_date_time, 1_800_000_000_000);
    let units = demux(&buffer.segment(Format::MpegTs, 103).expect("it is there").pieces);
    assert_eq!(units.len(), 6);
    assert!(units[0].key && units[0].track == TrackId(0));
}

#[test]
fn another_size_in_the_picture_is_a_discontinuity_where_it_begins() {
    let mut buffer = filled(settings(), stream(60, 50));
    let at = START + 60 * FRAME;
    let mut releases: Vec<Release> = (0..60)
        .map(|index| {
            let key = (index % 40 == 0).then_some(Picture::Large);
            Release::Unit(video(0, at + index * FRAME, 0, key, 900))
        })
        .collect();
    releases.push(Release::Unit(video(0, at + 90 * FRAME, 0, Some(Picture::Large), 900)));
    fill(&mut buffer, releases);
    let lines: Vec<_> = (window(&mut buffer).segments.iter())
        .map(|line| ((line.start.0 - START) / FRAME, line.discontinuity, line.init))
        .collect();
    assert_eq!(lines, [(0, false, 0), (50, false, 0), (60, true, 1), (100, false, 1), (150, false, 1)]);
}

#[test]
fn a_source_with_key_frames_of_its_own_gets_a_target_duration_that_they_fit_into() {
    let mut buffer = filled(settings(), stream(800, 110));
    let shown = window(&mut buffer);
    assert_eq!(shown.target_duration, 6);
    let lengths: Vec<_> =
        shown.segments.iter().map(|line| line.duration.map_or(0, |length| length.0 / FRAME)).collect();
    assert_eq!(lengths, [110, 110, 110, 110, 110, 110, 110, 0]);
}

#[test]
fn audio_alone_and_video_alone_are_variants() {
    let mut units: Vec<Release> = vec![Release::Generation { number: 0, program: program(&[Codec::Aac]) }];
    units.extend((0..300).map(|index| Release::Unit(audio(0, START + index * AUDIO_FRAME, 200))));
    let mut buffer = filled(settings(), units.clone());
    assert!(buffer.join().is_some());
    let starts: Vec<_> = window(&mut buffer).segments.iter().map(|line| line.start.0).collect();
    assert_eq!(
        starts,
        [START, START + 94 * AUDIO_FRAME, START + 188 * AUDIO_FRAME, START + 282 * AUDIO_FRAME]
    );
    buffer.end("over");
    assert_eq!(seen(&demux(&all(&buffer))), seen(&footage::units(&units)));

    let mut units = vec![Release::Generation { number: 0, program: program(&[Codec::H264]) }];
    units.extend((0..120).map(|index| {
        let key = (index % 50 == 0).then_some(Picture::Small);
        Release::Unit(video(0, START + index * FRAME, 0, key, 200))
    }));
    let mut buffer = filled(settings(), units.clone());
    buffer.end("over");
    assert_eq!(seen(&demux(&all(&buffer))), seen(&footage::units(&units)));
}

#[test]
fn old_segments_go_but_three_target_durations_stay() {
    let tight = Settings { max_bytes: 400_000, ..settings() };
    let mut buffer = filled(tight, stream(1000, 50));
    let shown = window(&mut buffer);
    assert_eq!(shown.segments.len(), 4, "three and the open one");
    assert_eq!(shown.segments[0].sequence, 117);

    let short = Settings { max_length: Duration::from_secs(12), ..settings() };
    let mut buffer = filled(short, stream(1000, 50));
    assert_eq!(buffer.shelf.segments.len(), 7, "twelve seconds and the open one");
    assert_eq!(window(&mut buffer).segments.len(), 4);
}

#[test]
fn what_never_ends_a_segment_is_bounded_too() {
    let tight = Settings { max_bytes: 100_000, ..settings() };
    let mut buffer = Buffer::new(tight);
    let begin = Release::Generation { number: 0, program: both() };
    fill(&mut buffer, vec![begin, Release::Unit(video(0, START, 0, Some(Picture::Small), 100))]);
    for index in 0..5000 {
        // Time stands still.
        fill(&mut buffer, vec![Release::Unit(video(0, START + index % 3, 0, None, 3000))]);
        assert!(buffer.shelf.bytes() < 1_000_000);
    }
    let mut buffer = Buffer::new(settings());
    for number in 0..5000 {
        fill(
            &mut buffer,
            vec![
                Release::Generation { number, program: both() },
                Release::Unit(video(0, START, 0, Some(Picture::Small), 1)),
            ],
        );
    }
    assert!(buffer.shelf.segments.len() <= 1001);
}

#[test]
fn audio_goes_out_with_the_next_picture() {
    let mut buffer = filled(settings(), stream(10, 50));
    let now = Instant::now();
    let at = START + 10 * FRAME;
    let quiet = buffer.release(vec![Release::Unit(audio(1, at, 300))], now);
    assert!(!quiet.pieces);
    let awake = buffer.release(vec![Release::Unit(video(0, at, 0, None, 300))], now);
    assert!(awake.pieces);
    let woken = (0..16)
        .filter(|index| {
            buffer.release(vec![Release::Unit(audio(1, at + index * AUDIO_FRAME, 300))], now).pieces
        })
        .count();
    assert_eq!(woken, 2, "it does not wait for ever");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_stream_is_cut_into_segments_that_are_the_stream(
        steps in proptest::collection::vec(step(), 1..30),
        batch in 1..40_usize,
    ) {
        let settings = settings();
        let (releases, sent) = play(&steps, &settings.clock);
        let mut buffer = Buffer::new(Settings { max_length: Duration::from_secs(100_000), max_bytes: 1 << 30, ..settings });
        let now = Instant::now();
        for batch in releases.chunks(batch) {
            buffer.release(batch.to_vec(), now);
        }
        buffer.end("over");
        let shown = window(&mut buffer);
        let target = Ticks(i64::from(shown.target_duration) * 90_000 + 45_000);

        // Every piece belongs to one segment, in order.
        let mut next = 0;
        let mut kept = Vec::new();
        for (index, segment) in buffer.shelf.segments.iter().enumerate() {
            prop_assert_eq!(segment.pieces.start, next);
            next = segment.pieces.end;
            let pieces = buffer.shelf.of(segment);
            prop_assert_eq!(&pieces[0][..3], &[0x47, 0x40, 0][..]);
            prop_assert_eq!(segment.sequence, buffer.shelf.segments[0].sequence + index as u64);
            prop_assert!(segment.duration.expect("it is finished") < target);
            kept.extend(pieces);
        }
        prop_assert_eq!(next, buffer.shelf.end());
        prop_assert_eq!(&kept, &all(&buffer));
        let marked = buffer.shelf.segments.iter().filter(|segment| segment.discontinuity).count() as u64;
        let before = buffer.shelf.segments.front().map_or(buffer.discontinuities, |first| first.discontinuities);
        prop_assert_eq!(marked, buffer.discontinuities - before);

        // What comes out of it is what went in, without what nobody can decode.
        let got: std::collections::BTreeMap<_, Vec<_>> = seen(&demux(&kept)).into_iter().fold(
            std::collections::BTreeMap::new(),
            |mut map, unit| { map.entry(unit.0).or_insert_with(Vec::new).push(unit); map },
        );
        let went: std::collections::BTreeMap<_, Vec<_>> = seen(&sent).into_iter().fold(
            std::collections::BTreeMap::new(),
            |mut map, unit| { map.entry(unit.0).or_insert_with(Vec::new).push(unit); map },
        );
        for (track, units) in &got {
            let all = &went[track];
            let mut rest = all.iter();
            for unit in units {
                prop_assert!(rest.any(|other| other == unit), "a unit came twice or from nowhere");
            }
        }
        prop_assert_eq!(
            got.values().map(Vec::len).sum::<usize>(),
            sent.len() - left_out(&releases)
        );
    }

    #[test]
    fn playlists_of_a_running_stream_never_go_back(
        steps in proptest::collection::vec(step(), 5..60),
        seconds in 4..20_u64,
        batch in 1..200_usize,
    ) {
        let settings = settings();
        let (releases, _) = play(&steps, &settings.clock);
        let mut buffer = Buffer::new(Settings { max_length: Duration::from_secs(seconds), ..settings });
        let now = Instant::now();
        let mut before: Option<Window> = None;
        for batch in releases.chunks(batch) {
            buffer.release(batch.to_vec(), now);
            let shown = window(&mut buffer);
            let finished: Vec<_> = shown.segments.iter().filter_map(|line| line.duration).collect();
            let length = finished.iter().fold(Ticks::ZERO, |sum, length| sum + *length);
            if buffer.shelf.has_evicted() {
                prop_assert!(length >= Ticks(3 * i64::from(shown.target_duration) * 90_000));
            }
            if let Some(before) = before.filter(|before| before.segments.iter().any(|line| line.duration.is_some())) {
                prop_assert_eq!(before.target_duration, shown.target_duration);
                prop_assert!(before.segments[0].sequence <= shown.segments[0].sequence);
                let flags = before.segments.iter()
                    .take_while(|line| line.sequence < shown.segments[0].sequence)
                    .filter(|line| line.discontinuity)
                    .count() as u64;
                let skipped = shown.segments[0].sequence > before.segments.last().expect("not empty").sequence;
                prop_assert!(skipped || before.discontinuity_sequence + flags == shown.discontinuity_sequence);
                for line in &before.segments {
                    let same = shown.segments.iter().find(|other| other.sequence == line.sequence);
                    if let (Some(same), Some(_)) = (same, line.duration) {
                        prop_assert_eq!(same, line);
                    }
                }
            }
            before = Some(shown);
        }
    }
}

/// Units that nobody can decode: video before the first key frame of its generation, and audio of a generation that ended
/// before that came.
fn left_out(releases: &[Release]) -> usize {
    let mut out = 0;
    let mut waiting: Vec<Unit> = Vec::new();
    let (mut lead, mut begun) = (TrackId(0), false);
    for release in releases {
        match release {
            Release::Generation { program, .. } => {
                out += waiting.len();
                waiting.clear();
                lead =
                    program.first(Kind::Video).or_else(|| program.first(Kind::Audio)).expect("it has tracks");
                begun = false;
            }
            Release::Unit(_) if begun => {}
            Release::Unit(unit) if unit.track == lead && unit.key => {
                begun = true;
                waiting.clear();
            }
            Release::Unit(unit) if unit.track == lead => out += 1,
            Release::Unit(unit) => {
                waiting.push(unit.clone());
                // Five seconds are waited for.
                if waiting.len() > 1 && waiting[waiting.len() - 2].dts - waiting[0].dts > Ticks(5 * 90_000) {
                    waiting.clear();
                    begun = true;
                }
            }
        }
    }
    out + waiting.len()
}
