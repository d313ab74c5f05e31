//! Workers whose bytes are not what they should be.

use std::time::Duration;

use common::{
    id::WorkerId,
    stream::{SourceSpec, StreamOptions, StreamSpec},
    worker::Labels,
};
use e2e::{
    Farm, WorkerSpec,
    liar::{self, Liar},
    live::{
        Broadcast, Recording,
        farm::stream,
        ts::{self, PACKET},
    },
    wait::{self, seconds},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::channel::{CHANNEL, PROFILE, saw_all};

/// What the coordinator may hold in memory after all of it: its buffers are a few dozen MiB each.
const MEMORY: u64 = 600 << 20;
const PIECE: usize = 64 * PACKET;

/// What a worker brings instead of an encode.
#[derive(Debug, Clone, Copy)]
enum Bytes {
    Noise,
    /// Packets with a sync byte and noise after it.
    NoisyPackets,
    /// Packets that say nothing.
    NullPackets,
    /// One frame without an end.
    EndlessFrame,
    /// A real stream whose packets are moved in time at random.
    TornTime,
    /// A real stream with bits that fell over.
    FlippedBits,
    /// A real stream with every second packet missing.
    Holes,
    /// Tables of ever new tracks.
    NewTracks,
}

const ALL: [Bytes; 8] = [
    Bytes::Noise,
    Bytes::NoisyPackets,
    Bytes::NullPackets,
    Bytes::EndlessFrame,
    Bytes::TornTime,
    Bytes::FlippedBits,
    Bytes::Holes,
    Bytes::NewTracks,
];

/// Piece by piece, from a seed.
fn make(kind: Bytes, reel: &[u8], piece: usize, rng: &mut StdRng) -> Vec<u8> {
    let at = piece * PIECE % (reel.len() - PIECE) / PACKET * PACKET;
    let mut bytes = match kind {
        Bytes::TornTime | Bytes::FlippedBits | Bytes::Holes | Bytes::NewTracks => {
            reel[at..at + PIECE].to_vec()
        }
        Bytes::Noise | Bytes::NoisyPackets | Bytes::NullPackets | Bytes::EndlessFrame => vec![0; PIECE],
    };
    match kind {
        Bytes::Noise => rng.fill(&mut bytes[..]),
        Bytes::NoisyPackets => {
            rng.fill(&mut bytes[..]);
            bytes.iter_mut().step_by(PACKET).for_each(|byte| *byte = 0x47);
        }
        Bytes::NullPackets => {
            for packet in bytes.chunks_exact_mut(PACKET) {
                packet[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
            }
        }
        Bytes::EndlessFrame if piece == 0 => bytes = reel[..PIECE].to_vec(),
        Bytes::EndlessFrame => {
            for (index, packet) in bytes.chunks_exact_mut(PACKET).enumerate() {
                packet[..4].copy_from_slice(&[0x47, 0x01, 0x00, 0x10 | ((piece * 64 + index) & 15) as u8]);
            }
        }
        Bytes::TornTime => {
            for packet in bytes.chunks_exact_mut(PACKET) {
                ts::shift(packet, rng.random_range(0..1 << 33));
            }
        }
        Bytes::FlippedBits => {
            for _ in 0..64 {
                let at = rng.random_range(0..bytes.len());
                bytes[at] ^= 1 << rng.random_range(0..8);
            }
        }
        Bytes::Holes => {
            bytes = bytes.chunks_exact(2 * PACKET).flat_map(|pair| pair[..PACKET].to_vec()).collect();
        }
        Bytes::NewTracks => {
            for packet in bytes.chunks_exact_mut(PACKET).filter(|packet| ts::Head::of(packet).pid == 4096) {
                // A version and a stream type of its own; the checksum no longer fits either.
                packet[10] ^= rng.random_range(0..32) << 1;
                packet[17] = rng.random();
            }
        }
    }
    bytes
}

/// Puts 16 MiB of it, or as much as is taken.
async fn put(url: &str, kind: Bytes) -> Result<u16, String> {
    let reel = Recording::default().load();
    let rng = StdRng::seed_from_u64(7);
    let pieces = futures::stream::unfold((0, rng, reel), move |(piece, mut rng, reel)| async move {
        let bytes = (piece * PIECE < 16 << 20).then(|| make(kind, &reel.bytes, piece, &mut rng))?;
        Some((Ok::<_, std::io::Error>(bytes), (piece + 1, rng, reel)))
    });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.put(url).body(reqwest::Body::wrap_stream(pieces)).timeout(seconds(20));
    request.send().await.map(|answer| answer.status().as_u16()).map_err(|error| format!("{error:?}"))
}

fn labelled(name: &str, source: SourceSpec, label: &str) -> StreamSpec {
    let labels = Labels::from([("kind".to_owned(), label.to_owned())]);
    let options = StreamOptions { labels, linger_ms: 500, hold_ms: 1_000, ..StreamOptions::default() };
    StreamSpec { options, ..stream(name, source) }
}

#[tokio::test]
async fn bytes_of_a_hostile_worker_harm_nobody_but_its_own_variant() {
    let recording = Recording::default();
    let broadcast = Broadcast::of(&recording);
    let mut farm = Farm::builder().worker(WorkerSpec::new("honest").labels("kind=honest")).start().await;
    let source = || SourceSpec::Pull(broadcast.url());
    farm.api.add_stream(&labelled(CHANNEL, source(), "honest")).await.unwrap();
    farm.api.add_stream(&labelled("victim", source(), "hostile")).await.unwrap();
    let viewer = farm.watch(CHANNEL, PROFILE);
    viewer.watches(2.0).await;

    let mut hello = liar::hello("hostile", WorkerId::new(), 16);
    hello.labels.insert("kind".to_owned(), "hostile".to_owned());
    let mut liar = Liar::say_hello(&farm, hello).await.unwrap();
    liar.beat(&[]).await;
    for kind in ALL {
        let victim = farm.watch("victim", PROFILE);
        let assign = liar.assigned().await;
        liar.started(&assign).await;
        let url = format!("http://{}{}", farm.worker_address(), assign.live_output_url);
        let answer = put(&url, kind).await;
        eprintln!("{kind:?}: {answer:?}");
        liar.beat(&[]).await;
        // Whatever became of it, nobody is sent what is no stream.
        drop(victim);
        liar.fails(&assign.task_id, assign.epoch, "crashed").await;
        wait::until(seconds(20), "the variant to end", || async {
            liar.beat(&[]).await;
            farm.variant("victim", PROFILE).await.is_none().then_some(())
        })
        .await;
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", farm.coordinator().pid())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(resident << 10 < MEMORY, "{} MiB", resident >> 10);

    viewer.watches(1.0).await;
    let received = viewer.stop();
    saw_all(&farm.folder("viewer"), &received, &recording);
    assert!(received.longest_stall() < Duration::from_secs(4), "{:?}", received.longest_stall());
    for name in [CHANNEL, "victim"] {
        farm.api.remove_stream(name).await.unwrap();
    }
    drop(liar);
    farm.expect_error("hostile");
    farm.stop().await;
}

#[tokio::test]
async fn a_url_of_an_attempt_opens_for_nobody_else_and_for_nothing_else() {
    let broadcast = Broadcast::of(&Recording::default());
    let farm = Farm::builder().start().await;
    let mut liar = Liar::join(&farm, "liar", 4).await;
    farm.pull(CHANNEL, &broadcast.url()).await;
    let viewer = farm.watch(CHANNEL, PROFILE);
    let assign = liar.assigned().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let address = |path: &str| format!("http://{}{path}", farm.worker_address());
    let (input, output) = (address(&assign.live_input_url), address(&assign.live_output_url));

    // Read what is written, write what is read, forge the signature, turn one into the other.
    for wrong in
        [output.clone(), input.replace("input", "output"), format!("{input}0"), address("/live/input")]
    {
        let status = client.get(&wrong).send().await.unwrap().status();
        assert!(status.is_client_error(), "GET {wrong}: {status}");
    }
    for wrong in [input.clone(), output.replace("output", "input"), format!("{output}0")] {
        let status = client.put(&wrong).body("x").send().await.unwrap().status();
        assert!(status.is_client_error(), "PUT {wrong}: {status}");
    }
    // One reader and no more.
    let reading = client.get(&input).send().await.unwrap();
    assert_eq!(reading.status(), 200);
    assert_eq!(client.get(&input).send().await.unwrap().status(), 409);
    // The API's own port knows nothing of it.
    let elsewhere = farm.api.get(&assign.live_input_url).await.unwrap();
    assert_eq!(elsewhere.status(), 404);
    drop((reading, viewer));
    farm.api.remove_stream(CHANNEL).await.unwrap();
    wait::until(seconds(10), "the attempt to be over", || async {
        (client.get(&input).send().await.unwrap().status() == 410).then_some(())
    })
    .await;
    drop(liar);
    farm.stop().await;
}
