use bytes::{Bytes, BytesMut};
use common::id::{Epoch, TaskId};
use mux::{Codec, Event, Kind, Program, TrackId, Unit, ts};
use uuid::Uuid;

use super::{
    super::output::{
        Output,
        footage::{AUDIO_FRAME, FRAME, GRID, Picture, START, audio, both, program, settings, video},
    },
    *,
};

const BASE: Ticks = Ticks(2 * GRID.0);

fn attempt(number: u64) -> AttemptId {
    AttemptId { task: TaskId(Uuid::nil()), epoch: Epoch(number) }
}

fn pipeline(delivery: Delivery) -> Pipeline {
    Pipeline::new(Output::new(settings()), GRID, delivery)
}

/// Seconds of a stream with a key frame at each multiple of the grid and at `key`.
fn stream(seconds: i64, key: Option<Ticks>) -> Vec<Unit> {
    let frames = seconds * 90_000 / FRAME;
    let mut units: Vec<Unit> = (0..frames)
        .map(|index| {
            let at = START + index * FRAME;
            let is_key = at % GRID.0 < FRAME || key.is_some_and(|key| key.0 == at);
            video(0, at, 0, is_key.then_some(Picture::Small), 3000)
        })
        .collect();
    units.extend((0..frames * FRAME / AUDIO_FRAME).map(|index| audio(1, START + index * AUDIO_FRAME, 300)));
    units.sort_by_key(|unit| unit.dts);
    units
}

/// As an attempt writes it: on its own timeline.
fn bytes(program: &Program, units: &[Unit]) -> Bytes {
    let mut muxer = ts::Muxer::new(program);
    let mut out = BytesMut::new();
    muxer.tables(&mut out);
    for unit in units {
        let unit = Unit { pts: unit.pts - BASE, dts: unit.dts - BASE, ..unit.clone() };
        muxer.unit(&unit, false, &mut out);
    }
    out.freeze()
}

fn open(pipeline: &Pipeline, number: u64, role: Role) {
    pipeline.open(attempt(number), role, Container::MpegTs, BASE, Instant::now());
}

fn write(pipeline: &Pipeline, number: u64, bytes: &[u8]) {
    for piece in bytes.chunks(1000) {
        pipeline.write(attempt(number), piece, Instant::now()).unwrap();
    }
}

/// What a viewer has got who was there from the beginning.
async fn seen(pipeline: &Pipeline) -> Vec<Unit> {
    pipeline.output().end("the test is over");
    let mut reader = pipeline.output().ts().await.unwrap();
    let mut demuxer = ts::Demuxer::new(true);
    let mut events = Vec::new();
    while let Ok(pieces) = reader.next().await {
        for piece in pieces {
            demuxer.push(&piece, &mut events);
        }
    }
    demuxer.finish(&mut events);
    assert_eq!(demuxer.statistics().gaps, 0, "the counters went on");
    let unit = |event| match event {
        Event::Unit(unit) => Some(unit),
        Event::Program(_) => None,
    };
    events.into_iter().filter_map(unit).collect()
}

fn times(units: &[Unit], track: TrackId) -> Vec<i64> {
    units.iter().filter(|unit| unit.track == track).map(|unit| unit.pts.0).collect()
}

const VIDEO: TrackId = TrackId(0);
const AUDIO: TrackId = TrackId(1);

#[tokio::test]
async fn a_viewer_sees_nothing_of_two_workers_that_die() {
    let pipeline = pipeline(Delivery::Frames);
    let whole = bytes(&both(), &stream(6, None));
    open(&pipeline, 1, Role::Generation(1));
    write(&pipeline, 1, &whole[..whole.len() / 3]);
    assert!(pipeline.progress(attempt(1)).unwrap().active);
    for number in [2, 3] {
        pipeline.close(attempt(number - 1), FeedEnd::Lost);
        assert_eq!(pipeline.active(), None);
        let cut = pipeline.cut();
        open(&pipeline, number, Role::Replacement);
        let replay = bytes(&both(), &stream(6, cut.expected));
        let end = if number == 2 { replay.len() / 2 } else { replay.len() };
        write(&pipeline, number, &replay[..end]);
    }
    pipeline.close(attempt(3), FeedEnd::Finished);
    let figures = pipeline.figures();
    assert_eq!(figures.seams, Seams { count: 2, missing_video: 0, missing_audio: 0 });
    assert_eq!(figures.delivered, Some(Ticks(START + 149 * FRAME)));
    let seen = seen(&pipeline).await;
    // A viewer joins at the newest key frame.
    let from = START + 2 * GRID.0;
    let wanted = stream(6, None);
    let after = |track| -> Vec<i64> { times(&wanted, track).into_iter().filter(|at| *at >= from).collect() };
    assert_eq!(times(&seen, VIDEO), after(VIDEO));
    assert!(times(&seen, AUDIO).ends_with(&after(AUDIO)));
}

#[test]
fn progress_tells_what_a_feed_gave_and_when() {
    let pipeline = pipeline(Delivery::Frames);
    let opened = Instant::now();
    pipeline.open(attempt(1), Role::Generation(1), Container::MpegTs, BASE, opened);
    let before = pipeline.progress(attempt(1)).unwrap();
    assert_eq!(before, FeedProgress { newest: None, at: opened, bytes: 0, active: true });
    let later = opened + std::time::Duration::from_secs(3);
    let bytes = bytes(&both(), &stream(1, None));
    pipeline.write(attempt(1), &bytes, later).unwrap();
    let after = pipeline.progress(attempt(1)).unwrap();
    assert_eq!((after.at, after.bytes), (later, bytes.len() as u64));
    assert!(after.newest > Some(Ticks(START)));
    // Packets without a frame are no sign of life.
    let null: Vec<u8> = [0x47, 0x1f, 0xff, 0x10].into_iter().chain([0xff; 184]).collect();
    pipeline.write(attempt(1), &null, later + std::time::Duration::from_secs(1)).unwrap();
    assert_eq!(pipeline.progress(attempt(1)).unwrap().at, later);
}

