//! What placement promises, case by case and as properties.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use common::{
    id::WorkerId,
    media::{HardwarePolicy, VideoCodec},
    worker::{GpuLoad, Load},
};
use proptest::prelude::*;

use super::{
    Class, Fleet, Placement, Requirement, SessionCap, Shortlist, Slot, Worker, explain, parse_rules, select,
    testing::*,
};

const NOW: Duration = Duration::from_secs(1);

fn place(requirement: &Requirement, fleet: &Fleet) -> Option<Placement> {
    select(requirement, fleet, NOW)
}

fn prefer() -> Requirement {
    h264(HardwarePolicy::Prefer)
}

fn quarantine(worker: &mut Worker) {
    for slot in [Slot::Cpu, Slot::Gpu(0), Slot::Gpu(1), Slot::Gpu(2)] {
        worker.standing.health.blame(slot, "fails".to_owned(), Duration::ZERO);
        worker.standing.health.blame(slot, "fails".to_owned(), Duration::ZERO);
    }
}

/// Places one task after the other and returns who got each.
fn place_all(fleet: &mut Fleet, requirement: &Requirement, tasks: u128) -> Vec<Option<Placement>> {
    (0..tasks)
        .map(|number| {
            let placement = place(requirement, fleet)?;
            hold(fleet, attempt(number), &placement, requirement.class);
            Some(placement)
        })
        .collect()
}

#[test]
fn the_only_worker_with_the_encoder_wins_whatever_its_load() {
    let mut busy = cpu_worker(1);
    busy.load.cpu = 1.0;
    busy.standing.recent_failures = 9;
    let mut unable = cpu_worker(2);
    unable.identity.capabilities.encoders.retain(|encoder| encoder.name != "libx264");
    assert_eq!(place(&prefer(), &fleet([busy, unable])).unwrap().worker, worker_id(1));
}

#[test]
fn nobody_has_it_nobody_gets_it_and_the_reason_is_told() {
    let mut requirement = prefer();
    requirement.need.video.as_mut().unwrap().codec = VideoCodec::Av1;
    let fleet = fleet([cpu_worker(1), cpu_worker(2)]);
    assert_eq!(place(&requirement, &fleet), None);
    assert_eq!(
        explain(&requirement, &fleet, NOW).unwrap(),
        "a worker with an av1 encoder; 2 workers are connected, none has it"
    );
    assert_eq!(
        explain(&h264(HardwarePolicy::Require), &fleet, NOW).unwrap(),
        "a worker with an h264 encoder in hardware; 2 workers are connected, none has it"
    );
}

#[test]
fn no_worker_at_all_is_told() {
    assert_eq!(
        explain(&prefer(), &fleet([]), NOW).unwrap(),
        "a worker with an h264 encoder; no worker is connected"
    );
}

#[test]
fn a_full_fleet_is_told_with_its_numbers() {
    let mut fleet = fleet([cpu_worker(1)]);
    place_all(&mut fleet, &prefer(), 2);
    assert_eq!(
        explain(&prefer(), &fleet, NOW).unwrap(),
        "a free slot on a worker with an h264 encoder: worker-1 (2 of 2 jobs)"
    );
}

#[test]
fn of_equal_workers_the_least_loaded_wins() {
    let mut one = cpu_worker(1);
    one.load.cpu = 0.8;
    let mut two = cpu_worker(2);
    two.load.cpu = 0.2;
    let mut fleet = fleet([one, two]);
    assert_eq!(place(&prefer(), &fleet).unwrap().worker, worker_id(2));
    fleet.get_mut(worker_id(2)).unwrap().load.cpu = 0.9;
    assert_eq!(place(&prefer(), &fleet).unwrap().worker, worker_id(1));
}

#[test]
fn equal_workers_share_the_work() {
    let mut fleet = fleet([cpu_worker(1), cpu_worker(2)]);
    let workers: Vec<_> =
        place_all(&mut fleet, &prefer(), 4).into_iter().map(|got| got.unwrap().worker).collect();
    assert_eq!(workers, [1, 2, 1, 2].map(worker_id));
}

