//! The coordinator's books, read behind its back: the tables against each other, and the folder of objects against the
//! tables. What must be true of them at any moment, and once every job has ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use common::worker::OutputFile;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::system;

const FINAL: [&str; 4] = ["succeeded", "failed", "cancelled", "dead"];

#[derive(Debug, Clone)]
pub struct JobRow {
    pub id: String,
    pub state: String,
    pub outputs: Vec<OutputFile>,
    /// The kind of its failure.
    pub failure: Option<String>,
}

#[derive(Debug, Clone)]
pub struct TaskRow {
    pub id: String,
    pub job: String,
    pub state: String,
    pub epoch: i64,
    pub published: Option<i64>,
}

#[derive(Debug, Clone)]
pub struct AttemptRow {
    pub task: String,
    pub epoch: i64,
    pub job: String,
    pub state: String,
    pub worker: String,
    pub assigned_at: i64,
    pub finished_at: Option<i64>,
    /// The kind of its failure.
    pub failure: Option<String>,
}

/// A file below `objects/`.
#[derive(Debug, Clone)]
pub struct ObjectFile {
    /// With '/' between parts, percent-encoding undone.
    pub key: String,
    pub path: PathBuf,
    pub size: u64,
    /// The local store writes to `name#1` and renames.
    pub staged: bool,
}

/// Everything that was read.
#[derive(Debug, Clone, Default)]
pub struct Books {
    pub jobs: Vec<JobRow>,
    pub tasks: Vec<TaskRow>,
    /// By task and epoch.
    pub attempts: Vec<AttemptRow>,
    pub objects: Vec<ObjectFile>,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    outputs: Vec<OutputFile>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    failure: Option<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

impl Books {
    /// Reads the coordinator's data folder, whether it runs or not. Changes nothing.
    ///
    /// # Panics
    /// The tables cannot be read.
    pub async fn read(data: &Path) -> Self {
        // Objects first: what is written meanwhile is then missing here rather than in the tables.
        let objects = objects(&data.join("objects"));
        let options = SqliteConnectOptions::new()
            .filename(data.join("jobs.sqlite"))
            .read_only(true)
            .busy_timeout(std::time::Duration::from_secs(10));
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        // One transaction: one moment.
        let mut moment = connection.begin().await.unwrap();
        let jobs = sqlx::query("SELECT id, state, result, failure FROM jobs ORDER BY id");
        let jobs = jobs.fetch_all(&mut *moment).await.unwrap();
        let tasks = sqlx::query("SELECT id, job, state, epoch, published FROM tasks ORDER BY id");
        let tasks = tasks.fetch_all(&mut *moment).await.unwrap();
        let attempts = sqlx::query(
            "SELECT task, epoch, job, state, worker, assigned_at, finished_at, details FROM attempts \
             ORDER BY task, epoch",
        );
        let attempts = attempts.fetch_all(&mut *moment).await.unwrap();
        drop(moment);
        connection.close().await.unwrap();
        let json = |text: &str| serde_json::from_str::<Kind>(text).unwrap().kind;
        Self {
            jobs: jobs
                .iter()
                .map(|row| JobRow {
                    id: row.get("id"),
                    state: row.get("state"),
                    outputs: serde_json::from_str::<Outcome>(row.get("result")).unwrap().outputs,
                    failure: row.get::<Option<&str>, _>("failure").map(json),
                })
                .collect(),
            tasks: tasks
                .iter()
                .map(|row| TaskRow {
                    id: row.get("id"),
                    job: row.get("job"),
                    state: row.get("state"),
                    epoch: row.get("epoch"),
                    published: row.get("published"),
                })
                .collect(),
            attempts: attempts
                .iter()
                .map(|row| AttemptRow {
                    task: row.get("task"),
                    epoch: row.get("epoch"),
                    job: row.get("job"),
                    state: row.get("state"),
                    worker: serde_json::from_str::<Named>(row.get("worker")).unwrap().name,
                    assigned_at: row.get("assigned_at"),
                    finished_at: row.get("finished_at"),
                    failure: serde_json::from_str::<Details>(row.get("details"))
                        .unwrap()
                        .failure
                        .map(|failure| failure.kind),
                })
                .collect(),
            objects,
        }
    }

    /// Jobs that have not ended.
    pub fn unfinished(&self) -> impl Iterator<Item = &JobRow> {
        self.jobs.iter().filter(|job| !FINAL.contains(&job.state.as_str()))
    }

