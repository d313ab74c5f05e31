//! Whole farms: one module for each theme.

mod bad_input;
mod command_line;
mod drain;
mod faults;
mod jobs;
mod placement;
mod presets;
mod slots;
mod versions;
