//! Every course of feeds against what one feed alone would give.

mod model;
mod random;
mod roles;
