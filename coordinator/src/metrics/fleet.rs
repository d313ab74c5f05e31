//! The fleet and the queue as they are now.

use std::{collections::BTreeMap, fmt};

use common::{
    api::{GpuView, JobState, WorkerState},
    metrics::gauges,
};
use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter},
    registry::Unit,
};

use super::{MOST, NONE, OTHER};
use crate::{
    fleet::{Class, Encoded, Slot},
    queue::{Depth, Figures, Line, WorkerFigures},
};

const STATES: [(WorkerState, &str); 4] = [
    (WorkerState::Online, "online"),
    (WorkerState::Draining, "draining"),
    (WorkerState::Quarantined, "quarantined"),
    (WorkerState::Lost, "lost"),
];

/// How many jobs there are in each state, the last time somebody counted.
pub(super) fn encode_jobs(
    counts: &BTreeMap<JobState, u64>,
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let rows = counts.iter().map(|(state, count)| ([("state", state.as_str())], *count));
    gauges(encoder, ("jobs", "Jobs in the job store", None), rows)
}

pub(super) fn encode_queue(figures: &Figures, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let lines: Vec<([(&str, String); 3], Depth)> =
        cut(&figures.ready).into_iter().map(|(line, depth)| (labels(line), depth)).collect();
    let rows = lines.iter().map(|(labels, depth)| (labels.as_slice(), depth.tasks));
    let help = "Tasks that are ready for a worker, by what they need of it";
    gauges(encoder, ("queue_tasks", help, None), rows)?;
    let rows = lines.iter().map(|(labels, depth)| (labels.as_slice(), depth.oldest.as_secs_f64()));
    let help = "Since when the oldest of them has been queued";
    gauges(encoder, ("queue_oldest", help, Some(Unit::Seconds)), rows)?;
    let one = |encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64| {
        let none: [(&str, &str); 0] = [];
        gauges(encoder, (name, help, None), [(none, value)])
    };
    one(encoder, "queue_delayed_tasks", "Tasks that wait for their next try", figures.delayed as u64)?;
    one(encoder, "queue_jobs", "Jobs that have not begun, or wait for another attempt", figures.jobs_queued)?;
    one(encoder, "running_jobs", "Jobs that have begun and not ended", figures.jobs_running)?;
    one(
        encoder,
        "delivering_jobs",
        "Jobs whose results are on their way to their output",
        figures.delivering as u64,
    )
}

