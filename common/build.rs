//! Compiles the gRPC contract with protox, so that no protoc binary is needed.

use std::{env, error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    // Read when this runs: a target folder that several checkouts share keeps the built script, not its place.
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../proto");
    let files = ["ffmpegd/v1/worker.proto", "keda/externalscaler.proto"].map(|file| root.join(file));
    println!("cargo::rerun-if-changed={}", root.display());
    let descriptors = protox::compile(&files, [&root])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
