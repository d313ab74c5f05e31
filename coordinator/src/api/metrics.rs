//! `/metrics`.

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use common::metrics::CONTENT_TYPE;
use hyper::header;

use super::{Api, problem::Error};

pub(super) async fn show(State(api): State<Api>) -> Result<Response, Error> {
    let text = api.metrics.text().await.map_err(|error| Error::Unavailable { problem: error.to_string() })?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
