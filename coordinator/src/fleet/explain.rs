//! Why nobody takes a task, in words.

use std::time::Duration;

use common::media::HardwarePolicy;

use super::{
    Class, Fleet, Requirement, Worker,
    select::{Unfit, candidates, must_avoid},
};

/// How many workers are named before the rest is counted.
const NAMED: usize = 3;

/// What a task with this requirement waits for, for people. `None` when somebody can take it now.
#[must_use]
pub fn explain(requirement: &Requirement, fleet: &Fleet, now: Duration) -> Option<String> {
    let mut verdicts = Vec::new();
    let must_avoid = must_avoid(requirement, fleet, now);
    for worker in fleet.iter() {
        if must_avoid && requirement.avoid.contains(&worker.identity.id) {
            verdicts.push((worker, Unfit::FailedHere));
            continue;
        }
        match candidates(requirement, worker, &fleet.policy, now) {
            Ok(_) => return None,
            Err(unfit) => verdicts.push((worker, unfit)),
        }
    }
    let wanted = wanted(requirement);
    let connected = verdicts.iter().filter(|(_, unfit)| *unfit != Unfit::Disconnected).count();
    if connected == 0 {
        return Some(format!("a worker with {wanted}; no worker is connected"));
    }
    let named = |want: &dyn Fn(&Unfit) -> Option<String>| {
        let fitting: Vec<String> =
            verdicts.iter().filter_map(|(worker, unfit)| want(unfit).map(|why| tell(worker, &why))).collect();
        (!fitting.is_empty()).then(|| list(&fitting))
    };
    // The nearest to a fit says most: full, then put aside, then not allowed, then not able.
    if let Some(full) = named(&|unfit| match unfit {
        Unfit::Full(how) => Some(how.clone()),
        _ => None,
    }) {
        return Some(format!("a free slot on a worker with {wanted}: {full}"));
    }
    if let Some(aside) = named(&|unfit| match unfit {
        Unfit::Stale => Some("silent".to_owned()),
        Unfit::Quarantined(why) => Some(format!("quarantined: {why}")),
        Unfit::Draining => Some("draining".to_owned()),
        Unfit::Held(why) | Unfit::NotTaking(why) | Unfit::Scratch(why) => Some(why.clone()),
        _ => None,
    }) {
        return Some(format!("a worker with {wanted}; put aside: {aside}"));
    }
    let able = plural(connected);
    if let Some(filters) = named(&|unfit| match unfit {
        Unfit::Filter(filter) => Some(format!("no {filter} filter")),
        _ => None,
    }) {
        return Some(format!("a worker whose ffmpeg has the filters that it needs: {filters}"));
    }
    if let Some(unreadable) = named(&|unfit| match unfit {
        Unfit::InputProtocol(protocol) => Some(format!("no {protocol}")),
        _ => None,
    }) {
        return Some(format!("a worker whose ffmpeg can read from the source: {unreadable}"));
    }
    if let (Some(path), true) =
        (&requirement.need.shared_path, verdicts.iter().any(|(_, unfit)| *unfit == Unfit::SharedRoot))
    {
        return Some(format!(
            "a worker with a shared root (TVARR_SHARED_ROOTS) that {path} is below; {able} connected"
        ));
    }
    if verdicts.iter().any(|(_, unfit)| *unfit == Unfit::Labels) {
        let labels: Vec<String> =
            requirement.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        return Some(format!(
            "a worker with {wanted} and the labels {}; {able} connected",
            labels.join(", ")
        ));
    }
    if verdicts.iter().any(|(_, unfit)| *unfit == Unfit::Preset) {
        let kind = if requirement.class == Class::Live { "profile" } else { "preset" };
        return Some(format!("a worker that takes the {kind} {}; {able} connected", requirement.preset));
    }
    if let Some(old) = named(&|unfit| match unfit {
        Unfit::Protocol(version) => Some(format!("speaks protocol {version}: update it")),
        _ => None,
    }) {
        return Some(format!(
            "a worker with {wanted} that speaks protocol {}: {old}",
            requirement.wire_since()
        ));
    }
    Some(format!("a worker with {wanted}; {able} connected, none has it"))
}

fn wanted(requirement: &Requirement) -> String {
    let need = &requirement.need;
    let mut wanted = match &need.video {
        None if need.any_of.is_empty() => "ffmpeg".to_owned(),
        None => need.any_of.iter().map(|names| names.join(" or ")).collect::<Vec<_>>().join(" and "),
        Some(video) => {
            let depth = if video.bit_depth > 8 { format!("{}-bit ", video.bit_depth) } else { String::new() };
            match &video.encoder {
                Some(exact) => format!("the encoder {exact}"),
                None if depth.is_empty() => {
                    format!("{} {} encoder", article(video.codec.as_str()), video.codec)
                }
                None => format!("a {depth}{} encoder", video.codec),
            }
        }
    };
    match requirement.policy {
        HardwarePolicy::Require => wanted.push_str(" in hardware"),
        HardwarePolicy::Never => wanted.push_str(" in software"),
        HardwarePolicy::Prefer => {}
    }
    wanted
}

/// By how the name is said: an aitch-two-six-four encoder.
fn article(codec: &str) -> &'static str {
    if codec.starts_with(['a', 'h']) { "an" } else { "a" }
}

fn tell(worker: &Worker, why: &str) -> String {
    if why.is_empty() { worker.identity.name.clone() } else { format!("{} ({why})", worker.identity.name) }
}

fn list(items: &[String]) -> String {
    let named = items.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn plural(workers: usize) -> String {
    if workers == 1 { "1 worker is".to_owned() } else { format!("{workers} workers are") }
}
