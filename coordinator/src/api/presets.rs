//! `/v1/presets`.

use axum::{Json, extract::State};
use common::{
    api::{Page, PresetView},
    preset::Preset,
};

use super::{Api, extract::Rest, problem::Error};

fn view(preset: &Preset) -> PresetView {
    PresetView {
        name: preset.name.clone(),
        description: preset.description.clone(),
        spec: preset.spec.clone(),
    }
}

pub(super) async fn list(State(api): State<Api>) -> Json<Page<PresetView>> {
    Json(Page { items: api.presets.iter().map(view).collect(), next_cursor: None })
}

pub(super) async fn show(State(api): State<Api>, Rest(name): Rest) -> Result<Json<PresetView>, Error> {
    api.presets.get(&name).map(|preset| Json(view(preset))).ok_or_else(|| Error::no("preset", name))
}
