//! A PostgreSQL server of the test's own, out of Debian's package: a new cluster in a temporary folder, reached by a socket in
//! it and by a password. It is as durable as it comes: the coordinator takes no other.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Debian keeps the programs out of PATH.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Who the server runs as when this is root: PostgreSQL refuses to be root.
const USER: &str = "postgres";
const ROLE: &str = "farm";
pub const PASSWORD: &str = "pass word/of:the@test";
/// Far more than a start on a busy machine takes.
const START: Duration = Duration::from_secs(60);

/// Stopped and removed when it is dropped; ended by the kernel when the test is.
#[derive(Debug)]
pub struct Postgres {
    server: Option<Child>,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    folder: TempDir,
}

impl Postgres {
    /// # Panics
    /// The package is not installed, or the server does not start.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let user = rustix::process::geteuid().is_root().then(user);
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let mut this = Self { server: None, programs: programs(), user, folder };
        fs::write(this.folder.path().join("password"), PASSWORD).unwrap();
        let mut initdb = this.command("initdb");
        initdb.args(["--pgdata=data", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]);
        initdb.args(["--auth=scram-sha-256", "--pwfile=password", &format!("--username={ROLE}")]);
        output(&mut initdb);
        this.start_again();
        this
    }

    /// With what was committed before it was stopped.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_again(&mut self) {
        assert!(self.server.is_none(), "it runs already");
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let mut server = self.command("postgres");
        server.args(["-D", "data", "-c", "listen_addresses=", "-c", "unix_socket_directories="]);
        server.args(["-c", "max_connections=40", "-c", "shared_buffers=16MB", "-k"]).arg(self.folder.path());
        self.server = Some(server.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let deadline = Instant::now() + START;
        while !self
            .command("pg_isready")
            .arg("-q")
            .arg("-h")
            .arg(self.folder.path())
            .status()
            .unwrap()
            .success()
        {
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "PostgreSQL does not start:\n{}", log());
            if let Some(server) = &mut self.server
                && let Some(status) = server.try_wait().unwrap()
            {
                panic!("PostgreSQL ended ({status}):\n{}", log());
            }
            std::thread::yield_now();
        }
    }

    /// As when its power is cut, as far as its programs go: nobody is told anything.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let pid = i32::try_from(server.id()).ok().and_then(Pid::from_raw).expect("a process has an id");
            // "Immediate shutdown": https://www.postgresql.org/docs/current/server-shutdown.html
            let _ = kill_process(pid, Signal::QUIT);
            server.wait().unwrap();
        }
    }

    /// What the coordinator is given.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_of(ROLE, PASSWORD, database)
    }

    #[must_use]
    pub fn url_of(&self, role: &str, password: &str, database: &str) -> String {
        let escape =
            |text: &str| text.replace('/', "%2F").replace('@', "%40").replace(':', "%3A").replace(' ', "%20");
        let folder = self.folder.path().to_str().unwrap();
        format!("postgres://{role}:{}@{}:5432/{database}", escape(password), escape(folder))
    }

    /// Makes a database.
    pub fn create(&self, database: &str) {
        self.sql("postgres", &format!("CREATE DATABASE {database}"));
    }

    /// What a statement gives, a line for each row.
    ///
    /// # Panics
    /// It fails.
    pub fn sql(&self, database: &str, statement: &str) -> String {
        let mut psql = self.command("psql");
        psql.env("PGPASSWORD", PASSWORD).args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-U", ROLE, "-d", database]);
        output(psql.arg("-h").arg(self.folder.path()).args(["-c", statement]))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "QUIT"]);
        if let Some((uid, gid)) = self.user {
            command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
        }
        command.arg(self.programs.join(program)).current_dir(self.folder.path()).stdin(Stdio::null());
        // Nothing of a surrounding one.
        for name in ["PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGOPTIONS"] {
            command.env_remove(name);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The folder with the newest server that is installed.
fn programs() -> PathBuf {
    let installed = fs::read_dir(DEBIAN).into_iter().flatten().flatten().filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let programs = entry.path().join("bin");
        programs.join("initdb").is_file().then_some((version, programs))
    });
    let newest =
        installed.max().unwrap_or_else(|| panic!("no PostgreSQL in {DEBIAN}: run scripts/setup.sh --tests"));
    newest.1
}

/// The ids of the package's user.
fn user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.split(':').next() == Some(USER));
    let mut fields = line.unwrap_or_else(|| panic!("there is no user {USER}")).split(':').skip(2);
    let mut id = || fields.next().unwrap().parse().unwrap();
    (id(), id())
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?} failed: {said}", Path::new(command.get_program()));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
