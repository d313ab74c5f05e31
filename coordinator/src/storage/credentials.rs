//! Where the keys to clouds come from: the environment, files, instance roles. They never leave the coordinator.
//!
//! `object_store` knows the variables of each cloud, Google's and Azure's files, web identities and instance roles; AWS's
//! shared credentials file is read here.

use std::{collections::BTreeMap, fs, path::PathBuf};

use object_store::{
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
};

use super::address::Scheme;

/// Variables that name a way to credentials; without any of them the shared file is looked at.
const OTHER_WAYS: [&str; 4] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

/// Environment variables. [`fmt::Debug`](std::fmt::Debug) shows no values: secrets are among them.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }
}

impl Environment {
    /// This process's.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The variables that begin with `prefix`, in small letters, as `object_store` names them.
    fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = (String, &str)> {
        let own = self.0.iter().filter(move |(name, _)| name.starts_with(prefix));
        own.map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
    }

    pub(super) fn s3(&self) -> AmazonS3Builder {
        let mut builder = AmazonS3Builder::new();
        if let Some([id, secret, token]) = self.shared_file() {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
            if !token.is_empty() {
                builder = builder.with_token(token);
            }
        }
        for (name, value) in self.with_prefix("AWS_") {
            // Among them are those of other programs.
            if let Ok(key) = name.parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        match self.endpoint(Scheme::S3) {
            Some(endpoint) => builder.with_endpoint(endpoint.trim_end_matches('/')),
            None => builder,
        }
    }

    /// Who is asked instead of the cloud's own servers.
    fn endpoint(&self, scheme: Scheme) -> Option<&str> {
        let names: &[&str] = match scheme {
            Scheme::S3 => &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "S3_ENDPOINT_URL"],
            Scheme::Azure => &["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"],
            Scheme::Gcs => &["GOOGLE_BASE_URL"],
            Scheme::File => &[],
        };
        names.iter().find_map(|name| self.get(name))
    }

    /// Whether http may be spoken: only where the endpoint says so.
    pub(super) fn plain_http(&self, scheme: Scheme) -> bool {
        self.endpoint(scheme).is_some_and(|endpoint| endpoint.starts_with("http://"))
    }

    pub(super) fn gcs(&self) -> GoogleCloudStorageBuilder {
        let mut builder = GoogleCloudStorageBuilder::new();
        for (name, value) in self.with_prefix("GOOGLE_") {
            if let Ok(key) = name.parse::<GoogleConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        builder
    }

    pub(super) fn azure(&self) -> MicrosoftAzureBuilder {
        let mut builder = MicrosoftAzureBuilder::new();
        for (name, value) in self.with_prefix("AZURE_") {
            if let Ok(key) = name.parse::<AzureConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        builder
    }

    /// Key id, secret and token (or nothing) of AWS's shared credentials file, if no variable says otherwise.
    fn shared_file(&self) -> Option<[String; 3]> {
        if OTHER_WAYS.iter().any(|name| self.get(name).is_some()) {
            return None;
        }
        let named = self.get("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
        let file = named.or_else(|| Some(PathBuf::from(self.get("HOME")?).join(".aws/credentials")))?;
        let profile = self.get("AWS_PROFILE").unwrap_or("default");
        keys_of(&fs::read_to_string(file).ok()?, profile)
    }
}

/// A profile's keys in the text of a shared credentials file.
fn keys_of(text: &str, profile: &str) -> Option<[String; 3]> {
    let mut here = false;
    let mut found = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            here = name.trim() == profile;
        } else if let (true, Some((name, value))) = (here, line.split_once('=')) {
            found.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let mut take = |name: &str| found.remove(name);
    Some([
        take("aws_access_key_id")?,
        take("aws_secret_access_key")?,
        take("aws_session_token").unwrap_or_default(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", environment(&[("AWS_SECRET_ACCESS_KEY", "geheim")]));
        assert!(shown.contains("AWS_SECRET") && !shown.contains("geheim"), "{shown}");
    }

    #[test]
    fn the_shared_file_is_read_by_profile_and_only_without_other_ways() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key=B\n\n# x\n[ci]\naws_access_key_id=C\n\
                    aws_secret_access_key=D=\naws_session_token = E\n";
        assert_eq!(keys_of(text, "default").unwrap(), ["A", "B", ""]);
        assert_eq!(keys_of(text, "ci").unwrap(), ["C", "D=", "E"]);
        assert_eq!(keys_of(text, "other"), None);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        let named = [("AWS_SHARED_CREDENTIALS_FILE", path), ("AWS_PROFILE", "ci")];
        assert!(environment(&named).shared_file().is_some());
        let with_keys = [named[0], ("AWS_ACCESS_KEY_ID", "Z")];
        assert_eq!(environment(&with_keys).shared_file(), None);
    }

    #[test]
    fn http_is_spoken_only_where_the_endpoint_says_so() {
        let plain = |name, endpoint| environment(&[(name, endpoint)]).plain_http(Scheme::S3);
        assert!(plain("S3_ENDPOINT_URL", "http://minio:9000/"));
        assert!(!plain("S3_ENDPOINT_URL", "https://minio:9000"));
        assert!(!plain("AWS_ALLOW_HTTP", "true"));
        let endpoint = environment(&[("S3_ENDPOINT_URL", "http://minio:9000/")]).s3();
        assert_eq!(
            endpoint.get_config_value(&AmazonS3ConfigKey::Endpoint).as_deref(),
            Some("http://minio:9000")
        );
    }
}
