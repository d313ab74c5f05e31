//! Programs that read and write.

use std::{
    ffi::OsStr,
    io::Write as _,
    process::{Command, Stdio},
    thread,
};

/// What a program of ffmpeg's writes for what it reads. It must not complain; of `noise` are lines that are no complaint, by
/// their beginnings: encoders talk on stderr whatever they are told.
pub(crate) fn pipe(program: impl AsRef<OsStr>, arguments: &[&str], input: &[u8], noise: &[&str]) -> Vec<u8> {
    let mut child = Command::new(program.as_ref())
        .args(["-hide_banner", "-v", "error"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        scope.spawn(move || {
            // It may be done before it has read everything.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    });
    let said = String::from_utf8(output.stderr).unwrap();
    let complaints: Vec<_> =
        said.lines().filter(|line| !noise.iter().any(|noise| line.starts_with(noise))).collect();
    assert!(output.status.success() && complaints.is_empty(), "{arguments:?}: {complaints:#?}");
    output.stdout
}