fn labels(line: Line) -> [(&'static str, String); 3] {
    let Line { requirement, owner, priority } = line;
    [("requirement", requirement), ("owner", owner), ("priority", priority.to_string())]
}

/// The longest lines; those beyond [`MOST`] together.
fn cut(lines: &BTreeMap<Line, Depth>) -> Vec<(Line, Depth)> {
    let mut lines: Vec<(Line, Depth)> = lines.iter().map(|(line, depth)| (line.clone(), *depth)).collect();
    lines.sort_by_key(|(_, depth)| std::cmp::Reverse(depth.tasks));
    let rest = lines.split_off(lines.len().min(MOST));
    if !rest.is_empty() {
        let mut all = Depth::default();
        for (_, depth) in rest {
            all.tasks += depth.tasks;
            all.oldest = all.oldest.max(depth.oldest);
        }
        let other = Line { requirement: OTHER.to_owned(), owner: OTHER.to_owned(), priority: 0 };
        lines.push((other, all));
    }
    lines
}

pub(super) fn encode_workers(workers: &[WorkerFigures], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let states = STATES.map(|(state, word)| {
        ([("state", word)], workers.iter().filter(|worker| worker.state == state).count() as u64)
    });
    gauges(
        encoder,
        ("fleet_workers", "Known workers by state; lost ones are forgotten after an hour", None),
        states,
    )?;
    let mut each = |name: &str, help: &str, unit: Option<Unit>, value: &dyn Fn(&WorkerFigures) -> f64| {
        let rows = workers.iter().map(|worker| ([("worker", worker.name.as_str())], value(worker)));
        gauges(encoder, (name, help, unit), rows)
    };
    let up = |worker: &WorkerFigures| f64::from(worker.state != WorkerState::Lost);
    each("fleet_up", "Whether a worker is connected and heard of", None, &up)?;
    let silent = |worker: &WorkerFigures| worker.silent.as_secs_f64();
    each("fleet_silence", "Since a worker was heard last", Some(Unit::Seconds), &silent)?;
    each("fleet_cpu_ratio", "Processors in use, 0 to 1", None, &|worker| worker.load.cpu)?;
    let memory = |worker: &WorkerFigures| worker.load.memory_used_bytes as f64;
    each("fleet_memory_used", "Memory in use", Some(Unit::Bytes), &memory)?;
    let memory = |worker: &WorkerFigures| worker.memory_total_bytes as f64;
    each("fleet_memory", "Memory that there is", Some(Unit::Bytes), &memory)?;
    let scratch = |worker: &WorkerFigures| worker.load.scratch_free_bytes as f64;
    each("fleet_scratch_free", "Room for intermediate files", Some(Unit::Bytes), &scratch)?;
    let scratch = |worker: &WorkerFigures| worker.scratch_total_bytes as f64;
    each("fleet_scratch", "Size of the disk for intermediate files", Some(Unit::Bytes), &scratch)?;

    let slots = |of: fn(&WorkerFigures) -> [u32; 3]| {
        workers.iter().flat_map(move |worker| {
            let kinds = ["jobs", "cpu", "gpu"].into_iter().zip(of(worker));
            kinds.map(|(kind, count)| ([("worker", worker.name.as_str()), ("kind", kind)], count))
        })
    };
    let possible = slots(|worker| {
        let capacity = worker.capacity;
        let most = |kind: u32| kind.min(capacity.max_jobs);
        [capacity.max_jobs, most(capacity.max_cpu_jobs), most(capacity.max_gpu_jobs)]
    });
    gauges(
        encoder,
        ("fleet_slots", "Attempts that a worker takes at once: in all, on its CPU, on its GPUs", None),
        possible,
    )?;
    let used = slots(|worker| [worker.used.jobs, worker.used.cpu_jobs, worker.used.gpu_jobs]);
    gauges(encoder, ("fleet_slots_used", "Attempts that a worker has", None), used)?;
    let classes = workers.iter().flat_map(|worker| {
        let classes = [(Class::Batch, worker.used.batch_jobs), (Class::Live, worker.used.live_jobs)];
        classes.map(|(class, count)| ([("worker", worker.name.as_str()), ("class", class.as_str())], count))
    });
    gauges(encoder, ("fleet_attempts", "Attempts that a worker has, by class of work", None), classes)?;
    let quarantined = workers.iter().flat_map(|worker| {
        worker
            .quarantined
            .iter()
            .map(|slot| ([("worker", worker.name.clone()), ("device", device(*slot))], 1_u32))
    });
    let help = "Devices that get no work because tasks failed there that succeeded elsewhere";
    gauges(encoder, ("fleet_quarantined", help, None), quarantined)?;
    encode_gpus(workers, encoder)?;
    encode_encoding(workers, encoder)
}

type OfGpu = (&'static str, &'static str, Option<Unit>, fn(&GpuView) -> Option<f64>);

fn ratio(percent: Option<u32>) -> Option<f64> {
    percent.map(|percent| f64::from(percent) / 100.0)
}

fn encode_gpus(workers: &[WorkerFigures], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let families: [OfGpu; 8] = [
        ("fleet_gpu_utilization_ratio", "Use of a GPU, 0 to 1", None, |gpu| ratio(gpu.utilisation)),
        ("fleet_gpu_encoder_utilization_ratio", "Use of its encoders", None, |gpu| {
            ratio(gpu.encoder_utilisation)
        }),
        ("fleet_gpu_decoder_utilization_ratio", "Use of its decoders", None, |gpu| {
            ratio(gpu.decoder_utilisation)
        }),
        ("fleet_gpu_memory_used", "Its memory in use", Some(Unit::Bytes), |gpu| {
            gpu.memory_used_bytes.map(|bytes| bytes as f64)
        }),
        ("fleet_gpu_memory", "Its memory", Some(Unit::Bytes), |gpu| Some(gpu.memory_total_bytes as f64)),
        ("fleet_gpu_temperature", "Its temperature", Some(Unit::Celsius), |gpu| {
            gpu.temperature_celsius.map(f64::from)
        }),
        ("fleet_gpu_sessions", "Encode sessions, those of other programs included", None, |gpu| {
            gpu.sessions.map(f64::from)
        }),
        (
            "fleet_gpu_sessions_possible",
            "Encode sessions that it can have, where a limit is known",
            None,
            |gpu| gpu.sessions_possible.map(f64::from),
        ),
    ];
    for (name, help, unit, value) in families {
        let rows = workers.iter().flat_map(|worker| {
            worker.gpus.iter().filter_map(move |gpu| {
                Some(([("worker", worker.name.clone()), ("gpu", gpu.index.to_string())], value(gpu)?))
            })
        });
        gauges(encoder, (name, help, unit), rows)?;
    }
    Ok(())
}

fn encode_encoding(workers: &[WorkerFigures], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let running = || {
        workers.iter().flat_map(|worker| {
            worker.running.iter().map(move |(what, speeds)| (encoded(worker, what), *speeds))
        })
    };
    let rows = running().map(|(labels, (fps, _))| (labels, fps));
    gauges(encoder, ("fleet_encode_fps", "Frames per second of what runs now", None), rows)?;
    let rows = running().map(|(labels, (_, speed))| (labels, speed));
    gauges(encoder, ("fleet_encode_speed_ratio", "Media seconds per second of what runs now", None), rows)?;

    let mut counters = |name: &str, help: &str, rows: Vec<(Vec<(&str, &str)>, u64)>| {
        if rows.is_empty() {
            return Ok(());
        }
        let mut family = encoder.encode_descriptor(name, &format!("{help}."), None, MetricType::Counter)?;
        for (labels, count) in rows {
            ConstCounter::new(count).encode(family.encode_family(&labels.as_slice())?)?;
        }
        Ok(())
    };
    let frames = workers.iter().flat_map(|worker| {
        worker.frames.iter().map(move |(what, frames)| (encoded(worker, what).to_vec(), *frames))
    });
    counters("fleet_frames_encoded", "Frames that were encoded", frames.collect())?;
    let ended = workers.iter().flat_map(|worker| {
        [("completed", worker.completed), ("failed", worker.failed)]
            .map(|(outcome, count)| (vec![("worker", worker.name.as_str()), ("outcome", outcome)], count))
    });
    let help = "Attempts that ended on a worker; failures that were not the worker's are not among them";
    counters("fleet_attempts_finished", help, ended.collect())
}

fn encoded<'a>(worker: &'a WorkerFigures, what: &'a Encoded) -> [(&'static str, &'a str); 4] {
    [
        ("worker", worker.name.as_str()),
        ("class", what.class.as_str()),
        ("preset", what.preset.as_str()),
        ("encoder", what.encoder.as_deref().unwrap_or(NONE)),
    ]
}

fn device(slot: Slot) -> String {
    match slot {
        Slot::Cpu => "cpu".to_owned(),
        Slot::Gpu(index) => format!("gpu{index}"),
    }
}
