//! A PostgreSQL of the benchmark's own: durable as it comes (fsync and synchronous_commit on), on a Unix socket only.
//!
//! A table of jobs as it is written for `SKIP LOCKED`, driven by pgbench with prepared statements.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use super::START_LIMIT;
use crate::process::{self, Running};

/// Debian keeps the programs out of PATH.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Who the server runs as when this is root: PostgreSQL refuses to be root.
const USER: &str = "postgres";

const SCHEMA: &str = "CREATE TABLE jobs (id bigserial PRIMARY KEY, state text NOT NULL DEFAULT 'queued', request jsonb NOT NULL);
CREATE INDEX ready ON jobs (id) WHERE state = 'queued';";
/// What the farm's row holds is larger; this is the limit, not a copy.
const INSERT: &str = r#"INSERT INTO jobs (request) VALUES ('{"input": "https://media.example.com/library/2026/000/clip-0000000.mov", "preset": "h264"}');"#;

#[derive(Debug)]
pub(crate) struct Postgres {
    server: Running,
    programs: PathBuf,
    /// Cluster, socket and scripts.
    folder: PathBuf,
    user: Option<User>,
    version: String,
}

#[derive(Debug, Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl Postgres {
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        let programs = programs()?;
        let user = unprivileged()?;
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        if let Some(user) = user {
            chown(folder, Some(user.uid), Some(user.gid))?;
            // The run's own folder is for its owner alone; the server's user has to come through it.
            let parent = folder.parent().context("the folder lies in the run's")?;
            fs::set_permissions(parent, fs::Permissions::from_mode(0o711))?;
        }
        let command = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.current_dir(folder);
            if let Some(user) = user {
                command.uid(user.uid).gid(user.gid);
            }
            command
        };
        let mut initdb = command("initdb");
        initdb.args(["--pgdata=data", "--auth=trust", "--username=bench", "--encoding=UTF8", "--locale=C"]);
        output("initdb", initdb).await.with_context(|| {
            format!("making a cluster in {}, which {USER} must be able to enter", folder.display())
        })?;
        let version = output("postgres --version", {
            let mut version = command("postgres");
            version.arg("--version");
            version
        })
        .await?;
        let mut server = command("postgres");
        server.args(["-D", "data", "-k"]).arg(folder).args(["-c", "listen_addresses="]);
        let mut server = process::start("postgres", folder.parent().unwrap_or(folder), server)?;
        server
            .wait_until(START_LIMIT, async || {
                let mut ready = command("pg_isready");
                ready.arg("--quiet").arg("--host").arg(folder);
                ready.status().await.is_ok_and(|status| status.success())
            })
            .await?;
        let this = Self {
            server,
            programs: programs.clone(),
            folder: folder.to_owned(),
            user,
            version: version.trim().to_owned(),
        };
        this.sql(SCHEMA).await?;
        Ok(this)
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Inserts at least `rows` rows, each in a transaction of its own; returns how many per second.
    pub(crate) async fn insert(&self, rows: usize, clients: usize) -> Result<f64> {
        self.sql("TRUNCATE jobs").await?;
        self.pgbench("insert", INSERT, clients, rows.div_ceil(clients)).await
    }

    /// Claims all but a last piece of what [`Self::insert`] left, `batch` rows at once; returns rows per second.
    pub(crate) async fn claim(&self, batch: usize, clients: usize) -> Result<f64> {
        // Rows that were only just inserted have no statistics, and every system is measured warm.
        self.sql("VACUUM ANALYZE jobs").await?;
        let count = async |state: &str| -> Result<usize> {
            let counted = self.sql(&format!("SELECT count(*) FROM jobs WHERE state = '{state}'")).await?;
            counted.trim().parse().with_context(|| format!("counting rows gave {counted:?}"))
        };
        let transactions = count("queued").await? / batch / clients;
        let script = format!(
            "UPDATE jobs SET state = 'running' WHERE id IN (SELECT id FROM jobs WHERE state = 'queued' ORDER BY id \
             LIMIT {batch} FOR UPDATE SKIP LOCKED) RETURNING id;"
        );
        let per_second = self.pgbench("claim", &script, clients, transactions).await?;
        let claimed = count("running").await?;
        ensure!(
            claimed == transactions * clients * batch,
            "{claimed} rows were claimed by {} claims of {batch}",
            transactions * clients
        );
        #[allow(clippy::cast_precision_loss)]
        Ok(per_second * batch as f64)
    }

    /// Runs a script so many times by each client; returns transactions per second without the time to connect.
    async fn pgbench(&self, name: &str, script: &str, clients: usize, transactions: usize) -> Result<f64> {
        let file = format!("{name}.sql");
        fs::write(self.folder.join(&file), script)?;
        let mut command = self.command("pgbench");
        command
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--username=bench"])
            .args([format!("--client={clients}"), format!("--transactions={transactions}")])
            .args(["--file", &file, "postgres"]);
        let said = output("pgbench", command).await?;
        tps(&said).with_context(|| format!("pgbench said no tps:\n{said}"))
    }

    async fn sql(&self, statement: &str) -> Result<String> {
        let mut command = self.command("psql");
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        command.args(["--username=bench", "--dbname=postgres", "--command", statement]);
        output("psql", command).await
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.folder).env("PGHOST", &self.folder);
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }
}

/// The folder with the newest server that is installed.
fn programs() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            let programs = entry.path().join("bin");
            programs.join("initdb").is_file().then_some((version, programs))
        })
        .collect();
    found.sort();
    let newest = found.pop().with_context(|| format!("no PostgreSQL in {DEBIAN}: run scripts/bench.sh"))?;
    Ok(newest.1)
}

/// Whom to become; `None` when this is not root.
fn unprivileged() -> Result<Option<User>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
    let user = user_of(&users, USER).with_context(|| format!("there is no user {USER}"))?;
    Ok(Some(user))
}

fn user_of(passwd: &str, name: &str) -> Option<User> {
    let mut fields =
        passwd.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(name))?;
    let uid = fields.nth(2)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(User { uid, gid })
}

async fn output(what: &str, mut command: Command) -> Result<String> {
    let output = command.kill_on_drop(true).output().await.with_context(|| format!("starting {what}"))?;
    if !output.status.success() {
        bail!("{what} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn tps(said: &str) -> Option<f64> {
    let line = said.lines().find_map(|line| line.strip_prefix("tps = "))?;
    line.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_pgbench_is_read() {
        let said = "number of transactions actually processed: 10/10\ntps = 812.5 (without initial connection time)\n";
        assert_eq!(tps(said), Some(812.5));
        assert_eq!(tps("connection refused"), None);
    }

    #[test]
    fn the_server_runs_as_its_own_user() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104::/var/lib/postgresql:/bin/bash\n";
        let user = user_of(passwd, "postgres").unwrap();
        assert_eq!((user.uid, user.gid), (101, 104));
        assert!(user_of(passwd, "post").is_none());
    }
}