    /// What must be true at any moment and is not.
    #[must_use]
    pub fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut wrong = |what: String| found.push(what);
        let jobs: BTreeMap<&str, &JobRow> = self.jobs.iter().map(|job| (job.id.as_str(), job)).collect();
        let tasks: BTreeMap<&str, &TaskRow> =
            self.tasks.iter().map(|task| (task.id.as_str(), task)).collect();
        for job in &self.jobs {
            let mut its = self.tasks.iter().filter(|task| task.job == job.id).peekable();
            if its.peek().is_none() {
                wrong(format!("job {} has no task", job.id));
            }
            let published = its.all(|task| task.published.is_some());
            if (job.state == "succeeded") && !published {
                wrong(format!("job {} succeeded with a task that is not published", job.id));
            }
            if job.state == "succeeded" && job.outputs.is_empty() {
                wrong(format!("job {} succeeded without any output", job.id));
            }
        }
        for task in &self.tasks {
            match jobs.get(task.job.as_str()) {
                None => wrong(format!("task {} is of no job", task.id)),
                Some(job) if FINAL.contains(&job.state.as_str()) => {
                    if matches!(task.state.as_str(), "queued" | "running") {
                        wrong(format!("job {} has {} with a task that is {}", job.id, job.state, task.state));
                    }
                }
                Some(_) => {}
            }
            if (task.state == "succeeded") != task.published.is_some() {
                wrong(format!(
                    "task {} is {} and its publication is {:?}",
                    task.id, task.state, task.published
                ));
            }
        }
        let mut last: Option<&AttemptRow> = None;
        for attempt in &self.attempts {
            let name = format!("attempt {}/{}", attempt.task, attempt.epoch);
            let running = matches!(attempt.state.as_str(), "running" | "disconnected");
            match tasks.get(attempt.task.as_str()) {
                None => wrong(format!("{name} is of no task")),
                Some(task) => {
                    if attempt.epoch > task.epoch {
                        wrong(format!("{name} is newer than its task's epoch {}", task.epoch));
                    }
                    if running && (task.state != "running" || attempt.epoch != task.epoch) {
                        wrong(format!("{name} runs while its task is {} at {}", task.state, task.epoch));
                    }
                    if (attempt.state == "succeeded") != (task.published == Some(attempt.epoch)) {
                        wrong(format!("{name} is {} and published is {:?}", attempt.state, task.published));
                    }
                }
            }
            if running == attempt.finished_at.is_some() {
                wrong(format!("{name} is {} and ended at {:?}", attempt.state, attempt.finished_at));
            }
            if let Some(before) = last.filter(|before| before.task == attempt.task)
                && matches!(before.state.as_str(), "running" | "disconnected")
            {
                wrong(format!("{name} came while {} still runs", before.epoch));
            }
            last = Some(attempt);
        }
        found
    }

    /// What must be true once every job has ended, every sweep is done and nothing is being uploaded, and is not.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let mut found: Vec<String> =
            self.unfinished().map(|job| format!("job {} is still {}", job.id, job.state)).collect();
        let mut due: BTreeMap<String, &OutputFile> = BTreeMap::new();
        for job in self.jobs.iter().filter(|job| job.state == "succeeded") {
            let published: Vec<_> = self
                .tasks
                .iter()
                .filter(|task| task.job == job.id)
                .filter_map(|task| Some(format!("jobs/{}/{}/{}", job.id, task.id, task.published?)))
                .collect();
            for output in &job.outputs {
                let keys: Vec<_> =
                    published.iter().map(|prefix| format!("{prefix}/{}", output.path)).collect();
                let there: Vec<_> = self.objects.iter().filter(|object| keys.contains(&object.key)).collect();
                match there.as_slice() {
                    [] => found.push(format!("{} of job {} is not there", output.path, job.id)),
                    [object] => {
                        due.insert(object.key.clone(), output);
                    }
                    more => {
                        found.push(format!(
                            "{} of job {} is there {} times",
                            output.path,
                            job.id,
                            more.len()
                        ));
                    }
                }
            }
        }
        for object in &self.objects {
            match due.get(&object.key) {
                Some(output) => found.extend(differs(object, output)),
                // An upload is kept for its time, whether a job used it or not.
                None if object.key.starts_with("uploads/") && !object.staged => {}
                None => found.push(format!("nobody refers to the object {}", object.key)),
            }
        }
        found
    }

    /// How many of each state.
    #[must_use]
    pub fn per_state(&self) -> BTreeMap<&str, usize> {
        let mut count = BTreeMap::new();
        for job in &self.jobs {
            *count.entry(job.state.as_str()).or_default() += 1;
        }
        count
    }

    /// Ids of all jobs.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<&str> {
        self.jobs.iter().map(|job| job.id.as_str()).collect()
    }
}