#[test]
fn hardware_comes_first_under_prefer_only() {
    let mut gpu = gpu_worker(1, 1, None);
    gpu.load.cpu = 0.9;
    let fleet = fleet([gpu, cpu_worker(2)]);
    let encoder = |policy| place(&h264(policy), &fleet).and_then(|placement| placement.encoder);
    assert_eq!(encoder(HardwarePolicy::Prefer).as_deref(), Some("h264_nvenc"));
    assert_eq!(encoder(HardwarePolicy::Require).as_deref(), Some("h264_nvenc"));
    assert_eq!(encoder(HardwarePolicy::Never).as_deref(), Some("libx264"));
    assert_eq!(place(&h264(HardwarePolicy::Never), &fleet).unwrap().worker, worker_id(2));
}

#[test]
fn require_waits_rather_than_take_software() {
    assert_eq!(place(&h264(HardwarePolicy::Require), &fleet([cpu_worker(1)])), None);
}

#[test]
fn used_up_sessions_pass_on_to_the_next_gpu_worker_and_then_to_the_cpu() {
    let mut fleet = fleet([gpu_worker(1, 1, Some(1)), gpu_worker(2, 1, Some(1)), cpu_worker(3)]);
    let got: Vec<_> = place_all(&mut fleet, &prefer(), 3).into_iter().map(Option::unwrap).collect();
    assert_eq!(got[0].worker, worker_id(1));
    assert_eq!(got[1].worker, worker_id(2));
    assert_eq!(got[2].slot, Slot::Cpu);
}

#[test]
fn sessions_of_other_programs_count() {
    let mut fleet = fleet([gpu_worker(1, 1, Some(2)), cpu_worker(2)]);
    let sessions = GpuLoad { index: 0, sessions: 2, ..GpuLoad::default() };
    fleet.get_mut(worker_id(1)).unwrap().heard(NOW, Load::default(), vec![sessions]);
    assert_eq!(place(&prefer(), &fleet).unwrap().slot, Slot::Cpu);
}

#[test]
fn a_gpu_that_said_it_is_full_is_passed_over_for_a_while() {
    let mut fleet = fleet([gpu_worker(1, 1, None), cpu_worker(2)]);
    let refused = SessionCap::refused(0, 1, NOW);
    fleet.get_mut(worker_id(1)).unwrap().standing.session_caps.insert(0, refused);
    assert_eq!(place(&prefer(), &fleet).unwrap().slot, Slot::Cpu);
    let later = select(&prefer(), &fleet, NOW + Duration::from_secs(10)).unwrap();
    assert_eq!(later.slot, Slot::Gpu(0));
}

#[test]
fn sessions_are_counted_per_rendition() {
    let mut ladder = prefer();
    ladder.need.video.as_mut().unwrap().sessions = 4;
    let mut fleet = fleet([gpu_worker(1, 1, Some(5))]);
    let got = place_all(&mut fleet, &ladder, 2);
    assert_eq!(got[0].as_ref().unwrap().slot, Slot::Gpu(0));
    assert_eq!(got[1].as_ref().unwrap().slot, Slot::Cpu);
}

#[test]
fn the_most_free_sessions_come_before_load() {
    let mut more = gpu_worker(1, 1, Some(8));
    more.load.cpu = 0.9;
    let fewer = gpu_worker(2, 1, Some(3));
    let mut even = gpu_worker(3, 1, Some(8));
    even.load.cpu = 0.5;
    assert_eq!(place(&prefer(), &fleet([more, fewer, even])).unwrap().worker, worker_id(3));
}

#[test]
fn on_one_gpu_every_job_uses_device_0_and_on_two_they_spread() {
    let devices = |gpus| {
        let mut fleet = fleet([gpu_worker(1, gpus, None)]);
        place_all(&mut fleet, &prefer(), 4)
            .into_iter()
            .map(|placement| placement.unwrap().device.unwrap().gpu)
            .collect::<Vec<_>>()
    };
    assert_eq!(devices(1), [0, 0, 0, 0]);
    assert_eq!(devices(2), [0, 1, 0, 1]);
}

#[test]
fn a_device_needs_the_bit_depth() {
    let mut requirement = h264(HardwarePolicy::Require);
    requirement.need.video.as_mut().unwrap().bit_depth = 10;
    assert_eq!(place(&requirement, &fleet([gpu_worker(1, 1, None)])), None);
}

