//! Users' ffmpeg commands. Pure: nothing is run and no file is opened here.
//!
//! A command is read into typed values by an allow-list of options, filters with their options, codecs and containers, and
//! ffmpeg's arguments are written anew from those. No text of a user gets to ffmpeg but as the value of a type: a number in
//! a range, one word of a list, an expression of known names, text that nothing expands. What is allowed is in `tables/`;
//! `docs/commands.md` says it to users.
//!
//! Three rules hold for what is written:
//!
//! * Options that take a value get exactly one argument behind them, and values that are no file's name never name one.
//! * Every file has a plain name in the folder that the worker gives. Inputs are the addresses that the worker gives.
//! * Reading what was written gives the same command again. That is also the only way to deserialize one.

mod check;
mod command;
mod error;
mod expression;
mod graph;
mod kind;
mod map;
mod name;
mod number;
mod output;
mod parse;
mod reference;
mod shape;
mod table;
mod text;
mod value;
mod words;

pub use self::{
    command::{Argv, Command, Kind, Needs, Produced, Setup},
    error::Error,
    map::Specifier,
    name::Name,
    reference::reference,
    table::Media,
};
