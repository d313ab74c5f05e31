//! Scratch space: the folders in which attempts make their files, and who may fill how much of it.
//!
//! Nothing here is durable. What an attempt may write is claimed before it begins, grows with its folder within the limits,
//! and is given back when the folder is gone.

mod estimate;
mod folder;
mod ledger;
mod space;

pub(super) use self::{estimate::estimate, folder::Scratch, ledger::Shortage, space::Growth};
pub(crate) use self::{
    folder::prepare,
    ledger::MINIMUM,
    space::{Claim, Space},
};
