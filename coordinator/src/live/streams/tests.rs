//! Streams over restarts, with a real store.

use std::path::Path;

use common::stream::SourceSpec;

use super::*;
use crate::store::SqliteStore;

async fn open(folder: &Path, configured: &str) -> Result<Streams, OpenError> {
    let store = SqliteStore::open(&folder.join("jobs.sqlite")).await?;
    let mut file: toml::Table = configured.parse().unwrap();
    let specs = file.remove("streams").map_or_else(Vec::new, |section| parse(section).unwrap());
    Streams::open(Arc::new(store), specs, &Profiles::builtin()).await
}

fn spec(name: &str) -> StreamSpec {
    let source = SourceSpec::Push;
    StreamSpec { name: name.to_owned(), source, profiles: Vec::new(), options: Default::default() }
}

#[tokio::test]
async fn media_sequences_never_go_back() {
    let folder = tempfile::tempdir().unwrap();
    let profiles = Profiles::builtin();
    let streams = open(folder.path(), "").await.unwrap();
    let first = streams.add(spec("news"), &profiles).await.unwrap();
    assert_eq!((first.first_sequence, first.reserved), (0, BLOCK));
    let reserved = streams.reserve_sequences(first.id, 9_000).await.unwrap();
    assert_eq!(reserved, 9_000 + BLOCK);
    drop(streams);

    let streams = open(folder.path(), "").await.unwrap();
    let again = streams.get("news").unwrap();
    assert_eq!((again.id, again.first_sequence), (first.id, reserved), "over a restart");
    streams.remove(again.id).await.unwrap();
    let other = streams.add(spec("news"), &profiles).await.unwrap();
    assert_ne!(other.id, first.id);
    assert_eq!(other.first_sequence, again.reserved, "of another stream with that name");
}

#[tokio::test]
async fn names_are_unique_and_removed_streams_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let profiles = Profiles::builtin();
    let streams = open(folder.path(), "").await.unwrap();
    let news = streams.add(spec("news"), &profiles).await.unwrap();
    assert!(matches!(streams.add(spec("news"), &profiles).await, Err(Error::Exists(name)) if name == "news"));
    assert!(streams.add(spec("No!"), &profiles).await.unwrap_err().to_string().contains("lower-case"));
    assert_eq!(streams.get(&news.id.to_string()), Some(news.clone()));
    streams.remove(news.id).await.unwrap();
    assert!(matches!(streams.remove(news.id).await, Err(Error::NoSuchStream(_))));
    assert!(open(folder.path(), "").await.unwrap().list().is_empty());
}

const CONFIGURED: &str = "
[[streams]]
name = 'news'
source = 'http://host/live.ts'
profiles = ['h264-720p', 'ladder']
options = { redundancy = 2, labels = { site = 'a' } }
";

#[tokio::test]
async fn configured_streams_keep_their_id_and_numbers_and_cannot_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let streams = open(folder.path(), CONFIGURED).await.unwrap();
    let news = streams.get("news").unwrap();
    assert!(news.configured);
    assert_eq!(news.spec.options.redundancy, 2);
    assert!(matches!(streams.remove(news.id).await, Err(Error::Configured(_))));
    drop(streams);
    let again = open(folder.path(), CONFIGURED).await.unwrap().get("news").unwrap();
    assert_eq!((again.id, again.first_sequence), (news.id, news.reserved));
}

#[tokio::test]
async fn a_configured_stream_that_was_added_too_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let streams = open(folder.path(), "").await.unwrap();
    streams.add(spec("news"), &Profiles::builtin()).await.unwrap();
    drop(streams);
    let error = open(folder.path(), CONFIGURED).await.unwrap_err().to_string();
    assert!(error.contains("ffmpegctl streams rm news"), "{error}");
    let unknown = CONFIGURED.replace("ladder", "lader").replace("'news'", "'other'");
    let error = open(folder.path(), &unknown).await.unwrap_err().to_string();
    assert!(error.contains("\"other\"") && error.contains("profiles[1]"), "{error}");
}

#[test]
fn a_section_that_cannot_be_read_is_named_by_its_number() {
    let parse = |text: &str| {
        let mut file: toml::Table = text.parse().unwrap();
        parse(file.remove("streams").unwrap()).unwrap_err().to_string()
    };
    assert!(parse("[[streams]]\nname = 'a'\nsource = 'push'\n[[streams]]\nname = 'b'").contains("number 2"));
    assert!(parse("[[streams]]\nname = 'a'\nsource = 'push'\nprofile = 'x'").contains("profile"));
    assert!(parse("[streams]\nname = 'a'").contains("[[streams]]"));
    assert!(
        parse("[[streams]]\nname='a'\nsource='push'\n[[streams]]\nname='a'\nsource='push'").contains("two")
    );
}