#[test]
fn full_draining_quarantined_stale_lost_or_unlabelled_workers_never_get_work() {
    let unfit: [fn(&mut Worker); 8] = [
        |worker| worker.identity.capacity.max_jobs = 0,
        |worker| worker.identity.capacity.max_cpu_jobs = 0,
        |worker| worker.standing.drained_by_operator = true,
        |worker| worker.shutting_down = true,
        |worker| quarantine(worker),
        |worker| worker.session = None,
        |worker| worker.identity.labels.clear(),
        |worker| worker.identity.presets = vec!["av1".to_owned()],
    ];
    let mut requirement = prefer();
    requirement.labels.insert("site".to_owned(), "berlin".to_owned());
    let mut good = cpu_worker(1);
    good.identity.labels.clone_from(&requirement.labels);
    assert!(place(&requirement, &fleet([good.clone()])).is_some());
    for (case, change) in unfit.iter().enumerate() {
        let mut worker = good.clone();
        change(&mut worker);
        let fleet = fleet([worker]);
        assert_eq!(place(&requirement, &fleet), None, "case {case}");
        assert!(explain(&requirement, &fleet, NOW).is_some(), "case {case}");
    }
    let stale = select(&requirement, &fleet([good]), Duration::from_secs(31));
    assert_eq!(stale, None);
}

#[test]
fn a_quarantined_gpu_leaves_the_cpu_beside_it() {
    let mut worker = gpu_worker(1, 1, None);
    for _ in 0..2 {
        worker.standing.health.blame(Slot::Gpu(0), "2 tasks failed".to_owned(), NOW);
    }
    assert!(!worker.is_quarantined());
    let fleet = fleet([worker]);
    assert_eq!(place(&prefer(), &fleet).unwrap().slot, Slot::Cpu);
    let waits = explain(&h264(HardwarePolicy::Require), &fleet, NOW).unwrap();
    assert!(waits.contains("worker-1 (quarantined: 2 tasks failed)"), "{waits}");
}

#[test]
fn a_worker_without_room_in_its_scratch_gets_nothing_larger() {
    let mut worker = cpu_worker(1);
    worker.load.scratch_available_bytes = Some(5 << 20);
    let fleet = fleet([worker]);
    let mut requirement = prefer();
    requirement.need.scratch_bytes = 5 << 20;
    assert!(place(&requirement, &fleet).is_some());
    requirement.need.scratch_bytes += 1;
    assert_eq!(place(&requirement, &fleet), None);
    let waits = explain(&requirement, &fleet, NOW).unwrap();
    assert!(waits.contains("worker-1 (5 MiB of scratch, 6 MiB needed)"), "{waits}");
}

#[test]
fn who_takes_nothing_or_flaps_gets_nothing_and_says_why() {
    let mut full = cpu_worker(1);
    full.not_taking = Some("no room in /scratch".to_owned());
    let mut flapping = cpu_worker(2);
    for _ in 0..4 {
        flapping.standing.flaps.lost(NOW);
    }
    let fleet = fleet([full, flapping]);
    assert_eq!(place(&prefer(), &fleet), None);
    let waits = explain(&prefer(), &fleet, NOW).unwrap();
    assert!(
        waits.contains("no room in /scratch") && waits.contains("lost its connection 4 times"),
        "{waits}"
    );
}

#[test]
fn live_capacity_is_reserved() {
    let mut fleet = fleet([cpu_worker(1)]);
    fleet.policy.live_reserved = 1;
    let batch = prefer();
    let live = Requirement { class: Class::Live, ..prefer() };
    assert_eq!(place_all(&mut fleet, &batch, 2).iter().flatten().count(), 1);
    assert!(place(&live, &fleet).is_some());
    assert_eq!(
        explain(&batch, &fleet, NOW).unwrap(),
        "a free slot on a worker with an h264 encoder: worker-1 (1 of 2 jobs, 1 kept for live)"
    );
}

