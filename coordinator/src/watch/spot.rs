//! What of a watched place is new and fully written: decided from what was seen, without I/O.

use std::collections::{HashMap, HashSet};

/// What one look saw of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Relative to the watched place.
    pub(super) object: String,
    pub(super) size: u64,
    /// Milliseconds since the Unix epoch.
    pub(super) modified: i64,
    /// What the store calls this version of it.
    pub(super) tag: Option<String>,
}

impl Seen {
    /// Tells this content of the file from any other that it has later.
    pub(super) fn version(&self) -> String {
        match &self.tag {
            Some(tag) => format!("{tag} {}", self.size),
            None => format!("{} {}", self.size, self.modified),
        }
    }
}

/// What becomes of a file that was written down and is no job yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Submit,
    /// It is not there at the moment: somebody took it away, or the disk is not mounted.
    Wait,
    /// Another file has its name, and is or becomes a job of its own.
    Superseded,
}

/// By what a look saw under its name.
pub(super) fn fate(version: &str, seen: Option<&Seen>) -> Fate {
    match seen {
        None => Fate::Wait,
        Some(seen) if seen.version() == version => Fate::Submit,
        Some(_) => Fate::Superseded,
    }
}

/// Ends of names that programs give to what they are still writing.
const UNFINISHED: &[&str] =
    &[".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart", ".swp", "~"];

/// Whether a name is one of a file that somebody means to have there.
pub(super) fn is_meant(object: &str) -> bool {
    let hidden = object.split('/').any(|part| part.starts_with('.'));
    let name = object.to_ascii_lowercase();
    !hidden && !UNFINISHED.iter().any(|end| name.ends_with(end))
}

/// What is known of a watched place.
#[derive(Debug, Default)]
pub(super) struct Spotter {
    /// Objects and versions that became jobs.
    known: HashSet<(String, String)>,
    /// Of the look before: what is still being written looks different each time.
    before: HashMap<String, Seen>,
}

impl Spotter {
    pub(super) fn new(known: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { known: known.into_iter().collect(), before: HashMap::new() }
    }

    /// What a look found that is new and fully written. `whole`: objects appear whole, as in a bucket; else they must have
    /// been the same at the look before.
    pub(super) fn look(&mut self, seen: &[Seen], whole: bool) -> Vec<Seen> {
        let new = |seen: &&Seen| {
            seen.size > 0
                && is_meant(&seen.object)
                && !self.known.contains(&(seen.object.clone(), seen.version()))
                && (whole || self.before.get(&seen.object) == Some(*seen))
        };
        let found = seen.iter().filter(new).cloned().collect();
        self.before = if whole {
            HashMap::new()
        } else {
            seen.iter().map(|seen| (seen.object.clone(), seen.clone())).collect()
        };
        found
    }

    /// It has become a job.
    pub(super) fn taken(&mut self, seen: &Seen) {
        self.known.insert((seen.object.clone(), seen.version()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(object: &str, size: u64, modified: i64) -> Seen {
        Seen { object: object.to_owned(), size, modified, tag: None }
    }

    fn names(found: &[Seen]) -> Vec<&str> {
        found.iter().map(|seen| seen.object.as_str()).collect()
    }

    #[test]
    fn a_file_is_taken_once_it_has_stopped_growing() {
        let mut spotter = Spotter::default();
        assert_eq!(names(&spotter.look(&[seen("a.mp4", 10, 1)], false)), [""; 0]);
        assert_eq!(names(&spotter.look(&[seen("a.mp4", 20, 2)], false)), [""; 0]);
        // The size is there before the bytes are.
        assert_eq!(names(&spotter.look(&[seen("a.mp4", 20, 3)], false)), [""; 0]);
        let found = spotter.look(&[seen("a.mp4", 20, 3)], false);
        assert_eq!(names(&found), ["a.mp4"]);
        // Until it is said to be taken it is found again.
        assert_eq!(spotter.look(&[seen("a.mp4", 20, 3)], false), found);
        spotter.taken(&found[0]);
        assert_eq!(names(&spotter.look(&[seen("a.mp4", 20, 3)], false)), [""; 0]);
        // Another file under the same name.
        spotter.look(&[seen("a.mp4", 30, 9)], false);
        assert_eq!(names(&spotter.look(&[seen("a.mp4", 30, 9)], false)), ["a.mp4"]);
    }

    #[test]
    fn what_waits_to_be_a_job_is_told_from_what_has_its_name_later() {
        let now = seen("a.mp4", 10, 1);
        assert_eq!(fate(&now.version(), Some(&now)), Fate::Submit);
        assert_eq!(fate(&seen("a.mp4", 9, 1).version(), Some(&now)), Fate::Superseded);
        assert_eq!(fate(&now.version(), None), Fate::Wait);
    }

    #[test]
    fn an_object_of_a_bucket_is_there_whole_and_known_by_its_tag() {
        let object = |tag: &str| Seen { tag: Some(tag.to_owned()), ..seen("x/a.mp4", 5, 1) };
        let mut spotter = Spotter::new([("x/a.mp4".to_owned(), object("1").version())]);
        assert_eq!(names(&spotter.look(&[object("1")], true)), [""; 0]);
        assert_eq!(names(&spotter.look(&[object("2")], true)), ["x/a.mp4"]);
    }

    #[test]
    fn what_is_still_being_written_by_its_name_is_left_alone() {
        for name in ["a.mp4.part", "a.MP4.TMP", ".a.mp4", "x/.hidden/a.mp4", "a.mp4~", "a.crdownload"] {
            assert!(!is_meant(name), "{name}");
        }
        assert!(is_meant("x/party.mp4") && is_meant("a b.mov"));
        assert_eq!(names(&Spotter::default().look(&[seen("empty.mp4", 0, 1)], true)), [""; 0]);
    }
}
