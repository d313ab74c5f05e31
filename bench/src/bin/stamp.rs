//! The command that every system is told to start: says when it started, then becomes the real program.
//!
//! It lies in a folder of its own under the name of what it stands in for, with `stamp.sock` (a datagram socket of the
//! benchmark's) and `NAME.real` beside it, so that it needs no environment: a worker may give its children any. The datagram is the CLOCK_MONOTONIC time at the
//! first line of `main` in nanoseconds, 8 bytes little endian, and then the arguments, each ended by a zero byte.

use std::{
    env,
    os::unix::{ffi::OsStrExt, net::UnixDatagram, process::CommandExt},
    process::{Command, ExitCode},
};

fn main() -> ExitCode {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let nanoseconds = now.tv_sec * 1_000_000_000 + now.tv_nsec;
    let mut stamp = nanoseconds.to_le_bytes().to_vec();
    for argument in env::args_os().skip(1) {
        stamp.extend_from_slice(argument.as_bytes());
        stamp.push(0);
    }
    let Ok(program) = env::current_exe() else {
        eprintln!("stamp: cannot tell where this program lies (/proc/self/exe)");
        return ExitCode::FAILURE;
    };
    // Nobody listens between measurements, and the socket takes a few datagrams only: the command goes on all the same.
    let _ = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.send_to(&stamp, program.with_file_name("stamp.sock"))
    });
    let real = program.with_extension("real");
    let error = Command::new(&real).args(env::args_os().skip(1)).exec();
    eprintln!("stamp: cannot run {}: {error}", real.display());
    ExitCode::FAILURE
}