#[test]
fn a_task_does_not_go_back_to_where_it_failed_while_another_worker_could_take_it() {
    let mut fleet = fleet([gpu_worker(1, 1, None), cpu_worker(2)]);
    let failed = Requirement { avoid: BTreeSet::from([worker_id(1)]), ..prefer() };
    let taken = place_all(&mut fleet, &failed, 3);
    let workers: Vec<_> = taken.iter().map(|got| got.as_ref().map(|got| got.worker)).collect();
    assert_eq!(workers, [Some(worker_id(2)), Some(worker_id(2)), None], "it waits for a slot elsewhere");
    let waits = explain(&failed, &fleet, NOW).unwrap();
    assert!(waits.contains("worker-2 (2 of 2 jobs)"), "{waits}");
    fleet.get_mut(worker_id(2)).unwrap().standing.drained_by_operator = true;
    assert_eq!(place(&failed, &fleet).unwrap().worker, worker_id(1), "there is no other");
}

#[test]
fn a_rule_takes_the_encoder_away_and_software_takes_over() {
    let mut fleet = fleet([gpu_worker(1, 1, None)]);
    let section: toml::Table = "rules = [{ gpu = 'GPU 0', forbid = '*' }]".parse().unwrap();
    fleet.policy.rules = parse_rules(section["rules"].clone()).unwrap();
    assert_eq!(place(&prefer(), &fleet).unwrap().encoder.as_deref(), Some("libx264"));
    assert_eq!(place(&h264(HardwarePolicy::Require), &fleet), None);
}

#[test]
fn an_exact_encoder_is_taken_at_its_word() {
    let mut requirement = prefer();
    requirement.need.video.as_mut().unwrap().encoder = Some("libx264".to_owned());
    let fleet = fleet([gpu_worker(1, 1, None)]);
    assert_eq!(place(&requirement, &fleet).unwrap().encoder.as_deref(), Some("libx264"));
}

prop_compose! {
    fn any_worker(number: u128)(
        gpus in 0u32..3,
        limit in prop::option::of(1u32..6),
        jobs in 0u32..6, gpu_jobs in 0u32..6, cpu_jobs in 0u32..6,
        cpu in 0.0f64..1.0,
        fault in 0u8..12,
        site in 0u8..2,
    ) -> Worker {
        let mut worker = if gpus == 0 { cpu_worker(number) } else { gpu_worker(number, gpus, limit) };
        worker.identity.capacity = common::worker::Capacity { max_jobs: jobs, max_gpu_jobs: gpu_jobs, max_cpu_jobs: cpu_jobs };
        worker.load.cpu = cpu;
        worker.identity.labels.insert("site".to_owned(), site.to_string());
        match fault {
            0 => worker.session = None,
            1 => worker.standing.drained_by_operator = true,
            2 => quarantine(&mut worker),
            3 => worker.identity.capabilities.encoders.retain(|encoder| encoder.name != "libx264"),
            _ => {}
        }
        worker
    }
}

fn any_fleet() -> impl Strategy<Value = Vec<Worker>> {
    (0usize..6)
        .prop_flat_map(|count| (0..count).map(|number| any_worker(number as u128 + 1)).collect::<Vec<_>>())
}

fn any_requirement() -> impl Strategy<Value = Requirement> {
    (0usize..3, 1u32..5, prop::option::of(0u8..2), any::<bool>()).prop_map(
        |(policy, sessions, site, live)| {
            let mut requirement = h264(HardwarePolicy::ALL[policy]);
            requirement.need.video.as_mut().unwrap().sessions = sessions;
            requirement.class = if live { Class::Live } else { Class::Batch };
            requirement.labels.extend(site.map(|site| ("site".to_owned(), site.to_string())));
            requirement
        },
    )
}

