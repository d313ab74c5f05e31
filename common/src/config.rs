//! How every program here is configured: command line over environment over file over default.
//!
//! Options are clap structs, so `--help`, the environment variables and the documentation page come from one place. A
//! TOML file may set any of them by its long name (`grpc-port` or `grpc_port`); a key that is none is refused.

use std::{
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use clap::{ArgAction, Command, CommandFactory, FromArgMatches, parser::ValueSource};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Usage(#[from] clap::Error),
    #[error("cannot read {}: {source}; check that the file exists and may be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not valid TOML: {reason}", path.display())]
    Syntax { path: PathBuf, reason: String },
    #[error("{}: unknown key {key:?}; known keys: {known}", path.display())]
    UnknownKey { path: PathBuf, key: String, known: String },
    #[error("{}: {key} must be a string, a number, a boolean or a list of them", path.display())]
    Type { path: PathBuf, key: String },
    #[error("{name} and {name}_FILE are both set; keep one")]
    SecretTwice { name: &'static str },
    #[error("{name}_FILE: {} holds nothing", path.display())]
    SecretEmpty { name: &'static str, path: PathBuf },
}

/// Options and what else the configuration file held.
#[derive(Debug)]
pub struct Loaded<T> {
    pub options: T,
    /// The sections of the file that are not options, in the program's own format.
    pub sections: toml::Table,
}

/// Variables of other systems, and the options that they stand for where a program has those. Their own variables come first.
const ALIASES: [(&str, &str); 4] = [
    ("CONCURRENCY", "max_jobs"),
    ("CONCURRENCY", "max_cpu_jobs"),
    ("HWACCEL", "hwaccel"),
    ("NVENC_PRESET", "nvenc_preset"),
];

/// The options with what [`ALIASES`] say as default.
fn with_aliases(mut command: Command, variable: impl Fn(&str) -> Option<String>) -> Command {
    for (name, id) in ALIASES {
        let known = command.get_arguments().any(|arg| arg.get_id().as_str() == id);
        if let (true, Some(value)) = (known, variable(name).filter(|value| !value.is_empty())) {
            command = command.mut_arg(id, |arg| arg.default_value(value));
        }
    }
    command
}

/// Reads the options `T` from `argv`, the environment and the file that `--config` (`TVARR_CONFIG`) names, if any.
/// `sections` are the file's keys that are no options and are handed back as they are.
///
/// # Errors
/// Wrong usage, an unreadable file, an unknown key. `--help` and `--version` are [`Error::Usage`] too: print it with
/// [`clap::Error::exit`].
pub fn load<T>(argv: impl IntoIterator<Item = OsString>, sections: &[&str]) -> Result<Loaded<T>, Error>
where
    T: CommandFactory + FromArgMatches,
{
    let argv: Vec<OsString> = argv.into_iter().collect();
    let mut command = T::command();
    let mut rest = toml::Table::new();
    if let Some(path) = config_path(command.clone(), &argv) {
        let table = read_table(&path)?;
        for (key, value) in table {
            let id = key.replace('-', "_");
            if sections.contains(&id.as_str()) {
                rest.insert(id, value);
                continue;
            }
            if id == "config" || !command.get_arguments().any(|arg| arg.get_id().as_str() == id) {
                return Err(Error::UnknownKey { path, key, known: known_keys(&command, sections) });
            }
            let values =
                scalar_or_list(&value).ok_or_else(|| Error::Type { path: path.clone(), key: key.clone() })?;
            command = command.mut_arg(&id, |arg| match arg.get_action() {
                ArgAction::SetTrue | ArgAction::SetFalse | ArgAction::Count => {
                    arg.default_value(values.concat())
                }
                _ => arg.default_values(values),
            });
        }
    }
    let command = with_aliases(command, |name| std::env::var(name).ok());
    let matches = command.try_get_matches_from(argv)?;
    Ok(Loaded { options: T::from_arg_matches(&matches)?, sections: rest })
}

fn config_path(command: Command, argv: &[OsString]) -> Option<PathBuf> {
    let matches = command.ignore_errors(true).try_get_matches_from(argv).ok()?;
    match matches.value_source("config") {
        Some(ValueSource::CommandLine | ValueSource::EnvVariable) => {
            matches.get_one::<PathBuf>("config").cloned()
        }
        _ => None,
    }
}

fn read_table(path: &Path) -> Result<toml::Table, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    text.parse().map_err(|error: toml::de::Error| Error::Syntax {
        path: path.to_owned(),
        reason: error.to_string().trim_end().to_owned(),
    })
}

fn scalar_or_list(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Float(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(flag) => Some(vec![flag.to_string()]),
        toml::Value::Array(items) => {
            items.iter().map(scalar_or_list).collect::<Option<Vec<_>>>().map(|lists| lists.concat())
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

fn known_keys(command: &Command, sections: &[&str]) -> String {
    let mut keys: Vec<&str> = configurable(command).map(|arg| arg.get_id().as_str()).collect();
    keys.extend(sections);
    keys.sort_unstable();
    keys.join(", ")
}

fn configurable(command: &Command) -> impl Iterator<Item = &clap::Arg> {
    command.get_arguments().filter(|arg| {
        !matches!(arg.get_id().as_str(), "help" | "version" | "config") && arg.get_long().is_some()
    })
}

/// The options as a Markdown table, for the documentation: flag, environment variable, default, meaning.
#[must_use]
pub fn markdown_table(command: &Command) -> String {
    let mut command = command.clone();
    command.build();
    let mut table = String::from("| flag | environment | default | meaning |\n|---|---|---|---|\n");
    for arg in command.get_arguments() {
        let (Some(long), false) = (arg.get_long(), arg.is_hide_set()) else { continue };
        if matches!(long, "help" | "version") {
            continue;
        }
        let env = arg.get_env().map(|env| format!("`{}`", env.to_string_lossy())).unwrap_or_default();
        let defaults: Vec<_> =
            arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
        let defaults = if matches!(arg.get_action(), ArgAction::SetTrue) { Vec::new() } else { defaults };
        let help =
            arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        table.push_str(&format!("| `--{long}` | {env} | {} | {help} |\n", defaults.join(", ")));
    }
    table
}

/// A value that must not show up in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The secret from its variable or from the file that `NAME_FILE` names, without the file's last line end. An empty
    /// variable counts as not set.
    ///
    /// # Errors
    /// Both are set; the file cannot be read or is empty.
    pub fn resolve(
        name: &'static str,
        value: Option<&str>,
        file: Option<&Path>,
    ) -> Result<Option<Self>, Error> {
        let value = value.filter(|value| !value.is_empty());
        match (value, file) {
            (Some(_), Some(_)) => Err(Error::SecretTwice { name }),
            (Some(value), None) => Ok(Some(Self::new(value))),
            (None, None) => Ok(None),
            (None, Some(path)) => {
                let text = fs::read_to_string(path)
                    .map_err(|source| Error::Read { path: path.to_owned(), source })?;
                let text = text.trim_end_matches(['\r', '\n']);
                if text.is_empty() {
                    return Err(Error::SecretEmpty { name, path: path.to_owned() });
                }
                Ok(Some(Self::new(text)))
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Parses `key=value` lists: `gpu=yes,site=berlin`.
///
/// # Errors
/// An entry without `=` or with an empty key.
pub fn parse_labels(text: &str) -> Result<crate::worker::Labels, String> {
    text.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(|entry| match entry.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok((key.trim().to_owned(), value.trim().to_owned()))
            }
            _ => Err(format!("{entry:?} is no label; write key=value, several with commas")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Options {
        /// File to read.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Port.
        #[arg(long, default_value_t = 1)]
        http_port: u16,
        #[arg(long)]
        fast: bool,
        #[arg(long, value_delimiter = ',')]
        roots: Vec<String>,
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn load_with(file: &tempfile::NamedTempFile, more: &[&str]) -> Result<Loaded<Options>, Error> {
        let mut argv: Vec<OsString> = vec!["prog".into(), "--config".into(), file.path().into()];
        argv.extend(more.iter().map(OsString::from));
        load(argv, &["rules"])
    }

    #[test]
    fn file_is_under_the_command_line_and_over_the_default() {
        let file = file("http-port = 7\nfast = true\nroots = ['/a', '/b']");
        let loaded = load_with(&file, &[]).unwrap().options;
        assert_eq!((loaded.http_port, loaded.fast), (7, true));
        assert_eq!(loaded.roots, ["/a", "/b"]);
        assert_eq!(load_with(&file, &["--http-port", "9"]).unwrap().options.http_port, 9);
    }

    #[test]
    fn an_unknown_key_is_refused_and_the_known_ones_are_named() {
        let error = load_with(&file("port = 7"), &[]).unwrap_err().to_string();
        assert!(error.contains("unknown key \"port\""), "{error}");
        assert!(error.contains("http_port"), "{error}");
    }

    #[test]
    fn sections_are_handed_back() {
        let loaded = load_with(&file("[[rules]]\ncodec = 'h264'"), &[]).unwrap();
        assert!(loaded.sections["rules"].is_array());
    }

    #[test]
    fn a_secret_comes_from_its_file_and_is_not_shown() {
        let secret = file("s3cret\n");
        let secret = Secret::resolve("TVARR_X", None, Some(secret.path())).unwrap().unwrap();
        assert_eq!(secret.expose(), "s3cret");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert!(Secret::resolve("TVARR_X", Some("a"), Some(Path::new("/x"))).is_err());
    }

    #[test]
    fn labels_need_a_key() {
        assert_eq!(parse_labels("gpu=yes, site=b").unwrap().len(), 2);
        assert!(parse_labels("gpu").is_err());
    }

    #[test]
    fn other_systems_variables_stand_for_options_that_are_not_set() {
        let command = || {
            let jobs = clap::Arg::new("max_jobs").long("max-jobs");
            Command::new("worker").arg(jobs).arg(clap::Arg::new("name").long("name"))
        };
        let jobs = |variable: Option<&str>, argv: &[&str]| {
            let command = with_aliases(command(), |name| {
                (name == "CONCURRENCY").then(|| variable.map(str::to_owned)).flatten()
            });
            let argv = std::iter::once("worker").chain(argv.iter().copied());
            command.try_get_matches_from(argv).unwrap().get_one::<String>("max_jobs").cloned()
        };
        assert_eq!(jobs(Some("3"), &[]).as_deref(), Some("3"));
        assert_eq!(jobs(Some("3"), &["--max-jobs", "1"]).as_deref(), Some("1"));
        assert_eq!(jobs(Some(""), &[]), None);
        assert_eq!(jobs(None, &[]), None);
    }
}
