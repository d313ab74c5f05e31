//! `/openapi.json` and `/docs`: the API described by itself. What is sent and answered is described by the types that do it;
//! which routes there are is a table, which a test compares with the router's.

mod operations;
mod page;

use std::sync::OnceLock;

use axum::response::{Html, IntoResponse as _, Response};
use common::api::Problem;
use hyper::{header, header::HeaderValue};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use self::operations::{Answer, Body, Operation, operations};

/// One that makes the schema of a type.
type Describe = fn(&mut SchemaGenerator) -> Schema;

const SCHEMAS: &str = "#/components/schemas/";

pub(super) async fn json() -> Response {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    let text = DOCUMENT.get_or_init(|| document().to_string());
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text.as_str()).into_response()
}

pub(super) async fn docs() -> Response {
    static PAGE: OnceLock<String> = OnceLock::new();
    let text = PAGE.get_or_init(|| page::page(&document()));
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(text.as_str())).into_response()
}

/// The document, OpenAPI 3.1.
pub(super) fn document() -> Value {
    let mut schemas = Schemas::default();
    let problem = schemas.answers.subschema_for::<Problem>();
    let mut paths = Map::new();
    for operation in operations() {
        let described = describe(&operation, &mut schemas, &problem);
        let path = paths.entry(operation.path.replace("{*", "{")).or_insert_with(|| json!({}));
        path[operation.method] = described;
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tvarr transcoding farm",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Jobs, uploads, workers and live streams. Errors are problem documents (RFC 9457): what is wrong, \
                            with which field, and what to do.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key"}},
        },
        "security": [{}, {"key": []}],
    });
    schemas.put_into(&mut document);
    document
}

/// The schemas of what is taken and of what is answered: a field with a default may be left out of the one and is always in
/// the other.
struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            requests: settings().for_deserialize().into_generator(),
            answers: settings().for_serialize().into_generator(),
        }
    }
}

impl Schemas {
    /// Those of both, under names that differ where they differ.
    fn put_into(mut self, document: &mut Value) {
        let requests = self.requests.take_definitions(true);
        let answers = self.answers.take_definitions(true);
        let differs = |name: &String| answers.get(name).is_some_and(|answer| *answer != requests[name]);
        // What names one that differs, differs itself.
        let mut renamed: Vec<String> = requests.keys().filter(|name| differs(name)).cloned().collect();
        loop {
            let names_one = |schema: &Value| renamed.iter().any(|name| refers(schema, name));
            let more: Vec<String> = requests
                .iter()
                .filter(|(name, schema)| {
                    answers.contains_key(*name) && !renamed.contains(name) && names_one(schema)
                })
                .map(|(name, _)| name.clone())
                .collect();
            if more.is_empty() {
                break;
            }
            renamed.extend(more);
        }
        let mut all = answers;
        for (name, mut schema) in requests {
            rename(&mut schema, &renamed);
            if renamed.contains(&name) {
                all.insert(format!("{name}Request"), schema);
            } else {
                all.insert(name, schema);
            }
        }
        if let Some(paths) = document["paths"].as_object_mut() {
            for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
                for part in ["requestBody", "parameters"] {
                    if let Some(part) = operation.get_mut(part) {
                        rename(part, &renamed);
                    }
                }
            }
        }
        document["components"]["schemas"] = Value::Object(all);
    }
}

fn refers(schema: &Value, name: &str) -> bool {
    match schema {
        Value::Object(fields) => fields.iter().any(|(key, value)| match value {
            Value::String(text) if key == "$ref" => text.strip_prefix(SCHEMAS) == Some(name),
            value => refers(value, name),
        }),
        Value::Array(items) => items.iter().any(|item| refers(item, name)),
        _ => false,
    }
}

fn rename(schema: &mut Value, renamed: &[String]) {
    match schema {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "$ref" => {
                        if text
                            .strip_prefix(SCHEMAS)
                            .is_some_and(|name| renamed.iter().any(|one| one == name))
                        {
                            text.push_str("Request");
                        }
                    }
                    value => rename(value, renamed),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, renamed)),
        _ => {}
    }
}