#[test]
fn who_is_not_open_is_told_so() {
    let pipeline = pipeline(Delivery::Frames);
    assert_eq!(pipeline.write(attempt(1), b"", Instant::now()), Err(Error::NotOpen));
    open(&pipeline, 1, Role::Generation(1));
    pipeline.close(attempt(1), FeedEnd::Lost);
    assert_eq!(pipeline.write(attempt(1), b"", Instant::now()), Err(Error::NotOpen));
    assert_eq!(pipeline.progress(attempt(1)), None);
}

#[test]
fn a_replacement_with_other_tracks_is_not_taken() {
    let pipeline = pipeline(Delivery::Frames);
    open(&pipeline, 1, Role::Generation(1));
    write(&pipeline, 1, &bytes(&both(), &stream(1, None)));
    pipeline.close(attempt(1), FeedEnd::Lost);
    open(&pipeline, 2, Role::Replacement);
    let silent: Vec<Unit> = stream(2, None).into_iter().filter(|unit| unit.track == VIDEO).collect();
    let bytes = bytes(&program(&[Codec::H264]), &silent);
    let refused = pipeline.write(attempt(2), &bytes, Instant::now());
    assert!(matches!(&refused, Err(Error::Unusable(_))), "{refused:?}");
    assert_eq!(pipeline.active(), None, "another can be begun");
    assert_eq!(pipeline.write(attempt(2), &bytes, Instant::now()), refused, "and it stays so");
}

#[tokio::test]
async fn more_tracks_than_were_asked_for_are_left_out() {
    let pipeline = pipeline(Delivery::Frames);
    let more = program(&[Codec::Aac, Codec::H264, Codec::H264, Codec::Aac]);
    let mut units = Vec::new();
    for unit in stream(2, None) {
        let tracks = if unit.track == VIDEO { [1, 2] } else { [0, 3] };
        units.extend(tracks.map(|track| Unit { track: TrackId(track), ..unit.clone() }));
    }
    open(&pipeline, 1, Role::Generation(1));
    write(&pipeline, 1, &bytes(&more, &units));
    pipeline.close(attempt(1), FeedEnd::Finished);
    let seen = seen(&pipeline).await;
    assert_eq!(times(&seen, TrackId(1)), times(&stream(2, None), VIDEO));
    assert_eq!(times(&seen, TrackId(0)).len(), times(&stream(2, None), AUDIO).len());
    assert!(seen.iter().all(|unit| unit.track.0 < 2));
}

#[tokio::test]
async fn a_copy_keeps_all_tracks() {
    let pipeline = pipeline(Delivery::Frames);
    let all = program(&[Codec::H264, Codec::Aac, Codec::Aac]);
    pipeline.open(attempt(1), Role::Generation(1), Container::MpegTs, Ticks::ZERO, Instant::now());
    pipeline.copy(attempt(1), Event::Program(all.clone()), Instant::now()).unwrap();
    for unit in stream(2, None) {
        let second = (unit.track == AUDIO).then(|| Unit { track: TrackId(2), ..unit.clone() });
        for unit in [Some(unit), second].into_iter().flatten() {
            pipeline.copy(attempt(1), Event::Unit(unit), Instant::now()).unwrap();
        }
    }
    pipeline.close(attempt(1), FeedEnd::Finished);
    let seen = seen(&pipeline).await;
    assert_eq!(times(&seen, TrackId(2)), times(&stream(2, None), AUDIO));
    assert_eq!(all.tracks[2].codec.kind(), Kind::Audio);
}

#[test]
fn frames_far_ahead_of_the_source_are_not_believed() {
    let pipeline = pipeline(Delivery::Frames);
    pipeline.source_at(Ticks(START));
    open(&pipeline, 1, Role::Generation(1));
    let ahead = stream(70, None);
    let refused = pipeline.write(attempt(1), &bytes(&both(), &ahead), Instant::now());
    assert!(matches!(refused, Err(Error::Unusable(_))));
}

/// Not a test: `cargo test --release -p coordinator -- --ignored --nocapture speed_of_the_pipeline`.
#[test]
#[ignore = "a measurement"]
fn speed_of_the_pipeline() {
    for size in [3_000, 20_000, 100_000] {
        let units: Vec<Unit> = (0..2000)
            .map(|index| {
                let at = START + index * FRAME;
                video(0, at, 0, (at % GRID.0 < FRAME).then_some(Picture::Small), size)
            })
            .collect();
        let bytes = bytes(&program(&[Codec::H264]), &units);
        let pipeline = pipeline(Delivery::Frames);
        open(&pipeline, 1, Role::Generation(1));
        let (began, used) = (Instant::now(), on_cpu());
        for piece in bytes.chunks(64 << 10) {
            pipeline.write(attempt(1), piece, Instant::now()).unwrap();
        }
        let mebibytes = bytes.len() as f64 / f64::from(1 << 20);
        let rate = mebibytes / began.elapsed().as_secs_f64();
        let of_cpu = mebibytes / (on_cpu() - used);
        eprintln!("frames of {size} bytes: {rate:.0} MiB/s, {of_cpu:.0} MiB per second of CPU");
    }
}

/// Seconds for which this thread ran: what a busy machine takes away is left out.
fn on_cpu() -> f64 {
    let known = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    known.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}
