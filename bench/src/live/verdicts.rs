//! What the targets for live streams say.

use super::{Measured, course, failover::Failovers};
use crate::report::Verdict;

/// Milliseconds after plain ffmpeg's first picture: at most.
const LATER: f64 = 100.0;
/// Milliseconds to the first byte of what runs: below.
const JOIN: f64 = 20.0;
/// Milliseconds without a byte, when a worker is killed and when its ffmpeg hangs: below.
const KILLED: f64 = 1_000.0;
const HUNG: f64 = 3_000.0;
/// Of one TCP connection, and of Python's gRPC: at least.
const OF_TCP: f64 = 0.25;
const OF_GRPCIO: f64 = 2.0;
/// Milliseconds of a heartbeat while bytes go through as fast as they can, p99: below.
const HEARTBEAT: f64 = 50.0;
/// Cores for 1,000 viewers at 4 Mbit/s: at most.
const CORES: f64 = 1.0;
/// Growth of the coordinator by a thousand viewers, in bytes: at most. Sockets are the kernel's.
const CROWD: f64 = 64.0 * 1024.0 * 1024.0;

pub(crate) fn verdicts(live: &Measured) -> Vec<Verdict> {
    let cold = &live.cold;
    let mut verdicts = vec![
        Verdict {
            what: format!("first picture of a cold variant ({}), median", live.profile),
            farm: format!("{:.0} ms", cold.farm.p50),
            other: format!(
                "ffmpeg alone {:.0} ms, its sound {:.0} ms",
                cold.ffmpeg.p50, cold.ffmpeg_without_picture.p50
            ),
            target: format!("{:.0} ms later, at most {LATER}", cold.later.p50),
            met: cold.later.p50 <= LATER,
        },
        Verdict {
            what: "first byte of a variant that runs, p99".to_owned(),
            farm: format!("{:.1} ms", cold.joined.p99),
            other: String::new(),
            target: format!("below {JOIN} ms"),
            met: cold.joined.p99 < JOIN,
        },
        failover("kill -9 of the worker", &live.killed, KILLED),
        failover("ffmpeg hangs", &live.hung, HUNG),
    ];
    let pipe = &live.pipe;
    verdicts.push(Verdict {
        what: "worker to coordinator to viewer, beside TCP".to_owned(),
        farm: format!("{:.0} MiB/s", pipe.over_tcp.median_ours),
        other: format!(
            "TCP {:.0} MiB/s, two hops of it {:.0} MiB/s{}",
            pipe.over_tcp.median_theirs,
            pipe.over_relay.median_theirs,
            pipe.iperf3.map(|rate| format!(", iperf3 {rate:.0} MiB/s")).unwrap_or_default()
        ),
        target: format!("ratio {:.2}, at least {OF_TCP}", pipe.over_tcp.median_ratio),
        met: pipe.over_tcp.median_ratio >= OF_TCP,
    });
    verdicts.extend(pipe.over_grpcio.as_ref().map(|paired| Verdict {
        what: "the same beside one hop of Python's gRPC".to_owned(),
        farm: format!("{:.0} MiB/s", paired.median_ours),
        other: format!("{:.0} MiB/s", paired.median_theirs),
        target: format!("ratio {:.2}, at least {OF_GRPCIO}", paired.median_ratio),
        met: paired.median_ratio >= OF_GRPCIO,
    }));
    verdicts.extend(pipe.heartbeat_busy.map(|busy| Verdict {
        what: "heartbeat while data connections are saturated, p99".to_owned(),
        farm: format!("{:.1} ms", busy.p99),
        other: format!("idle {:.1} ms", pipe.heartbeat_idle.p99),
        target: format!("below {HEARTBEAT} ms"),
        met: busy.p99 < HEARTBEAT,
    }));
    let crowd = &live.crowd;
    verdicts.push(Verdict {
        what: format!("CPU for 1,000 viewers at 4 Mbit/s, from {}", crowd.viewers),
        farm: format!("{:.2} cores", crowd.cores_for_a_thousand_at_4_megabits),
        other: format!("{:.2} Mbit/s each, {} dropped", crowd.megabits_per_second, crowd.dropped),
        target: format!("at most {CORES}"),
        met: crowd.cores_for_a_thousand_at_4_megabits <= CORES && crowd.dropped == 0,
    });
    let grown = crowd.resident_with_all as f64 - crowd.resident_with_one as f64;
    verdicts.push(Verdict {
        what: format!("memory for {} viewers more", crowd.viewers),
        farm: format!("{:.1} MiB", grown / 1024.0 / 1024.0),
        other: format!("{:.1} MiB with one", crowd.resident_with_one as f64 / 1024.0 / 1024.0),
        target: format!("at most {:.0} MiB", CROWD / 1024.0 / 1024.0),
        met: grown <= CROWD,
    });
    verdicts.extend(crowd.drift.map(course::verdict));
    verdicts
}

fn failover(what: &str, found: &Failovers, limit: f64) -> Verdict {
    Verdict {
        what: format!("{what}: stall at a viewer, median of {}", found.stall.samples),
        farm: format!("{:.0} ms", found.stall.p50),
        other: format!("{} lost, {} doubled of {} frames", found.lost, found.doubled, found.frames),
        target: format!("below {limit} ms, none"),
        met: found.stall.p50 < limit && found.lost == 0 && found.doubled == 0 && found.faults.is_empty(),
    }
}
