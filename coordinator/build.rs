//! Puts the pages (`web/dist/ui`, which `make web` makes) into the program: a table of their files, for `api::pages`. Without
//! them the table is empty, and everything else is as it is.

use std::{
    collections::hash_map::DefaultHasher,
    env,
    fmt::Write as _,
    fs,
    hash::{Hash as _, Hasher as _},
    io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/dist");
    println!("cargo::rerun-if-changed=build.rs");
    // Always there, as a file in it is under version control: a path that is missing would build this crate each time.
    println!("cargo::rerun-if-changed={}", dist.display());
    let root = dist.join("ui");
    let mut files = Vec::new();
    if root.is_dir() {
        collect(&root, &mut files)?;
    }
    files.sort();
    let mut table = String::from("&[\n");
    for file in files.iter().filter(|file| file.extension().is_none_or(|extension| extension != "gz")) {
        let path = file.strip_prefix(&root).map_err(io::Error::other)?.to_string_lossy().replace('\\', "/");
        let mut packed = file.clone().into_os_string();
        packed.push(".gz");
        let packed = PathBuf::from(packed);
        let mut hasher = DefaultHasher::new();
        fs::read(file)?.hash(&mut hasher);
        let gzip = match packed.is_file() {
            true => format!("Some(include_bytes!({packed:?}))"),
            false => "None".to_owned(),
        };
        let tag = format!("{:016x}", hasher.finish());
        writeln!(
            table,
            "    File {{ path: {path:?}, tag: {tag:?}, bytes: include_bytes!({file:?}), gzip: {gzip} }},"
        )
        .map_err(io::Error::other)?;
    }
    table.push_str("]\n");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("pages.rs"), table)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
