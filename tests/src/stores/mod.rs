//! Real servers for tests: S3 inside this process, whose requests can be made to fail, SeaweedFS, Azurite and PostgreSQL as
//! processes of their own.

mod postgres;
mod process;
mod s3;

use std::collections::BTreeMap;

pub use self::{
    postgres::{PASSWORD, Postgres},
    process::{Azurite, Seaweed},
    s3::{Fault, S3},
};

/// The bucket, or container, that each of them has.
pub const BUCKET: &str = "media";
/// A second one.
pub const OTHER_BUCKET: &str = "elsewhere";
const KEY_ID: &str = "tester";
const SECRET: &str = "a secret of forty letters for every test";

/// What a program needs in its environment to use an S3 endpoint.
fn s3_environment(endpoint: &str) -> BTreeMap<String, String> {
    [
        ("AWS_ACCESS_KEY_ID", KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_REGION", "us-east-1"),
        ("S3_ENDPOINT_URL", endpoint),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}
