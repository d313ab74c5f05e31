//! Every accepted task can still end, whatever has happened to it.
//!
//! Stateright's `eventually` looks at courses that stop somewhere; here courses go round for ever (a worker may be silent and
//! come back without end). What is shown instead is stronger than that nothing gets stuck: from *every* reachable state a
//! final one can be reached without any further mishap, cancel or hand-back.

use std::collections::{HashMap, VecDeque};

use stateright::Model as _;

use super::{
    Bounds, LooksAt, Model, QUIET,
    farm::{Chances, Farm, Stage, WORKERS},
    rules::{Rules, epoch, number},
};

/// Whether the model's own bounds leave room for another attempt, on a worker that may connect again.
fn is_within_bounds(model: &Model, farm: &Farm) -> bool {
    let next = farm.coordinator.map_or_else(
        || number((model.rules.next_epoch_after_restart)(epoch(farm.row.epoch))),
        |mind| mind.next_epoch,
    );
    next <= model.bounds.epochs
        && (0..WORKERS).any(|worker| farm.connections[worker] < model.bounds.connections)
}

/// The states from which no final one can be reached without mishaps, and how many there are in all.
fn stuck(model: &Model) -> (Vec<Farm>, usize) {
    let mut numbers = HashMap::new();
    let mut farms: Vec<Farm> = model.init_states();
    numbers.insert(farms[0], 0_usize);
    // For each state, those from which it is reached without a mishap.
    let mut before: Vec<Vec<usize>> = vec![Vec::new()];
    let mut at = 0;
    while let Some(farm) = farms.get(at).copied() {
        for next in model.next_states(&farm) {
            if !model.within_boundary(&next) {
                continue;
            }
            let number = *numbers.entry(next).or_insert_with(|| {
                farms.push(next);
                before.push(Vec::new());
                farms.len() - 1
            });
            if next.chances == farm.chances {
                before[number].push(at);
            }
        }
        at += 1;
    }
    let mut ends: Vec<bool> = farms.iter().map(Farm::is_final).collect();
    let mut known: VecDeque<usize> = (0..farms.len()).filter(|number| ends[*number]).collect();
    while let Some(number) = known.pop_front() {
        for earlier in &before[number] {
            if !ends[*earlier] {
                ends[*earlier] = true;
                known.push_back(*earlier);
            }
        }
    }
    let stuck = farms.iter().zip(&ends).filter(|(farm, ends)| !**ends && is_within_bounds(model, farm));
    (stuck.map(|(farm, _)| *farm).collect(), farms.len())
}

fn bounds(chances: Chances) -> Bounds {
    Bounds { epochs: 3, connections: 2, on_the_way: 1, chances, ..QUIET }
}

#[test]
fn every_task_can_end_from_every_state() {
    for chances in [
        Chances { crashes: 1, ..Chances::NONE },
        Chances { cuts: 1, losses: 1, ..Chances::NONE },
        Chances { deaths: 1, hand_backs: 1, ..Chances::NONE },
    ] {
        let model = Model::of(bounds(chances), Rules::PRODUCTION, LooksAt::Promises);
        let (stuck, all) = stuck(&model);
        println!("{all} states with {chances:?}");
        assert!(all > 1000, "there is something to look at");
        assert_eq!(stuck.first(), None, "{} of {all} states lead nowhere", stuck.len());
    }
}

#[test]
fn a_task_whose_lease_never_ends_is_found_to_be_stuck() {
    let rules = Rules { is_lost: |_, _| false, ..Rules::PRODUCTION };
    let model = Model::of(bounds(Chances { losses: 1, ..Chances::NONE }), rules, LooksAt::Promises);
    let (stuck, _) = stuck(&model);
    assert!(stuck.iter().any(|farm| matches!(farm.row.stage, Stage::Running { .. })));
}