fn describe(operation: &Operation, schemas: &mut Schemas, problem: &Schema) -> Value {
    let mut parameters: Vec<Value> = path_parameters(operation.path);
    parameters
        .extend(operation.query.into_iter().flat_map(|query| query_parameters(query, &mut schemas.requests)));
    parameters.extend(operation.headers.iter().map(|(name, description)| {
        json!({"name": name, "in": "header", "required": false, "description": description, "schema": {"type": "string"}})
    }));
    let mut responses = Map::new();
    for Answer { status, description, media, schema } in &operation.answers {
        let mut answer = json!({"description": description});
        if let Some(media) = media {
            let schema =
                schema.map_or_else(|| json!({}), |describe| describe(&mut schemas.answers).to_value());
            answer["content"] = json!({*media: {"schema": schema}});
        }
        responses.insert(status.to_string(), answer);
    }
    responses.insert(
        "default".to_owned(),
        json!({"description": "What went wrong", "content": {"application/problem+json": {"schema": problem}}}),
    );
    let mut described = json!({
        "tags": [operation.tag],
        "operationId": operation.id(),
        "summary": operation.summary,
        "parameters": parameters,
        "responses": responses,
    });
    if !operation.description.is_empty() {
        described["description"] = operation.description.into();
    }
    match operation.body {
        Body::None => {}
        Body::Json { schema, required } => {
            let schema = schema(&mut schemas.requests);
            described["requestBody"] =
                json!({"required": required, "content": {"application/json": {"schema": schema}}});
        }
        Body::Bytes(media) => {
            described["requestBody"] = json!({"required": true, "content": {media: {"schema": {"type": "string", "format": "binary"}}}});
        }
    }
    described
}

fn path_parameters(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name: &str| {
        let name = name.trim_start_matches('*');
        let schema = match name {
            "id" => json!({"type": "string", "format": "uuid"}),
            _ => json!({"type": "string", "minLength": 1}),
        };
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    };
    names.map(parameter).collect()
}

/// Each field of the type is one.
fn query_parameters(describe: Describe, generator: &mut SchemaGenerator) -> Vec<Value> {
    let schema = describe(generator).to_value();
    let schema = match schema["$ref"].as_str().and_then(|path| path.strip_prefix(SCHEMAS)) {
        Some(name) => generator.definitions_mut().remove(name).unwrap_or_default(),
        None => schema,
    };
    let fields = schema["properties"].as_object().cloned().unwrap_or_default();
    fields
        .into_iter()
        .map(|(name, mut field)| {
            let description = field["description"].take();
            // An absent parameter is how a query says null.
            if let Some(kinds) = field["type"].as_array_mut() {
                kinds.retain(|kind| kind != "null");
            }
            for useless in ["description", "default"] {
                field.as_object_mut().map(|field| field.remove(useless));
            }
            json!({"name": name, "in": "query", "required": false, "description": description, "schema": field})
        })
        .collect()
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::access::ROUTES;

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let text = document.to_string();
        let named: BTreeSet<_> =
            text.split("\"$ref\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(named.len() > 30, "{named:?}");
        for name in named {
            let known = name.strip_prefix(SCHEMAS).is_some_and(|name| schemas.contains_key(name));
            assert!(known, "{name} is not described");
        }
    }

    #[test]
    fn every_route_is_described() {
        // What is the same as another: POST for who cannot send PUT, tus' own OPTIONS and override. And the
        // pages, which are for people.
        const LEFT_OUT: [(&str, &str); 8] = [
            ("POST", "/v1/streams/{stream}/input"),
            ("POST", "/v1/uploads/{path}"),
            ("OPTIONS", "/v1/uploads/{path}"),
            ("OPTIONS", "/live/{stream}/{file}"),
            ("OPTIONS", "/live/{stream}/{profile}/{file}"),
            ("GET", "/ui"),
            ("GET", "/ui/"),
            ("GET", "/ui/{*path}"),
        ];
        let routes = ROUTES.iter().map(|(method, path, _)| (*method, *path));
        let routes: BTreeSet<_> = routes
            .filter(|route| !LEFT_OUT.contains(route))
            .map(|(method, path)| (method.to_ascii_lowercase(), path))
            .collect();
        let described = operations();
        let described: BTreeSet<_> =
            described.iter().map(|operation| (operation.method.to_owned(), operation.path)).collect();
        assert_eq!(described, routes);
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let mut seen = BTreeSet::new();
        for operation in operations() {
            assert!(seen.insert(operation.id()), "{} is there twice", operation.id());
        }
    }

    #[test]
    fn what_may_be_left_out_of_a_request_is_in_every_answer() {
        let document = document();
        let schemas = &document["components"]["schemas"];
        let required = |name: &str| schemas[name]["required"].as_array().cloned().unwrap_or_default();
        assert_eq!(required("JobRequest"), ["input"]);
        assert!(required("JobView").contains(&json!("hardware")));
        assert_eq!(schemas["JobRequest"]["additionalProperties"], false);
        assert!(page::page(&document).contains("/v1/jobs/{id}/cancel"));
    }
}
