//! What a job reads.

use serde::{Deserialize, Serialize};

/// Where an input is, and the name that the user knows it by: the URL, the path, the uploaded file's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "NamedLocation")]
pub struct JobInput {
    location: InputLocation,
    /// Where it differs from the location: there are many jobs, and most are named by their URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Box<str>>,
}

/// As the store has it: version 1 wrote every name.
#[derive(Deserialize)]
struct NamedLocation {
    location: InputLocation,
    name: Option<String>,
}

impl From<NamedLocation> for JobInput {
    fn from(stored: NamedLocation) -> Self {
        match stored.name {
            Some(name) => Self::new(stored.location, name),
            None => Self { location: stored.location, name: None },
        }
    }
}

impl JobInput {
    #[must_use]
    pub fn new(location: InputLocation, name: String) -> Self {
        let name = (location.as_str() != name).then(|| name.into_boxed_str());
        Self { location, name }
    }

    #[must_use]
    pub fn location(&self) -> &InputLocation {
        &self.location
    }

    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.location.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputLocation {
    Url(String),
    /// Key in the object storage.
    Object(String),
    /// Absolute path below a shared root of the coordinator, canonical.
    Path(String),
    /// Address of an object in a bucket that jobs may name.
    Bucket(String),
}

impl InputLocation {
    fn as_str(&self) -> &str {
        match self {
            Self::Url(text) | Self::Object(text) | Self::Path(text) | Self::Bucket(text) => text,
        }
    }
}
