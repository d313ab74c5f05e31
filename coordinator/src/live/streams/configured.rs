//! Streams of the configuration file: `[[streams]]`, each as in `POST /v1/streams`.

use std::collections::BTreeSet;

use common::{id::StreamId, stream::StreamSpec};
use sha2::{Digest as _, Sha256};
use uuid::Builder;

/// A section that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "[[streams]] number {number}: {reason}; each needs name and source, and may have profiles and a table options"
    )]
    Syntax { number: usize, reason: String },
    #[error("[[streams]]: write the streams as a list of tables, [[streams]] above each")]
    NoList,
    #[error("[[streams]]: there are two streams named {0:?}; names are unique")]
    Twice(String),
}

/// Reads the section. What the streams say is checked later, when the profiles are known.
///
/// # Errors
/// The first stream that cannot be understood.
pub fn parse(section: toml::Value) -> Result<Vec<StreamSpec>, Error> {
    let toml::Value::Array(tables) = section else { return Err(Error::NoList) };
    let mut names = BTreeSet::new();
    let mut specs = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let spec: StreamSpec = table.try_into().map_err(|error: toml::de::Error| Error::Syntax {
            number: index + 1,
            reason: error.message().trim().to_owned(),
        })?;
        if !names.insert(spec.name.clone()) {
            return Err(Error::Twice(spec.name));
        }
        specs.push(spec);
    }
    Ok(specs)
}

/// The same for the same name, over all restarts.
pub(super) fn id(name: &str) -> StreamId {
    let digest = Sha256::digest(format!("tvarr stream {name}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    StreamId(Builder::from_custom_bytes(bytes).into_uuid())
}
