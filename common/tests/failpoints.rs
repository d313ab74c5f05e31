//! The list of failpoints and the places where they are hit say the same.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use common::failpoint::NAMES;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_failpoint_is_hit_in_one_place_and_no_other_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for part in ["coordinator/src", "ffmpegd/src"] {
        sources(&root.join(part), &mut files);
    }
    let mut hit: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for call in text.split("failpoint::hit(").skip(1) {
            let name = call.split('"').nth(1).filter(|_| call.starts_with('"'));
            let name = name.unwrap_or_else(|| panic!("{}: hit() takes a literal", file.display()));
            hit.entry(name.to_owned()).or_default().push(file.clone());
        }
    }
    let mut listed: Vec<_> = NAMES.to_vec();
    listed.sort_unstable();
    assert_eq!(hit.keys().map(String::as_str).collect::<Vec<_>>(), listed);
    let twice: Vec<_> = hit.iter().filter(|(_, places)| places.len() != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