fn differs(object: &ObjectFile, output: &OutputFile) -> Option<String> {
    if object.size != output.size {
        return Some(format!("{} has {} bytes, {} were reported", object.key, object.size, output.size));
    }
    // From a worker of protocol version 1.
    if output.sha256.is_empty() {
        return None;
    }
    let digest = sha256(&object.path);
    (digest != output.sha256)
        .then(|| format!("{} has the digest {digest}, {} was reported", object.key, output.sha256))
}

/// Of a file, in hexadecimal.
///
/// # Panics
/// It cannot be read.
#[must_use]
pub fn sha256(path: &Path) -> String {
    hex(&Sha256::digest(fs::read(path).unwrap()))
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A `#` of the object's own name would be encoded.
fn is_staged(name: &str) -> bool {
    name.rsplit_once('#')
        .is_some_and(|(_, tail)| !tail.is_empty() && tail.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The store percent-encodes what some stores do not take.
fn decode(part: &str) -> String {
    let mut decoded = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = (byte == b'%').then(|| tail.get(..2)).flatten();
        let value = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(value.unwrap_or(byte));
        rest = if value.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn objects(folder: &Path) -> Vec<ObjectFile> {
    let files = system::files(folder).into_iter();
    files
        .filter_map(|file| {
            let path = folder.join(&file);
            // Gone meanwhile: swept.
            let size = fs::metadata(&path).ok()?.len();
            let parts: Vec<_> = file.iter().map(|part| decode(&part.to_string_lossy())).collect();
            let staged = is_staged(&file.to_string_lossy());
            Some(ObjectFile { key: parts.join("/"), path, size, staged })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books() -> Books {
        let output = OutputFile {
            path: "a.mp4".into(),
            size: 3,
            content_type: String::new(),
            sha256: hex(&Sha256::digest(b"abc")),
        };
        Books {
            jobs: vec![JobRow {
                id: "j".into(),
                state: "succeeded".into(),
                outputs: vec![output],
                failure: None,
            }],
            tasks: vec![TaskRow {
                id: "t".into(),
                job: "j".into(),
                state: "succeeded".into(),
                epoch: 2,
                published: Some(2),
            }],
            attempts: [(1, "superseded"), (2, "succeeded")]
                .into_iter()
                .map(|(epoch, state)| AttemptRow {
                    task: "t".into(),
                    epoch,
                    job: "j".into(),
                    state: state.into(),
                    worker: "w".into(),
                    assigned_at: epoch,
                    finished_at: Some(9),
                    failure: None,
                })
                .collect(),
            objects: Vec::new(),
        }
    }

    fn object(folder: &Path, key: &str, bytes: &[u8]) -> ObjectFile {
        let path = folder.join(key.replace('/', "-"));
        fs::write(&path, bytes).unwrap();
        ObjectFile { key: key.into(), path, size: bytes.len() as u64, staged: is_staged(key) }
    }

    #[test]
    fn books_that_are_in_order_have_nothing_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let mut books = books();
        books.objects.push(object(folder.path(), "jobs/j/t/2/a.mp4", b"abc"));
        books.objects.push(object(folder.path(), "uploads/u/a.mp4", b"x"));
        assert_eq!((books.contradictions(), books.leftovers()), (vec![], vec![]));
    }

    #[test]
    fn every_kind_of_disorder_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let mut twice = books();
        twice.attempts[0].state = "succeeded".into();
        assert_eq!(twice.contradictions().len(), 1, "{:?}", twice.contradictions());
        let mut orphan = books();
        orphan.tasks[0].job = "gone".into();
        assert!(!orphan.contradictions().is_empty());
        let mut running = books();
        running.tasks[0].state = "running".into();
        assert!(!running.contradictions().is_empty());
        let mut old = books();
        old.tasks[0].epoch = 1;
        assert!(!old.contradictions().is_empty());

        assert!(books().leftovers()[0].contains("not there"));
        let mut stale = books();
        stale.objects.push(object(folder.path(), "jobs/j/t/2/a.mp4", b"abd"));
        stale.objects.push(object(folder.path(), "jobs/j/t/1/a.mp4", b"abc"));
        stale.objects.push(object(folder.path(), "uploads/u/a.mp4#1", b"x"));
        let found = stale.leftovers().join("\n");
        assert!(found.contains("digest"), "{found}");
        assert!(found.contains("jobs/j/t/1/a.mp4") && found.contains("a.mp4#1"), "{found}");
    }
}
