//! Texts that PostgreSQL can hold: all but those with the character NUL, which neither `text` nor `jsonb` takes.
//!
//! Of what is kept as JSON nothing changes, as JSON writes NUL as an escape. In columns that are plain text it becomes U+FFFD, in
//! what is looked for as in what is written: a commit never fails because of what a worker or ffmpeg said.

use std::borrow::Cow;

use serde_json::Value;

pub(super) fn storable(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { text }
}

/// The rows of a batch.
pub(super) fn storable_list(mut list: Vec<Value>) -> Vec<Value> {
    list.iter_mut().for_each(replace);
    list
}

fn replace(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = text.replace('\0', "\u{fffd}"),
        Value::Array(list) => list.iter_mut().for_each(replace),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {}
    }
}
