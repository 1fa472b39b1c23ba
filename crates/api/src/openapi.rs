//! The OpenAPI document, made from the list of endpoints and the list of shapes.

use serde_json::{Map, Value, json};

use crate::endpoint::{ENDPOINTS, Endpoint};
use crate::schema::{self, Schema};
use crate::shapes;
use crate::words::WORDS;

/// The OpenAPI 3.1 document of this release.
#[must_use]
pub fn openapi() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in ENDPOINTS {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.as_str().to_lowercase()] = operation(endpoint);
    }
    let objects = schema::OBJECTS
        .iter()
        .chain(shapes::OBJECTS)
        .map(|schema| (schema.name.to_owned(), object(schema)));
    let words = WORDS
        .iter()
        .map(|(name, words)| ((*name).to_owned(), json!({ "type": "string", "enum": words })));
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Evenkeel", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": {
            "schemas": objects.chain(words).collect::<Map<_, _>>(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{ "token": [] }],
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let named = endpoint.path.contains("{name}").then(|| {
        json!({ "name": "name", "in": "path", "required": true, "schema": { "type": "string" } })
    });
    let query = endpoint.query.iter().map(|parameter| {
        json!({
            "name": parameter.name, "in": "query", "description": parameter.summary,
            "schema": { "type": parameter.of },
        })
    });
    let status = if endpoint.records { "202" } else { "200" };
    let mut answers = Map::new();
    answers.insert(status.to_owned(), content(endpoint.answer, "As asked."));
    for (status, text) in errors(endpoint) {
        answers.insert((*status).to_owned(), content("ErrorBody", text));
    }
    let mut operation = json!({
        "summary": endpoint.summary,
        "parameters": named.into_iter().chain(query).collect::<Vec<_>>(),
        "responses": answers,
    });
    if let Some(name) = endpoint.request {
        operation["requestBody"] = json!({
            "required": true, "content": { "application/json": { "schema": of(name) } },
        });
    }
    if endpoint.path == "/healthz" {
        operation["security"] = json!([]);
    }
    operation
}

fn errors(endpoint: &Endpoint) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    const ALL: &[(&str, &str)] = &[
        ("400", "Wrong input; the message names it."),
        ("401", "No token, or a wrong one."),
        ("403", "The Host header is not one this controller answers to."),
        ("404", "No such thing."),
        ("409", "Refused as things are now."),
        ("413", "The body is too large."),
        ("422", "Understood, and cannot be carried out."),
        ("503", "The store cannot record; nothing was ordered."),
    ];
    let (named, records, open) =
        (endpoint.path.contains("{name}"), endpoint.records, endpoint.path == "/healthz");
    let takes = records || !endpoint.query.is_empty();
    let body = endpoint.request.is_some();
    ALL.iter().filter(move |(status, _)| match *status {
        "400" => takes,
        "401" => !open,
        "404" => named || records,
        "409" | "422" => records || endpoint.answer == "UrlAnswer",
        "413" => body,
        "503" => true,
        _ => true,
    })
}

fn content(name: &str, text: &str) -> Value {
    let (media, schema) = match name {
        text if text.starts_with("text/") => (text, json!({ "type": "string" })),
        _ => ("application/json", of(name)),
    };
    json!({ "description": text, "content": { media: { "schema": schema } } })
}

fn object(schema: &Schema) -> Value {
    let required: Vec<&str> =
        schema.fields.iter().filter(|(_, of)| !of.ends_with('?')).map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        schema.fields.iter().map(|(name, kind)| ((*name).to_owned(), of(kind))).collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

/// A type in the short hand of [`crate::schema`].
fn of(kind: &str) -> Value {
    if let Some(kind) = kind.strip_suffix('?') {
        return json!({ "anyOf": [of(kind), { "type": "null" }] });
    }
    if let Some(item) = kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')) {
        return json!({ "type": "array", "items": of(item) });
    }
    match kind {
        "string" | "integer" | "number" | "boolean" | "object" | "array" => json!({ "type": kind }),
        name => json!({ "$ref": format!("#/components/schemas/{name}") }),
    }
}
