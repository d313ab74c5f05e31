//! The description as a page: plain HTML, nothing loaded from anywhere, readable without scripts.

use std::fmt::Write as _;

use serde_json::Value;

const STYLE: &str = "\
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { overflow-x: auto; padding: .6rem; border: 1px solid #8886; border-radius: .3rem; }
summary { cursor: pointer; padding: .35rem 0; }
.method { display: inline-block; min-width: 4.5rem; font-weight: 700; text-transform: uppercase; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .15rem .8rem .15rem 0; vertical-align: top; }
details details { margin-left: 1rem; }
";

pub(super) fn page(document: &Value) -> String {
    let mut html = String::new();
    let title = text(&document["info"]["title"]);
    let _ = write!(
        html,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <title>{title}: HTTP API</title><style>{STYLE}</style><h1>{title}: HTTP API</h1><p>{}</p>\
         <p>For programs: <a href=/openapi.json>/openapi.json</a></p>",
        text(&document["info"]["description"])
    );
    let mut tag = "";
    for (path, method, operation) in in_order(document) {
        let of = operation["tags"][0].as_str().unwrap_or_default();
        if of != tag {
            tag = of;
            let _ = write!(html, "<h2>{}</h2>", escape(tag));
        }
        one(&mut html, path, method, operation);
    }
    html.push_str("<h2>Types</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let _ = write!(
            html,
            "<details id='{0}'><summary><code>{0}</code></summary>{1}</details>",
            escape(name),
            json(schema)
        );
    }
    html
}

/// By tag, in the order in which tags first appear.
fn in_order(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let mut all: Vec<(&str, &str, &Value)> = paths
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().into_iter().flatten();
            methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        })
        .collect();
    const TAGS: [&str; 7] =
        ["Jobs", "Uploads", "Live streams", "Workers", "API keys", "Presets and profiles", "The coordinator"];
    all.sort_by_key(|(_, _, operation)| {
        let tag = operation["tags"][0].as_str().unwrap_or_default();
        TAGS.iter().position(|known| *known == tag).unwrap_or(TAGS.len())
    });
    all
}

fn one(html: &mut String, path: &str, method: &str, operation: &Value) {
    let _ = write!(
        html,
        "<details><summary><span class=method>{}</span> <code>{}</code> {}</summary><p>{}</p>",
        escape(method),
        escape(path),
        text(&operation["summary"]),
        text(&operation["description"])
    );
    let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    if !parameters.is_empty() {
        html.push_str("<table><tr><th>Parameter<th>In<th>What</tr>");
        for parameter in parameters {
            let _ = write!(
                html,
                "<tr><td><code>{}</code><td>{}<td>{}</tr>",
                text(&parameter["name"]),
                text(&parameter["in"]),
                text(&parameter["description"])
            );
        }
        html.push_str("</table>");
    }
    for (media, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
        let _ = write!(html, "<p>Takes <code>{}</code></p>{}", escape(media), json(&content["schema"]));
    }
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        let _ = write!(html, "<p><b>{}</b> {}</p>", escape(status), text(&answer["description"]));
        for (media, content) in answer["content"].as_object().into_iter().flatten() {
            if content["schema"].as_object().is_some_and(|schema| !schema.is_empty()) && status != "default" {
                let _ = write!(html, "<p><code>{}</code></p>{}", escape(media), json(&content["schema"]));
            }
        }
    }
    html.push_str("</details>");
}

/// A schema, with links to the types that it names.
fn json(schema: &Value) -> String {
    let text = escape(&serde_json::to_string_pretty(schema).unwrap_or_default());
    let mut linked = String::new();
    let mut rest = text.as_str();
    const REFERENCE: &str = "#/components/schemas/";
    while let Some((before, after)) = rest.split_once(REFERENCE) {
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        let (name, more) = after.split_at(end);
        let _ = write!(linked, "{before}<a href='#{name}'>{name}</a>");
        rest = more;
    }
    format!("<pre>{linked}{rest}</pre>")
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
