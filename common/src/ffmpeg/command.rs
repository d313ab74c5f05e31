//! Users' own commands. What they say is written as they say it; what is the worker's own, and what guards the inputs,
//! stands around it.

use std::ffi::OsString;

use ::command::{Argv, Command, Setup};

use super::{
    Context, Finish, Lowered,
    args::{Args, DEMUXERS, MORE_FOR_COMMANDS, REPORTS, guard, input_address},
};
use crate::{
    failure::{Failure, FailureKind},
    media::EncoderFamily,
    spec::CommandSpec,
    worker::Capabilities,
};

pub(super) fn lower(context: &Context<'_>, spec: &CommandSpec) -> Result<Lowered, Failure> {
    let command = &spec.command;
    lacking(command, context.capabilities)?;
    let demuxers = format!("{DEMUXERS},{MORE_FOR_COMMANDS}");
    let inputs: Vec<OsString> = context.inputs.iter().map(|input| input_address(input).into()).collect();
    let gpu = context.encoder.filter(|encoder| encoder.family == EncoderFamily::Nvenc);
    let own = command.argv(Argv {
        inputs: &inputs,
        guard: &guard(&demuxers),
        output_dir: &context.output_dir,
        gpu: gpu.and_then(|encoder| encoder.device.as_deref()),
    });
    let own = own.map_err(|error: Setup| Failure::new(FailureKind::InvalidSpec, error.to_string()))?;
    let mut args = Args::default();
    args.all(REPORTS).all(own);
    Ok(Lowered {
        argv: args.into_vec(),
        duration: command.seconds(context.input.duration),
        expected: Vec::new(),
        produced: command.outputs(),
        finish: Finish::Nothing,
        warnings: Vec::new(),
    })
}

/// Placement looks for encoders and filters only: the rest is in nearly every ffmpeg.
fn lacking(command: &Command, capabilities: &Capabilities) -> Result<(), Failure> {
    let needs = command.needs();
    let lacks =
        |kind: &'static str, known: &std::collections::BTreeSet<String>, needed: Vec<&'static str>| {
            // A list that could not be had says nothing.
            let missing = needed.into_iter().find(|name| !known.is_empty() && !known.contains(*name));
            missing.map(|name| format!("{kind} {name}"))
        };
    let missing = lacks("the muxer", &capabilities.muxers, needs.muxers.into_iter().collect())
        .or_else(|| lacks("the decoder", &capabilities.decoders, needs.decoders.into_iter().collect()));
    match missing {
        None => Ok(()),
        Some(what) => Err(Failure::new(
            FailureKind::MissingCapability,
            format!(
                "the command needs {what}, which ffmpeg {} on this worker lacks",
                capabilities.ffmpeg_version
            ),
        )),
    }
}
