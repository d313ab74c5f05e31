//! What queries of lists have in common: states, limits, cursors.

use serde::de::DeserializeOwned;

use super::problem::Error;

/// Words that are separated by commas.
pub(super) fn words(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// States of a `what`, of which there are those that are `known`.
pub(super) fn states<T: DeserializeOwned>(
    text: Option<&str>,
    what: &str,
    known: &str,
) -> Result<Vec<T>, Error> {
    let state = |word: &str| {
        serde_json::from_value(serde_json::Value::from(word)).map_err(|_| {
            Error::invalid(
                "state",
                format!("{word:?} is no state of a {what}"),
                format!("use {known}, several with commas"),
            )
        })
    };
    words(text).map(state).collect()
}

/// How many a page has.
pub(super) fn limit(asked: Option<u32>, usual: u32, most: u32) -> Result<u32, Error> {
    let limit = asked.unwrap_or(usual);
    if (1..=most).contains(&limit) {
        return Ok(limit);
    }
    Err(Error::invalid("limit", format!("{limit} is not from 1 to {most}"), "ask for several pages"))
}

/// The place that the page before ended at.
pub(super) fn cursor<T>(text: Option<String>, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Error> {
    let place = |text: String| {
        read(&text).ok_or_else(|| {
            let problem = format!("{text:?} is no cursor");
            Error::invalid("cursor", problem, "pass next_cursor of the page before as it is")
        })
    };
    given(text).map(place).transpose()
}

/// An empty parameter is none.
pub(super) fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}