proptest! {
    /// Whatever is placed in whatever order: no limit is ever exceeded, nobody unfit is chosen, and when placement says
    /// nobody, no worker had both the ability and the room.
    #[test]
    fn no_slot_is_exceeded_and_nobody_unfit_is_chosen(
        workers in any_fleet(),
        tasks in prop::collection::vec((any_requirement(), any::<bool>()), 0..40),
        reserved in 0u32..3,
    ) {
        let mut fleet = fleet(workers);
        fleet.policy.live_reserved = reserved;
        for (number, (requirement, ends)) in tasks.into_iter().enumerate() {
            match place(&requirement, &fleet) {
                Some(placement) => {
                    let worker = fleet.get(placement.worker).unwrap();
                    prop_assert!(worker.session.is_some() && !worker.draining() && !worker.is_quarantined());
                    prop_assert!(requirement.labels.iter().all(|(key, value)| worker.identity.labels.get(key) == Some(value)));
                    let hardware = placement.device.is_some();
                    prop_assert!(!(hardware && requirement.policy == HardwarePolicy::Never));
                    prop_assert!(hardware || requirement.policy != HardwarePolicy::Require);
                    prop_assert!(explain(&requirement, &fleet, NOW).is_none());
                    hold(&mut fleet, attempt(number as u128), &placement, requirement.class);
                    check_limits(fleet.get(placement.worker).unwrap(), reserved)?;
                    if ends {
                        fleet.get_mut(placement.worker).unwrap().held.remove(&attempt(number as u128));
                    }
                }
                None => prop_assert!(explain(&requirement, &fleet, NOW).is_some()),
            }
        }
    }

    /// A shortlist that is kept up to date says what a look at the whole fleet says.
    #[test]
    fn a_shortlist_answers_like_select(workers in any_fleet(), requirement in any_requirement(), tasks in 0u128..20) {
        let mut fleet = fleet(workers);
        let mut list = Shortlist::new(Arc::new(requirement.clone()), &fleet, NOW);
        for number in 0..tasks {
            let placement = place(&requirement, &fleet);
            prop_assert_eq!(list.best(), placement.as_ref());
            let Some(placement) = placement else { break };
            hold(&mut fleet, attempt(number), &placement, requirement.class);
            list.refresh(fleet.get(placement.worker).unwrap(), &fleet.policy);
        }
    }

    /// No starvation by placement: once everything has ended, a task that any worker is able to run is placed.
    #[test]
    fn an_empty_fleet_takes_what_it_can_run(workers in any_fleet(), requirement in any_requirement()) {
        let able = workers.iter().any(|worker| {
            let soft = requirement.policy != HardwarePolicy::Require
                && worker.identity.capacity.max_cpu_jobs > 0
                && worker.identity.capabilities.encoder("libx264").is_some();
            let hard = requirement.policy != HardwarePolicy::Never
                && worker.identity.capacity.max_gpu_jobs > 0
                && worker.identity.capabilities.gpus.iter().any(|gpu| gpu.max_sessions.is_none_or(|max| max >= requirement.need.video.as_ref().unwrap().sessions));
            worker.session.is_some() && !worker.draining() && !worker.is_quarantined() && worker.identity.capacity.max_jobs > 0
                && requirement.labels.iter().all(|(key, value)| worker.identity.labels.get(key) == Some(value))
                && (soft || hard)
        });
        prop_assert_eq!(place(&requirement, &fleet(workers)).is_some(), able);
    }

    /// The answer does not depend on the order in which workers arrived.
    #[test]
    fn placement_is_a_function(workers in any_fleet(), requirement in any_requirement()) {
        let forward: Option<(WorkerId, Slot)> = place(&requirement, &fleet(workers.clone())).map(|got| (got.worker, got.slot));
        let backward = place(&requirement, &fleet(workers.into_iter().rev())).map(|got| (got.worker, got.slot));
        prop_assert_eq!(forward, backward);
    }
}

fn check_limits(worker: &Worker, reserved: u32) -> Result<(), TestCaseError> {
    let used = worker.in_use();
    prop_assert!(used.jobs <= worker.identity.capacity.max_jobs);
    prop_assert!(used.gpu_jobs <= worker.identity.capacity.max_gpu_jobs);
    prop_assert!(used.cpu_jobs <= worker.identity.capacity.max_cpu_jobs);
    prop_assert!(used.batch_jobs == 0 || used.batch_jobs + reserved <= worker.identity.capacity.max_jobs);
    for gpu in &worker.identity.capabilities.gpus {
        prop_assert!(gpu.max_sessions.is_none_or(|limit| worker.own_sessions(gpu.index) <= limit));
    }
    Ok(())
}
